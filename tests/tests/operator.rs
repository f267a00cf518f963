//! What an operator reads of a running daemon beside its pages: the journal.

#![cfg(unix)]

use fluidity_tests::{Scratch, TestPki, command, server_file, until};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
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
