//! Congestion control by a model of the path: as much in flight as its bandwidth and delay hold, and little more.
//!
//! The engine paces by the window and the smoothed RTT, so the window is all that this controller sets. `model` is the
//! model; this file is what the engine sees of it. `docs/adr/0020-window-from-the-delay-without-our-queue.md` says why.

mod delay;
mod model;
#[cfg(test)]
mod path;
#[cfg(test)]
mod tests;

use model::{Arrived, INITIAL_WINDOW, Model};
use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// Makes a model for each path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelConfig;

impl ControllerFactory for ModelConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Model::new(now, mtu))
    }
}

impl Controller for Model {
    fn on_sent(&mut self, now: Instant, bytes: u64, _: u64) {
        self.sent(now, bytes);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _: &RttEstimator) {
        let idle = app_limited;
        self.acknowledged(now, Arrived { sent, bytes, idle });
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _: bool, _: Option<u64>) {
        self.settle(now, in_flight);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        self.lost(sent, lost);
        if persistent {
            self.forget(now);
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.resized(mtu);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        INITIAL_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Exact up to 2^53 bytes.
#[expect(clippy::as_conversions, reason = "there is no other way from an integer")]
fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// Rounds down; what is too large, or no number, ends at the nearest.
#[expect(clippy::as_conversions, reason = "there is no other way to an integer")]
fn integer(bytes: f64) -> u64 {
    bytes as u64
}
