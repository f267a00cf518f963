//! Identities that are renewed, and a CA that is replaced, while sessions go on.

#![cfg(unix)]

use fluidity_tests::{Daemon, Origin, Setup, Stack, TestAgent, TestPki, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

/// Puts a file in another's place in one moment, as a tool for secrets does.
fn replace(path: &Path, bytes: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("write");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::rename(&new, path).expect("rename");
}

async fn says(daemon: &Daemon, text: &str, times: usize) {
    until(SOON, &format!("{text:?} {times} times in the log"), || async {
        let log = daemon.log();
        if log.matches(text).count() >= times {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

/// Has the agent lose its connection and make a new one: its server stands still for longer than the idle timeout.
async fn reconnect(stack: &Stack) {
    let before = stack.agent.status().await["reconnects"].as_u64();
    stack.server.signal("STOP");
    until(SOON, "the agent has lost it", || async {
        let log = stack.agent.log();
        if log.contains("connection to the server lost") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    stack.server.signal("CONT");
    until(SOON, "the agent is connected again", || async {
        let status = stack.agent.status().await;
        let again = status["state"] == "connected" && status["reconnects"].as_u64() > before;
        if again { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test]
async fn renewed_identities_are_picked_up_and_live_sessions_go_on() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let renewed = stack.pki.pki(&["renew"]);
    assert!(renewed.status.success(), "{renewed:?}");
    says(&stack.server, "new identity", 1).await;
    says(&stack.agent, "new identity", 1).await;
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");

    // A second agent meets the new server with its old papers, which are good still.
    stack.pki.issue_agent("phone");
    let mut settings = TestAgent::settings(&stack.pki, stack.server.quic());
    settings.set("identity", stack.pki.identity("phone"));
    let phone = TestAgent::start(&settings).await;
    phone.ready(SOON).await;
    client.write("pong").await;
    assert_eq!(upstream.read_exact(4).await, "pong");
}

#[tokio::test]
async fn a_bad_new_file_keeps_the_old_identity_and_says_so() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let (certificate, key) = (
        stack.pki.file("fluidity-server.pem"),
        stack.pki.file("fluidity-server.key"),
    );
    let good = fs::read(&certificate).expect("the certificate");
    replace(&certificate, "no certificate at all\n");
    says(&stack.server, "the new identity is bad: the old one stays", 1).await;
    let _tunnel = stack.tunnel(&origin).await;
    let mut settings = stack.agent_settings.clone();
    settings.set("listen", "127.0.0.1:0").set("admin", "127.0.0.1:0");
    TestAgent::start(&settings).await.ready(SOON).await;

    // Made good again, there is nothing new; a key that others can read is as bad as no key.
    replace(&certificate, good);
    let secret = fs::read(&key).expect("the key");
    replace(&key, [secret.as_slice(), b"\n"].concat());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    stack.server.signal("HUP");
    until(SOON, "it says why", || async {
        let log = stack.server.log();
        if log.contains("can be read by others") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    TestAgent::start(&settings).await.ready(SOON).await;
}

#[tokio::test]
async fn one_ca_takes_over_from_another_while_sessions_go_on() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .short_idle_timeout()
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    let (old, new) = (&stack.pki, TestPki::new());
    let ca = |pki: &TestPki| fs::read(pki.file("ca.pem")).expect("ca.pem");
    let bundle = [ca(old), ca(&new)].concat();

    // First both trust both, then each shows the new papers, then the old CA is dropped. One CA file serves both here.
    replace(&old.file("ca.pem"), &bundle);
    for daemon in [&*stack.server, &*stack.agent] {
        says(daemon, "new identity", 1).await;
    }
    for name in ["fluidity-server", "laptop"] {
        for kind in ["pem", "key"] {
            let file = format!("{name}.{kind}");
            replace(&old.file(&file), fs::read(new.file(&file)).expect("a file"));
        }
    }
    for daemon in [&*stack.server, &*stack.agent] {
        says(daemon, "new identity", 2).await;
    }
    replace(&old.file("ca.pem"), ca(&new));
    for daemon in [&*stack.server, &*stack.agent] {
        says(daemon, "new identity", 3).await;
    }
    // The session of the first hour is alive through all of it.
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");

    // An agent of the new CA connects; one that still has the old CA's papers is refused.
    let mut settings = TestAgent::settings(&new, stack.server.quic());
    TestAgent::start(&settings).await.ready(SOON).await;
    let stranger = TestPki::new();
    settings.set("identity", stranger.identity("laptop"));
    settings.set("identity.ca", new.file("ca.pem").to_str().expect("UTF-8"));
    let refused = TestAgent::start(&settings).await;
    until(SOON, "it is refused", || async {
        let status = refused.status().await;
        let error = status["last_error"].as_str().unwrap_or_default();
        if error.contains("does not accept this agent's certificate") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    reconnect(&stack).await;
    let _tunnel = stack.tunnel(&origin).await;
}
