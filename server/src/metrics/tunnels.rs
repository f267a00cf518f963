//! What is told of agents' connections: their ways, all together.

use super::raise;
use fluidity_wire::{Path, Paths};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Of agents' connections.
#[derive(Default)]
pub(super) struct TunnelMetrics {
    paths: Arc<Paths>,
    rtt: Family<SpreadLabel, Gauge<f64, AtomicU64>>,
    window: Family<SpreadLabel, Gauge<f64, AtomicU64>>,
    sent: Counter,
    lost: Counter,
    congestion: Counter,
}

impl TunnelMetrics {
    /// Puts them on a page.
    pub(super) fn register(&self, all: &mut Registry) {
        all.register_with_unit(
            "tunnel_rtt",
            "The round trips of agents' connections, as QUIC estimates them",
            Unit::Seconds,
            self.rtt.clone(),
        );
        all.register_with_unit(
            "tunnel_congestion_window",
            "The congestion windows of agents' connections",
            Unit::Bytes,
            self.window.clone(),
        );
        let (sent, lost) = (self.sent.clone(), self.lost.clone());
        all.register(
            "tunnel_packets_sent",
            "UDP packets that were sent to agents",
            sent,
        );
        all.register(
            "tunnel_packets_lost",
            "UDP packets to agents that were lost",
            lost,
        );
        let congestion = self.congestion.clone();
        all.register(
            "tunnel_congestion_events",
            "How often a congestion window was made smaller",
            congestion,
        );
    }

    /// What QUIC knows of them.
    pub(super) const fn paths(&self) -> &Arc<Paths> {
        &self.paths
    }

    /// What QUIC knows is brought up to date.
    pub(super) fn set(&self) {
        let open = self.paths.open();
        spread(&self.rtt, open.iter().map(|path| path.rtt.as_secs_f64()));
        let window = |path: &Path| f64::from(u32::try_from(path.window).unwrap_or(u32::MAX));
        spread(&self.window, open.iter().map(window));
        let packets = self.paths.packets();
        raise(&self.sent, packets.sent);
        raise(&self.lost, packets.lost);
        raise(&self.congestion, packets.congestion_events);
    }
}

/// Which of all connections' values it is. There is none for each connection: a server may have very many.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SpreadLabel {
    of: &'static str,
}

/// The least, the mean and the most; nothing where there is nothing.
fn spread(gauges: &Family<SpreadLabel, Gauge<f64, AtomicU64>>, values: impl Iterator<Item = f64> + Clone) {
    gauges.clear();
    let Some(least) = values.clone().reduce(f64::min) else {
        return;
    };
    let count = values.clone().map(|_| 1.0).sum::<f64>();
    let mean = values.clone().sum::<f64>() / count;
    let most = values.fold(least, f64::max);
    for (of, value) in [("least", least), ("mean", mean), ("most", most)] {
        gauges.get_or_create(&SpreadLabel { of }).set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;

    #[test]
    fn many_connections_are_three_numbers_and_none_are_none() {
        let metrics = TunnelMetrics::default();
        let mut registry = Registry::with_prefix("fluidity_server");
        metrics.register(&mut registry);
        let text = || {
            let mut page = String::new();
            text::encode(&mut page, &registry).unwrap();
            page
        };
        spread(&metrics.rtt, [0.5, 0.25, 1.5].into_iter());
        for line in [
            "fluidity_server_tunnel_rtt_seconds{of=\"least\"} 0.25",
            "fluidity_server_tunnel_rtt_seconds{of=\"mean\"} 0.75",
            "fluidity_server_tunnel_rtt_seconds{of=\"most\"} 1.5",
        ] {
            assert!(text().lines().any(|found| found == line), "{}", text());
        }
        spread(&metrics.rtt, std::iter::empty());
        assert!(!text().contains("tunnel_rtt"), "{}", text());
    }
}
