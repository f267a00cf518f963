//! One direction of the path without its sockets: what becomes of a packet that arrives now.

use crate::bottleneck::Bottleneck;
use crate::chance::Chance;
use crate::delay::DelayLine;
use crate::packet::Arrival;
use crate::policer::Policer;
use crate::settings::Settings;
use std::time::{Duration, Instant};

/// The state of one direction.
pub struct Line {
    began: Instant,
    bottleneck: Bottleneck,
    policer: Policer,
    delay: DelayLine,
    chance: Chance,
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Arrives {
        at: Instant,
        copies: usize,
        /// Before the bottleneck; nothing where there is none.
        wait: Option<Duration>,
    },
    /// By chance or in a gap.
    Lost,
    Policed,
    /// The queue was full.
    TailDropped,
}

impl Line {
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            began: now,
            bottleneck: Bottleneck::new(now),
            policer: Policer::new(now),
            delay: DelayLine::new(now),
            chance: Chance::new(seed),
        }
    }

    /// Takes a packet. Only UDP is policed.
    pub fn take(&mut self, packet: Arrival, settings: &Settings) -> Fate {
        if in_gap(packet.at.saturating_duration_since(self.began), settings) {
            return Fate::Lost;
        }
        if packet.is_udp
            && !self
                .policer
                .passes(packet, settings.police, settings.police_burst)
        {
            return Fate::Policed;
        }
        let Some(exit) = self.bottleneck.enter(packet, settings.rate, settings.queue) else {
            return Fate::TailDropped;
        };
        // Behind the bottleneck, as on a radio: what is lost there has used the line.
        if self.chance.percent(settings.loss) {
            return Fate::Lost;
        }
        let at = self.delay.arrival(exit.at, settings, &mut self.chance);
        let copies = 1 + usize::from(self.chance.percent(settings.duplicate));
        let wait = (settings.rate > 0.0).then_some(exit.wait);
        Fate::Arrives { at, copies, wait }
    }
}

fn in_gap(since: Duration, settings: &Settings) -> bool {
    !settings.gap.is_zero()
        && !settings.period.is_zero()
        && since.as_nanos() % settings.period.as_nanos() < settings.gap.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in words {
            settings.set(name, value).expect("a setting");
        }
        settings
    }

    fn packet(at: Instant, is_udp: bool) -> Arrival {
        Arrival {
            at,
            size: 1250,
            is_udp,
        }
    }

    /// Packets of 1250 bytes, one each `gap` ms for ten seconds: the share that arrives, in percent.
    fn arrived(words: &[(&str, &str)], gap: u32, is_udp: bool) -> u32 {
        let (now, settings) = (Instant::now(), settings(words));
        let mut line = Line::new(now, 11);
        let count = 10_000 / gap;
        let arrives = |number| {
            let at = now + Duration::from_millis(1) * gap * number;
            matches!(line.take(packet(at, is_udp), &settings), Fate::Arrives { .. })
        };
        u32::try_from((0..count).map(arrives).filter(|arrives| *arrives).count()).expect("a count") * 100
            / count
    }

    #[test]
    fn everything_arrives_on_a_line_that_does_nothing() {
        assert_eq!(arrived(&[], 1, true), 100);
    }

    #[test]
    fn gaps_take_their_share() {
        assert_eq!(arrived(&[("gap", "200"), ("period", "1000")], 1, true), 80);
        assert_eq!(
            arrived(&[("gap", "200")], 1, true),
            100,
            "without a period there is no gap"
        );
    }

    #[test]
    fn twice_the_rate_loses_half() {
        // 1250 bytes each ms are 10 Mbit/s.
        let arrived = arrived(&[("rate", "5"), ("queue", "50")], 1, false);
        assert!((50..=51).contains(&arrived), "{arrived}");
    }

    #[test]
    fn the_policer_is_for_udp_alone() {
        let words = [("police", "5"), ("police-kib", "8")];
        assert!((49..=51).contains(&arrived(&words, 1, true)));
        assert_eq!(arrived(&words, 1, false), 100);
    }

    #[test]
    fn the_wait_is_the_queues() {
        let (now, settings) = (Instant::now(), settings(&[("rate", "1"), ("delay", "30")]));
        let mut line = Line::new(now, 1);
        line.take(packet(now, true), &settings);
        let fate = line.take(packet(now, true), &settings);
        let wait = Duration::from_millis(20);
        let at = now + wait + Duration::from_millis(30);
        assert_eq!(
            fate,
            Fate::Arrives {
                at,
                copies: 1,
                wait: Some(wait)
            }
        );
    }
}
