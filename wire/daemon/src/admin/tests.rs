//! The admin listener on real sockets: its pages, whom it answers, and its bounds.

use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Pages;

impl AdminPages for Pages {
    fn health(&self) -> Health {
        Health::Well(json!({"status": "ok"}))
    }
    fn ready(&self) -> Health {
        Health::Unwell(json!({"state": "connecting"}))
    }
    fn metrics(&self) -> String {
        "x 1\n# EOF\n".into()
    }
    fn status(&self) -> Value {
        json!({"version": "1"})
    }
}

async fn start() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let server = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    let task = tokio::spawn(server.serve(Arc::new(Pages), stop.clone()));
    (address, stop, task)
}

async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A connection that is closed in the middle of a request may be reset: what came before counts.
    let _ = timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn pages_answer_with_their_status() {
    let (address, stop, task) = start().await;
    for (path, status, part) in [
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "connecting"),
        ("/metrics", 200, "x 1\n"),
        ("/api/status", 200, "version"),
        ("/nothing", 404, "/metrics"),
    ] {
        let (code, body) = fetch(address, path, Duration::from_secs(5)).await.unwrap();
        assert_eq!(code.as_u16(), status, "{path}");
        assert!(String::from_utf8_lossy(&body).contains(part), "{path}");
    }
    stop.cancel();
    task.await.unwrap();
    assert!(matches!(
        fetch(address, "/", Duration::from_secs(5)).await,
        Err(FetchError::Connect { .. })
    ));
}

#[tokio::test]
async fn foreign_hosts_origins_and_methods_are_refused() {
    let (address, _stop, _task) = start().await;
    let port = address.port();
    for (method, host, origin, status) in [
        ("GET", format!("localhost:{port}"), None, "200"),
        ("HEAD", format!("[::1]:{port}"), None, "200"),
        (
            "GET",
            "127.0.0.1".into(),
            Some(format!("http://127.0.0.1:{port}")),
            "200",
        ),
        ("GET", format!("evil.example:{port}"), None, "421"),
        ("GET", "127.0.0.1.evil.example".into(), None, "421"),
        (
            "GET",
            "127.0.0.1".into(),
            Some("http://evil.example".into()),
            "403",
        ),
        ("GET", "127.0.0.1".into(), Some("null".into()), "403"),
        (
            "GET",
            "127.0.0.1".into(),
            Some(format!("http://localhost:{}", port ^ 1)),
            "403",
        ),
        ("POST", "127.0.0.1".into(), None, "405"),
    ] {
        let origin = origin
            .map(|origin| format!("Origin: {origin}\r\n"))
            .unwrap_or_default();
        let request =
            format!("{method} /healthz HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\r\n");
        let answer = raw(address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}{answer}"
        );
    }
    let answer = raw(address, "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

/// A page may have its browser ask without an `Origin`, for an image or by a link.
#[tokio::test]
async fn requests_that_a_browser_makes_for_another_page_are_refused() {
    let (address, _stop, _task) = start().await;
    for (site, status) in [
        ("none", "200"),
        ("same-origin", "200"),
        ("same-site", "403"),
        ("cross-site", "403"),
        ("of-a-later-standard", "403"),
    ] {
        let request = format!(
            "GET /api/status HTTP/1.1\r\nHost: {address}\r\nSec-Fetch-Site: {site}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{site}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_slow_head_is_ended_and_one_connection_too_many_is_closed() {
    let (address, _stop, _task) = start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let mut extra = TcpStream::connect(address).await.unwrap();
    let read = timeout(Duration::from_secs(5), extra.read(&mut [0; 16]))
        .await
        .expect("closed, not left hanging");
    assert!(matches!(read, Ok(0) | Err(_)));
    let first = held.first_mut().unwrap();
    let ended = timeout(HEAD_TIMEOUT * 3, first.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "a slow head was never ended");
}

#[tokio::test]
async fn a_listener_that_others_can_reach_is_refused() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let error = AdminServer::bind(address.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}

#[tokio::test]
async fn a_target_in_absolute_form_is_held_to_the_same_names() {
    let (address, _stop, _task) = start().await;
    for (target, status) in [("http://localhost", "200"), ("http://evil.example", "421")] {
        let answer = raw(
            address,
            &format!("GET {target}/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let twice = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = raw(address, twice).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let (address, _stop, _task) = start().await;
    let answer = raw(
        address,
        &format!("GET /{} HTTP/1.1\r\n", "a".repeat(2 * LARGEST_HEAD)),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

/// Takes the first request, answers with `answer` and holds the connection open; silent where that is empty.
async fn impostor(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(&answer).await;
        std::future::pending::<()>().await;
    });
    address
}

#[tokio::test]
async fn what_is_no_daemon_is_told_apart() {
    let silent = impostor(Vec::new()).await;
    let deadline = Duration::from_millis(200);
    assert!(matches!(
        fetch(silent, "/healthz", deadline).await,
        Err(FetchError::Deadline(_))
    ));
    let deadline = Duration::from_secs(10);
    let other = impostor(b"220 mail.example ESMTP\r\n".to_vec()).await;
    assert!(matches!(
        fetch(other, "/healthz", deadline).await,
        Err(FetchError::Http(_))
    ));
    let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".to_vec();
    long.resize(long.len() + 2_000_000, b'a');
    let long = impostor(long).await;
    assert!(matches!(
        fetch(long, "/healthz", deadline).await,
        Err(FetchError::Body)
    ));
    assert!(matches!(
        fetch(silent, "no path", deadline).await,
        Err(FetchError::Path(_))
    ));
}
