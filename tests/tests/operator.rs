//! What an operator reads of a running daemon beside its pages: the journal, and `fluidity status --watch`.

#![cfg(unix)]

use fluidity_tests::{Scratch, Setup, Stack, TestPki, command, said, server_file, tool, until};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.0.id());
        assert!(
            Command::new("sh")
                .args(["-c", &line])
                .status()
                .expect("sh")
                .success()
        );
    }

    fn ends_well(&mut self) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("wait") {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(began.elapsed() < DEADLINE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a server whose standard error is a file, from its start to its stop. `stream` is told as the journal's.
async fn logged(level: &str, stream: impl FnOnce(&File) -> String) -> String {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let file = server_file(&scratch, &pki, |settings| {
        settings.set("log.level", level);
    });
    let path = scratch.path().join("journal");
    let journal = File::create(&path).expect("a file");
    let stream = stream(&journal);
    let env: &[(&str, &OsStr)] = &[("JOURNAL_STREAM", stream.as_ref())];
    let mut server = command("fluidity-server", &["run", "-c", &file], env);
    let mut server = Running(server.stderr(journal).spawn().expect("the server"));
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    until(DEADLINE, "the server is ready", || async {
        let log = read();
        if log.contains("ready: ") { Ok(()) } else { Err(log) }
    })
    .await;
    server.signal("TERM");
    server.ends_well();
    read()
}

fn name_of(file: &File) -> String {
    let stream = file.metadata().expect("metadata");
    format!("{}:{}", stream.dev(), stream.ino())
}

#[tokio::test]
async fn lines_in_the_journal_begin_with_their_priority_and_have_no_time_of_their_own() {
    let log = logged("debug", name_of).await;
    let mut levels = std::collections::BTreeSet::new();
    for line in log.lines() {
        let rest = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (priority, rest) = rest.unwrap_or_else(|| panic!("no priority: {line}"));
        let level = rest.split_whitespace().next().expect("a level");
        let right = match level {
            "ERROR" => "3",
            "WARN" => "4",
            "INFO" => "6",
            "DEBUG" => "7",
            other => panic!("{other} is no level: {line}"),
        };
        assert_eq!(priority, right, "{line}");
        levels.insert(level);
    }
    assert!(levels.contains("INFO") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn lines_that_do_not_go_to_the_journal_are_as_ever_though_the_variable_was_inherited() {
    let elsewhere = |file: &File| {
        let stream = file.metadata().expect("metadata");
        format!("{}:{}", stream.dev(), stream.ino() + 1)
    };
    let log = logged("info", elsewhere).await;
    for line in log.lines() {
        assert!(line.starts_with("20") && line.contains("Z "), "{line}");
    }
}

#[test]
fn why_a_daemon_does_not_start_is_an_error_in_the_journal() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let file = server_file(&scratch, &pki, |settings| {
        settings.set("identity.key", "no-such.key");
    });
    let journal = scratch.path().join("journal");
    let stderr = File::create(&journal).expect("a file");
    let stream = name_of(&stderr);
    let mut server = command(
        "fluidity-server",
        &["run", "-c", &file],
        &[("JOURNAL_STREAM", stream.as_ref())],
    );
    assert!(!server.stderr(stderr).status().expect("run").success());
    let log = std::fs::read_to_string(journal).expect("the journal");
    assert!(
        log.contains("<3>error: ") && log.lines().all(|line| line.starts_with('<')),
        "{log}"
    );
}

fn watching(stack: &Stack, more: &[&str]) -> Command {
    let admin = stack.agent.port("admin").to_string();
    let mut args = vec!["status", "--admin", &admin, "--watch", "1"];
    args.extend(more);
    command("fluidity", &args, &[])
}

/// Reads lines until one that is wanted comes.
fn line_with(lines: &mut impl BufRead, wanted: &str) -> String {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        assert!(
            lines.read_line(&mut line).expect("a line") > 0,
            "no {wanted:?} in\n{all}"
        );
        if line.contains(wanted) {
            return line;
        }
        all.push_str(&line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_is_told_again_and_again_until_ctrl_c_and_follows_the_agent() {
    let stack = Setup::new().start().await;
    let mut status = Running(
        watching(&stack, &[])
            .stdout(Stdio::piped())
            .spawn()
            .expect("status"),
    );
    let mut lines = BufReader::new(status.0.stdout.take().expect("stdout"));
    for _ in 0..3 {
        let line = line_with(&mut lines, "state ");
        assert!(line.starts_with("state      connected for "), "{line:?}");
    }
    // The agent goes away: that is told, and asked again.
    stack.agent.signal("KILL");
    for _ in 0..2 {
        let line = line_with(&mut lines, "error ");
        assert!(line.starts_with("error      no agent can be asked"), "{line:?}");
    }
    status.signal("INT");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("the end");
    assert!(!rest.contains('\u{1b}'), "{rest:?}");
    status.ends_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_ends_when_nobody_reads_it() {
    let stack = Setup::new().start().await;
    let mut watch = watching(&stack, &["--json"]);
    let mut status = Running(
        watch
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("status"),
    );
    let mut lines = BufReader::new(status.0.stdout.take().expect("stdout"));
    let mut whole = String::new();
    // One document after the other, and each whole.
    while !whole.ends_with("}\n") || whole.lines().last() != Some("}") {
        assert!(lines.read_line(&mut whole).expect("a line") > 0);
    }
    let document: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(document["state"], "connected");
    drop(lines);
    status.ends_well();
    let mut said = String::new();
    status
        .0
        .stderr
        .take()
        .expect("stderr")
        .read_to_string(&mut said)
        .expect("the end");
    assert_eq!(said, "");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn on_a_terminal_the_watched_status_is_drawn_over_the_last() {
    // Of util-linux: gives a command a terminal.
    if tool("script").is_none() {
        return;
    }
    let stack = Setup::new().start().await;
    let watch = watching(&stack, &[]);
    let mut words = vec![watch.get_program().to_owned()];
    words.extend(watch.get_args().map(OsStr::to_owned));
    let line = words.join(OsStr::new(" "));
    let mut status = Command::new("script");
    status.args(["-qfec".as_ref(), line.as_os_str(), OsStr::new("/dev/null")]);
    let mut status = Running(
        status
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script"),
    );
    let mut lines = BufReader::new(status.0.stdout.take().expect("stdout"));
    let first = line_with(&mut lines, "state ");
    assert!(
        first.starts_with("\u{1b}[2J\u{1b}[Hstate      connected for "),
        "{first:?}"
    );
    let second = line_with(&mut lines, "state ");
    assert!(
        second.starts_with("\u{1b}[J\u{1b}[Hstate      connected for "),
        "{second:?}"
    );
    assert!(second.trim_end().ends_with("\u{1b}[K"), "{second:?}");
}

#[test]
fn a_senseless_pause_is_refused() {
    for seconds in ["0", "-1", "soon", "86401"] {
        let output = command("fluidity", &["status", &format!("--watch={seconds}")], &[])
            .output()
            .expect("run");
        assert_eq!(output.status.code(), Some(2), "{seconds}: {}", said(&output));
    }
}
