//! What is refused, before AWS hears of it; and what the log says.

use super::{post, wake};
use fluidity_fakes::events;
use fluidity_fakes::lambda::LambdaError;
use serde_json::json;

#[tokio::test]
async fn bad_bodies_and_foreign_names_are_400_and_aws_hears_nothing() {
    let (aws, lambda) = wake(&[]).await;
    for body in [
        "{",
        "[]",
        "wake up",
        r#"{"desiredCount": 9}"#,
        r#"{"clusterName": "other"}"#,
        r#"{"clusterName": "fluidity", "serviceName": "other"}"#,
    ] {
        let reply = post(&lambda, Some(body)).await;
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.body["error"], "invalid-request", "{body}");
        assert_eq!(reply.body["retryable"], false, "{body}");
    }
    let reply = post(&lambda, Some(&"x".repeat(5000))).await;
    assert_eq!(reply.status, 413);
    let get = lambda
        .invoke(events::proxy("GET", "wake", None))
        .await
        .expect("an answer");
    assert_eq!(
        (&get["statusCode"], &get["headers"]["allow"]),
        (&json!(405), &json!("POST"))
    );
    assert_eq!(aws.script().calls().len(), 0);
}

#[tokio::test]
async fn a_direct_call_with_bad_input_is_a_lambda_error() {
    let (aws, lambda) = wake(&[]).await;
    for event in [
        json!({"clusterName": "other"}),
        json!({"unknown": 1}),
        json!([]),
        json!("x"),
    ] {
        let error = lambda.invoke(event.clone()).await.expect_err("refused");
        let LambdaError::Failed { kind, message } = error else {
            panic!("{event}: {error:?}");
        };
        assert_eq!(kind, "Fluidity.invalid-request", "{event}");
        assert!(message.ends_with("(not retryable)"), "{message}");
    }
    assert_eq!(aws.script().calls().len(), 0);
}

#[tokio::test]
async fn the_right_names_are_taken() {
    let (_aws, lambda) = wake(&[]).await;
    let body = r#"{"clusterName": "fluidity", "serviceName": "fluidity-server", "reason": "a request"}"#;
    assert_eq!(post(&lambda, Some(body)).await.status, 202);
}

#[tokio::test]
async fn each_call_is_one_json_line_with_its_request_id_and_no_secret() {
    let (_aws, lambda) = wake(&[
        ("LOG_LEVEL", "trace"),
        ("AWS_SECRET_ACCESS_KEY", "a-very-secret-key"),
        ("AWS_SESSION_TOKEN", "a-very-secret-token"),
    ])
    .await;
    post(&lambda, Some(r#"{"reason": "for the log"}"#)).await;
    post(&lambda, Some("{")).await;
    let log = lambda.json_log();
    assert_eq!(
        log.len(),
        lambda.log().len(),
        "all of it is JSON: {:#?}",
        lambda.log()
    );
    let lines = |message: &str| {
        let lines: Vec<_> = log.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(lines.len(), 1, "{message}: {log:#?}");
        lines[0].clone()
    };
    let done = lines("done");
    assert_eq!(done["span"]["requestId"], "00000000-0000-4000-8000-000000000001");
    assert_eq!(done["span"]["function"], "wake");
    assert_eq!(
        (&done["state"], &done["desired"]),
        (&json!("starting"), &json!(1))
    );
    assert_eq!(done["source"], "api-gateway");
    let refused = log
        .iter()
        .find(|line| line["error"] == "invalid-request")
        .expect("a line");
    assert_eq!(
        refused["span"]["requestId"],
        "00000000-0000-4000-8000-000000000002"
    );
    let all = lambda.log().join("\n");
    assert!(!all.contains("a-very-secret"), "{all}");
    assert!(all.contains("for the log"));
}

#[tokio::test]
async fn a_wrong_environment_is_named_and_the_process_ends() {
    for (name, value) in [
        ("ECS_CLUSTER_NAME", ""),
        ("IDLE_THRESHOLD_MINS", "soon"),
        ("AWS_REGION", ""),
    ] {
        let (_aws, lambda) = wake(&[(name, value)]).await;
        let error = lambda.invoke(json!({})).await.expect_err("no function");
        assert_eq!(error, LambdaError::Exited, "{name}");
        let log = lambda.log().join("\n");
        assert!(log.contains(name), "{name}: {log}");
        assert!(log.contains("cannot start"), "{name}: {log}");
    }
}
