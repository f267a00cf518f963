//! The private CA, driven as its commands are.

use super::*;
use clap::{CommandFactory, Parser};
use std::fs;
use std::path::Path;

mod connections;
mod files;
mod issued;
mod refusals;
mod shown;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: PkiCommand,
}

/// A directory for a CA, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    /// A place where no directory is yet.
    fn new() -> Self {
        let name = format!("fluidity-pki-{}-{:x}", std::process::id(), rand::random::<u64>());
        Self(std::env::temp_dir().join(name))
    }

    /// A CA with the server `fluidity-server` and the agent `laptop`.
    fn with_pair() -> Self {
        let scratch = Self::new();
        scratch.must("init");
        scratch.must("issue server fluidity-server");
        scratch.must("issue agent laptop");
        scratch
    }

    /// Runs a command line, split at spaces.
    fn pki(&self, line: &str) -> Result<String, PkiError> {
        let dir = self.0.to_str().unwrap();
        let words = ["pki"].into_iter().chain(line.split(' ')).chain(["--dir", dir]);
        let mut out = Vec::new();
        run_to(Line::try_parse_from(words).unwrap().command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn must(&self, line: &str) -> String {
        self.pki(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The refusal of a command line, with its causes.
    fn refusal(&self, line: &str) -> String {
        match self.pki(line) {
            Ok(out) => panic!("{line} was not refused: {out}"),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn certificate(&self, stem: &str) -> Certificate {
        Certificate::read(&self.path(&format!("{stem}.pem"))).unwrap()
    }

    /// Every file's name, sorted.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Writes what a CA of another time would have made.
    fn plant(&self, stem: &str, pair: &directory::Pair) {
        let directory = Directory::new(self.0.clone());
        directory.create().unwrap();
        directory.write(stem, pair, Existing::Replaced).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_command_line_holds_together() {
    Line::command().debug_assert();
    for wrong in [
        "init --days 0",
        "init --days 36501",
        "renew agent",
        "renew laptop",
        "issue",
        "issue agent",
    ] {
        let words = ["pki"].into_iter().chain(wrong.split(' '));
        assert!(Line::try_parse_from(words).is_err(), "{wrong}");
    }
}
