//! What was issued, in use: QUIC connections on loopback, as the daemons make them.

use super::*;
use fluidity_wire::quic::{QuicOptions, client_config, client_endpoint, server_endpoint};
use fluidity_wire::tls::{AgentId, Identity, IdentityError};
use quinn::rustls::pki_types::CertificateDer;
use std::time::Duration;
use tokio::time::timeout;

const SERVER: &str = "server-fluidity-server";
const NAME: &str = "fluidity-server";

pub(super) fn load(scratch: &Scratch, stem: &str) -> Result<Identity, IdentityError> {
    let file = |ending: &str| scratch.path(&format!("{stem}.{ending}"));
    Identity::load(&file("pem"), &file("key"), &scratch.path("ca.pem"))
}

/// Connects, and tells what agent the server saw; `Err` if either end refused the other.
async fn connect(server: &Identity, agent: &Identity, name: &str) -> Result<AgentId, quinn::ConnectionError> {
    let options = QuicOptions {
        idle_timeout: Duration::from_secs(10),
        keep_alive: None,
        max_sessions: 1,
    };
    let loopback = "127.0.0.1:0".parse().unwrap();
    let listening = server_endpoint(loopback, server, &options).unwrap();
    let dialling = client_endpoint(loopback).unwrap();
    let address = listening.local_addr().unwrap();
    let config = client_config(agent, &options).unwrap();
    let both = async {
        let accept = async { listening.accept().await.unwrap().await };
        let connect = async { dialling.connect_with(config, address, name).unwrap().await };
        tokio::join!(accept, connect)
    };
    let (accepted, connected) = timeout(Duration::from_secs(10), both)
        .await
        .expect("an outcome in time");
    // In TLS 1.3 the client is done before the server has seen its certificate: the server has the last word.
    let (accepted, _connected) = (accepted?, connected?);
    let chain = accepted.peer_identity().unwrap();
    let chain = chain.downcast::<Vec<CertificateDer<'static>>>().unwrap();
    Ok(AgentId::from_peer_certificates(&chain).unwrap())
}

#[tokio::test]
async fn what_was_issued_and_renewed_connects() {
    let scratch = Scratch::with_pair();
    for line in [
        "show",
        "renew agent laptop",
        "renew server fluidity-server",
        "renew",
    ] {
        scratch.must(line);
        let (server, agent) = (
            load(&scratch, SERVER).unwrap(),
            load(&scratch, "agent-laptop").unwrap(),
        );
        assert_eq!(
            connect(&server, &agent, NAME).await.unwrap().as_str(),
            "laptop",
            "after {line}"
        );
    }
}

#[tokio::test]
async fn every_name_that_can_be_issued_can_be_asked_for() {
    let scratch = Scratch::with_pair();
    scratch.must("issue server my_exit --san a.example --san xn--bcher-kva.example --san 192.0.2.7");
    let (server, agent) = (
        load(&scratch, "server-my_exit").unwrap(),
        load(&scratch, "agent-laptop").unwrap(),
    );
    for name in [
        "my_exit",
        "a.example",
        "A.Example",
        "xn--bcher-kva.example",
        "192.0.2.7",
    ] {
        connect(&server, &agent, name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in [NAME, "b.a.example", "192.0.2.8"] {
        assert!(connect(&server, &agent, name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn neither_end_takes_the_others_certificate_or_another_ca() {
    let (ours, theirs) = (Scratch::with_pair(), Scratch::with_pair());
    let (server, agent) = (load(&ours, SERVER).unwrap(), load(&ours, "agent-laptop").unwrap());
    let (their_server, their_agent) = (
        load(&theirs, SERVER).unwrap(),
        load(&theirs, "agent-laptop").unwrap(),
    );
    // Trusts our server, but comes from elsewhere.
    let stranger = Identity::load(
        &theirs.path("agent-laptop.pem"),
        &theirs.path("agent-laptop.key"),
        &ours.path("ca.pem"),
    )
    .unwrap();
    connect(&server, &agent, NAME).await.unwrap();
    for (what, server, agent) in [
        ("a server as agent", &server, &server),
        ("an agent as server", &agent, &agent),
        ("an agent of another CA", &server, &their_agent),
        ("an agent of another CA that trusts ours", &server, &stranger),
        ("a server of another CA", &their_server, &agent),
    ] {
        assert!(connect(server, agent, NAME).await.is_err(), "{what}");
    }
}

#[tokio::test]
async fn a_new_ca_takes_over_through_renewal_and_a_bundle() {
    let (scratch, old) = (Scratch::with_pair(), Scratch::new());
    fs::create_dir(&old.0).unwrap();
    for file in scratch.files() {
        fs::copy(scratch.path(&file), old.path(&file)).unwrap();
    }
    scratch.must("init --force");
    assert!(scratch.must("show").contains("[OF ANOTHER CA]"));
    scratch.must("renew");
    assert!(!scratch.must("show").contains("[OF ANOTHER CA]"));

    // Without the bundle the generations do not meet.
    let ends = |of: &Scratch| (load(of, SERVER).unwrap(), load(of, "agent-laptop").unwrap());
    let ((old_server, old_agent), (new_server, new_agent)) = (ends(&old), ends(&scratch));
    connect(&new_server, &new_agent, NAME).await.unwrap();
    assert!(connect(&new_server, &old_agent, NAME).await.is_err());
    assert!(connect(&old_server, &new_agent, NAME).await.is_err());

    // With it they do, whichever is moved first.
    let bundle = format!("{}{}", old.read("ca.pem"), scratch.read("ca.pem"));
    fs::write(old.path("ca.pem"), &bundle).unwrap();
    fs::write(scratch.path("ca.pem"), &bundle).unwrap();
    for server in [&old, &scratch] {
        for agent in [&old, &scratch] {
            let (server, agent) = (ends(server).0, ends(agent).1);
            connect(&server, &agent, NAME).await.unwrap();
        }
    }
}
