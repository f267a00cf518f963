//! The control plane's part of the configuration: there is one where `wake-endpoint` is set.

use super::file::{File, HOUR};
use crate::lifecycle::{Endpoint, Prices};
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Origins, SettingsError, variable};
use fluidity_daemon::units::HumanDuration;
use fluidity_wire::tls::{IdentityError, read_private};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the server's life cycle is driven.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// Where a wake is asked for.
    pub wake: Endpoint,
    /// Where a kill is asked for.
    pub kill: Option<Endpoint>,
    /// The API key.
    pub key: Secret,
    /// How long a wake may take until the tunnel is up.
    pub connection_timeout: Duration,
    /// How often the control plane is asked meanwhile.
    pub retry_interval: Duration,
    /// Whether the start of the agent wakes the server.
    pub start: Start,
    /// How long nobody may want the tunnel before it is given up; never where this is not set.
    pub idle_disconnect: Option<Duration>,
    /// What the end of the agent means for the server.
    pub on_shutdown: OnShutdown,
    /// What the server costs.
    pub prices: Prices,
    /// Where the month's account is kept; a place of the user's where this is not set.
    pub state_file: Option<PathBuf>,
}

/// Whether the start of the agent wakes the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// It does.
    Wake,
    /// The first request does.
    OnDemand,
}

/// What the end of the agent means for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnShutdown {
    /// It is stopped where it has told that no other agent is connected.
    KillIfLast,
    /// It is stopped.
    Kill,
    /// It is left to its schedule.
    Leave,
}

/// What a person asks of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `fluidity wake`.
    Wake,
    /// `fluidity kill`.
    Kill,
}

impl Order {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Wake => "wake-endpoint",
            Self::Kill => "kill-endpoint",
        }
    }

    /// Nothing can be ordered of a server that is there by itself.
    pub(super) fn without_control_plane(self, file: &File, origins: &Origins) -> SettingsError {
        let (verb, key) = match self {
            Self::Wake => ("wake", self.key()),
            Self::Kill => ("kill", self.key()),
        };
        match &file.server.address {
            Some(address) => origins.error(
                "server.address",
                format!(
                    "this agent has a fixed server ({}) and no control plane: there is nothing to {verb}. With a control \
                     plane, set {key} ({})",
                    address.0,
                    variable(key)
                ),
            ),
            None => origins.missing(key),
        }
    }
}

/// Prices as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FilePrices {
    hour: f64,
    gigabyte: f64,
    currency: String,
}

pub(super) fn control_plane(
    file: &File,
    origins: &Origins,
) -> Result<Option<ControlPlaneConfig>, SettingsError> {
    let Some(wake) = file.wake_endpoint.clone() else {
        // Half a control plane is a mistake, and an expensive one to find out later.
        if file.kill_endpoint.is_some() {
            return Err(origins.missing("wake-endpoint"));
        }
        return Ok(None);
    };
    let within =
        |key, value: HumanDuration, bounds| Ok::<_, SettingsError>(origins.within(key, value, bounds)?.0);
    let second = HumanDuration::secs(1);
    let idle = match file.idle_disconnect {
        never if never.0.is_zero() => None,
        idle => Some(within(
            "idle-disconnect",
            idle,
            second..=HumanDuration::secs(24 * 3600),
        )?),
    };
    Ok(Some(ControlPlaneConfig {
        wake,
        kill: file.kill_endpoint.clone(),
        key: key(file, origins)?,
        connection_timeout: within("connection-timeout", file.connection_timeout, second..=HOUR)?,
        retry_interval: within(
            "connection-retry-interval",
            file.connection_retry_interval,
            HumanDuration::millis(100)..=HOUR,
        )?,
        start: file.start,
        idle_disconnect: idle,
        on_shutdown: file.on_shutdown,
        prices: Prices {
            hour: origins.within("prices.hour", file.prices.hour, 0.0..=1e6)?,
            gigabyte: origins.within("prices.gigabyte", file.prices.gigabyte, 0.0..=1e6)?,
            currency: file.prices.currency.clone(),
        },
        state_file: file
            .state_file
            .as_ref()
            .map(|path| origins.relative("state-file", path)),
    }))
}

fn key(file: &File, origins: &Origins) -> Result<Secret, SettingsError> {
    let key = match (&file.api_key, &file.api_key_file) {
        (Some(_), Some(_)) => {
            return Err(origins.error("api-key-file", "set api-key or api-key-file, not both"));
        }
        (None, None) => return Err(origins.missing("api-key")),
        (Some(key), None) => key.clone(),
        (None, Some(path)) => {
            let written = path;
            let path = origins.relative("api-key-file", written);
            let bytes = read_private(&path).map_err(|error| match looks_like_a_key(written, &error) {
                true => origins.error("api-key-file", IS_IT_THE_KEY),
                false => origins.error("api-key-file", error),
            })?;
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| {
                origins.error(
                    "api-key-file",
                    "the file is not UTF-8 text; it holds the API key and nothing else",
                )
            })?;
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.lines().count() > 1 {
                let said = "the file has more than one line; it holds the API key and nothing else";
                return Err(origins.error("api-key-file", said));
            }
            Secret::new(text)
        }
    };
    if key.expose().is_empty() {
        let key = if file.api_key.is_some() {
            "api-key"
        } else {
            "api-key-file"
        };
        return Err(origins.error(key, "the API key is empty"));
    }
    // It goes into a header's field (RFC 9110 §5.5), and no API key has a space in it.
    if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let set = if file.api_key.is_some() {
            "api-key"
        } else {
            "api-key-file"
        };
        let said =
            "the API key has a space, a line break or another character that no API key has; copy it again";
        return Err(origins.error(set, said));
    }
    Ok(key)
}

/// Whether what names no file may be the key itself: one long word.
fn looks_like_a_key(path: &Path, error: &IdentityError) -> bool {
    let missing =
        matches!(error, IdentityError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound);
    let text = path.to_string_lossy();
    missing && text.len() >= LEAST_KEY && !text.contains(['/', '.', '\\'])
}

/// As short as the keys of AWS may be.
const LEAST_KEY: usize = 20;
const IS_IT_THE_KEY: &str = "there is no such file (its name is not shown: is it the API key itself? That goes into api-key, and a \
                             file's name here)";
