//! The way to AWS: one configuration, one HTTP client, and a deadline on everything. A call is tried three times at most
//! and takes eight seconds at most; a whole invocation has a deadline of its own above that (`lambda.rs`).

use crate::address::Addresses;
use crate::cloudwatch::CloudWatch;
use crate::config::Config;
use crate::ecs::Ecs;
use crate::spans::CallSpans;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use std::time::Duration;

/// Everything of AWS that the functions use.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The service and its tasks.
    pub ecs: Ecs,
    /// What the server publishes.
    pub cloudwatch: CloudWatch,
    /// A task's public address.
    pub addresses: Addresses,
}

/// An environment that does not lead to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// No region.
    #[error("no AWS region: set AWS_REGION")]
    NoRegion,
    /// No way to get credentials.
    #[error("no AWS credentials")]
    NoCredentials,
}

impl Aws {
    /// As the process's environment says: in Lambda, its role.
    pub async fn from_env(config: &Config) -> Result<Self, AwsError> {
        Self::new(&sdk_config().await, config)
    }

    /// On a configuration of the SDK.
    pub fn new(sdk: &SdkConfig, config: &Config) -> Result<Self, AwsError> {
        let ecs = aws_sdk_ecs::config::Builder::from(sdk).interceptor(CallSpans);
        let cloudwatch = aws_sdk_cloudwatch::config::Builder::from(sdk).interceptor(CallSpans);
        Ok(Self {
            ecs: Ecs::new(aws_sdk_ecs::Client::from_conf(ecs.build()), config),
            cloudwatch: CloudWatch::new(aws_sdk_cloudwatch::Client::from_conf(cloudwatch.build()), config),
            addresses: Addresses::new(sdk)?,
        })
    }
}

async fn sdk_config() -> SdkConfig {
    // One client for all: one pool of connections, and aws-lc-rs for TLS (docs/adr/0004).
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts())
        .retry_config(retries())
        .load()
        .await
}

/// How long the parts of a call may take.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build()
}

/// How often a call is tried.
pub fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(LONGEST_BACKOFF)
}

const CONNECT: Duration = Duration::from_secs(2);
const ATTEMPT: Duration = Duration::from_secs(4);
/// All attempts of one call together.
const OPERATION: Duration = Duration::from_secs(8);
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
