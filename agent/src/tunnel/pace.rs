//! How soon a connection that was lost is made again: at once, unless they are lost as soon as they are made.

use std::time::Duration;

/// Counts connections in a row that did not last.
#[derive(Debug, Default)]
pub(super) struct Pace {
    short: u32,
}

impl Pace {
    /// The pause after a connection that lasted for `lived`; never over `most`. `jitter` is drawn from 0 to 1.
    ///
    /// One that did not last is made again at once: a server that is replaced drains, and the next may be on its way
    /// out, too. After that pauses grow.
    pub(super) fn after(&mut self, lived: Duration, most: Duration, jitter: f64) -> Duration {
        if lived >= STEADY {
            self.short = 0;
            return Duration::ZERO;
        }
        let doublings = self.short;
        self.short = self.short.saturating_add(1);
        match doublings.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let pause = FIRST.saturating_mul(1 << doublings.min(16)).min(most);
                (pause / 2).saturating_add((pause / 2).mul_f64(jitter.clamp(0.0, 1.0)))
            }
        }
    }
}

/// A connection that lasted for so long was no mistake.
const STEADY: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn the_first_reconnect_is_at_once_and_then_pauses_grow_to_a_limit() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..9).map(|_| pace.after(SHORT, MOST, 1.0).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..4).map(|_| pace.after(SHORT, MOST, 0.0).as_millis()).collect();
        assert_eq!(pauses, [0, 500, 1000, 2000]);
    }

    #[test]
    fn after_a_connection_that_lasted_all_begins_again() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.after(SHORT, MOST, 0.5);
        }
        assert_eq!(pace.after(STEADY, MOST, 0.5), Duration::ZERO);
        assert_eq!(pace.after(SHORT, MOST, 0.5), Duration::ZERO);
        assert!(pace.after(SHORT, MOST, 0.5) > Duration::ZERO);
    }
}
