//! Why there is no connection to the server: each cause in words that say what, where and what to do.

use super::trust::CertificateFault;
use fluidity_wire::quic::QuicError;
use fluidity_wire::{CloseCode, Ending, LinkEnd, Target, plain};
use quinn::ConnectionError;
use std::{fmt, io};
use tracing::debug;

/// Why there is no connection. The texts say what to look at.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The control plane has not told it yet.
    #[error("the server's address is not known yet")]
    NoAddress,
    /// The server's name cannot be resolved just now.
    #[error(
        "the server's name {name} cannot be resolved: {error}; check this machine's network and name servers"
    )]
    Resolve {
        /// From `server.address`.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// The server's name does not exist.
    #[error("the server's name {0} does not exist; check server.address")]
    NoSuchName(String),
    /// No local socket.
    #[error("no UDP socket: {0}")]
    Socket(#[from] QuicError),
    /// The connection could not even be begun.
    #[error("the connection cannot be begun: {0}")]
    Begin(#[from] quinn::ConnectError),
    /// No answer, or no more.
    #[error("no answer from the server; check that it runs, and that UDP gets there")]
    Silence,
    /// No answer to a whole round of attempts.
    #[error(
        "no answer from the server at {0} (UDP); check that it runs at this address and port, and that firewalls let UDP through"
    )]
    NoAnswer(Target),
    /// The server's certificate is not acceptable here.
    #[error("the server{at} is not trusted: {reason}; {}", fault.server_remedy())]
    ServerNotTrusted {
        /// Which.
        at: At,
        /// In the words of TLS.
        reason: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// This agent's certificate is not acceptable there.
    #[error("the server{at} does not accept this agent's certificate: {reason}; {}", fault.agent_remedy())]
    AgentNotTrusted {
        /// Which.
        at: At,
        /// In the server's words.
        reason: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// Something else than a server of this version answers there.
    #[error(
        "what answers{at} is no server that this agent can speak to: {reason}; check the address and the port, or, if they are \
         right, give agent and server the same version"
    )]
    NotAServer {
        /// Where.
        at: At,
        /// What it said.
        reason: String,
    },
    /// This agent's certificate is over.
    #[error(
        "this agent's certificate has ended; make a new one with `fluidity pki renew`, and put it in the place of the old one"
    )]
    Expired,
    /// The server closed the connection with a reason.
    #[error("the server closed the connection: {0}")]
    Closed(CloseCode),
    /// Anything else.
    #[error("the connection failed: {0}")]
    Failed(String),
}

/// Where the server is, as the end of a phrase; nothing where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At(Option<Target>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => write!(f, " at {address}"),
            None => Ok(()),
        }
    }
}

impl DialError {
    /// The same, of a server at this address.
    pub(super) fn at(mut self, address: Target) -> Self {
        match &mut self {
            Self::Silence => return Self::NoAnswer(address),
            Self::ServerNotTrusted { at, .. }
            | Self::AgentNotTrusted { at, .. }
            | Self::NotAServer { at, .. } => {
                at.0 = Some(address);
            }
            _ => {}
        }
        self
    }

    /// Nothing gets better by trying soon again.
    pub(super) fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::ServerNotTrusted { .. }
                | Self::AgentNotTrusted { .. }
                | Self::NotAServer { .. }
                | Self::Expired
                | Self::Closed(CloseCode::Refused)
        )
    }

    /// Nothing gets better by waiting: requests need not.
    pub(super) fn is_lasting(&self) -> bool {
        self.needs_a_person() || matches!(self, Self::NoSuchName(_))
    }
}

/// What a connection's end means to a person.
pub(super) fn explain_end(end: &LinkEnd) -> DialError {
    match end {
        LinkEnd::Connection(error) => explain(error),
        LinkEnd::Protocol(reason) => DialError::Failed(reason.clone()),
    }
}

pub(super) fn explain(error: &ConnectionError) -> DialError {
    let ending = Ending(error);
    debug!(%ending, "connection ended");
    match error {
        ConnectionError::TransportError(error) if is_tls(error.code.into()) => {
            let at = At::default();
            // Rustls' words, which name what a certificate says that nobody vouched for.
            let reason = plain(&error.reason, MOST_REASON);
            match CertificateFault::from_alert(u64::from(error.code) & 0xff) {
                Some(fault) => DialError::ServerNotTrusted { at, reason, fault },
                None => DialError::NotAServer { at, reason },
            }
        }
        ConnectionError::ConnectionClosed(close) if ending.tls_alert().is_some() => {
            let at = At::default();
            let reason = ending.tls_alert().unwrap_or_default().to_owned();
            match CertificateFault::from_alert(u64::from(close.error_code) & 0xff) {
                Some(fault) => DialError::AgentNotTrusted { at, reason, fault },
                None => DialError::NotAServer { at, reason },
            }
        }
        ConnectionError::VersionMismatch => DialError::NotAServer {
            at: At::default(),
            reason: ending.name(),
        },
        // Whoever can send packets can send this one: what it says is no reason to show to a person.
        ConnectionError::ConnectionClosed(_) => DialError::Failed(ending.name()),
        ConnectionError::ApplicationClosed(close) => {
            match CloseCode::from_number(close.error_code.into_inner()) {
                Some(CloseCode::Refused) => DialError::AgentNotTrusted {
                    at: At::default(),
                    reason: plain(&String::from_utf8_lossy(&close.reason), MOST_REASON),
                    fault: CertificateFault::Other,
                },
                Some(CloseCode::Expired) => DialError::Expired,
                Some(code) => DialError::Closed(code),
                None => DialError::Failed(ending.to_string()),
            }
        }
        ConnectionError::TimedOut => DialError::Silence,
        ConnectionError::Reset => DialError::Failed("the server was started anew".into()),
        _ => DialError::Failed(ending.to_string()),
    }
}

/// RFC 9001 §4.8: TLS alerts are the codes from 0x100 to 0x1ff.
fn is_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// Characters of a reason that a person is shown.
const MOST_REASON: usize = 200;
