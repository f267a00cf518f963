//! The adapters on an endpoint: as they are in Lambda, only less patient.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::config::timeout::TimeoutConfig;
use fluidity_control_plane::aws::{Aws, retries};
use fluidity_control_plane::config::Config;
use fluidity_control_plane::error::{CallErrorKind, Error};
use std::future::Future;
use std::time::Duration;

pub(crate) fn config() -> Config {
    let config = Config::read(&|variable| match variable {
        "ECS_CLUSTER_NAME" => Some(fluidity_fakes::aws::CLUSTER.to_owned()),
        "ECS_SERVICE_NAME" => Some(fluidity_fakes::aws::SERVICE.to_owned()),
        _ => None,
    });
    config.expect("good settings")
}

pub(crate) fn aws_at(url: &str, access_key: &str) -> Aws {
    let credentials = Credentials::new(access_key, "secret", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(fluidity_fakes::aws::REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(short_timeouts())
        .retry_config(short_retries())
        .build();
    Aws::new(&sdk, &config()).expect("a region and credentials")
}

fn short_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(700))
        .operation_timeout(Duration::from_millis(1500))
        .build()
}

/// As many attempts as in Lambda, without the pauses.
pub(crate) fn short_retries() -> RetryConfig {
    retries()
        .with_initial_backoff(Duration::from_millis(1))
        .with_max_backoff(Duration::from_millis(5))
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("within 20 s")
}

pub(crate) fn kind(error: &Error) -> CallErrorKind {
    match error {
        Error::Call(error) => error.kind,
        other => panic!("no failed call: {other}"),
    }
}
