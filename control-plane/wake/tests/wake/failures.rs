//! AWS at its worst: throttles, denials, garbage, silence.

use super::{ADDRESS, post, wake};
use fluidity_fakes::lambda::{Lambda, LambdaError};
use fluidity_fakes::script::Fault;
use fluidity_fakes::{aws::Aws, events};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STEPS: [&str; 3] = ["DescribeServices", "TagResource", "UpdateService"];

#[tokio::test]
async fn each_failure_has_its_status_and_says_whether_to_ask_again() {
    let cases = [
        (Fault::throttled(), 429, "aws-throttled", true),
        (Fault::denied(), 500, "aws-denied", false),
        (Fault::broken(), 502, "aws-unavailable", true),
        (Fault::Garbage("<html>"), 502, "aws-garbled", true),
        (Fault::Cut, 502, "aws-unreachable", true),
        (
            Fault::Error {
                status: 403,
                code: "ExpiredTokenException",
            },
            500,
            "aws-denied",
            false,
        ),
        (
            Fault::Error {
                status: 400,
                code: "ClusterNotFoundException",
            },
            500,
            "no-service",
            false,
        ),
    ];
    let (aws, lambda) = wake(&[]).await;
    for (fault, status, word, retryable) in cases {
        for step in STEPS {
            aws.set_desired(0);
            aws.script().always(step, fault.clone());
            let reply = post(&lambda, None).await;
            assert_eq!(reply.status, status, "{step} {fault:?}");
            assert_eq!(reply.body["error"], word, "{step} {fault:?}");
            assert_eq!(reply.body["retryable"], retryable, "{step} {fault:?}");
            assert_eq!(
                reply.headers["retry-after"].is_string(),
                retryable,
                "{step} {fault:?}"
            );
            assert_eq!(aws.service().desired, 0, "{step} {fault:?}");
            aws.script().clear();
        }
    }
    assert_eq!(post(&lambda, None).await.status, 202, "all is well again");
    assert_eq!(lambda.processes(), 1, "no failure ended the process");
}

#[tokio::test]
async fn without_the_stamp_nothing_is_started() {
    let (aws, lambda) = wake(&[]).await;
    aws.script().always("TagResource", Fault::denied());
    post(&lambda, None).await;
    assert_eq!(aws.script().count("UpdateService"), 0);
}

#[tokio::test]
async fn a_direct_call_is_told_the_same_as_a_lambda_error() {
    let (aws, lambda) = wake(&[]).await;
    for (fault, kind, tail) in [
        (Fault::throttled(), "Fluidity.aws-throttled", "(retryable)"),
        (Fault::denied(), "Fluidity.aws-denied", "(not retryable)"),
    ] {
        aws.script().always("TagResource", fault);
        let error = lambda.invoke(json!({})).await.expect_err("a failure");
        let LambdaError::Failed { kind: said, message } = error else {
            panic!("{error:?}");
        };
        assert_eq!(said, kind);
        assert!(message.ends_with(tail), "{message}");
    }
}

#[tokio::test]
async fn a_short_fault_is_not_noticed() {
    let (aws, lambda) = wake(&[]).await;
    for step in STEPS {
        aws.script().times(step, 2, &Fault::broken());
    }
    assert_eq!(post(&lambda, None).await.status, 202);
    aws.run_task(&aws.newest_task().expect("made").id, ADDRESS);
    for step in ["ListTasks", "DescribeTasks", "DescribeNetworkInterfaces"] {
        aws.script().once(step, Fault::throttled());
        let reply = post(&lambda, None).await;
        assert_eq!(reply.body["endpoint"]["address"], "203.0.113.9", "{step}");
    }
}

#[tokio::test]
async fn an_aws_that_says_nothing_costs_eight_seconds_and_not_the_whole_call() {
    let (aws, lambda) = wake(&[]).await;
    aws.script().always("TagResource", Fault::Hang);
    let began = Instant::now();
    let reply = post(&lambda, None).await;
    assert_eq!(
        (reply.status, &reply.body["error"]),
        (504, &json!("aws-timed-out"))
    );
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(11),
        "three attempts of 4 s each would be longer: {took:?}"
    );
}

#[tokio::test]
async fn lambdas_own_deadline_is_never_reached() {
    let aws = Aws::start().await;
    let binary = env!("CARGO_BIN_EXE_fluidity-wake").into();
    let limit = Duration::from_secs(4);
    let lambda = Lambda::start_with_limit("wake", binary, &aws.environment(), limit).await;
    aws.script().always("DescribeServices", Fault::Hang);
    let began = Instant::now();
    let answer: Value = lambda
        .invoke(events::proxy("POST", "wake", None))
        .await
        .expect("an answer, and no end by force");
    assert_eq!(answer["statusCode"], 504);
    let took = began.elapsed();
    assert!(
        took < Duration::from_millis(3500),
        "a second is kept back: {took:?}"
    );
    let body: Value = serde_json::from_str(answer["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(
        (&body["error"], &body["retryable"]),
        (&json!("deadline"), &json!(true))
    );
    assert_eq!(lambda.processes(), 1);
}
