//! `scripts/quickstart.sh`, cold: it serves its first request, is safe to run twice, and leaves nothing behind.

#![cfg(unix)]

use fluidity_tests::{Peer, Scratch, until, within};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::process::Child;

/// A running quickstart with its output in a file.
struct Quickstart {
    child: Child,
    out: PathBuf,
    state: PathBuf,
}

impl Quickstart {
    fn start(scratch: &Scratch, run: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/quickstart.sh");
        assert!(script.is_file(), "{} is missing", script.display());
        let state = scratch.path().join("state");
        let out = scratch.path().join(format!("{run}.log"));
        let file = std::fs::File::create(&out).expect("a log");
        let child = tokio::process::Command::new(script)
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
            Duration::from_secs(150),
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
    async fn interrupt(mut self) -> String {
        let group = self.child.id().expect("it runs");
        let status = Command::new("sh")
            .args(["-c", &format!("kill -INT -{group}")])
            .status()
            .expect("sh");
        assert!(status.success());
        let status = within(Duration::from_secs(20), "quickstart ends", self.child.wait())
            .await
            .expect("wait");
        let said = self.said();
        assert!(
            status.success() || status.code() == Some(130),
            "{status:?}\n{said}"
        );
        said
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        if let Some(group) = self.child.id() {
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -KILL -{group}")])
                .status();
        }
        if std::thread::panicking() {
            eprintln!("--- quickstart.sh:\n{}\n---", self.said());
        }
    }
}

/// Processes whose command line names this directory.
fn processes_of(state: &Path) -> Vec<String> {
    let needle = state.to_str().expect("UTF-8");
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().into_string().ok()?;
            pid.parse::<u32>().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid != own && line.contains(needle)).then(|| format!("{pid}: {line}"))
        })
        .collect()
}

#[tokio::test]
async fn quickstart_serves_its_first_request_twice_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    for run in ["first", "second"] {
        let quickstart = Quickstart::start(&scratch, run);
        let proxy = quickstart.proxy().await;
        assert!(
            !processes_of(&quickstart.state).is_empty(),
            "{run}: the daemons run from the state directory"
        );

        // The proxy that it names is alive, and closed for what the default policy closes.
        let proxy = proxy.parse().expect("an address");
        let (_client, head) = Peer::try_tunnel(proxy, "169.254.169.254:80").await;
        assert_eq!(head.status(), 403, "{run}");

        let state = quickstart.state.clone();
        let said = quickstart.interrupt().await;
        assert!(!said.contains("panicked"), "{said}");
        until(Duration::from_secs(5), "no process is left", || async {
            let left = processes_of(&state);
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        assert!(
            tokio::net::TcpStream::connect(proxy).await.is_err(),
            "{run}: the proxy is gone"
        );
    }
}
