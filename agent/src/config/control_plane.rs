//! The control plane's part of the configuration: there is one where `wake-endpoint` is set.

use super::file::{File, HOUR};
use crate::lifecycle::{Endpoint, Prices};
use fluidity_daemon::secret::Secret;
use fluidity_daemon::settings::{Origins, SettingsError};
use fluidity_daemon::units::HumanDuration;
use fluidity_wire::tls::read_private;
use serde::Deserialize;
use std::path::PathBuf;
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
            let path = origins.relative("api-key-file", path);
            let bytes = read_private(&path).map_err(|error| origins.error("api-key-file", error))?;
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| origins.error("api-key-file", "the file is not text"))?;
            Secret::new(text.trim())
        }
    };
    if key.expose().is_empty() {
        return Err(origins.error("api-key", "the API key is empty"));
    }
    Ok(key)
}
