//! An OTLP endpoint as OpenTelemetry's specification has it: `POST /v1/traces` with a protobuf body.

use crate::wait::until;
use fluidity_fakes::http::{Server, answer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Takes spans and keeps them.
#[derive(Debug)]
pub struct Collector {
    server: Server,
    received: Arc<Mutex<Vec<Exported>>>,
}

/// A span that arrived.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Whose it is: `service.name` of the resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// The trace that it is a part of, in hexadecimal.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's id; empty where it is a root.
    pub parent: String,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it says that it failed.
    pub failed: bool,
}

impl Collector {
    /// Takes everything.
    pub async fn start() -> Self {
        let received = Arc::<Mutex<Vec<Exported>>>::default();
        let keep = received.clone();
        let server = Server::start(move |asked| {
            let keep = keep.clone();
            async move {
                assert_eq!(
                    (asked.method.as_str(), asked.path.as_str()),
                    ("POST", "/v1/traces")
                );
                assert_eq!(asked.headers["content-type"], "application/x-protobuf");
                let request = ExportTraceServiceRequest::decode(asked.body).expect("OTLP");
                let mut received = keep.lock().unwrap_or_else(PoisonError::into_inner);
                received.extend(spans(request));
                let body = ExportTraceServiceResponse::default().encode_to_vec();
                let body = String::from_utf8(body).expect("an empty message");
                Ok(answer(200, "application/x-protobuf", body))
            }
        })
        .await;
        Self { server, received }
    }

    /// What makes a process export to it, soon.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.server.addr());
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Everything that has arrived.
    pub fn received(&self) -> Vec<Exported> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a span of this service with this name and parent.
    pub async fn span(&self, service: &str, name: &str, parent: &str) -> Exported {
        until(
            Duration::from_secs(15),
            &format!("{service} exports {name:?}"),
            || async {
                let received = self.received();
                let found = received.iter().find(|span| {
                    (span.service.as_str(), span.name.as_str(), span.parent.as_str())
                        == (service, name, parent)
                });
                found.cloned().ok_or(received)
            },
        )
        .await
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Exported> {
    let mut exported = Vec::new();
    for resource in request.resource_spans {
        let about = resource.resource.map(|resource| resource.attributes);
        let about = attributes(about.unwrap_or_default());
        let service = about.get("service.name").cloned().unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        exported.extend(spans.map(|span| exported_span(&service, span)));
    }
    exported
}

fn exported_span(service: &str, span: Span) -> Exported {
    Exported {
        service: service.to_owned(),
        kind: span.kind(),
        failed: span
            .status
            .as_ref()
            .is_some_and(|status| status.code() == StatusCode::Error),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(span.attributes),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|pair| (pair.key, text(pair.value)))
        .collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
