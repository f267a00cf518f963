//! The file as it is written, and its way to the typed configuration: what must be set is set, what has bounds is in them.

use super::control_plane::FilePrices;
use super::{Answer, Connect, Limits, OnShutdown, ProxyAuth, Quic, Start};
use crate::lifecycle::Endpoint;
use fluidity_daemon::logs::Log;
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Origins, SettingsError};
use fluidity_daemon::units::{ByteSize, HumanDuration};
use fluidity_wire::Target;
use fluidity_wire::tls::{IdentitySource, Pem, Role};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The file, value by value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
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

impl TryFrom<String> for ServerAddress {
    type Error = fluidity_wire::TargetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Target::parse(&text).map(Self)
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

pub(super) const HOUR: HumanDuration = HumanDuration::secs(3600);
