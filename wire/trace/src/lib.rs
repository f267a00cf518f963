//! Tracing: where the time of one request goes, from the client to the dial, across agent, server and Lambdas.
//!
//! Off unless the standard `OTEL_…` variables name an OTLP endpoint; then spans go there in batches, by OTLP over HTTP.
//! Off, a [`Span`] is nothing: no clock, no allocation. Spans never name more than hosts, ports and outcomes, and a
//! collector that is slow or gone costs spans, never requests. The context travels as [`TraceParent`].

mod client;
mod exporter;
mod id;
mod parent;
mod span;

pub use exporter::{Exporter, StartError, start};
pub use opentelemetry::Value;
pub use parent::TraceParent;
pub use span::Span;
