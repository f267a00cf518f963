//! What the agent shows on its admin listener.

use crate::config::SCHEMA;
use crate::lifecycle::{Accounts, Lifecycle};
use crate::metrics::{Metrics, Now};
use crate::tunnel::{Dialer, Phase, State};
use fluidity_daemon::admin::{AdminPages, Health};
use fluidity_daemon::shutdown::Shutdown;
use fluidity_wire::tls::AgentId;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tokio::time::Instant;

/// The agent's pages.
#[derive(Debug)]
pub struct Pages {
    /// Knows where the server is.
    pub dialer: Arc<Dialer>,
    /// The name in the server's certificate.
    pub server_name: String,
    /// How the tunnel stands.
    pub phase: watch::Receiver<Phase>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The server's life cycle, where there is a control plane.
    pub life: Option<Arc<Lifecycle>>,
    /// What it costs, likewise.
    pub accounts: Option<Arc<Accounts>>,
    /// Whether the agent stops.
    pub shutdown: Shutdown,
}

impl Pages {
    fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// The state by its name, and since when. A stop hides the tunnel's own: no client is taken any more.
    fn state(&self, phase: &Phase) -> (&'static str, Instant) {
        match self.shutdown.draining_since() {
            Some(since) => ("draining", since),
            None => (phase.state.name(), phase.since),
        }
    }
}

impl AdminPages for Pages {
    fn health(&self) -> Health {
        Health::Well(json!({ "status": "ok", "program": SCHEMA.program }))
    }

    fn ready(&self) -> Health {
        let phase = self.phase();
        let (state, since) = self.state(&phase);
        let said = json!({
            "state": state,
            "since_seconds": since.elapsed().as_secs(),
            "last_error": phase.last_error,
        });
        match phase.state {
            _ if self.shutdown.draining.is_cancelled() => Health::Unwell(said),
            State::Connected | State::Dormant => Health::Well(said),
            State::Waking | State::Connecting | State::Suspect | State::Disconnected => Health::Unwell(said),
        }
    }

    fn metrics(&self) -> String {
        let phase = self.phase();
        self.metrics.render(Now {
            state: self.state(&phase).0,
            connected: phase.state == State::Connected,
            reconnects: phase.reconnects,
            path: phase.path(),
            packets: self.dialer.paths().packets(),
        })
    }

    fn status(&self) -> Value {
        let phase = self.phase();
        let (active, total) = self.metrics.sessions();
        let moved = self.metrics.moved();
        let hello = phase.server.as_ref();
        let connected = phase.state == State::Connected;
        let (state, since) = self.state(&phase);
        let awake = phase
            .awake_since
            .map(|since| since.elapsed().unwrap_or_default().as_secs());
        let others = phase.others.as_ref().map(|others| {
            let names: Vec<_> = others.names.iter().map(AgentId::as_str).collect();
            json!({ "count": others.count, "agents": names, "same_name": others.same_name })
        });
        json!({
            "program": SCHEMA.program,
            "state": state,
            "since_seconds": since.elapsed().as_secs(),
            "server": {
                "address": self.dialer.address().map(|address| address.to_string()),
                "name": self.server_name,
                // As text: JSON readers round numbers beyond 2^53.
                "instance": hello.map(|hello| format!("{:016x}", hello.instance)),
                "software": hello.map(|hello| hello.software.as_str()),
                "awake_seconds": connected.then_some(awake).flatten(),
                "others": connected.then_some(others).flatten(),
            },
            "control_plane": self.life.as_deref().map(control_plane),
            "cost": self.accounts.as_ref().map(|accounts| accounts.cost()),
            "last_error": phase.last_error,
            "sessions": { "active": active, "total": total },
            "bytes": {
                "up": moved.outward.load(Ordering::Relaxed),
                "down": moved.inward.load(Ordering::Relaxed),
            },
            "reconnects": phase.reconnects,
            "refusals": self.metrics.refusals().render(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

fn control_plane(life: &Lifecycle) -> Value {
    let heard = life.heard();
    let answer = heard.as_ref().and_then(|heard| heard.said.as_ref().ok());
    json!({
        "state": answer.map(|answer| answer.state.name()),
        "message": answer.map(|answer| answer.message.as_str()),
        "error": heard.as_ref().and_then(|heard| heard.said.as_ref().err()),
        "asked_seconds_ago": heard.as_ref().map(|heard| heard.at.elapsed().as_secs()),
    })
}
