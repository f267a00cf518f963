//! `fluidity status`: how a running agent stands, for people and, with `--json`, for programs.

use anyhow::{Context, bail};
use fluidity_daemon::admin::fetch;
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// How a running agent stands.
#[derive(Debug)]
pub struct Status(Value);

impl Status {
    /// Asks the agent whose admin pages are at `admin`.
    pub async fn fetch(admin: SocketAddr) -> anyhow::Result<Self> {
        let (code, page) = fetch(admin, "/api/status", DEADLINE)
            .await
            .context("no agent can be asked; does `fluidity run` run, and with this admin address?")?;
        if code != 200 {
            bail!("{admin} answers {code}; is it the agent's admin address?");
        }
        let value =
            serde_json::from_slice(&page).with_context(|| format!("{admin} does not answer as an agent"))?;
        Ok(Self(value))
    }

    /// Whether the tunnel takes sessions.
    pub fn is_connected(&self) -> bool {
        self.text("/state") == "connected"
    }

    /// As JSON.
    pub fn json(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// As lines for people.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name:<11}{value}");
        };
        let since = Duration::from_secs(self.number("/since_seconds"));
        line(
            "state",
            format!(
                "{} for {}",
                self.text("/state"),
                humantime::format_duration(since)
            ),
        );
        let mut server = self.text("/server/address").to_owned();
        if let Some(software) = self.0.pointer("/server/software").and_then(Value::as_str) {
            let instance = self.text("/server/instance");
            // Writing to a string cannot fail.
            let _ = write!(server, " ({software}, instance {instance})");
        }
        line("server", server);
        if let Some(error) = self.0.pointer("/last_error").and_then(Value::as_str) {
            line("last error", error.to_owned());
        }
        let (active, total) = (self.number("/sessions/active"), self.number("/sessions/total"));
        line("sessions", format!("{active} active, {total} in all"));
        let (up, down) = (self.number("/bytes/up"), self.number("/bytes/down"));
        line("bytes", format!("{} up, {} down", bytes(up), bytes(down)));
        line("reconnects", self.number("/reconnects").to_string());
        line("version", self.text("/version").to_owned());
        lines
    }

    fn text(&self, pointer: &str) -> &str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("unknown")
    }

    fn number(&self, pointer: &str) -> u64 {
        self.0
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }
}

fn bytes(count: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| count >= *size) {
        Some((name, size)) => format!("{}.{} {name}", count / size, count % size * 10 / size),
        None => format!("{count} B"),
    }
}

const DEADLINE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_reads_state_server_error_and_traffic() {
        let status = Status(json!({
            "state": "disconnected",
            "since_seconds": 75,
            "server": { "address": "example.com:443", "name": "s", "instance": null, "software": null },
            "last_error": "no answer from the server",
            "sessions": { "active": 2, "total": 10 },
            "bytes": { "up": 1023, "down": 1_610_612_736_u64 },
            "reconnects": 3,
            "version": "0.1.0",
        }));
        let lines = status.lines();
        for line in [
            "state      disconnected for 1m 15s",
            "server     example.com:443",
            "last error no answer from the server",
            "sessions   2 active, 10 in all",
            "bytes      1023 B up, 1.5 GiB down",
            "reconnects 3",
        ] {
            assert!(
                lines.lines().any(|found| found == line),
                "no {line:?} in\n{lines}"
            );
        }
        assert!(!status.is_connected());
        assert_eq!(serde_json::from_str::<Value>(&status.json()).unwrap(), status.0);
    }
}
