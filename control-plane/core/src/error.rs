//! What can go wrong in a call, and whether to try again. `answer.rs` makes statuses of it, and nothing else does.

use crate::request::InvalidRequest;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Why a function did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that there is not.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// AWS did not do what it was asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The cluster has no such service, or is about to lose it.
    #[error("the ECS service does not exist, or is being deleted")]
    NoService,
    /// The function's own time was up.
    #[error("not done within {}s", .0.as_secs())]
    Deadline(Duration),
}

/// A call to AWS that failed, after the retries that it was worth.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {kind}")]
pub struct CallError {
    /// Service and operation.
    pub operation: &'static str,
    /// In what way.
    pub kind: CallErrorKind,
    /// What AWS said, for the log only: it names accounts and roles.
    pub detail: String,
}

/// In what way a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// Too many calls.
    Throttled,
    /// No answer in time.
    TimedOut,
    /// No connection.
    Unreachable,
    /// A fault on AWS's side.
    Unavailable,
    /// An answer that makes no sense.
    Garbled,
    /// The function's role may not do this, or its credentials are bad.
    Denied,
    /// The cluster or service does not exist.
    Missing,
    /// AWS takes the request for wrong.
    Refused,
    /// The request could not be made: no credentials, no endpoint.
    Unsent,
}

impl Error {
    /// Whether the same call may succeed later without anybody's help.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::NoService => false,
            Self::Call(error) => error.kind.is_retryable(),
            Self::Deadline(_) => true,
        }
    }

    /// One word for machines: log filters, error types, the answer's `error`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.word(),
            Self::NoService => "no-service",
            Self::Deadline(_) => "deadline",
            Self::Call(error) => match error.kind {
                CallErrorKind::Throttled => "aws-throttled",
                CallErrorKind::TimedOut => "aws-timed-out",
                CallErrorKind::Unreachable => "aws-unreachable",
                CallErrorKind::Unavailable => "aws-unavailable",
                CallErrorKind::Garbled => "aws-garbled",
                CallErrorKind::Denied => "aws-denied",
                CallErrorKind::Missing => "no-service",
                CallErrorKind::Refused => "aws-refused",
                CallErrorKind::Unsent => "aws-unsent",
            },
        }
    }

    /// What only the log may say.
    pub fn detail(&self) -> &str {
        match self {
            Self::Call(error) => &error.detail,
            _ => "",
        }
    }
}

impl CallErrorKind {
    const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::TimedOut | Self::Unreachable | Self::Unavailable | Self::Garbled
        )
    }

    /// Whether AWS's code says that there were too many calls.
    pub fn is_throttle(code: &str) -> bool {
        matches!(
            code,
            "ThrottlingException"
                | "Throttling"
                | "ThrottledException"
                | "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "LimitExceededException"
        )
    }

    /// By the code that AWS gave, else by the status.
    fn of(code: Option<&str>, status: u16) -> Self {
        match code.unwrap_or_default() {
            code if Self::is_throttle(code) => Self::Throttled,
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "UnauthorizedException"
            | "AuthFailure"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException" => Self::Denied,
            "ClusterNotFoundException" | "ServiceNotFoundException" | "ServiceNotActiveException" => {
                Self::Missing
            }
            "RequestTimeout" | "RequestTimeoutException" => Self::TimedOut,
            _ if status == 429 => Self::Throttled,
            _ if status >= 500 => Self::Unavailable,
            _ if status == 401 || status == 403 => Self::Denied,
            _ if status < 400 => Self::Garbled,
            _ => Self::Refused,
        }
    }
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "was throttled",
            Self::TimedOut => "did not answer in time",
            Self::Unreachable => "could not be reached",
            Self::Unavailable => "failed on AWS's side",
            Self::Garbled => "answered with something that makes no sense",
            Self::Denied => "was denied to this function",
            Self::Missing => "found no such cluster or service",
            Self::Refused => "was refused as wrong",
            Self::Unsent => "could not be sent",
        })
    }
}

impl CallError {
    /// From what the SDK gives up with.
    pub fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: StdError + ProvideErrorMetadata + 'static,
    {
        let (kind, detail) = match error {
            SdkError::ServiceError(service) => {
                let (meta, status) = (service.err().meta(), service.raw().status().as_u16());
                let detail = format!(
                    "HTTP {status}, code {}, request {}: {}",
                    meta.code().unwrap_or("-"),
                    meta.extra("aws_request_id").unwrap_or("-"),
                    meta.message().unwrap_or("-"),
                );
                (CallErrorKind::of(meta.code(), status), detail)
            }
            SdkError::TimeoutError(_) => (CallErrorKind::TimedOut, chain(error)),
            SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => {
                (CallErrorKind::TimedOut, chain(error))
            }
            SdkError::DispatchFailure(dispatch) if dispatch.is_user() => {
                (CallErrorKind::Unsent, chain(error))
            }
            SdkError::DispatchFailure(_) => (CallErrorKind::Unreachable, chain(error)),
            // An answer that is not of the service's form: of a proxy on the way, or cut short.
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                let detail = format!("HTTP {status}: {}", chain(error));
                (CallErrorKind::of(None, status), detail)
            }
            _ => (CallErrorKind::Unsent, chain(error)),
        };
        Self {
            operation,
            kind,
            detail,
        }
    }

    /// An answer that was understood as far as its form, and still makes no sense.
    pub fn garbled(operation: &'static str, detail: impl Into<String>) -> Self {
        Self {
            operation,
            kind: CallErrorKind::Garbled,
            detail: detail.into(),
        }
    }
}

/// The error and its sources in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
