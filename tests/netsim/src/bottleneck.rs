//! The narrow place: packets leave at a rate, and what finds no room to wait is dropped at the tail.

use crate::packet::Arrival;
use crate::settings::Room;
use std::time::{Duration, Instant};

/// When the last byte that was taken in leaves.
pub struct Bottleneck {
    free_at: Instant,
}

/// A packet's way through it.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    pub at: Instant,
    /// From its arrival, its own sending included.
    pub wait: Duration,
}

impl Bottleneck {
    pub const fn new(now: Instant) -> Self {
        Self { free_at: now }
    }

    /// Takes a packet in; nothing where there is no room. What waits already keeps the rate that it came in at.
    pub fn enter(&mut self, packet: Arrival, rate: f64, room: Room) -> Option<Exit> {
        let now = packet.at;
        let begins = self.free_at.max(now);
        if rate <= 0.0 {
            self.free_at = now;
            return Some(Exit {
                at: now,
                wait: Duration::ZERO,
            });
        }
        let leaves = begins + Duration::from_secs_f64(packet.size as f64 * 8.0 / rate);
        let wait = leaves.saturating_duration_since(now);
        let fits = match room {
            Room::Time(most) => wait <= most,
            Room::Bytes(most) => wait.as_secs_f64() * rate / 8.0 <= most,
        };
        if !fits {
            return None;
        }
        self.free_at = leaves;
        Some(Exit { at: leaves, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room::Time(Duration::from_millis(100));

    fn packet(at: Instant, size: usize) -> Arrival {
        Arrival {
            at,
            size,
            is_udp: true,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn packets_leave_at_the_rate() {
        let now = Instant::now();
        let mut narrow = Bottleneck::new(now);
        // 1 Mbit/s: 1250 bytes take 10 ms.
        for number in 1..=3 {
            let exit = narrow.enter(packet(now, 1250), 1e6, ROOM).expect("room");
            assert_eq!(
                exit,
                Exit {
                    at: now + ms(10 * number),
                    wait: ms(10 * number)
                }
            );
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let now = Instant::now();
        let mut narrow = Bottleneck::new(now);
        narrow.enter(packet(now, 1250), 1e6, ROOM);
        let later = now + ms(500);
        assert_eq!(
            narrow.enter(packet(later, 1250), 1e6, ROOM).expect("room").at,
            later + ms(10)
        );
    }

    #[test]
    fn the_queue_holds_what_it_may_and_no_more() {
        let now = Instant::now();
        let mut narrow = Bottleneck::new(now);
        let taken = (0..50)
            .filter(|_| narrow.enter(packet(now, 1250), 1e6, ROOM).is_some())
            .count();
        assert_eq!(taken, 10);
        assert!(
            narrow.enter(packet(now + ms(10), 1250), 1e6, ROOM).is_some(),
            "one has left"
        );
        let mut narrow = Bottleneck::new(now);
        let room = Room::Bytes(3_000.0);
        let taken = (0..50)
            .filter(|_| narrow.enter(packet(now, 1250), 1e6, room).is_some())
            .count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let now = Instant::now();
        let mut narrow = Bottleneck::new(now);
        for _ in 0..1_000 {
            assert_eq!(narrow.enter(packet(now, 1500), 0.0, ROOM).expect("room").at, now);
        }
    }
}
