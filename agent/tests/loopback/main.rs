//! The agent's parts on real sockets: a proxy, a tunnel and the least server, all in this process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bench;
mod certificates;
mod http;
mod server;
mod supervision;
