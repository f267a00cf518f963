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

/// The service's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// Those that ECS means to keep.
    pub current: Vec<Task>,
    /// Those that ended within about an hour, which is how long ECS remembers them. Read only when nothing runs.
    pub ended: Vec<Ended>,
}

/// A task that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When ECS made it.
    pub created: Option<Epoch>,
    /// How long it ran; zero when it never did.
    pub ran: Duration,
    /// Who ended it.
    pub cause: Cause,
    /// Why, in ECS's words.
    pub reason: Option<String>,
}

/// Who ended a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It failed to start, or ended by itself.
    Failure,
    /// Somebody, or ECS, meant it to end.
    Order,
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
    pub fn state(&self, tasks: &Tasks, now: Epoch, start_timeout: Duration) -> State {
        if self.counts.desired == 0 {
            return self.counts.state_at_zero();
        }
        if tasks.running().next().is_some() {
            return State::Running;
        }
        let overdue = self
            .waiting_since(tasks)
            .is_some_and(|since| now.since(since) > start_timeout);
        if overdue { State::Failed } else { State::Starting }
    }

    /// Since when the service waits for a task that runs and stays up: since the first of the attempts that failed, for
    /// ECS makes new ones for ever. While none has failed: since the attempt, or the wake that started it if that came
    /// later. Without any attempt nothing is billed, and ECS's last change of the service counts.
    pub fn waiting_since(&self, tasks: &Tasks) -> Option<Epoch> {
        let failed = self.failures(tasks).filter_map(|ended| ended.created).min();
        let attempt = tasks.starting().filter_map(|task| task.created).min();
        failed.or_else(|| {
            attempt
                .or(self.deployment_changed)
                .max(self.stamps.start)
                .or(self.stamps.wake)
        })
    }

    /// The failed attempts of the present start: after the wake that began it, and after the last task that stayed up.
    pub fn failures<'t>(&self, tasks: &'t Tasks) -> impl Iterator<Item = &'t Ended> + use<'t> {
        let stayed_up = tasks.ended.iter().filter(|ended| ended.ran >= STAYED_UP);
        let last_good = stayed_up.filter_map(|ended| ended.created).max();
        // ECS's clock and Lambda's may differ a little.
        let start = self.stamps.start.map(|start| start.minus(CLOCK_SKEW));
        tasks.ended.iter().filter(move |ended| {
            ended.cause == Cause::Failure && ended.created > last_good && ended.created >= start
        })
    }
}

impl Tasks {
    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = &Task> {
        self.with(Progress::Running)
    }

    /// Those on their way there.
    pub fn starting(&self) -> impl Iterator<Item = &Task> {
        self.with(Progress::Starting)
    }

    fn with(&self, progress: Progress) -> impl Iterator<Item = &Task> {
        self.current.iter().filter(move |task| task.progress == progress)
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

/// A task that ran for so long was no failed start, whatever ended it.
const STAYED_UP: Duration = Duration::from_secs(120);

/// So far may the clocks of the server, of the functions and of AWS be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
