//! Who an agent is: the name in its certificate's URI SAN.
//!
//! An [`AgentId`] that came from a connection is one that the private CA vouched for: it is read from the certificate
//! that the handshake verified, never from what the agent says. Policy and limits are per `AgentId`.

use rustls_pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Who an agent is: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(Arc<str>);

/// Why a peer's certificate names no agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdentityError {
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The certificate cannot be parsed.
    #[error("the peer's certificate cannot be parsed")]
    Malformed,
    /// There is no URI SAN, or more than one.
    #[error("the peer's certificate does not name exactly one agent (URI fluidity://agent/NAME)")]
    NotOneAgent,
    /// The name is not allowed.
    #[error("an agent's name is 1 to 64 of a-z, 0-9, '.', '_', '-', the first a letter or digit")]
    BadName,
}

impl AgentId {
    /// Parses an agent's name.
    ///
    /// # Errors
    /// [`PeerIdentityError::BadName`].
    pub fn parse(name: &str) -> Result<Self, PeerIdentityError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !first || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(PeerIdentityError::BadName);
        }
        Ok(Self(name.into()))
    }

    /// Reads the agent's name from the certificates that a handshake verified, the leaf first.
    ///
    /// # Errors
    /// No certificate, one that cannot be parsed, none or several URIs in it, or a URI that names no agent. Names of
    /// other kinds are not looked at.
    pub fn from_peer_certificates(chain: &[CertificateDer<'_>]) -> Result<Self, PeerIdentityError> {
        let leaf = chain.first().ok_or(PeerIdentityError::NoCertificate)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| PeerIdentityError::Malformed)?;
        let names = leaf
            .subject_alternative_name()
            .map_err(|_| PeerIdentityError::Malformed)?;
        let mut uris = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        match (
            uris.next().and_then(|uri| uri.strip_prefix(AGENT_URI)),
            uris.next(),
        ) {
            (Some(name), None) => Self::parse(name),
            _ => Err(PeerIdentityError::NotOneAgent),
        }
    }

    /// The URI that a certificate of this agent carries.
    pub fn uri(&self) -> String {
        format!("{AGENT_URI}{}", self.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const AGENT_URI: &str = "fluidity://agent/";
