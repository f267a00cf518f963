//! What is told of the tunnel: its state, its way, and the requests that wait for it.

use super::{Now, raise};
use crate::tunnel::State;
use fluidity_wire::Path;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::AtomicU64;
use tokio::time::Instant;

/// Of the tunnel.
pub(super) struct TunnelMetrics {
    state: Family<StateLabel, Gauge>,
    rtt: Known,
    window: Known,
    sent: Counter,
    lost: Counter,
    congestion: Counter,
    held: Gauge,
    waited: Histogram,
}

impl Default for TunnelMetrics {
    fn default() -> Self {
        Self {
            state: Family::default(),
            rtt: Known::default(),
            window: Known::default(),
            sent: Counter::default(),
            lost: Counter::default(),
            congestion: Counter::default(),
            held: Gauge::default(),
            waited: Histogram::new(WAIT_SECONDS),
        }
    }
}

impl TunnelMetrics {
    /// Puts them on a page.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tunnel_state",
            "1 for the state that the tunnel is in, 0 for all others",
            self.state.clone(),
        );
        registry.register_with_unit(
            "tunnel_rtt",
            "The round trip of the tunnel's connection, as QUIC estimates it",
            Unit::Seconds,
            self.rtt.clone(),
        );
        registry.register_with_unit(
            "tunnel_congestion_window",
            "The congestion window of the tunnel's connection",
            Unit::Bytes,
            self.window.clone(),
        );
        registry.register(
            "tunnel_packets_sent",
            "UDP packets that were sent to the server",
            self.sent.clone(),
        );
        registry.register(
            "tunnel_packets_lost",
            "UDP packets to the server that were lost",
            self.lost.clone(),
        );
        registry.register(
            "tunnel_congestion_events",
            "How often a congestion window was made smaller",
            self.congestion.clone(),
        );
        registry.register(
            "requests_held",
            "Requests that wait for the tunnel",
            self.held.clone(),
        );
        registry.register_with_unit(
            "tunnel_wait",
            "How long requests waited for the tunnel, of those that had to",
            Unit::Seconds,
            self.waited.clone(),
        );
    }

    /// A request has to wait.
    pub(super) fn hold(&self) -> Held {
        self.held.inc();
        Held {
            since: Instant::now(),
            held: self.held.clone(),
            waited: self.waited.clone(),
        }
    }

    /// What others know is brought up to date.
    pub(super) fn set(&self, now: Now) {
        for state in State::ALL.map(State::name).into_iter().chain(["draining"]) {
            let gauge = self.state.get_or_create(&StateLabel { state });
            gauge.set(i64::from(state == now.state));
        }
        self.rtt.set(now.path.map(|path| path.rtt.as_secs_f64()));
        let window = |path: Path| f64::from(u32::try_from(path.window).unwrap_or(u32::MAX));
        self.window.set(now.path.map(window));
        raise(&self.sent, now.packets.sent);
        raise(&self.lost, now.packets.lost);
        raise(&self.congestion, now.packets.congestion_events);
    }
}

/// A number that is not on the page at times.
#[derive(Clone, Debug, Default)]
struct Known(Gauge<f64, AtomicU64>);

impl Known {
    fn set(&self, value: Option<f64>) {
        self.0.set(value.unwrap_or(f64::NAN));
    }
}

impl EncodeMetric for Known {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.get().is_nan()
    }
}

/// A request that waits for the tunnel, counted until it is dropped.
#[derive(Debug)]
pub struct Held {
    since: Instant,
    held: Gauge,
    waited: Histogram,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.dec();
        self.waited.observe(self.since.elapsed().as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

const WAIT_SECONDS: [f64; 10] = [0.01, 0.05, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 60.0];
