//! A CA with a server and an agent, as files, for one test.

use fluidity_wire::tls::Identity;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn new() -> Self {
        let directory = std::env::temp_dir().join(format!(
            "fluidity-wire-{}-{:x}",
            std::process::id(),
            rand::random::<u64>()
        ));
        fs::create_dir_all(&directory).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = params.self_signed(&key).unwrap();
        fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let uri = SanType::URI("fluidity://agent/laptop".try_into().unwrap());
        let name = SanType::DnsName("fluidity-server".try_into().unwrap());
        issue(
            &directory,
            &issuer,
            "agent",
            (uri, ExtendedKeyUsagePurpose::ClientAuth),
        );
        issue(
            &directory,
            &issuer,
            "server",
            (name, ExtendedKeyUsagePurpose::ServerAuth),
        );
        Self(directory)
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let path = |name: String| self.0.join(name);
        Identity::load(
            &path(format!("{name}.pem")),
            &path(format!("{name}.key")),
            &path("ca.pem".into()),
        )
        .unwrap()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn issue(
    directory: &Path,
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    (san, usage): (SanType, ExtendedKeyUsagePurpose),
) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![san];
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, issuer).unwrap();
    fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    let file = directory.join(format!("{name}.key"));
    fs::write(&file, key.serialize_pem()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}
