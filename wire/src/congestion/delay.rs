//! The delay of a path without this connection's own queue, and what it loses then.
//!
//! The least delay ever seen is too little: radio, other senders and the peer's scheduling add to it, and a window made of
//! it would be a part of the path. The smoothed delay is too much: the queue that the window itself made is in it, and the
//! window would grow with its own queue. So only packets that were sent while *little was in flight* count. Whatever delays
//! or drops them is the path, and not this connection.
//!
//! Invariant: no I/O and no clock in here.

use super::float;
use std::time::{Duration, Instant};

/// What light traffic met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    /// Seconds: the least one, and when it was seen.
    least: Option<f64>,
    seen: Instant,
    /// Seconds: the mean of packets that were sent while little was in flight.
    light: Option<f64>,
    /// The part of their bytes that was lost.
    loss: f64,
    span: Span,
    sample: Sample,
}

/// When little was in flight, the last time.
#[derive(Clone, Copy, Debug)]
enum Span {
    Never,
    Since(Instant),
    Was(Instant, Instant),
}

/// What became of the packets of a span.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    delays: f64,
    packets: u32,
    arrived: u64,
    lost: u64,
}

impl Delay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            least: None,
            seen: now,
            light: None,
            loss: 0.0,
            span: Span::Never,
            sample: Sample::default(),
        }
    }

    /// Seconds; the least delay.
    pub(super) fn least(&self) -> f64 {
        self.least.unwrap_or(ASSUMED)
    }

    /// Seconds; the delay that packets meet without this connection's queue.
    ///
    /// Bounded: where many such connections share a path, each takes the queues of the others for the path.
    pub(super) fn path(&self) -> f64 {
        let least = self.least();
        let most = least * MOST_TIMES + MOST_MORE;
        self.light.unwrap_or(least).clamp(least, most)
    }

    /// The part of bytes that is lost although little is in flight.
    pub(super) fn loss(&self) -> f64 {
        self.loss
    }

    /// How long ago the least delay was seen.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen)
    }

    /// The least delay is to be seen anew.
    pub(super) fn forget_least(&mut self, now: Instant) {
        self.least = None;
        self.seen = now;
    }

    /// How long little has been in flight.
    pub(super) fn light_for(&self, now: Instant) -> Option<Duration> {
        match self.span {
            Span::Since(since) => Some(now.saturating_duration_since(since)),
            Span::Never | Span::Was(..) => None,
        }
    }

    /// Notes whether little is in flight now.
    pub(super) fn weigh(&mut self, now: Instant, light: bool) {
        match self.span {
            Span::Never if light => self.span = Span::Since(now),
            Span::Since(since) if !light => self.span = Span::Was(since, now),
            // What was sent in the last one is known to have arrived, or not.
            Span::Was(_, end) if light => {
                let passed = now.saturating_duration_since(end).as_secs_f64();
                if passed > self.path() * SETTLED {
                    self.take_sample();
                    self.span = Span::Since(now);
                }
            }
            _ => {}
        }
    }

    /// A packet arrived. Returns its delay in seconds.
    pub(super) fn arrived(&mut self, now: Instant, sent: Instant, bytes: u64) -> f64 {
        let took = now.saturating_duration_since(sent).as_secs_f64();
        if self.least.is_none_or(|least| took <= least) {
            self.least = Some(took);
            self.seen = now;
        }
        if self.span.holds(sent) {
            self.sample.delays += took;
            self.sample.packets += 1;
            self.sample.arrived += bytes;
            if self.sample.packets >= MANY {
                self.take_sample();
            }
        }
        took
    }

    /// Packets were lost, the last of which was sent then.
    pub(super) fn lost(&mut self, sent: Instant, bytes: u64) {
        if self.span.holds(sent) {
            self.sample.lost += bytes;
        }
    }

    fn take_sample(&mut self) {
        let sample = std::mem::take(&mut self.sample);
        if sample.packets > 0 {
            let mean = sample.delays / f64::from(sample.packets);
            self.light = Some(self.light.map_or(mean, |known| known + (mean - known) * NEWS));
        }
        let bytes = sample.arrived + sample.lost;
        if bytes > 0 {
            let loss = float(sample.lost) / float(bytes);
            self.loss += (loss - self.loss) * NEWS_OF_LOSS;
        }
    }
}

impl Span {
    fn holds(self, sent: Instant) -> bool {
        match self {
            Self::Never => false,
            Self::Since(since) => sent >= since,
            Self::Was(since, end) => sent >= since && sent <= end,
        }
    }
}

/// Seconds, before a packet arrived.
const ASSUMED: f64 = 0.1;
/// A path's delay is at most so many times the least one, and so many seconds more.
const MOST_TIMES: f64 = 2.0;
const MOST_MORE: f64 = 0.06;
/// Delays after which the packets of a span have arrived or are known to be lost.
const SETTLED: f64 = 1.5;
/// Packets after which a long span counts without waiting for its end.
const MANY: u32 = 64;
/// How much a new sample counts beside what was known.
const NEWS: f64 = 0.5;
const NEWS_OF_LOSS: f64 = 0.25;
