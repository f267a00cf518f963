//! Which address family reached a host that has both, so that the next dial begins with it (RFC 8305 §4).
//!
//! Bounded in number and age: after a while the resolver's order counts again, and the family that lost has its chance.

use crate::resolve::Family;
use fluidity_daemon::recent::Recent;
use fluidity_wire::Host;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The hosts that were reached.
#[derive(Debug)]
pub(super) struct Winners(Mutex<Recent<Host, Family>>);

impl Winners {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Recent::new(MOST, KEPT)))
    }

    /// The family that reached the host, where that is known.
    pub(super) fn of(&self, host: &Host, now: Instant) -> Option<Family> {
        self.lock().get(host, now).copied()
    }

    /// The host was reached by `family`.
    pub(super) fn learn(&self, host: &Host, family: Family, now: Instant) {
        let mut winners = self.lock();
        // Begun with, it wins each time: it counts from when it won first.
        if winners.get(host, now) != Some(&family) {
            winners.insert(host.clone(), family, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Host, Family>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a family that won is begun with.
const KEPT: Duration = Duration::from_secs(600);
/// How many hosts are known at once.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::parse("both.example").unwrap()
    }

    #[test]
    fn the_family_that_won_is_begun_with_for_a_while_from_its_first_time() {
        let (winners, now) = (Winners::new(), Instant::now());
        assert_eq!(winners.of(&host(), now), None);
        winners.learn(&host(), Family::V4, now);
        winners.learn(&host(), Family::V4, now + KEPT / 2);
        assert_eq!(winners.of(&host(), now + KEPT / 2), Some(Family::V4));
        assert_eq!(winners.of(&host(), now + KEPT), None);
    }

    #[test]
    fn the_family_that_won_last_is_the_one() {
        let (winners, now) = (Winners::new(), Instant::now());
        winners.learn(&host(), Family::V4, now);
        winners.learn(&host(), Family::V6, now);
        assert_eq!(winners.of(&host(), now), Some(Family::V6));
    }
}
