//! What the server shows on its admin listener.

use crate::config::SCHEMA;
use crate::connection::House;
use crate::metrics::Now;
use crate::roster::Connected;
use fluidity_daemon::admin::{AdminPages, Health};
use fluidity_wire::tls::AgentId;
use serde_json::{Value, json};
use std::sync::Arc;

/// The server's pages.
#[derive(Debug)]
pub struct Pages {
    house: Arc<House>,
}

impl Pages {
    /// Pages of this house.
    pub const fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    fn state(&self) -> &'static str {
        match self.house.services.shutdown.draining.is_cancelled() {
            true => "draining",
            false => "serving",
        }
    }
}

impl AdminPages for Pages {
    fn health(&self) -> Health {
        Health::Well(json!({ "status": "ok", "program": SCHEMA.program }))
    }

    fn ready(&self) -> Health {
        let said = json!({ "state": self.state() });
        match self.house.services.shutdown.draining.is_cancelled() {
            true => Health::Unwell(said),
            false => Health::Well(said),
        }
    }

    fn metrics(&self) -> String {
        let House { roster, services, .. } = self.house.as_ref();
        services.metrics.render(Now {
            connections: roster.connections(),
            sessions: roster.sessions(),
            doubled: self.house.doubled().len(),
            failing: services.dialer.breakers().failing(),
            cut_off: self.house.guard.cut_off(),
            draining: u8::from(services.shutdown.draining.is_cancelled()),
        })
    }

    fn status(&self) -> Value {
        let House {
            roster,
            services,
            link,
            started,
            ..
        } = self.house.as_ref();
        let moved = services.metrics.traffic().total();
        let connections: Vec<_> = roster.connected().iter().map(connection).collect();
        let doubled: Vec<_> = self.house.doubled().iter().map(AgentId::to_string).collect();
        json!({
            "program": SCHEMA.program,
            "state": self.state(),
            "since_seconds": started.elapsed().as_secs(),
            // As text: JSON readers round numbers beyond 2^53.
            "instance": format!("{:016x}", link.hello.instance),
            "connections": connections,
            "doubled_identities": doubled,
            "sessions": { "active": roster.sessions(), "total": services.metrics.sessions_started() },
            "bytes": { "up": moved.up, "down": moved.down },
            "memory": self.house.guard.status(),
            "targets_failing": services.dialer.breakers().failing(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

fn connection(connected: &Connected) -> Value {
    json!({
        "id": connected.id,
        "agent": connected.agent.as_str(),
        "instance": connected.instance.map(|instance| format!("{instance:016x}")),
        "peer": connected.peer.to_string(),
        "since_seconds": connected.since.elapsed().as_secs(),
        "sessions": connected.sessions,
    })
}
