//! A CA with what it issues, as files, for the tests of identities.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::path::PathBuf;

mod files;
mod handshake;
mod names;
mod ownership;
mod reload;
mod usage;

const SERVER: &str = "fluidity-server";

/// A directory with a CA and what it issues, gone when dropped.
struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// As `fluidity pki` makes them: it signs leaves only.
    fn new() -> Self {
        Self::with(BasicConstraints::Constrained(0))
    }

    fn with(constraints: BasicConstraints) -> Self {
        let name = format!("fluidity-tls-{}-{:x}", std::process::id(), rand::random::<u64>());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(constraints);
        fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { directory, issuer }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        self.write_key(name, &key.serialize_pem());
    }

    fn write_key(&self, name: &str, pem: &str) {
        let path = self.path(&format!("{name}.key"));
        fs::write(&path, pem).unwrap();
        set_mode(&path, 0o600);
    }

    fn server(&self) -> Identity {
        self.issue("server", server);
        self.load("server").unwrap()
    }

    fn agent(&self) -> Identity {
        self.issue("agent", agent);
        self.load("agent").unwrap()
    }

    fn load(&self, name: &str) -> Result<Identity, IdentityError> {
        let file = |ending: &str| self.path(&format!("{name}.{ending}"));
        Identity::load(&file("pem"), &file("key"), &self.path("ca.pem"))
    }

    /// What is said about an identity that is refused.
    fn refusal(&self, name: &str) -> String {
        self.load(name).unwrap_err().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

fn server(params: &mut CertificateParams) {
    params.subject_alt_names = vec![SanType::DnsName(SERVER.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

fn agent(params: &mut CertificateParams) {
    params.subject_alt_names = vec![uri("fluidity://agent/laptop")];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}
