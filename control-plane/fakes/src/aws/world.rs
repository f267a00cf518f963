//! The service, its tasks and its metrics, without any wire.

use std::collections::HashMap;
use std::net::IpAddr;

/// The counts, as ECS counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// How many there should be.
    pub desired: u32,
    /// How many run.
    pub running: u32,
    /// How many are on their way.
    pub pending: u32,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The last part of its ARN.
    pub id: String,
    /// PROVISIONING, PENDING or RUNNING.
    pub status: &'static str,
    /// Whether the service should have it; ECS lists only these.
    pub wanted: bool,
    /// When it was made.
    pub created: u64,
    /// When it began to run.
    pub started: Option<u64>,
    /// Its interface, from PENDING on.
    pub interface: Option<String>,
    /// The interface's public address.
    pub address: Option<IpAddr>,
}

/// A task that has ended, as ECS remembers it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) task: Task,
    pub(super) stopped: u64,
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl Task {
    pub(super) fn prepare(&mut self) {
        self.status = "PENDING";
        self.interface = Some(format!("eni-{}", self.id));
    }

    pub(super) fn run(&mut self, address: Option<IpAddr>, started: u64) {
        self.prepare();
        self.status = "RUNNING";
        self.created = self.created.min(started);
        self.started = Some(started);
        self.address = address;
    }
}

/// What tells one metric from another.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MetricKey {
    pub(super) namespace: String,
    pub(super) name: String,
    /// In order.
    pub(super) dimensions: Vec<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct World {
    desired: u32,
    tags: Vec<(String, String)>,
    tasks: Vec<Task>,
    made: u32,
    ended: Vec<Ended>,
    pub(super) latest_event: Option<String>,
    pub(super) deployment_changed: u64,
    metrics: HashMap<MetricKey, Vec<(u64, f64)>>,
}

impl World {
    pub(super) fn service(&self) -> Service {
        let count = |running| {
            self.tasks
                .iter()
                .filter(|task| (task.status == "RUNNING") == running)
                .count()
        };
        Service {
            desired: self.desired,
            running: u32::try_from(count(true)).expect("few tasks"),
            pending: u32::try_from(count(false)).expect("few tasks"),
        }
    }

    pub(super) fn set_desired(&mut self, desired: u32) {
        if desired != self.desired {
            self.deployment_changed = crate::now();
        }
        self.desired = desired;
        self.settle();
    }

    pub(super) fn tag(&self, key: &str) -> Option<String> {
        let (_, value) = self.tags.iter().find(|(known, _)| known == key)?;
        Some(value.clone())
    }

    pub(super) fn tags(&self) -> &[(String, String)] {
        &self.tags
    }

    pub(super) fn set_tag(&mut self, key: &str, value: String) {
        self.tags.retain(|(known, _)| known != key);
        self.tags.push((key.to_owned(), value));
    }

    pub(super) fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// # Panics
    /// When there is no such task.
    pub(super) fn task(&mut self, id: &str) -> &mut Task {
        self.tasks
            .iter_mut()
            .find(|task| task.id == id)
            .unwrap_or_else(|| panic!("no task {id}"))
    }

    pub(super) fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// The task has ended: by order when the service should not have it, else by itself.
    pub(super) fn remove(&mut self, id: &str, why: &str) {
        let task = self.task(id).clone();
        self.tasks.retain(|task| task.id != id);
        let code = match (task.wanted, task.started) {
            (false, _) => "ServiceSchedulerInitiated",
            (true, Some(_)) => "EssentialContainerExited",
            (true, None) => "TaskFailedToStart",
        };
        self.end(task, code, why);
        self.settle();
    }

    fn end(&mut self, task: Task, code: &'static str, why: &str) {
        self.ended.push(Ended {
            task,
            stopped: crate::now(),
            code,
            reason: why.to_owned(),
        });
    }

    /// Makes the tasks that are missing, and gives up those that are too many, the oldest first. A task that has not run
    /// yet is gone at once, one that runs is left to its owner.
    fn settle(&mut self) {
        let desired = usize::try_from(self.desired).expect("few tasks");
        let wanted = self.tasks.iter().filter(|task| task.wanted).count();
        for task in self
            .tasks
            .iter_mut()
            .filter(|task| task.wanted)
            .take(wanted.saturating_sub(desired))
        {
            task.wanted = false;
        }
        let (left, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tasks)
            .into_iter()
            .partition(|task| task.wanted || task.status == "RUNNING");
        self.tasks = left;
        for task in gone {
            self.end(task, "ServiceSchedulerInitiated", "Scaling activity initiated");
        }
        for _ in wanted..desired {
            self.made += 1;
            self.tasks.push(Task {
                id: format!("{:032x}", self.made),
                status: "PROVISIONING",
                wanted: true,
                created: crate::now(),
                started: None,
                interface: None,
                address: None,
            });
        }
    }

    pub(super) fn put(&mut self, key: MetricKey, at: u64, value: f64) {
        self.metrics.entry(key).or_default().push((at, value));
    }

    pub(super) fn points(&self, key: &MetricKey) -> Vec<(u64, f64)> {
        self.metrics.get(key).cloned().unwrap_or_default()
    }
}
