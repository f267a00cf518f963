//! What a caller gets back, in the two forms that there are: plain JSON, and the envelope that API Gateway makes an HTTP
//! response of. The only place that makes a status of an error.

#[cfg(test)]
mod tests;

use crate::decision::{Alarm, Decision};
use crate::error::{CallErrorKind, Error};
use crate::request::InvalidRequest;
use crate::service::{Counts, State};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What was done, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// How it stands.
    pub state: State,
    /// How many tasks there should be.
    pub desired_count: u32,
    /// How many run.
    pub running_count: u32,
    /// How many are on their way.
    pub pending_count: u32,
    /// Where to dial, once a task runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// When it pays to ask again; zero when there is nothing to wait for.
    #[serde(serialize_with = "seconds", rename = "retryAfterSeconds")]
    pub retry_after: Duration,
    /// What sleep decided, with the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What a person should look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// The same for a reader.
    pub message: String,
}

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// An IP address, or the configured host.
    pub address: String,
    /// UDP.
    pub port: u16,
}

impl Answer {
    /// With the counts as they stand, and nothing to wait for.
    pub fn new(state: State, counts: Counts, message: impl Into<String>) -> Self {
        Self {
            state,
            desired_count: counts.desired,
            running_count: counts.running,
            pending_count: counts.pending,
            endpoint: None,
            retry_after: retry_after(state),
            decision: None,
            alarm: None,
            message: message.into(),
        }
    }

    /// 202 while something is under way, else 200.
    const fn status(&self) -> u16 {
        match self.state {
            State::Starting | State::Draining => 202,
            State::Stopped | State::Running | State::Failed => 200,
        }
    }

    /// As API Gateway wants it.
    pub fn to_proxy(&self) -> Value {
        envelope(self.status(), self.retry_after, &json!(self))
    }
}

/// A failure as API Gateway wants it. What AWS said stays in the log.
pub fn failure_to_proxy(error: &Error, request_id: &str) -> Value {
    let body = json!({
        "error": error.word(),
        "message": error.to_string(),
        "retryable": error.is_retryable(),
        "requestId": request_id,
    });
    let retry_after = if error.is_retryable() {
        FAILURE_PAUSE
    } else {
        Duration::ZERO
    };
    envelope(status(error), retry_after, &body)
}

const fn status(error: &Error) -> u16 {
    match error {
        Error::Invalid(InvalidRequest::Method) => 405,
        Error::Invalid(InvalidRequest::TooLong) => 413,
        Error::Invalid(_) => 400,
        Error::NoService => 500,
        Error::Deadline(_) => 504,
        Error::Call(error) => match error.kind {
            CallErrorKind::Throttled => 429,
            CallErrorKind::TimedOut => 504,
            CallErrorKind::Unreachable | CallErrorKind::Unavailable | CallErrorKind::Garbled => 502,
            CallErrorKind::Denied
            | CallErrorKind::Missing
            | CallErrorKind::Refused
            | CallErrorKind::Unsent => 500,
        },
    }
}

fn envelope(status: u16, retry_after: Duration, body: &Value) -> Value {
    let mut headers = json!({
        "content-type": "application/json",
        "cache-control": "no-store",
    });
    if let Some(headers) = headers.as_object_mut() {
        if !retry_after.is_zero() {
            headers.insert("retry-after".to_owned(), retry_after.as_secs().to_string().into());
        }
        if status == 405 {
            headers.insert("allow".to_owned(), "POST".into());
        }
    }
    json!({
        "statusCode": status,
        "headers": headers,
        "body": body.to_string(),
        "isBase64Encoded": false,
    })
}

const fn retry_after(state: State) -> Duration {
    match state {
        State::Stopped | State::Running => Duration::ZERO,
        State::Starting | State::Draining => POLL,
        State::Failed => FAILED_POLL,
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// A start takes some 30 s; this often it pays to look.
const POLL: Duration = Duration::from_secs(5);
/// A start that has failed is not soon better.
const FAILED_POLL: Duration = Duration::from_secs(60);
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
