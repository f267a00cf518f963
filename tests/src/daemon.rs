//! A daemon as a process: started from the real binary, its output kept in a file, stopped on drop.

use crate::exposition::{Exposition, Rules};
use crate::peer::Peer;
use crate::scratch::Scratch;
use crate::wait::until;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Child;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    pid: u32,
    scratch: Scratch,
    ports: Value,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its status.
    pub status: ExitStatus,
    /// How long it took from the signal.
    pub took: Duration,
}

impl Daemon {
    /// Starts `binary run -c CONFIG --ports-file …` and waits until the ports are known.
    ///
    /// # Panics
    /// When the binary is missing, or ends instead: with its output.
    pub async fn start(name: &'static str, config: &str, env: &[(String, String)]) -> Self {
        Self::launch(name, tokio::process::Command::new(binary(name)), config, env).await
    }

    /// The same with so many open files at the most, whatever it would like.
    pub async fn start_with_open_files(name: &'static str, config: &str, most: u32) -> Self {
        let mut command = tokio::process::Command::new("sh");
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(binary(name));
        Self::launch(name, command, config, &[]).await
    }

    async fn launch(
        name: &'static str,
        mut command: tokio::process::Command,
        config: &str,
        env: &[(String, String)],
    ) -> Self {
        let scratch = Scratch::new();
        let ports_file = scratch.path().join("ports.json");
        let config_file = scratch.write("config.yaml", config);
        let out = File::create(scratch.path().join("log")).expect("log file");
        command
            .args([
                OsStr::new("run"),
                "-c".as_ref(),
                config_file.as_ref(),
                "--ports-file".as_ref(),
            ])
            .arg(&ports_file)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("clone of the log file"))
            .stderr(out)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        let pid = child.id().expect("a fresh child has an id");
        let mut daemon = Self {
            name,
            child,
            pid,
            scratch,
            ports: Value::Null,
        };
        let started = Instant::now();
        daemon.ports = loop {
            if let Ok(text) = std::fs::read_to_string(&ports_file) {
                break serde_json::from_str(&text)
                    .expect("the ports file is JSON, and whole when it appears");
            }
            if let Some(status) = daemon.child.try_wait().expect("wait") {
                panic!("{name} ended ({status}) before it was ready");
            }
            assert!(started.elapsed() < START, "{name} did not write its ports file");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        daemon
    }

    /// An address from the ports file.
    pub fn port(&self, key: &str) -> SocketAddr {
        let text = self.ports.get(key).and_then(Value::as_str);
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no {key:?} in {}", self.ports))
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything that it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// GET on the admin listener: status and body.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        let admin = self.port("admin");
        let mut peer = Peer::dial(admin).await;
        peer.write(format!(
            "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let (head, body) = peer.read_response().await;
        (head.status(), String::from_utf8_lossy(&body).into_owned())
    }

    /// The metrics page in a format, read by its rules: the media type, and what it says.
    pub async fn metrics(&self, rules: Rules) -> (String, Exposition) {
        let admin = self.port("admin");
        let accept = match rules {
            // As Prometheus asks.
            Rules::OpenMetrics => {
                "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n"
            }
            Rules::Text => "",
        };
        let mut peer = Peer::dial(admin).await;
        peer.write(format!(
            "GET /metrics HTTP/1.1\r\nHost: {admin}\r\n{accept}Connection: close\r\n\r\n"
        ))
        .await;
        let (head, body) = peer.read_response().await;
        assert_eq!(head.status(), 200);
        let kind = head.one("content-type").unwrap_or_default().to_owned();
        let page = String::from_utf8(body).expect("UTF-8");
        (kind, Exposition::read(&page, rules))
    }

    /// `/api/status` as JSON.
    pub async fn status(&self) -> Value {
        let (code, body) = self.admin("/api/status").await;
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("the status is JSON")
    }

    /// Waits until `/readyz` answers 200; returns how long that took.
    pub async fn ready(&self, deadline: Duration) -> Duration {
        let started = Instant::now();
        until(deadline, &format!("{} ready", self.name), || async {
            match self.admin("/readyz").await {
                (200, _) => Ok(()),
                other => Err(other),
            }
        })
        .await;
        started.elapsed()
    }

    /// Resident memory in bytes: VmRSS of `/proc/PID/status`.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, in bytes: VmHWM.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("memory");
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .expect("a number")
            * 1024
    }

    /// Sends a signal: TERM, INT, STOP …
    pub fn signal(&self, signal: &str) {
        signal_pid(self.pid, signal);
    }

    /// SIGKILL, and waits until the process is gone.
    pub async fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().await.expect("wait");
    }

    /// Waits until the process ends by itself.
    pub async fn exit(mut self, deadline: Duration) -> (Exit, String) {
        let started = Instant::now();
        let status = crate::within(deadline, "the daemon ends", self.child.wait())
            .await
            .expect("wait");
        (
            Exit {
                status,
                took: started.elapsed(),
            },
            self.log(),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.start_kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!(
                "--- {} (pid {}), last lines:\n{}\n---",
                self.name,
                self.pid,
                lines[from..].join("\n")
            );
        }
    }
}

/// Sends a signal to a process that the test started. The shell's own `kill` is always there.
pub(crate) fn signal_pid(pid: u32, signal: &str) {
    let command = format!("kill -{signal} {pid}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("sh");
    assert!(status.success(), "{command}");
}

/// The path of a binary of this workspace: in `FLUIDITY_BIN_DIR`, or where cargo puts it beside the tests.
///
/// # Panics
/// When it was not built.
pub fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("FLUIDITY_BIN_DIR").map_or_else(
        || {
            // target/PROFILE/deps/TEST -> target/PROFILE
            let exe = std::env::current_exe().expect("the test has a path");
            exe.parent()
                .and_then(|deps| deps.parent())
                .expect("cargo's layout")
                .to_owned()
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins` first (scripts/test.sh does)",
        path.display()
    );
    path
}

/// Raises this process's limit of open files; daemons started afterwards inherit it.
pub fn raise_open_files(to: u32) {
    let pid = std::process::id();
    let command = format!("prlimit --pid {pid} --nofile={to}:");
    let status = Command::new("sh").args(["-c", &command]).status().expect("sh");
    assert!(
        status.success(),
        "{command}: raise the hard limit of open files (ulimit -Hn) to {to}"
    );
}

const START: Duration = Duration::from_secs(15);
const SHOWN_LINES: usize = 60;
