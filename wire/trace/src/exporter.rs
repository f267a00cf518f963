//! The way of the spans out of the process: standard variables in, batches over OTLP out.
//!
//! The queue is bounded (`OTEL_BSP_MAX_QUEUE_SIZE`): what a slow collector does not take is dropped, and said so.

use crate::client::{ClientError, Collector};
use crate::id::TimedIds;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::env;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Exports this process's spans; to be shut down before it ends, or the last ones are lost.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

/// Why spans are not exported, though the environment asks for it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A variable has a value that means nothing here.
    #[error("{variable}={value} is not supported; set it to {instead}")]
    Unsupported {
        /// Which.
        variable: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        instead: &'static str,
    },
    /// The endpoint, say, is no URL.
    #[error(transparent)]
    Settings(#[from] ExporterBuildError),
    /// No way to the collector.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was started before in this process.
    #[error("tracing is already set up")]
    Started,
}

/// Exports spans where the environment asks for it: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`
/// or `OTEL_TRACES_EXPORTER=otlp`. `service` is the name where `OTEL_SERVICE_NAME` gives none.
///
/// To be called inside a Tokio runtime.
///
/// # Errors
/// The environment asks for something that there is not; nothing is exported then.
pub fn start(service: &'static str, version: &'static str) -> Result<Option<Exporter>, StartError> {
    if !wanted(variable)? {
        return Ok(None);
    }
    let client = Collector::new(variable("OTEL_EXPORTER_OTLP_CERTIFICATE"))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .build()?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", version));
    if variable("OTEL_SERVICE_NAME").is_none() && !names_a_service(variable("OTEL_RESOURCE_ATTRIBUTES")) {
        resource = resource.with_service_name(service);
    }
    let provider = SdkTracerProvider::builder()
        .with_id_generator(TimedIds)
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    TRACER
        .set(provider.tracer(SCOPE))
        .map_err(|_| StartError::Started)?;
    Ok(Some(Exporter(provider)))
}

impl Exporter {
    /// Sends what waits, and returns when it is sent, lost, or a moment is over.
    pub async fn flush(&self) {
        let provider = self.0.clone();
        // It blocks its thread until the runtime has sent the batch.
        let flushed = spawn_blocking(move || provider.force_flush());
        let _ = timeout(FLUSH, flushed).await;
    }

    /// Sends what waits, for the last time.
    pub async fn shutdown(self) {
        let stopped = spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH));
        let _ = timeout(FLUSH, stopped).await;
    }
}

/// Who makes spans; nobody where nothing is exported.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Whether the environment asks for spans, and for something that there is.
fn wanted(variable: impl Fn(&'static str) -> Option<String>) -> Result<bool, StartError> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let named = ENDPOINTS.into_iter().any(|name| variable(name).is_some());
    let wanted = match variable("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => false,
        Some("otlp") => true,
        None => named,
        Some(value) => {
            return Err(StartError::Unsupported {
                variable: "OTEL_TRACES_EXPORTER",
                value: value.into(),
                instead: "otlp or none",
            });
        }
    };
    let protocol = PROTOCOLS
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    match protocol {
        Some((variable, value)) if wanted && value != "http/protobuf" => Err(StartError::Unsupported {
            variable,
            value,
            instead: "http/protobuf, and the endpoint to the collector's port for it (4318)",
        }),
        _ => Ok(wanted),
    }
}

/// An empty variable counts as none (OpenTelemetry's specification of its environment variables).
fn variable(name: &'static str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn names_a_service(attributes: Option<String>) -> bool {
    let attributes = attributes.unwrap_or_default();
    attributes
        .split(',')
        .any(|attribute| attribute.trim_start().starts_with("service.name="))
}

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

const SCOPE: &str = "fluidity";
/// The more special one first.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
/// How long the collector may keep a stop, or an answer of a Lambda, waiting.
const FLUSH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn says(variables: &[(&'static str, &str)]) -> Result<bool, String> {
        let find = |name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        wanted(find).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_are_exported_only_where_the_environment_asks_for_it() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(says(&[]), Ok(false));
        assert_eq!(says(&[("OTEL_SERVICE_NAME", "x")]), Ok(false));
        assert_eq!(says(&[endpoint]), Ok(true));
        assert_eq!(
            says(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x/")]),
            Ok(true)
        );
        assert_eq!(says(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(says(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(says(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        assert_eq!(
            says(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]),
            Ok(true)
        );
    }

    #[test]
    fn what_there_is_not_is_told() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        let error = says(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(
            error.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not supported; set it to http/protobuf"),
            "{error}"
        );
        let error = says(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert_eq!(
            error,
            "OTEL_TRACES_EXPORTER=zipkin is not supported; set it to otlp or none"
        );
    }

    #[test]
    fn a_service_named_among_the_attributes_counts() {
        assert!(names_a_service(Some("a=b, service.name=x".into())));
        assert!(!names_a_service(Some("my.service.name=x".into())));
        assert!(!names_a_service(None));
    }
}
