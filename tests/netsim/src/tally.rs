//! What one direction counts, for `stats`. Reading resets it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Shared between the direction's thread and the control socket's.
#[derive(Default)]
pub struct Tally {
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    pub udp_bytes: AtomicU64,
    pub blocked: AtomicU64,
    pub above_mtu: AtomicU64,
    pub policed: AtomicU64,
    pub tail_dropped: AtomicU64,
    pub lost: AtomicU64,
    waits: AtomicU64,
    wait_sum: AtomicU64,
    wait_most: AtomicU64,
}

impl Tally {
    /// A packet that waited before the bottleneck.
    pub fn waited(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        add(&self.waits, 1);
        add(&self.wait_sum, micros);
        self.wait_most.fetch_max(micros, Relaxed);
    }

    /// One JSON object of what came since the last time.
    pub fn take(&self) -> String {
        let counts = [
            ("packets", &self.packets),
            ("bytes", &self.bytes),
            ("udp_bytes", &self.udp_bytes),
            ("blocked", &self.blocked),
            ("above_mtu", &self.above_mtu),
            ("policed", &self.policed),
            ("tail_dropped", &self.tail_dropped),
            ("lost", &self.lost),
        ];
        let mut fields: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("\"{name}\":{}", count.swap(0, Relaxed)))
            .collect();
        let (waits, sum) = (self.waits.swap(0, Relaxed), self.wait_sum.swap(0, Relaxed));
        let most = self.wait_most.swap(0, Relaxed);
        let mean = sum as f64 / 1e3 / waits.max(1) as f64;
        fields.push(format!("\"queue_ms\":{mean:.2}"));
        fields.push(format!("\"queue_most_ms\":{:.2}", most as f64 / 1e3));
        format!("{{{}}}", fields.join(","))
    }
}

/// Counts.
pub fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_reset() {
        let tally = Tally::default();
        add(&tally.packets, 3);
        tally.waited(Duration::from_millis(10));
        tally.waited(Duration::from_millis(20));
        let told = tally.take();
        assert!(told.contains("\"packets\":3,"), "{told}");
        assert!(
            told.contains("\"queue_ms\":15.00,\"queue_most_ms\":20.00"),
            "{told}"
        );
        assert!(tally.take().contains("\"packets\":0,"));
    }
}
