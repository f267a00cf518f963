//! Names to addresses: hickory's resolver with its cache, every wait bounded.
//!
//! Both families are asked for at once and all answers are given: the policy has to see every address before one is
//! dialled. Names are absolute; the machine's search domains are not tried.

use fluidity_wire::Host;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver as Hickory, TokioResolver};
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tracing::warn;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct ResolverOptions {
    /// Whom to ask; the system's name servers where empty.
    pub servers: Vec<NameServer>,
    /// One question; a second one follows where it was not answered.
    pub timeout: Duration,
    /// Answers that are kept while their TTL lasts.
    pub cache_entries: u32,
}

/// A name server: an address, and a port that is 53 where it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NameServer(SocketAddr);

/// A text that names no name server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name server; write its address, such as 9.9.9.9, 192.0.2.1:5353 or [2001:db8::1]:53")]
pub struct NameServerError(String);

impl TryFrom<String> for NameServer {
    type Error = NameServerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let with_port = || {
            text.parse::<IpAddr>()
                .map(|address| SocketAddr::new(address, DNS))
        };
        text.parse()
            .or_else(|_| with_port())
            .map(Self)
            .map_err(|_| NameServerError(text))
    }
}

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name, or any address of it, does not exist.
    #[error("the host name does not exist")]
    NotFound,
    /// No answer, or one that is a failure.
    #[error("the host name could not be resolved: no name server gave an answer")]
    Failed,
}

/// Resolves names.
pub struct Resolver(TokioResolver);

impl Resolver {
    /// A resolver that asks the configured name servers.
    ///
    /// Where none is configured and the system's cannot be found out, that is warned of, and no name resolves.
    ///
    /// # Errors
    /// The library's own, none of which the options can cause.
    pub fn new(options: &ResolverOptions) -> Result<Self, NetError> {
        let provider = TokioRuntimeProvider::default;
        let mut builder = if options.servers.is_empty() {
            Hickory::builder(provider()).unwrap_or_else(|error| {
                warn!(%error, "the system names no name servers, so that no name resolves; set dns.servers");
                Hickory::builder_with_config(ResolverConfig::from_name_servers(Vec::new()), provider())
            })
        } else {
            let servers = options.servers.iter().map(|server| config(server.0)).collect();
            Hickory::builder_with_config(ResolverConfig::from_name_servers(servers), provider())
        };
        let chosen = builder.options_mut();
        chosen.timeout = options.timeout;
        chosen.attempts = 1;
        chosen.cache_size = options.cache_entries.into();
        chosen.positive_max_ttl = Some(LONGEST_KEPT);
        chosen.negative_max_ttl = Some(LONGEST_KEPT_FAILURE);
        Ok(Self(builder.build()?))
    }

    /// Every address of a host, at least one. Cancel safe.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, ResolveError> {
        let name = match host {
            Host::V4(address) => return Ok(vec![(*address).into()]),
            Host::V6(address) => return Ok(vec![(*address).into()]),
            // With its last dot a name is absolute.
            Host::Name(name) => format!("{name}."),
        };
        let found = self.0.lookup_ip(name).await.map_err(|error| {
            if error.is_nx_domain() || error.is_no_records_found() {
                ResolveError::NotFound
            } else {
                ResolveError::Failed
            }
        })?;
        let addresses: Vec<_> = found.iter().collect();
        if addresses.is_empty() {
            return Err(ResolveError::NotFound);
        }
        Ok(addresses)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn config(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

const DNS: u16 = 53;
/// A longer TTL is cut: an address that moved is found again within the hour.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);
const LONGEST_KEPT_FAILURE: Duration = Duration::from_secs(30);
