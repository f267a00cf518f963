//! `agent.yaml`: the keys, the shape of the file, and the typed configuration that the agent runs with.

use fluidity_daemon::logs::LogFormat;
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Form, Key, Layers, Origins, Resolved, Schema, SettingsError};
use fluidity_daemon::units::{ByteSize, HumanDuration};
use fluidity_wire::Target;
use serde::Deserialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that can be set.
pub const SCHEMA: Schema = Schema { keys: KEYS };

/// What the agent runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// Where the admin pages listen.
    pub admin: SocketAddr,
    /// The server.
    pub server: Server,
    /// The agent's files.
    pub identity: IdentityPaths,
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
    /// Name or address, and UDP port.
    pub address: Target,
    /// The name in its certificate.
    pub name: String,
}

/// PEM files.
#[derive(Clone, Debug)]
pub struct IdentityPaths {
    /// The agent's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The private CA.
    pub ca: PathBuf,
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

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Log {
    /// A level or filter.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
}

/// A level or filter that the log understands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevel(pub String);

impl TryFrom<String> for LogLevel {
    type Error = fluidity_daemon::logs::LogError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        fluidity_daemon::logs::check(&text).map(|()| Self(text))
    }
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
            .env(env, NO_SETTINGS)
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
        self.0.value.admin
    }

    /// The typed configuration, where everything that must be set is set and in bounds.
    pub fn config(self) -> Result<Config, SettingsError> {
        let Resolved {
            value: file, origins, ..
        } = self.0;
        let path = |key: &str, path: Option<PathBuf>| {
            let path = path.ok_or_else(|| origins.missing(key))?;
            Ok::<_, SettingsError>(origins.relative(key, &path))
        };
        let address = file
            .server
            .address
            .ok_or_else(|| origins.missing("server.address"))?;
        if file.server.name.is_empty() {
            return Err(origins.error("server.name", "the name in the server's certificate is empty"));
        }
        Ok(Config {
            listen: file.listen,
            admin: file.admin,
            server: Server {
                address: address.0,
                name: file.server.name,
            },
            identity: IdentityPaths {
                certificate: path("identity.certificate", file.identity.certificate)?,
                key: path("identity.key", file.identity.key)?,
                ca: path("identity.ca", file.identity.ca)?,
            },
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

fn proxy_auth(file: FileProxyAuth, origins: &Origins) -> Result<Option<ProxyAuth>, SettingsError> {
    match (file.username, file.password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(origins.missing("proxy-auth.password")),
        (None, Some(_)) => Err(origins.missing("proxy-auth.username")),
        // RFC 7617 §2: the first colon ends the user name.
        (Some(username), Some(_)) if username.is_empty() || username.contains(':') => {
            Err(origins.error("proxy-auth.username", "a user name is not empty and has no colon"))
        }
        (Some(_), Some(password)) if password.expose().is_empty() => {
            Err(origins.error("proxy-auth.password", "the password is empty"))
        }
        (Some(username), Some(password)) => Ok(Some(ProxyAuth { username, password })),
    }
}

fn connect(file: &FileConnect, origins: &Origins) -> Result<Connect, SettingsError> {
    let least = HumanDuration::millis(10);
    let within = |key, value| Ok::<_, SettingsError>(origins.within(key, value, least..=HOUR)?.0);
    let retry_initial = within("connect.retry-initial", file.retry_initial)?;
    let retry_max = within("connect.retry-max", file.retry_max)?;
    if retry_max < retry_initial {
        return Err(origins.error("connect.retry-max", "must not be less than connect.retry-initial"));
    }
    Ok(Connect {
        timeout: within("connect.timeout", file.timeout)?,
        retry_initial,
        retry_max,
        request_wait: origins
            .within(
                "connect.request-wait",
                file.request_wait,
                HumanDuration::secs(0)..=HOUR,
            )?
            .0,
    })
}

fn quic(file: &FileQuic, origins: &Origins) -> Result<Quic, SettingsError> {
    let second = HumanDuration::secs(1);
    let idle = origins.within("quic.idle-timeout", file.idle_timeout, second..=HOUR)?;
    let probe = HumanDuration::millis(100);
    let keep_alive = origins.within("quic.keep-alive", file.keep_alive, probe..=HOUR)?;
    if keep_alive >= idle {
        return Err(origins.error("quic.keep-alive", "must be less than quic.idle-timeout"));
    }
    Ok(Quic {
        idle_timeout: idle.0,
        keep_alive: keep_alive.0,
    })
}

fn limits(file: &FileLimits, origins: &Origins) -> Result<Limits, SettingsError> {
    let time = |key, value| {
        let bounds = HumanDuration::millis(100)..=HumanDuration::secs(24 * 3600);
        Ok::<_, SettingsError>(origins.within(key, value, bounds)?.0)
    };
    Ok(Limits {
        clients: origins.within("limits.clients", file.clients, 1..=100_000)?,
        head_timeout: time("limits.head-timeout", file.head_timeout)?,
        head_size: origins
            .within(
                "limits.head-size",
                file.head_size,
                ByteSize::kib(8)..=ByteSize::mib(1),
            )?
            .to_usize(),
        headers: origins.within("limits.headers", file.headers, 10..=1000)?,
        open_timeout: time("limits.open-timeout", file.open_timeout)?,
        session_idle: time("limits.session-idle", file.session_idle)?,
        window_memory: origins
            .within(
                "limits.window-memory",
                file.window_memory,
                ByteSize::mib(1)..=ByteSize::mib(16 * 1024),
            )?
            .0,
    })
}

/// The file, value by value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: SocketAddr,
    admin: SocketAddr,
    server: FileServer,
    #[serde(default)]
    identity: FileIdentity,
    #[serde(default)]
    proxy_auth: FileProxyAuth,
    connect: FileConnect,
    quic: FileQuic,
    limits: FileLimits,
    drain_grace: HumanDuration,
    log: Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileServer {
    address: Option<ServerAddress>,
    name: String,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ServerAddress(Target);

impl TryFrom<String> for ServerAddress {
    type Error = fluidity_wire::TargetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Target::parse(&text).map(Self)
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileIdentity {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileProxyAuth {
    username: Option<String>,
    password: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileConnect {
    timeout: HumanDuration,
    retry_initial: HumanDuration,
    retry_max: HumanDuration,
    request_wait: HumanDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileQuic {
    idle_timeout: HumanDuration,
    keep_alive: HumanDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileLimits {
    clients: usize,
    head_timeout: HumanDuration,
    head_size: ByteSize,
    headers: usize,
    open_timeout: HumanDuration,
    session_idle: HumanDuration,
    window_memory: ByteSize,
}

const HOUR: HumanDuration = HumanDuration::secs(3600);

/// Variables of the tests, the scripts and the command line itself: no settings, and no typos either.
const NO_SETTINGS: &[&str] = &[
    "FLUIDITY_TEST",
    "FLUIDITY_BIN_DIR",
    "FLUIDITY_STATE",
    "FLUIDITY_CONFIG",
];

const fn key(path: &'static str, form: Form, default: &'static str, help: &'static str) -> Key {
    Key {
        path,
        form,
        default,
        help,
    }
}

const KEYS: &[Key] = &[
    key(
        "listen",
        Form::Text,
        "127.0.0.1:8080",
        "where the proxy listens; port 0 takes any",
    ),
    key(
        "admin",
        Form::Text,
        "127.0.0.1:8081",
        "where health, metrics and status listen; loopback only",
    ),
    key(
        "server.address",
        Form::Text,
        "",
        "the server's name or address and its UDP port",
    ),
    key(
        "server.name",
        Form::Text,
        "fluidity-server",
        "the name that the server's certificate must carry",
    ),
    key(
        "identity.certificate",
        Form::Text,
        "",
        "the agent's certificate; paths are relative to the file",
    ),
    key("identity.key", Form::Text, "", "its private key, mode 0600"),
    key("identity.ca", Form::Text, "", "the private CA's certificate"),
    key(
        "proxy-auth.username",
        Form::Text,
        "",
        "user name that clients must send (Basic)",
    ),
    key(
        "proxy-auth.password",
        Form::Secret,
        "",
        "password that clients must send",
    ),
    key(
        "connect.timeout",
        Form::Text,
        "10s",
        "one round of connection attempts",
    ),
    key(
        "connect.retry-initial",
        Form::Text,
        "100ms",
        "pause after the first failed round; doubles, with jitter",
    ),
    key(
        "connect.retry-max",
        Form::Text,
        "5s",
        "longest pause; in the first minute it is 1 s at the most",
    ),
    key(
        "connect.request-wait",
        Form::Text,
        "15s",
        "how long a request waits for the tunnel before it gets 503",
    ),
    key(
        "quic.idle-timeout",
        Form::Text,
        "15s",
        "silence after which the connection is lost",
    ),
    key(
        "quic.keep-alive",
        Form::Text,
        "1s",
        "how often a silent connection is probed",
    ),
    key("limits.clients", Form::Yaml, "4096", "client connections at once"),
    key(
        "limits.head-timeout",
        Form::Text,
        "10s",
        "time for a request's head to arrive",
    ),
    key(
        "limits.head-size",
        Form::Text,
        "64KiB",
        "size of a request's head",
    ),
    key("limits.headers", Form::Yaml, "100", "fields in a request's head"),
    key(
        "limits.open-timeout",
        Form::Text,
        "20s",
        "time for the server to reach the target",
    ),
    key(
        "limits.session-idle",
        Form::Text,
        "1h",
        "silence after which a session is cut",
    ),
    key(
        "limits.window-memory",
        Form::Text,
        "64MiB",
        "memory for sessions that receive faster than clients read",
    ),
    key(
        "drain-grace",
        Form::Text,
        "10s",
        "how long running sessions may go on after SIGTERM or Ctrl-C",
    ),
    key(
        "log.level",
        Form::Text,
        "info",
        "error, warn, info, debug, trace, or MODULE=LEVEL,…",
    ),
    key("log.format", Form::Text, "text", "text or json"),
];

#[cfg(test)]
mod tests;
