//! The file as it is written, and its way to the typed configuration: what must be set is set, what has bounds is in them.

use super::control_plane::FilePrices;
use super::{Answer, Connect, Limits, OnShutdown, ProxyAuth, Quic, Start};
use crate::lifecycle::Endpoint;
use fluidity_daemon::admin::NO_LOGIN;
use fluidity_daemon::listen::Listen;
use fluidity_daemon::logs::Log;
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Origins, SettingsError};
use fluidity_daemon::units::{ByteSize, HumanDuration};
use fluidity_wire::tls::{IdentitySource, Pem, Role};
use fluidity_wire::{Host, Port, Target, TargetError};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The file, value by value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) listen: Listen,
    pub(super) admin: Listen,
    pub(super) server: FileServer,
    pub(super) wake_endpoint: Option<Endpoint>,
    pub(super) kill_endpoint: Option<Endpoint>,
    pub(super) api_key: Option<Secret>,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) connection_timeout: HumanDuration,
    pub(super) connection_retry_interval: HumanDuration,
    pub(super) start: Start,
    pub(super) idle_disconnect: HumanDuration,
    pub(super) on_shutdown: OnShutdown,
    pub(super) prices: FilePrices,
    pub(super) state_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) identity: FileIdentity,
    #[serde(default)]
    pub(super) proxy_auth: FileProxyAuth,
    pub(super) connect: FileConnect,
    pub(super) quic: FileQuic,
    pub(super) limits: FileLimits,
    pub(super) drain_grace: HumanDuration,
    pub(super) log: Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileServer {
    pub(super) address: Option<ServerAddress>,
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ServerAddress(pub(super) Target);

/// Why a text is no server's address. It says how the address is written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    #[error("`{0}` is a URL; write the name and the UDP port alone: {1}")]
    Url(String, String),
    #[error("an IPv6 address with a port is written in brackets: {0}")]
    Brackets(String),
    #[error("the port is missing: write {0}, with the UDP port of your server")]
    NoPort(String),
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl TryFrom<String> for ServerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some((_, rest)) = text.split_once("://") {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let target = Target::parse_or(authority, Port::HTTPS)?;
            return Err(AddressError::Url(text, target.to_string()));
        }
        // `2001:db8::1:443` is an address of its own, too: with a port it cannot be told apart.
        let bare = |text: &str| text.parse::<Ipv6Addr>();
        if let Some((host, port)) = text.rsplit_once(':')
            && let (Ok(host), Ok(port)) = (bare(host), Port::parse(port))
        {
            return Err(AddressError::Brackets(format!("[{host}]:{port}")));
        }
        if let Ok(host) = bare(text.trim_matches(['[', ']'])) {
            return Err(AddressError::NoPort(format!("[{host}]:443")));
        }
        Ok(Self(Target::parse(&text)?))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileIdentity {
    certificate: Option<PathBuf>,
    certificate_pem: Option<Secret>,
    key: Option<PathBuf>,
    key_pem: Option<Secret>,
    ca: Option<PathBuf>,
    ca_pem: Option<Secret>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileProxyAuth {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileConnect {
    pub(super) timeout: HumanDuration,
    pub(super) retry_initial: HumanDuration,
    pub(super) retry_max: HumanDuration,
    pub(super) request_wait: HumanDuration,
    pub(super) answer: Answer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileQuic {
    pub(super) idle_timeout: HumanDuration,
    pub(super) keep_alive: HumanDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileLimits {
    pub(super) clients: usize,
    pub(super) head_timeout: HumanDuration,
    pub(super) head_size: ByteSize,
    pub(super) headers: usize,
    pub(super) open_timeout: HumanDuration,
    pub(super) session_idle: HumanDuration,
    pub(super) window_memory: ByteSize,
}

impl FileIdentity {
    /// The server's address is not set; perhaps because the file is the server's.
    pub(super) fn missing_address(&self, origins: &Origins) -> SettingsError {
        let name = self
            .certificate
            .as_deref()
            .and_then(|path| path.file_name()?.to_str());
        match (
            name.filter(|name| name.starts_with("server-")),
            origins.missing("server.address"),
        ) {
            (Some(name), SettingsError::Missing { key, ways }) => {
                let ways = format!(
                    "{ways} ({name} is a server's certificate: is this the file of fluidity-server?)"
                );
                SettingsError::Missing { key, ways }
            }
            (_, missing) => missing,
        }
    }
}

pub(super) fn server_name(name: String, origins: &Origins) -> Result<String, SettingsError> {
    match Host::parse(&name) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(host) => Ok(host.to_string()),
        Err(error) => {
            let said = format!(
                "`{name}` is no name of a certificate: {error}; write the NAME of `fluidity pki issue server NAME`"
            );
            Err(origins.error("server.name", said))
        }
    }
}

/// The admin pages' address: others do not reach it.
pub(super) fn admin(listen: Listen, origins: &Origins) -> Result<SocketAddr, SettingsError> {
    let address = listen.on(LOOPBACK);
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(origins.error("admin", NO_LOGIN)),
    }
}

pub(super) fn identity(file: FileIdentity, origins: &Origins) -> Result<IdentitySource, SettingsError> {
    Ok(IdentitySource {
        certificate: pem(
            origins,
            ["identity.certificate", "identity.certificate-pem"],
            (file.certificate, file.certificate_pem),
        )?,
        key: pem(
            origins,
            ["identity.key", "identity.key-pem"],
            (file.key, file.key_pem),
        )?,
        ca: pem(
            origins,
            ["identity.ca", "identity.ca-pem"],
            (file.ca, file.ca_pem),
        )?,
        role: Some(Role::Agent),
    })
}

fn pem(
    origins: &Origins,
    [file, text]: [&str; 2],
    set: (Option<PathBuf>, Option<Secret>),
) -> Result<Pem, SettingsError> {
    match set {
        (Some(_), Some(_)) => Err(origins.error(text, format!("set {file} or {text}, not both"))),
        (None, None) => Err(origins.missing(file)),
        (Some(path), None) => Ok(Pem::File(origins.relative(file, &path))),
        (None, Some(pem)) => Ok(Pem::Text {
            name: text.into(),
            text: pem.expose().to_owned(),
        }),
    }
}

pub(super) fn proxy_auth(file: FileProxyAuth, origins: &Origins) -> Result<Option<ProxyAuth>, SettingsError> {
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

pub(super) fn connect(file: &FileConnect, origins: &Origins) -> Result<Connect, SettingsError> {
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
        answer: file.answer,
    })
}

pub(super) fn quic(file: &FileQuic, origins: &Origins) -> Result<Quic, SettingsError> {
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

pub(super) fn limits(file: &FileLimits, origins: &Origins) -> Result<Limits, SettingsError> {
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

/// Where a port alone listens: nothing is open to the network by surprise.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const HOUR: HumanDuration = HumanDuration::secs(3600);
