//! Circuit breakers, one per agent and failing target: what keeps failing is left alone for a while, and others are not.
//!
//! What one agent ran into keeps no other from a target. Only targets that failed last are remembered, and of those a
//! bounded number: when there are too many, the agent that has the most loses the one that failed longest ago.

use failsafe::backoff::{EqualJittered, equal_jittered};
use failsafe::failure_policy::{ConsecutiveFailures, consecutive_failures};
use failsafe::{Config, StateMachine};
use fluidity_daemon::recent::Recent;
use fluidity_wire::Target;
use fluidity_wire::tls::AgentId;
use std::collections::HashMap;
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
    /// How many targets are remembered, of all agents together.
    pub targets: usize,
}

/// The breakers of all targets.
pub struct Breakers {
    options: BreakerOptions,
    failing: Mutex<HashMap<AgentId, Failing>>,
}

/// One agent's; never empty.
type Failing = Recent<Target, Breaker>;
type Breaker = StateMachine<ConsecutiveFailures<EqualJittered>, ()>;

impl Breakers {
    /// No target has failed yet.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            failing: Mutex::default(),
        }
    }

    /// Whether the target may be dialled now for the agent.
    pub fn permits(&self, agent: &AgentId, target: &Target) -> bool {
        let failing = self.lock();
        let breaker = failing
            .get(agent)
            .and_then(|failing| failing.get(target, Instant::now()));
        breaker.is_none_or(Breaker::is_call_permitted)
    }

    /// The target was reached.
    pub fn succeeded(&self, agent: &AgentId, target: &Target) {
        let mut agents = self.lock();
        if let Some(failing) = agents.get_mut(agent) {
            failing.remove(target);
            if failing.is_empty() {
                agents.remove(agent);
            }
        }
    }

    /// The target could not be reached.
    pub fn failed(&self, agent: &AgentId, target: &Target) {
        let mut agents = self.lock();
        let failing = agents
            .entry(agent.clone())
            .or_insert_with(|| Recent::new(self.options.targets, Duration::MAX));
        let known = failing.remove(target);
        let breaker = known.unwrap_or_else(|| self.breaker());
        breaker.on_error();
        failing.insert(target.clone(), breaker, Instant::now());
        if count(&agents) > self.options.targets {
            forget_one(&mut agents);
        }
    }

    /// How many targets failed last, each counted for each agent.
    pub fn failing(&self) -> usize {
        count(&self.lock())
    }

    fn breaker(&self) -> Breaker {
        let pause = equal_jittered(self.options.open_for, self.options.open_for.max(LONGEST));
        Config::new()
            .failure_policy(consecutive_failures(self.options.failures, pause))
            .build()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Failing>> {
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

fn count(agents: &HashMap<AgentId, Failing>) -> usize {
    agents.values().map(Failing::len).sum()
}

/// The agent that has the most makes room, so that one cannot push out what others ran into.
fn forget_one(agents: &mut HashMap<AgentId, Failing>) {
    let most = agents.iter().max_by_key(|(_, failing)| failing.len());
    if let Some(agent) = most.map(|(agent, _)| agent.clone())
        && let Some(failing) = agents.get_mut(&agent)
    {
        failing.remove_oldest();
        if failing.is_empty() {
            agents.remove(&agent);
        }
    }
}

const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target::parse(&format!("example.com:{port}")).unwrap()
    }

    fn ann() -> AgentId {
        AgentId::parse("ann").unwrap()
    }

    fn bob() -> AgentId {
        AgentId::parse("bob").unwrap()
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
            breakers.failed(&ann(), &target(1));
            assert!(breakers.permits(&ann(), &target(1)));
        }
        breakers.succeeded(&ann(), &target(1));
        for _ in 0..3 {
            assert!(
                breakers.permits(&ann(), &target(1)),
                "a success begins the count anew"
            );
            breakers.failed(&ann(), &target(1));
        }
        assert!(!breakers.permits(&ann(), &target(1)));
        assert!(breakers.permits(&ann(), &target(2)));
    }

    #[test]
    fn what_failed_longest_ago_is_forgotten_when_there_are_too_many() {
        let breakers = breakers(2);
        for port in [1, 1, 1, 2, 2, 2] {
            breakers.failed(&ann(), &target(port));
        }
        breakers.failed(&ann(), &target(3));
        assert_eq!(breakers.failing(), 2);
        assert!(breakers.permits(&ann(), &target(1)), "forgotten");
        assert!(!breakers.permits(&ann(), &target(2)), "remembered");
    }

    #[test]
    fn a_target_that_fails_for_one_agent_is_dialled_for_another() {
        let breakers = breakers(10);
        for _ in 0..10 {
            breakers.failed(&ann(), &target(1));
        }
        assert!(!breakers.permits(&ann(), &target(1)));
        assert!(breakers.permits(&bob(), &target(1)));
        breakers.succeeded(&bob(), &target(1));
        assert!(
            !breakers.permits(&ann(), &target(1)),
            "nor does one open it for the other"
        );
    }

    #[test]
    fn an_agent_with_many_failing_targets_pushes_out_its_own_and_not_anothers() {
        let breakers = breakers(5);
        for _ in 0..3 {
            breakers.failed(&bob(), &target(1));
        }
        for port in 1..1000 {
            breakers.failed(&ann(), &target(port));
            assert!(breakers.failing() <= 5);
        }
        assert!(!breakers.permits(&bob(), &target(1)), "remembered");
        breakers.succeeded(&bob(), &target(1));
        for port in 1..1000 {
            breakers.succeeded(&ann(), &target(port));
        }
        assert_eq!(
            (breakers.failing(), breakers.lock().len()),
            (0, 0),
            "nothing is left behind"
        );
    }
}
