//! Congestion control by a model of the path: as much in flight as its bandwidth and delay hold, and little more.
//!
//! After BBR (draft-ietf-ccwg-bbr), for an engine that paces by the window alone, so that the window itself has to keep
//! queues short. The bandwidth is the most that was delivered lately, the delay the least that was seen lately. Every
//! eighth round tries a little more, and the next one drains the queue that it made. Packets that are lost at random
//! cost themselves; a path that drops much gets less. `docs/adr/0017-congestion-control.md` says why.
//!
//! Invariants: the window stays between [`LEAST_WINDOW`] packets and [`MOST_WINDOW`] bytes; no I/O and no clock in here.

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a model for each path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelConfig;

impl ControllerFactory for ModelConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Model::new(now, mtu))
    }
}

/// What is known of a path.
#[derive(Clone, Debug)]
struct Model {
    mtu: u64,
    phase: Phase,
    window: u64,
    in_flight: u64,
    bandwidth: Bandwidth,
    delay: Delay,
    round: Round,
    /// What is left of the window after rounds that lost much.
    caution: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The window grows by what arrives, until the bandwidth grows no more; for so many rounds it has not.
    Startup { flat: u8 },
    /// What startup queued is let out.
    Drain,
    /// At the path's size.
    Cruise { step: usize },
    /// Half of it, to see the delay of a path without a queue.
    Look { until: Instant },
}

/// Bytes a second: the most of this while and of the one before.
#[derive(Clone, Copy, Debug)]
struct Bandwidth {
    now: f64,
    before: f64,
    since: Instant,
}

impl Bandwidth {
    fn most(&self) -> f64 {
        self.now.max(self.before)
    }
}

/// The least delay, and when it was seen.
#[derive(Clone, Copy, Debug)]
struct Delay {
    least: Option<Duration>,
    seen: Instant,
}

impl Delay {
    fn least(&self) -> Duration {
        self.least.unwrap_or(ASSUMED_DELAY)
    }
}

/// A packet that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    sent: Instant,
    bytes: u64,
    /// There was nothing more to send behind it.
    idle: bool,
}

/// What became of packets until one that was sent within the round arrived.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    delivered: u64,
    lost: u64,
    /// At some moment there was nothing to send: what arrived is not all that the path could have carried.
    idle: bool,
}

impl Round {
    const fn new(began: Instant) -> Self {
        Self {
            began,
            delivered: 0,
            lost: 0,
            idle: false,
        }
    }

    fn rate(&self, now: Instant) -> f64 {
        let took = now.saturating_duration_since(self.began).max(SHORTEST_ROUND);
        float(self.delivered) / took.as_secs_f64()
    }

    /// Of a few packets, one that is lost says nothing.
    fn lost_much(&self, mtu: u64) -> bool {
        self.lost > LEAST_LOSS * mtu && float(self.lost) > MUCH_LOSS * float(self.lost + self.delivered)
    }
}

impl Model {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            phase: Phase::Startup { flat: 0 },
            window: INITIAL_WINDOW,
            in_flight: 0,
            bandwidth: Bandwidth {
                now: 0.0,
                before: 0.0,
                since: now,
            },
            delay: Delay {
                least: None,
                seen: now,
            },
            round: Round::new(now),
            caution: 1.0,
        }
    }

    fn acknowledged(&mut self, now: Instant, packet: Arrived) {
        let Arrived { sent, bytes, idle } = packet;
        self.round.delivered += bytes;
        self.round.idle |= idle;
        let took = now.saturating_duration_since(sent);
        if self.delay.least.is_none_or(|least| took <= least) {
            self.delay = Delay {
                least: Some(took),
                seen: now,
            };
        }
        if matches!(self.phase, Phase::Startup { .. }) && !idle {
            self.window = (self.window + bytes).min(MOST_WINDOW);
        }
        if sent >= self.round.began && now.saturating_duration_since(self.round.began) >= SHORTEST_ROUND {
            let round = std::mem::replace(&mut self.round, Round::new(now));
            self.learn(now, round);
        }
    }

    /// Takes a round into the model.
    fn learn(&mut self, now: Instant, round: Round) {
        let (rate, before) = (round.rate(now), self.bandwidth.most());
        let much = round.lost_much(self.mtu);
        // What is known of a path is kept while there is too little to send to learn anew.
        if !round.idle {
            let kept = (self.delay.least() * KEPT_DELAYS).max(KEPT);
            if now.saturating_duration_since(self.bandwidth.since) > kept {
                self.bandwidth = Bandwidth {
                    now: 0.0,
                    before: self.bandwidth.now,
                    since: now,
                };
            }
        }
        if !round.idle || rate > before {
            self.bandwidth.now = self.bandwidth.now.max(rate);
        }
        self.caution = match self.phase {
            // What fell out of the queue that startup made says nothing of the path's size.
            Phase::Startup { .. } | Phase::Drain => 1.0,
            _ if much => (self.caution * MORE_CAUTION).max(MOST_CAUTION),
            _ => (self.caution * LESS_CAUTION).min(1.0),
        };
        self.phase = match self.phase {
            Phase::Startup { .. } if much => Phase::Drain,
            Phase::Startup { flat } => match rate {
                _ if rate > before * GROWTH => Phase::Startup { flat: 0 },
                // Nothing to learn, with so little to send.
                _ if round.idle && (rate < before * FAST || round.delivered < self.window / 2) => {
                    Phase::Startup { flat }
                }
                _ if flat + 1 < FLAT_ROUNDS => Phase::Startup { flat: flat + 1 },
                _ => Phase::Drain,
            },
            Phase::Drain if float(self.in_flight) <= self.size() => Phase::Cruise { step: FIRST_STEP },
            Phase::Drain => Phase::Drain,
            // A little more brought much more: the path has grown.
            Phase::Cruise { .. } if rate > before * LEAP && before > 0.0 => Phase::Startup {
                flat: FLAT_ROUNDS - 1,
            },
            Phase::Cruise { step } => Phase::Cruise {
                step: (step + 1) % GAINS.len(),
            },
            look @ Phase::Look { .. } => look,
        };
        self.resize();
    }

    /// What the path holds without a queue, and what the ends' own scheduling needs.
    fn size(&self) -> f64 {
        let delay = self.delay.least() + SLACK;
        self.bandwidth.most() * delay.as_secs_f64() * self.caution
    }

    fn resize(&mut self) {
        let gain = match self.phase {
            Phase::Startup { .. } => return,
            Phase::Drain => DRAIN_GAIN,
            Phase::Cruise { step } => GAINS.get(step).copied().unwrap_or(1.0),
            Phase::Look { .. } => LOOK_GAIN,
        };
        self.window = integer(self.size() * gain).clamp(LEAST_WINDOW * self.mtu, MOST_WINDOW);
    }

    fn settle(&mut self, now: Instant, in_flight: u64) {
        self.in_flight = in_flight;
        match self.phase {
            Phase::Look { until } if now >= until => self.phase = Phase::Cruise { step: FIRST_STEP },
            Phase::Cruise { .. } if now.saturating_duration_since(self.delay.seen) > STALE => {
                self.phase = Phase::Look {
                    until: now + self.delay.least() + LOOK,
                };
                self.resize();
                self.delay = Delay {
                    least: None,
                    seen: now,
                };
                return;
            }
            _ => return,
        }
        self.resize();
    }

    fn lost(&mut self, now: Instant, bytes: u64, persistent: bool) {
        self.round.lost += bytes;
        if persistent {
            // RFC 9002 §7.6.2: nothing arrives any more. Whatever the path is now, it is to be learnt anew.
            let mtu = self.mtu;
            *self = Self::new(now, INITIAL_MTU);
            self.mtu = mtu;
            self.window = LEAST_WINDOW * mtu;
        }
    }
}

impl Controller for Model {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _: &RttEstimator) {
        let idle = app_limited;
        self.acknowledged(now, Arrived { sent, bytes, idle });
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _: bool, _: Option<u64>) {
        self.settle(now, in_flight);
    }

    fn on_congestion_event(&mut self, now: Instant, _: Instant, persistent: bool, lost: u64) {
        self.lost(now, lost, persistent);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Exact up to 2^53 bytes.
#[expect(clippy::as_conversions, reason = "there is no other way from an integer")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// Rounds down; what is too large, or no number, ends at the nearest.
#[expect(clippy::as_conversions, reason = "there is no other way to an integer")]
fn integer(bytes: f64) -> u64 {
    bytes as u64
}

const INITIAL_MTU: u16 = 1200;
const INITIAL_WINDOW: u64 = 200 * 1200;
/// Packets.
const LEAST_WINDOW: u64 = 4;
const MOST_WINDOW: u64 = 16 * 1024 * 1024;
/// Before a packet arrived.
const ASSUMED_DELAY: Duration = Duration::from_millis(100);
/// What the ends' scheduling adds to a path's delay: on a path of microseconds it is all there is.
const SLACK: Duration = Duration::from_millis(4);
/// In less, what arrives says more of scheduling than of the path.
const SHORTEST_ROUND: Duration = Duration::from_millis(5);
/// One round more, one less, and six with what keeps the path full while lost packets are noticed.
const GAINS: [f64; 8] = [1.25, 0.75, 1.05, 1.05, 1.05, 1.05, 1.05, 1.05];
const FIRST_STEP: usize = 2;
const DRAIN_GAIN: f64 = 0.75;
const LOOK_GAIN: f64 = 0.5;
/// A round of startup that is not faster by this is flat; so many in a row end it.
const GROWTH: f64 = 1.25;
const FLAT_ROUNDS: u8 = 3;
/// A round with pauses that was so fast all the same, and used half of the window, counts.
const FAST: f64 = 0.75;
const LEAP: f64 = 1.12;
/// How long a bandwidth counts, at least.
const KEPT: Duration = Duration::from_secs(1);
const KEPT_DELAYS: u32 = 8;
/// A delay that old is looked at again, for so long.
const STALE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// More than what radio and noise lose: a queue overflows.
const MUCH_LOSS: f64 = 0.08;
/// Packets.
const LEAST_LOSS: u64 = 10;
const MORE_CAUTION: f64 = 0.85;
const LESS_CAUTION: f64 = 1.1;
const MOST_CAUTION: f64 = 0.3;

#[cfg(test)]
mod tests;
