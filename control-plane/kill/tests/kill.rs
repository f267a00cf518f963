//! The real kill binary, driven as Lambda drives it, on the scripted AWS.

#![allow(clippy::indexing_slicing, reason = "a test panics to fail")]

use fluidity_fakes::aws::Aws;
use fluidity_fakes::lambda::{Lambda, LambdaError};
use fluidity_fakes::script::Fault;
use fluidity_fakes::{events, now};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

async fn kill() -> (Aws, Lambda) {
    let aws = Aws::start().await;
    let binary = env!("CARGO_BIN_EXE_fluidity-kill").into();
    let lambda = Lambda::start("kill", binary, &aws.environment()).await;
    (aws, lambda)
}

async fn post(lambda: &Lambda, body: Option<&str>) -> (u64, Value) {
    let answer = lambda
        .invoke(events::proxy("POST", "kill", body))
        .await
        .expect("an answer");
    let body = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    (answer["statusCode"].as_u64().expect("a status"), body)
}

fn running(aws: &Aws) {
    aws.set_desired(1);
    let id = aws.newest_task().expect("made").id;
    aws.run_task(&id, IpAddr::V4(Ipv4Addr::LOCALHOST));
}

#[tokio::test]
async fn a_running_service_is_stopped_whatever_it_does() {
    let (aws, lambda) = kill().await;
    running(&aws);
    aws.set_tag("fluidity:last-wake", now());
    let (status, body) = post(&lambda, None).await;
    assert_eq!(status, 202);
    assert_eq!(
        body,
        json!({
            "state": "draining",
            "desiredCount": 0,
            "runningCount": 1,
            "pendingCount": 0,
            "retryAfterSeconds": 5,
            "message": "stopping now",
        })
    );
    assert_eq!(aws.service().desired, 0);
}

#[tokio::test]
async fn a_service_that_is_still_starting_is_stopped_too() {
    let (aws, lambda) = kill().await;
    aws.set_desired(1);
    let (status, body) = post(&lambda, None).await;
    assert_eq!((status, &body["state"]), (200, &json!("stopped")));
    assert_eq!(aws.service().desired, 0);
}

#[tokio::test]
async fn it_can_be_repeated() {
    let (aws, lambda) = kill().await;
    running(&aws);
    post(&lambda, None).await;
    aws.remove_task(&aws.newest_task().expect("still there").id);
    for _ in 0..3 {
        let (status, body) = post(&lambda, None).await;
        assert_eq!((status, &body["state"]), (200, &json!("stopped")));
    }
    assert_eq!(aws.script().count("UpdateService"), 4, "unconditional");
}

#[tokio::test]
async fn the_schedule_and_a_person_may_call_it() {
    let (aws, lambda) = kill().await;
    for event in [
        events::schedule(),
        json!({}),
        json!(null),
        json!({"reason": "enough"}),
    ] {
        running(&aws);
        let answer = lambda.invoke(event).await.expect("an answer");
        assert_eq!(answer["desiredCount"], 0);
        assert_eq!(aws.service().desired, 0);
    }
}

#[tokio::test]
async fn the_stamp_comes_first_but_never_keeps_it_from_killing() {
    let (aws, lambda) = kill().await;
    running(&aws);
    post(&lambda, None).await;
    assert_eq!(
        aws.script().operations(),
        ["DescribeServices", "TagResource", "UpdateService"]
    );
    assert!(aws.tag("fluidity:last-kill").is_some());
    for step in ["DescribeServices", "TagResource"] {
        for fault in [Fault::denied(), Fault::broken(), Fault::Garbage("?")] {
            let (aws, lambda) = kill().await;
            running(&aws);
            aws.script().always(step, fault.clone());
            let (status, _) = post(&lambda, None).await;
            assert_eq!((status, aws.service().desired), (202, 0), "{step} {fault:?}");
            assert!(lambda.json_log().iter().any(|line| line["level"] == "WARN"));
        }
    }
}

#[tokio::test]
async fn a_stamp_that_hangs_never_keeps_it_from_killing() {
    let (aws, lambda) = kill().await;
    running(&aws);
    aws.script().always("TagResource", Fault::Hang);
    let began = Instant::now();
    let (status, _) = post(&lambda, None).await;
    assert_eq!((status, aws.service().desired), (202, 0));
    let took = began.elapsed();
    assert!(
        took < Duration::from_millis(7500),
        "all attempts at the stamp take 8 s: {took:?}"
    );
}

#[tokio::test]
async fn a_kill_that_fails_says_so() {
    let (aws, lambda) = kill().await;
    running(&aws);
    aws.script().always("UpdateService", Fault::throttled());
    let (status, body) = post(&lambda, None).await;
    assert_eq!((status, &body["error"]), (429, &json!("aws-throttled")));
    let error = lambda.invoke(events::schedule()).await.expect_err("a failure");
    assert!(matches!(error, LambdaError::Failed { kind, .. } if kind == "Fluidity.aws-throttled"));
    assert_eq!(aws.service().desired, 1);
}

#[tokio::test]
async fn bad_input_kills_nothing() {
    let (aws, lambda) = kill().await;
    running(&aws);
    for body in [
        "{",
        r#"{"clusterName": "other"}"#,
        r#"{"force": true}"#,
        r#"{"statusOnly": true}"#,
    ] {
        assert_eq!(post(&lambda, Some(body)).await.0, 400, "{body}");
    }
    assert_eq!(aws.service().desired, 1);
    assert_eq!(aws.script().calls().len(), 0);
}
