//! Whether to let the service sleep. Pure: every fact comes in, nothing is asked, and the clock is one of the facts.
//!
//! A running service is stopped when it is certainly idle, or when nothing has been known about it for too long. One that
//! does not get to run is stopped when its time is up. In every other case it is kept: to keep costs cents, to cut a
//! session costs a user's work.

#[cfg(test)]
mod properties;
mod verdict;

#[cfg(test)]
mod tests;

pub use verdict::{Alarm, Clock, Decision, Keep, Stop};

use crate::epoch::Epoch;
use crate::metric::{Reading, Sample, TaskMetrics};
use crate::service::{CLOCK_SKEW, Service, Task, TaskId, Tasks};
use std::time::Duration;

/// Everything that the decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The clock.
    pub now: Epoch,
    /// The service as just read.
    pub service: &'a Service,
    /// Its tasks.
    pub tasks: &'a Tasks,
    /// What CloudWatch said.
    pub metrics: &'a Reading,
    /// The limits.
    pub thresholds: &'a Thresholds,
}

/// The limits, all from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// How long nobody may have used the server before it is idle.
    pub idle: Duration,
    /// How far back metrics are fresh.
    pub lookback: Duration,
    /// How long a server may run with nothing known about it.
    pub max_unknown: Duration,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// One period of the metrics.
    pub period: Duration,
}

impl Thresholds {
    /// How far back metrics have to be read: where the last ones are found that a silent server may have left.
    pub fn window(&self) -> Duration {
        self.lookback.max(self.max_unknown) + self.period
    }
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Decision {
    if facts.service.counts.desired == 0 {
        return Decision::Nothing;
    }
    if facts.tasks.running().next().is_none() && facts.service.counts.running == 0 {
        return facts.start();
    }
    match facts.reason_to_keep() {
        Some(keep) => Decision::Keep(keep),
        None => facts.idle_or_unknown(),
    }
}

impl Facts<'_> {
    /// Nothing runs yet.
    fn start(&self) -> Decision {
        let since = self.service.waiting_since(self.tasks);
        if let Some(ahead) = since.and_then(|since| self.too_far_ahead(since)) {
            return Decision::Keep(Keep::Future {
                clock: Clock::Start,
                ahead,
            });
        }
        let waited = since.map_or(Duration::ZERO, |since| self.now.since(since));
        let limit = self.thresholds.start_timeout;
        if waited > limit {
            Decision::Stop(Stop::NeverRan { waited, limit })
        } else {
            Decision::Keep(Keep::Starting { waited, limit })
        }
    }

    /// What speaks against stopping, the strongest reason first. None of it needs idleness to be proven.
    fn reason_to_keep(&self) -> Option<Keep> {
        self.active()
            .or_else(|| self.another_start())
            .or_else(|| self.future())
            .or_else(|| self.recent_wake())
            .or_else(|| self.recent_start())
            .or_else(|| self.unreadable())
            .or_else(|| self.recent_activity())
    }

    /// Someone is connected. Here even the newest, unfinished period counts: it may only speak for the server.
    fn active(&self) -> Option<Keep> {
        self.read()
            .flat_map(|metrics| &metrics.active)
            .filter(|sample| self.is_fresh(sample))
            .map(|sample| sample.value)
            .filter(|value| *value > 0.0)
            .reduce(f64::max)
            .map(|connections| Keep::Active { connections })
    }

    /// One runs, another is on its way.
    fn another_start(&self) -> Option<Keep> {
        let since = self.tasks.starting().filter_map(|task| task.created).max()?;
        let (waited, limit) = (self.now.since(since), self.thresholds.start_timeout);
        (waited <= limit).then_some(Keep::Starting { waited, limit })
    }

    /// A clock is wrong: what it says proves nothing.
    fn future(&self) -> Option<Keep> {
        let activity = self
            .read()
            .flat_map(|metrics| &metrics.last_activity)
            .filter_map(|sample| Epoch::from_metric(sample.value));
        let samples = self
            .read()
            .flat_map(|metrics| metrics.active.iter().chain(&metrics.last_activity))
            .map(|sample| sample.at);
        let wake = self.service.stamps.wake.into_iter();
        let starts = self.tasks.running().filter_map(Task::since);
        let clocks = wake
            .map(|at| (Clock::Wake, at))
            .chain(starts.map(|at| (Clock::Start, at)))
            .chain(activity.map(|at| (Clock::Activity, at)))
            .chain(samples.map(|at| (Clock::Metric, at)));
        clocks
            .filter_map(|(clock, at)| self.too_far_ahead(at).map(|ahead| Keep::Future { clock, ahead }))
            .next()
    }

    fn recent_wake(&self) -> Option<Keep> {
        let ago = self.now.since(self.service.stamps.wake?);
        let limit = self.thresholds.idle;
        (ago <= limit).then_some(Keep::RecentWake { ago, limit })
    }

    fn recent_start(&self) -> Option<Keep> {
        let ago = self.now.since(self.newest_start()?);
        let limit = self.thresholds.idle;
        (ago <= limit).then_some(Keep::RecentStart { ago, limit })
    }

    fn unreadable(&self) -> Option<Keep> {
        (*self.metrics == Reading::Unreadable).then_some(Keep::Unreadable)
    }

    fn recent_activity(&self) -> Option<Keep> {
        let ago = self.now.since(self.last_activity()?);
        let limit = self.thresholds.idle;
        (ago <= limit).then_some(Keep::RecentActivity { ago, limit })
    }

    /// Nothing speaks for the server any more. It is idle if every task says so, else unknown.
    fn idle_or_unknown(&self) -> Decision {
        let silent = self.silent_tasks();
        if silent.is_empty() && self.tasks.running().next().is_some() {
            let idle = self.now.since(self.last_use().unwrap_or(self.now));
            return Decision::Stop(Stop::Idle {
                idle,
                limit: self.thresholds.idle,
            });
        }
        let known = self.known_until(&silent).unwrap_or(Epoch::from_secs(0));
        let unknown = self.now.since(known);
        let limit = self.thresholds.max_unknown.max(self.thresholds.idle);
        if unknown > limit {
            Decision::Stop(Stop::Unknown { unknown, limit })
        } else {
            Decision::Keep(Keep::Unknown { unknown, limit })
        }
    }

    /// The running tasks whose metrics do not prove that nobody is connected.
    fn silent_tasks(&self) -> Vec<&Task> {
        self.tasks
            .running()
            .filter(|task| self.idle_periods(&task.id) < IDLE_PERIODS || !self.says_activity(&task.id))
            .collect()
    }

    /// How many fresh, finished periods of the task say that nobody was connected.
    fn idle_periods(&self, task: &TaskId) -> usize {
        self.read_of(task)
            .flat_map(|metrics| &metrics.active)
            .filter(|sample| self.is_fresh(sample) && self.is_finished(sample) && sample.value == 0.0)
            .count()
    }

    fn says_activity(&self, task: &TaskId) -> bool {
        self.read_of(task)
            .flat_map(|metrics| &metrics.last_activity)
            .any(|sample| Epoch::from_metric(sample.value).is_some())
    }

    /// Until when something was known: of the silent task that spoke last, so that each has its time.
    fn known_until(&self, silent: &[&Task]) -> Option<Epoch> {
        let heard = |task: &&Task| {
            self.read_of(&task.id)
                .flat_map(|metrics| &metrics.active)
                .map(|sample| sample.at.plus(self.thresholds.period))
                .max()
                .max(task.since())
        };
        let known = if silent.is_empty() {
            // ECS counts a running task that it does not list.
            self.service.stamps.start.max(self.service.deployment_changed)
        } else {
            silent.iter().map(heard).max().flatten()
        };
        known.max(self.service.stamps.wake)
    }

    /// The last time that anybody had to do with the server.
    fn last_use(&self) -> Option<Epoch> {
        self.last_activity()
            .max(self.service.stamps.wake)
            .max(self.newest_start())
    }

    fn last_activity(&self) -> Option<Epoch> {
        self.read()
            .flat_map(|metrics| &metrics.last_activity)
            .filter_map(|sample| Epoch::from_metric(sample.value))
            .max()
    }

    fn newest_start(&self) -> Option<Epoch> {
        self.tasks.running().filter_map(Task::since).max()
    }

    /// The metrics of the running tasks, and of no other.
    fn read(&self) -> impl Iterator<Item = &TaskMetrics> {
        let read = match self.metrics {
            Reading::Read(read) => read.as_slice(),
            Reading::Unreadable => &[],
        };
        read.iter()
            .filter(|metrics| self.tasks.running().any(|task| task.id == metrics.task))
    }

    fn read_of<'t>(&'t self, task: &'t TaskId) -> impl Iterator<Item = &'t TaskMetrics> {
        self.read().filter(move |metrics| metrics.task == *task)
    }

    fn is_fresh(&self, sample: &Sample) -> bool {
        sample.at >= self.now.minus(self.thresholds.lookback)
    }

    fn is_finished(&self, sample: &Sample) -> bool {
        sample.at.plus(self.thresholds.period) <= self.now
    }

    fn too_far_ahead(&self, at: Epoch) -> Option<Duration> {
        let ahead = at.ahead_of(self.now);
        (ahead > CLOCK_SKEW).then_some(ahead)
    }
}

/// So many fresh periods have to agree that nobody is connected.
const IDLE_PERIODS: usize = 2;
