//! Makes connections to the server: every address, one attempt beside the other, the first success wins.
//!
//! A lost first packet would cost an attempt a second or more, so a new one starts every second while the older ones
//! go on. An attempt counts once the server said `Hello`: only then has it accepted the agent's certificate.

use super::fault::{DialError, explain, explain_end};
use crate::config::Config;
use fluidity_wire::quic::{self, QuicError, QuicOptions};
use fluidity_wire::tls::Identity;
use fluidity_wire::{Budget, Hello, Host, Link, LinkEnd, LinkOptions, Paths, Share, Target};
use quinn::Endpoint;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// Makes connections to one server.
#[derive(Debug)]
pub struct Dialer {
    /// Where the server is, or was last.
    address: Mutex<Option<Target>>,
    /// It is there and nowhere else, whatever the control plane says.
    fixed: bool,
    /// The name in its certificate.
    name: String,
    timeout: Duration,
    /// What new connections are made with.
    shown: watch::Sender<Shown>,
    options: QuicOptions,
    link: LinkOptions,
    /// What all connections to the server may hold of bytes that clients have not taken.
    share: Arc<Share>,
    endpoints: Endpoints,
    /// Of every connection that was made.
    paths: Arc<Paths>,
    renewed: Notify,
}

/// What a connection shows and trusts.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) identity: Identity,
    config: quinn::ClientConfig,
}

/// The future that drives a connection; the connection ends with it.
pub(super) type Driver = Pin<Box<dyn Future<Output = LinkEnd> + Send>>;

/// A connection whose server has said who it is.
pub(super) struct Dialed {
    pub(super) link: Arc<Link>,
    pub(super) hello: Hello,
    pub(super) driver: Driver,
    /// What it was made with; changes when there is something newer.
    pub(super) shown: watch::Receiver<Shown>,
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed")
            .field("hello", &self.hello)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Prepares connections with the agent's identity.
    pub fn new(config: &Config, identity: &Identity) -> Result<Self, QuicError> {
        let options = QuicOptions {
            idle_timeout: config.quic.idle_timeout,
            keep_alive: Some(config.quic.keep_alive),
            max_sessions: 0,
        };
        let hello = Hello {
            instance: rand::random(),
            software: concat!("fluidity/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_sessions: 0,
            uptime: Duration::ZERO,
        };
        Ok(Self {
            address: Mutex::new(config.server.address.clone()),
            fixed: config.server.address.is_some(),
            name: config.server.name.clone(),
            timeout: config.connect.timeout,
            shown: watch::Sender::new(Shown {
                identity: identity.clone(),
                config: quic::client_config(identity, &options)?,
            }),
            options,
            link: LinkOptions {
                hello,
                max_sessions: 0,
            },
            share: Budget::for_one_peer(config.limits.window_memory).share(),
            endpoints: Endpoints::default(),
            paths: Arc::default(),
            renewed: Notify::new(),
        })
    }

    /// New connections are made with this identity from now on.
    ///
    /// # Errors
    /// It does not suit QUIC.
    pub fn renew(&self, identity: &Identity) -> Result<(), QuicError> {
        self.shown.send_replace(Shown {
            identity: identity.clone(),
            config: quic::client_config(identity, &self.options)?,
        });
        self.renewed.notify_one();
        Ok(())
    }

    /// Completes when there is a new identity to try. Cancel safe.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Whether the agent's certificate is over: no server takes it.
    pub(super) fn is_expired(&self) -> bool {
        self.shown.borrow().identity.not_after() <= SystemTime::now()
    }

    /// What QUIC knows of the connections that were made.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The name that the server's certificate must carry.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the server is, or was last; nobody may know yet.
    pub(crate) fn address(&self) -> Option<Target> {
        self.address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The server has moved. Returns whether that is news, which it is not for a server with a fixed address.
    pub(super) fn move_to(&self, address: &Target) -> bool {
        let mut known = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fixed || known.as_ref() == Some(address) {
            return false;
        }
        *known = Some(address.clone());
        true
    }

    /// One round of attempts. Dropped, it ends them all.
    pub(super) async fn dial(self: Arc<Self>) -> Result<Dialed, DialError> {
        let address = self.address();
        self.attempts().await.map_err(|error| match address {
            Some(address) => error.at(address),
            None => error,
        })
    }

    async fn attempts(self: Arc<Self>) -> Result<Dialed, DialError> {
        let deadline = Instant::now() + self.timeout;
        let mut attempts: JoinSet<Result<Dialed, DialError>> = JoinSet::new();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let mut started = 0_usize;
        let mut next = Instant::now();
        let mut last = DialError::Silence;
        loop {
            tokio::select! {
                biased;
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(dialed)) => return Ok(dialed),
                    Ok(Err(error)) => {
                        debug!(%error, "attempt failed");
                        // An answer that a person has to act on is not hidden by the silence of another address.
                        if error.needs_a_person() || !last.needs_a_person() {
                            last = error;
                        }
                        if attempts.is_empty() && started >= addresses.len() {
                            return Err(last);
                        }
                        if started < addresses.len() {
                            next = Instant::now();
                        }
                    }
                    Err(_) => {}
                },
                () = sleep_until(deadline) => return Err(last),
                () = sleep_until(next) => {
                    // Anew each time: the server's address may have changed while it was away.
                    match self.resolve().await {
                        Ok(found) => addresses = found,
                        Err(error) if addresses.is_empty() => return Err(error),
                        Err(_) => {}
                    }
                    let index = started.checked_rem(addresses.len()).unwrap_or_default();
                    let Some(address) = addresses.get(index).copied() else { return Err(last) };
                    attempts.spawn(self.clone().attempt(address));
                    started += 1;
                    let pause = if started < addresses.len() { NEXT_ADDRESS } else { NEXT_ATTEMPT };
                    next = Instant::now() + pause;
                }
            }
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, DialError> {
        let address = self.address().ok_or(DialError::NoAddress)?;
        let port = address.port.get();
        let name = match &address.host {
            Host::V4(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::V6(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::Name(name) => name.as_str(),
        };
        let found = timeout(RESOLVE, tokio::net::lookup_host((name, port))).await;
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let found = found.map_err(timed_out).and_then(|found| found);
        let name = name.to_owned();
        match found {
            Ok(found) => {
                let found: Vec<_> = found.take(MOST_ADDRESSES).collect();
                if found.is_empty() {
                    return Err(DialError::NoSuchName(name));
                }
                Ok(found)
            }
            Err(error) if does_not_exist(&error) => Err(DialError::NoSuchName(name)),
            Err(error) => Err(DialError::Resolve { name, error }),
        }
    }

    async fn attempt(self: Arc<Self>, address: SocketAddr) -> Result<Dialed, DialError> {
        debug!(%address, "connecting");
        let mut shown = self.shown.subscribe();
        let Shown { identity, config } = shown.borrow_and_update().clone();
        // Refused there; it need not be asked.
        if identity.not_after() <= SystemTime::now() {
            return Err(DialError::Expired);
        }
        let endpoint = self.endpoints.get(address.ip())?;
        let connecting = endpoint.connect_with(config, address, &self.name)?;
        let connection = connecting.await.map_err(|error| explain(&error))?;
        let path = self.paths.enter(&connection);
        let (link, driver) = Link::start(connection, self.link.clone(), self.share.clone());
        let mut driver: Driver = Box::pin(async move {
            let _path = path;
            driver.await
        });
        let mut peer = link.peer();
        let hello = tokio::select! {
            end = &mut driver => return Err(explain_end(&end)),
            peer = peer.wait_for(|peer| peer.hello.is_some()) => peer.ok().and_then(|peer| peer.hello.clone()),
        };
        match hello {
            Some(hello) => Ok(Dialed {
                link,
                hello,
                driver,
                shown,
            }),
            None => Err(explain_end(&driver.await)),
        }
    }

    /// Waits until the peers of all closed connections know it, `limit` at the most.
    pub(crate) async fn wait_idle(&self, limit: Duration) {
        for endpoint in self.endpoints.all() {
            // What was said by then was said; the rest times out at the peer.
            let _ = timeout(limit, endpoint.wait_idle()).await;
        }
    }
}

/// A UDP socket for each family that was needed.
#[derive(Debug, Default)]
struct Endpoints {
    v4: Mutex<Option<Endpoint>>,
    v6: Mutex<Option<Endpoint>>,
}

impl Endpoints {
    fn get(&self, address: IpAddr) -> Result<Endpoint, QuicError> {
        let (slot, bind) = match address {
            IpAddr::V4(_) => (&self.v4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            IpAddr::V6(_) => (&self.v6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*slot {
            return Ok(endpoint.clone());
        }
        let endpoint = quic::client_endpoint(SocketAddr::new(bind, 0))?;
        Ok(slot.insert(endpoint).clone())
    }

    fn all(&self) -> Vec<Endpoint> {
        [&self.v4, &self.v6]
            .iter()
            .filter_map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }
}

/// Whether the system's resolver says for certain that there is no such name. The standard library gives the code of
/// getaddrinfo (RFC 3493 §6.1) only in the system's words; what is not among these may pass.
fn does_not_exist(error: &io::Error) -> bool {
    const WORDS: [&str; 4] = [
        // EAI_NONAME of glibc, musl and the BSDs; EAI_NODATA of glibc.
        "Name or service not known",
        "Name does not resolve",
        "nodename nor servname provided",
        "No address associated with hostname",
    ];
    let text = error.to_string();
    WORDS.iter().any(|words| text.contains(words))
}

/// Between attempts at the same addresses.
const NEXT_ATTEMPT: Duration = Duration::from_secs(1);
/// Between the first attempts at different addresses (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
const RESOLVE: Duration = Duration::from_secs(5);
const MOST_ADDRESSES: usize = 16;
