//! The harness of the end-to-end tests: the real binaries as processes, origins and clients on real sockets.
//!
//! Rules: every bind is on port 0; every wait is on a condition, with a deadline ([`within`], [`until`]); whatever
//! is started is stopped on drop; a failing test shows the logs of its daemons. The crate links none of the
//! daemons: what is tested is what ships.

mod agent;
mod clients;
mod cloud;
mod collector;
mod commands;
mod daemon;
mod dns;
mod exposition;
mod guest;
mod hostile;
mod http;
#[cfg(target_os = "linux")]
mod line;
#[cfg(target_os = "linux")]
mod namespace;
pub mod odd;
mod origin;
mod pattern;
mod peer;
mod pki;
mod rogue;
mod scratch;
mod server;
mod settings;
mod stack;
mod tls_files;
mod wait;
mod web;

pub use agent::TestAgent;
pub use clients::{Script, Tool, client_file, python, run, tool};
pub use cloud::{API_KEY, Cloud};
pub use collector::{Collector, Exported};
pub use commands::{agent_file, command, fails, refused, said, server_file, text};
pub use daemon::{Daemon, Exit, binary, raise_open_files};
pub use dns::{Asked, Reply, TestDns};
pub use exposition::{Exposition, Rules};
pub use guest::{Guest, Introduced};
pub use hostile::{Hostile, Tamper, Untampered, open_message};
pub use http::{BodyEnd, Head};
#[cfg(target_os = "linux")]
pub use line::{Client, Line};
#[cfg(target_os = "linux")]
pub use namespace::Namespace;
pub use origin::{Origin, Served};
pub use pattern::{Checker, Pattern};
pub use peer::{Drained, Ending, Peer};
pub use pki::TestPki;
pub use rogue::RogueServer;
pub use scratch::Scratch;
pub use server::TestServer;
pub use settings::Settings;
pub use stack::{Setup, Stack, get};
pub use tls_files::TlsFiles;
pub use wait::{until, within};
pub use web::{BYTES, Frame, web};

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
