//! A server with good papers and bad manners: built on the wire crate, in the hands of a test.

use crate::hostile::{Tamper, tampering_server};
use crate::pki::{SERVER_NAME, TestPki};
use crate::wait::within;
use fluidity_wire::quic::{QuicOptions, server_endpoint};
use fluidity_wire::tls::Identity;
use fluidity_wire::{Budget, Hello, Link, LinkEnd, LinkOptions};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, TransportConfig, VarInt};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where agents connect to a test.
#[derive(Debug)]
pub struct RogueServer(Endpoint);

impl RogueServer {
    /// Binds with the identity of the CA's server.
    pub fn bind(pki: &TestPki) -> Self {
        Self::bind_as(pki, SERVER_NAME)
    }

    /// Binds with another identity of the CA: an agent's, say.
    pub fn bind_as(pki: &TestPki, name: &str) -> Self {
        let file = |end: &str| pki.file(&format!("{name}.{end}"));
        let identity = Identity::load(&file("pem"), &file("key"), &pki.file("ca.pem")).expect("an identity");
        let options = QuicOptions {
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            max_sessions: SESSIONS,
        };
        let bind = "127.0.0.1:0".parse().expect("an address");
        Self(server_endpoint(bind, &identity, &options).expect("a UDP socket"))
    }

    /// Binds as a service of another kind that speaks QUIC: a web server with HTTP/3.
    pub fn of_another_kind() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["www.example".into()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut tls = rustls::ServerConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate with its key");
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicServerConfig::try_from(tls).expect("TLS that suits QUIC");
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let bind = "127.0.0.1:0".parse().expect("an address");
        Self(Endpoint::server(config, bind).expect("a UDP socket"))
    }

    /// Answers whoever comes, until it is dropped; nobody stays.
    pub fn answer(&self) -> JoinHandle<()> {
        let endpoint = self.0.clone();
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                // What came of it is the business of whoever came.
                let _ = incoming.await;
            }
        })
    }

    /// The same at this address, whose packets are tampered with.
    pub fn tampering(pki: &TestPki, bind: SocketAddr, tamper: impl Tamper) -> Self {
        let file = |end: &str| pki.file(&format!("{SERVER_NAME}.{end}"));
        let identity = Identity::load(&file("pem"), &file("key"), &pki.file("ca.pem")).expect("an identity");
        let mut config = tampering_server(identity.server_config(), tamper);
        let mut transport = TransportConfig::default();
        transport
            .send_window(1 << 26)
            .max_concurrent_bidi_streams(VarInt::from_u32(SESSIONS));
        config.transport_config(Arc::new(transport));
        Self(Endpoint::server(config, bind).expect("a UDP socket"))
    }

    /// Is gone, its port with it.
    pub async fn close(self) {
        self.0.close(VarInt::from_u32(0), b"");
        within(DEADLINE, "the endpoint is idle", self.0.wait_idle()).await;
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// The next agent.
    pub async fn accept(&self) -> Connection {
        within(DEADLINE, "an agent connects", async {
            loop {
                let incoming = self.0.accept().await.expect("the endpoint is open");
                // An agent may have let go of an attempt.
                if let Ok(connection) = incoming.await {
                    return connection;
                }
            }
        })
        .await
    }

    /// The next agent, to which it says that it is `software`.
    pub async fn serve(&self, software: &str) -> (Arc<Link>, JoinHandle<LinkEnd>) {
        let options = LinkOptions {
            hello: Hello {
                instance: 7,
                software: software.into(),
                max_sessions: SESSIONS,
                uptime: Duration::ZERO,
            },
            max_sessions: SESSIONS,
        };
        let windows = Budget::for_one_peer(1 << 24);
        let (link, driver) = Link::start(self.accept().await, options, windows.share());
        (link, tokio::spawn(driver))
    }
}

const SESSIONS: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(30);
