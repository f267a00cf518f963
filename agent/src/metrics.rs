//! What the agent counts, in the Prometheus text format.

use crate::refusals::Refusals;
use fluidity_wire::Kind;
use fluidity_wire::relay::RelayCounters;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Counters and gauges of one agent.
pub struct Metrics {
    registry: Registry,
    moved: Arc<RelayCounters>,
    bytes: Family<Direction, Counter>,
    active: Gauge,
    started: Family<KindLabel, Counter>,
    ended: Family<EndLabel, Counter>,
    not_opened: Family<ReasonLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    requests: Counter,
    clients: Gauge,
    connected: Gauge,
    reconnects: Counter,
    identity: Gauge,
    refusals: Refusals,
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
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("fluidity_agent");
        let metrics = Self {
            moved: Arc::default(),
            bytes: Family::default(),
            active: Gauge::default(),
            started: Family::default(),
            ended: Family::default(),
            not_opened: Family::default(),
            refused: Family::default(),
            requests: Counter::default(),
            clients: Gauge::default(),
            connected: Gauge::default(),
            reconnects: Counter::default(),
            identity: Gauge::default(),
            refusals: Refusals::default(),
            registry: Registry::default(),
        };
        registry.register("bytes", "Bytes moved by sessions", metrics.bytes.clone());
        registry.register("sessions_active", "Sessions that run", metrics.active.clone());
        registry.register(
            "sessions_started",
            "Sessions that were opened",
            metrics.started.clone(),
        );
        registry.register(
            "sessions_ended",
            "Sessions that ended, and how",
            metrics.ended.clone(),
        );
        registry.register(
            "sessions_not_opened",
            "Sessions that could not be opened, and why",
            metrics.not_opened.clone(),
        );
        registry.register("requests", "Requests that clients made", metrics.requests.clone());
        registry.register(
            "requests_refused",
            "Requests that the proxy answered itself",
            metrics.refused.clone(),
        );
        registry.register("clients", "Client connections", metrics.clients.clone());
        registry.register(
            "connected",
            "1 while the tunnel takes sessions",
            metrics.connected.clone(),
        );
        registry.register(
            "reconnects",
            "How often the tunnel was connected again",
            metrics.reconnects.clone(),
        );
        registry.register_with_unit(
            "identity_expires_timestamp",
            "When the certificate ends, in Unix time",
            Unit::Seconds,
            metrics.identity.clone(),
        );
        registry.register(
            "build",
            "The program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))].to_vec()),
        );
        Self { registry, ..metrics }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Bytes moved by all sessions, as they move.
    pub fn moved(&self) -> &Arc<RelayCounters> {
        &self.moved
    }

    /// A session was opened.
    pub fn session_started(&self, kind: Kind) {
        self.active.inc();
        self.started.get_or_create(&KindLabel { kind: kind.name() }).inc();
    }

    /// A session ended.
    pub fn session_ended(&self, kind: Kind, end: &'static str) {
        self.active.dec();
        self.ended
            .get_or_create(&EndLabel {
                kind: kind.name(),
                end,
            })
            .inc();
    }

    /// A session could not be opened.
    pub fn not_opened(&self, reason: &'static str) {
        self.not_opened.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A client made a request.
    pub fn request(&self) {
        self.requests.inc();
    }

    /// The proxy answered a request itself.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The requests that were refused lately.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// A client connected.
    pub fn client_came(&self) {
        self.clients.inc();
    }

    /// A client's connection ended.
    pub fn client_went(&self) {
        self.clients.dec();
    }

    /// The certificate in use ends then.
    pub fn identity(&self, not_after: SystemTime) {
        let since = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.identity
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// Sessions that run, and that were ever opened.
    pub fn sessions(&self) -> (i64, u64) {
        let opened = Kind::ALL
            .iter()
            .map(|kind| self.started.get_or_create(&KindLabel { kind: kind.name() }).get())
            .sum();
        (self.active.get(), opened)
    }

    /// Everything as text; the tunnel's own state is told by whoever knows it.
    pub fn render(&self, connected: bool, reconnects: u64) -> String {
        self.connected.set(i64::from(connected));
        raise(&self.reconnects, reconnects);
        for (direction, moved) in [("up", &self.moved.outward), ("down", &self.moved.inward)] {
            raise(
                &self.bytes.get_or_create(&Direction { direction }),
                moved.load(Ordering::Relaxed),
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::default();
        metrics.session_started(Kind::Connect);
        metrics.session_started(Kind::Http);
        metrics.session_ended(Kind::Http, "finished");
        metrics.moved().inward.fetch_add(5, Ordering::Relaxed);
        metrics.render(true, 2);
        let page = metrics.render(true, 2);
        for line in [
            "# TYPE fluidity_agent_sessions_active gauge",
            "fluidity_agent_sessions_active 1",
            "fluidity_agent_sessions_ended_total{kind=\"http\",end=\"finished\"} 1",
            "fluidity_agent_bytes_total{direction=\"down\"} 5",
            "fluidity_agent_connected 1",
            "fluidity_agent_reconnects_total 2",
            "# UNIT fluidity_agent_identity_expires_timestamp_seconds seconds",
            concat!(
                "fluidity_agent_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
        assert_eq!(metrics.sessions(), (1, 2));
    }
}
