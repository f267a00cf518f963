//! `fluidity status`: how a running agent stands, for people and, with `--json`, for programs.

mod watch;

pub use watch::watch;

use anyhow::{Context, bail};
use fluidity_daemon::admin::fetch;
use fluidity_daemon::escape::{escaped, escaped_json};
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// For whom it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people.
    Lines,
    /// JSON for programs.
    Json,
}

/// How a running agent stands.
#[derive(Debug)]
pub struct Status(Value);

impl Status {
    /// Asks the agent whose admin pages are at `admin`.
    pub async fn fetch(admin: SocketAddr) -> anyhow::Result<Self> {
        let (code, page) = fetch(admin, "/api/status", DEADLINE)
            .await
            .context("no agent can be asked; check that `fluidity run` runs, and with this admin address")?;
        if code != 200 {
            bail!("{admin} answers {code}; is it the agent's admin address?");
        }
        let value: Value =
            serde_json::from_slice(&page).with_context(|| format!("{admin} does not answer as an agent"))?;
        if value.pointer("/connections").is_some() {
            bail!(
                "{admin} is the admin address of a server, not of an agent: give --admin the agent's, or read \
                 http://{admin}/api/status"
            );
        }
        Ok(Self(value))
    }

    /// Whether the tunnel takes sessions, or will with the next request.
    pub fn is_well(&self) -> bool {
        matches!(self.text("/state"), "connected" | "dormant")
    }

    /// As text.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Lines => self.lines(),
            Form::Json => self.json(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        escaped_json(&format!("{:#}\n", self.0))
    }

    /// As lines for people.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            // What another machine said is among the values, and this goes to a terminal.
            let _ = writeln!(lines, "{name:<11}{}", escaped(&value, MOST));
        };
        let since = duration(self.number("/since_seconds"));
        line("state", format!("{} for {since}", self.text("/state")));
        let mut server = self.text("/server/address").to_owned();
        if let Some(software) = self.0.pointer("/server/software").and_then(Value::as_str) {
            let instance = self.text("/server/instance");
            // Writing to a string cannot fail.
            let _ = write!(server, " ({software}, instance {instance})");
        }
        line("server", server);
        if let Some(awake) = self.0.pointer("/server/awake_seconds").and_then(Value::as_u64) {
            line("awake", duration(awake));
        }
        if let Some(others) = self.0.pointer("/server/others") {
            line("others", company(others));
        }
        if self.number("/server/others/same_name") > 0 {
            let said =
                "in use by another agent, too; issue each machine a certificate of its own (fluidity pki)";
            line("identity", said.to_owned());
        }
        if let Some(state) = self.0.pointer("/control_plane/state").and_then(Value::as_str) {
            let ago = duration(self.number("/control_plane/asked_seconds_ago"));
            let message = self.text("/control_plane/message");
            line("service", format!("{state}, {ago} ago: {message}"));
        }
        if let Some(error) = self.0.pointer("/control_plane/error").and_then(Value::as_str) {
            line("service", error.to_owned());
        }
        if let Some(cost) = self.0.pointer("/cost").filter(|cost| cost.is_object()) {
            line("this month", month(cost));
        }
        if let Some(error) = self.0.pointer("/last_error").and_then(Value::as_str) {
            line("last error", error.to_owned());
        }
        let (active, total) = (self.number("/sessions/active"), self.number("/sessions/total"));
        line("sessions", format!("{active} active, {total} in all"));
        let (up, down) = (self.number("/bytes/up"), self.number("/bytes/down"));
        line("bytes", format!("{} up, {} down", bytes(up), bytes(down)));
        line("reconnects", self.number("/reconnects").to_string());
        line("version", self.text("/version").to_owned());
        let refusals = self.0.pointer("/refusals").and_then(Value::as_array);
        for refused in refusals.into_iter().flatten().take(MAX_REFUSALS) {
            line("refused", refusal(refused));
        }
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

fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// A request that was refused. What a server or a target said is kept from acting on the terminal.
fn refusal(refused: &Value) -> String {
    let text = |pointer| refused.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let ago = refused.pointer("/seconds_ago").and_then(Value::as_u64);
    let status = refused.pointer("/status").and_then(Value::as_u64);
    let status = status.map_or_else(String::new, |status| format!(" {status}"));
    let line = format!(
        "{} ago: {} {},{status} {}: {}",
        duration(ago.unwrap_or_default()),
        text("/kind"),
        text("/host"),
        text("/reason"),
        text("/said"),
    );
    let visible = |char: char| if char.is_control() { '?' } else { char };
    line.chars().map(visible).collect()
}

/// Who else is connected to the server.
fn company(others: &Value) -> String {
    let names = others.pointer("/agents").and_then(Value::as_array);
    let names: Vec<_> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    match others.pointer("/count").and_then(Value::as_u64) {
        None => "not known".into(),
        Some(0) => "nobody else is connected".into(),
        Some(count) => format!("{count} more: {}", names.join(", ")),
    }
}

/// What the server costs.
fn month(cost: &Value) -> String {
    let number = |pointer| cost.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let estimate = cost
        .pointer("/estimate")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    let currency = cost
        .pointer("/currency")
        .and_then(Value::as_str)
        .unwrap_or_default();
    format!(
        "about {estimate:.2} {currency}: {} awake, {} down, as far as this agent saw",
        duration(number("/awake_seconds")),
        bytes(number("/bytes_down"))
    )
}

fn bytes(count: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| count >= *size) {
        Some((name, size)) => format!("{}.{} {name}", count / size, count % size * 10 / size),
        None => format!("{count} B"),
    }
}

/// Refusals that a person is shown; the page has more.
const MAX_REFUSALS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(3);
/// Characters of a value.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn regression_no_value_acts_on_the_terminal_or_begins_a_line() {
        let evil = "no\nstate      connected\u{1b}[2J\u{9b}0m\u{202e}";
        let status = Status(json!({
            "state": evil,
            "server": { "address": evil, "software": evil, "instance": evil, "others": { "count": 1, "agents": [evil] } },
            "control_plane": { "state": evil, "message": evil, "error": evil },
            "cost": { "currency": evil },
            "last_error": evil,
            "version": evil,
        }));
        let bad = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
        assert!(!status.lines().contains(bad) && !status.json().contains(bad));
        assert!(!status.lines().lines().any(|line| line == "state      connected"));
        assert_eq!(serde_json::from_str::<Value>(&status.json()).unwrap(), status.0);
    }

    #[test]
    fn wire_and_logs_hold_the_same_characters_for_dangerous() {
        for char in '\0'..=char::MAX {
            let both = (
                fluidity_wire::is_dangerous(char),
                fluidity_daemon::escape::is_dangerous(char),
            );
            assert_eq!(both.0, both.1, "{char:?}");
        }
    }

    #[test]
    fn a_person_reads_state_server_error_and_traffic() {
        let status = Status(json!({
            "state": "disconnected",
            "since_seconds": 75,
            "server": {
                "address": "example.com:443", "name": "s", "instance": null, "software": null,
                "awake_seconds": 3600, "others": { "count": 2, "agents": ["laptop", "desk"], "same_name": 1 },
            },
            "control_plane": { "state": "running", "message": "it runs", "error": null, "asked_seconds_ago": 3 },
            "cost": {
                "month": "2026-11", "awake_seconds": 36_000, "bytes_down": 5_368_709_120_u64,
                "estimate": 0.634, "currency": "USD",
            },
            "last_error": "no answer from the server",
            "sessions": { "active": 2, "total": 10 },
            "bytes": { "up": 1023, "down": 1_610_612_736_u64 },
            "reconnects": 3,
            "version": "0.1.0",
            "refusals": [{
                "seconds_ago": 61, "kind": "connect", "host": "a.example", "status": 502,
                "reason": "name-not-found", "said": "there is\u{1b} none",
            }],
        }));
        let lines = status.lines();
        for line in [
            "state      disconnected for 1m 15s",
            "server     example.com:443",
            "awake      1h",
            "others     2 more: laptop, desk",
            "identity   in use by another agent, too; issue each machine a certificate of its own (fluidity pki)",
            "service    running, 3s ago: it runs",
            "this month about 0.63 USD: 10h awake, 5.0 GiB down, as far as this agent saw",
            "last error no answer from the server",
            "sessions   2 active, 10 in all",
            "bytes      1023 B up, 1.5 GiB down",
            "reconnects 3",
            "refused    1m 1s ago: connect a.example, 502 name-not-found: there is? none",
        ] {
            assert!(
                lines.lines().any(|found| found == line),
                "no {line:?} in\n{lines}"
            );
        }
        assert!(!status.is_well());
        assert_eq!(serde_json::from_str::<Value>(&status.json()).unwrap(), status.0);
    }
}
