//! What every Fluidity daemon is around the tunnel: layered settings, secrets, logs, signals, the runtime,
//! the admin listener, the limits of the process.
//!
//! Nothing in here knows the protocol; `docs/adr/0006-daemon-crate.md` says why it is a crate of its own.

pub mod admin;
pub mod descriptors;
pub mod escape;
pub mod exposition;
pub mod hangup;
pub mod hardening;
pub mod listen;
pub mod logs;
pub mod memory;
pub mod output;
pub mod ports;
pub mod process;
pub mod quota;
pub mod recent;
pub mod runtime;
pub mod secret;
pub mod settings;
pub mod shutdown;
pub mod units;
