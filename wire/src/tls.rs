//! Who speaks: identities from PEM files and the mutual TLS 1.3 of both ends.
//!
//! Trust is the private CA alone, never the system's roots. A server is checked against a configured name, never an
//! address; an agent is who its certificate's URI SAN `fluidity://agent/NAME` says. There is no session resumption and
//! no 0-RTT: a handshake proves the identity as it is now. One crypto provider, aws-lc-rs, always named.

mod agent;
mod error;
mod ownership;
mod pem;
mod permissions;
pub mod reload;
mod role;
mod source;
pub mod term;
mod verify;

pub use agent::{AgentId, PeerIdentityError};
pub use error::IdentityError;
pub use pem::Found;
pub use permissions::Audience;
pub use role::{Holder, Role};
pub use source::{IdentitySource, Pem};

use aws_lc_rs::{digest, hkdf};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use verify::{Agents, Authorities, Servers};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// The ALPN of the protocol; another number is a breaking change.
pub const ALPN: &[u8] = b"fluidity/1";

/// A daemon's certificate and key, and the CA that its peers are checked against.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    secret: Arc<PrivateKeyDer<'static>>,
    authorities: Authorities,
    not_after: SystemTime,
    subject: String,
    holder: Holder,
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
        ownership::check(source)?;
        let mut chain = certificates(&source.certificate)?;
        let keys = private_keys(&source.key)?;
        let (key, leaf) = matching(&keys, &chain).ok_or_else(|| mismatch(source, &keys))?;
        // Some bundles have the CA first; on the wire the leaf is (RFC 8446 §4.4.2).
        if let Some(chain) = chain.get_mut(..=leaf) {
            chain.rotate_right(1);
        }
        let path = source.certificate.name();
        let first = chain
            .first()
            .ok_or_else(|| IdentityError::Certificate { path: path.into() })?;
        if let Some(role) = source.role {
            role.check(first).map_err(|holder| IdentityError::Role {
                path: path.into(),
                holder,
                role,
            })?;
        }
        let (not_after, subject) = check_time(path, first)?;
        if let Some(role) = source.role
            && !role::says_what_for(first)
        {
            return Err(IdentityError::Usage {
                path: path.into(),
                usage: role.usage(),
            });
        }
        Ok(Self {
            holder: Holder::of(first),
            key: Arc::new(CertifiedKey::new(chain, signing_key(key, source)?)),
            secret: Arc::new(key.clone_key()),
            authorities: Authorities::load(&source.ca)?,
            not_after,
            subject,
        })
    }

    /// TLS for a server: every client must show a certificate of the CA that is made for clients.
    pub fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect_supported()
            .with_client_cert_verifier(Arc::new(self.agents()))
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
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.servers()))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config
    }

    /// Whether a new handshake of an agent with these certificates would be accepted now.
    ///
    /// # Errors
    /// As the handshake would fail.
    pub fn accepts_agent(&self, certificates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let (own, others) = certificates
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        self.agents()
            .verify_client_cert(own, others, UnixTime::now())
            .map(drop)
    }

    /// Whether a new handshake with a server of this name and these certificates would be accepted now.
    ///
    /// # Errors
    /// As the handshake would fail.
    pub fn accepts_server(
        &self,
        certificates: &[CertificateDer<'_>],
        name: &str,
    ) -> Result<(), rustls::Error> {
        let (own, others) = certificates
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let name = ServerName::try_from(name).map_err(|error| rustls::Error::General(error.to_string()))?;
        self.servers()
            .verify_server_cert(own, others, &name, &[], UnixTime::now())
            .map(drop)
    }

    fn agents(&self) -> Agents {
        Agents::of(&self.authorities).expect_supported()
    }

    fn servers(&self) -> Servers {
        Servers::of(&self.authorities).expect_supported()
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

    /// Whom the certificate names.
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether one of the CAs that peers are checked against issued the certificate itself. It need not be so while one CA
    /// takes over from another; at any other time it is a mistake.
    pub fn is_of_its_ca(&self) -> bool {
        let Some((leaf, others)) = self.key.cert.split_first() else {
            return false;
        };
        let now = UnixTime::now();
        let verified = match self.holder {
            Holder::Server(_) => self
                .servers()
                .verify_server_cert(leaf, others, &ServerName::IpAddress(UNNAMED.into()), &[], now)
                .map(drop),
            _ => self.agents().verify_client_cert(leaf, others, now).map(drop),
        };
        // Names and dates are looked at elsewhere.
        !matches!(
            verified,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        )
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
    pem::certificates(&pem.read()?).map_err(|found| IdentityError::Pem {
        path: pem.name().into(),
        what: "certificate",
        found,
    })
}

fn private_keys(pem: &Pem) -> Result<Vec<PrivateKeyDer<'static>>, IdentityError> {
    pem::private_keys(&pem.read_private()?).map_err(|found| IdentityError::Pem {
        path: pem.name().into(),
        what: "private key",
        found,
    })
}

/// The first key that belongs to one of the certificates, and which.
fn matching<'a>(
    keys: &'a [PrivateKeyDer<'static>],
    chain: &[CertificateDer<'static>],
) -> Option<(&'a PrivateKeyDer<'static>, usize)> {
    keys.iter().find_map(|key| {
        let signing = provider::default_provider()
            .key_provider
            .load_private_key(key.clone_key())
            .ok()?;
        let belongs = |certificate: &CertificateDer<'static>| {
            let pair = CertifiedKey::new(vec![certificate.clone()], signing.clone());
            pair.keys_match().is_ok()
        };
        chain.iter().position(belongs).map(|leaf| (key, leaf))
    })
}

/// Why no key belongs to a certificate.
fn mismatch(source: &IdentitySource, keys: &[PrivateKeyDer<'static>]) -> IdentityError {
    let usable = |key: &PrivateKeyDer<'static>| signing_key(key, source);
    let refused = keys.iter().map(usable).find_map(Result::err);
    let chain = certificates(&source.certificate).unwrap_or_default();
    let parsed = chain
        .iter()
        .all(|certificate| X509Certificate::from_der(certificate).is_ok());
    match refused {
        Some(refused) => refused,
        None if !parsed => IdentityError::Certificate {
            path: source.certificate.name().into(),
        },
        None => IdentityError::Mismatch {
            certificate: source.certificate.name().into(),
            key: source.key.name().into(),
        },
    }
}

fn signing_key(
    key: &PrivateKeyDer<'static>,
    source: &IdentitySource,
) -> Result<Arc<dyn SigningKey>, IdentityError> {
    let loaded = provider::default_provider()
        .key_provider
        .load_private_key(key.clone_key());
    loaded.map_err(|_| IdentityError::Key {
        path: source.key.name().into(),
    })
}

/// Reads a file that holds a private key, and refuses one that others may read, or its group where that is not what a
/// mount of secrets does (`permissions`). Where files have no such modes, it only reads.
///
/// # Errors
/// [`IdentityError::Read`] and [`IdentityError::KeyReadable`].
pub fn read_private(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let read = |source| IdentityError::Read {
        path: path.into(),
        source,
    };
    ownership::require_file(path)?;
    let mut file = File::open(path).map_err(read)?;
    let (mode, audience) = permissions::audience(&file, path).map_err(read)?;
    if let Some(audience) = audience {
        return Err(IdentityError::KeyReadable {
            path: path.into(),
            mode,
            audience,
        });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(read)?;
    Ok(bytes)
}

fn check_time(path: &Path, leaf: &CertificateDer<'_>) -> Result<(SystemTime, String), IdentityError> {
    let (_, leaf) =
        X509Certificate::from_der(leaf).map_err(|_| IdentityError::Certificate { path: path.into() })?;
    let validity = leaf.validity();
    let now = ASN1Time::now();
    if now > validity.not_after {
        return Err(IdentityError::Expired {
            path: path.into(),
            not_after: validity.not_after.to_string(),
            now: now.to_string(),
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

/// A name that no certificate need have: only the issuer is asked for.
const UNNAMED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
