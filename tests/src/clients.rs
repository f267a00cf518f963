//! Real clients as child processes: curl, git, python, Chromium. A missing one fails the test, unless skipping is
//! allowed out loud.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// A program that the tests need.
#[derive(Clone, Debug)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// A command of this program.
    pub fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.path);
        // A proxy of the surroundings must not take part.
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Finds a program in `PATH`. `None` only when `FLUIDITY_ALLOW_SKIP=1` and it is missing: the test returns then.
///
/// # Panics
/// When it is missing and skipping is not allowed.
pub fn tool(name: &str) -> Option<Tool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    or_skip(name, found)
}

/// The Python of `FLUIDITY_TEST_PYTHON` (with `tests/requirements.txt` installed), else `python3`.
pub fn python(module: &str) -> Option<Tool> {
    let program = std::env::var_os("FLUIDITY_TEST_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let import = format!("import {module}");
    let probe = std::process::Command::new(&program)
        .args(["-c", &import])
        .output();
    let works = probe.is_ok_and(|output| output.status.success());
    or_skip(
        &format!("python with {module}"),
        works.then(|| PathBuf::from(program)),
    )
}

fn or_skip(name: &str, found: Option<PathBuf>) -> Option<Tool> {
    if found.is_none() {
        let allowed = std::env::var_os("FLUIDITY_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(
            allowed,
            "{name} is missing: scripts/test.sh installs it (FLUIDITY_ALLOW_SKIP=1 skips)"
        );
        eprintln!("SKIPPED: {name} is missing, and FLUIDITY_ALLOW_SKIP=1");
    }
    found.map(|path| Tool { path })
}

/// Runs a command to its end.
pub async fn run(command: &mut tokio::process::Command, deadline: Duration) -> Output {
    let what = format!("{:?}", command.as_std());
    crate::within(deadline, &what, command.output())
        .await
        .expect("run")
}

/// A script of `tests/clients`.
pub fn client_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

/// A long-running script that prints the port that it listens on; stopped on drop.
#[derive(Debug)]
pub struct Script {
    _child: Child,
    /// Its first line.
    pub port: u16,
}

impl Script {
    /// Starts it and waits for its port.
    pub async fn start(command: &mut tokio::process::Command) -> Self {
        let what = format!("{:?}", command.as_std());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start a script");
        let out = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines();
        let line = crate::within(Duration::from_secs(20), &what, lines.next_line())
            .await
            .expect("its output");
        let port = line.as_deref().unwrap_or_default().trim().parse();
        Self {
            _child: child,
            port: port.unwrap_or_else(|_| panic!("{what} printed {line:?}, not a port")),
        }
    }
}
