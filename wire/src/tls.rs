//! Who speaks: identities from PEM files and the mutual TLS 1.3 of both ends.
//!
//! Trust is the private CA alone, never the system's roots. A server is checked against a configured name, never an
//! address; an agent is who its certificate's URI SAN `fluidity://agent/NAME` says. There is no session resumption and
//! no 0-RTT: a handshake proves the identity as it is now. One crypto provider, aws-lc-rs, always named.

mod agent;
pub mod reload;
mod source;

pub use agent::{AgentId, PeerIdentityError};
pub use source::{IdentitySource, Pem};

use aws_lc_rs::{digest, hkdf};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// The ALPN of the protocol; another number is a breaking change.
pub const ALPN: &[u8] = b"fluidity/1";

/// A daemon's certificate and key, and the CA that its peers are checked against.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    secret: Arc<PrivateKeyDer<'static>>,
    roots: Arc<RootCertStore>,
    not_after: SystemTime,
    subject: String,
}

/// Why an identity cannot be used. Each text says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read {}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no PEM of the kind that is needed.
    #[error("{} holds no {what} in PEM form; use the file that fluidity pki made", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Others on this machine can read the private key.
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    KeyReadable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The certificate cannot be parsed.
    #[error("{} holds a certificate that cannot be understood; use the file that fluidity pki made", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate {} ended on {not_after}; make a new one with: fluidity pki renew", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last moment of its time.
        not_after: String,
    },
    /// The certificate's time has not come.
    #[error(
        "the certificate {} is valid only from {not_before}, and here it is {now}; set this machine's clock",
        path.display()
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The first moment of its time.
        not_before: String,
        /// What the clock says.
        now: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key {} does not belong to the certificate {}; use the two files that were made together",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key is of a kind that TLS cannot sign with.
    #[error("{} holds a key that TLS cannot use; make a new one with: fluidity pki renew", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the CA file is not one of a CA.
    #[error("{} holds a certificate that is not a CA's; use the ca.pem that fluidity pki init made", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
}

impl Identity {
    /// Reads and checks an identity. The CA file may hold several CAs, so that one can take over from another.
    ///
    /// # Errors
    /// A file that is missing or is not what it should be, a private key that others can read, a key of another
    /// certificate, a certificate whose time is not now.
    pub fn load(certificate: &Path, key: &Path, ca: &Path) -> Result<Self, IdentityError> {
        IdentitySource::files(certificate, key, ca).load()
    }

    fn from_source(source: &IdentitySource) -> Result<Self, IdentityError> {
        let chain = certificates(&source.certificate)?;
        let (not_after, subject) = check_time(source.certificate.name(), &chain)?;
        let secret = private_key(&source.key)?;
        let signing = provider::default_provider()
            .key_provider
            .load_private_key(secret.clone_key())
            .map_err(|_| IdentityError::Key {
                path: source.key.name().into(),
            })?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| IdentityError::Mismatch {
            certificate: source.certificate.name().into(),
            key: source.key.name().into(),
        })?;
        Ok(Self {
            key: Arc::new(certified),
            secret: Arc::new(secret),
            roots: Arc::new(roots(&source.ca)?),
            not_after,
            subject,
        })
    }

    /// TLS for a server: every client must show a certificate of the CA that is made for clients.
    pub fn server_config(&self) -> ServerConfig {
        let provider = crypto_provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect_supported()
            .with_client_cert_verifier(verifier.build().expect_supported())
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config
    }

    /// TLS for an agent: the server must show a certificate of the CA that is made for servers.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect_supported()
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config
    }

    /// A key that only holders of this identity's private key can derive (HKDF-SHA-256), one per label.
    pub fn derive_key(&self, label: &[u8]) -> [u8; 32] {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"fluidity/1 identity");
        let mut key = [0; 32];
        let info = [label];
        salt.extract(self.secret.secret_der())
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect_supported();
        key
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The certificate's subject, for people.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// The one crypto provider of the tree, with the suite first that this CPU is fastest at. A server takes the first
/// that its client names, so that the weaker machine of the two, as a rule the agent's, decides.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    let mut provider = provider::default_provider();
    provider.cipher_suites = vec![
        provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
        provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
        provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    // Named, because the order of the defaults depends on what else is linked. The hybrid first: what is recorded today
    // is not to be read by a quantum computer of tomorrow, and a connection pays for it once.
    provider.kx_groups = vec![
        provider::kx_group::X25519MLKEM768,
        provider::kx_group::X25519,
        provider::kx_group::SECP256R1,
    ];
    if !cpu_has_aes() {
        provider.cipher_suites.rotate_right(1);
    }
    Arc::new(provider)
}

/// The SHA-256 fingerprint of a certificate's DER, for people to compare.
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
    bytes
}

fn cpu_has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bytes = pem.read()?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(IdentityError::Pem {
            path: pem.name().into(),
            what: "certificate",
        }),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let bytes = pem.read_private()?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| IdentityError::Pem {
        path: pem.name().into(),
        what: "private key",
    })
}

/// Reads a file that holds a private key, and refuses one that its group or others may read. Where files have no
/// such modes, it only reads.
///
/// # Errors
/// [`IdentityError::Read`] and [`IdentityError::KeyReadable`].
pub fn read_private(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let read = |source| IdentityError::Read {
        path: path.into(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The open file, not the path: what is checked is what is read.
        let mode = file.metadata().map_err(read)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::KeyReadable {
                path: path.into(),
                mode,
            });
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

fn roots(pem: &Pem) -> Result<RootCertStore, IdentityError> {
    let path = pem.name();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| IdentityError::Certificate { path: path.into() })?;
        if !parsed.is_ca() {
            return Err(IdentityError::NotCa { path: path.into() });
        }
        roots
            .add(certificate)
            .map_err(|_| IdentityError::Certificate { path: path.into() })?;
    }
    Ok(roots)
}

fn check_time(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(SystemTime, String), IdentityError> {
    let unparsed = || IdentityError::Certificate { path: path.into() };
    let leaf = chain.first().ok_or_else(unparsed)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| unparsed())?;
    let validity = leaf.validity();
    let now = ASN1Time::now();
    if now > validity.not_after {
        return Err(IdentityError::Expired {
            path: path.into(),
            not_after: validity.not_after.to_string(),
        });
    }
    if now < validity.not_before {
        return Err(IdentityError::NotYetValid {
            path: path.into(),
            not_before: validity.not_before.to_string(),
            now: now.to_string(),
        });
    }
    let seconds = u64::try_from(validity.not_after.timestamp()).unwrap_or_default();
    Ok((
        UNIX_EPOCH + Duration::from_secs(seconds),
        leaf.subject().to_string(),
    ))
}

/// `expect` for what this build of the provider is known to support.
trait ExpectSupported<T> {
    fn expect_supported(self) -> T;
}

impl<T, E: fmt::Debug> ExpectSupported<T> for Result<T, E> {
    fn expect_supported(self) -> T {
        self.expect("aws-lc-rs supports TLS 1.3 with these suites, and the roots are not empty")
    }
}

#[cfg(test)]
mod tests;
