//! From a permit to a connected socket: resolve, judge every address, connect by happy eyeballs, retry, break.
//!
//! Invariants: only a [`PermittedAddr`] is dialled, and it is the very address that was judged; nothing is tried
//! again once a connection was made; everything together stays inside one deadline.

mod family;

use crate::breaker::Breakers;
use crate::policy::{Denied, Permit, PermittedAddr};
use crate::resolve::{ResolveError, Resolver};
use crate::sockets::Places;
use backon::{ExponentialBuilder, Retryable};
use family::{Family, Winners};
use fluidity_trace::Span;
use fluidity_wire::{Host, ReplyCode};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// How targets are dialled.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// For everything: name, addresses, retries.
    pub timeout: Duration,
    /// Rounds over all addresses.
    pub attempts: usize,
    /// The pause after the first failed round; doubles, with jitter.
    pub retry_initial: Duration,
}

/// Why a target was not reached. The texts go to the person behind the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// It resolves to an address that is denied.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It has no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It failed so often of late that it is left alone.
    #[error("the target failed several times in a row and is left alone for a moment; try again in a minute")]
    BreakerOpen,
    /// It answered with a refusal.
    #[error("the target refused the connection")]
    Refused,
    /// It did not answer.
    #[error("the target did not answer in time")]
    Timeout,
    /// Nobody knows a way to it.
    #[error("there is no route to the target")]
    Unreachable,
    /// The server ran out of something.
    #[error("the server has no socket left for the target")]
    Exhausted,
}

impl DialError {
    /// The code that the agent gets.
    pub const fn reply_code(self) -> ReplyCode {
        match self {
            Self::Denied(denied) => denied.reply_code(),
            Self::Resolve(ResolveError::NotFound) => ReplyCode::NameNotFound,
            Self::Resolve(ResolveError::Failed) => ReplyCode::ResolveFailed,
            Self::BreakerOpen => ReplyCode::BreakerOpen,
            Self::Refused => ReplyCode::ConnectRefused,
            Self::Timeout => ReplyCode::ConnectTimeout,
            Self::Unreachable => ReplyCode::Unreachable,
            Self::Exhausted => ReplyCode::Internal,
        }
    }

    /// Whether it says something of the target, and not of the server or the name.
    const fn is_the_targets(self) -> bool {
        matches!(self, Self::Refused | Self::Timeout | Self::Unreachable)
    }

    /// Another round may go better.
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Exhausted)
    }
}

/// Dials targets.
#[derive(Debug)]
pub struct Dialer {
    resolver: Resolver,
    options: DialOptions,
    breakers: Breakers,
    winners: Winners,
    /// For dials under way.
    places: Arc<Places>,
}

impl Dialer {
    /// Dials with these.
    pub fn new(resolver: Resolver, options: DialOptions, breakers: Breakers) -> Self {
        Self {
            resolver,
            options,
            breakers,
            winners: Winners::new(),
            places: Places::new(u32::MAX),
        }
    }

    /// With so many dials under way at the most, which agents share.
    pub fn sharing(self, places: Arc<Places>) -> Self {
        Self { places, ..self }
    }

    /// The breakers of failing targets.
    pub const fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Connects to the permit's target, timed as a part of `cause`. Cancel safe: dropped, it leaves no connection behind.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, permit: &Permit, cause: &Span) -> Result<TcpStream, DialError> {
        let (agent, target) = (permit.agent(), permit.target());
        if !self.breakers.permits(agent, target) {
            return Err(DialError::BreakerOpen);
        }
        // One that waits for its own dials to end is not the target's fault.
        let place = timeout(self.options.timeout, self.places.take(agent)).await;
        let _place = place.map_err(|_| DialError::Exhausted)?;
        let mut span = cause.part("dial");
        let dialled = timeout(self.options.timeout, self.try_dial(permit, &span)).await;
        let dialled = dialled.unwrap_or(Err(DialError::Timeout));
        let dialled = dialled.and_then(|stream| not_this_machine(stream, permit));
        match &dialled {
            Ok(_) => self.breakers.succeeded(agent, target),
            Err(error) if error.is_the_targets() => self.breakers.failed(agent, target),
            Err(_) => {}
        }
        if let Err(error) = &dialled {
            span.fail(error.reply_code().name());
        }
        dialled
    }

    async fn try_dial(&self, permit: &Permit, span: &Span) -> Result<TcpStream, DialError> {
        let host = &permit.target().host;
        let addresses = permit.addresses(&self.resolve(host, span).await?)?;
        let addresses = interleave(addresses, self.winners.of(host, Instant::now()));
        // Jitter doubles a pause at the most.
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.options.retry_initial / 2)
            .with_max_times(self.options.attempts.saturating_sub(1))
            .with_jitter();
        let stream = (|| connect(&addresses, span))
            .retry(pauses)
            .when(DialError::may_pass)
            .await?;
        if let [first, second, ..] = addresses.as_slice()
            && Family::of(first.get()) != Family::of(second.get())
            && let Ok(peer) = stream.peer_addr()
        {
            self.winners.learn(host, Family::of(peer), Instant::now());
        }
        Ok(stream)
    }

    async fn resolve(&self, host: &Host, cause: &Span) -> Result<Vec<IpAddr>, ResolveError> {
        let mut span = match host {
            Host::Name(_) => cause.part("resolve"),
            Host::V4(_) | Host::V6(_) => Span::default(),
        };
        let resolved = self.resolver.resolve(host).await;
        if let Err(error) = resolved {
            span.fail(DialError::from(error).reply_code().name());
        }
        resolved
    }
}

/// A connection to itself, where no rule opens that: by an address that the machine had not known for its own when it was
/// judged. Nothing was sent over it.
fn not_this_machine(stream: TcpStream, permit: &Permit) -> Result<TcpStream, DialError> {
    let own = stream.local_addr().map(|address| address.ip());
    if let (Ok(own), Ok(peer)) = (own, stream.peer_addr())
        && own == peer.ip()
    {
        permit.own_address(own)?;
    }
    Ok(stream)
}

/// RFC 8305 §4: the families take turns, beginning with `first` or that of the first address; a few addresses are enough.
fn interleave(addresses: Vec<PermittedAddr>, first: Option<Family>) -> Vec<PermittedAddr> {
    let first = first.or_else(|| addresses.first().map(|address| Family::of(address.get())));
    let (mut these, mut others): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| Some(Family::of(address.get())) == first);
    let mut ordered = Vec::new();
    while ordered.len() < MOST_ADDRESSES && !(these.is_empty() && others.is_empty()) {
        ordered.extend(these.pop_front());
        ordered.extend(others.pop_front());
    }
    ordered.truncate(MOST_ADDRESSES);
    ordered
}

/// One round of happy eyeballs (RFC 8305 §5): the next address is tried when the last one failed or took too long,
/// and the first connection wins. Dropped, it ends every attempt.
async fn connect(addresses: &[PermittedAddr], cause: &Span) -> Result<TcpStream, DialError> {
    if let [address] = addresses {
        return connect_one(address.get(), cause.client("connect")).await;
    }
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut next = Instant::now();
    let mut worst = DialError::Unreachable;
    loop {
        tokio::select! {
            biased;
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    worst = more_telling(worst, error);
                    next = Instant::now();
                }
                Err(_) => {}
            },
            () = sleep_until(next), if waiting.len() > 0 => {
                if let Some(address) = waiting.next() {
                    attempts.spawn(connect_one(address.get(), cause.client("connect")));
                }
                next = Instant::now() + NEXT_ADDRESS;
            }
            else => return Err(worst),
        }
    }
}

async fn connect_one(address: SocketAddr, mut span: Span) -> Result<TcpStream, DialError> {
    span.set("network.peer.address", || address.ip().to_string());
    span.set("network.peer.port", || i64::from(address.port()));
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| {
        debug!(%address, %error, "cannot connect");
        let error = error_of(&error);
        span.fail(error.reply_code().name());
        error
    })?;
    // Fails only on a socket that is gone already: the relay will see it.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn error_of(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::Timeout,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => DialError::Unreachable,
        _ => DialError::Exhausted,
    }
}

/// Of two addresses' errors the one that says more: a machine without IPv6 fails every IPv6 address at once.
fn more_telling(one: DialError, other: DialError) -> DialError {
    let rank = |error| match error {
        DialError::Refused => 3,
        DialError::Timeout => 2,
        DialError::Exhausted => 1,
        _ => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// RFC 8305 §5: the recommended connection attempt delay.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
const MOST_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests;
