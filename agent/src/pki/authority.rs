//! The CA itself: it is made, opened, and signs.
//!
//! ECDSA P-256 throughout. A leaf has one purpose (server or client authentication), a random serial and a start an
//! hour ago, so that a clock that is a little behind accepts it; it never outlives its CA. The CA may sign leaves only
//! (path length 0).

use super::PkiError;
use super::certificate::{Certificate, Standing, day};
use super::directory::{CA, Directory, Pair};
use super::identity::Identity;
use fluidity_wire::tls::read_private;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// How long something is valid, from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Days(pub(super) u32);

/// A CA that can sign.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    /// Makes a new CA. Its files still have to be written.
    pub(super) fn create(
        name: &str,
        days: Days,
        now: OffsetDateTime,
    ) -> Result<(Pair, OffsetDateTime), PkiError> {
        // X.520: a common name has at most 64 characters.
        if name.trim().is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(PkiError::AuthorityName);
        }
        let mut params = params(name, days.after(now), now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pair = Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Ok((pair, params.not_after))
    }

    /// Opens the CA of a directory. Refused when its key can be read by others, or its time is over.
    pub(super) fn open(directory: &Directory, now: OffsetDateTime) -> Result<Self, PkiError> {
        let (certificate_path, key_path) = (directory.certificate(CA), directory.key(CA));
        if !directory.has(&certificate_path) {
            return Err(PkiError::NoAuthority {
                directory: directory.path().into(),
            });
        }
        if !directory.has(&key_path) {
            return Err(PkiError::NoAuthorityKey { path: key_path });
        }
        let certificate = Certificate::read(&certificate_path)?;
        if !certificate.is_authority {
            return Err(PkiError::NotAuthority {
                path: certificate_path,
            });
        }
        let pem = read_private(&key_path)?;
        let key =
            KeyPair::from_pem(&String::from_utf8_lossy(&pem)).map_err(|source| PkiError::AuthorityKey {
                path: key_path.clone(),
                source,
            })?;
        if key.subject_public_key_info() != certificate.public_key {
            return Err(PkiError::AuthorityMismatch {
                certificate: certificate_path,
                key: key_path,
            });
        }
        if certificate.standing(now) == Standing::Expired {
            return Err(PkiError::AuthorityExpired {
                ended: day(certificate.not_after),
            });
        }
        let pem = std::fs::read_to_string(&certificate_path).map_err(|source| PkiError::Read {
            path: certificate_path,
            source,
        })?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&pem, key)?,
            certificate,
        })
    }

    /// Makes a new key and a certificate for it. Tells when the certificate ends.
    pub(super) fn issue(
        &self,
        identity: &Identity,
        days: Days,
        now: OffsetDateTime,
    ) -> Result<(Pair, OffsetDateTime), PkiError> {
        let until = days.after(now).min(self.certificate.not_after);
        let mut params = params(identity.name(), until, now);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![identity.usage()];
        params.subject_alt_names = identity.alternative_names()?;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pair = Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        };
        Ok((pair, until))
    }
}

impl Days {
    /// The moment so many days after `now`, or the last one that a certificate can name.
    fn after(self, now: OffsetDateTime) -> OffsetDateTime {
        now.checked_add(Duration::days(self.0.into()))
            .unwrap_or(PrimitiveDateTime::MAX.assume_utc())
    }
}

fn params(name: &str, until: OffsetDateTime, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
    params.not_before = now.checked_sub(CLOCK_SKEW).unwrap_or(now);
    params.not_after = until;
    params
}

/// How far a peer's clock may be behind.
const CLOCK_SKEW: Duration = Duration::hours(1);
