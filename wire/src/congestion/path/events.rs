//! What is going to happen on a path, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Arrive(usize, u64),
    Acknowledge(usize, Vec<u64>),
    Delayed(usize, u64),
    Send(usize),
    Timeout(usize, u64),
    Look,
}

/// Seconds, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Events that are due.
#[derive(Default)]
pub(super) struct Events {
    due: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
}

impl Events {
    /// Of events at one time, the first that was added comes first.
    pub(super) fn add(&mut self, at: f64, event: Event) {
        self.count += 1;
        self.due.push(Reverse((Time(at), self.count, event)));
    }

    /// The next one that is due until then.
    pub(super) fn next(&mut self, until: f64) -> Option<(f64, Event)> {
        let Reverse((Time(at), ..)) = self.due.peek()?;
        if *at > until {
            return None;
        }
        let Reverse((Time(at), _, event)) = self.due.pop()?;
        Some((at, event))
    }
}
