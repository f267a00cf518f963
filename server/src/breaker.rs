//! Circuit breakers, one per failing target: what keeps failing is left alone for a while, and others are not.
//!
//! Only targets that failed last are remembered, and of those a bounded number: when there are too many, the one
//! that failed longest ago is forgotten.

use failsafe::backoff::{EqualJittered, equal_jittered};
use failsafe::failure_policy::{ConsecutiveFailures, consecutive_failures};
use failsafe::{Config, StateMachine};
use fluidity_daemon::recent::Recent;
use fluidity_wire::Target;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When a failing target is left alone.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOptions {
    /// Failed dials in a row.
    pub failures: u32,
    /// How long at first, at least a second; doubles, with jitter, up to a minute.
    pub open_for: Duration,
    /// How many targets are remembered.
    pub targets: usize,
}

/// The breakers of all targets.
pub struct Breakers {
    options: BreakerOptions,
    failing: Mutex<Recent<Target, Breaker>>,
}

type Breaker = StateMachine<ConsecutiveFailures<EqualJittered>, ()>;

impl Breakers {
    /// No target has failed yet.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            failing: Mutex::new(Recent::new(options.targets, Duration::MAX)),
        }
    }

    /// Whether the target may be dialled now.
    pub fn permits(&self, target: &Target) -> bool {
        let failing = self.lock();
        let breaker = failing.get(target, Instant::now());
        breaker.is_none_or(Breaker::is_call_permitted)
    }

    /// The target was reached.
    pub fn succeeded(&self, target: &Target) {
        let mut failing = self.lock();
        if !failing.is_empty() {
            failing.remove(target);
        }
    }

    /// The target could not be reached.
    pub fn failed(&self, target: &Target) {
        let mut failing = self.lock();
        let breaker = failing.remove(target).unwrap_or_else(|| self.breaker());
        breaker.on_error();
        failing.insert(target.clone(), breaker, Instant::now());
    }

    /// How many targets failed last.
    pub fn failing(&self) -> usize {
        self.lock().len()
    }

    fn breaker(&self) -> Breaker {
        let pause = equal_jittered(self.options.open_for, self.options.open_for.max(LONGEST));
        Config::new()
            .failure_policy(consecutive_failures(self.options.failures, pause))
            .build()
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Target, Breaker>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers")
            .field("options", &self.options)
            .field("failing", &self.failing())
            .finish()
    }
}

const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target::parse(&format!("example.com:{port}")).unwrap()
    }

    fn breakers(targets: usize) -> Breakers {
        Breakers::new(BreakerOptions {
            failures: 3,
            open_for: Duration::from_secs(60),
            targets,
        })
    }

    #[test]
    fn a_target_is_left_alone_after_so_many_failures_in_a_row_and_no_other_is() {
        let breakers = breakers(10);
        for _ in 0..2 {
            breakers.failed(&target(1));
            assert!(breakers.permits(&target(1)));
        }
        breakers.succeeded(&target(1));
        for _ in 0..3 {
            assert!(breakers.permits(&target(1)), "a success begins the count anew");
            breakers.failed(&target(1));
        }
        assert!(!breakers.permits(&target(1)));
        assert!(breakers.permits(&target(2)));
    }

    #[test]
    fn what_failed_longest_ago_is_forgotten_when_there_are_too_many() {
        let breakers = breakers(2);
        for port in [1, 1, 1, 2, 2, 2] {
            breakers.failed(&target(port));
        }
        breakers.failed(&target(3));
        assert_eq!(breakers.failing(), 2);
        assert!(breakers.permits(&target(1)), "forgotten");
        assert!(!breakers.permits(&target(2)), "remembered");
    }
}
