//! The programs as commands: one command line, its words and its end.

use crate::agent::TestAgent;
use crate::daemon::binary;
use crate::pki::TestPki;
use crate::scratch::Scratch;
use crate::server::TestServer;
use crate::settings::Settings;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command line of a program, in an environment without settings of its own but `env`.
pub fn command(program: &str, args: &[&str], env: &[(&str, &OsStr)]) -> Command {
    let mut command = Command::new(binary(program));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLUIDITY_")) {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    command
}

/// What it printed, on both outputs.
pub fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The command fails, and says all of this.
pub fn fails(program: &str, args: &[&str], env: &[(&str, &OsStr)], words: &[&str]) -> String {
    let output = command(program, args, env).output().expect("run");
    let said = said(&output);
    assert!(!output.status.success(), "{program} {args:?} is content: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{program} {args:?} does not say {word:?}: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A file of an agent with one change.
pub fn agent_file(scratch: &Scratch, pki: &TestPki, change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = TestAgent::settings(pki, "127.0.0.1:4433".parse().expect("an address"));
    change(&mut settings);
    text(&scratch.write("agent.yaml", &settings.text())).to_owned()
}

/// A file of a server with one change.
pub fn server_file(scratch: &Scratch, pki: &TestPki, change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = TestServer::settings(pki);
    change(&mut settings);
    text(&scratch.write("server.yaml", &settings.text())).to_owned()
}

/// Both `config check` and `run` refuse the file, in the same words.
pub fn refused(program: &str, file: &str, words: &[&str]) {
    fails(program, &["config", "check", "-c", file], &[], words);
    fails(
        program,
        &["run", "-c", file, "--ports-file=/dev/null"],
        &[],
        words,
    );
}
