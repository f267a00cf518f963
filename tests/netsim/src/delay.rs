//! The way behind the bottleneck: delay, jitter and packets that come late.

use crate::chance::Chance;
use crate::settings::{Order, Settings};
use std::time::{Duration, Instant};

/// Keeps packets in order, but for those that are meant to be out of it.
pub struct DelayLine {
    last: Instant,
}

impl DelayLine {
    pub const fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// When a packet that left the bottleneck at `left` arrives.
    pub fn arrival(&mut self, left: Instant, settings: &Settings, chance: &mut Chance) -> Instant {
        let mut delay = settings.delay;
        if !settings.jitter.is_zero() {
            let shift = settings.jitter.as_secs_f64() * chance.either_way();
            delay = Duration::from_secs_f64((delay.as_secs_f64() + shift).max(0.0));
        }
        let due = left + delay;
        if chance.percent(settings.reorder) {
            return due + settings.reorder_by;
        }
        if settings.order == Order::Free {
            return due;
        }
        self.last = self.last.max(due);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arrivals of packets that leave 1 ms apart.
    fn arrivals(settings: &Settings, count: u32) -> Vec<Duration> {
        let now = Instant::now();
        let (mut line, mut chance) = (DelayLine::new(now), Chance::new(5));
        let one = |number| {
            let left = now + Duration::from_millis(1) * number;
            line.arrival(left, settings, &mut chance)
                .saturating_duration_since(now)
        };
        (0..count).map(one).collect()
    }

    fn with(words: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in words {
            settings.set(name, value).expect("a setting");
        }
        settings
    }

    #[test]
    fn plain_delay_is_exact() {
        let arrivals = arrivals(&with(&[("delay", "25")]), 3);
        assert_eq!(arrivals, [25, 26, 27].map(Duration::from_millis));
    }

    #[test]
    fn jitter_in_order_never_lets_a_packet_overtake() {
        let arrivals = arrivals(&with(&[("delay", "25"), ("jitter", "30")]), 1_000);
        assert!(arrivals.is_sorted());
        assert!(
            arrivals.windows(2).any(|two| two[0] == two[1]),
            "some wait for one before"
        );
    }

    #[test]
    fn free_jitter_lets_packets_overtake() {
        let arrivals = arrivals(
            &with(&[("delay", "40"), ("jitter", "30"), ("order", "free")]),
            1_000,
        );
        assert!(!arrivals.is_sorted());
        let late = arrivals
            .iter()
            .zip(0..)
            .map(|(due, left)| *due - Duration::from_millis(left));
        let (least, most) = (late.clone().min().expect("some"), late.max().expect("some"));
        assert!(
            least >= Duration::from_millis(10) && most <= Duration::from_millis(70),
            "{least:?} {most:?}"
        );
    }

    #[test]
    fn a_late_packet_holds_none_behind_it() {
        let settings = with(&[("delay", "10"), ("reorder", "20"), ("reorder-by", "15")]);
        let arrivals = arrivals(&settings, 1_000);
        let late = arrivals.iter().zip(0..);
        let late = late
            .filter(|(due, left)| **due == Duration::from_millis(25 + left))
            .count();
        assert!((150..250).contains(&late), "{late}");
    }
}
