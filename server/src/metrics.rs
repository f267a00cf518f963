//! What the server counts, in the OpenMetrics text format.

mod tunnels;

use crate::traffic::Traffic;
use fluidity_wire::{Kind, Paths};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tunnels::TunnelMetrics;

/// Counters of one server. What is there at a moment is told by whoever knows it ([`Now`]).
pub struct Metrics {
    registry: Registry,
    traffic: Traffic,
    tunnels: TunnelMetrics,
    bytes: Family<Direction, Counter>,
    agents: Family<AgentLabel, Counter>,
    started: Family<KindLabel, Counter>,
    ended: Family<EndLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    accepted: Counter,
    rejected: Family<ReasonLabel, Counter>,
    dialled: Histogram,
    published: Family<OutcomeLabel, Counter>,
    connections: Gauge,
    sessions: Gauge,
    doubled: Gauge,
    failing: Gauge,
    cut_off: Counter,
    draining: Gauge,
    identity: Gauge,
    /// One page at a time: counters that are kept elsewhere are brought up to it.
    rendering: Mutex<()>,
}

/// What is there at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Agents' connections.
    pub connections: usize,
    /// Sessions, those that are being opened among them.
    pub sessions: u32,
    /// Agents' names that several programs use at once.
    pub doubled: usize,
    /// Targets that failed last.
    pub failing: usize,
    /// How often an agent was cut off for the memory that it took.
    pub cut_off: u64,
    /// 1 while the server stops.
    pub draining: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AgentLabel {
    agent: String,
    direction: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabel {
    kind: &'static str,
    end: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            traffic: Traffic::default(),
            tunnels: TunnelMetrics::default(),
            bytes: Family::default(),
            agents: Family::default(),
            started: Family::default(),
            ended: Family::default(),
            refused: Family::default(),
            accepted: Counter::default(),
            rejected: Family::default(),
            dialled: Histogram::new(DIAL_SECONDS),
            published: Family::default(),
            connections: Gauge::default(),
            sessions: Gauge::default(),
            doubled: Gauge::default(),
            failing: Gauge::default(),
            cut_off: Counter::default(),
            draining: Gauge::default(),
            identity: Gauge::default(),
            rendering: Mutex::default(),
        };
        let registry = metrics.register();
        Self { registry, ..metrics }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("fluidity");
        // Its name is its unit: fluidity_server_bytes.
        let bytes = self.bytes.clone();
        registry.register_with_unit("server", "Bytes moved by sessions", Unit::Bytes, bytes);
        let all = registry.sub_registry_with_prefix("server");
        let agents = self.agents.clone();
        all.register_with_unit(
            "agent",
            "Bytes moved by each agent's sessions",
            Unit::Bytes,
            agents,
        );
        self.tunnels.register(all);
        all.register("sessions", "Sessions at the moment", self.sessions.clone());
        let started = self.started.clone();
        all.register("sessions_started", "Sessions whose target was reached", started);
        all.register(
            "sessions_ended",
            "Sessions that ended, and how",
            self.ended.clone(),
        );
        let refused = self.refused.clone();
        all.register("sessions_refused", "Sessions that were refused, and why", refused);
        let connections = self.connections.clone();
        all.register("connections", "Agents' connections at the moment", connections);
        let accepted = self.accepted.clone();
        all.register("connections_accepted", "Agents' connections", accepted);
        let rejected = self.rejected.clone();
        all.register(
            "connections_rejected",
            "Connections that were not served, and why",
            rejected,
        );
        let doubled = self.doubled.clone();
        all.register(
            "doubled_identities",
            "Agents' names that several programs use at once",
            doubled,
        );
        let dialled = self.dialled.clone();
        all.register_with_unit("dial", "How long reaching a target took", Unit::Seconds, dialled);
        let published = self.published.clone();
        all.register(
            "activity_publications",
            "How often CloudWatch was told of activity, and whether it took it",
            published,
        );
        let failing = self.failing.clone();
        all.register(
            "targets_failing",
            "Targets that could not be reached last",
            failing,
        );
        let cut_off = self.cut_off.clone();
        all.register(
            "agents_cut_off",
            "How often an agent was cut off for the memory that it took",
            cut_off,
        );
        let identity = self.identity.clone();
        all.register_with_unit(
            "identity_expires_timestamp",
            "When the certificate ends, in Unix time",
            Unit::Seconds,
            identity,
        );
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        all.register("build", "The program", Info::new(version.to_vec()));
        let draining = self.draining.clone();
        all.register("draining", "1 while the server stops", draining);
        registry
    }

    /// Bytes moved by sessions, as they move.
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What QUIC knows of agents' connections.
    pub fn paths(&self) -> &Arc<Paths> {
        self.tunnels.paths()
    }

    /// A session's target was reached.
    pub fn session_started(&self, kind: Kind, took: Duration) {
        self.started.get_or_create(&KindLabel { kind: kind.name() }).inc();
        self.dialled.observe(took.as_secs_f64());
    }

    /// A session that was started ended.
    pub fn session_ended(&self, kind: Kind, end: &'static str) {
        let label = EndLabel {
            kind: kind.name(),
            end,
        };
        self.ended.get_or_create(&label).inc();
    }

    /// A session was refused.
    pub fn session_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// An agent connected.
    pub fn connection_accepted(&self) {
        self.accepted.inc();
    }

    /// A connection was not served.
    pub fn connection_rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The certificate in use ends then.
    pub fn identity(&self, not_after: SystemTime) {
        let since = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.identity
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// CloudWatch was told of activity.
    pub fn activity_published(&self) {
        self.published
            .get_or_create(&OutcomeLabel { outcome: "taken" })
            .inc();
    }

    /// CloudWatch could not be told of activity.
    pub fn activity_failed(&self) {
        self.published
            .get_or_create(&OutcomeLabel { outcome: "failed" })
            .inc();
    }

    /// Sessions that were ever started.
    pub fn sessions_started(&self) -> u64 {
        let of = |kind: &Kind| self.started.get_or_create(&KindLabel { kind: kind.name() }).get();
        Kind::ALL.iter().map(of).sum()
    }

    /// Everything as text.
    pub fn render(&self, now: Now) -> String {
        let _one = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.connections
            .set(i64::try_from(now.connections).unwrap_or(i64::MAX));
        self.sessions.set(now.sessions.into());
        self.doubled.set(i64::try_from(now.doubled).unwrap_or(i64::MAX));
        self.failing.set(i64::try_from(now.failing).unwrap_or(i64::MAX));
        self.draining.set(now.draining.into());
        raise(&self.cut_off, now.cut_off);
        let total = self.traffic.total();
        for (direction, bytes) in [("up", total.up), ("down", total.down)] {
            raise(&self.bytes.get_or_create(&Direction { direction }), bytes);
        }
        for (agent, moved) in self.traffic.by_agent() {
            for (direction, bytes) in [("up", moved.up), ("down", moved.down)] {
                let agent = agent.clone();
                raise(
                    &self.agents.get_or_create(&AgentLabel { agent, direction }),
                    bytes,
                );
            }
        }
        self.tunnels.set();
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

const DIAL_SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 3.0, 10.0];

#[cfg(test)]
mod tests {
    use super::*;
    use fluidity_wire::tls::AgentId;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::default();
        metrics.session_started(Kind::Connect, Duration::from_millis(3));
        metrics.session_ended(Kind::Connect, "finished");
        metrics.session_refused("denied-address");
        metrics.connection_rejected("handshake");
        let agent = AgentId::parse("laptop").unwrap();
        metrics
            .traffic()
            .of(&agent)
            .inward
            .fetch_add(7, Ordering::Relaxed);
        let now = Now {
            connections: 2,
            sessions: 3,
            doubled: 1,
            failing: 4,
            cut_off: 5,
            draining: 1,
        };
        metrics.render(now);
        let page = metrics.render(now);
        for line in [
            "# TYPE fluidity_server_sessions gauge",
            "fluidity_server_connections 2",
            "fluidity_server_sessions 3",
            "fluidity_server_doubled_identities 1",
            "fluidity_server_targets_failing 4",
            "fluidity_server_agents_cut_off_total 5",
            "fluidity_server_draining 1",
            "fluidity_server_sessions_started_total{kind=\"connect\"} 1",
            "fluidity_server_sessions_ended_total{kind=\"connect\",end=\"finished\"} 1",
            "fluidity_server_sessions_refused_total{reason=\"denied-address\"} 1",
            "fluidity_server_connections_rejected_total{reason=\"handshake\"} 1",
            "# UNIT fluidity_server_bytes bytes",
            "fluidity_server_bytes_total{direction=\"up\"} 7",
            "# UNIT fluidity_server_agent_bytes bytes",
            "fluidity_server_agent_bytes_total{agent=\"laptop\",direction=\"up\"} 7",
            "fluidity_server_tunnel_packets_lost_total 0",
            "# UNIT fluidity_server_dial_seconds seconds",
            "fluidity_server_dial_seconds_count 1",
            "# UNIT fluidity_server_identity_expires_timestamp_seconds seconds",
            concat!(
                "fluidity_server_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
        assert_eq!(metrics.sessions_started(), 1);
    }
}
