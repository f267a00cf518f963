//! `fluidity wake` and `fluidity kill`: the control plane by hand, whether an agent runs or not.

use super::{Answer, CallError, ControlPlane, ServiceState};
use crate::config::ControlPlaneConfig;
use anyhow::{Context, bail};
use fluidity_daemon::output::note;
use std::fmt::Write as _;
use tokio::time::{Instant, sleep};

/// Asks for the server once, and tells how it stands.
///
/// # Errors
/// The control plane gave no answer.
pub async fn wake(config: ControlPlaneConfig) -> anyhow::Result<String> {
    let answer = ControlPlane::new(&config)?.wake().await?;
    Ok(lines(&answer))
}

/// Asks until the server runs, and tells where it is.
///
/// # Errors
/// It does not run in time, or what keeps it from running does not pass by itself.
pub async fn wake_and_wait(config: ControlPlaneConfig) -> anyhow::Result<String> {
    let plane = ControlPlane::new(&config)?;
    let until = Instant::now() + config.connection_timeout;
    let mut said = String::new();
    loop {
        let answer = plane.wake().await;
        match &answer {
            Ok(answer) if answer.state == ServiceState::Running => return Ok(lines(answer)),
            Err(error) if !error.may_pass() => return Err(error.clone().into()),
            _ => {}
        }
        let now = answer.map_or_else(|error: CallError| error.to_string(), |answer| answer.message);
        if now != said {
            // Progress is for whoever looks on; what the command answers goes to standard output.
            note(&now);
            said = now;
        }
        if Instant::now() + config.retry_interval > until {
            let limit = humantime::format_duration(config.connection_timeout);
            bail!("the server did not run within {limit}: {said}");
        }
        sleep(config.retry_interval).await;
    }
}

/// Stops the server now, whoever uses it.
///
/// # Errors
/// The control plane gave no answer, or no kill-endpoint is configured.
pub async fn kill(config: ControlPlaneConfig) -> anyhow::Result<String> {
    let answer = ControlPlane::new(&config)?.kill().await;
    Ok(lines(&answer.context("the server was not stopped")?))
}

fn lines(answer: &Answer) -> String {
    let mut lines = format!(
        "state    {} ({} wanted, {} running, {} pending)\n",
        answer.state.name(),
        answer.desired_count,
        answer.running_count,
        answer.pending_count
    );
    // Writing to a string cannot fail.
    if let Some(endpoint) = &answer.endpoint {
        let _ = writeln!(lines, "address  {}", endpoint.0);
    }
    if !answer.message.is_empty() {
        let _ = writeln!(lines, "message  {}", answer.message);
    }
    lines
}
