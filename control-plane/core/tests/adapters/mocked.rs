//! What the SDK can answer, without any wire: errors, throttles, retries, and answers that make no sense.

use crate::endpoint::{config, kind, short_retries};
use aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput;
use aws_sdk_cloudwatch::types::{MetricDataResult, StatusCode};
use aws_sdk_ecs::operation::describe_services::{DescribeServicesError, DescribeServicesOutput};
use aws_sdk_ecs::operation::list_tasks::ListTasksOutput;
use aws_sdk_ecs::operation::tag_resource::TagResourceOutput;
use aws_sdk_ecs::operation::update_service::UpdateServiceOutput;
use aws_sdk_ecs::types::error::ClusterNotFoundException;
use aws_sdk_ecs::types::{Deployment, Service, ServiceEvent, Tag};
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};
use aws_smithy_types::DateTime;
use fluidity_control_plane::cloudwatch::CloudWatch;
use fluidity_control_plane::ecs::{Ecs, Stamp};
use fluidity_control_plane::epoch::Epoch;
use fluidity_control_plane::error::{CallErrorKind, Error};
use fluidity_control_plane::service::{Counts, Stamps, TaskId, Tasks};

const ARN: &str = "arn:aws:ecs:eu-central-1:1:service/fluidity/fluidity-server";

fn ecs(rules: &[&Rule]) -> Ecs {
    let client = mock_client!(aws_sdk_ecs, RuleMode::MatchAny, rules, |conf| conf
        .retry_config(short_retries()));
    Ecs::new(client, &config())
}

fn cloudwatch(rules: &[&Rule]) -> CloudWatch {
    let client = mock_client!(aws_sdk_cloudwatch, RuleMode::MatchAny, rules, |conf| conf
        .retry_config(short_retries()));
    CloudWatch::new(client, &config())
}

fn service() -> aws_sdk_ecs::types::builders::ServiceBuilder {
    Service::builder()
        .service_arn(ARN)
        .status("ACTIVE")
        .desired_count(1)
        .running_count(0)
        .pending_count(1)
}

fn described(service: Service) -> DescribeServicesOutput {
    DescribeServicesOutput::builder().services(service).build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[tokio::test]
async fn a_service_is_read_with_its_counts_and_stamps() {
    let rule = mock!(aws_sdk_ecs::Client::describe_services)
        .match_requests(|input| {
            input.cluster() == Some("fluidity") && input.services() == ["fluidity-server"]
        })
        .then_output(|| {
            let deployment = |status: &str, at: i64| {
                Deployment::builder()
                    .status(status)
                    .updated_at(DateTime::from_secs(at))
                    .build()
            };
            described(
                service()
                    .tags(tag("fluidity:last-wake", "1700000001"))
                    .tags(tag("fluidity:last-start", "1700000002"))
                    .tags(tag("somebody:else", "5"))
                    .tags(tag("fluidity:last-kill", "soon"))
                    .deployments(deployment("ACTIVE", 1))
                    .deployments(deployment("PRIMARY", 1_700_000_003))
                    .events(ServiceEvent::builder().message("the newest").build())
                    .events(ServiceEvent::builder().message("an older one").build())
                    .build(),
            )
        });
    let service = ecs(&[&rule]).describe().await.unwrap();
    let (desired, running, pending) = (1, 0, 1);
    assert_eq!(
        service.counts,
        Counts {
            desired,
            running,
            pending
        }
    );
    assert_eq!(
        service.stamps,
        Stamps {
            wake: Some(Epoch::from_secs(1_700_000_001)),
            start: Some(Epoch::from_secs(1_700_000_002)),
            kill: None,
        },
        "a stamp that is no time counts as missing"
    );
    assert_eq!(service.deployment_changed, Some(Epoch::from_secs(1_700_000_003)));
    assert_eq!(service.latest_event.as_deref(), Some("the newest"));
}

#[tokio::test]
async fn a_service_that_is_missing_or_being_deleted_does_not_exist() {
    let missing = mock!(aws_sdk_ecs::Client::describe_services)
        .then_output(|| DescribeServicesOutput::builder().build());
    let error = ecs(&[&missing]).describe().await.unwrap_err();
    assert!(matches!(error, Error::NoService));
    for status in ["DRAINING", "INACTIVE"] {
        let rule = mock!(aws_sdk_ecs::Client::describe_services)
            .then_output(move || described(service().status(status).build()));
        let error = ecs(&[&rule]).describe().await.unwrap_err();
        assert!(matches!(error, Error::NoService), "{status}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_stamp_goes_to_the_services_arn_which_is_read_once() {
    let describe = mock!(aws_sdk_ecs::Client::describe_services).then_output(|| described(service().build()));
    let stamp = mock!(aws_sdk_ecs::Client::tag_resource)
        .match_requests(|input| {
            let tag = &input.tags()[0];
            input.resource_arn() == Some(ARN)
                && tag.key() == Some("fluidity:last-wake")
                && tag.value() == Some("1700000000")
        })
        .then_output(|| TagResourceOutput::builder().build());
    let ecs = ecs(&[&describe, &stamp]);
    for _ in 0..3 {
        ecs.stamp(Stamp::Wake, Epoch::from_secs(1_700_000_000))
            .await
            .unwrap();
    }
    assert_eq!((describe.num_calls(), stamp.num_calls()), (1, 3));
}

#[tokio::test]
async fn a_throttled_call_is_tried_again_and_gets_through() {
    let rule = mock!(aws_sdk_ecs::Client::describe_services)
        .sequence()
        .http_status(
            400,
            Some(r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#.to_owned()),
        )
        .http_status(503, None)
        .output(|| described(service().build()))
        .build();
    ecs(&[&rule]).describe().await.unwrap();
    assert_eq!(rule.num_calls(), 3);
}

#[tokio::test]
async fn each_refusal_is_known_for_what_it_is_and_tried_as_often_as_it_is_worth() {
    let code = |code: &str| {
        Some(format!(
            r#"{{"__type":"com.amazonaws.ecs#{code}","message":"no"}}"#
        ))
    };
    let cases: [(u16, Option<String>, CallErrorKind, bool, usize); 10] = [
        (
            400,
            code("ThrottlingException"),
            CallErrorKind::Throttled,
            true,
            3,
        ),
        (429, code("Whatever"), CallErrorKind::Throttled, true, 1),
        (500, code("ServerException"), CallErrorKind::Unavailable, true, 3),
        (503, None, CallErrorKind::Unavailable, true, 3),
        (
            400,
            code("AccessDeniedException"),
            CallErrorKind::Denied,
            false,
            1,
        ),
        (
            400,
            code("UnrecognizedClientException"),
            CallErrorKind::Denied,
            false,
            1,
        ),
        (403, Some("<html>".to_owned()), CallErrorKind::Denied, false, 1),
        (
            400,
            code("ClusterNotFoundException"),
            CallErrorKind::Missing,
            false,
            1,
        ),
        (
            400,
            code("ServiceNotFoundException"),
            CallErrorKind::Missing,
            false,
            1,
        ),
        (
            400,
            code("InvalidParameterException"),
            CallErrorKind::Refused,
            false,
            1,
        ),
    ];
    for (status, body, wanted, retryable, attempts) in cases {
        let answer = body.clone();
        let rule = mock!(aws_sdk_ecs::Client::update_service)
            .sequence()
            .http_status(status, answer)
            .repeatedly()
            .build();
        let error = ecs(&[&rule]).set_desired(1).await.unwrap_err();
        assert_eq!(kind(&error), wanted, "{status} {body:?}: {}", error.detail());
        assert_eq!(error.is_retryable(), retryable, "{status} {body:?}");
        assert_eq!(rule.num_calls(), attempts, "{status} {body:?}");
        assert!(error.to_string().starts_with("ecs:UpdateService "), "{error}");
        assert!(
            !error.to_string().contains("no\""),
            "what AWS said is for the log: {error}"
        );
    }
}

#[tokio::test]
async fn a_modeled_error_is_known_by_its_code() {
    let rule = mock!(aws_sdk_ecs::Client::describe_services).then_error(|| {
        let meta = aws_smithy_types::error::ErrorMetadata::builder()
            .code("ClusterNotFoundException")
            .build();
        DescribeServicesError::ClusterNotFoundException(
            ClusterNotFoundException::builder().meta(meta).build(),
        )
    });
    let error = ecs(&[&rule]).describe().await.unwrap_err();
    assert_eq!(kind(&error), CallErrorKind::Missing);
    assert_eq!(error.word(), "no-service");
}

#[tokio::test]
async fn garbage_is_an_error_and_no_panic() {
    for body in [
        "",
        "not json",
        "[1, 2",
        "{\"services\": 5}",
        "{\"service\": {\"desiredCount\": \"x\"}}",
    ] {
        let rule = mock!(aws_sdk_ecs::Client::update_service)
            .sequence()
            .http_status(200, Some(body.to_owned()))
            .repeatedly()
            .build();
        let error = ecs(&[&rule]).set_desired(1).await.unwrap_err();
        assert_eq!(
            kind(&error),
            CallErrorKind::Garbled,
            "{body:?}: {}",
            error.detail()
        );
    }
    let empty =
        mock!(aws_sdk_ecs::Client::update_service).then_output(|| UpdateServiceOutput::builder().build());
    let error = ecs(&[&empty]).set_desired(1).await.unwrap_err();
    assert_eq!(kind(&error), CallErrorKind::Garbled);
    let anonymous = mock!(aws_sdk_ecs::Client::describe_services)
        .then_output(|| described(Service::builder().status("ACTIVE").build()));
    let ecs = ecs(&[&anonymous]);
    let error = ecs.stamp(Stamp::Kill, Epoch::from_secs(1)).await.unwrap_err();
    assert_eq!(kind(&error), CallErrorKind::Garbled, "a service without an ARN");
}

#[tokio::test]
async fn negative_counts_are_none() {
    let rule = mock!(aws_sdk_ecs::Client::update_service).then_output(|| {
        let service = Service::builder()
            .desired_count(-1)
            .running_count(i32::MIN)
            .build();
        UpdateServiceOutput::builder().service(service).build()
    });
    assert_eq!(ecs(&[&rule]).set_desired(0).await.unwrap(), Counts::default());
}

#[tokio::test]
async fn without_listed_tasks_none_is_described() {
    let rule = mock!(aws_sdk_ecs::Client::list_tasks).then_output(|| ListTasksOutput::builder().build());
    assert_eq!(ecs(&[&rule]).tasks().await.unwrap(), Tasks::default());
}

fn result(id: &str, status: StatusCode, times: &[i64], values: &[f64]) -> MetricDataResult {
    MetricDataResult::builder()
        .id(id)
        .status_code(status)
        .set_timestamps(Some(times.iter().map(|at| DateTime::from_secs(*at)).collect()))
        .set_values(Some(values.to_vec()))
        .build()
}

fn page(results: Vec<MetricDataResult>, next: Option<&str>) -> GetMetricDataOutput {
    GetMetricDataOutput::builder()
        .set_metric_data_results(Some(results))
        .set_next_token(next.map(str::to_owned))
        .build()
}

const NOW: Epoch = Epoch::from_secs(1_700_000_000);

fn one_task() -> Vec<TaskId> {
    vec![TaskId("t1".to_owned())]
}

#[tokio::test]
async fn pages_of_metrics_are_put_together() {
    let first = mock!(aws_sdk_cloudwatch::Client::get_metric_data)
        .match_requests(|input| input.next_token().is_none())
        .then_output(|| {
            let partial = result("active_0", StatusCode::PartialData, &[120], &[1.0]);
            page(vec![partial], Some("more"))
        });
    let second = mock!(aws_sdk_cloudwatch::Client::get_metric_data)
        .match_requests(|input| input.next_token() == Some("more"))
        .then_output(|| {
            let active = result("active_0", StatusCode::Complete, &[60], &[2.0]);
            let last = result("last_0", StatusCode::Complete, &[60], &[55.0]);
            page(vec![active, last], None)
        });
    let read = cloudwatch(&[&first, &second])
        .read(&one_task(), NOW)
        .await
        .unwrap();
    let samples = |samples: &[fluidity_control_plane::metric::Sample]| -> Vec<(u64, f64)> {
        samples
            .iter()
            .map(|sample| (sample.at.secs(), sample.value))
            .collect()
    };
    assert_eq!(read.len(), 1);
    assert_eq!(samples(&read[0].active), [(120, 1.0), (60, 2.0)]);
    assert_eq!(samples(&read[0].last_activity), [(60, 55.0)]);
}

#[tokio::test]
async fn metrics_that_are_not_whole_are_an_error_and_not_silence() {
    type Output = fn() -> GetMetricDataOutput;
    let cases: [(&str, Output); 5] = [
        ("partial, and no more pages", || {
            page(
                vec![result("active_0", StatusCode::PartialData, &[60], &[0.0])],
                None,
            )
        }),
        ("an internal error", || {
            page(
                vec![result("active_0", StatusCode::InternalError, &[], &[])],
                None,
            )
        }),
        ("forbidden", || {
            page(
                vec![result("active_0", StatusCode::from("Forbidden"), &[], &[])],
                None,
            )
        }),
        ("more times than values", || {
            page(
                vec![result("active_0", StatusCode::Complete, &[60, 120], &[0.0])],
                None,
            )
        }),
        ("a time before 1970", || {
            page(
                vec![result("active_0", StatusCode::Complete, &[-60], &[0.0])],
                None,
            )
        }),
    ];
    for (what, output) in cases {
        let rule = mock!(aws_sdk_cloudwatch::Client::get_metric_data).then_output(output);
        let error = cloudwatch(&[&rule]).read(&one_task(), NOW).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Garbled, "{what}");
    }
}

#[tokio::test]
async fn pages_without_end_are_an_error() {
    let rule =
        mock!(aws_sdk_cloudwatch::Client::get_metric_data).then_output(|| page(Vec::new(), Some("again")));
    let error = cloudwatch(&[&rule]).read(&one_task(), NOW).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Garbled);
    assert_eq!(rule.num_calls(), 10);
}

#[tokio::test]
async fn each_task_is_asked_for_by_its_own_dimension() {
    let rule = mock!(aws_sdk_cloudwatch::Client::get_metric_data)
        .match_requests(|input| {
            let queries = input.metric_data_queries();
            let tasks: Vec<_> = queries
                .iter()
                .filter_map(|query| query.metric_stat()?.metric()?.dimensions().last()?.value())
                .collect();
            let ids: Vec<_> = queries.iter().filter_map(|query| query.id()).collect();
            tasks == ["a", "a", "b", "b"] && ids == ["active_0", "last_0", "active_1", "last_1"]
        })
        .then_output(|| {
            page(
                vec![result("active_1", StatusCode::Complete, &[60], &[4.0])],
                None,
            )
        });
    let tasks = ["a", "b"].map(|id| TaskId(id.to_owned()));
    let read = cloudwatch(&[&rule]).read(&tasks, NOW).await.unwrap();
    assert_eq!(
        read.iter().map(|read| read.task.0.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!((read[0].active.len(), read[1].active.len()), (0, 1));
}
