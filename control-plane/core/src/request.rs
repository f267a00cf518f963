//! What the functions are called with: an API Gateway REST proxy event, a Scheduler event, or a plain object. All carry
//! the same few fields, and whatever else somebody may have meant is refused, never ignored.

#[cfg(test)]
mod tests;

use crate::config::Config;
use serde::Deserialize;
use serde_json::Value;

/// A call that was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Why, in the caller's words: for the log.
    pub reason: Option<String>,
    /// Nothing is to be changed, and nothing counts as activity.
    pub status_only: bool,
}

/// Where a call comes from: it decides what the answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// API Gateway, as a REST proxy event.
    Gateway,
    /// EventBridge Scheduler, or an EventBridge rule with a schedule.
    Schedule,
    /// Anybody who may invoke the function.
    Direct,
}

/// A call that asks for something that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Only POST does anything.
    #[error("only POST is understood here")]
    Method,
    /// More than fits.
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLong,
    /// Base64 that is none, or no text.
    #[error("the body is not text")]
    NotText,
    /// Not JSON, not an object, or with fields that nobody knows.
    #[error("the body is not understood: {0}")]
    Body(String),
    /// A query string.
    #[error("query parameters are not understood here; put it into the body")]
    Query,
    /// Another cluster.
    #[error("clusterName is not the cluster of this function")]
    ForeignCluster,
    /// Another service.
    #[error("serviceName is not the service of this function")]
    ForeignService,
    /// `statusOnly`, to a function that would do something all the same.
    #[error("only wake answers with the status only")]
    StatusOnly,
    /// A reason that is an essay.
    #[error("reason is longer than {MAX_REASON} characters")]
    LongReason,
}

impl InvalidRequest {
    /// One word for machines.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Method => "method-not-allowed",
            Self::TooLong => "body-too-long",
            _ => "invalid-request",
        }
    }
}

impl Source {
    /// By what only that source puts into its events.
    pub fn of(event: &Value) -> Self {
        let has = |key| event.get(key).is_some();
        if has("httpMethod") && has("requestContext") {
            Self::Gateway
        } else if matches!(
            event.get("source").and_then(Value::as_str),
            Some("aws.scheduler" | "aws.events")
        ) && has("detail-type")
        {
            Self::Schedule
        } else {
            Self::Direct
        }
    }

    /// For the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "api-gateway",
            Self::Schedule => "schedule",
            Self::Direct => "direct",
        }
    }
}

impl Call {
    /// Checks an event of `source`.
    pub fn parse(source: Source, event: &Value, config: &Config) -> Result<Self, InvalidRequest> {
        match source {
            // A schedule's event says nothing but that its time has come.
            Source::Schedule => Ok(Self::default()),
            Source::Direct if event.is_null() => Ok(Self::default()),
            Source::Direct => Fields::from_value(event)?.check(config),
            Source::Gateway => from_gateway(event, config),
        }
    }
}

fn from_gateway(event: &Value, config: &Config) -> Result<Call, InvalidRequest> {
    let event = Proxy::deserialize(event).map_err(|error| InvalidRequest::Body(error.to_string()))?;
    if event.http_method != "POST" {
        return Err(InvalidRequest::Method);
    }
    if event
        .query_string_parameters
        .is_some_and(|query| query != Value::Object(serde_json::Map::new()))
    {
        return Err(InvalidRequest::Query);
    }
    let body = event.body.unwrap_or_default();
    if body.len() > MAX_BODY {
        return Err(InvalidRequest::TooLong);
    }
    let body = if event.is_base64_encoded {
        let bytes = aws_smithy_types::base64::decode(body).map_err(|_| InvalidRequest::NotText)?;
        String::from_utf8(bytes).map_err(|_| InvalidRequest::NotText)?
    } else {
        body
    };
    if body.trim().is_empty() {
        return Ok(Call::default());
    }
    serde_json::from_str::<Fields>(&body)
        .map_err(|error| InvalidRequest::Body(error.to_string()))?
        .check(config)
}

/// What matters in a REST proxy event. The rest of it is API Gateway's, and may grow.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxy {
    http_method: String,
    #[serde(default)]
    query_string_parameters: Option<Value>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// What a caller may say. `clusterName` and `serviceName` guard against the wrong function, they choose nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    cluster_name: Option<String>,
    service_name: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    status_only: bool,
}

impl Fields {
    fn from_value(value: &Value) -> Result<Self, InvalidRequest> {
        Self::deserialize(value).map_err(|error| InvalidRequest::Body(error.to_string()))
    }

    fn check(self, config: &Config) -> Result<Call, InvalidRequest> {
        if self
            .cluster_name
            .is_some_and(|name| name != config.cluster.as_str())
        {
            return Err(InvalidRequest::ForeignCluster);
        }
        if self
            .service_name
            .is_some_and(|name| name != config.service.as_str())
        {
            return Err(InvalidRequest::ForeignService);
        }
        if let Some(reason) = &self.reason
            && reason.chars().count() > MAX_REASON
        {
            return Err(InvalidRequest::LongReason);
        }
        Ok(Call {
            reason: self.reason,
            status_only: self.status_only,
        })
    }
}

const MAX_BODY: usize = 4096;
const MAX_REASON: usize = 200;
