//! One rule: a name or suffix, a range of addresses, ports, agents. What is written must all match.

use super::address::unmapped;
use fluidity_wire::Host;
use fluidity_wire::tls::AgentId;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// One rule of a policy. A part that is not written matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Rule {
    host: Option<HostPattern>,
    cidr: Option<Cidr>,
    ports: Option<Vec<Ports>>,
    agents: Option<Vec<AgentName>>,
}

/// Why a rule, or a part of it, is none. The texts are meant for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would match everything.
    #[error("a rule says at least one of host, cidr, ports and agents")]
    Empty,
    /// It could match nothing.
    #[error("a list of {0} in a rule is not empty; leave it out to match all")]
    EmptyList(&'static str),
    /// Not a name or suffix.
    #[error("`{0}` is not a host name; write example.com, or .example.com for all names below it too")]
    Host(String),
    /// An address where a name is due.
    #[error("`{0}` is an address; name addresses with cidr")]
    HostIsAddress(String),
    /// Not a range of addresses.
    #[error("`{0}` is not a range of addresses; write 10.1.0.0/16 or 2001:db8::/32")]
    Cidr(String),
    /// Not a port or range of ports.
    #[error("`{0}` is not a port or range of ports; write 443 or 8000-8999")]
    Ports(String),
}

/// What a rule is held against.
pub(super) struct Question<'a> {
    pub(super) name: Option<&'a str>,
    /// Not known before a name was resolved.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) agent: &'a AgentId,
}

impl Rule {
    /// Whether everything that the rule says holds. Before a name is resolved, a rule with a range never matches.
    pub(super) fn matches(&self, asked: &Question<'_>) -> bool {
        let in_range = |cidr: &Cidr| asked.address.is_some_and(|address| cidr.0.contains(&address));
        self.may_match(asked) && self.cidr.as_ref().is_none_or(in_range)
    }

    /// As [`matches`](Self::matches), but for the range.
    pub(super) fn may_match(&self, asked: &Question<'_>) -> bool {
        let named = |host: &HostPattern| asked.name.is_some_and(|name| host.matches(name));
        self.host.as_ref().is_none_or(named)
            && self
                .ports
                .as_ref()
                .is_none_or(|ports| ports.iter().any(|ports| ports.0.contains(&asked.port)))
            && self
                .agents
                .as_ref()
                .is_none_or(|agents| agents.iter().any(|agent| agent.0 == *asked.agent))
    }

    /// Whether the rule says which addresses it means: only then does it open closed ones.
    pub(super) fn names_addresses(&self) -> bool {
        self.cidr.is_some()
    }

    /// Whether the address is in the range that the rule names.
    pub(super) fn covers(&self, address: IpAddr) -> bool {
        self.cidr.as_ref().is_some_and(|cidr| cidr.0.contains(&address))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    host: Option<HostPattern>,
    cidr: Option<Cidr>,
    ports: Option<Vec<Ports>>,
    agents: Option<Vec<AgentName>>,
}

impl TryFrom<Fields> for Rule {
    type Error = RuleError;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields {
            host,
            cidr,
            ports,
            agents,
        } = fields;
        if host.is_none() && cidr.is_none() && ports.is_none() && agents.is_none() {
            return Err(RuleError::Empty);
        }
        if ports.as_ref().is_some_and(Vec::is_empty) {
            return Err(RuleError::EmptyList("ports"));
        }
        if agents.as_ref().is_some_and(Vec::is_empty) {
            return Err(RuleError::EmptyList("agents"));
        }
        Ok(Self {
            host,
            cidr,
            ports,
            agents,
        })
    }
}

/// A name in its canonical form, or a name with everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum HostPattern {
    Exact(String),
    Suffix(String),
}

impl HostPattern {
    /// `name` is canonical, as [`Host::Name`] is.
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Suffix(suffix) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|below| below.is_empty() || below.ends_with('.')),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, make): (_, fn(String) -> Self) = match text.strip_prefix("*.").or(text.strip_prefix('.')) {
            Some(suffix) => (suffix, Self::Suffix),
            None => (text.as_str(), Self::Exact),
        };
        match Host::parse(name) {
            Ok(Host::Name(name)) => Ok(make(name)),
            Ok(_) => Err(RuleError::HostIsAddress(text)),
            Err(_) => Err(RuleError::Host(text)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Cidr(IpNet);

impl TryFrom<String> for Cidr {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let net = net.map_err(|_| RuleError::Cidr(text))?.trunc();
        // Addresses are held against rules in their IPv4 form.
        Ok(Self(
            match (net, unmapped(net.addr()), net.prefix_len().checked_sub(96)) {
                (IpNet::V6(_), IpAddr::V4(address), Some(length)) => {
                    Ipv4Net::new(address, length).map_or(net, IpNet::V4)
                }
                _ => net,
            },
        ))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(RangeInclusive<u16>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortsVisitor)
    }
}

struct PortsVisitor;

impl de::Visitor<'_> for PortsVisitor {
    type Value = Ports;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port such as 443 or a range such as 8000-8999")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ports, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ports, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| fluidity_wire::Port::parse(text.trim()).map(fluidity_wire::Port::get);
        match (port(first), port(last)) {
            (Ok(first), Ok(last)) if first <= last => Ok(Ports(first..=last)),
            _ => Err(E::custom(RuleError::Ports(text.into()))),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct AgentName(AgentId);

impl TryFrom<String> for AgentName {
    type Error = fluidity_wire::tls::PeerIdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        AgentId::parse(&text).map(Self)
    }
}
