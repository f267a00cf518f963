//! The adapters on the scripted fake's wire: a task from PROVISIONING to its public address, and everything that can
//! come back instead of an answer.

use crate::endpoint::{aws_at, kind, within};
use fluidity_control_plane::aws::Aws;
use fluidity_control_plane::ecs::Stamp;
use fluidity_control_plane::epoch::Epoch;
use fluidity_control_plane::error::{CallErrorKind, Error};
use fluidity_control_plane::metric::{ACTIVE_CONNECTIONS, LAST_ACTIVITY};
use fluidity_control_plane::service::{Cause, Counts, InterfaceId, Progress, Task, TaskId, Tasks};
use fluidity_fakes::aws::Aws as Fake;
use fluidity_fakes::script::Fault;
use std::net::{IpAddr, Ipv4Addr};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

async fn fake() -> (Fake, Aws) {
    let fake = Fake::start().await;
    let aws = aws_at(&fake.url(), "AKIDFAKE");
    (fake, aws)
}

fn counts(desired: u32, running: u32, pending: u32) -> Counts {
    Counts {
        desired,
        running,
        pending,
    }
}

async fn only_task(aws: &Aws) -> Task {
    let mut tasks = aws.ecs.tasks().await.expect("tasks").current;
    assert_eq!(tasks.len(), 1);
    tasks.remove(0)
}

#[tokio::test]
async fn a_task_is_followed_from_provisioning_to_its_public_address() {
    let (fake, aws) = fake().await;
    assert_eq!(aws.ecs.describe().await.unwrap().counts, counts(0, 0, 0));
    assert_eq!(aws.ecs.tasks().await.unwrap(), Tasks::default());

    assert_eq!(aws.ecs.set_desired(1).await.unwrap(), counts(1, 0, 1));
    let id = fake.newest_task().unwrap().id;
    let task = only_task(&aws).await;
    assert_eq!(task.id, TaskId(id.clone()));
    assert_eq!(
        (task.progress, task.interface),
        (Progress::Starting, None),
        "PROVISIONING"
    );

    fake.prepare_task(&id);
    let task = only_task(&aws).await;
    assert_eq!(task.progress, Progress::Starting, "PENDING");
    let interface = task.interface.unwrap();
    assert_eq!(aws.addresses.public(&interface).await.unwrap(), None, "not yet");

    fake.run_task(&id, ADDRESS);
    let task = only_task(&aws).await;
    assert_eq!(task.progress, Progress::Running);
    assert!(task.started.is_some());
    assert_eq!(aws.addresses.public(&interface).await.unwrap(), Some(ADDRESS));
    assert_eq!(aws.ecs.describe().await.unwrap().counts, counts(1, 1, 0));

    assert_eq!(aws.ecs.set_desired(0).await.unwrap(), counts(0, 1, 0));
    assert_eq!(
        aws.ecs.tasks().await.unwrap(),
        Tasks::default(),
        "it is being stopped"
    );
    fake.remove_task(&id);
    assert_eq!(aws.ecs.describe().await.unwrap().counts, counts(0, 0, 0));
    assert_eq!(aws.addresses.public(&interface).await.unwrap(), None, "gone");
}

#[tokio::test]
async fn tasks_that_ended_are_read_with_who_ended_them_and_only_while_none_runs() {
    let (fake, aws) = fake().await;
    fake.set_desired(1);
    let newest = || fake.newest_task().unwrap().id;
    fake.fail_task(&newest(), "CannotPullContainerError: no such image");
    fake.run_task_since(&newest(), ADDRESS, fluidity_fakes::now() - 100);
    fake.remove_task(&newest());
    fake.set_desired(0);
    fake.set_desired(1);
    let tasks = aws.ecs.tasks().await.unwrap();
    assert_eq!(tasks.current.len(), 1);
    let ended: Vec<_> = tasks
        .ended
        .iter()
        .map(|ended| {
            (
                ended.cause,
                ended.ran.as_secs() / 100,
                ended.reason.as_deref().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(
        ended,
        [
            (Cause::Failure, 0, "CannotPullContainerError: no such image"),
            (Cause::Failure, 1, "Essential container in task exited"),
            (Cause::Order, 0, "Scaling activity initiated"),
        ]
    );
    fake.run_task(&newest(), ADDRESS);
    fake.script().forget_calls();
    assert_eq!(aws.ecs.tasks().await.unwrap().ended, []);
    assert_eq!(fake.script().operations(), ["ListTasks", "DescribeTasks"]);
}

#[tokio::test]
async fn a_task_that_is_stopped_between_the_two_calls_is_not_listed() {
    let (fake, aws) = fake().await;
    fake.set_desired(1);
    fake.run_task(&fake.newest_task().unwrap().id, ADDRESS);
    let mut hold = fake.script().hold("DescribeTasks");
    let listing = tokio::spawn(async move { aws.ecs.tasks().await });
    within(hold.reached()).await;
    fake.set_desired(0);
    hold.release();
    assert_eq!(within(listing).await.unwrap().unwrap().current, []);
    assert_eq!(fake.tasks().len(), 1, "it is there, and ending");
}

#[tokio::test]
async fn a_stamp_is_read_back() {
    let (fake, aws) = fake().await;
    let at = Epoch::from_secs(1_700_000_000);
    for stamp in [Stamp::Wake, Stamp::Start, Stamp::Kill] {
        aws.ecs.stamp(stamp, at).await.unwrap();
        assert_eq!(fake.tag(stamp.key()).as_deref(), Some("1700000000"));
    }
    let stamps = aws.ecs.describe().await.unwrap().stamps;
    assert_eq!(
        (stamps.wake, stamps.start, stamps.kill),
        (Some(at), Some(at), Some(at))
    );
}

#[tokio::test]
async fn metrics_are_read_by_task_and_by_minute() {
    let (fake, aws) = fake().await;
    let now = 1_700_000_050;
    fake.put_metric(
        "one",
        ACTIVE_CONNECTIONS,
        [(now - 60, 1.0), (now - 55, 3.0), (now - 200, 2.0)],
    );
    fake.put_metric("one", LAST_ACTIVITY, [(now - 60, 1_699_999_999.0)]);
    fake.put_metric("two", ACTIVE_CONNECTIONS, [(now, 7.0)]);
    fake.put_metric("one", ACTIVE_CONNECTIONS, [(now - 86_400, 9.0)]);
    let ids = ["one", "two", "three"].map(|id| TaskId(id.to_owned()));
    let read = aws.cloudwatch.read(&ids, Epoch::from_secs(now)).await.unwrap();
    let values = |samples: &[fluidity_control_plane::metric::Sample]| -> Vec<(u64, f64)> {
        samples
            .iter()
            .map(|sample| (now - sample.at.secs(), sample.value))
            .collect()
    };
    // 1_700_000_050 is 10 s into its minute.
    assert_eq!(
        values(&read[0].active),
        [(70, 3.0), (250, 2.0)],
        "the maximum of each minute, not yesterday"
    );
    assert_eq!(read[0].last_activity[0].value, 1_699_999_999.0);
    assert_eq!(
        values(&read[1].active),
        [(10, 7.0)],
        "the minute that is not over"
    );
    assert_eq!((read[2].active.len(), read[2].last_activity.len()), (0, 0));
}

/// Every operation, with what calls it.
async fn call(aws: &Aws, operation: &str) -> Result<(), Error> {
    let id = TaskId("t".to_owned());
    match operation {
        "DescribeServices" => aws.ecs.describe().await.map(drop),
        "TagResource" => aws.ecs.stamp(Stamp::Wake, Epoch::from_secs(5)).await,
        "UpdateService" => aws.ecs.set_desired(1).await.map(drop),
        "ListTasks" | "DescribeTasks" => aws.ecs.tasks().await.map(drop),
        "GetMetricData" => Ok(aws.cloudwatch.read(&[id], Epoch::now()).await.map(drop)?),
        "DescribeNetworkInterfaces" => Ok(aws
            .addresses
            .public(&InterfaceId("eni-1".to_owned()))
            .await
            .map(drop)?),
        other => panic!("no such operation: {other}"),
    }
}

const OPERATIONS: [&str; 7] = [
    "DescribeServices",
    "TagResource",
    "UpdateService",
    "ListTasks",
    "DescribeTasks",
    "GetMetricData",
    "DescribeNetworkInterfaces",
];

#[tokio::test]
async fn whatever_comes_back_is_known_for_what_it_is() {
    let error = |status, code| Fault::Error { status, code };
    let cases = [
        (error(400, "AccessDeniedException"), CallErrorKind::Denied, 1),
        (error(403, "UnauthorizedOperation"), CallErrorKind::Denied, 1),
        (error(400, "InvalidParameterException"), CallErrorKind::Refused, 1),
        (error(500, "InternalFailure"), CallErrorKind::Unavailable, 3),
        (error(503, "RequestLimitExceeded"), CallErrorKind::Throttled, 3),
        (Fault::Garbage("\u{1}<not><closed>"), CallErrorKind::Garbled, 1),
        (Fault::Cut, CallErrorKind::Unreachable, 3),
        (Fault::Hang, CallErrorKind::TimedOut, 2),
    ];
    let (fake, aws) = fake().await;
    fake.set_desired(1);
    aws.ecs.describe().await.unwrap();
    for (fault, wanted, attempts) in cases {
        for operation in OPERATIONS {
            fake.script().always(operation, fault.clone());
            fake.script().forget_calls();
            let error = within(call(&aws, operation)).await.unwrap_err();
            assert_eq!(kind(&error), wanted, "{operation} {fault:?}: {}", error.detail());
            assert!(error.to_string().contains(operation), "{error}");
            let count = fake.script().count(operation);
            assert!(count >= attempts, "{operation} {fault:?}: {count} attempts");
            fake.script().clear();
        }
    }
}

#[tokio::test]
async fn a_short_fault_of_any_operation_is_not_noticed() {
    let (fake, aws) = fake().await;
    fake.set_desired(1);
    fake.run_task(&fake.newest_task().unwrap().id, ADDRESS);
    for fault in [
        Fault::broken(),
        Fault::Error {
            status: 503,
            code: "RequestLimitExceeded",
        },
        Fault::Cut,
    ] {
        for operation in OPERATIONS {
            fake.script().once(operation, fault.clone());
            within(call(&aws, operation))
                .await
                .unwrap_or_else(|error| panic!("{operation} {fault:?}: {error}: {}", error.detail()));
        }
    }
}

#[tokio::test]
async fn nothing_listens() {
    let aws = {
        let fake = Fake::start().await;
        aws_at(&fake.url(), "AKIDFAKE")
    };
    for operation in OPERATIONS {
        let error = within(call(&aws, operation)).await.unwrap_err();
        assert_eq!(
            kind(&error),
            CallErrorKind::Unreachable,
            "{operation}: {}",
            error.detail()
        );
    }
}

#[tokio::test]
async fn an_interface_id_that_could_break_out_of_the_form_is_never_sent() {
    let (fake, aws) = fake().await;
    for id in [
        "eni-1&Action=TerminateInstances",
        "eni 1",
        "eni-1\r\nx: y",
        "eni%2d1",
    ] {
        let error = aws
            .addresses
            .public(&InterfaceId(id.to_owned()))
            .await
            .unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Garbled, "{id}");
    }
    assert_eq!(fake.script().calls().len(), 0);
}
