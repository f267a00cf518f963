//! What a peer says reaches people only as text: no line of a log is forged, no terminal is driven, by whoever speaks
//! with a certificate or without one.

use fluidity_tests::{
    Origin, Peer, RogueServer, Scratch, Stack, TestAgent, TestPki, TestServer, binary, until, within,
};
use fluidity_wire::{Reply, ReplyCode};
use quinn::Endpoint;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const EVIL: &str = "bye\r\n2026-11-28T09:09:09.000000Z  INFO agent connected FORGED\u{1b}[2J\u{1b}]0;pwn\u{7}\u{9b}31m\u{202e}\" agent=good\n";

/// Rejects every certificate, and says so in words of its own.
#[derive(Debug)]
struct Slanderer;

fn slander<T>() -> Result<T, Error> {
    Err(Error::General(EVIL.into()))
}

fn schemes() -> Vec<SignatureScheme> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.signature_verification_algorithms.supported_schemes()
}

impl ServerCertVerifier for Slanderer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        slander()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        slander()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        slander()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Slanderer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        slander()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        slander()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

fn client_tls() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
}

/// Begins a handshake with `server` without a certificate and breaks it off with a reason.
async fn slander_server(server: &TestServer) {
    let mut config = client_tls()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Slanderer))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"fluidity/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("TLS 1.3")));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a UDP socket");
    let connecting = endpoint.connect_with(config, server.quic(), "fluidity-server");
    let error = within(DEADLINE, "the handshake ends", connecting.expect("connect")).await;
    assert!(error.is_err());
    endpoint.wait_idle().await;
}

/// Each line is one that the daemon wrote, and nothing in it does more than be read.
fn assert_honest(what: &str, text: &str) {
    let acts = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
    assert!(!text.contains(acts), "{what}: {text:?}");
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("2026-11-28T09:09:09.000000Z")),
        "{what}: {text}"
    );
}

/// The same of a log, where no field is one that the daemon did not write: none is outside of quotes.
fn assert_honest_log(what: &str, log: &str) {
    assert_honest(what, log);
    assert!(
        !log.replace("\\\"", "'").contains("\" agent=good"),
        "{what}: {log}"
    );
}

async fn until_logged(daemon: &fluidity_tests::Daemon, what: &str) -> String {
    until(DEADLINE, what, || async {
        let log = daemon.log();
        if log.contains(what) { Ok(log) } else { Err(log) }
    })
    .await
}

#[tokio::test]
async fn regression_nobody_forges_the_servers_log_without_a_certificate() {
    let pki = TestPki::new();
    let server = TestServer::start(&TestServer::settings(&pki)).await;
    slander_server(&server).await;
    let log = until_logged(&server, "handshake failed").await;
    assert_honest_log("the server's log", &log);
}

#[tokio::test]
async fn regression_an_agents_reason_to_leave_is_one_value_of_one_line() {
    let origin = Origin::bind().await;
    let stack = Stack::for_origin(origin.addr()).await;
    let roots = {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(stack.pki.file("ca.pem")).expect("ca.pem");
        roots.add(ca).expect("a root");
        roots
    };
    stack.pki.issue_agent("mallory");
    let chain = CertificateDer::pem_file_iter(stack.pki.file("mallory.pem")).expect("a certificate");
    let chain = chain
        .map(|certificate| certificate.expect("a certificate"))
        .collect();
    let key = PrivateKeyDer::from_pem_file(stack.pki.file("mallory.key")).expect("a key");
    let mut config = client_tls()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("matching papers");
    config.alpn_protocols = vec![b"fluidity/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("TLS 1.3")));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a UDP socket");
    let connecting = endpoint.connect_with(config, stack.server.quic(), "fluidity-server");
    let connection = within(DEADLINE, "the handshake", connecting.expect("connect"))
        .await
        .expect("accepted");
    within(DEADLINE, "the server's Hello", connection.accept_uni())
        .await
        .expect("a control stream");
    connection.close(0x20_u32.into(), EVIL.as_bytes());
    endpoint.wait_idle().await;
    let log = until_logged(&stack.server, "agent disconnected").await;
    assert!(log.contains("closed by the peer: normal"), "{log}");
    assert_honest_log("the server's log", &log);
}

#[tokio::test]
async fn regression_a_servers_words_are_only_read_by_status_by_clients_and_in_the_log() {
    let pki = TestPki::new();
    let server = RogueServer::bind(&pki);
    let mut settings = TestAgent::settings(&pki, server.addr());
    settings.set("connect.request-wait", "1s");
    let agent = TestAgent::start(&settings).await;
    let (link, driver) = server.serve(EVIL).await;
    agent.ready(DEADLINE).await;

    let mut client = Peer::dial(agent.proxy()).await;
    client
        .write("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        .await;
    let incoming = within(DEADLINE, "a session", link.accept())
        .await
        .expect("a session");
    incoming
        .refuse(Reply::refusal(ReplyCode::Internal, EVIL), DEADLINE)
        .await;
    let (head, body) = client.read_response().await;
    assert_eq!(
        (head.status(), head.one("x-content-type-options")),
        (502, Some("nosniff"))
    );
    assert_honest("the body", &String::from_utf8_lossy(&body));

    link.connection().close(0x999_u32.into(), EVIL.as_bytes());
    within(DEADLINE, "the link ends", driver)
        .await
        .expect("its driver");
    let log = until_logged(&agent, "connection to the server lost").await;
    assert_honest_log("the agent's log", &log);

    let scratch = Scratch::new();
    settings.set("admin", agent.port("admin").to_string());
    let file = scratch.write("agent.yaml", &settings.text());
    for arguments in [["status", "-c"].as_slice(), ["status", "--json", "-c"].as_slice()] {
        let output = Command::new(binary("fluidity"))
            .args(arguments)
            .arg(&file)
            .output();
        let output = output.expect("run fluidity status");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("FORGED"), "the server's software is shown: {text}");
        assert_honest("status", &text);
    }
    let (_, page) = agent.admin("/api/status").await;
    assert!(!page.contains("\\u001b") && !page.contains('\u{9b}'), "{page}");
}

/// Anyone on the way can send a close before the handshake is over: a person reads what its code means, no word of it.
#[tokio::test]
async fn regression_no_word_of_an_unproven_server_reaches_a_client() {
    let pki = TestPki::new();
    let chain = CertificateDer::pem_file_iter(pki.file("fluidity-server.pem")).expect("a certificate");
    let chain = chain
        .map(|certificate| certificate.expect("a certificate"))
        .collect();
    let key = PrivateKeyDer::from_pem_file(pki.file("fluidity-server.key")).expect("a key");
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(Arc::new(Slanderer))
            .with_single_cert(chain, key)
            .expect("matching papers");
    config.alpn_protocols = vec![b"fluidity/1".to_vec()];
    let config = QuicServerConfig::try_from(config).expect("TLS 1.3");
    let endpoint = Endpoint::server(
        quinn::ServerConfig::with_crypto(Arc::new(config)),
        "127.0.0.1:0".parse().expect("an address"),
    )
    .expect("a UDP socket");
    let accepting = endpoint.clone();
    let accept = tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            assert!(incoming.await.is_err(), "no agent's certificate is accepted");
        }
    });
    let mut settings = TestAgent::settings(&pki, endpoint.local_addr().expect("it is bound"));
    settings.set("connect.request-wait", "1s");
    settings.set("log.level", "debug");
    let agent = TestAgent::start(&settings).await;
    until_logged(&agent, "not connected to the server").await;

    let mut client = Peer::dial(agent.proxy()).await;
    client
        .write("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        .await;
    let (head, body) = client.read_response().await;
    let body = String::from_utf8(body).expect("UTF-8");
    assert_eq!(
        (head.status(), head.one("x-content-type-options")),
        (503, Some("nosniff"))
    );
    assert!(
        !body.contains("FORGED") && !format!("{head:?}").contains("FORGED"),
        "{body}"
    );
    assert_honest("the body", &body);
    assert_honest_log("the agent's log", &agent.log());
    let status = agent.status().await.to_string();
    assert!(!status.contains("FORGED"), "{status}");
    accept.abort();
}

const DEADLINE: Duration = Duration::from_secs(30);
