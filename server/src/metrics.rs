//! What the server counts, in the Prometheus text format.

use fluidity_wire::Kind;
use fluidity_wire::relay::RelayCounters;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counters of one server. What is there at a moment is told by whoever knows it ([`Now`]).
pub struct Metrics {
    registry: Registry,
    moved: Arc<RelayCounters>,
    bytes: Family<Direction, Counter>,
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
            moved: Arc::default(),
            bytes: Family::default(),
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
        let mut all = Registry::with_prefix("fluidity_server");
        all.register("bytes", "Bytes moved by sessions", self.bytes.clone());
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
        all
    }

    /// Bytes moved by all sessions, as they move.
    pub fn moved(&self) -> &Arc<RelayCounters> {
        &self.moved
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
        self.connections
            .set(i64::try_from(now.connections).unwrap_or(i64::MAX));
        self.sessions.set(now.sessions.into());
        self.doubled.set(i64::try_from(now.doubled).unwrap_or(i64::MAX));
        self.failing.set(i64::try_from(now.failing).unwrap_or(i64::MAX));
        self.draining.set(now.draining.into());
        self.cut_off
            .inc_by(now.cut_off.saturating_sub(self.cut_off.get()));
        // Seen from the server, the tunnel is where bytes for a target come from.
        for (direction, moved) in [("up", &self.moved.inward), ("down", &self.moved.outward)] {
            let counter = self.bytes.get_or_create(&Direction { direction });
            counter.inc_by(moved.load(Ordering::Relaxed).saturating_sub(counter.get()));
        }
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

const DIAL_SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 3.0, 10.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::default();
        metrics.session_started(Kind::Connect, Duration::from_millis(3));
        metrics.session_ended(Kind::Connect, "finished");
        metrics.session_refused("denied-address");
        metrics.connection_rejected("handshake");
        metrics.moved().inward.fetch_add(7, Ordering::Relaxed);
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
            "fluidity_server_bytes_total{direction=\"up\"} 7",
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
