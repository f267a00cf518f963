//! Mistakes that show only while the agent runs: what it says of them, when, and whether it goes on trying.

use fluidity_tests::{
    Origin, Peer, RogueServer, Setup, Stack, TestAgent, TestPki, TestServer, binary, until, within,
};
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// A UDP port on which nobody answers.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

async fn in_log(agent: &TestAgent, text: &str) -> String {
    until(SOON, &format!("{text:?} in the log"), || async {
        let log = agent.log();
        match log.lines().find(|line| line.contains(text)) {
            Some(line) => Ok(line.to_owned()),
            None => Err(log),
        }
    })
    .await
}

async fn status_until(agent: &TestAgent, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(SOON, what, || async {
        let status = agent.status().await;
        if is(&status) { Ok(status) } else { Err(status) }
    })
    .await
}

/// A plain request; status and body.
async fn get(agent: &TestAgent) -> (u16, String) {
    let mut client = Peer::dial(agent.proxy()).await.with_deadline(SOON);
    client
        .write("GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n")
        .await;
    let (head, body) = client.read_response().await;
    (head.status(), String::from_utf8_lossy(&body).into_owned())
}

/// The text of a 503 that comes at once, though a request may wait for an hour.
async fn refused_at_once(agent: &TestAgent) -> String {
    status_until(agent, "the agent knows what is wrong", |status| {
        status["state"] == "disconnected"
    })
    .await;
    let (status, body) = get(agent).await;
    assert_eq!(status, 503, "{body}");
    assert!(!body.contains("UDP"), "a wrong remedy: {body}");
    assert!(body.contains("Waiting does not help"), "{body}");
    body
}

/// A server and an agent that are not yet acquainted; the agent's requests would wait for an hour.
async fn strangers(
    name: &str,
    agent: impl Fn(&TestPki, &TestPki) -> Value,
) -> (TestAgent, TestServer, [TestPki; 2]) {
    let (ours, theirs) = (TestPki::new(), TestPki::new());
    let server = TestServer::start(&TestServer::settings(&theirs)).await;
    let mut settings = TestAgent::settings(&ours, server.quic());
    settings
        .set("identity", agent(&ours, &theirs))
        .set("server.name", name)
        .set("connect.request-wait", "1h");
    (TestAgent::start(&settings).await, server, [ours, theirs])
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named_in_the_status_before_a_round_is_over_and_in_the_log() {
    let pki = TestPki::new();
    let (_socket, nobody) = silent();
    let mut settings = TestAgent::settings(&pki, nobody);
    settings.set("connect.timeout", "1h");
    let agent = TestAgent::start(&settings).await;
    let expected = format!("no answer from the server at {nobody} (UDP)");
    status_until(&agent, "the status says why", |status| {
        let said = status["last_error"].as_str().unwrap_or_default();
        status["state"] == "connecting" && said.contains(&expected)
    })
    .await;
    // Long before the hour is over, and once.
    let line = in_log(&agent, "not connected to the server yet").await;
    assert!(line.contains("WARN") && line.contains(&expected), "{line}");
    for step in ["check that it runs", "this address and port", "firewalls"] {
        assert!(line.contains(step), "no {step:?} in {line}");
    }
    agent.kill().await;

    settings
        .set("connect.timeout", "1s")
        .set("connect.request-wait", "0s");
    let agent = TestAgent::start(&settings).await;
    let line = in_log(&agent, "not connected to the server").await;
    assert!(line.contains("WARN") && line.contains(&expected), "{line}");
    assert_eq!(agent.log().matches("not connected to the server").count(), 1);
    let (status, body) = get(&agent).await;
    assert_eq!(status, 503, "{body}");
    assert!(
        body.contains(&expected) && body.contains("check that it runs") && body.contains("fluidity status"),
        "{body}"
    );
    assert!(!body.contains("?."), "{body}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused_at_once_and_tried_again_when_the_file_is_mended() {
    let (agent, server, [ours, theirs]) =
        strangers("fluidity-server", |ours, _| ours.identity("laptop")).await;
    let body = refused_at_once(&agent).await;
    for part in [
        &format!("the server at {} is not trusted", server.quic()),
        "its certificate comes from another CA",
        "check identity.ca: it must hold the ca.pem",
    ] {
        assert!(body.contains(part), "no {part:?} in {body}");
    }
    let line = in_log(&agent, "not connected to the server").await;
    assert!(line.contains("check identity.ca"), "{line}");
    // The mended files are taken without a restart.
    for name in ["laptop.pem", "laptop.key", "ca.pem"] {
        fs::copy(theirs.file(name), ours.file(name)).expect("copy");
    }
    agent.signal("HUP");
    status_until(&agent, "it is connected", |status| status["state"] == "connected").await;
    drop(server);
}

#[tokio::test]
async fn an_agent_of_another_ca_is_told_at_once_that_its_certificate_is_of_the_wrong_one() {
    let (agent, server, _pkis) = strangers("fluidity-server", |ours, theirs| {
        let mut identity = ours.identity("laptop");
        identity["ca"] = theirs.identity("laptop")["ca"].clone();
        identity
    })
    .await;
    let body = refused_at_once(&agent).await;
    assert!(
        body.contains(&format!(
            "the server at {} does not accept this agent's certificate",
            server.quic()
        )) && body.contains("it comes from another CA than the server's"),
        "{body}"
    );
}

#[tokio::test]
async fn a_server_of_another_name_is_refused_at_once_with_both_names() {
    let (agent, _server, _pkis) = strangers("another-name", |_, theirs| theirs.identity("laptop")).await;
    let body = refused_at_once(&agent).await;
    for part in [
        "another-name",
        "fluidity-server",
        "check identity.ca and server.name",
    ] {
        assert!(body.contains(part), "no {part:?} in {body}");
    }
}

/// An agent, for an hour's patience, of a server that a test plays.
async fn agent_of(pki: &TestPki, server: &RogueServer) -> TestAgent {
    let mut settings = TestAgent::settings(pki, server.addr());
    settings.set("connect.request-wait", "1h");
    TestAgent::start(&settings).await
}

#[tokio::test]
async fn a_server_that_shows_an_agents_certificate_is_refused_at_once_with_what_it_needs() {
    let pki = TestPki::new();
    let server = RogueServer::bind_as(&pki, "laptop");
    let answering = server.answer();
    let agent = agent_of(&pki, &server).await;
    let body = refused_at_once(&agent).await;
    for part in [
        &format!("the server at {} is not trusted", server.addr()),
        "shows a certificate that is not a server's",
        "server-NAME.pem",
        "fluidity pki issue server",
    ] {
        assert!(body.contains(part), "no {part:?} in {body}");
    }
    answering.abort();
}

#[tokio::test]
async fn another_service_at_the_servers_address_is_told_as_such() {
    let pki = TestPki::new();
    let server = RogueServer::of_another_kind();
    let answering = server.answer();
    let agent = agent_of(&pki, &server).await;
    let body = refused_at_once(&agent).await;
    let expected = format!(
        "what answers at {} is no server that this agent can speak to",
        server.addr()
    );
    assert!(body.contains(&expected), "{body}");
    assert!(body.contains("check the address and the port"), "{body}");
    assert!(!body.contains("certificate"), "a wrong cause: {body}");
    answering.abort();
}

#[tokio::test]
async fn a_server_name_that_does_not_exist_is_told_at_once() {
    const NAME: &str = "does-not-exist.invalid";
    // Where the system's resolver asks a name server that does not answer, it cannot know.
    let found = tokio::net::lookup_host((NAME, 1))
        .await
        .map(|found| found.count());
    if found.is_ok_and(|count| count > 0) || get_name_error(NAME).await.contains("Temporary") {
        eprintln!("SKIPPED: the system does not say that {NAME} does not exist");
        return;
    }
    let pki = TestPki::new();
    let mut settings = TestAgent::settings(&pki, SocketAddr::from(([127, 0, 0, 1], 9)));
    settings
        .set("server.address", format!("{NAME}:443"))
        .set("connect.request-wait", "1h");
    let agent = TestAgent::start(&settings).await;
    let body = refused_at_once(&agent).await;
    assert!(
        body.contains(&format!(
            "the server's name {NAME} does not exist; check server.address"
        )),
        "{body}"
    );
}

async fn get_name_error(name: &str) -> String {
    match tokio::net::lookup_host((name, 1)).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_stopping_agent_says_so_and_lets_its_sessions_end() {
    let origin = Origin::bind().await;
    let stack = Setup::new()
        .allow(origin.addr())
        .agent("drain-grace", "1h")
        .start()
        .await;
    let (mut client, mut upstream) = stack.tunnel(&origin).await;
    stack.agent.signal("TERM");
    until(SOON, "/readyz says draining", || async {
        match stack.agent.admin("/readyz").await {
            (503, page) if page.contains("\"draining\"") => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(stack.agent.admin("/healthz").await.0, 200);
    let mut command = tokio::process::Command::new(binary("fluidity"));
    command.args(["status", "--admin", &stack.agent.port("admin").to_string()]);
    let output = within(SOON, "fluidity status ends", command.output())
        .await
        .expect("run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("state      draining for "), "{said}");
    assert_eq!(output.status.code(), Some(1));
    client.write("still here").await;
    assert_eq!(upstream.read_exact(10).await, "still here");
    drop(client);
    drop(upstream);
    let Stack { agent, .. } = stack;
    let (exit, log) = agent.exit(SOON).await;
    assert!(exit.status.success(), "{log}");
}

/// An agent whose requests are held for an hour, and the address where a server may appear.
async fn holding(pki: &TestPki) -> (TestAgent, UdpSocket) {
    let (socket, nobody) = silent();
    let mut settings = TestAgent::settings(pki, nobody);
    settings
        .set("connect.request-wait", "1h")
        .set("connect.timeout", "1s")
        .set("drain-grace", "1h");
    (TestAgent::start(&settings).await, socket)
}

async fn clients(agent: &TestAgent, count: usize) {
    let line = format!("fluidity_agent_clients {count}");
    until(SOON, &line, || async {
        let page = agent.admin("/metrics").await.1;
        if page.lines().any(|found| found == line) {
            Ok(())
        } else {
            Err(page)
        }
    })
    .await;
}

const HELD: [&str; 3] = [
    "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n\r\n",
    "GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
    "POST http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 100000\r\n\r\nhalf",
];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_held_request_whose_client_has_closed_or_reset_holds_nothing() {
    let pki = TestPki::new();
    let (agent, _socket) = holding(&pki).await;
    for request in HELD {
        for reset in [false, true] {
            let mut client = Peer::dial(agent.proxy()).await;
            client.write(request).await;
            clients(&agent, 1).await;
            match reset {
                true => client.reset(),
                false => drop(client),
            }
            clients(&agent, 0).await;
        }
    }
    // A long body that is not read fills the buffer between the client and the agent.
    let mut client = Peer::dial(agent.proxy()).await;
    client
        .write("POST http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1\r\nContent-Length: 100000\r\n\r\n")
        .await;
    client.write([b'x'; 100_000]).await;
    clients(&agent, 1).await;
    drop(client);
    clients(&agent, 0).await;
    let log = agent.log();
    assert!(
        !log.contains("request refused"),
        "a client that leaves is no news: {log}"
    );
}

#[tokio::test]
async fn a_client_that_has_only_ended_its_direction_still_gets_its_answer() {
    let origin = Origin::bind().await.hello("hello");
    let pki = TestPki::new();
    let (agent, socket) = holding(&pki).await;
    let target = origin.addr();
    let mut client = Peer::dial(agent.proxy())
        .await
        .with_deadline(Duration::from_secs(60));
    client
        .write(format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    client.finish().await;
    clients(&agent, 1).await;
    // A second one proves that the agent has looked for those that left, and let only them go.
    let mut other = Peer::dial(agent.proxy()).await;
    other.write(HELD[1]).await;
    clients(&agent, 2).await;
    drop(other);
    clients(&agent, 1).await;

    let address = socket.local_addr().expect("its address");
    drop(socket);
    let mut settings = TestServer::settings(&pki);
    settings.set("listen", address.to_string()).set(
        "policy.allow",
        vec![serde_json::json!({ "cidr": format!("{}/32", target.ip()), "ports": [target.port()] })],
    );
    let _server = TestServer::start(&settings).await;
    let (head, body) = client.read_response().await;
    assert_eq!((head.status(), body.as_slice()), (200, &b"hello"[..]), "{head:?}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_requests_that_have_no_connection_to_wait_for() {
    let pki = TestPki::new();
    let (agent, _socket) = holding(&pki).await;
    let mut waiting = Peer::dial(agent.proxy()).await.with_deadline(SOON);
    waiting.write(HELD[1]).await;
    let mut half_closed = Peer::dial(agent.proxy()).await.with_deadline(SOON);
    half_closed.write(HELD[0]).await;
    half_closed.finish().await;
    clients(&agent, 2).await;
    agent.signal("TERM");
    for client in [&mut waiting, &mut half_closed] {
        let (head, body) = client.read_response().await;
        assert_eq!(head.status(), 503, "{head:?}");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("The agent is stopping"), "{body}");
    }
    drop((waiting, half_closed));
    let (exit, log) = agent.exit(SOON).await;
    assert!(exit.status.success(), "{log}");
}

#[tokio::test]
async fn sighup_says_what_it_did_and_what_it_does_not_do() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    stack.agent.signal("HUP");
    in_log(
        &stack.agent,
        "the configuration is not read again, which takes a restart",
    )
    .await;
    in_log(&stack.agent, "the identity is unchanged").await;
    stack.server.signal("HUP");
    until(SOON, "the server says the same", || async {
        let log = stack.server.log();
        if log.contains("the identity is unchanged") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;

    let key = stack.pki.file("laptop.key");
    let good = fs::read(&key).expect("the key");
    fs::write(&key, "no key").expect("write");
    for times in 1..=2 {
        stack.agent.signal("HUP");
        until(SOON, "it is refused, each time that somebody asks", || async {
            let log = stack.agent.log();
            let count = log.matches("the new identity is bad: the old one stays").count();
            if count >= times { Ok(()) } else { Err(log) }
        })
        .await;
    }
    fs::write(&key, good).expect("write");
    stack.agent.signal("HUP");
    in_log(&stack.agent, "new identity: connecting with it").await;
}

#[tokio::test]
async fn an_instance_is_written_one_way_in_status_and_logs() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let instance = stack.server.status().await["instance"]
        .as_str()
        .expect("text")
        .to_owned();
    let line = in_log(&stack.agent, "connected to the server").await;
    assert!(line.contains(&format!("instance={instance}")), "{line}");
    assert_eq!(stack.agent.status().await["server"]["instance"], instance);
    let connections = &stack.server.status().await["connections"];
    let agent = connections[0]["instance"].as_str().expect("the agent's own");
    assert_eq!(agent.len(), 16, "{connections}");
}

#[tokio::test]
async fn every_session_record_names_its_client_also_when_the_session_waited_for_another_request() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let target = origin.addr();
    let mut client = stack.client().await;
    client
        .write(format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.read_head().await;
    upstream
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let (head, _) = client.read_response().await;
    assert_eq!(head.status(), 200);
    // The session waits in the pool, and its origin hangs up.
    drop(upstream);
    let line = in_log(&stack.agent, "session ended").await;
    assert!(line.contains("client.addr="), "{line}");
}
