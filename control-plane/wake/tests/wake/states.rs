//! From zero to a public address, and what may go wrong on the way.

use super::{ADDRESS, post, wake};
use fluidity_fakes::aws::Service;
use fluidity_fakes::script::Fault;
use fluidity_fakes::{events, now};
use serde_json::{Value, json};

#[tokio::test]
async fn the_service_is_taken_from_zero_with_the_stamps_first_and_the_answer_at_once() {
    let (aws, lambda) = wake(&[]).await;
    let before = now();
    let reply = post(&lambda, None).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.headers["retry-after"], "5");
    assert_eq!(
        reply.body,
        json!({
            "state": "starting",
            "desiredCount": 1,
            "runningCount": 0,
            "pendingCount": 1,
            "retryAfterSeconds": 5,
            "message": "starting now",
        })
    );
    assert_eq!(
        aws.script().operations(),
        [
            "DescribeServices",
            "TagResource",
            "DescribeServices",
            "TagResource",
            "UpdateService"
        ]
    );
    for key in ["fluidity:last-wake", "fluidity:last-start"] {
        let stamp: u64 = aws.tag(key).expect(key).parse().expect("seconds");
        assert!((before..=now()).contains(&stamp), "{key}");
    }
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn a_wake_of_a_service_that_should_run_only_stamps() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    aws.set_tag("fluidity:last-wake", 5);
    aws.set_tag("fluidity:last-start", 6);
    aws.script().forget_calls();
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (202, &json!("starting")));
    assert_eq!(
        aws.script().operations(),
        [
            "TagResource",
            "DescribeServices",
            "ListTasks",
            "DescribeTasks",
            "ListTasks"
        ]
    );
    assert_ne!(aws.tag("fluidity:last-wake").as_deref(), Some("5"));
    assert_eq!(aws.tag("fluidity:last-start").as_deref(), Some("6"));
    assert_eq!(lambda.processes(), 1, "one process serves call after call");
}

#[tokio::test]
async fn the_status_alone_changes_nothing_and_counts_as_no_activity() {
    let (aws, lambda) = wake(&[]).await;
    let look = || post(&lambda, Some(r#"{"statusOnly": true}"#));
    let reply = look().await;
    assert_eq!((reply.status, &reply.body["state"]), (200, &json!("stopped")));
    assert_eq!(
        (&reply.body["message"], &reply.body["retryAfterSeconds"]),
        (&json!("stopped"), &json!(0))
    );

    aws.set_desired(1);
    assert_eq!(look().await.body["state"], "starting");
    let id = aws.newest_task().expect("made").id;
    aws.run_task(&id, ADDRESS);
    assert_eq!(look().await.body["endpoint"]["address"], "203.0.113.9");
    aws.set_desired(0);
    let reply = look().await;
    assert_eq!((reply.status, &reply.body["state"]), (202, &json!("draining")));
    aws.remove_task(&id);
    assert_eq!(look().await.body["state"], "stopped");

    let operations = aws.script().operations();
    assert!(
        !operations
            .iter()
            .any(|operation| operation == "TagResource" || operation == "UpdateService")
    );
}

#[tokio::test]
async fn a_fleet_keeps_its_size() {
    let (aws, lambda) = wake(&[]).await;
    aws.set_desired(3);
    post(&lambda, None).await;
    assert_eq!(aws.service().desired, 3);
    assert_eq!(aws.script().count("UpdateService"), 0);
}

#[tokio::test]
async fn the_endpoint_is_there_as_soon_as_the_task_runs_and_has_an_address() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    let id = aws.newest_task().expect("made").id;

    aws.prepare_task(&id);
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (202, &json!("starting")));
    assert_eq!(reply.body["endpoint"], Value::Null);

    aws.run_task_hidden(&id);
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (200, &json!("running")));
    assert_eq!(reply.body["endpoint"], Value::Null);
    assert_eq!(reply.body["retryAfterSeconds"], 2);

    aws.run_task(&id, ADDRESS);
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (200, &json!("running")));
    assert_eq!(
        reply.body["endpoint"],
        json!({"address": "203.0.113.9", "port": 8443})
    );
    assert_eq!(reply.body["retryAfterSeconds"], 0);
    assert_eq!(reply.body["runningCount"], 1);
}

#[tokio::test]
async fn a_configured_host_stands_for_the_tasks_address() {
    let (aws, lambda) = wake(&[("SERVER_HOST", "nlb.example.org")]).await;
    post(&lambda, None).await;
    assert_eq!(
        post(&lambda, None).await.body["endpoint"],
        Value::Null,
        "nothing runs"
    );
    aws.run_task_hidden(&aws.newest_task().expect("made").id);
    let reply = post(&lambda, None).await;
    assert_eq!(
        reply.body["endpoint"],
        json!({"address": "nlb.example.org", "port": 8443})
    );
    assert_eq!(aws.script().count("DescribeNetworkInterfaces"), 0);
}

#[tokio::test]
async fn a_task_that_is_being_stopped_is_not_answered_with() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    let old = aws.newest_task().expect("made").id;
    aws.run_task(&old, ADDRESS);
    aws.set_desired(0);
    let reply = post(&lambda, None).await;
    assert_eq!(reply.body["state"], "starting");
    assert_eq!(
        aws.service(),
        Service {
            desired: 1,
            running: 1,
            pending: 1
        }
    );
    let reply = post(&lambda, None).await;
    assert_eq!(reply.body["state"], "starting", "the old one still runs");
    assert_eq!(reply.body["endpoint"], Value::Null);
    aws.remove_task(&old);
    assert_eq!(post(&lambda, None).await.body["state"], "starting");
}

#[tokio::test]
async fn the_newest_of_several_tasks_is_answered_with() {
    let (aws, lambda) = wake(&[]).await;
    aws.set_desired(2);
    let tasks = aws.tasks();
    aws.run_task_since(&tasks[0].id, "192.0.2.1".parse().expect("an address"), now() - 50);
    aws.run_task_since(&tasks[1].id, ADDRESS, now() - 10);
    let reply = post(&lambda, None).await;
    assert_eq!(reply.body["endpoint"]["address"], "203.0.113.9");
}

#[tokio::test]
async fn a_start_that_comes_to_nothing_is_failed_with_what_ecs_says() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    let newest = || aws.newest_task().expect("made").id;
    aws.fail_task(&newest(), "CannotPullContainerError: no such image");
    let reply = post(&lambda, None).await;
    assert_eq!(reply.body["state"], "starting", "it has time for another attempt");
    let message = reply.body["message"].as_str().expect("a message");
    assert!(
        message.ends_with("; 1 attempts failed, the last: CannotPullContainerError: no such image"),
        "{message}"
    );

    aws.set_tag("fluidity:last-start", now() - 602);
    aws.set_task_created(&newest(), now() - 601);
    aws.fail_task(&newest(), "CannotPullContainerError: still no such image");
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (200, &json!("failed")));
    assert_eq!(reply.headers["retry-after"], "60");
    let message = reply.body["message"].as_str().expect("a message");
    assert!(message.starts_with("not running after 60"), "{message}");
    assert!(message.contains("2 attempts failed"), "{message}");

    aws.run_task(&newest(), ADDRESS);
    assert_eq!(
        post(&lambda, None).await.body["state"],
        "running",
        "late, but there"
    );
}

#[tokio::test]
async fn a_start_without_any_attempt_is_failed_with_the_services_event() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    aws.set_tag("fluidity:last-start", now() - 601);
    aws.set_task_created(&aws.newest_task().expect("made").id, now() - 601);
    aws.set_event("(service fluidity-server) was unable to place a task");
    let reply = post(&lambda, None).await;
    assert_eq!(reply.body["state"], "failed");
    let message = reply.body["message"].as_str().expect("a message");
    assert!(
        message.ends_with("; (service fluidity-server) was unable to place a task"),
        "{message}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_read_does_not_undo_the_wake() {
    let (aws, lambda) = wake(&[]).await;
    post(&lambda, None).await;
    aws.run_task(&aws.newest_task().expect("made").id, ADDRESS);
    aws.script().always(
        "DescribeNetworkInterfaces",
        Fault::Error {
            status: 403,
            code: "UnauthorizedOperation",
        },
    );
    let reply = post(&lambda, None).await;
    assert_eq!((reply.status, &reply.body["state"]), (200, &json!("running")));
    assert_eq!(reply.body["endpoint"], Value::Null);
    assert_eq!(
        reply.body["message"],
        "running, but its address is not known: ec2:DescribeNetworkInterfaces was denied to this function"
    );
    assert!(lambda.json_log().iter().any(|line| line["level"] == "WARN"));
}

#[tokio::test]
async fn scheduled_and_direct_calls_get_the_plain_answer() {
    let (aws, lambda) = wake(&[]).await;
    for event in [
        json!(null),
        json!({}),
        json!({"reason": "by hand"}),
        events::schedule(),
    ] {
        let answer = lambda.invoke(event).await.expect("an answer");
        assert_eq!(answer["state"], "starting");
        assert_eq!(answer["desiredCount"], 1);
    }
    assert_eq!(aws.script().count("UpdateService"), 1);
}
