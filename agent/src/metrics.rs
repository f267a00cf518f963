//! What the agent counts, in the OpenMetrics text format.

mod tunnel;

pub use tunnel::Held;

use crate::refusals::Refusals;
use fluidity_wire::relay::RelayCounters;
use fluidity_wire::{Kind, Packets, Path};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tunnel::TunnelMetrics;

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
    tunnel: TunnelMetrics,
    refusals: Refusals,
    /// One page at a time: counters that are kept elsewhere are brought up to it.
    rendering: Mutex<()>,
}

/// What there is at the moment, by those who know it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The state's name, as the status has it.
    pub state: &'static str,
    /// Whether the tunnel takes sessions.
    pub connected: bool,
    /// How often it was connected again.
    pub reconnects: u64,
    /// The way of its connection, where there is one.
    pub path: Option<Path>,
    /// Of all its connections until now.
    pub packets: Packets,
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
        let mut all = Registry::with_prefix("fluidity");
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
            tunnel: TunnelMetrics::default(),
            rendering: Mutex::default(),
            refusals: Refusals::default(),
            registry: Registry::default(),
        };
        // Its name is its unit: fluidity_agent_bytes.
        all.register_with_unit(
            "agent",
            "Bytes moved by sessions",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        let registry = all.sub_registry_with_prefix("agent");
        metrics.tunnel.register(registry);
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
        Self {
            registry: all,
            ..metrics
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A request has to wait for the tunnel, for as long as the guard lives.
    pub fn request_held(&self) -> Held {
        self.tunnel.hold()
    }

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

    /// Everything as text.
    pub fn render(&self, now: Now) -> String {
        let _one = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.connected.set(i64::from(now.connected));
        raise(&self.reconnects, now.reconnects);
        self.tunnel.set(now);
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
    use std::time::Duration;

    #[test]
    fn what_was_counted_is_on_the_page() {
        let metrics = Metrics::default();
        metrics.session_started(Kind::Connect);
        metrics.session_started(Kind::Http);
        metrics.session_ended(Kind::Http, "finished");
        metrics.moved().inward.fetch_add(5, Ordering::Relaxed);
        let held = metrics.request_held();
        drop(metrics.request_held());
        let now = Now {
            state: "connected",
            connected: true,
            reconnects: 2,
            path: Some(Path {
                rtt: Duration::from_millis(25),
                window: 12_000,
            }),
            packets: Packets {
                sent: 9,
                lost: 1,
                congestion_events: 3,
            },
        };
        metrics.render(now);
        let page = metrics.render(now);
        for line in [
            "# TYPE fluidity_agent_sessions_active gauge",
            "fluidity_agent_sessions_active 1",
            "fluidity_agent_sessions_ended_total{kind=\"http\",end=\"finished\"} 1",
            "fluidity_agent_bytes_total{direction=\"down\"} 5",
            "fluidity_agent_connected 1",
            "# UNIT fluidity_agent_bytes bytes",
            "fluidity_agent_tunnel_state{state=\"connected\"} 1",
            "fluidity_agent_tunnel_state{state=\"dormant\"} 0",
            "fluidity_agent_tunnel_state{state=\"draining\"} 0",
            "fluidity_agent_tunnel_rtt_seconds 0.025",
            "fluidity_agent_tunnel_congestion_window_bytes 12000.0",
            "fluidity_agent_tunnel_packets_sent_total 9",
            "fluidity_agent_tunnel_packets_lost_total 1",
            "fluidity_agent_tunnel_congestion_events_total 3",
            "fluidity_agent_requests_held 1",
            "# UNIT fluidity_agent_tunnel_wait_seconds seconds",
            "fluidity_agent_tunnel_wait_seconds_count 1",
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
        drop(held);
        let page = metrics.render(Now::default());
        assert!(page.contains("fluidity_agent_requests_held 0\n"), "{page}");
        // Without a connection there is no round trip, and no zero in its place.
        for absent in ["tunnel_rtt", "tunnel_congestion_window"] {
            assert!(!page.contains(absent), "{page}");
        }
    }
}
