//! `scripts/quickstart.sh` from an empty state directory: it serves its first request, is safe to run twice, says
//! what goes wrong, and leaves nothing behind. With the programs of these tests: the build is `scripts/test.sh`'s part.

#![cfg(unix)]

use fluidity_tests::{Peer, Scratch, binary, until, within};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Child;

/// A running quickstart with its output in a file.
struct Quickstart {
    child: Child,
    out: PathBuf,
    state: PathBuf,
}

impl Quickstart {
    fn start(scratch: &Scratch, run: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/quickstart.sh");
        assert!(script.is_file(), "{} is missing", script.display());
        let state = scratch.path().join("state");
        let out = scratch.path().join(format!("{run}.log"));
        let file = std::fs::File::create(&out).expect("a log");
        let programs = binary("fluidity").parent().expect("a directory").to_owned();
        let child = tokio::process::Command::new(script)
            .args(arguments)
            .env("FLUIDITY_BIN_DIR", programs)
            .env("FLUIDITY_STATE", &state)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .expect("start quickstart.sh");
        Self { child, out, state }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// The proxy's address, once it is printed after the first request has passed.
    async fn proxy(&self) -> String {
        until(
            Duration::from_secs(60),
            "quickstart says how to use the proxy",
            || async {
                let said = self.said();
                let line = said
                    .lines()
                    .find(|line| line.contains("curl") && line.contains("http://127.0.0.1:"));
                let found = line.and_then(|line| {
                    let at = line.find("http://127.0.0.1:")? + "http://".len();
                    let rest = &line[at..];
                    let end = rest
                        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
                        .unwrap_or(rest.len());
                    Some(rest[..end].to_owned())
                });
                found.ok_or(said)
            },
        )
        .await
    }

    /// Ctrl-C: SIGINT to the whole foreground group, as a terminal sends it.
    async fn interrupt(self) -> String {
        let group = self.child.id().expect("it runs");
        signal("INT", &format!("-{group}"));
        let (status, said) = self.end().await;
        assert!(status.success(), "{status:?}\n{said}");
        said
    }

    /// Waits until it ends and no process of it is left.
    async fn end(mut self) -> (ExitStatus, String) {
        let status = within(Duration::from_secs(30), "quickstart ends", self.child.wait())
            .await
            .expect("wait");
        until(Duration::from_secs(5), "no process is left", || async {
            let left = processes_of(&self.state);
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        (status, self.said())
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // Only a test that fails leaves something to end: the script, and the daemons in their own groups.
        for pid in self.child.id().into_iter().chain(processes_of(&self.state)) {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL {pid}")])
                .status();
        }
        if std::thread::panicking() {
            eprintln!("--- quickstart.sh:\n{}\n---", self.said());
        }
    }
}

fn signal(signal: &str, whom: &str) {
    let command = format!("kill -{signal} {whom}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("sh");
    assert!(status.success(), "{command}");
}

/// Processes whose command line names this directory.
fn processes_of(state: &Path) -> Vec<u32> {
    processes(state.to_str().expect("UTF-8"))
}

fn processes(needle: &str) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().into_string().ok()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid != std::process::id() && line.contains(needle)).then_some(pid)
        })
        .collect()
}

#[tokio::test]
async fn quickstart_serves_its_first_request_twice_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let mut keys = Vec::new();
    for run in ["first", "second"] {
        let quickstart = Quickstart::start(&scratch, run, &[]);
        let proxy = quickstart.proxy().await;
        assert_eq!(
            processes_of(&quickstart.state).len(),
            3,
            "{run}: agent, server and origin run from the state directory"
        );

        // The proxy that it names is alive, and closed for what the default policy closes.
        let proxy = proxy.parse().expect("an address");
        let (_client, head) = Peer::try_tunnel(proxy, "169.254.169.254:80").await;
        assert_eq!(head.status(), 403, "{run}");

        keys.push(std::fs::read(quickstart.state.join("pki/agent-quickstart.key")).expect("a key"));
        let said = quickstart.interrupt().await;
        assert!(!said.contains("panicked"), "{said}");
        assert!(
            tokio::net::TcpStream::connect(proxy).await.is_err(),
            "{run}: the proxy is gone"
        );
    }
    assert_eq!(keys.first(), keys.last(), "nothing is issued needlessly");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_when_it_was_asked_for() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let (status, said) = Quickstart::start(&scratch, "taken", &["--port", &port])
        .end()
        .await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("cannot listen on port {port}")) && said.contains("--port"),
        "{said}"
    );
}

#[tokio::test]
async fn a_daemon_that_dies_ends_it_all_with_the_daemons_last_words() {
    let scratch = Scratch::new();
    let quickstart = Quickstart::start(&scratch, "dies", &["--port", "0"]);
    quickstart.proxy().await;
    let config = quickstart.state.join("server.yaml");
    let server = processes(&format!("fluidity-server run -c {}", config.display()));
    let [server] = server.as_slice() else {
        panic!("not one server: {server:?}")
    };
    signal("KILL", &server.to_string());
    let (status, said) = quickstart.end().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("The server has ended") && said.contains("ready: serving agents"),
        "{said}"
    );
}
