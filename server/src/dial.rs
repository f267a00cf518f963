//! From a permit to a connected socket: resolve, judge every address, connect by happy eyeballs, retry, break.
//!
//! Invariants: only a [`PermittedAddr`](crate::policy::PermittedAddr) is dialled, and it is the very address that was judged; nothing is tried
//! again once a connection was made; everything together stays inside one deadline. The addresses of a family that
//! answers late are judged when they come: one that is denied ends every attempt, as if it had been there from the start.

mod connect;
mod family;

use crate::breaker::Breakers;
use crate::policy::{Denied, Permit};
use crate::resolve::{Family, Late, Lookup, ResolveError, Resolver};
use crate::sockets::Places;
use backon::{BackoffBuilder, ExponentialBuilder};
use connect::Addresses;
use family::Winners;
use fluidity_trace::Span;
use fluidity_wire::{Host, ReplyCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

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
            Self::Resolve(ResolveError::NotFound | ResolveError::NoAddress) => ReplyCode::NameNotFound,
            Self::Resolve(_) => ReplyCode::ResolveFailed,
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
    /// Late answers that no dial waits for any more.
    finishing: Mutex<JoinSet<()>>,
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
            finishing: Mutex::default(),
        }
    }

    /// With so many dials under way at the most, which agents share.
    pub fn sharing(self, places: Arc<Places>) -> Self {
        Self { places, ..self }
    }

    /// Where names are found.
    pub const fn resolver(&self) -> &Resolver {
        &self.resolver
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
        let dialled = self.try_dial(permit, &span).await;
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
        let deadline = Instant::now() + self.options.timeout;
        let host = &permit.target().host;
        // A name server that takes all the time says nothing of the target.
        let resolved = timeout_at(deadline, self.resolve(host, span)).await;
        let Lookup {
            addresses,
            name,
            late,
        } = resolved.unwrap_or(Err(ResolveError::Timeout))?;
        let permit = match name {
            Some(name) => permit.under(&name)?,
            None => permit.clone(),
        };
        let permitted = permit.addresses(&addresses)?;
        let first = self.winners.of(host, Instant::now());
        let mut addresses = Addresses::new(permit, permitted, late, first);
        let connected = timeout_at(deadline, self.try_rounds(&mut addresses, span)).await;
        let stream = connected.unwrap_or(Err(DialError::Timeout))?;
        if addresses.are_of_both_families()
            && let Ok(peer) = stream.peer_addr()
        {
            self.winners.learn(host, Family::of(peer), Instant::now());
        }
        if let Some(late) = addresses.into_late() {
            self.let_finish(late);
        }
        Ok(stream)
    }

    /// Whatever comes late is for the next session to know.
    fn let_finish(&self, mut late: Late) {
        let mut finishing = self.finishing.lock().unwrap_or_else(PoisonError::into_inner);
        while finishing.try_join_next().is_some() {}
        if finishing.len() < MOST_FINISHING {
            finishing.spawn(async move {
                late.addresses().await;
            });
        }
    }

    /// One round after the other, until one goes well or none may.
    async fn try_rounds(&self, addresses: &mut Addresses, span: &Span) -> Result<TcpStream, DialError> {
        // Jitter doubles a pause at the most.
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(self.options.retry_initial / 2)
            .with_max_times(self.options.attempts.saturating_sub(1))
            .with_jitter()
            .build();
        loop {
            let error = match addresses.connect(span).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if error.may_pass() => sleep(pause).await,
                _ => return Err(error),
            }
        }
    }

    async fn resolve(&self, host: &Host, cause: &Span) -> Result<Lookup, ResolveError> {
        let mut span = match host {
            Host::Name(_) => cause.part("resolve"),
            Host::V4(_) | Host::V6(_) => Span::default(),
        };
        let resolved = self.resolver.resolve(host).await;
        if let Err(error) = &resolved {
            span.fail(DialError::from(*error).reply_code().name());
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

/// Late answers that are waited for behind their dials.
const MOST_FINISHING: usize = 64;

#[cfg(test)]
mod tests;
