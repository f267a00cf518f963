//! One span: it begins when it is made and ends when it is dropped.

use crate::exporter::tracer;
use crate::parent::TraceParent;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::Span as SdkSpan;
use std::borrow::Cow;

/// A piece of work that is timed. Nothing where nobody traces.
#[derive(Debug, Default)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// Work that another process, or a client, asked for; the root of a trace where it has no parent.
    pub fn server(name: impl Into<Cow<'static, str>>, parent: impl FnOnce() -> Option<TraceParent>) -> Self {
        Self::begin(name, SpanKind::Server, parent)
    }

    /// A question to another process, or a connection to it.
    pub fn client(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.child(name, SpanKind::Client)
    }

    /// A part of the work.
    pub fn part(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.child(name, SpanKind::Internal)
    }

    /// A question to another process that no span of this one asks.
    pub fn lone_client(
        name: impl Into<Cow<'static, str>>,
        parent: impl FnOnce() -> Option<TraceParent>,
    ) -> Self {
        Self::begin(name, SpanKind::Client, parent)
    }

    fn child(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        match &self.0 {
            Some(_) => Self::begin(name, kind, || self.parent()),
            None => Self(None),
        }
    }

    fn begin(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: impl FnOnce() -> Option<TraceParent>,
    ) -> Self {
        let Some(tracer) = tracer() else {
            return Self(None);
        };
        let parent = parent().map_or_else(Context::new, |parent| parent.context());
        let builder = tracer.span_builder(name).with_kind(kind);
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }

    /// Notes an attribute; `value` is made only where the span is recorded.
    pub fn set<V: Into<Value>>(&mut self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some(span) = &mut self.0
            && span.is_recording()
        {
            span.set_attribute(KeyValue::new(key, value()));
        }
    }

    /// Notes that it failed, and by which stable name.
    pub fn fail(&mut self, error: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(error));
        }
    }

    /// What descends from it, here or elsewhere, names this.
    pub fn parent(&self) -> Option<TraceParent> {
        self.0
            .as_ref()
            .and_then(|span| TraceParent::new(span.span_context()))
    }
}
