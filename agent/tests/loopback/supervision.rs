//! The tunnel's ups and downs.

use crate::bench::{Agent, Bench, DEADLINE, Peer};
use crate::certificates::Certificates;
use crate::server::Server;
use fluidity_agent::tunnel::State;
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn a_server_that_is_restarted_is_found_again() {
    let mut bench = Bench::start().await;
    let before = bench.agent.connected().await.server.unwrap().instance;
    let address = bench.server.address();
    bench.server.stop().await;
    bench
        .agent
        .until("lost", |phase| phase.state != State::Connected)
        .await;
    let started = Instant::now();
    let _server = Server::start(&bench.certificates, address);
    let phase = bench.agent.connected().await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_ne!(phase.server.unwrap().instance, before);
    assert_eq!(phase.reconnects, 1);
    assert_eq!(phase.last_error, None);
}

#[tokio::test]
async fn a_silent_server_is_suspect_before_it_is_lost_and_requests_wait() {
    let mut bench = Bench::start().await;
    let address = bench.server.address();
    let started = Instant::now();
    bench.server.kill();
    bench
        .agent
        .until("suspect", |phase| phase.state == State::Suspect)
        .await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let mut client = Peer(tokio::net::TcpStream::connect(bench.agent.proxy).await.unwrap());
    client
        .say(format!(
            "CONNECT {} HTTP/1.1\r\n\r\n",
            bench.origin.local_addr().unwrap()
        ))
        .await;
    let _server = Server::start(&bench.certificates, address);
    assert_eq!(client.head().await, "HTTP/1.1 200 OK\r\n\r\n");
}

#[tokio::test]
async fn a_draining_server_keeps_its_sessions_and_gets_no_new_ones() {
    let mut bench = Bench::start().await;
    let mut client = bench.ask("CONNECT {} HTTP/1.1\r\n\r\n").await;
    let mut upstream = bench.accept().await;
    client.head().await;
    bench.server.drain();
    // The same server takes the agent back here: what counts is that it asks anew.
    let phase = bench
        .agent
        .until("another connection", |phase| phase.reconnects == 1)
        .await;
    assert_eq!(phase.state, State::Connected);
    upstream.say("still").await;
    assert_eq!(client.bytes(5).await, "still");
}

#[tokio::test]
async fn a_draining_server_is_not_kept_up_by_sessions_that_wait() {
    let bench = Bench::start().await;
    let mut client = bench.ask("GET http://{}/ HTTP/1.1\r\n\r\n").await;
    let mut upstream = bench.accept().await;
    upstream.head().await;
    upstream
        .say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    client.through("\r\n\r\nok").await;
    bench.server.drain();
    assert_eq!(upstream.rest().await.as_deref(), Ok(""), "closed in order");
}

#[tokio::test]
async fn a_server_of_another_ca_is_named_as_such() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let server = Server::start(&theirs, "127.0.0.1:0".parse().unwrap());
    let mut agent = Agent::start(&ours, server.address(), "connect: { request-wait: 0s }\n").await;
    let phase = agent.until("told", |phase| phase.last_error.is_some()).await;
    let error = phase.last_error.unwrap();
    assert!(
        error.contains("not trusted") && error.contains("identity.ca"),
        "{error}"
    );
    assert_eq!(phase.state, State::Disconnected);
}

#[tokio::test]
async fn a_stop_lets_sessions_end_and_then_closes_everything() {
    let bench = Bench::start().await;
    let mut client = bench.ask("CONNECT {} HTTP/1.1\r\n\r\n").await;
    let mut upstream = bench.accept().await;
    client.head().await;
    let agent = bench.agent;
    agent.shutdown.draining.cancel();
    upstream.say("last").await;
    drop(upstream);
    assert_eq!(client.rest().await.unwrap(), "last");
    drop(client);
    timeout(DEADLINE, agent.served)
        .await
        .expect("no session is left")
        .unwrap();
    agent.closing.cancel();
    timeout(DEADLINE, agent.supervised)
        .await
        .expect("the connection closes")
        .unwrap();
}
