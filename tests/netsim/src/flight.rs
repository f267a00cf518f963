//! The packets that are under way, in the order in which they arrive.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// At most `MOST` of them.
#[derive(Default)]
pub struct Flight {
    packets: BinaryHeap<Packet>,
    spare: Vec<Vec<u8>>,
    count: u64,
}

/// Beyond it, packets are dropped: no line that makes sense has so many.
const MOST: usize = 1 << 17;
const MOST_SPARE: usize = 4096;

impl Flight {
    /// Whether there was room for it.
    pub fn add(&mut self, at: Instant, bytes: &[u8]) -> bool {
        if self.packets.len() >= MOST {
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        self.count += 1;
        self.packets.push(Packet {
            at,
            number: self.count,
            bytes: copy,
        });
        true
    }

    /// When the next one arrives.
    pub fn next(&self) -> Option<Instant> {
        self.packets.peek().map(|packet| packet.at)
    }

    /// Hands over what has arrived by now.
    pub fn arrived(&mut self, now: Instant, mut deliver: impl FnMut(&[u8])) {
        while self.next().is_some_and(|at| at <= now) {
            let Some(packet) = self.packets.pop() else {
                break;
            };
            deliver(&packet.bytes);
            if self.spare.len() < MOST_SPARE {
                self.spare.push(packet.bytes);
            }
        }
    }
}

struct Packet {
    at: Instant,
    number: u64,
    bytes: Vec<u8>,
}

impl Ord for Packet {
    /// The heap hands out its greatest: the earliest, and of two the one that came first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Packet {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn packets_arrive_when_they_are_due_and_in_order() {
        let now = Instant::now();
        let ms = |ms| now + Duration::from_millis(ms);
        let mut flight = Flight::default();
        for (at, byte) in [(20, 1), (10, 2), (10, 3), (30, 4)] {
            assert!(flight.add(ms(at), &[byte]));
        }
        let mut seen = Vec::new();
        flight.arrived(ms(20), |bytes| seen.extend_from_slice(bytes));
        assert_eq!(seen, [2, 3, 1]);
        assert_eq!(flight.next(), Some(ms(30)));
    }

    #[test]
    fn there_is_a_limit() {
        let now = Instant::now();
        let mut flight = Flight::default();
        let taken = (0..MOST + 10).filter(|_| flight.add(now, &[])).count();
        assert_eq!(taken, MOST);
    }
}
