//! The window of a TCP connection with CUBIC (RFC 9438) and HyStart, as a competitor.

use super::MTU;

/// The state of CUBIC.
#[derive(Clone, Copy)]
pub(in super::super) struct Cubic {
    window: f64,
    threshold: f64,
    most: f64,
    epoch: Option<f64>,
    recovery: f64,
    least: f64,
}

impl Cubic {
    pub(in super::super) const fn new() -> Self {
        Self {
            window: 10.0 * MTU,
            threshold: f64::MAX,
            most: 0.0,
            epoch: None,
            recovery: -1.0,
            least: f64::MAX,
        }
    }

    pub(super) fn window(self) -> f64 {
        self.window
    }

    pub(super) fn acknowledged(&mut self, now: f64, sent: f64, rtt: f64) {
        let took = now - sent;
        self.least = self.least.min(took);
        if sent < self.recovery {
            return;
        }
        if self.window < self.threshold {
            self.window += MTU;
            if took > self.least + (self.least / 8.0).clamp(0.004, 0.016) {
                self.threshold = self.window;
            }
            return;
        }
        let time = now - *self.epoch.get_or_insert(now) + rtt;
        let plateau = (self.most / MTU * 0.3 / 0.4).cbrt();
        let target = (0.4 * (time - plateau).powi(3) + self.most / MTU) * MTU;
        let target = target.clamp(self.window, self.window * 1.5);
        self.window += (target - self.window) / self.window * MTU;
    }

    pub(super) fn lost(&mut self, now: f64, sent: f64) {
        if sent >= self.recovery {
            self.recovery = now;
            self.most = self.window;
            self.window = (self.window * 0.7).max(2.0 * MTU);
            self.threshold = self.window;
            self.epoch = None;
        }
    }
}
