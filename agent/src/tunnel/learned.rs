//! Which targets were reached a short time ago, so that a CONNECT to one of them is answered before it is dialled again.
//!
//! Bounded in number and age, and of one connection only: another server may have another policy, or none of its
//! sockets left. A target that could not be reached after all is forgotten, so that the next answer is an honest one.

use fluidity_daemon::recent::Recent;
use fluidity_wire::Target;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The targets that were reached.
#[derive(Debug, Default)]
pub(super) struct Learned(Mutex<Known>);

#[derive(Debug)]
struct Known {
    /// Over which connection.
    connection: usize,
    reached: Recent<Target, ()>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            connection: 0,
            reached: Recent::new(MOST, KEPT),
        }
    }
}

impl Learned {
    /// Whether the target was reached over this connection a short time ago.
    pub(super) fn knows(&self, connection: usize, target: &Target, now: Instant) -> bool {
        let known = self.lock();
        known.connection == connection && known.reached.get(target, now).is_some()
    }

    /// The target was reached.
    pub(super) fn learn(&self, connection: usize, target: Target, now: Instant) {
        let mut known = self.lock();
        if known.connection != connection {
            known.connection = connection;
            known.reached.clear();
        }
        known.reached.insert(target, (), now);
    }

    fn forget(&self, target: &Target) {
        self.lock().reached.remove(target);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a target will be reached, given to a client before it was.
#[derive(Debug)]
pub struct Promise {
    learned: Arc<Learned>,
    target: Target,
}

impl Promise {
    pub(super) fn new(learned: Arc<Learned>, target: Target) -> Self {
        Self { learned, target }
    }

    /// It was not, or nobody knows: no further promise is given for this target.
    pub fn broken(&self) {
        self.learned.forget(&self.target);
    }
}

/// How long a target that was reached counts as one that can be.
const KEPT: Duration = Duration::from_secs(600);
/// How many are known at once.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: usize) -> Target {
        Target::parse(&format!("host{number}.example:443")).unwrap()
    }

    #[test]
    fn a_target_is_known_for_a_while_and_on_its_connection_only() {
        let (learned, now) = (Learned::default(), Instant::now());
        assert!(!learned.knows(1, &target(1), now));
        learned.learn(1, target(1), now);
        assert!(learned.knows(1, &target(1), now));
        assert!(!learned.knows(2, &target(1), now));
        assert!(!learned.knows(1, &target(1), now + KEPT));
        learned.learn(2, target(2), now);
        assert!(!learned.knows(2, &target(1), now));
        assert!(learned.knows(2, &target(2), now));
    }

    #[test]
    fn a_broken_promise_is_not_given_again() {
        let (learned, now) = (Arc::new(Learned::default()), Instant::now());
        learned.learn(1, target(1), now);
        Promise::new(learned.clone(), target(1)).broken();
        assert!(!learned.knows(1, &target(1), now));
    }
}
