//! A token bucket: what exceeds a rate by more than a burst is dropped, and nothing waits.

use crate::packet::Arrival;
use std::time::Instant;

/// The bucket of one direction.
pub struct Policer {
    tokens: f64,
    filled_at: Instant,
}

impl Policer {
    /// It begins empty, and fills with its first burst while little is sent.
    pub const fn new(now: Instant) -> Self {
        Self {
            tokens: 0.0,
            filled_at: now,
        }
    }

    /// Whether a packet passes at `rate` bits per second with bursts of `burst` bytes.
    pub fn passes(&mut self, packet: Arrival, rate: f64, burst: f64) -> bool {
        if rate <= 0.0 {
            return true;
        }
        let earned = packet.at.saturating_duration_since(self.filled_at).as_secs_f64() * rate / 8.0;
        self.filled_at = packet.at;
        // A bucket that no packet fits into would let nothing through, ever.
        self.tokens = (self.tokens + earned).min(burst.max(LEAST_BURST));
        let size = packet.size as f64;
        let passes = self.tokens >= size;
        if passes {
            self.tokens -= size;
        }
        passes
    }
}

const LEAST_BURST: f64 = 4096.0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(at: Instant) -> Arrival {
        Arrival {
            at,
            size: 1000,
            is_udp: true,
        }
    }

    /// How many of `count` packets of 1000 bytes pass, one each `gap`.
    fn passed(policer: &mut Policer, from: Instant, gap: Duration, count: u32) -> usize {
        (0..count)
            .filter(|number| policer.passes(packet(from + gap * *number), 8e6, 64_000.0))
            .count()
    }

    #[test]
    fn the_rate_passes_and_the_rest_does_not() {
        let now = Instant::now();
        let mut policer = Policer::new(now);
        // 8 Mbit/s are 1000 packets a second; 2000 a second arrive, for 10 s.
        let passed = passed(&mut policer, now, Duration::from_micros(500), 20_000);
        assert!((9_990..=10_065).contains(&passed), "{passed}");
    }

    #[test]
    fn a_pause_earns_one_burst_at_most() {
        let now = Instant::now();
        let mut policer = Policer::new(now);
        let later = now + Duration::from_secs(60);
        assert_eq!(passed(&mut policer, later, Duration::ZERO, 1_000), 64);
    }

    #[test]
    fn no_rate_is_no_policer() {
        let now = Instant::now();
        let mut policer = Policer::new(now);
        assert!((0..100).all(|_| policer.passes(packet(now), 0.0, 0.0)));
    }
}
