//! Where a session wants to go: a host and a port, parsed once, at the border.
//!
//! Invariants: a [`Host::Name`] is lower-case ASCII without a trailing dot and never looks like an address; every
//! spelling of an IPv4 address that a resolver would accept (`2130706433`, `0x7f.1`) has already become
//! [`Host::V4`], so that a policy sees the address that would be dialled. First stop on the byte's way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

/// The requested host and port of one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host, a name or an address.
    pub host: Host,
    /// The port, never 0.
    pub port: Port,
}

/// A host in its one canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name: lower case, at most 253 bytes, no trailing dot.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, without a zone.
    V6(Ipv6Addr),
}

/// A TCP port from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(NonZeroU16);

/// Why a target was not understood. The texts are meant for the person who typed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no host before the port.
    #[error("the host is empty")]
    EmptyHost,
    /// The host is longer than a DNS name can be.
    #[error("the host is longer than {MAX_NAME} bytes")]
    HostTooLong,
    /// A label is empty or longer than 63 bytes.
    #[error("a label of the host name is empty or longer than {MAX_LABEL} bytes")]
    BadLabel,
    /// A byte that no host name has: a space, a control character, a non-ASCII letter, a second colon.
    #[error(
        "the host has a character that host names do not have (names beyond ASCII go as punycode, `xn--…`)"
    )]
    BadCharacter,
    /// `[` without `]`, text after `]`, or no IPv6 address between them.
    #[error("the IPv6 address is malformed: write it as [2001:db8::1]")]
    BadIpv6,
    /// A last label that is a number, in a host that is no IPv4 address.
    #[error("the host ends in a number, but is not an IPv4 address")]
    BadIpv4,
    /// `host` where `host:port` is needed.
    #[error("the port is missing: write host:port, such as example.com:443")]
    MissingPort,
    /// Something else than digits, 0, or more than 65535.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
}

impl Target {
    /// Parses `host:port`, the authority-form of a CONNECT (RFC 9110 §9.3.6): the port is required.
    pub fn parse(authority: &str) -> Result<Self, TargetError> {
        match split(authority)? {
            (host, Some(port)) => Ok(Self {
                host: Host::parse(host)?,
                port: Port::parse(port)?,
            }),
            (host, None) => Host::parse(host).and(Err(TargetError::MissingPort)),
        }
    }

    /// Parses `host` or `host:port`; a port that is not written is `default`.
    pub fn parse_or(authority: &str, default: Port) -> Result<Self, TargetError> {
        let (host, port) = split(authority)?;
        let host = Host::parse(host)?;
        let port = match port {
            // RFC 3986 §3.2.3: an empty port means the scheme's default.
            None | Some("") => default,
            Some(port) => Port::parse(port)?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(address) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl Host {
    /// Parses a name, an IPv4 address in any of its spellings, or an IPv6 address with or without brackets.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(TargetError::BadIpv6)?;
            return inner.parse().map(Self::V6).map_err(|_| TargetError::BadIpv6);
        }
        if text.contains(':') {
            return text.parse().map(Self::V6).map_err(|_| TargetError::BadIpv6);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(TargetError::EmptyHost);
        }
        if name.len() > MAX_NAME {
            return Err(TargetError::HostTooLong);
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return Err(TargetError::BadLabel);
            }
            if !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            {
                return Err(TargetError::BadCharacter);
            }
        }
        // The WHATWG URL rule: a host that ends in a number is an IPv4 address or an error, never a name.
        if name.rsplit('.').next().is_some_and(ends_in_number) {
            return parse_ipv4(name).map(Self::V4).ok_or(TargetError::BadIpv4);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }

    /// The address, where the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
        }
    }
}

impl Port {
    /// 80, where `http` goes.
    pub const HTTP: Self = Self(NonZeroU16::new(80).expect("80 is not 0"));
    /// 443, where `https` goes.
    pub const HTTPS: Self = Self(NonZeroU16::new(443).expect("443 is not 0"));

    /// A port from its number; `None` for 0.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Parses decimal digits: no sign, no space, 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() || text.len() > 5 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(TargetError::BadPort);
        }
        text.parse().ok().and_then(Self::new).ok_or(TargetError::BadPort)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Splits `host[:port]`, minding the brackets of an IPv6 address.
fn split(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    if authority.starts_with('[') {
        let (host, rest) = authority.split_once(']').ok_or(TargetError::BadIpv6)?;
        let end = host.len() + 1;
        let host = authority.get(..end).ok_or(TargetError::BadIpv6)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(TargetError::BadIpv6),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, port)) if port.contains(':') => Err(TargetError::BadIpv6),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

fn ends_in_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit()) || parse_number(label).is_some()
}

/// One part of an `inet_aton` address: decimal, `0` octal, or `0x` hexadecimal.
fn parse_number(part: &str) -> Option<u32> {
    if let Some(hex) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return if hex.is_empty() {
            Some(0)
        } else {
            u32::from_str_radix(hex, 16).ok()
        };
    }
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match part.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8).ok(),
        _ => part.parse().ok(),
    }
}

/// An IPv4 address as `inet_aton` reads it: one to four parts, the last of which fills what is left.
fn parse_ipv4(name: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = name.split('.').map(parse_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let mut address: u32 = 0;
    let mut shift = 32_u32;
    for part in leading {
        shift -= 8;
        address |= part << shift;
    }
    if u64::from(*last) >= 1_u64 << shift {
        return None;
    }
    Some(Ipv4Addr::from(address | last))
}

/// The longest DNS name in its text form (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// The longest DNS label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_the_same_address() {
        for text in [
            "127.0.0.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f.1",
            "0177.1",
            "127.1",
            "0x7F000001",
            "127.0.1",
        ] {
            assert_eq!(Host::parse(text), Ok(Host::V4(Ipv4Addr::LOCALHOST)), "{text}");
        }
    }

    #[test]
    fn names_are_lower_case_and_lose_their_trailing_dot() {
        assert_eq!(Host::parse("EXAMPLE.Com."), Ok(Host::Name("example.com".into())));
    }

    #[test]
    fn bad_hosts_are_refused_with_their_reason() {
        let long = "a".repeat(300);
        let label = format!("{}.com", "a".repeat(64));
        for (text, error) in [
            ("", TargetError::EmptyHost),
            (".", TargetError::EmptyHost),
            ("a..b", TargetError::BadLabel),
            ("a.b..", TargetError::BadLabel),
            (label.as_str(), TargetError::BadLabel),
            (long.as_str(), TargetError::HostTooLong),
            ("a b", TargetError::BadCharacter),
            ("a\0b", TargetError::BadCharacter),
            ("a\r\nb", TargetError::BadCharacter),
            ("bücher.example", TargetError::BadCharacter),
            ("a/b", TargetError::BadCharacter),
            ("user@host", TargetError::BadCharacter),
            ("[::1", TargetError::BadIpv6),
            ("[fe80::1%eth0]", TargetError::BadIpv6),
            ("::g", TargetError::BadIpv6),
            ("1.2.3.4.5", TargetError::BadIpv4),
            ("256.1.1.1", TargetError::BadIpv4),
            ("example.99", TargetError::BadIpv4),
            ("4294967296", TargetError::BadIpv4),
            ("09.1", TargetError::BadIpv4),
        ] {
            assert_eq!(Host::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_connect_target_needs_a_port_from_1_to_65535() {
        assert_eq!(Target::parse("example.com"), Err(TargetError::MissingPort));
        for port in ["", "0", "65536", "65616", "+80", "8 0", "-1", "00000080", "http"] {
            assert_eq!(
                Target::parse(&format!("example.com:{port}")),
                Err(TargetError::BadPort),
                "{port:?}"
            );
        }
        assert_eq!(Target::parse("[::1"), Err(TargetError::BadIpv6));
        assert_eq!(Target::parse("[::1]x:80"), Err(TargetError::BadIpv6));
        assert_eq!(Target::parse("::1:80"), Err(TargetError::BadIpv6));
        assert_eq!(Target::parse(":80"), Err(TargetError::EmptyHost));
    }

    #[test]
    fn display_parses_back() {
        for text in ["example.com:443", "192.0.2.1:80", "[2001:db8::1]:8443"] {
            assert_eq!(Target::parse(text).map(|t| t.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(
            Target::parse_or("example.com", Port::HTTP)
                .map(|t| t.to_string())
                .as_deref(),
            Ok("example.com:80")
        );
    }
}
