//! No connection outlives the certificates that it rests on; who was renewed in time notices nothing.

#![cfg(unix)]

use fluidity_tests::{
    Cloud, Daemon, Ending, Origin, Peer, Setup, Stack, TestAgent, TestPki, TestServer, until,
};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// Long enough for everything to start on a machine that is busy.
const LIFE: Duration = Duration::from_secs(25);
const SOON: Duration = Duration::from_secs(60);

async fn says(daemon: &Daemon, text: &str) {
    until(SOON, &format!("{text:?} in the log"), || async {
        let log = daemon.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn last_error(agent: &Daemon, text: &str) {
    until(SOON, &format!("{text:?} as the last error"), || async {
        let status = agent.status().await;
        let error = status["last_error"].as_str().unwrap_or_default();
        if error.contains(text) { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Both daemons, one of them with a certificate that ends soon. Returns when it does.
async fn with_short_life(name: &str, origin: &Origin) -> (Stack, SystemTime) {
    let pki = TestPki::new();
    let end = pki.issue_for(name, LIFE);
    let mut server_settings = TestServer::settings(&pki);
    server_settings.set(
        "policy.allow",
        json!([{ "cidr": "127.0.0.1", "ports": [origin.addr().port()] }]),
    );
    let server = TestServer::start(&server_settings).await;
    let mut agent_settings = TestAgent::settings(&pki, server.quic());
    agent_settings.set("connect.request-wait", "1s");
    let agent = TestAgent::start(&agent_settings).await;
    agent.ready(SOON).await;
    let stack = Stack {
        agent,
        server,
        pki,
        agent_settings,
        server_settings,
    };
    (stack, end)
}

async fn ping(client: &mut Peer, upstream: &mut Peer) {
    client.write("ping").await;
    assert_eq!(upstream.read_exact(4).await, "ping");
}

/// The session is cut, as such, and not before its time.
async fn cut_at(end: SystemTime, client: Peer) {
    let cut = client.with_deadline(SOON).discard().await;
    assert_eq!(cut.end, Ending::Reset);
    // A certificate names the second that it ends in.
    assert!(
        SystemTime::now() + Duration::from_secs(1) >= end,
        "it was cut before its time"
    );
}

#[tokio::test]
async fn a_connection_ends_with_its_agents_certificate() {
    let origin = Origin::bind().await;
    let (stack, end) = with_short_life("laptop", &origin).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    ping(&mut client, &mut upstream).await;
    cut_at(end, client).await;
    says(&stack.server, "the agent's certificate has ended").await;
    last_error(&stack.agent, "this agent's certificate has ended").await;
    let (_, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?}");
    origin.assert_never_dialled().await;

    // With a new one it comes back by itself.
    stack.pki.issue_for("laptop", Duration::from_secs(3600));
    stack.agent.ready(SOON).await;
    let _tunnel = stack.tunnel(&origin).await;
}

#[tokio::test]
async fn an_agent_that_was_renewed_in_time_goes_on_and_only_old_sessions_end() {
    let origin = Origin::bind().await;
    let (stack, end) = with_short_life("laptop", &origin).await;
    let (old, mut old_upstream) = stack.tunnel(&origin).await;
    stack.pki.issue_for("laptop", Duration::from_secs(3600));
    stack.agent.signal("HUP");
    says(&stack.agent, "connected beside it with newer certificates").await;
    let (mut new, mut upstream) = stack.tunnel(&origin).await;
    ping(&mut new, &mut upstream).await;
    let mut old = old;
    ping(&mut old, &mut old_upstream).await;
    cut_at(end, old).await;
    ping(&mut new, &mut upstream).await;
    let _tunnel = stack.tunnel(&origin).await;
}

#[tokio::test]
async fn an_agent_leaves_a_server_whose_certificate_has_ended() {
    let origin = Origin::bind().await;
    let (stack, end) = with_short_life("fluidity-server", &origin).await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    ping(&mut client, &mut upstream).await;
    cut_at(end, client).await;
    says(&stack.agent, "the server's certificate has ended").await;
    let (_, head) = Peer::try_tunnel(stack.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?}");
    origin.assert_never_dialled().await;

    stack.pki.issue_for("fluidity-server", Duration::from_secs(3600));
    stack.server.signal("HUP");
    stack.agent.ready(SOON).await;
    let _tunnel = stack.tunnel(&origin).await;
}

#[tokio::test]
async fn an_agent_changes_over_to_a_servers_new_certificate_before_the_old_one_ends() {
    let origin = Origin::bind().await;
    let (stack, end) = with_short_life("fluidity-server", &origin).await;
    let (old, _old_upstream) = stack.tunnel(&origin).await;
    stack.pki.issue_for("fluidity-server", Duration::from_secs(3600));
    stack.server.signal("HUP");
    says(&stack.agent, "connected beside it with newer certificates").await;
    let (mut new, mut upstream) = stack.tunnel(&origin).await;
    cut_at(end, old).await;
    ping(&mut new, &mut upstream).await;
}

#[tokio::test]
async fn an_agent_that_a_new_ca_does_not_vouch_for_is_shut_out_of_a_live_connection() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .server("drain-grace", "1s")
        .agent("connect.request-wait", "1s")
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    ping(&mut client, &mut upstream).await;
    let other = TestPki::new();
    let ca = fs::read_to_string(other.file("ca.pem")).expect("ca.pem");
    // The server alone changes over: the agent goes on trusting it.
    let own_ca = stack.pki.dir().join("servers-ca.pem");
    fs::copy(stack.pki.file("ca.pem"), &own_ca).expect("copy");
    let mut settings = stack.server_settings.clone();
    settings
        .set("listen", "127.0.0.1:0")
        .set("identity.ca", own_ca.to_str().expect("UTF-8"));
    let server = TestServer::start(&settings).await;
    let mut settings = stack.agent_settings.clone();
    settings.set("server.address", server.quic().to_string());
    settings.set("listen", "127.0.0.1:0").set("admin", "127.0.0.1:0");
    let agent = TestAgent::start(&settings).await;
    agent.ready(SOON).await;
    let client = Peer::tunnel(agent.proxy(), origin.addr()).await;
    let _upstream = origin.accept().await;
    stack.pki.replace(&own_ca, &ca);
    server.signal("HUP");
    says(&server, "the agent's certificate is not accepted any more").await;
    let cut = client.with_deadline(SOON).discard().await;
    assert_eq!(cut.end, Ending::Reset);
    last_error(&agent, "does not accept this agent's certificate").await;
    let (_, head) = Peer::try_tunnel(agent.proxy(), origin.addr()).await;
    assert_eq!(head.status(), 503, "{head:?}");
    origin.assert_never_dialled().await;
}

/// A plain request: status and body.
async fn get(agent: &TestAgent, origin: SocketAddr) -> (u16, String) {
    let mut client = Peer::dial(agent.proxy()).await.with_deadline(SOON);
    client
        .write(format!(
            "GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let (head, body) = client.read_response().await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_certificate_that_has_ended_wakes_no_server_until_it_is_renewed() {
    let web = Origin::bind().await.hello("hello");
    let cloud = Cloud::start(&[web.addr()]).await;
    let end = cloud.pki.issue_for("laptop", LIFE);
    let mut settings = cloud.agent_settings();
    settings.set("start", "on-demand");
    let agent = TestAgent::start(&settings).await;
    until(Duration::from_secs(60), "the certificate has ended", || async {
        if SystemTime::now() > end { Ok(()) } else { Err(()) }
    })
    .await;
    let woken = || cloud.gateway.script().count("wake");
    assert_eq!(woken(), 0, "on demand, and nobody asked");
    for _ in 0..3 {
        let (status, body) = get(&agent, web.addr()).await;
        assert_eq!(status, 503, "{body}");
        assert!(
            body.contains("this agent's certificate has ended") && body.contains("fluidity pki renew"),
            "{body}"
        );
        assert!(body.contains("Waiting does not help"), "{body}");
    }
    assert_eq!(
        (woken(), cloud.aws.service().desired),
        (0, 0),
        "nothing costs money"
    );

    cloud.pki.issue_for("laptop", Duration::from_secs(3600));
    agent.signal("HUP");
    says(&agent, "new identity").await;
    assert_eq!(get(&agent, web.addr()).await, (200, "hello".into()));
    assert!(woken() > 0);
}
