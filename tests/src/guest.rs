//! A connection of an agent that says when it introduces itself: built on the wire crate, in the hands of a test.

use crate::pki::{SERVER_NAME, TestPki};
use crate::wait::within;
use fluidity_wire::quic::{QuicOptions, client_config, client_endpoint};
use fluidity_wire::tls::Identity;
use fluidity_wire::{Budget, Hello, Link, LinkEnd, LinkOptions, Others};
use quinn::{Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A connection that has said nothing yet.
#[derive(Debug)]
pub struct Guest {
    connection: Connection,
    endpoint: Endpoint,
}

/// One that has introduced itself. Closed when it is dropped.
#[derive(Debug)]
pub struct Introduced {
    link: Arc<Link>,
    driver: JoinHandle<LinkEnd>,
    /// Its connection ends with it.
    _endpoint: Endpoint,
}

impl Guest {
    /// Connects with the identity that the CA issued to the agent `name`.
    pub async fn connect(pki: &TestPki, name: &str, server: SocketAddr) -> Self {
        let file = |end: &str| pki.file(&format!("{name}.{end}"));
        let identity = Identity::load(&file("pem"), &file("key"), &pki.file("ca.pem")).expect("an identity");
        let options = QuicOptions {
            idle_timeout: DEADLINE,
            keep_alive: Some(Duration::from_secs(1)),
            max_sessions: 0,
        };
        let endpoint = client_endpoint("127.0.0.1:0".parse().expect("an address")).expect("a UDP socket");
        let config = client_config(&identity, &options).expect("TLS that suits QUIC");
        let connecting = endpoint
            .connect_with(config, server, SERVER_NAME)
            .expect("connect");
        let connection = within(DEADLINE, "the handshake ends", connecting)
            .await
            .expect("a connection");
        Self { connection, endpoint }
    }

    /// Says which process it belongs to.
    pub fn introduce(self, instance: u64) -> Introduced {
        let hello = Hello {
            instance,
            software: "guest".into(),
            max_sessions: 0,
            uptime: Duration::ZERO,
        };
        let options = LinkOptions {
            hello,
            max_sessions: 0,
        };
        let windows = Budget::for_one_peer(1 << 24);
        let (link, driver) = Link::start(self.connection, options, windows.share());
        Introduced {
            link,
            driver: tokio::spawn(driver),
            _endpoint: self.endpoint,
        }
    }
}

impl Introduced {
    /// What the server said last of who else is there.
    pub fn others(&self) -> Option<Others> {
        self.link.peer().borrow().others.clone()
    }
}

impl Drop for Introduced {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

const DEADLINE: Duration = Duration::from_secs(30);
