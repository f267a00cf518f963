//! The ECS service as the three functions see it, and the state that is made of it. Plain data: `ecs.rs` reads it, the
//! decision and the answers use it.

use crate::epoch::Epoch;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One reading of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// How many tasks there should be and are.
    pub counts: Counts,
    /// What the three functions wrote on the service.
    pub stamps: Stamps,
    /// When the current deployment last changed, which a new `desiredCount` does too.
    pub deployment_changed: Option<Epoch>,
    /// How many tasks in a row failed to start.
    pub failed_attempts: u32,
    /// What ECS last said about the service.
    pub latest_event: Option<String>,
}

/// How many tasks there should be, and are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The one truth.
    pub desired: u32,
    /// In the state RUNNING.
    pub running: u32,
    /// On the way there.
    pub pending: u32,
}

/// Times that live as tags on the service, so that every function sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// The last wake, whether or not it had anything to do: a wake counts as activity.
    pub wake: Option<Epoch>,
    /// The last wake that took the service from zero.
    pub start: Option<Epoch>,
    /// The last kill.
    pub kill: Option<Epoch>,
}

/// One task of the service that ECS means to keep running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The last part of its ARN: what its metrics carry.
    pub id: TaskId,
    /// How far it is.
    pub progress: Progress,
    /// When ECS made it.
    pub created: Option<Epoch>,
    /// When it began to run.
    pub started: Option<Epoch>,
    /// Its network interface, once it has one.
    pub interface: Option<InterfaceId>,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// PROVISIONING, PENDING, ACTIVATING.
    Starting,
    /// RUNNING.
    Running,
    /// Past that.
    Ending,
}

/// A task's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub String);

/// A network interface's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceId(pub String);

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing runs, nothing should.
    Stopped,
    /// Something should run, nothing does yet.
    Starting,
    /// At least one task runs. Whether it answers QUIC, the caller finds out.
    Running,
    /// Nothing should run, something still does.
    Draining,
    /// Something should run, and has not managed to in the time that is allowed for it.
    Failed,
}

impl Service {
    /// The state at `now`. A start that takes longer than `start_timeout` has failed.
    pub fn state(&self, tasks: &[Task], now: Epoch, start_timeout: Duration) -> State {
        if self.counts.desired == 0 {
            return self.counts.state_at_zero();
        }
        if tasks.iter().any(|task| task.progress == Progress::Running) {
            return State::Running;
        }
        let overdue = self
            .waiting_since(tasks)
            .is_some_and(|since| now.since(since) > start_timeout);
        if overdue { State::Failed } else { State::Starting }
    }

    /// Since when the service waits for its first running task: the wake that started it or, where it was started by
    /// hand, its attempt. Once an attempt has failed, later ones count for nothing: ECS makes new ones for ever.
    pub fn waiting_since(&self, tasks: &[Task]) -> Option<Epoch> {
        let attempt = tasks
            .iter()
            .filter(|task| task.progress == Progress::Starting)
            .filter_map(|task| task.created)
            .min()
            .or(self.deployment_changed);
        if self.failed_attempts > 0 {
            self.stamps.start.or(self.stamps.wake).or(attempt)
        } else {
            attempt.max(self.stamps.start).or(self.stamps.wake)
        }
    }
}

impl Counts {
    /// The state of a service that should not run.
    pub const fn state_at_zero(self) -> State {
        if self.running > 0 || self.pending > 0 {
            State::Draining
        } else {
            State::Stopped
        }
    }
}

impl Task {
    /// Since when it runs, or at least exists.
    pub fn since(&self) -> Option<Epoch> {
        self.started.or(self.created)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
