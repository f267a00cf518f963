//! Where a daemon listens, as people write it, and what to do where that is refused.

use serde::Deserialize;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address with a port, or a port alone, whose address the daemon chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// `8080` or `:8080`.
    Port(u16),
    /// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `*:8080`.
    Address(SocketAddr),
}

/// A text that names no place to listen. It says how the place is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Nothing.
    #[error("the address is empty; write an address and a port, such as 127.0.0.1:8080, or a port alone")]
    Empty,
    /// A URL.
    #[error("`{0}` is a URL; write its address and port alone, such as 127.0.0.1:8080")]
    Url(String),
    /// An address without a port.
    #[error("`{0}` has no port; write {1}, with the port of your choice")]
    NoPort(String, SocketAddr),
    /// An IPv6 address and a port without brackets.
    #[error("`{0}` can be read in two ways; an IPv6 address with a port is written {1}")]
    Brackets(String, SocketAddr),
    /// Not a port.
    #[error(
        "`{0}` does not end in a port, which is a number from 0 to 65535; write 127.0.0.1:8080, or a port alone"
    )]
    Port(String),
    /// A name.
    #[error(
        "`{0}` is no address of this machine; write one with a port, such as 127.0.0.1:8080 (this machine alone) or \
         0.0.0.0:8080 (every network), or a port alone"
    )]
    Name(String),
}

impl Listen {
    /// The address and port; a port alone is one of `host`.
    pub fn on(self, host: IpAddr) -> SocketAddr {
        match self {
            Self::Port(port) => SocketAddr::new(host, port),
            Self::Address(address) => address,
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.is_empty() {
            return Err(ListenError::Empty);
        }
        if text.contains("://") {
            return Err(ListenError::Url(text.into()));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let number = port
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| port.parse().ok());
        let address = IpAddr::from_str(text.trim_matches(['[', ']'])).ok();
        match (host, number.flatten(), address) {
            (host, Some(port), _) if host.contains(':') && host.parse::<Ipv6Addr>().is_ok() => {
                Err(ListenError::Brackets(
                    text.into(),
                    (host.parse().unwrap_or(Ipv6Addr::LOCALHOST), port).into(),
                ))
            }
            (_, _, Some(address)) => Err(ListenError::NoPort(text.into(), SocketAddr::new(address, 8080))),
            ("", Some(port), _) => Ok(Self::Port(port)),
            ("*", Some(port), _) => Ok(Self::Address((Ipv6Addr::UNSPECIFIED, port).into())),
            (host, Some(port), _) if host.eq_ignore_ascii_case("localhost") => {
                Ok(Self::Address((Ipv4Addr::LOCALHOST, port).into()))
            }
            (_, None, _) if text.contains(':') || port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(ListenError::Port(text.into()))
            }
            _ => Err(ListenError::Name(text.into())),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = ListenError;

    fn try_from(text: String) -> Result<Self, ListenError> {
        text.parse()
    }
}

/// The system refused a place to listen; says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {error}; {}", remedy(error, *address, key))]
pub struct BindError {
    /// The place.
    pub address: SocketAddr,
    /// The key that names it.
    pub key: &'static str,
    /// Why. Its words are in this error's own: it is no source, whose words would be added once more.
    error: io::Error,
}

impl BindError {
    /// `key` named an address that the system refuses.
    pub fn new(address: SocketAddr, key: &'static str, error: io::Error) -> Self {
        Self { address, key, error }
    }
}

fn remedy(error: &io::Error, address: SocketAddr, key: &str) -> String {
    // The keys that have a flag of their name.
    let ways = match key {
        "listen" | "admin" => format!("{key} in the file, or --{key}"),
        key => format!("{key} in the file"),
    };
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program listens there, perhaps this one in another terminal: stop it, or choose another port ({ways})"
        ),
        ErrorKind::PermissionDenied if address.port() < 1024 => format!(
            "a port below 1024 needs root or CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd unit, setcap on the \
             program); or choose a port from 1024 on, such as {} ({ways})",
            u32::from(address.port()) + 4000
        ),
        ErrorKind::PermissionDenied => {
            format!("this user may not, or a firewall forbids it; choose another port ({ways})")
        }
        ErrorKind::AddrNotAvailable => {
            let all = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            format!(
                "this machine has no such address; take one of its own, or {all}:{} for all of them ({ways})",
                address.port()
            )
        }
        ErrorKind::InvalidInput => format!("choose such an address ({ways})"),
        _ => format!("choose another address ({ways})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_taken_and_goes_to_the_daemons_own_address() {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for (text, address) in [
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("0", "127.0.0.1:0"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("LocalHost:1", "127.0.0.1:1"),
            ("*:443", "[::]:443"),
            ("0.0.0.0:443", "0.0.0.0:443"),
            ("[::1]:443", "[::1]:443"),
            (" 127.0.0.2:9 ", "127.0.0.2:9"),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.on(host), address.parse().unwrap(), "{text}");
        }
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert_eq!(Listen::Port(4433).on(any), "[::]:4433".parse().unwrap());
    }

    #[test]
    fn what_is_no_place_to_listen_is_explained() {
        for (text, words) in [
            ("", "write an address and a port"),
            ("http://127.0.0.1:8080", "is a URL"),
            ("127.0.0.1", "write 127.0.0.1:8080"),
            ("::1", "write [::1]:8080"),
            ("[::1]", "write [::1]:8080"),
            ("::1:8080", "is written [::1]:8080"),
            ("2001:db8::1:443", "is written [2001:db8::1]:443"),
            ("127.0.0.1:99999", "a number from 0 to 65535"),
            ("99999", "a number from 0 to 65535"),
            ("127.0.0.1:http", "a number from 0 to 65535"),
            ("eth0:8080", "127.0.0.1:8080"),
            ("localhost", "127.0.0.1:8080"),
            ("here", "127.0.0.1:8080"),
        ] {
            let said = text.parse::<Listen>().unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let address = "127.0.0.1:443".parse().unwrap();
        for (kind, words) in [
            (ErrorKind::AddrInUse, &["another program", "--listen"][..]),
            (
                ErrorKind::PermissionDenied,
                &["CAP_NET_BIND_SERVICE", "4443", "--listen"],
            ),
            (ErrorKind::AddrNotAvailable, &["no such address", "0.0.0.0:443"]),
        ] {
            let said = BindError::new(address, "listen", kind.into()).to_string();
            assert!(
                said.starts_with("cannot listen on 127.0.0.1:443 (listen): "),
                "{said}"
            );
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }
}
