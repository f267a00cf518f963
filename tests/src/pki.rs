//! A private CA made by the real `fluidity pki`, in a directory of its own.

use crate::daemon::binary;
use crate::scratch::Scratch;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A CA with one server identity and one agent identity.
#[derive(Debug)]
pub struct TestPki {
    scratch: Scratch,
}

/// The name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "fluidity-server";
/// The name in the agent's certificate.
pub(crate) const AGENT_NAME: &str = "laptop";

impl TestPki {
    /// `pki init`, `issue server`, `issue agent`.
    pub fn new() -> Self {
        let pki = Self {
            scratch: Scratch::new(),
        };
        pki.must(&["init"]);
        pki.must(&["issue", "server", SERVER_NAME]);
        pki.must(&["issue", "agent", AGENT_NAME]);
        pki
    }

    /// Runs `fluidity pki ARGS` on this CA's directory.
    pub fn pki(&self, args: &[&str]) -> Output {
        Self::pki_in(self.scratch.path(), args)
    }

    /// Runs `fluidity pki ARGS` on a directory.
    pub fn pki_in(dir: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(binary("fluidity"));
        command.arg("pki").args(args).arg("--dir").arg(dir);
        command.output().expect("run fluidity pki")
    }

    /// Issues another agent's identity.
    pub fn issue_agent(&self, name: &str) {
        self.must(&["issue", "agent", name]);
    }

    fn must(&self, args: &[&str]) {
        let output = self.pki(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fluidity pki {args:?}: {text}");
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A file of the CA, by whose it is: `ca.pem`, `laptop.key` (an agent's), `fluidity-server.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        let role = match name.rsplit_once('.') {
            Some(("ca", _)) => "",
            Some((SERVER_NAME, _)) => "server-",
            _ => "agent-",
        };
        self.scratch.path().join(format!("{role}{name}"))
    }

    /// The `identity` section for `name`.
    pub fn identity(&self, name: &str) -> serde_json::Value {
        serde_json::json!({
            "certificate": self.file(&format!("{name}.pem")),
            "key": self.file(&format!("{name}.key")),
            "ca": self.file("ca.pem"),
        })
    }
}

impl Default for TestPki {
    fn default() -> Self {
        Self::new()
    }
}
