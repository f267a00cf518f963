//! A server that nobody has used for an hour, and what is done to it.

use fluidity_fakes::aws::Aws;
use fluidity_fakes::lambda::Lambda;
use fluidity_fakes::{events, now};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(crate) const HOUR: u64 = 3600;
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// A binary of another crate, on the same AWS.
pub(crate) async fn function(aws: &Aws, name: &str) -> Lambda {
    let binary = fluidity_fakes::binary(&format!("fluidity-{name}"));
    Lambda::start(name, binary, &aws.environment()).await
}

pub(crate) async fn sleep(aws: &Aws) -> Lambda {
    Lambda::start(
        "sleep",
        env!("CARGO_BIN_EXE_fluidity-sleep").into(),
        &aws.environment(),
    )
    .await
}

/// What the schedule gets.
pub(crate) async fn scheduled(lambda: &Lambda) -> Value {
    lambda.invoke(events::schedule()).await.expect("an answer")
}

/// A task that runs since an hour, for a service that was woken then. Nothing is published yet.
pub(crate) async fn running_for_an_hour() -> (Aws, String) {
    let aws = Aws::start().await;
    aws.set_desired(1);
    let id = aws.newest_task().expect("made").id;
    let then = now() - HOUR;
    aws.run_task_since(&id, ADDRESS, then);
    aws.set_deployment_changed(then);
    for key in ["fluidity:last-wake", "fluidity:last-start"] {
        aws.set_tag(key, then);
    }
    (aws, id)
}

/// The task publishes what a server does that nobody has used for so long.
pub(crate) fn publish_idle(aws: &Aws, task: &str, idle: u64) {
    let times = || (0..6).map(|minute| now() - 60 * minute);
    aws.put_metric(task, "ActiveConnections", times().map(|at| (at, 0.0)));
    let activity = Duration::from_secs(now() - idle).as_secs_f64();
    aws.put_metric(task, "LastActivityEpochSeconds", times().map(|at| (at, activity)));
}

/// A service that nobody has used for an hour.
pub(crate) async fn idle_for_an_hour() -> Aws {
    let (aws, id) = running_for_an_hour().await;
    publish_idle(&aws, &id, HOUR);
    aws
}

/// The service was woken so long ago, the attempt of that time has failed, and the next is on its way.
pub(crate) fn start_that_fails_since(aws: &Aws, ago: u64) {
    let task = aws.newest_task().expect("made").id;
    aws.set_tag("fluidity:last-start", now() - ago);
    aws.set_task_created(&task, now() - ago);
    aws.fail_task(&task, "CannotPullContainerError");
}
