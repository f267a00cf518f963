//! `fluidity` as a process.

use crate::daemon::{Daemon, Exit};
use crate::pki::{AGENT_NAME, SERVER_NAME, TestPki};
use crate::server::log_level;
use crate::settings::Settings;
use serde_json::json;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

/// A running agent.
#[derive(Debug)]
pub struct TestAgent(Daemon);

impl TestAgent {
    /// A configuration on loopback, ports chosen by the system, for the server at `server`.
    pub fn settings(pki: &TestPki, server: SocketAddr) -> Settings {
        Settings::new(json!({
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "server": { "address": server.to_string(), "name": SERVER_NAME },
            "identity": pki.identity(AGENT_NAME),
            "log": { "level": log_level() },
        }))
    }

    /// Starts it; it may not be connected yet.
    pub async fn start(settings: &Settings) -> Self {
        Self::start_with(settings, &[]).await
    }

    /// The same with more in its environment.
    pub async fn start_with(settings: &Settings, env: &[(String, String)]) -> Self {
        Self(Daemon::start("fluidity", &settings.text(), env).await)
    }

    /// Where clients connect.
    pub fn proxy(&self) -> SocketAddr {
        self.port("proxy")
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

impl Deref for TestAgent {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}
