//! A span as another process knows it: the W3C Trace Context, in a header's form and in bytes.
//!
//! What is malformed is no context, and never an error: tracing must not keep a request from being served.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, propagation::TextMapPropagator};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The span that others descend from.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceParent(SpanContext);

impl TraceParent {
    pub(crate) fn new(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self(context.clone()))
    }

    pub(crate) fn context(&self) -> Context {
        Context::new().with_remote_span_context(self.0.clone())
    }

    /// From the fields `traceparent` and `tracestate` (W3C Trace Context §3).
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key("traceparent") {
            return None;
        }
        let found =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        Self::new(found.span().span_context())
    }

    /// From the text of a field `traceparent` alone.
    pub fn from_text(traceparent: &str) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(traceparent).ok()?);
        Self::from_headers(&headers)
    }

    /// Puts the fields `traceparent` and `tracestate` in.
    pub fn into_headers(&self, headers: &mut HeaderMap) {
        TraceContextPropagator::new().inject_context(&self.context(), &mut HeaderInjector(headers));
    }

    /// From the form that AWS uses: `Root=1-SECONDS-RANDOM;Parent=ID;Sampled=0 or 1`.
    pub fn from_xray(text: &str) -> Option<Self> {
        let part = |name: &str| {
            let mut parts = text.split(';').filter_map(|part| part.trim().split_once('='));
            parts.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let (seconds, random) = part("Root")?.strip_prefix("1-")?.split_once('-')?;
        let trace = TraceId::from_hex(&format!("{seconds}{random}")).ok()?;
        let span = SpanId::from_hex(part("Parent")?).ok()?;
        let flags = match part("Sampled") {
            Some("1") => TraceFlags::SAMPLED,
            _ => TraceFlags::default(),
        };
        Self::new(&SpanContext::new(trace, span, flags, true, TraceState::default()))
    }

    /// From trace id, parent id and flags, one after the other.
    pub fn from_bytes(bytes: [u8; 25]) -> Option<Self> {
        let (trace, rest) = bytes.split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        let flags = TraceFlags::new(*flags.first()?);
        let (trace, span) = (TraceId::from_bytes(*trace), SpanId::from_bytes(*span));
        Self::new(&SpanContext::new(trace, span, flags, true, TraceState::default()))
    }

    /// Trace id, parent id and flags, one after the other.
    pub fn to_bytes(&self) -> [u8; 25] {
        let mut bytes = [0; 25];
        let trace = self.0.trace_id().to_bytes();
        let span = self.0.span_id().to_bytes();
        let flags = [self.0.trace_flags().to_u8()];
        for (byte, value) in bytes.iter_mut().zip(trace.into_iter().chain(span).chain(flags)) {
            *byte = value;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(traceparent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(traceparent).unwrap());
        headers
    }

    #[test]
    fn a_context_is_the_same_in_every_form() {
        let from_header = TraceParent::from_headers(&headers(HEADER)).unwrap();
        assert_eq!(TraceParent::from_text(HEADER).unwrap(), from_header);
        let mut written = HeaderMap::new();
        from_header.into_headers(&mut written);
        assert_eq!(written["traceparent"], HEADER);

        let from_bytes = TraceParent::from_bytes(from_header.to_bytes()).unwrap();
        assert_eq!(from_bytes, from_header);
        assert_eq!(from_header.to_bytes()[24], 1);

        let xray = "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1;Lineage=x";
        assert_eq!(TraceParent::from_xray(xray).unwrap(), from_header);
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::from_headers(&headers(bad)), None, "{bad}");
        }
        for bad in [
            "",
            "Root=1-0af76519-16cd43dd8448eb211c80319c;Sampled=1",
            "Root=2-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331",
            "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=0000000000000000",
            "Root=;Parent=;Sampled=",
        ] {
            assert_eq!(TraceParent::from_xray(bad), None, "{bad}");
        }
        assert_eq!(TraceParent::from_headers(&HeaderMap::new()), None);
        assert_eq!(TraceParent::from_bytes([0; 25]), None);
    }
}
