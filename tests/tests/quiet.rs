//! A restart of the server costs few lines, at INFO and above: each fact once, in words.

#![cfg(unix)]

use fluidity_tests::{Setup, Stack, TestAgent, TestServer, until};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Waits until the agent has been connected again `times`.
async fn reconnected(agent: &TestAgent, times: u64) {
    until(SOON, "it is connected again", || async {
        let status = agent.status().await;
        let again = status["reconnects"].as_u64().is_some_and(|count| count >= times);
        if again && status["state"] == "connected" {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

/// What was logged after the first `from` bytes.
fn since(log: &str, from: usize) -> Vec<&str> {
    log.get(from..).unwrap_or_default().lines().collect()
}

#[tokio::test]
async fn a_servers_restart_leaves_few_lines_at_either_end_and_none_of_attempts_that_were_let_go() {
    let Stack {
        agent,
        server,
        pki,
        agent_settings,
        mut server_settings,
    } = Setup::new()
        .agent("log.level", "info")
        .server("log.level", "info")
        .start()
        .await;
    pki.issue_agent("desk");
    let mut settings = agent_settings.clone();
    settings.set("identity", pki.identity("desk"));
    let desk = TestAgent::start(&settings).await;
    for agent in [&agent, &desk] {
        agent.ready(SOON).await;
    }
    server_settings.set("listen", server.quic().to_string());
    let before = [&agent, &desk].map(|agent| agent.log().len());

    // A stop, and a kill.
    server.signal("TERM");
    let (exit, log) = server.exit(SOON).await;
    assert!(exit.status.success(), "{log}");
    assert!(!log.contains("handshake failed"), "{log}");
    for line in log.lines().filter(|line| line.contains("agent disconnected")) {
        assert!(line.contains("reason=\"closed by the peer: normal\""), "{line}");
    }
    let server = TestServer::start(&server_settings).await;
    for agent in [&agent, &desk] {
        reconnected(agent, 1).await;
    }
    server.kill().await;
    let server = TestServer::start(&server_settings).await;
    for agent in [&agent, &desk] {
        reconnected(agent, 2).await;
    }

    for (agent, before) in [&agent, &desk].into_iter().zip(before) {
        let log = agent.log();
        let lines = since(&log, before);
        // Gone and back, twice; a silence and a pause are told where they are long.
        assert!((4..=8).contains(&lines.len()), "{lines:#?}");
        assert_eq!(log.matches("reconnected: ").count(), 2, "{lines:#?}");
        assert_eq!(log.matches("the server is stopping").count(), 1, "{lines:#?}");
    }
    until(SOON, "both are told of", || async {
        let log = server.log();
        if log.matches("agent connected").count() >= 2 {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let log = server.log();
    assert_eq!(log.matches("agent connected").count(), 2, "{log}");
    assert!(
        !log.contains("handshake failed") && !log.contains("agent disconnected"),
        "{log}"
    );
    assert!(log.lines().count() <= 8, "{log}");
}

#[test]
fn what_the_readme_exports_leaves_this_machine_out() {
    let readme = include_str!("../../README.md");
    let exports: Vec<_> = readme
        .lines()
        .filter(|line| line.starts_with("export "))
        .collect();
    for word in [
        "http_proxy=",
        "HTTPS_PROXY=",
        "no_proxy=localhost,127.0.0.1,::1",
        "NO_PROXY=localhost,127.0.0.1,::1",
    ] {
        assert!(
            exports.iter().any(|line| line.contains(word)),
            "no {word:?} in {exports:?}"
        );
    }
}
