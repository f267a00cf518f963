//! The adapters on the emulator's wire: as somebody else understands ECS, CloudWatch and EC2.

use crate::endpoint::{aws_at, within};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum};
use aws_sdk_ecs::types::{ContainerDefinition, LaunchType};
use aws_smithy_types::DateTime;
use fluidity_control_plane::aws::Aws;
use fluidity_control_plane::ecs::Stamp;
use fluidity_control_plane::epoch::Epoch;
use fluidity_control_plane::error::Error;
use fluidity_control_plane::metric::{ACTIVE_CONNECTIONS, LAST_ACTIVITY};
use fluidity_control_plane::service::{InterfaceId, TaskId};
use fluidity_fakes::aws::{CLUSTER, REGION, SERVICE};
use fluidity_fakes::emulator::Emulator;
use std::time::{Duration, Instant};

fn sdk(url: &str, account: &str) -> SdkConfig {
    let credentials = Credentials::new(account, "secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A cluster, a task definition and a service at zero, made with the plain SDK.
async fn deploy(sdk: &SdkConfig) {
    let ecs = aws_sdk_ecs::Client::new(sdk);
    ecs.create_cluster()
        .cluster_name(CLUSTER)
        .send()
        .await
        .expect("the emulator takes it");
    let container = ContainerDefinition::builder()
        .name("server")
        .image("fluidity-server")
        .build();
    ecs.register_task_definition()
        .family(SERVICE)
        .container_definitions(container)
        .send()
        .await
        .expect("the emulator takes it");
    ecs.create_service()
        .cluster(CLUSTER)
        .service_name(SERVICE)
        .task_definition(SERVICE)
        .launch_type(LaunchType::Fargate)
        .desired_count(0)
        .send()
        .await
        .expect("the emulator takes it");
}

#[tokio::test]
async fn a_service_is_read_stamped_and_scaled() {
    let Some(emulator) = Emulator::start().await else {
        return;
    };
    let account = Emulator::account();
    let aws = aws_at(&emulator.url(), &account);
    let missing = within(aws.ecs.describe()).await.unwrap_err();
    assert!(!missing.is_retryable(), "{missing}");
    assert_eq!(missing.word(), "no-service", "{}", missing.detail());
    deploy(&sdk(&emulator.url(), &account)).await;

    let service = within(aws.ecs.describe()).await.unwrap();
    assert_eq!(service.counts.desired, 0);
    assert_eq!(service.stamps.wake, None);
    let at = Epoch::from_secs(1_700_000_000);
    within(aws.ecs.stamp(Stamp::Wake, at)).await.unwrap();
    within(aws.ecs.stamp(Stamp::Wake, at.plus(Duration::from_secs(5))))
        .await
        .unwrap();
    within(aws.ecs.stamp(Stamp::Kill, at)).await.unwrap();
    let stamps = within(aws.ecs.describe()).await.unwrap().stamps;
    assert_eq!(stamps.wake, Some(Epoch::from_secs(1_700_000_005)));
    assert_eq!(stamps.kill, Some(at));

    let counts = within(aws.ecs.set_desired(1)).await.unwrap();
    assert_eq!(counts.desired, 1);
    let task = task(&aws).await;
    assert!(!task.0.contains('/'), "{task}");
    let counts = within(aws.ecs.set_desired(0)).await.unwrap();
    assert_eq!(counts.desired, 0);
    assert_eq!(within(aws.ecs.describe()).await.unwrap().counts.desired, 0);
}

/// The emulator makes its tasks in the background.
async fn task(aws: &Aws) -> TaskId {
    let began = Instant::now();
    loop {
        let tasks = within(aws.ecs.tasks()).await.expect("tasks");
        if let Some(task) = tasks.current.first() {
            return task.id.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "no task in 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn metrics_that_the_sdk_published_are_read_by_task() {
    let Some(emulator) = Emulator::start().await else {
        return;
    };
    let account = Emulator::account();
    let now = Epoch::now();
    let publisher = aws_sdk_cloudwatch::Client::new(&sdk(&emulator.url(), &account));
    let datum = |task: &str, name: &str, ago: u64, value: f64| {
        let at = i64::try_from(now.secs() - ago).unwrap();
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        MetricDatum::builder()
            .metric_name(name)
            .timestamp(DateTime::from_secs(at))
            .value(value)
            .dimensions(dimension("ClusterName", CLUSTER))
            .dimensions(dimension("ServiceName", SERVICE))
            .dimensions(dimension("TaskId", task))
            .build()
    };
    let activity = now.secs() - 100;
    within(
        publisher
            .put_metric_data()
            .namespace("Fluidity")
            .metric_data(datum("new", ACTIVE_CONNECTIONS, 130, 2.0))
            .metric_data(datum("new", ACTIVE_CONNECTIONS, 70, 0.0))
            .metric_data(datum(
                "new",
                LAST_ACTIVITY,
                70,
                Duration::from_secs(activity).as_secs_f64(),
            ))
            .metric_data(datum("old", ACTIVE_CONNECTIONS, 70, 9.0))
            .send(),
    )
    .await
    .unwrap();
    let aws = aws_at(&emulator.url(), &account);
    let ids = ["new", "silent"].map(|id| TaskId(id.to_owned()));
    let read = within(aws.cloudwatch.read(&ids, now)).await.unwrap();
    let mut active: Vec<_> = read[0]
        .active
        .iter()
        .map(|sample| (sample.at, sample.value))
        .collect();
    active.sort_by_key(|(at, _)| *at);
    assert_eq!(
        active.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
        [2.0, 0.0]
    );
    assert!(
        active.iter().all(|(at, _)| at.secs() % 60 == 0),
        "minutes: {active:?}"
    );
    assert_eq!(
        Epoch::from_metric(read[0].last_activity[0].value),
        Some(Epoch::from_secs(activity))
    );
    assert_eq!((read[1].active.len(), read[1].last_activity.len()), (0, 0));
}

#[tokio::test]
async fn an_interface_that_ec2_does_not_know_has_no_address() {
    let Some(emulator) = Emulator::start().await else {
        return;
    };
    let aws = aws_at(&emulator.url(), &Emulator::account());
    let unknown = InterfaceId("eni-0123456789abcdef0".to_owned());
    assert_eq!(within(aws.addresses.public(&unknown)).await.unwrap(), None);
}

#[tokio::test]
async fn a_cluster_that_ecs_does_not_know_is_no_service() {
    let Some(emulator) = Emulator::start().await else {
        return;
    };
    let aws = aws_at(&emulator.url(), &Emulator::account());
    let error: Error = within(aws.ecs.set_desired(0)).await.unwrap_err();
    assert_eq!(error.word(), "no-service", "{}", error.detail());
}
