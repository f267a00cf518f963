//! Trace ids that AWS X-Ray takes too: their first four bytes are the time, in seconds.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;
use rand::Rng;
use std::time::{SystemTime, UNIX_EPOCH};

/// Random ids, the trace's with the time in front.
#[derive(Debug)]
pub(crate) struct TimedIds;

impl IdGenerator for TimedIds {
    fn new_trace_id(&self) -> TraceId {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Wraps in 2106, as X-Ray's own ids do.
        let [_, _, _, _, time @ ..] = now.as_secs().to_be_bytes();
        let mut id: [u8; 16] = rand::rng().random();
        for (byte, time) in id.iter_mut().zip(time) {
            *byte = time;
        }
        TraceId::from_bytes(id)
    }

    fn new_span_id(&self) -> SpanId {
        // An id of zeros is none.
        SpanId::from_bytes(rand::rng().random_range(1..=u64::MAX).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_begins_with_the_time_and_no_two_are_the_same() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (one, other) = (TimedIds.new_trace_id(), TimedIds.new_trace_id());
        let seconds = u64::from(u32::from_be_bytes(one.to_bytes()[..4].try_into().unwrap()));
        assert!((before..=before + 2).contains(&seconds), "{seconds}");
        assert_ne!(one, other);
        assert_ne!(TimedIds.new_span_id(), TimedIds.new_span_id());
    }
}
