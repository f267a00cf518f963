//! The one place where a failure becomes an HTTP status, with `Proxy-Status` (RFC 9209) and a sentence for people.

use super::answer::AnswerError;
use super::asked::Asked;
use super::auth::AccessError;
use super::body::ReplyBody;
use super::head::HeadError;
use super::headers::{PROXY_NAME, PROXY_STATUS};
use crate::tunnel::OpenError;
use bytes::Bytes;
use fluidity_wire::{ReplyCode, plain};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use std::borrow::Cow;
use std::fmt::Write;

/// Why a request gets an answer of the proxy's own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The head, or what it asks for, is not acceptable.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The request is for the proxy itself.
    #[error("this is the Fluidity proxy, not a web site")]
    NotForProxies,
    /// The client did not say who it is, or said it wrongly.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// The agent stops, and has no connection to the server.
    #[error("the agent is stopping")]
    Stopping,
    /// Nobody waits for the answer any more.
    #[error("the client left while its request was held")]
    ClientLeft,
    /// No session could be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The session broke before the origin answered.
    #[error("{0}")]
    Origin(#[from] OriginError),
}

/// Why an exchange with an origin that was reached came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginError {
    #[error("the origin closed the connection before it answered")]
    Closed,
    #[error("the origin's answer is not HTTP that can be understood")]
    Protocol,
    #[error("the origin's answer cannot be passed on: {0}")]
    Answer(AnswerError),
    #[error("the origin sent nothing for too long")]
    Idle,
    #[error("the tunnel was lost while the origin was to answer")]
    TunnelLost,
    #[error("the request's body is malformed or broke off")]
    Upload,
    #[error("the origin switched to another protocol unasked")]
    Upgraded,
    #[error("the origin sent too many interim (1xx) answers")]
    TooManyInterim,
}

/// What a refusal comes down to.
struct Verdict {
    status: StatusCode,
    /// The error type of RFC 9209 §2.3.
    error: &'static str,
    /// What to do about it.
    advice: Cow<'static, str>,
    retry_after: Option<HeaderValue>,
}

impl Refusal {
    /// The answer. The connection is closed behind it where the next request might not be found.
    pub(super) fn response(&self, asked: &Asked) -> Response<ReplyBody> {
        let verdict = self.verdict(asked);
        // The server's words are among them.
        let said = plain(&self.to_string(), MOST_SAID);
        let mut response = Response::new(ReplyBody::from(Bytes::from(body(&said, &verdict.advice))));
        *response.status_mut() = verdict.status;
        let fields = response.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(status) = proxy_status(verdict.error, &said) {
            fields.insert(PROXY_STATUS, status);
        }
        if let Some(seconds) = verdict.retry_after {
            fields.insert(RETRY_AFTER, seconds);
        }
        match self {
            Self::Access(_) => {
                let challenge = HeaderValue::from_static("Basic realm=\"fluidity\", charset=\"UTF-8\"");
                fields.insert(PROXY_AUTHENTICATE, challenge);
            }
            Self::Head(_) | Self::Stopping | Self::ClientLeft => {
                fields.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    /// The sentence and what to do, for those who do not see the answer.
    pub(super) fn on_one_line(&self, asked: &Asked) -> String {
        let said = plain(&self.to_string(), MOST_SAID);
        match self {
            // The advice is a page.
            Self::NotForProxies => said,
            _ => format!("{said}. {}", self.verdict(asked).advice),
        }
    }

    /// The name for metrics.
    pub(super) fn name(&self) -> &'static str {
        self.verdict(&Asked::default()).error
    }

    /// The name for people: of the cause, not of what it comes down to.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Open(error) => error.name(),
            Self::Access(AccessError::Missing) => "credentials-missing",
            Self::Access(AccessError::Scheme | AccessError::Wrong) => "credentials-wrong",
            Self::Stopping => "stopping",
            Self::ClientLeft => "client-left",
            Self::Head(_) | Self::NotForProxies | Self::Origin(_) => self.name(),
        }
    }

    /// Whether a person may look for it later. Clients ask without credentials first, and may leave at any time.
    pub(super) const fn is_of_interest(&self) -> bool {
        !matches!(self, Self::Access(AccessError::Missing) | Self::ClientLeft)
    }

    fn verdict(&self, asked: &Asked) -> Verdict {
        match self {
            Self::Head(error) => head(*error),
            Self::NotForProxies => Verdict {
                advice: set_up(&asked.proxy()).into(),
                ..Verdict::new(StatusCode::BAD_REQUEST, "http_request_error", "")
            },
            Self::Access(error) => access(*error, asked),
            Self::Stopping => Verdict::later(
                "proxy_internal_error",
                "5",
                "Try again when the agent runs again.",
            ),
            Self::ClientLeft => Verdict::new(StatusCode::REQUEST_TIMEOUT, "connection_terminated", ""),
            Self::Open(error) => open(error, asked),
            Self::Origin(error) => origin(*error),
        }
    }
}

impl Verdict {
    const fn new(status: StatusCode, error: &'static str, advice: &'static str) -> Self {
        Self {
            status,
            error,
            advice: Cow::Borrowed(advice),
            retry_after: None,
        }
    }

    const fn later(error: &'static str, seconds: &'static str, advice: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error,
            advice: Cow::Borrowed(advice),
            retry_after: Some(HeaderValue::from_static(seconds)),
        }
    }
}

fn head(error: HeadError) -> Verdict {
    let denied = |status, advice| Verdict::new(status, "http_request_error", advice);
    match error {
        HeadError::TooManyFields(_) | HeadError::TooLarge(_) => denied(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Send fewer or smaller fields (cookies?), or raise limits.headers or limits.head-size of the agent.",
        ),
        HeadError::UrlTooLong(_) => denied(
            StatusCode::URI_TOO_LONG,
            "Send what is long in the body of a POST.",
        ),
        HeadError::Timeout => denied(StatusCode::REQUEST_TIMEOUT, "Send the whole head at once."),
        HeadError::TooManyClients => Verdict::later(
            "connection_limit_reached",
            "1",
            "Close some connections, or raise limits.clients of the agent.",
        ),
        HeadError::Coding => denied(StatusCode::NOT_IMPLEMENTED, "Send the body plain or chunked."),
        HeadError::Scheme => denied(
            StatusCode::NOT_IMPLEMENTED,
            "Plain requests go to http:// and ws:// URLs; use CONNECT for anything else.",
        ),
        HeadError::NeedsConnect => denied(
            StatusCode::NOT_IMPLEMENTED,
            "Let the client open a tunnel with CONNECT host:443 and speak TLS inside; clients with a proxy setting for https do.",
        ),
        HeadError::Target(_) => denied(
            StatusCode::BAD_REQUEST,
            "Name the target as host:port, with a port from 1 to 65535.",
        ),
        HeadError::Malformed(_) | HeadError::Url(_) | HeadError::Ambiguous(_) | HeadError::ConnectBody => {
            denied(
                StatusCode::BAD_REQUEST,
                "Check the client: the proxy passes on only requests that cannot be misunderstood.",
            )
        }
    }
}

fn access(error: AccessError, asked: &Asked) -> Verdict {
    let advice = match error {
        AccessError::Missing | AccessError::Scheme => {
            let proxy = asked.proxy().replacen("://", "://USER:PASSWORD@", 1);
            format!("Send them as proxy credentials, for example {proxy}.")
        }
        AccessError::Wrong => {
            "Compare them with proxy-auth of the agent. In a URL, special characters are percent-encoded (@ is %40).".into()
        }
    };
    Verdict {
        advice: advice.into(),
        ..Verdict::new(
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            "http_request_denied",
            "",
        )
    }
}

fn open(error: &OpenError, asked: &Asked) -> Verdict {
    match error {
        OpenError::NotConnected { lasting: true, .. } => Verdict::later(
            "proxy_internal_error",
            "5",
            "Waiting does not help: mend this first. The agent goes on trying, and takes changed files by itself; \
             `fluidity status` tells more.",
        ),
        // What to do depends on the cause, which the sentence names.
        OpenError::NotConnected { .. } => Verdict::later(
            "proxy_internal_error",
            "5",
            "The agent goes on trying: try again in a moment. `fluidity status` tells more.",
        ),
        OpenError::TooManySessions => Verdict::later(
            "connection_limit_reached",
            "1",
            "Close some connections, or raise the limits of the server.",
        ),
        OpenError::Deadline => Verdict::new(
            StatusCode::GATEWAY_TIMEOUT,
            "connection_timeout",
            "The target may be down or drop what it gets; try again later.",
        ),
        OpenError::Lost => Verdict::new(
            StatusCode::BAD_GATEWAY,
            "connection_terminated",
            "Whether the target was reached is not known; try again if that does no harm.",
        ),
        OpenError::Protocol => Verdict::new(
            StatusCode::BAD_GATEWAY,
            "proxy_internal_error",
            "Agent and server may be of different versions; update both.",
        ),
        OpenError::Refused { code, .. } => refused(*code, asked),
    }
}

fn refused(code: ReplyCode, asked: &Asked) -> Verdict {
    let gateway = |error, advice| Verdict::new(StatusCode::BAD_GATEWAY, error, advice);
    match code {
        ReplyCode::DeniedByRule => Verdict::new(
            StatusCode::FORBIDDEN,
            "http_request_denied",
            "If it should be allowed, change the policy of the server.",
        ),
        ReplyCode::DeniedAddress => Verdict::new(
            StatusCode::FORBIDDEN,
            "destination_ip_prohibited",
            match asked.is_on_this_machine() {
                true => {
                    "Reach what runs on this machine without the proxy: set no_proxy=localhost,127.0.0.1,::1, or the same \
                     exception in the browser. Only for a service on the server's own machine, add an allow rule to the \
                     policy of the server."
                }
                false => {
                    "Reach what is on your own network without the proxy (no_proxy). What is on the server's network needs \
                     an explicit allow rule in the policy of the server."
                }
            },
        ),
        ReplyCode::NameNotFound => gateway("dns_error", "Check the spelling of the host name."),
        ReplyCode::ResolveFailed => gateway(
            "dns_error",
            "Try again; if it stays so, look at the name servers that the server asks (dns.servers).",
        ),
        ReplyCode::ConnectRefused => {
            gateway("connection_refused", "Check the port, and that the service runs.")
        }
        ReplyCode::ConnectTimeout => Verdict::new(
            StatusCode::GATEWAY_TIMEOUT,
            "connection_timeout",
            "The target may be down or behind a firewall.",
        ),
        ReplyCode::Unreachable => gateway(
            "destination_ip_unroutable",
            "The server has no route to the target.",
        ),
        ReplyCode::BreakerOpen => Verdict::later(
            "destination_unavailable",
            "10",
            "The target failed several times in a row and is left alone for a while.",
        ),
        ReplyCode::TooManySessions => Verdict::later(
            "connection_limit_reached",
            "1",
            "Close some connections, or raise the limits of the server.",
        ),
        ReplyCode::Draining => {
            Verdict::later("proxy_internal_error", "5", "The server is stopping; try again.")
        }
        ReplyCode::MalformedOpen | ReplyCode::UnsupportedKind => gateway(
            "proxy_internal_error",
            "Agent and server may be of different versions; update both.",
        ),
        ReplyCode::Ok | ReplyCode::Internal => gateway("proxy_internal_error", "See the log of the server."),
    }
}

fn origin(error: OriginError) -> Verdict {
    let gateway = |error, advice| Verdict::new(StatusCode::BAD_GATEWAY, error, advice);
    match error {
        OriginError::Closed => gateway("connection_terminated", "Try again if that does no harm."),
        OriginError::TunnelLost => gateway("connection_terminated", "Try again if that does no harm."),
        OriginError::Protocol => gateway("http_protocol_error", "Is it an HTTP service?"),
        OriginError::Answer(error) => answer(error),
        OriginError::Upload => Verdict::new(
            StatusCode::BAD_REQUEST,
            "http_request_error",
            "Check the client: the origin got a part of the request, and then a reset.",
        ),
        OriginError::TooManyInterim => gateway("http_protocol_error", "Is it the service that you mean?"),
        OriginError::Upgraded => gateway("http_upgrade_failed", "Is it the service that you mean?"),
        OriginError::Idle => Verdict::new(
            StatusCode::GATEWAY_TIMEOUT,
            "http_response_timeout",
            "Try again, or raise limits.session-idle of the agent and the server.",
        ),
    }
}

/// What was wrong with an answer.
fn answer(error: AnswerError) -> Verdict {
    let gateway = |error, advice| Verdict::new(StatusCode::BAD_GATEWAY, error, advice);
    match error {
        AnswerError::NotHttp | AnswerError::Version => gateway(
            "http_protocol_error",
            "Is it an HTTP/1.1 service? Check the port, and whether the URL should begin with https://.",
        ),
        AnswerError::TooLarge(_) => gateway(
            "http_response_header_section_size",
            "Is it the service that you mean? If it is, raise limits.head-size of the agent.",
        ),
        AnswerError::TooManyFields(_) => gateway(
            "http_response_header_section_size",
            "Is it the service that you mean? Tell those who run it.",
        ),
        AnswerError::Trailers(_) => gateway(
            "http_response_trailer_section_size",
            "If the service is the one that you mean, raise limits.head-size of the agent.",
        ),
        AnswerError::Coding(_) => gateway(
            "http_response_transfer_coding",
            "The service has to send its body plain or chunked; tell those who run it.",
        ),
        AnswerError::Cut => gateway("http_response_incomplete", "Try again if that does no harm."),
        AnswerError::ProxyLogin => gateway(
            "http_protocol_error",
            "Nothing was sent to it: credentials for a proxy are for this one only. Tell those who run the service.",
        ),
        AnswerError::Status | AnswerError::Field(_) | AnswerError::Length(_) | AnswerError::Chunks(_) => {
            gateway(
                "http_protocol_error",
                "The service can be misunderstood as it is; tell those who run it.",
            )
        }
    }
}

fn body(said: &str, advice: &str) -> String {
    let mut text = String::with_capacity(said.len() + advice.len() + 16);
    let mut letters = said.chars();
    text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    text.push_str(letters.as_str());
    // A question has its mark.
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{end}\n{advice}");
    text
}

fn set_up(proxy: &str) -> String {
    format!(
        "Set it as the HTTP proxy of your browser or program instead of opening it as a page, for example:\n\
         curl --proxy {proxy} https://example.com/\n\
         export http_proxy={proxy} https_proxy={proxy} no_proxy=localhost,127.0.0.1,::1"
    )
}

/// `fluidity; error=…; details="…"`: the details as a string of RFC 8941 §3.3.3.
fn proxy_status(error: &str, details: &str) -> Option<HeaderValue> {
    let mut value = format!("{PROXY_NAME}; error={error}; details=\"");
    for char in details.chars().take(MOST_DETAILS) {
        match char {
            '"' | '\\' => value.extend(['\\', char]),
            ' '..='~' => value.push(char),
            _ => value.push('?'),
        }
    }
    value.push('"');
    HeaderValue::try_from(value).ok()
}

const MOST_DETAILS: usize = 300;
/// Characters of the sentence.
const MOST_SAID: usize = 1000;

#[cfg(test)]
mod tests;
