//! `server.yaml`: the typed configuration that the server runs with, laid together from file, environment and flags.

mod file;
mod keys;

use crate::activity::ActivityOptions;
use crate::breaker::BreakerOptions;
use crate::dial::DialOptions;
use crate::policy::Policy;
use crate::resolve::ResolverOptions;
use file::{File, LOOPBACK};
use fluidity_daemon::logs::Log;
use fluidity_daemon::settings::{Layers, Other, Resolved, Schema, SettingsError};
use fluidity_wire::tls::IdentitySource;
use keys::KEYS;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Everything that can be set.
pub const SCHEMA: Schema = Schema {
    program: "fluidity-server",
    keys: KEYS,
    other: Some(Other {
        program: "fluidity",
        sections: &[
            "server",
            "wake-endpoint",
            "kill-endpoint",
            "api-key",
            "api-key-file",
            "connection-timeout",
            "connection-retry-interval",
            "start",
            "idle-disconnect",
            "on-shutdown",
            "prices",
            "state-file",
            "proxy-auth",
            "connect",
        ],
    }),
};

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it speaks QUIC.
    pub listen: SocketAddr,
    /// Where the admin pages listen.
    pub admin: SocketAddr,
    /// Where load balancers see whether it takes agents.
    pub health: Option<SocketAddr>,
    /// The server's certificate and key, and the private CA.
    pub identity: IdentitySource,
    /// Who may reach what.
    pub policy: Policy,
    /// How names are resolved.
    pub resolver: ResolverOptions,
    /// How targets are dialled.
    pub dial: DialOptions,
    /// When a failing target is left alone.
    pub breaker: BreakerOptions,
    /// Silence after which a connection is lost.
    pub idle_timeout: Duration,
    /// What agents may take.
    pub limits: Limits,
    /// How the control plane is told of activity, where there is one.
    pub activity: Option<ActivityOptions>,
    /// How long running sessions may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// The log.
    pub log: Log,
}

/// What agents may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Connections of one agent.
    pub connections_per_agent: u32,
    /// Sessions at once.
    pub sessions: u32,
    /// Sessions of one agent.
    pub sessions_per_agent: u32,
    /// The time for an agent to say what a new session is for.
    pub open_timeout: Duration,
    /// How long a session may be silent.
    pub session_idle: Duration,
    /// Bytes of all agents together that may wait for targets, or be granted to be sent.
    pub window_memory: u64,
    /// Resident memory past which an agent that makes the server keep too much is cut off.
    pub memory: u64,
}

/// Values from the command line; each wins over all other layers.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// The layers of one configuration, read and each value checked.
#[derive(Debug)]
pub struct Settings(Resolved<File>);

impl Settings {
    /// Lays flags over the environment over a file over the defaults.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value that is not what its key takes: with its place.
    pub fn load(
        file: Option<&Path>,
        flags: Flags,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        Layers::new(SCHEMA)
            .file(file)?
            .env(env)
            .flag("listen", "--listen", flags.listen)
            .flag("admin", "--admin", flags.admin)
            .flag("log.level", "--log-level", flags.log_level)
            .resolve()
            .map(Self)
    }

    /// Every key with its value and where it came from.
    pub fn render(&self) -> String {
        self.0.origins.render()
    }

    /// What a person should know, though it is no error.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Where the admin pages are; needs nothing else to be set.
    pub fn admin(&self) -> SocketAddr {
        self.0.value.admin.on(LOOPBACK)
    }

    /// The typed configuration, where everything that must be set is set and in bounds.
    ///
    /// # Errors
    /// A key that must be set and is not, or a value out of its bounds.
    pub fn config(self) -> Result<Config, SettingsError> {
        let Resolved {
            value: file, origins, ..
        } = self.0;
        file.config(&origins)
    }
}

#[cfg(test)]
mod tests;
