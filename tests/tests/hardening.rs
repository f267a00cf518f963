//! What a daemon gives up at its start, and takes: no dumps, no new rights, every descriptor there is.

#![cfg(target_os = "linux")]

use fluidity_tests::{Daemon, Setup};
use std::fs;

fn line(daemon: &Daemon, file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn daemons_cannot_be_dumped_nor_gain_rights_and_take_the_descriptors_there_are() {
    let stack = Setup::new().start().await;
    for daemon in [&*stack.agent, &*stack.server] {
        assert_eq!(line(daemon, "status", "NoNewPrivs:"), ["1"]);
        assert_eq!(line(daemon, "limits", "Max core file size")[..2], ["0", "0"]);
        let files = line(daemon, "limits", "Max open files");
        assert_eq!(files[0], files[1], "soft and hard");
    }
}
