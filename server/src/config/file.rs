//! The file as it is written, and its way to the typed configuration: what must be set is set, what has bounds is in them.

use super::{Config, Limits};
use crate::activity::ActivityOptions;
use crate::breaker::BreakerOptions;
use crate::dial::DialOptions;
use crate::guard::default_limit;
use crate::policy::{DefaultAction, Policy, Rule};
use crate::resolve::{NameServer, ResolverOptions};
use fluidity_daemon::admin::NO_LOGIN;
use fluidity_daemon::listen::Listen;
use fluidity_daemon::logs::Log;
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Origins, SettingsError};
use fluidity_daemon::units::{ByteSize, HumanDuration};
use fluidity_wire::tls::{IdentitySource, Pem, Role};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The file, value by value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    listen: Listen,
    pub(super) admin: Listen,
    #[serde(default)]
    health: FileHealth,
    #[serde(default)]
    identity: FileIdentity,
    policy: FilePolicy,
    dns: FileDns,
    dial: FileDial,
    breaker: FileBreaker,
    quic: FileQuic,
    limits: FileLimits,
    cloudwatch: FileCloudWatch,
    drain_grace: HumanDuration,
    log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileHealth {
    listen: Option<Listen>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileIdentity {
    certificate: Option<PathBuf>,
    certificate_pem: Option<Secret>,
    key: Option<PathBuf>,
    key_pem: Option<Secret>,
    ca: Option<PathBuf>,
    ca_pem: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FilePolicy {
    default: DefaultAction,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileDns {
    servers: Vec<NameServer>,
    timeout: HumanDuration,
    cache_entries: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileDial {
    timeout: HumanDuration,
    attempts: usize,
    retry_initial: HumanDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileBreaker {
    failures: u32,
    open_for: HumanDuration,
    targets: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileQuic {
    idle_timeout: HumanDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileCloudWatch {
    cluster_name: Option<String>,
    service_name: Option<String>,
    task_id: Option<String>,
    period: HumanDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileLimits {
    connections: u32,
    connections_per_agent: u32,
    sessions: u32,
    sessions_per_agent: u32,
    open_timeout: HumanDuration,
    session_idle: HumanDuration,
    window_memory: ByteSize,
    memory: Option<ByteSize>,
}

impl File {
    pub(super) fn config(self, origins: &Origins) -> Result<Config, SettingsError> {
        Ok(Config {
            listen: self.listen.on(EVERYWHERE),
            admin: admin(self.admin, origins)?,
            health: self
                .health
                .listen
                .map(|listen| listen.on(Ipv4Addr::UNSPECIFIED.into())),
            identity: identity(self.identity, origins)?,
            policy: Policy::new(self.policy.default, self.policy.allow, self.policy.deny),
            resolver: resolver(self.dns, origins)?,
            dial: dial(&self.dial, origins)?,
            breaker: breaker(&self.breaker, origins)?,
            idle_timeout: time(
                origins,
                "quic.idle-timeout",
                self.quic.idle_timeout,
                SECOND..=HOUR,
            )?,
            limits: limits(&self.limits, origins)?,
            activity: activity(self.cloudwatch, origins)?,
            drain_grace: time(
                origins,
                "drain-grace",
                self.drain_grace,
                HumanDuration::secs(0)..=HOUR,
            )?,
            log: self.log,
        })
    }
}

/// The admin pages' address: others do not reach it.
fn admin(listen: Listen, origins: &Origins) -> Result<SocketAddr, SettingsError> {
    let address = listen.on(LOOPBACK);
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(origins.error("admin", NO_LOGIN)),
    }
}

fn identity(file: FileIdentity, origins: &Origins) -> Result<IdentitySource, SettingsError> {
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
        role: Some(Role::Server),
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

fn resolver(file: FileDns, origins: &Origins) -> Result<ResolverOptions, SettingsError> {
    Ok(ResolverOptions {
        servers: file.servers,
        timeout: time(origins, "dns.timeout", file.timeout, TENTH..=MINUTE)?,
        cache_entries: origins.within("dns.cache-entries", file.cache_entries, 0..=1_000_000)?,
    })
}

fn dial(file: &FileDial, origins: &Origins) -> Result<DialOptions, SettingsError> {
    Ok(DialOptions {
        timeout: time(origins, "dial.timeout", file.timeout, TENTH..=HOUR)?,
        attempts: origins.within("dial.attempts", file.attempts, 1..=10)?,
        retry_initial: time(
            origins,
            "dial.retry-initial",
            file.retry_initial,
            HumanDuration::millis(10)..=MINUTE,
        )?,
    })
}

fn breaker(file: &FileBreaker, origins: &Origins) -> Result<BreakerOptions, SettingsError> {
    Ok(BreakerOptions {
        failures: origins.within("breaker.failures", file.failures, 1..=1000)?,
        open_for: time(origins, "breaker.open-for", file.open_for, SECOND..=MINUTE)?,
        targets: origins.within("breaker.targets", file.targets, 1..=1_000_000)?,
    })
}

fn activity(file: FileCloudWatch, origins: &Origins) -> Result<Option<ActivityOptions>, SettingsError> {
    let period = time(
        origins,
        "cloudwatch.period",
        file.period,
        HumanDuration::secs(10)..=HOUR,
    )?;
    match (file.cluster_name, file.service_name) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(origins.missing("cloudwatch.service-name")),
        (None, Some(_)) => Err(origins.missing("cloudwatch.cluster-name")),
        (Some(cluster), Some(service)) => Ok(Some(ActivityOptions {
            cluster,
            service,
            task: file.task_id,
            period,
        })),
    }
}

fn limits(file: &FileLimits, origins: &Origins) -> Result<Limits, SettingsError> {
    let count = |key, value| origins.within(key, value, 1..=1_000_000);
    let most = ByteSize::mib(16 * 1024);
    Ok(Limits {
        connections: count("limits.connections", file.connections)?,
        connections_per_agent: count("limits.connections-per-agent", file.connections_per_agent)?,
        sessions: count("limits.sessions", file.sessions)?,
        sessions_per_agent: count("limits.sessions-per-agent", file.sessions_per_agent)?,
        open_timeout: time(origins, "limits.open-timeout", file.open_timeout, TENTH..=HOUR)?,
        session_idle: time(origins, "limits.session-idle", file.session_idle, TENTH..=DAY)?,
        window_memory: origins
            .within(
                "limits.window-memory",
                file.window_memory,
                ByteSize::mib(1)..=most,
            )?
            .0,
        memory: match file.memory {
            Some(memory) => {
                origins
                    .within(
                        "limits.memory",
                        memory,
                        ByteSize::mib(64)..=ByteSize::mib(1024 * 1024),
                    )?
                    .0
            }
            None => default_limit(),
        },
    })
}

fn time(
    origins: &Origins,
    key: &str,
    value: HumanDuration,
    bounds: std::ops::RangeInclusive<HumanDuration>,
) -> Result<Duration, SettingsError> {
    Ok(origins.within(key, value, bounds)?.0)
}

/// Where a port alone listens: the server is there for other machines, its admin pages are not.
const EVERYWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TENTH: HumanDuration = HumanDuration::millis(100);
const SECOND: HumanDuration = HumanDuration::secs(1);
const MINUTE: HumanDuration = HumanDuration::secs(60);
const HOUR: HumanDuration = HumanDuration::secs(3600);
const DAY: HumanDuration = HumanDuration::secs(24 * 3600);
