//! Which address family reached a host that has both, so that the next dial begins with it (RFC 8305 §4).
//!
//! Bounded in number and age: after a while the resolver's order counts again, and the family that lost has its chance.

use fluidity_wire::Host;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const fn of(address: SocketAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }
}

/// The hosts that were reached.
#[derive(Debug, Default)]
pub(super) struct Winners(Mutex<HashMap<Host, Won>>);

#[derive(Clone, Copy, Debug)]
struct Won {
    family: Family,
    since: Instant,
}

impl Winners {
    /// The family that reached the host, where that is known.
    pub(super) fn of(&self, host: &Host, now: Instant) -> Option<Family> {
        let won = self.lock().get(host).copied();
        won.filter(|won| won.is_recent(now)).map(|won| won.family)
    }

    /// The host was reached by `family`.
    pub(super) fn learn(&self, host: &Host, family: Family, now: Instant) {
        let mut winners = self.lock();
        // Begun with, it wins each time: it counts from when it won first.
        let known = |won: &Won| won.family == family && won.is_recent(now);
        if winners.get(host).is_some_and(known) {
            return;
        }
        if winners.len() >= MOST {
            winners.retain(|_, won| won.is_recent(now));
        }
        if winners.len() >= MOST {
            let oldest = winners.iter().min_by_key(|(_, won)| won.since);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                winners.remove(&oldest);
            }
        }
        winners.insert(host.clone(), Won { family, since: now });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Host, Won>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Won {
    fn is_recent(self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < KEPT
    }
}

/// How long a family that won is begun with.
const KEPT: Duration = Duration::from_secs(600);
/// How many hosts are known at once.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use fluidity_wire::Target;

    fn host(number: usize) -> Host {
        Target::parse(&format!("host{number}.example:443")).unwrap().host
    }

    #[test]
    fn the_family_that_won_is_begun_with_for_a_while() {
        let (winners, now) = (Winners::default(), Instant::now());
        assert_eq!(winners.of(&host(1), now), None);
        winners.learn(&host(1), Family::V4, now);
        winners.learn(&host(1), Family::V4, now + KEPT / 2);
        assert_eq!(winners.of(&host(1), now + KEPT / 2), Some(Family::V4));
        assert_eq!(winners.of(&host(2), now), None);
        assert_eq!(
            winners.of(&host(1), now + KEPT),
            None,
            "the resolver's order again"
        );
    }

    #[test]
    fn the_family_that_won_last_is_the_one() {
        let (winners, now) = (Winners::default(), Instant::now());
        winners.learn(&host(1), Family::V4, now);
        winners.learn(&host(1), Family::V6, now);
        assert_eq!(winners.of(&host(1), now), Some(Family::V6));
    }

    #[test]
    fn the_oldest_makes_room() {
        let (winners, now) = (Winners::default(), Instant::now());
        for number in 0..MOST + 2 {
            let since = now + Duration::from_millis(number.try_into().unwrap());
            winners.learn(&host(number), Family::V4, since);
        }
        assert_eq!(winners.lock().len(), MOST);
        let known = |number| winners.of(&host(number), now).is_some();
        assert!(!known(0) && !known(1) && known(2) && known(MOST + 1));
    }
}
