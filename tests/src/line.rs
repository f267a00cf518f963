//! An emulated line with a daemon at each end, an origin behind the far one, and clients at the near one: `tests/netsim`.

use crate::agent::TestAgent;
use crate::daemon::binary;
use crate::namespace::Namespace;
use crate::pki::TestPki;
use crate::scratch::Scratch;
use crate::server::TestServer;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A line; what runs on it is stopped on drop.
#[derive(Debug)]
pub struct Line {
    // In the order in which they end.
    agent: TestAgent,
    _server: TestServer,
    origin: Client,
    path: Client,
    near: Namespace,
    _far: Namespace,
    scratch: Scratch,
    _pki: TestPki,
    netsim: PathBuf,
}

/// A program of netsim that prints JSON lines.
#[derive(Debug)]
pub struct Client {
    child: Child,
    said: PathBuf,
}

const NEAR: &str = "10.99.0.1";
const FAR: &str = "10.99.0.2";
/// In a network of the test's own, where it is free.
const ORIGIN: &str = "127.0.0.1:18080";
const START: Duration = Duration::from_secs(30);

impl Line {
    /// A line as netsim's words say, with agent and server that are connected over it. Nothing, and a word about it, where there
    /// are no rights to make one.
    ///
    /// # Panics
    /// When netsim was not built, unless `FLUIDITY_ALLOW_SKIP=1`.
    pub fn new(words: &str) -> Option<Self> {
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        let (scratch, netsim) = (Scratch::new(), netsim()?);
        let control = scratch.path().join("control");
        let mut command = Command::new(&netsim);
        command.args([
            "path",
            "--ns-a",
            near.name(),
            "--ns-b",
            far.name(),
            "--set",
            words,
            "--control",
        ]);
        let path = Client::start(command.arg(&control), &scratch, "path");
        path.wait_for("ready");
        for (namespace, own, other) in [(&near, NEAR, FAR), (&far, FAR, NEAR)] {
            namespace.ip(&["addr", "add", own, "peer", other, "dev", "wan0"]);
            namespace.ip(&["link", "set", "wan0", "up", "mtu", "1500", "txqueuelen", "20000"]);
        }
        let mut command = inside(&far, &netsim);
        let origin = Client::start(command.args(["origin", "--listen", ORIGIN]), &scratch, "origin");
        origin.wait_for("ready");

        let pki = TestPki::new();
        let mut settings = TestServer::settings(&pki);
        settings.set("listen", format!("{FAR}:0"));
        settings.set("policy.allow", json!([{ "cidr": "127.0.0.0/8" }]));
        let server = far.run(|| TestServer::start(&settings));
        let settings = TestAgent::settings(&pki, server.quic());
        let agent = near.run(|| async {
            let agent = TestAgent::start(&settings).await;
            agent.ready(START).await;
            agent
        });
        Some(Self {
            agent,
            _server: server,
            origin,
            path,
            near,
            _far: far,
            scratch,
            _pki: pki,
            netsim,
        })
    }

    /// Changes the line.
    pub fn set(&self, words: &str) {
        let mut command = Command::new(&self.netsim);
        command.args(["control", "--send", words, "--control"]);
        let changed = command.arg(self.scratch.path().join("control")).output();
        let changed = changed.expect("run netsim");
        assert!(
            changed.status.success(),
            "{words}: {changed:?} {}",
            self.path.log()
        );
    }

    /// Starts a client of a name through the tunnel: a mode of netsim and its options.
    pub fn client(&self, name: &str, args: &[&str]) -> Client {
        let proxy = self.agent.proxy().to_string();
        let mut command = inside(&self.near, &self.netsim);
        command.args(args).args(["--proxy", &proxy, "--target", ORIGIN]);
        Client::start(&mut command, &self.scratch, name)
    }

    /// How far an upload of a name has come at the origin.
    pub fn uploaded(&self, name: &str) -> u64 {
        let said = self.origin.said();
        let last = said.iter().rev().find(|said| said["upload"] == name);
        last.and_then(|last| last["bytes"].as_u64()).unwrap_or(0)
    }
}

impl Client {
    fn start(command: &mut Command, scratch: &Scratch, name: &str) -> Self {
        let said = scratch.path().join(name);
        let out = File::create(&said).expect("a file");
        let both = out.try_clone().expect("clone of the file");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(both).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { child, said }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// The JSON in it; a line that is being written is left out.
    pub fn said(&self) -> Vec<Value> {
        let log = self.log();
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How many bytes it has moved so far.
    pub fn bytes(&self) -> u64 {
        let said = self.said();
        let last = said.iter().rev().find_map(|said| said["bytes"].as_u64());
        last.unwrap_or(0)
    }

    /// Waits until it ends, and tells what it printed.
    pub fn finish(mut self, deadline: Duration) -> Vec<Value> {
        let child = &mut self.child;
        let ended = poll(deadline, || matches!(child.try_wait(), Ok(Some(_))));
        assert!(ended, "it does not end: {}", self.log());
        self.said()
    }

    fn wait_for(&self, word: &str) {
        let there = poll(START, || self.log().contains(word));
        assert!(there, "not {word}: {}", self.log());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a condition came true in time. None of this is async: the programs are other processes.
fn poll(deadline: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < deadline {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn inside(namespace: &Namespace, program: &Path) -> Command {
    let mut command = Command::new("ip");
    // It becomes the program: what is killed is that.
    command.args(["netns", "exec", namespace.name()]).arg(program);
    command
}

/// In `FLUIDITY_NETSIM`, or where scripts/test.sh builds it.
fn netsim() -> Option<PathBuf> {
    let named = std::env::var_os("FLUIDITY_NETSIM").map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        let profile = binary("fluidity");
        let target = profile.ancestors().nth(2).expect("cargo's layout").to_owned();
        target.join("bench/release/netsim")
    });
    if path.is_file() {
        return Some(path);
    }
    let allowed = std::env::var_os("FLUIDITY_ALLOW_SKIP").is_some_and(|value| value == "1");
    let build = "cargo build --release --manifest-path tests/netsim/Cargo.toml --target-dir target/bench";
    assert!(
        allowed,
        "{} is missing: `{build}` (scripts/test.sh does it; FLUIDITY_ALLOW_SKIP=1 skips)",
        path.display()
    );
    eprintln!("SKIPPED: netsim is missing, and FLUIDITY_ALLOW_SKIP=1");
    None
}
