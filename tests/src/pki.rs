//! A private CA made by the real `fluidity pki`, in a directory of its own.

use crate::daemon::binary;
use crate::scratch::Scratch;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

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

    /// Gives `name` a new certificate and key, for as long as `fluidity pki` does not make them.
    pub fn issue_for(&self, name: &str, life: Duration) -> SystemTime {
        let text = |name: &str| std::fs::read_to_string(self.scratch.path().join(name)).expect("read");
        let ca_key = KeyPair::from_pem(&text("ca.key")).expect("the CA's key");
        let issuer = Issuer::from_ca_cert_pem(&text("ca.pem"), ca_key).expect("the CA");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        // Certificates tell whole seconds.
        let end = SystemTime::now() + life;
        params.not_before = (end - Duration::from_secs(3600)).into();
        params.not_after = end.into();
        params.use_authority_key_identifier_extension = true;
        (params.subject_alt_names, params.extended_key_usages) = match name {
            SERVER_NAME => (
                vec![SanType::DnsName(name.try_into().expect("a name"))],
                vec![ExtendedKeyUsagePurpose::ServerAuth],
            ),
            _ => (
                vec![SanType::URI(
                    format!("fluidity://agent/{name}").try_into().expect("a URI"),
                )],
                vec![ExtendedKeyUsagePurpose::ClientAuth],
            ),
        };
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        self.replace(&self.file(&format!("{name}.key")), &key.serialize_pem());
        self.replace(&self.file(&format!("{name}.pem")), &certificate.pem());
        end
    }

    /// Puts a file in the place of another in one moment.
    pub fn replace(&self, path: &Path, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("write");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        }
        std::fs::rename(&new, path).expect("rename");
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
