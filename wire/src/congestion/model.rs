//! The model of a path: its bandwidth, its delay without this connection's queue, and the window that follows.
//!
//! The bandwidth is the most that was delivered lately, the delay what packets meet while little is in flight (`delay`). One
//! round in eight tries more than that; the next one drains the queue that came of it, and sees the path without it. Packets
//! that are lost at random cost themselves; a path that drops more when it is loaded gets less.
//!
//! Invariants: the window stays between [`LEAST_WINDOW`] packets and [`MOST_WINDOW`] bytes; no I/O and no clock in here.

use super::delay::Delay;
use super::{float, integer};
use std::time::{Duration, Instant};

/// What is known of a path.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) window: u64,
    mtu: u64,
    phase: Phase,
    in_flight: u64,
    bandwidth: Bandwidth,
    delay: Delay,
    round: Round,
    /// Seconds; the least delays of the last rounds.
    recent: [f64; 3],
    /// What is left of the window after rounds that lost much more than light traffic does.
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
    /// Half of it, to see the least delay again.
    Look { until: Instant },
}

/// Bytes a second: the most of this while and of the one before.
#[derive(Clone, Copy, Debug)]
struct Bandwidth {
    now: f64,
    before: f64,
    since: Instant,
    /// The most after the last round that tried more.
    probed: f64,
}

impl Bandwidth {
    fn most(&self) -> f64 {
        self.now.max(self.before)
    }
}

/// A packet that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) sent: Instant,
    pub(super) bytes: u64,
    /// There was nothing more to send behind it.
    pub(super) idle: bool,
}

/// What became of packets until one that was sent within the round arrived.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    /// When the first and the last of the packets that arrived in it were sent.
    sent: (Instant, Instant),
    delivered: u64,
    lost: u64,
    /// Seconds; the least delay.
    least: f64,
    /// At some moment there was nothing to send: what arrived is not all that the path could have carried.
    idle: bool,
}

impl Round {
    const fn new(began: Instant, sent: Instant) -> Self {
        Self {
            began,
            sent: (sent, sent),
            delivered: 0,
            lost: 0,
            least: f64::MAX,
            idle: false,
        }
    }

    /// Neither more than was sent, nor more than arrived: acknowledgements that were held up on their way come at once.
    fn rate(&self, now: Instant) -> f64 {
        let arriving = now.saturating_duration_since(self.began);
        let sending = self.sent.1.saturating_duration_since(self.sent.0);
        float(self.delivered) / arriving.max(sending).max(SHORTEST_ROUND).as_secs_f64()
    }

    /// Whether it lost much more than the part that light traffic loses. Of a few packets, one that is lost says nothing.
    fn lost_much(&self, light: f64, mtu: u64) -> bool {
        let bytes = float(self.lost + self.delivered);
        self.lost > LEAST_LOSS * mtu && float(self.lost) > (light + MUCH_LOSS) * bytes
    }
}

/// A round of startup.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Grown,
    Unused,
    Flat,
    /// Flat, with a queue or losses.
    Full,
}

impl Verdict {
    fn follow(self, flat: u8) -> Phase {
        let flat = match self {
            Self::Grown => 0,
            Self::Unused => flat,
            Self::Flat => flat + 1,
            Self::Full => flat + 2,
        };
        if flat < FLAT_ROUNDS {
            Phase::Startup { flat }
        } else {
            Phase::Drain
        }
    }
}

impl Model {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            window: INITIAL_WINDOW,
            mtu: mtu.into(),
            phase: Phase::Startup { flat: 0 },
            in_flight: 0,
            bandwidth: Bandwidth {
                now: 0.0,
                before: 0.0,
                since: now,
                probed: 0.0,
            },
            delay: Delay::new(now),
            round: Round::new(now, now),
            recent: [f64::MAX; 3],
            caution: 1.0,
        }
    }

    /// A packet leaves.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64) {
        self.in_flight += bytes;
        self.weigh(now);
    }

    /// A packet arrived.
    pub(super) fn acknowledged(&mut self, now: Instant, packet: Arrived) {
        let Arrived { sent, bytes, idle } = packet;
        let took = self.delay.arrived(now, sent, bytes);
        self.round.delivered += bytes;
        self.round.idle |= idle;
        self.round.sent.1 = self.round.sent.1.max(sent);
        self.round.least = self.round.least.min(took);
        if matches!(self.phase, Phase::Startup { .. }) && !idle {
            self.window = (self.window + bytes).min(self.startup_most()).max(self.window);
        }
        if sent >= self.round.began && now.saturating_duration_since(self.round.began) >= SHORTEST_ROUND {
            let round = std::mem::replace(&mut self.round, Round::new(now, sent));
            self.learn(now, round);
        }
    }

    /// The acknowledgements of a packet from the peer are through.
    pub(super) fn settle(&mut self, now: Instant, in_flight: u64) {
        self.in_flight = in_flight;
        self.weigh(now);
        match self.phase {
            Phase::Look { until } if now >= until => self.phase = Phase::Cruise { step: FIRST_STEP },
            // The path was seen without the queue: there is no need to leave it idle for longer.
            Phase::Cruise { step } if step % CYCLE == DRAINING && self.has_drained(now) => {
                self.phase = Phase::Cruise { step: step + 1 };
            }
            Phase::Cruise { .. } if self.delay.age(now) > STALE => {
                let long = Duration::from_secs_f64(self.delay.least());
                self.phase = Phase::Look {
                    until: now + long + LOOK,
                };
                self.resize();
                self.delay.forget_least(now);
                return;
            }
            _ => return,
        }
        self.resize();
    }

    /// Packets were lost, the last of which was sent then.
    pub(super) fn lost(&mut self, sent: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.round.lost += bytes;
        self.delay.lost(sent, bytes);
    }

    /// RFC 9002 §7.6.2: nothing arrives any more. Whatever the path is now, it is to be learnt anew.
    pub(super) fn forget(&mut self, now: Instant) {
        let mtu = self.mtu;
        *self = Self::new(now, INITIAL_MTU);
        self.mtu = mtu;
        self.window = LEAST_WINDOW * mtu;
    }

    /// Packets have another size.
    pub(super) fn resized(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    fn weigh(&mut self, now: Instant) {
        let known = !matches!(self.phase, Phase::Startup { .. });
        let light = known && float(self.in_flight) < LIGHT * self.product();
        self.delay.weigh(now, light);
    }

    fn has_drained(&self, now: Instant) -> bool {
        let enough = Duration::from_secs_f64(self.delay.path() * DRAINED);
        self.delay.light_for(now).is_some_and(|light| light > enough)
    }

    /// Takes a round into the model.
    fn learn(&mut self, now: Instant, round: Round) {
        let (rate, before) = (round.rate(now), self.bandwidth.most());
        let (much, verdict) = (
            round.lost_much(self.delay.loss(), self.mtu),
            self.judge(&round, rate),
        );
        // What is known of a path is kept while there is too little to send to learn anew.
        if !round.idle {
            let kept = Duration::from_secs_f64(self.delay.path() * KEPT_DELAYS).max(KEPT);
            if now.saturating_duration_since(self.bandwidth.since) > kept {
                self.bandwidth.before = self.bandwidth.now;
                self.bandwidth.now = 0.0;
                self.bandwidth.since = now;
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
            Phase::Startup { flat } => verdict.follow(flat),
            Phase::Drain if self.in_flight <= self.window => Phase::Cruise { step: FIRST_STEP },
            Phase::Drain => Phase::Drain,
            // A little more brought much more: the path has grown.
            Phase::Cruise { .. } if rate > before * LEAP && before > 0.0 => Phase::Startup {
                flat: FLAT_ROUNDS - 2,
            },
            // It brought some: it is tried again at once.
            Phase::Cruise { step } => Phase::Cruise {
                step: match step % CYCLE {
                    PROBED if self.has_grown() => CYCLE,
                    _ => (step + 1) % (CYCLE * CYCLES),
                },
            },
            look @ Phase::Look { .. } => look,
        };
        self.recent = [self.recent[1], self.recent[2], round.least];
        self.resize();
        self.weigh(now);
    }

    /// Seconds. On a path whose delay varies, more than the least delay ever, and still less than that of a new queue.
    fn recently_least(&self) -> f64 {
        let least = self.recent.iter().copied().fold(f64::MAX, f64::min);
        if least < f64::MAX {
            least
        } else {
            self.delay.least()
        }
    }

    /// What a round of startup says of the path.
    fn judge(&self, round: &Round, rate: f64) -> Verdict {
        let known = self.bandwidth.most();
        let queued = round.least > self.recently_least() * QUEUED_TIMES + QUEUED_MORE;
        match () {
            () if rate > known * GROWTH => Verdict::Grown,
            // Nothing to learn, with so little to send.
            () if round.idle && (rate < known * FAST || round.delivered < self.window / 2) => Verdict::Unused,
            () if queued || round.lost_much(self.delay.loss(), self.mtu) => Verdict::Full,
            () => Verdict::Flat,
        }
    }

    /// Whether the bandwidth has grown since the last round that tried more.
    fn has_grown(&mut self) -> bool {
        let most = self.bandwidth.most();
        let before = std::mem::replace(&mut self.bandwidth.probed, most);
        most > before * PROBE_GROWTH
    }

    /// Startup goes no further than this, so that its last round queues less than two of the path's products.
    fn startup_most(&self) -> u64 {
        let most = match self.bandwidth.most() {
            bandwidth if bandwidth > 0.0 => {
                integer(STARTUP_GAIN * bandwidth * (self.recently_least() + SLACK))
            }
            _ => MOST_WINDOW,
        };
        (most + LEAST_WINDOW * self.mtu).clamp(INITIAL_WINDOW, MOST_WINDOW)
    }

    /// Bandwidth times delay, and what the ends' own scheduling needs.
    fn product(&self) -> f64 {
        self.bandwidth.most() * (self.delay.path() + SLACK)
    }

    /// What the path holds. Of that, what is going to be lost is in flight for as long as the rest.
    fn size(&self) -> f64 {
        self.product() * self.caution / (1.0 - self.delay.loss().min(MOST_LOSS))
    }

    fn resize(&mut self) {
        let gain = match self.phase {
            Phase::Startup { .. } => return,
            Phase::Drain => DRAIN_GAIN,
            Phase::Cruise { step: 0 } => STRONG_GAIN,
            Phase::Cruise { step } => GAINS.get(step % CYCLE).copied().unwrap_or(1.0),
            Phase::Look { .. } => LOOK_GAIN,
        };
        self.window = integer(self.size() * gain).clamp(LEAST_WINDOW * self.mtu, MOST_WINDOW);
    }
}

const INITIAL_MTU: u16 = 1200;
/// Bytes.
pub(super) const INITIAL_WINDOW: u64 = 32 * 1200;
/// Packets. The engine lets one less go, and a peer acknowledges the odd one late.
pub(super) const LEAST_WINDOW: u64 = 6;
/// Bytes.
pub(super) const MOST_WINDOW: u64 = 16 * 1024 * 1024;
/// Seconds. What the ends' scheduling adds to a path's delay: on a path of microseconds it is all there is.
const SLACK: f64 = 0.004;
/// In less, what arrives says more of scheduling than of the path.
const SHORTEST_ROUND: Duration = Duration::from_millis(5);
/// One round more, one less, and six with what keeps the path full while lost packets are noticed.
const CYCLE: usize = 8;
const GAINS: [f64; CYCLE] = [1.25, 0.7, 1.05, 1.05, 1.05, 1.05, 1.05, 1.05];
const STRONG_GAIN: f64 = 2.0;
const CYCLES: usize = 8;
const DRAINING: usize = 1;
const FIRST_STEP: usize = 2;
/// What the round that tried more brought is known.
const PROBED: usize = 3;
const PROBE_GROWTH: f64 = 1.08;
const DRAIN_GAIN: f64 = 0.75;
const LOOK_GAIN: f64 = 0.5;
/// Of bandwidth times delay: with less in flight there is no queue of ours.
const LIGHT: f64 = 0.75;
/// Delays for which little has to be in flight to have seen the path.
const DRAINED: f64 = 0.25;
/// What startup may have in flight, in products of what it has found.
const STARTUP_GAIN: f64 = 2.9;
/// A round of startup that is not faster by this is flat; so many in a row end it.
const GROWTH: f64 = 1.25;
const FLAT_ROUNDS: u8 = 3;
/// A round's least delay that is so many times that of the last ones, and so many seconds more, waited in a queue.
const QUEUED_TIMES: f64 = 1.25;
const QUEUED_MORE: f64 = 0.004;
/// A round with pauses that was so fast all the same, and used half of the window, counts.
const FAST: f64 = 0.75;
const LEAP: f64 = 1.12;
/// How long a bandwidth counts, at least.
const KEPT: Duration = Duration::from_secs(1);
const KEPT_DELAYS: f64 = 8.0;
/// A least delay that old is looked at again, for so long.
const STALE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
/// More than light traffic loses by this: a queue overflows.
const MUCH_LOSS: f64 = 0.08;
/// Packets.
const LEAST_LOSS: u64 = 10;
/// The part of losses that the window makes room for.
const MOST_LOSS: f64 = 0.3;
const MORE_CAUTION: f64 = 0.85;
const LESS_CAUTION: f64 = 1.1;
const MOST_CAUTION: f64 = 0.3;
