//! The crate on real sockets: QUIC between two ends on loopback, and TCP behind each of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bench;
mod certificates;
mod control;
mod credit;
mod link;
mod relay;
mod relay_cuts;
mod relay_early;
mod stream;
