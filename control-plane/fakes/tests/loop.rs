//! The fakes with the real functions: over HTTP as an agent calls them, and the whole loop from zero to zero.

use bytes::Bytes;
use fluidity_fakes::aws::Aws;
use fluidity_fakes::gateway::Gateway;
use fluidity_fakes::lambda::{Lambda, LambdaError};
use fluidity_fakes::script::Fault;
use fluidity_fakes::{binary, events, now};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;

struct Stack {
    aws: Aws,
    wake: Lambda,
    kill: Lambda,
    gateway: Gateway,
}

async fn stack() -> Stack {
    let aws = Aws::start().await;
    let wake = Lambda::start("wake", binary("fluidity-wake"), &aws.environment()).await;
    let kill = Lambda::start("kill", binary("fluidity-kill"), &aws.environment()).await;
    let gateway = Gateway::start("the-key", [("wake", &wake), ("kill", &kill)]).await;
    Stack {
        aws,
        wake,
        kill,
        gateway,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("within 30 s")
}

/// A request's status and body; `None` when the connection is cut.
async fn ask(method: &str, url: &str, key: Option<&str>, body: &str) -> Option<(u16, Value)> {
    let (authority, path) = url
        .strip_prefix("http://")
        .expect("http")
        .split_once('/')
        .expect("a path");
    let stream = TcpStream::connect(authority).await.expect("it listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/{path}"))
        .header("host", authority);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request");
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    connection.abort();
    Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

async fn post(url: &str, body: &str) -> (u16, Value) {
    within(ask("POST", url, Some("the-key"), body))
        .await
        .expect("an answer")
}

#[tokio::test]
async fn the_loop_goes_from_zero_to_zero_and_up_again() {
    let Stack { aws, gateway, .. } = stack().await;
    let mut environment = aws.environment();
    environment.push(("IDLE_THRESHOLD_MINS".to_owned(), "0.05".to_owned()));
    let sleep = Lambda::start("sleep", binary("fluidity-sleep"), &environment).await;
    let mut desired = aws.desired();
    let url = gateway.url("wake");

    let (status, answer) = post(&url, "").await;
    assert_eq!((status, &answer["state"]), (202, &json!("starting")));
    within(desired.wait_for(|count| *count == 1))
        .await
        .expect("alive");
    let task = aws.newest_task().expect("made").id;
    aws.run_task_since(&task, IpAddr::V4(Ipv4Addr::LOCALHOST), now() - 600);
    let (status, answer) = post(&url, r#"{"reason": "again"}"#).await;
    assert_eq!(
        (status, &answer["endpoint"]),
        (200, &json!({"address": "127.0.0.1", "port": 443}))
    );

    let minutes = || (1..5).map(|minute| now() - 60 * minute);
    aws.put_metric(&task, "ActiveConnections", minutes().map(|at| (at, 0.0)));
    let activity = (now() - 300) as f64;
    aws.put_metric(
        &task,
        "LastActivityEpochSeconds",
        minutes().map(|at| (at, activity)),
    );
    // The wake counts as activity for 3 s; the schedule stops the service once they are over.
    let _schedule = sleep.every(Duration::from_millis(200));
    within(desired.wait_for(|count| *count == 0))
        .await
        .expect("alive");
    assert!(aws.script().count("GetMetricData") > 1, "it was kept before that");
    aws.remove_task(&task);

    let (_, answer) = post(&url, "").await;
    assert_eq!(
        (&answer["state"], &answer["desiredCount"]),
        (&json!("starting"), &json!(1))
    );
    let (_, answer) = post(&gateway.url("kill"), "").await;
    assert_eq!(answer["state"], "stopped");
}

#[tokio::test]
async fn the_gateway_checks_key_and_route_before_any_function_runs() {
    let stack = stack().await;
    let (wake, nowhere) = (stack.gateway.url("wake"), stack.gateway.url("sleep"));
    for (method, url, key, message) in [
        ("POST", &wake, None, "Forbidden"),
        ("POST", &wake, Some("another"), "Forbidden"),
        ("GET", &wake, Some("the-key"), "Missing Authentication Token"),
        ("POST", &nowhere, Some("the-key"), "Missing Authentication Token"),
    ] {
        let (status, body) = within(ask(method, url, key, "")).await.expect("an answer");
        assert_eq!(
            (status, &body["message"]),
            (403, &json!(message)),
            "{method} {url} {key:?}"
        );
    }
    assert_eq!((stack.wake.processes(), stack.kill.processes()), (0, 0));
    let (status, body) = post(&wake, "{").await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid-request")));
    let (status, _) = post(&format!("{wake}?clusterName=fluidity"), "").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_gateway_can_be_scripted_to_fail_as_the_real_one_does() {
    let stack = stack().await;
    let (script, wake) = (stack.gateway.script(), stack.gateway.url("wake"));
    let code = "Too Many Requests";
    script.once("wake", Fault::Error { status: 429, code });
    assert_eq!(
        post(&wake, "").await,
        (429, json!({"message": "Too Many Requests"}))
    );
    script.once("wake", Fault::Garbage("<html>"));
    assert_eq!(post(&wake, "").await, (200, Value::Null));
    script.once("wake", Fault::Cut);
    assert_eq!(within(ask("POST", &wake, Some("the-key"), "")).await, None);
    script.once("wake", Fault::Hang);
    let hung = ask("POST", &wake, Some("the-key"), "");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), hung)
            .await
            .is_err()
    );
    assert_eq!(post(&wake, "").await.0, 202, "and then it works");
    assert_eq!(script.count("wake"), 5);
}

#[tokio::test]
async fn a_function_that_ends_or_answers_nonsense_is_a_502() {
    let aws = Aws::start().await;
    let broken = Lambda::start("wake", PathBuf::from("/bin/false"), &aws.environment()).await;
    assert_eq!(within(broken.invoke(json!({}))).await, Err(LambdaError::Exited));
    let gateway = Gateway::start("the-key", [("wake", &broken)]).await;
    let (status, body) = post(&gateway.url("wake"), "").await;
    assert_eq!((status, body), (502, json!({"message": "Internal server error"})));
}

#[tokio::test]
async fn a_function_that_takes_too_long_is_ended_and_the_next_call_gets_a_new_process() {
    let aws = Aws::start().await;
    let limit = Duration::from_millis(900);
    let slow = PathBuf::from("/bin/cat");
    let lambda = Lambda::start_with_limit("slow", slow, &[], limit).await;
    // cat ends at once on an empty input: it never asks for a call.
    assert_eq!(
        within(lambda.invoke(events::schedule())).await,
        Err(LambdaError::Exited)
    );
    let lambda = Lambda::start_with_limit("wake", binary("fluidity-wake"), &aws.environment(), limit).await;
    aws.script().once("DescribeServices", Fault::Hang);
    // Less than the second that the function keeps back: it answers at once that there is no time.
    let error = within(lambda.invoke(json!({}))).await.expect_err("no time");
    assert!(
        matches!(&error, LambdaError::Failed { kind, .. } if kind == "Fluidity.deadline"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_task_finds_its_own_id_in_its_metadata() {
    let aws = Aws::start().await;
    aws.set_desired(1);
    let task = aws.newest_task().expect("made").id;
    let url = format!("{}/task", aws.metadata_uri(&task));
    let (status, body) = within(ask("GET", &url, None, "")).await.expect("an answer");
    let arn = body["TaskARN"].as_str().expect("an ARN");
    assert_eq!((status, arn.rsplit('/').next()), (200, Some(task.as_str())));
    let unknown = format!("{}/task", aws.metadata_uri("nobody"));
    assert_eq!(
        within(ask("GET", &unknown, None, "")).await.expect("an answer").0,
        404
    );
}
