//! `agent.yaml`: the typed configuration that the agent runs with, laid together from file, environment and flags.

mod control_plane;
mod file;
mod keys;

pub use control_plane::{ControlPlaneConfig, OnShutdown, Order, Start};

use control_plane::control_plane;
use file::{File, HOUR, LOOPBACK, admin, connect, identity, limits, proxy_auth, quic, server_name};
use fluidity_daemon::listen::Listen;
use fluidity_daemon::logs::Log;
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Layers, Other, Resolved, Schema, SettingsError, variable};
use fluidity_daemon::units::HumanDuration;
use fluidity_wire::Target;
use fluidity_wire::tls::IdentitySource;
use keys::KEYS;
use serde::Deserialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Everything that can be set.
pub const SCHEMA: Schema = Schema {
    program: "fluidity",
    keys: KEYS,
    other: Some(Other {
        program: "fluidity-server",
        sections: &["health", "policy", "dns", "dial", "breaker", "cloudwatch"],
    }),
};

/// What the agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// Where the admin pages listen.
    pub admin: SocketAddr,
    /// The server.
    pub server: Server,
    /// Who wakes it; without a control plane the server is always there.
    pub control_plane: Option<ControlPlaneConfig>,
    /// The agent's certificate and key, and the private CA.
    pub identity: IdentitySource,
    /// Who may use the proxy; everyone who reaches it where this is not set.
    pub proxy_auth: Option<ProxyAuth>,
    /// How the tunnel is connected.
    pub connect: Connect,
    /// The transport.
    pub quic: Quic,
    /// What clients may take.
    pub limits: Limits,
    /// How long running sessions may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// The log.
    pub log: Log,
}

/// Where the server is and what its certificate must say.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name or address, and UDP port; where it is not set, the control plane tells.
    pub address: Option<Target>,
    /// The name in its certificate.
    pub name: String,
}

/// Credentials that clients must send.
#[derive(Clone, Debug)]
pub struct ProxyAuth {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How the tunnel is connected.
#[derive(Clone, Debug)]
pub struct Connect {
    /// One round of attempts.
    pub timeout: Duration,
    /// The pause after the first failed round.
    pub retry_initial: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How long a request waits for the tunnel.
    pub request_wait: Duration,
    /// When a CONNECT is answered.
    pub answer: Answer,
}

/// When a CONNECT is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Once the target was reached.
    Confirmed,
    /// Before, where it was reached a short time ago.
    Learned,
    /// Before, always.
    Always,
}

/// The transport.
#[derive(Clone, Debug)]
pub struct Quic {
    /// Silence after which the connection is lost.
    pub idle_timeout: Duration,
    /// How often a silent connection is probed.
    pub keep_alive: Duration,
}

/// What clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections at once.
    pub clients: usize,
    /// The time for a request's head.
    pub head_timeout: Duration,
    /// The size of a request's head in bytes.
    pub head_size: usize,
    /// The fields of a request.
    pub headers: usize,
    /// The time for a target to be dialled.
    pub open_timeout: Duration,
    /// How long a session may be silent.
    pub session_idle: Duration,
    /// Bytes that the windows of all sessions may grow by.
    pub window_memory: u64,
}

/// Values from the command line; each wins over all other layers.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// The layers of one configuration, read and each value checked.
pub struct Settings(Resolved<File>);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Settings").field(&self.0.origins).finish()
    }
}

impl Settings {
    /// Lays flags over the environment over a file over the defaults.
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
            .flag("server.address", "--server", flags.server)
            .flag("log.level", "--log-level", flags.log_level)
            .resolve()
            .map(Self)
    }

    /// Every key with its value and where it came from; secrets redacted.
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

    /// Where the admin pages are by a file that has a mistake somewhere else: by the flag, the environment, the file.
    pub fn admin_despite(file: &Path, flag: Option<String>) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("admin:"));
        let written = line.map(|value| {
            value
                .split(" #")
                .next()
                .unwrap_or(value)
                .trim()
                .trim_matches(['"', '\''])
        });
        let variable = std::env::var(variable("admin")).ok();
        let known = flag.or(variable).or(written.map(str::to_owned));
        let listen = known
            .as_deref()
            .unwrap_or(KEYS.iter().find(|key| key.path == "admin")?.default);
        Some(listen.parse::<Listen>().ok()?.on(LOOPBACK))
    }

    /// The control plane's part alone, to give it an order; needs nothing else to be set.
    ///
    /// # Errors
    /// There is none, or it does not take this order, or a value of it is not what it should be.
    pub fn control_plane(self, order: Order) -> Result<ControlPlaneConfig, SettingsError> {
        let Resolved {
            value: file, origins, ..
        } = self.0;
        let kill_is_missing = order == Order::Kill && file.kill_endpoint.is_none();
        if file.wake_endpoint.is_none() && (kill_is_missing || order == Order::Wake) {
            return Err(order.without_control_plane(&file, &origins));
        }
        match control_plane(&file, &origins)? {
            Some(plane) if !kill_is_missing => Ok(plane),
            _ => Err(origins.missing(order.key())),
        }
    }

    /// The typed configuration, where everything that must be set is set and in bounds.
    pub fn config(self) -> Result<Config, SettingsError> {
        let Resolved {
            value: file, origins, ..
        } = self.0;
        let control_plane = control_plane(&file, &origins)?;
        if file.server.address.is_none() && control_plane.is_none() {
            return Err(file.identity.missing_address(&origins));
        }
        Ok(Config {
            listen: file.listen.on(LOOPBACK),
            admin: admin(file.admin, &origins)?,
            server: Server {
                address: file.server.address.map(|address| address.0),
                name: server_name(file.server.name, &origins)?,
            },
            control_plane,
            identity: identity(file.identity, &origins)?,
            proxy_auth: proxy_auth(file.proxy_auth, &origins)?,
            connect: connect(&file.connect, &origins)?,
            quic: quic(&file.quic, &origins)?,
            limits: limits(&file.limits, &origins)?,
            drain_grace: origins
                .within("drain-grace", file.drain_grace, HumanDuration::secs(0)..=HOUR)?
                .0,
            log: file.log,
        })
    }
}

#[cfg(test)]
mod tests;
