//! The ECS service: read it, stamp it, change its `desiredCount`, list its tasks.

use crate::config::{Config, Name};
use crate::epoch::Epoch;
use crate::error::{CallError, Error};
use crate::service::{Cause, Counts, Ended, InterfaceId, Progress, Service, Stamps, Task, TaskId, Tasks};
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The service in its cluster.
#[derive(Clone, Debug)]
pub struct Ecs {
    client: aws_sdk_ecs::Client,
    cluster: Name,
    service: Name,
    /// Tags go by ARN. It stays the same for as long as the service exists, so one reading is enough for a process.
    arn: Arc<OnceLock<String>>,
}

/// A time to leave on the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Somebody wants it.
    Wake,
    /// Somebody wanted it while it was at zero.
    Start,
    /// Somebody stopped it.
    Kill,
}

impl Stamp {
    /// The tag's key.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Wake => "fluidity:last-wake",
            Self::Start => "fluidity:last-start",
            Self::Kill => "fluidity:last-kill",
        }
    }
}

impl Ecs {
    /// On a client.
    pub fn new(client: aws_sdk_ecs::Client, config: &Config) -> Self {
        Self {
            client,
            cluster: config.cluster.clone(),
            service: config.service.clone(),
            arn: Arc::new(OnceLock::new()),
        }
    }

    /// Reads the service with its stamps.
    pub async fn describe(&self) -> Result<Service, Error> {
        let output = self
            .client
            .describe_services()
            .cluster(self.cluster.as_str())
            .services(self.service.as_str())
            .include(types::ServiceField::Tags)
            .send()
            .await
            .map_err(|error| CallError::from_sdk("ecs:DescribeServices", &error))?;
        let Some(service) = output.services().first() else {
            return Err(Error::NoService);
        };
        // DRAINING and INACTIVE: it is being deleted, or was.
        if service.status().is_some_and(|status| status != "ACTIVE") {
            return Err(Error::NoService);
        }
        if let Some(arn) = service.service_arn() {
            // Another call may have been first, with the same text.
            let _ = self.arn.set(arn.to_owned());
        }
        Ok(service.into())
    }

    /// Leaves a time on the service.
    pub async fn stamp(&self, stamp: Stamp, at: Epoch) -> Result<(), Error> {
        let tag = types::Tag::builder()
            .key(stamp.key())
            .value(at.to_string())
            .build();
        self.client
            .tag_resource()
            .resource_arn(self.arn().await?)
            .tags(tag)
            .send()
            .await
            .map_err(|error| CallError::from_sdk("ecs:TagResource", &error))?;
        Ok(())
    }

    /// Sets how many tasks there should be, and answers how many there are.
    pub async fn set_desired(&self, desired: u32) -> Result<Counts, Error> {
        let update = self
            .client
            .update_service()
            .cluster(self.cluster.as_str())
            .service(self.service.as_str())
            .desired_count(i32::try_from(desired).unwrap_or(i32::MAX));
        // Boxed: the request has so many fields that the future would fill a stack.
        let output = Box::pin(update.send())
            .await
            .map_err(|error| CallError::from_sdk("ecs:UpdateService", &error))?;
        let service = output
            .service()
            .ok_or_else(|| CallError::garbled("ecs:UpdateService", "an answer without a service"))?;
        Ok(counts(service))
    }

    /// The tasks that ECS means to keep running, and, when none of them runs, those that have ended lately.
    pub async fn tasks(&self) -> Result<Tasks, Error> {
        let described = self.described(types::DesiredStatus::Running).await?;
        let mut tasks = Tasks {
            current: described
                .iter()
                // It may have been stopped between the two calls.
                .filter(|task| task.desired_status() == Some("RUNNING"))
                .filter_map(task)
                .collect(),
            ended: Vec::new(),
        };
        if tasks.running().next().is_none() {
            let described = self.described(types::DesiredStatus::Stopped).await?;
            tasks.ended = described.iter().filter_map(ended).collect();
        }
        Ok(tasks)
    }

    async fn described(&self, desired: types::DesiredStatus) -> Result<Vec<types::Task>, Error> {
        let listed = self
            .client
            .list_tasks()
            .cluster(self.cluster.as_str())
            .service_name(self.service.as_str())
            .desired_status(desired)
            .max_results(MOST_TASKS)
            .send()
            .await
            .map_err(|error| CallError::from_sdk("ecs:ListTasks", &error))?;
        if listed.task_arns().is_empty() {
            return Ok(Vec::new());
        }
        let described = self
            .client
            .describe_tasks()
            .cluster(self.cluster.as_str())
            .set_tasks(listed.task_arns)
            .send()
            .await
            .map_err(|error| CallError::from_sdk("ecs:DescribeTasks", &error))?;
        Ok(described.tasks.unwrap_or_default())
    }

    async fn arn(&self) -> Result<&str, Error> {
        if self.arn.get().is_none() {
            self.describe().await?;
        }
        self.arn
            .get()
            .map(String::as_str)
            .ok_or_else(|| CallError::garbled("ecs:DescribeServices", "a service without an ARN").into())
    }
}

impl From<&types::Service> for Service {
    fn from(service: &types::Service) -> Self {
        let primary = service
            .deployments()
            .iter()
            .find(|deployment| deployment.status() == Some("PRIMARY"));
        let stamp = |stamp| stamped(service.tags(), stamp);
        Self {
            counts: counts(service),
            stamps: Stamps {
                wake: stamp(Stamp::Wake),
                start: stamp(Stamp::Start),
                kill: stamp(Stamp::Kill),
            },
            deployment_changed: primary.and_then(|deployment| epoch(deployment.updated_at())),
            latest_event: service
                .events()
                .first()
                .and_then(|event| event.message())
                .map(str::to_owned),
        }
    }
}

fn counts(service: &types::Service) -> Counts {
    Counts {
        desired: count(service.desired_count()),
        running: count(service.running_count()),
        pending: count(service.pending_count()),
    }
}

fn stamped(tags: &[types::Tag], stamp: Stamp) -> Option<Epoch> {
    let tag = tags.iter().find(|tag| tag.key() == Some(stamp.key()))?;
    let parsed = tag.value().unwrap_or_default().parse();
    if parsed.is_err() {
        tracing::warn!(tag = stamp.key(), "a stamp that is not a time counts as missing");
    }
    parsed.ok()
}

/// `None` for a task without an ARN: nothing can be said about it.
fn task(task: &types::Task) -> Option<Task> {
    let id = task.task_arn()?.rsplit('/').next()?;
    let interface = task
        .attachments()
        .iter()
        .filter(|attachment| attachment.r#type() == Some("ElasticNetworkInterface"))
        .flat_map(types::Attachment::details)
        .find(|detail| detail.name() == Some("networkInterfaceId"))
        .and_then(types::KeyValuePair::value);
    Some(Task {
        id: TaskId(id.to_owned()),
        progress: match task.last_status().unwrap_or_default() {
            "RUNNING" => Progress::Running,
            "DEACTIVATING" | "STOPPING" | "DEPROVISIONING" | "STOPPED" | "DELETED" => Progress::Ending,
            _ => Progress::Starting,
        },
        created: epoch(task.created_at()),
        started: epoch(task.started_at()),
        interface: interface.map(|id| InterfaceId(id.to_owned())),
    })
}

/// `None` for a task that is still on its way out.
fn ended(task: &types::Task) -> Option<Ended> {
    let stopped = epoch(task.stopped_at())?;
    let cause = match task.stop_code() {
        Some(types::TaskStopCode::TaskFailedToStart | types::TaskStopCode::EssentialContainerExited) => {
            Cause::Failure
        }
        _ => Cause::Order,
    };
    Some(Ended {
        created: epoch(task.created_at()),
        ran: epoch(task.started_at()).map_or(Duration::ZERO, |started| stopped.since(started)),
        cause,
        reason: task.stopped_reason().map(str::to_owned),
    })
}

fn epoch(time: Option<&DateTime>) -> Option<Epoch> {
    u64::try_from(time?.secs()).ok().map(Epoch::from_secs)
}

/// AWS counts in signed numbers; a negative one would be garbage, and counts as none.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// What DescribeTasks takes in one call. A fleet is smaller.
const MOST_TASKS: i32 = 100;
