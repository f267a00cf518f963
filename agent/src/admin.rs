//! What the agent shows on its admin listener.

use crate::config::Config;
use crate::metrics::Metrics;
use crate::tunnel::{Phase, State};
use fluidity_daemon::admin::{AdminPages, Health};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// The agent's pages.
#[derive(Debug)]
pub struct Pages {
    server: String,
    name: String,
    phase: watch::Receiver<Phase>,
    metrics: Arc<Metrics>,
}

impl Pages {
    /// Pages of an agent with this configuration.
    pub fn new(config: &Config, phase: watch::Receiver<Phase>, metrics: Arc<Metrics>) -> Self {
        Self {
            server: config.server.address.to_string(),
            name: config.server.name.clone(),
            phase,
            metrics,
        }
    }

    fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }
}

impl AdminPages for Pages {
    fn health(&self) -> Health {
        Health::Well(json!({ "status": "ok" }))
    }

    fn ready(&self) -> Health {
        let phase = self.phase();
        let said = json!({
            "state": phase.state.name(),
            "since_seconds": phase.since.elapsed().as_secs(),
            "last_error": phase.last_error,
        });
        match phase.state {
            State::Connected => Health::Well(said),
            State::Connecting | State::Suspect | State::Disconnected => Health::Unwell(said),
        }
    }

    fn metrics(&self) -> String {
        let phase = self.phase();
        self.metrics
            .render(phase.state == State::Connected, phase.reconnects)
    }

    fn status(&self) -> Value {
        let phase = self.phase();
        let (active, total) = self.metrics.sessions();
        let moved = self.metrics.moved();
        let hello = phase.server.as_ref();
        json!({
            "state": phase.state.name(),
            "since_seconds": phase.since.elapsed().as_secs(),
            "server": {
                "address": self.server,
                "name": self.name,
                // As text: JSON readers round numbers beyond 2^53.
                "instance": hello.map(|hello| format!("{:016x}", hello.instance)),
                "software": hello.map(|hello| hello.software.as_str()),
            },
            "last_error": phase.last_error,
            "sessions": { "active": active, "total": total },
            "bytes": {
                "up": moved.outward.load(Ordering::Relaxed),
                "down": moved.inward.load(Ordering::Relaxed),
            },
            "reconnects": phase.reconnects,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}
