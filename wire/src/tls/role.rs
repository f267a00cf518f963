//! Which end of the tunnel a certificate is for.
//!
//! Peers check it in every handshake; here each end checks its own at the start, where the person who mixed the files up
//! still looks on.

use super::AgentId;
use rustls_pki_types::CertificateDer;
use std::fmt;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The end of the tunnel that an identity is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server: its certificate has a DNS name, and serverAuth.
    Server,
    /// An agent: its certificate has the one URI of an agent, and clientAuth.
    Agent,
}

/// What a certificate is for, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An agent, by its name.
    Agent(AgentId),
    /// A server, by its first name.
    Server(String),
    /// A CA.
    Authority,
    /// Neither end, as far as it says.
    Nobody,
}

impl Role {
    /// The extended key usage of its certificates.
    pub(super) const fn usage(self) -> &'static str {
        match self {
            Self::Server => "serverAuth",
            Self::Agent => "clientAuth",
        }
    }

    /// Whether the leaf of this chain serves at this end; else whose it is.
    pub(super) fn check(self, leaf: &CertificateDer<'_>) -> Result<(), Holder> {
        let holder = Holder::of(leaf);
        let usages = usages(leaf);
        let fits = match (self, &holder) {
            (Self::Server, Holder::Server(_)) => usages.server,
            (Self::Agent, Holder::Agent(_)) => usages.client,
            _ => false,
        };
        match (fits, holder) {
            (true, _) => Ok(()),
            // Its names are right, and it was made for something else.
            (false, Holder::Server(_)) if self == Self::Server => Err(Holder::Nobody),
            (false, Holder::Agent(_)) if self == Self::Agent => Err(Holder::Nobody),
            (false, holder) => Err(holder),
        }
    }
}

/// Whether a certificate says at all what it is for. Peers refuse one that does not, since it would do for both ends.
pub(super) fn says_what_for(leaf: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(leaf).ok();
    parsed.is_some_and(|(_, parsed)| matches!(parsed.extended_key_usage(), Ok(Some(_))))
}

impl Holder {
    /// Whom a certificate names.
    pub fn of(leaf: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return Self::Nobody;
        };
        if parsed.is_ca() {
            return Self::Authority;
        }
        if let Ok(agent) = AgentId::from_peer_certificates(std::slice::from_ref(leaf)) {
            return Self::Agent(agent);
        }
        let names = parsed.subject_alternative_name().ok().flatten();
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        let name = names.find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(_) => Some("an address".to_owned()),
            _ => None,
        });
        name.map_or(Self::Nobody, Self::Server)
    }
}

struct Usages {
    server: bool,
    client: bool,
}

/// RFC 5280 §4.2.1.12: a certificate that does not limit its use may be used for all.
fn usages(leaf: &CertificateDer<'_>) -> Usages {
    let parsed = X509Certificate::from_der(leaf).ok();
    let limited = parsed
        .as_ref()
        .and_then(|(_, parsed)| parsed.extended_key_usage().ok().flatten());
    match limited {
        Some(usages) => Usages {
            server: usages.value.server_auth,
            client: usages.value.client_auth,
        },
        None => Usages {
            server: true,
            client: true,
        },
    }
}

impl fmt::Display for Role {
    /// What follows "it is a CA's certificate, and": which program this is and which file it takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => {
                "the server needs a server's; use the server-NAME.pem and server-NAME.key that `fluidity pki issue server NAME` made"
            }
            Self::Agent => {
                "the agent needs an agent's; use the agent-NAME.pem and agent-NAME.key that `fluidity pki issue agent NAME` made"
            }
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "an agent's certificate ({name})"),
            Self::Server(name) => write!(f, "a server's certificate ({name})"),
            Self::Authority => f.write_str("a CA's certificate"),
            Self::Nobody => f.write_str("a certificate for neither end of a tunnel"),
        }
    }
}
