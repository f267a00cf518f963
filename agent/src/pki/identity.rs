//! Who a certificate is for: a server by its DNS name, an agent by its URI.

use super::PkiError;
use super::certificate::{AlternativeName, Certificate};
use clap::ValueEnum;
use fluidity_wire::tls::AgentId;
use fluidity_wire::{Host, TargetError};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;

/// At which end of the tunnel a certificate is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// `fluidity-server`.
    Server,
    /// `fluidity`.
    Agent,
}

impl Role {
    /// Takes a file's stem apart: `agent-laptop` is an agent's, named `laptop`.
    pub(super) fn split(stem: &str) -> Option<(Self, &str)> {
        let (role, name) = stem.split_once('-')?;
        match role {
            "server" => Some((Self::Server, name)),
            "agent" => Some((Self::Agent, name)),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
        })
    }
}

/// A server or an agent, named as its certificate will name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Server { name: String, others: Vec<Host> },
    Agent(AgentId),
}

impl Identity {
    /// A server that agents know by the DNS name `name`, whose certificate is good for `others`, too.
    pub(super) fn server(name: &str, others: &[String]) -> Result<Self, PkiError> {
        let parse = |text: &str| {
            let host = match Host::parse(text) {
                // A target may spell its address in fewer parts; in a certificate that would be a slip.
                Ok(Host::V4(_)) if text.parse::<Ipv4Addr>().is_err() => Err(TargetError::BadIpv4),
                host => host,
            };
            host.map_err(|source| PkiError::ServerName {
                name: text.to_owned(),
                source,
            })
        };
        let Host::Name(name) = parse(name)? else {
            return Err(PkiError::ServerAddress {
                name: name.to_owned(),
            });
        };
        // It becomes the common name, which has at most 64 characters (X.520), and a file's name.
        if name.len() > MAX_COMMON_NAME {
            return Err(PkiError::ServerNameLength { name });
        }
        let mut distinct = vec![Host::Name(name.clone())];
        for other in others {
            let other = parse(other)?;
            if !distinct.contains(&other) {
                distinct.push(other);
            }
        }
        let others = distinct.split_off(1);
        Ok(Self::Server { name, others })
    }

    /// The agent of that name.
    pub(super) fn agent(name: &str) -> Result<Self, PkiError> {
        AgentId::parse(name)
            .map(Self::Agent)
            .map_err(|source| PkiError::AgentName {
                name: name.to_owned(),
                source,
            })
    }

    /// This identity with every name of its certificate; refused if the certificate is another's.
    pub(super) fn confirmed_by(self, certificate: &Certificate, path: &Path) -> Result<Self, PkiError> {
        let confirmed = match &self {
            Self::Server { name, .. } => {
                let names: Option<Vec<Host>> = certificate.names.iter().map(AlternativeName::host).collect();
                names.and_then(|names| match names.split_first() {
                    Some((Host::Name(first), others)) if first == name => Some(Self::Server {
                        name: first.clone(),
                        others: others.to_vec(),
                    }),
                    _ => None,
                })
            }
            Self::Agent(id) => match certificate.names.as_slice() {
                [AlternativeName::Uri(uri)] if *uri == id.uri() => Some(self.clone()),
                _ => None,
            },
        };
        confirmed.ok_or_else(|| PkiError::OtherIdentity {
            path: path.into(),
            found: certificate.names_for_people(),
            expected: self.to_string(),
        })
    }

    pub(super) fn role(&self) -> Role {
        match self {
            Self::Server { .. } => Role::Server,
            Self::Agent(_) => Role::Agent,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Server { name, .. } => name,
            Self::Agent(id) => id.as_str(),
        }
    }

    /// What its files are called, without the ending.
    pub(super) fn stem(&self) -> String {
        format!("{}-{}", self.role(), self.name())
    }

    /// The one purpose of its certificate: it is worthless at the other end.
    pub(super) fn usage(&self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Server { .. } => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Agent(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }

    /// The names of its certificate.
    pub(super) fn alternative_names(&self) -> Result<Vec<SanType>, PkiError> {
        let dns = |name: &str| Ok(SanType::DnsName(name.try_into()?));
        match self {
            Self::Server { name, others } => std::iter::once(dns(name))
                .chain(others.iter().map(|other| match other {
                    Host::Name(name) => dns(name),
                    Host::V4(address) => Ok(SanType::IpAddress((*address).into())),
                    Host::V6(address) => Ok(SanType::IpAddress((*address).into())),
                }))
                .collect(),
            Self::Agent(id) => Ok(vec![SanType::URI(id.uri().try_into()?)]),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role(), self.name())
    }
}

const MAX_COMMON_NAME: usize = 64;
