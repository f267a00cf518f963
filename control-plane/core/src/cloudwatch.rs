//! Reads what the running tasks have published.

use crate::config::Config;
use crate::epoch::Epoch;
use crate::error::CallError;
use crate::metric::{self, Sample, TaskMetrics};
use crate::service::TaskId;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDataResult, MetricStat, ScanBy, StatusCode,
};
use std::collections::HashMap;
use std::time::Duration;

/// The server's metrics.
#[derive(Clone, Debug)]
pub struct CloudWatch {
    client: aws_sdk_cloudwatch::Client,
    cluster: String,
    service: String,
    period: Duration,
    window: Duration,
}

impl CloudWatch {
    /// On a client.
    pub fn new(client: aws_sdk_cloudwatch::Client, config: &Config) -> Self {
        Self {
            client,
            cluster: config.cluster.to_string(),
            service: config.service.to_string(),
            period: config.thresholds.period,
            window: config.thresholds.window(),
        }
    }

    /// What `tasks` have published lately. All of it or nothing: a part would look like silence.
    pub async fn read(&self, tasks: &[TaskId], now: Epoch) -> Result<Vec<TaskMetrics>, CallError> {
        let mut results: HashMap<String, Vec<Sample>> = HashMap::new();
        let queries: Vec<MetricDataQuery> = tasks
            .iter()
            .enumerate()
            .flat_map(|(index, task)| KINDS.map(|kind| self.query(index, task, kind)))
            .collect();
        // At most 100 tasks, so at most 200 queries; AWS takes 500.
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let page = self
                .client
                .get_metric_data()
                .set_metric_data_queries(Some(queries.clone()))
                .start_time(date_time(now.minus(self.window)))
                .end_time(date_time(now.plus(self.period)))
                .scan_by(ScanBy::TimestampDescending)
                .set_next_token(next)
                .send()
                .await
                .map_err(|error| CallError::from_sdk(OPERATION, &error))?;
            next = page.next_token().map(str::to_owned);
            for result in page.metric_data_results() {
                let samples = samples(result, next.is_some())?;
                results
                    .entry(result.id().unwrap_or_default().to_owned())
                    .or_default()
                    .extend(samples);
            }
            if next.is_none() {
                break;
            }
        }
        if next.is_some() {
            return Err(CallError::garbled(OPERATION, "more pages than there can be"));
        }
        let mut take = |index, kind| results.remove(&query_id(index, kind)).unwrap_or_default();
        Ok(tasks
            .iter()
            .enumerate()
            .map(|(index, task)| TaskMetrics {
                task: task.clone(),
                active: take(index, metric::ACTIVE_CONNECTIONS),
                last_activity: take(index, metric::LAST_ACTIVITY),
            })
            .collect())
    }

    fn query(&self, index: usize, task: &TaskId, kind: &'static str) -> MetricDataQuery {
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let metric = Metric::builder()
            .namespace(metric::NAMESPACE)
            .metric_name(kind)
            .dimensions(dimension(metric::CLUSTER_DIMENSION, &self.cluster))
            .dimensions(dimension(metric::SERVICE_DIMENSION, &self.service))
            .dimensions(dimension(metric::TASK_DIMENSION, &task.0))
            .build();
        let stat = MetricStat::builder()
            .metric(metric)
            .period(i32::try_from(self.period.as_secs()).unwrap_or(i32::MAX))
            .stat("Maximum")
            .build();
        MetricDataQuery::builder()
            .id(query_id(index, kind))
            .metric_stat(stat)
            .return_data(true)
            .build()
    }
}

/// One metric's samples on one page. `PartialData` is good only where there are more pages.
fn samples(result: &MetricDataResult, more: bool) -> Result<Vec<Sample>, CallError> {
    match result.status_code() {
        None | Some(StatusCode::Complete) => {}
        Some(StatusCode::PartialData) if more => {}
        Some(status) => {
            let detail = format!("status {status} for {}", result.id().unwrap_or("?"));
            return Err(CallError::garbled(OPERATION, detail));
        }
    }
    let (times, values) = (result.timestamps(), result.values());
    if times.len() != values.len() {
        return Err(CallError::garbled(OPERATION, "not as many times as values"));
    }
    let sample = |(at, value): (&DateTime, &f64)| {
        let secs =
            u64::try_from(at.secs()).map_err(|_| CallError::garbled(OPERATION, "a time before 1970"))?;
        Ok(Sample {
            at: Epoch::from_secs(secs),
            value: *value,
        })
    };
    times.iter().zip(values).map(sample).collect()
}

/// A query's id begins with a small letter and has only letters, digits and underscores.
fn query_id(index: usize, kind: &'static str) -> String {
    let kind = if kind == metric::ACTIVE_CONNECTIONS {
        "active"
    } else {
        "last"
    };
    format!("{kind}_{index}")
}

fn date_time(at: Epoch) -> DateTime {
    DateTime::from_secs(i64::try_from(at.secs()).unwrap_or(i64::MAX))
}

const KINDS: [&str; 2] = [metric::ACTIVE_CONNECTIONS, metric::LAST_ACTIVITY];
const OPERATION: &str = "cloudwatch:GetMetricData";
const MOST_PAGES: usize = 10;
