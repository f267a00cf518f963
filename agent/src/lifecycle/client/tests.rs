//! The client against an API that answers by a script, on a real socket.

use super::*;
use crate::config::{Flags, Settings};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An API that gives its answers in turn, the last one for ever, and keeps what it was asked.
struct Api {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let mut answers: VecDeque<(u16, String)> = answers
            .iter()
            .map(|(code, body)| (*code, (*body).to_owned()))
            .collect();
        let kept = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                kept.lock().unwrap().push(request);
                let (code, body) = match answers.len() {
                    1 => answers.front().unwrap().clone(),
                    _ => answers.pop_front().unwrap(),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {code} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, asked }
    }

    fn client(&self) -> ControlPlane {
        ControlPlane::new(&config(self.address)).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n{}") {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "cut: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(bytes).unwrap()
}

fn config(address: SocketAddr) -> ControlPlaneConfig {
    let env = [
        ("FLUIDITY_WAKE_ENDPOINT", format!("http://{address}/live/wake")),
        ("FLUIDITY_KILL_ENDPOINT", format!("http://{address}/live/kill")),
        ("FLUIDITY_API_KEY", KEY.into()),
    ];
    let env = env.map(|(name, value)| (name.into(), value.into()));
    let settings = Settings::load(None, Flags::default(), env).unwrap();
    settings.control_plane(crate::config::Order::Wake).unwrap()
}

const KEY: &str = "hunter2-is-the-key";
const RUNNING: &str = r#"{"state":"running","desiredCount":1,"runningCount":1,"pendingCount":0,
    "endpoint":{"address":"192.0.2.7","port":443},"retryAfterSeconds":0,"message":"it runs","later":true}"#;

#[tokio::test]
async fn wake_and_kill_are_posts_with_the_key_and_tell_how_the_server_stands() {
    let api = Api::start(&[(200, RUNNING), (202, r#"{"state":"draining","message":"bye"}"#)]).await;
    let client = api.client();
    let answer = client.wake().await.unwrap();
    assert_eq!(answer.state, ServiceState::Running);
    assert_eq!(answer.endpoint.unwrap().0.to_string(), "192.0.2.7:443");
    assert_eq!(client.kill().await.unwrap().state, ServiceState::Draining);
    for (request, path) in api.asked().iter().zip(["/live/wake", "/live/kill"]) {
        let request = request.to_lowercase();
        assert!(
            request.starts_with(&format!("post {path} http/1.1\r\n")),
            "{request}"
        );
        assert!(
            request.contains(&format!("\r\nx-api-key: {KEY}\r\n")),
            "{request}"
        );
        assert!(
            request.contains("\r\ncontent-type: application/json\r\n"),
            "{request}"
        );
    }
    assert!(!format!("{client:?}").contains(KEY));
}

#[tokio::test]
async fn a_state_of_a_later_version_is_no_garbage() {
    let api = Api::start(&[(200, r#"{"state":"hibernating"}"#)]).await;
    assert_eq!(api.client().wake().await.unwrap().state, ServiceState::Unknown);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (answers, times) in [
        (&[(500, "{}"), (429, "{}"), (200, RUNNING)][..], 3),
        (&[(403, "{}"), (200, RUNNING)], 1),
        (&[(400, "{}"), (200, RUNNING)], 1),
        (&[(200, "<html>"), (200, RUNNING)], 1),
    ] {
        let api = Api::start(answers).await;
        let answer = api.client().wake().await;
        assert_eq!(api.asked().len(), times, "{answer:?}");
        assert_eq!(answer.is_ok(), times == 3, "{answer:?}");
    }
}

#[tokio::test]
async fn every_failure_says_what_to_look_at_and_never_the_key() {
    let huge = format!(
        r#"{{"state":"running","message":"{}"}}"#,
        "x".repeat(LARGEST_ANSWER)
    );
    for (code, body, said) in [
        (403, r#"{"message":"Forbidden"}"#, "check api-key"),
        (401, "", "check api-key"),
        (
            404,
            r#"{"message":"no\nsuch"}"#,
            "(404 Not Found): nosuch; check wake-endpoint",
        ),
        (200, "nonsense", "not understood"),
        (
            200,
            r#"{"state":"running","endpoint":{"address":"a b","port":1}}"#,
            "not understood",
        ),
        (200, &huge, "not understood"),
    ] {
        let api = Api::start(&[(code, body)]).await;
        let error = api.client().wake().await.unwrap_err();
        assert!(error.to_string().contains(said), "{code}: {error}");
        assert!(!format!("{error} {error:?}").contains(KEY));
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = ControlPlane::new(&config(address))
        .unwrap()
        .wake()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn an_api_that_keeps_failing_is_left_alone() {
    let api = Api::start(&[(500, r#"{"message":"out of order"}"#)]).await;
    let client = api.client();
    for _ in 0..2 {
        assert!(matches!(client.wake().await, Err(CallError::Failed(..))));
    }
    assert_eq!(client.wake().await, Err(CallError::BreakerOpen));
    assert_eq!(api.asked().len(), 6);
}
