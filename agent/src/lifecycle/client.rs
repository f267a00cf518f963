//! The control plane's API: `POST /wake` and `POST /kill`, with the key, deadlines, retries and a breaker.
//!
//! The key is in one header of the request and nowhere else. An answer is read up to 64 KiB. What may pass by itself
//! (no answer, 429, 5xx) is tried again with exponential backoff and jitter; when the API keeps failing, it is left
//! alone for a while, so that an agent is no burden to an API in trouble.

use super::Endpoint;
use crate::config::ControlPlaneConfig;
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use failsafe::backoff::{EqualJittered, equal_jittered};
use failsafe::failure_policy::{ConsecutiveFailures, consecutive_failures};
use failsafe::{Config, StateMachine};
use fluidity_trace::{Span, TraceParent};
use fluidity_wire::{Host, Port, Target, is_dangerous, plain};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::{Deserialize, Deserializer};
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::time::timeout;
use tracing::debug;

/// A client of one control plane.
pub struct ControlPlane {
    wake: Endpoint,
    kill: Option<Endpoint>,
    key: HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    breaker: StateMachine<ConsecutiveFailures<EqualJittered>, ()>,
}

/// How the service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// No task, and none wanted.
    Stopped,
    /// A task is wanted and does not run yet.
    Starting,
    /// A task runs.
    Running,
    /// A task runs that is no longer wanted.
    Draining,
    /// A task was wanted and never ran.
    Failed,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

impl ServiceState {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the control plane answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// How the service stands.
    pub state: ServiceState,
    /// How many tasks there should be.
    #[serde(default)]
    pub desired_count: u32,
    /// How many run.
    #[serde(default)]
    pub running_count: u32,
    /// How many are on their way.
    #[serde(default)]
    pub pending_count: u32,
    /// Where the server is, once it runs.
    #[serde(default)]
    pub endpoint: Option<Address>,
    /// A sentence for people, cleaned for their terminals.
    #[serde(default, deserialize_with = "sentence")]
    pub message: String,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawAddress")]
pub struct Address(pub Target);

#[derive(Deserialize)]
struct RawAddress {
    address: String,
    port: u16,
}

impl TryFrom<RawAddress> for Address {
    type Error = fluidity_wire::TargetError;

    fn try_from(raw: RawAddress) -> Result<Self, Self::Error> {
        Ok(Self(Target {
            host: Host::parse(&raw.address)?,
            port: Port::new(raw.port).ok_or(fluidity_wire::TargetError::BadPort)?,
        }))
    }
}

/// Why the control plane gave no answer. The texts say what to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke. Where, and why.
    #[error(
        "the control plane cannot be reached at {0}; check wake-endpoint and kill-endpoint, and this machine's network"
    )]
    Unreachable(String),
    /// No answer.
    #[error("the control plane did not answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The key is not accepted.
    #[error("the control plane does not accept the API key ({0}); check api-key")]
    Denied(StatusCode),
    /// Too many requests.
    #[error("the control plane asks for patience (429): its quota or rate is used up")]
    Throttled,
    /// Another refusal, which will not pass by itself.
    #[error("the control plane refuses the request ({0}): {1}; check wake-endpoint and kill-endpoint")]
    Refused(StatusCode, String),
    /// It failed.
    #[error("the control plane failed ({0}): {1}")]
    Failed(StatusCode, String),
    /// It answers something else.
    #[error("the control plane's answer is not understood; check wake-endpoint and kill-endpoint")]
    Garbled,
    /// It failed so often of late that it is left alone.
    #[error("the control plane failed several times in a row and is left alone for a moment")]
    BreakerOpen,
    /// There is no kill-endpoint.
    #[error("no kill-endpoint is configured")]
    NoKill,
}

impl CallError {
    /// The stable name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Denied(_) => "denied",
            Self::Throttled => "throttled",
            Self::Refused(..) => "refused",
            Self::Failed(..) => "failed",
            Self::Garbled => "garbled",
            Self::BreakerOpen => "breaker-open",
            Self::NoKill => "no-kill-endpoint",
        }
    }

    /// Whether it may pass by itself.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::Throttled
            | Self::Failed(..)
            | Self::BreakerOpen => true,
            Self::Denied(_) | Self::Refused(..) | Self::Garbled | Self::NoKill => false,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The system's certificates, by which the API's is checked.
    #[error("the system's trusted certificates cannot be read")]
    Roots(#[source] io::Error),
    /// The key cannot be a header's value.
    #[error("the API key has characters that no API key has")]
    Key,
}

impl ControlPlane {
    /// A client with the key.
    ///
    /// # Errors
    /// The machine has no trusted certificates, or the key is none.
    pub fn new(config: &ControlPlaneConfig) -> Result<Self, ClientError> {
        let (wake, kill) = (config.wake.clone(), config.kill.clone());
        let mut key = HeaderValue::from_str(config.key.expose()).map_err(|_| ClientError::Key)?;
        key.set_sensitive(true);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(ATTEMPT));
        let encrypted = [Some(&wake), kill.as_ref()]
            .into_iter()
            .flatten()
            .any(|endpoint| endpoint.uri().scheme_str() == Some("https"));
        let builder = HttpsConnectorBuilder::new();
        // A machine that calls its own control plane in the clear needs no certificates.
        let builder = match encrypted {
            true => builder
                .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
                .map_err(ClientError::Roots)?,
            false => builder.with_tls_config(no_trust()),
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        Ok(Self {
            wake,
            kill,
            key,
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(KEPT)
                .pool_max_idle_per_host(1)
                .build(connector),
            breaker: Config::new()
                .failure_policy(consecutive_failures(
                    FAILURES,
                    equal_jittered(LEFT_ALONE, LEFT_ALONE_LONGEST),
                ))
                .build(),
        })
    }

    /// Whether the server can be stopped.
    pub const fn can_kill(&self) -> bool {
        self.kill.is_some()
    }

    /// Asks for the server; returns at once with how it stands. Safe to repeat. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wake(&self) -> Result<Answer, CallError> {
        self.wake_noting(None, |_| {}).await
    }

    /// As [`wake`](Self::wake), a part of the trace of `cause`; `note` hears of failures that are not the last word yet.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn wake_noting(
        &self,
        cause: Option<&TraceParent>,
        note: impl Fn(&CallError),
    ) -> Result<Answer, CallError> {
        self.call(&self.wake, cause, note).await
    }

    /// Stops the server now. Safe to repeat. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn kill(&self) -> Result<Answer, CallError> {
        let kill = self.kill.as_ref().ok_or(CallError::NoKill)?;
        self.call(kill, None, |_| {}).await
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        cause: Option<&TraceParent>,
        note: impl Fn(&CallError),
    ) -> Result<Answer, CallError> {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_times(RETRIES)
            .with_jitter();
        (|| self.call_guarded(endpoint, cause))
            .retry(pauses)
            .when(CallError::may_pass)
            .notify(|error, pause| {
                debug!(%error, ?pause, "the control plane is asked again");
                note(error);
            })
            .await
    }

    async fn call_guarded(
        &self,
        endpoint: &Endpoint,
        cause: Option<&TraceParent>,
    ) -> Result<Answer, CallError> {
        if !self.breaker.is_call_permitted() {
            return Err(CallError::BreakerOpen);
        }
        let mut span = Span::lone_client("POST", || cause.cloned());
        span.set("http.request.method", || "POST");
        span.set("server.address", || {
            endpoint.uri().host().unwrap_or_default().to_owned()
        });
        let answered = timeout(ATTEMPT, self.call_once(endpoint, &mut span)).await;
        let answered = answered.unwrap_or(Err(CallError::Timeout(ATTEMPT)));
        if let Err(error) = &answered {
            span.fail(error.name());
        }
        match &answered {
            // A refusal is an answer: the API itself is well.
            Err(error) if error.may_pass() => self.breaker.on_error(),
            _ => self.breaker.on_success(),
        }
        answered
    }

    async fn call_once(&self, endpoint: &Endpoint, span: &mut Span) -> Result<Answer, CallError> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.uri().clone();
        let fields = request.headers_mut();
        fields.insert(API_KEY, self.key.clone());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        fields.insert(ACCEPT, HeaderValue::from_static(JSON));
        let agent = HeaderValue::from_static(concat!("fluidity/", env!("CARGO_PKG_VERSION")));
        fields.insert(USER_AGENT, agent);
        if let Some(parent) = span.parent() {
            parent.into_headers(fields);
        }
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| unreachable(endpoint, &error))?;
        let status = response.status();
        span.set("http.response.status_code", || i64::from(status.as_u16()));
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body =
            body.map(|body| body.to_bytes())
                .map_err(|error| match error.is::<LengthLimitError>() {
                    true => CallError::Garbled,
                    false => unreachable(endpoint, error.as_ref()),
                })?;
        match status {
            status if status.is_success() => serde_json::from_slice(&body).map_err(|_| CallError::Garbled),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(CallError::Denied(status)),
            StatusCode::TOO_MANY_REQUESTS => Err(CallError::Throttled),
            status if status.is_server_error() => Err(CallError::Failed(status, words(&body))),
            status => Err(CallError::Refused(status, words(&body))),
        }
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("wake", &self.wake)
            .field("kill", &self.kill)
            .finish_non_exhaustive()
    }
}

/// TLS that trusts nobody, where it is not used.
fn no_trust() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// The innermost reason, which is the one that says something.
fn unreachable(endpoint: &Endpoint, error: &(dyn Error + 'static)) -> CallError {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    // It may have what the certificate of somebody else says.
    let reason = plain(&inner.to_string(), MOST_WORDS);
    let authority = endpoint.uri().authority();
    let place = authority.map_or("its address", |authority| authority.as_str());
    CallError::Unreachable(format!("{place}: {reason}"))
}

/// A text of the control plane, or of whoever answers in its place.
fn sentence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|said| plain(&said, MOST_WORDS))
}

/// What a refusal says, where it says it as the control plane and API Gateway do; short, and on one line.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let said = serde_json::from_slice::<Said>(body).map(|said| said.message);
    let said = said.unwrap_or_else(|_| "it does not say why".into());
    said.chars()
        .filter(|char| !is_dangerous(*char))
        .take(MOST_WORDS)
        .collect()
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const JSON: &str = "application/json";
/// One attempt, from the connection to the last byte.
const ATTEMPT: Duration = Duration::from_secs(10);
const RETRIES: usize = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const FAILURES: u32 = 6;
const LEFT_ALONE: Duration = Duration::from_secs(10);
const LEFT_ALONE_LONGEST: Duration = Duration::from_secs(60);
/// How long a connection waits for the next call: until the next poll.
const KEPT: Duration = Duration::from_secs(20);
const LARGEST_ANSWER: usize = 64 * 1024;
const MOST_WORDS: usize = 300;

#[cfg(test)]
mod tests;
