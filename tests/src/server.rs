//! `fluidity-server` as a process.

use crate::daemon::{Daemon, Exit};
use crate::pki::{SERVER_NAME, TestPki};
use crate::settings::Settings;
use serde_json::json;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

/// A running server.
#[derive(Debug)]
pub struct TestServer(Daemon);

impl TestServer {
    /// A configuration on loopback, ports chosen by the system, with this CA's server identity.
    pub fn settings(pki: &TestPki) -> Settings {
        Settings::new(json!({
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "identity": pki.identity(SERVER_NAME),
            "log": { "level": log_level() },
        }))
    }

    /// Starts it and waits until it is ready.
    pub async fn start(settings: &Settings) -> Self {
        Self::start_with(settings, &[]).await
    }

    /// The same with more in its environment.
    pub async fn start_with(settings: &Settings, env: &[(String, String)]) -> Self {
        let daemon = Daemon::start("fluidity-server", &settings.text(), env).await;
        daemon.ready(Duration::from_secs(10)).await;
        Self(daemon)
    }

    /// The same with so many open files at the most.
    pub async fn start_with_open_files(settings: &Settings, most: u32) -> Self {
        let daemon = Daemon::start_with_open_files("fluidity-server", &settings.text(), most).await;
        daemon.ready(Duration::from_secs(10)).await;
        Self(daemon)
    }

    /// Where it speaks QUIC.
    pub fn quic(&self) -> SocketAddr {
        self.port("quic")
    }

    /// SIGKILL.
    pub async fn kill(self) {
        self.0.kill().await;
    }

    /// Waits until it ends by itself.
    pub async fn exit(self, deadline: Duration) -> (Exit, String) {
        self.0.exit(deadline).await
    }
}

impl Deref for TestServer {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

pub(crate) fn log_level() -> String {
    std::env::var("FLUIDITY_TEST_LOG").unwrap_or_else(|_| "info".to_owned())
}
