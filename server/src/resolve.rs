//! Names to addresses: as the system's resolver finds them, every wait bounded, every wrong cause told apart.
//!
//! `files` are the system's, looked at again while the server runs; `names` is what they say and what is known by it;
//! `lookup` asks for both families and does not let the silence of one cost more than a moment (RFC 8305 §3);
//! `servers` asks one question of all name servers, `exchange` of one, `message` is the question. `cache` remembers.

mod cache;
mod exchange;
mod files;
mod hosts;
mod lookup;
mod message;
mod names;
mod servers;
mod system;

pub use lookup::{Late, Lookup};

use files::{Files, Stamps};
use fluidity_wire::Host;
use hickory_resolver::proto::rr::RecordType;
use names::Names;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

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

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    pub const fn of(address: SocketAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }

    const fn record_type(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// NXDOMAIN.
    #[error("the host name does not exist")]
    NotFound,
    /// The name is there, without addresses.
    #[error("the host name exists, but has no address")]
    NoAddress,
    /// SERVFAIL, or an answer that makes no sense.
    #[error("the host name could not be resolved: the name server could not find out")]
    Failed,
    /// REFUSED.
    #[error("the host name could not be resolved: the name server refuses to answer")]
    Refused,
    /// Silence.
    #[error("the host name could not be resolved: no name server answered in time")]
    Timeout,
    /// Nobody is there to ask.
    #[error("the host name could not be resolved: no name server can be reached")]
    Unreachable,
    /// The system says nobody to ask.
    #[error("the host name could not be resolved: the server's system names no name server")]
    NoServers,
    /// There are too many questions.
    #[error("the host name could not be resolved: the server looks for too many names at once")]
    Busy,
}

/// What was wrong with a name server, the more telling the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It cannot be reached.
    Unreachable,
    /// It does not answer.
    Silent,
    /// It does not want to answer.
    Refused,
    /// It answers with a failure, or makes no sense.
    Failed,
}

/// Resolves names.
#[derive(Debug)]
pub struct Resolver {
    options: ResolverOptions,
    files: Files,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    names: Arc<Names>,
    stamps: Stamps,
    looked: Instant,
}

impl Resolver {
    /// A resolver that asks the configured name servers, or the system's, whichever those are at the time.
    pub fn new(options: &ResolverOptions) -> Self {
        Self::of(options, Files::of_system(!options.servers.is_empty()))
    }

    fn of(options: &ResolverOptions, files: Files) -> Self {
        // Before they are read: a change meanwhile is not missed.
        let stamps = files.stamps();
        let names = Names::new(options, files.read());
        if names.are_without_servers() {
            warn!("the system names no name server yet; it is looked at again, or set dns.servers");
        }
        Self {
            options: options.clone(),
            files,
            state: Mutex::new(State {
                names: Arc::new(names),
                stamps,
                looked: Instant::now(),
            }),
        }
    }

    /// The addresses of a host, at least one. Cancel safe.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, host: &Host) -> Result<Lookup, ResolveError> {
        let name = match host {
            Host::V4(address) => return Ok(Lookup::of(vec![(*address).into()])),
            Host::V6(address) => return Ok(Lookup::of(vec![(*address).into()])),
            Host::Name(name) => name,
        };
        match name.rsplit('.').next() {
            // RFC 6761 §6.3: whatever a name server says.
            Some("localhost") => return Ok(Lookup::of(self.names().await.loopback(name))),
            // RFC 6761 §6.4 and RFC 7686 §2: no name server is asked.
            Some("invalid" | "onion") => return Err(ResolveError::NotFound),
            _ => {}
        }
        self.names().await.resolve(name).await
    }

    /// Forgets what is known of names, and looks at the system's files.
    pub async fn look_again(&self) {
        self.look(Look::Anew).await;
    }

    async fn names(&self) -> Arc<Names> {
        let is_due = {
            let mut state = self.lock();
            let is_due = state.looked.elapsed() >= LOOK_EVERY;
            if is_due {
                state.looked = Instant::now();
            }
            is_due
        };
        if is_due {
            self.look(Look::ForChanges).await;
        }
        self.lock().names.clone()
    }

    async fn look(&self, look: Look) {
        let files = self.files.clone();
        let before = self.lock().stamps.clone();
        let looked = spawn_blocking(move || {
            let stamps = files.stamps();
            let said = (look == Look::Anew || stamps != before).then(|| files.read());
            (stamps, said)
        });
        // It fails only where the runtime ends.
        let Ok((stamps, said)) = looked.await else { return };
        let mut state = self.lock();
        state.stamps = stamps;
        let Some(said) = said else { return };
        if look == Look::ForChanges && state.names.say(&said) {
            return;
        }
        state.names = Arc::new(Names::new(&self.options, said));
        info!("the system's name servers and hosts were read again: names are looked for anew");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is time to.
    ForChanges,
    /// Somebody says so.
    Anew,
}

const DNS: u16 = 53;
/// How often a name server is asked.
const ATTEMPTS: usize = 2;
/// How old the last look at the system's files may be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
