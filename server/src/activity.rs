//! What CloudWatch is told, so that the control plane can tell an idle server from one in use: how many sessions are
//! open, and when a byte moved last.
//!
//! A task of its own looks at counters that are kept anyway, so that nothing is added to a byte's way. Every metric goes
//! out twice in one call: for the service, and for this very task, so that an old task never vouches for a new one. A
//! CloudWatch that fails costs a warning and a count; the control plane keeps a server that it knows nothing of.

use crate::metrics::Metrics;
use crate::roster::Roster;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::ProvideRegion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_cloudwatch::config::BehaviorVersion;
use aws_sdk_cloudwatch::error::DisplayErrorContext;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_sdk_cloudwatch::{Client, Config};
use fluidity_daemon::admin::fetch;
use http::Uri;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Whose metrics they are, and how often they go out.
#[derive(Clone, Debug)]
pub struct ActivityOptions {
    /// The ECS cluster.
    pub cluster: String,
    /// The ECS service.
    pub service: String,
    /// The ECS task; asked of the container's metadata where it is not set.
    pub task: Option<String>,
    /// How often; 10 s at the least.
    pub period: Duration,
}

/// Tells CloudWatch.
#[derive(Debug)]
pub struct Activity {
    options: ActivityOptions,
    roster: Arc<Roster>,
    metrics: Arc<Metrics>,
    seen: Seen,
}

/// What was there when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    moved: u64,
    started: u64,
    /// When one of them had changed, or the server started.
    last_activity: SystemTime,
    /// The most sessions since the last publication.
    most_sessions: u32,
}

impl Activity {
    /// Of a server that starts now.
    pub fn new(options: ActivityOptions, roster: Arc<Roster>, metrics: Arc<Metrics>) -> Self {
        Self {
            options,
            roster,
            metrics,
            seen: Seen {
                moved: 0,
                started: 0,
                last_activity: SystemTime::now(),
                most_sessions: 0,
            },
        }
    }

    /// Publishes until `stop`, and once more then.
    pub async fn publish(mut self, stop: CancellationToken) {
        let client = client().await;
        let task = match self.options.task.take() {
            Some(task) => Some(task),
            None => task_id().await,
        };
        info!(task, period = ?self.options.period, "telling CloudWatch of activity");
        let mut looks = interval(LOOK.min(self.options.period));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publications = interval(self.options.period);
        publications.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            let stopped = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                _ = publications.tick() => false,
                _ = looks.tick() => {
                    self.look();
                    continue;
                }
            };
            self.look();
            let data = self.data(task.as_deref(), SystemTime::now());
            let sent = client
                .put_metric_data()
                .namespace(NAMESPACE)
                .set_metric_data(Some(data))
                .send();
            let failure = match timeout(DEADLINE, sent).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(DisplayErrorContext(error).to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            match failure {
                None => {
                    debug!("CloudWatch was told");
                    if !std::mem::replace(&mut well, true) {
                        info!("CloudWatch takes metrics again");
                    }
                    self.metrics.activity_published();
                    self.seen.most_sessions = self.roster.sessions();
                }
                Some(error) => {
                    self.metrics.activity_failed();
                    // Once, until it works again: it fails every minute.
                    if std::mem::replace(&mut well, false) {
                        warn!(
                            error,
                            "CloudWatch was not told; the server goes on, and may be kept awake"
                        );
                    }
                }
            }
            if stopped {
                return;
            }
        }
    }

    /// Looks whether anything happened.
    fn look(&mut self) {
        let moved = self.metrics.traffic().total();
        let moved = moved.up + moved.down;
        let started = self.metrics.sessions_started();
        if (moved, started) != (self.seen.moved, self.seen.started) {
            self.seen.moved = moved;
            self.seen.started = started;
            self.seen.last_activity = SystemTime::now();
        }
        self.seen.most_sessions = self.seen.most_sessions.max(self.roster.sessions());
    }

    fn data(&self, task: Option<&str>, now: SystemTime) -> Vec<MetricDatum> {
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let service = vec![
            dimension(CLUSTER_DIMENSION, &self.options.cluster),
            dimension(SERVICE_DIMENSION, &self.options.service),
        ];
        let own = task.map(|task| [service.as_slice(), &[dimension(TASK_DIMENSION, task)]].concat());
        let values = [
            (
                ACTIVE_CONNECTIONS,
                StandardUnit::Count,
                f64::from(self.seen.most_sessions),
            ),
            (
                LAST_ACTIVITY,
                StandardUnit::Seconds,
                epoch(self.seen.last_activity),
            ),
        ];
        // CloudWatch keeps minutes, unless it is told of seconds.
        let resolution = if self.options.period < MINUTE { 1 } else { 60 };
        let datum = |(name, unit, value): (&str, StandardUnit, f64), dimensions: &[Dimension]| {
            MetricDatum::builder()
                .metric_name(name)
                .set_dimensions(Some(dimensions.to_vec()))
                .timestamp(DateTime::from(now))
                .unit(unit)
                .storage_resolution(resolution)
                .value(value)
                .build()
        };
        [Some(service), own]
            .into_iter()
            .flatten()
            .flat_map(|dimensions| values.clone().map(|value| datum(value, &dimensions)))
            .collect()
    }
}

/// With the environment's region, and credentials of the environment, the task's role or the EC2 instance's.
///
/// Not all that the SDK would try: profiles and tokens for STS are in no task, and would be a part of its image.
async fn client() -> Client {
    let credentials =
        CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
            .or_else("EcsContainer", EcsCredentialsProvider::builder().build())
            .or_else("Ec2InstanceMetadata", ImdsCredentialsProvider::builder().build());
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .credentials_provider(credentials)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3));
    let endpoint = ["AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    config.set_endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// The id of the ECS task that this process runs in, as its metadata endpoint (version 4) tells it.
async fn task_id() -> Option<String> {
    #[derive(Deserialize)]
    struct Task {
        #[serde(rename = "TaskARN")]
        arn: String,
    }
    let uri: Uri = std::env::var("ECS_CONTAINER_METADATA_URI_V4")
        .ok()?
        .parse()
        .ok()?;
    let host = uri.host()?.parse().ok()?;
    let address = SocketAddr::new(host, uri.port_u16().unwrap_or(80));
    let page = fetch(address, &format!("{}/task", uri.path()), METADATA).await;
    let task = match page {
        Ok((code, page)) if code.is_success() => serde_json::from_slice::<Task>(&page).ok(),
        _ => None,
    };
    if task.is_none() {
        warn!("the container's metadata does not tell the task; its metrics go without");
    }
    // arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID
    task.and_then(|task| task.arn.rsplit('/').next().map(str::to_owned))
}

/// Exact for a few million years.
fn epoch(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64().floor()
}

/// The names are the control plane's, which reads what is published here (docs/control-plane.md).
const NAMESPACE: &str = "Fluidity";
const ACTIVE_CONNECTIONS: &str = "ActiveConnections";
const LAST_ACTIVITY: &str = "LastActivityEpochSeconds";
const CLUSTER_DIMENSION: &str = "ClusterName";
const SERVICE_DIMENSION: &str = "ServiceName";
const TASK_DIMENSION: &str = "TaskId";
/// How often it is looked whether a byte moved.
const LOOK: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(3);
/// One publication, retries included: the last one must fit into a stop.
const DEADLINE: Duration = Duration::from_secs(8);
const MINUTE: Duration = Duration::from_secs(60);
const METADATA: Duration = Duration::from_secs(2);
