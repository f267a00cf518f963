//! A certificate as it is read back from its file.

use super::PkiError;
use fluidity_wire::{Host, tls};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use time::OffsetDateTime;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

/// What a certificate says.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) names: Vec<AlternativeName>,
    pub(super) usages: Vec<&'static str>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) is_authority: bool,
    /// The subject's public key info, in DER.
    pub(super) public_key: Vec<u8>,
    /// The identifier of its own key.
    pub(super) key_id: Option<Vec<u8>>,
    /// The identifier of the key that signed it.
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) fingerprint: [u8; 32],
}

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AlternativeName {
    Dns(String),
    Address(IpAddr),
    Uri(String),
    Other,
}

/// How a certificate stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    NotYetValid,
    Valid,
    ExpiresSoon,
    Expired,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub(super) fn read(path: &Path) -> Result<Self, PkiError> {
        let pem = std::fs::read(path).map_err(|source| PkiError::Read {
            path: path.into(),
            source,
        })?;
        Self::from_pem(&pem).ok_or_else(|| PkiError::NotCertificate { path: path.into() })
    }

    fn from_pem(pem: &[u8]) -> Option<Self> {
        let pem = Pem::iter_from_buffer(pem).next()?.ok()?;
        let x509 = pem.parse_x509().ok()?;
        let names = match x509.subject_alternative_name().ok()? {
            Some(names) => names
                .value
                .general_names
                .iter()
                .map(AlternativeName::new)
                .collect(),
            None => Vec::new(),
        };
        let usages = match x509.extended_key_usage().ok()? {
            Some(usages) => usage_names(usages.value),
            None => Vec::new(),
        };
        Some(Self {
            subject: x509.subject().to_string(),
            names,
            usages,
            not_before: x509.validity().not_before.to_datetime(),
            not_after: x509.validity().not_after.to_datetime(),
            is_authority: x509.is_ca(),
            public_key: x509.public_key().raw.to_vec(),
            key_id: key_id(&x509),
            authority_key_id: authority_key_id(&x509),
            fingerprint: tls::fingerprint(&pem.contents),
        })
    }

    /// How it stands at `now`.
    pub(super) fn standing(&self, now: OffsetDateTime) -> Standing {
        if now > self.not_after {
            Standing::Expired
        } else if now < self.not_before {
            Standing::NotYetValid
        } else if self.days_left(now) < EXPIRES_SOON_DAYS {
            Standing::ExpiresSoon
        } else {
            Standing::Valid
        }
    }

    /// Whole days until its end, negative after it.
    pub(super) fn days_left(&self, now: OffsetDateTime) -> i64 {
        (self.not_after - now).whole_days()
    }

    /// Whether `authority` signed it, as far as its key identifiers tell.
    pub(super) fn is_of(&self, authority: &Self) -> bool {
        self.authority_key_id.is_some() && self.authority_key_id == authority.key_id
    }

    /// All its names in one line.
    pub(super) fn names_for_people(&self) -> String {
        if self.names.is_empty() {
            return "nobody".to_owned();
        }
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl AlternativeName {
    fn new(name: &GeneralName<'_>) -> Self {
        match name {
            GeneralName::DNSName(name) => Self::Dns((*name).to_owned()),
            GeneralName::URI(uri) => Self::Uri((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                v4.or_else(|_| v6()).map_or(Self::Other, Self::Address)
            }
            _ => Self::Other,
        }
    }

    /// The host that this name is, if it is one.
    pub(super) fn host(&self) -> Option<Host> {
        match self {
            Self::Dns(name) => Host::parse(name).ok(),
            Self::Address(address) => Some((*address).into()),
            Self::Uri(_) | Self::Other => None,
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS {name}"),
            Self::Address(address) => write!(f, "IP {address}"),
            Self::Uri(uri) => write!(f, "URI {uri}"),
            Self::Other => f.write_str("a name of another kind"),
        }
    }
}

/// The day of a moment, UTC.
pub(super) fn day(moment: OffsetDateTime) -> String {
    moment.date().to_string()
}

fn usage_names(usages: &ExtendedKeyUsage<'_>) -> Vec<&'static str> {
    let named = [
        (usages.server_auth, "serverAuth"),
        (usages.client_auth, "clientAuth"),
        (usages.any, "any"),
        (
            usages.code_signing
                || usages.email_protection
                || usages.time_stamping
                || usages.ocsp_signing
                || !usages.other.is_empty(),
            "others",
        ),
    ];
    let set = named.into_iter().filter(|(set, _)| *set);
    set.map(|(_, name)| name).collect()
}

fn key_id(x509: &X509Certificate<'_>) -> Option<Vec<u8>> {
    x509.iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
}

fn authority_key_id(x509: &X509Certificate<'_>) -> Option<Vec<u8>> {
    x509.iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
}

/// From when on a certificate's end is near enough to say so.
const EXPIRES_SOON_DAYS: i64 = 30;
