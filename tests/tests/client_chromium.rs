//! Headless Chromium loads a page with a WebSocket and an event stream through the proxy.

use fluidity_tests::{Frame, Origin, Peer, Scratch, Setup, client_file, run, tool};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What the page's origin knows.
struct Site {
    page: String,
    acks: mpsc::Sender<String>,
    acked: Mutex<mpsc::Receiver<String>>,
    report: watch::Sender<Option<String>>,
}

impl Site {
    async fn play(&self, mut peer: Peer) {
        while let Some(head) = peer.next_request().await {
            let path = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            match path {
                "/" => respond(&mut peer, "text/html; charset=utf-8", &self.page).await,
                "/ws" => {
                    let key = head.one("sec-websocket-key").expect("a WebSocket handshake");
                    return echo(peer, &derive_accept_key(key.as_bytes())).await;
                }
                "/events" => return self.events(peer).await,
                "/ack" => {
                    self.acks.send(query.to_owned()).await.expect("the test listens");
                    respond(&mut peer, "text/plain", "").await;
                }
                "/done" => {
                    let length = head.content_length().expect("a length");
                    let body = peer.read_exact(length as usize).await;
                    self.report
                        .send_replace(Some(String::from_utf8_lossy(&body).into_owned()));
                    respond(&mut peer, "text/plain", "").await;
                }
                "/hold" => {
                    let mut report = self.report.subscribe();
                    let _ = report.wait_for(Option::is_some).await;
                    respond(
                        &mut peer,
                        "image/svg+xml",
                        "<svg xmlns='http://www.w3.org/2000/svg'/>",
                    )
                    .await;
                }
                _ => respond(&mut peer, "text/plain", "").await,
            }
        }
    }

    /// Three events, each sent only after the page has confirmed the one before: nothing may be held back.
    async fn events(&self, mut peer: Peer) {
        peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            .await;
        let mut acked = self.acked.lock().await;
        for number in 1..=3 {
            peer.write(format!("data: {number}\n\n")).await;
            assert_eq!(acked.recv().await, Some(number.to_string()));
        }
        let _ = peer.read_some().await;
    }
}

async fn respond(peer: &mut Peer, kind: &str, body: &str) {
    let length = body.len();
    let response =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
    let _ = peer.try_write(response).await;
}

/// Answers the handshake and returns each frame until the client closes.
async fn echo(mut peer: Peer, accept: &str) {
    peer.write(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
    .await;
    loop {
        let frame = peer.read_frame().await;
        let close = frame.first & 0x0f == 8;
        peer.write_frame(&Frame {
            first: frame.first & 0x8f,
            ..frame
        })
        .await;
        if close {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_loads_a_page_with_a_websocket_and_an_event_stream() {
    let Some(chromium) = tool("chromium") else { return };
    let (acks, acked) = mpsc::channel(8);
    let (report, mut reported) = watch::channel(None);
    let page = std::fs::read_to_string(client_file("page.html")).expect("page.html");
    let site = Arc::new(Site {
        page,
        acks,
        acked: Mutex::new(acked),
        report,
    });
    let origin = Origin::bind().await;
    let url = format!("http://{}/", origin.addr());
    let addr = origin.addr();
    let _served = origin.serve(move |peer| {
        let site = Arc::clone(&site);
        async move { site.play(peer).await }
    });
    let rule = json!({ "cidr": "127.0.0.1/32", "ports": [addr.port()] });
    // Whatever else the browser would like to reach, the test's server does not dial it.
    let stack = Setup::new()
        .allow_rule(rule)
        .server("policy.default", "deny")
        .start()
        .await;

    let home = Scratch::new();
    let mut command = chromium.command();
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--disable-default-apps",
            "--disable-extensions",
            "--mute-audio",
        ])
        .arg(format!("--proxy-server=http://{}", stack.proxy()))
        .arg("--proxy-bypass-list=<-loopback>")
        .arg(format!(
            "--user-data-dir={}",
            home.path().join("profile").display()
        ))
        .args(["--timeout=40000", "--dump-dom"])
        .arg(&url)
        .env("HOME", home.path());
    let output = run(&mut command, Duration::from_secs(80)).await;
    let dom = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let report = reported.borrow_and_update().clone();
    let report = report.unwrap_or_else(|| panic!("the page never reported; DOM:\n{dom}\n{said}"));
    for line in ["ws: hello over ws", "sse: 1", "sse: 2", "sse: 3", "closed: 1000"] {
        assert!(
            report.lines().any(|seen| seen == line),
            "{line:?} is missing:\n{report}\n{said}"
        );
        assert!(
            dom.contains(&format!("<li>{line}</li>")),
            "{line:?} is not in the DOM:\n{dom}\n{said}"
        );
    }
}
