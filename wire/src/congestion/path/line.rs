//! What a computed path is like.

/// Bytes of a packet.
pub(in super::super) const MTU: f64 = 1452.0;

/// A bottleneck and what is before and behind it.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Line {
    /// Bytes a second.
    pub(in super::super) rate: f64,
    /// Seconds there and back.
    pub(in super::super) rtt: f64,
    /// Seconds that packets may wait for the bottleneck.
    pub(in super::super) queue: f64,
    /// The part of packets that is lost, each way.
    pub(in super::super) loss: f64,
    /// Seconds that a packet may come sooner or later, each way; in order.
    pub(in super::super) jitter: f64,
}

impl Line {
    /// 20 Mbit/s, 50 ms, a queue of 100 ms.
    pub(in super::super) const ORDINARY: Self = Self {
        rate: 2.5e6,
        rtt: 0.05,
        queue: 0.1,
        loss: 0.0,
        jitter: 0.0,
    };
}
