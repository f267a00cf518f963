//! Happy eyeballs (RFC 8305) over the addresses of one target, and over those that become known meanwhile.

use super::DialError;
use crate::policy::{Permit, PermittedAddr};
use crate::resolve::{Family, Late};
use fluidity_trace::Span;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// The addresses of one target, in the order in which they are dialled.
#[derive(Debug)]
pub(super) struct Addresses {
    permit: Permit,
    known: Vec<PermittedAddr>,
    late: Option<Late>,
    first: Option<Family>,
}

impl Addresses {
    /// Those that were judged, and those that are to be; `first` is begun with.
    pub(super) fn new(
        permit: Permit,
        known: Vec<PermittedAddr>,
        late: Option<Late>,
        first: Option<Family>,
    ) -> Self {
        Self {
            permit,
            known: interleave(known, first),
            late,
            first,
        }
    }

    /// Whether both families could have been dialled.
    pub(super) fn are_of_both_families(&self) -> bool {
        let family = |address: &PermittedAddr| Family::of(address.get());
        let first = self.known.first().map(family);
        self.known.iter().any(|address| Some(family(address)) != first)
    }

    /// One round (RFC 8305 §5): the next address is tried when the last one failed or took too long, and the first
    /// connection wins. Dropped, it ends every attempt; what has become known stays for the next round.
    pub(super) async fn connect(&mut self, cause: &Span) -> Result<TcpStream, DialError> {
        if let ([address], None) = (self.known.as_slice(), &self.late) {
            return connect_one(address.get(), cause.client("connect")).await;
        }
        let mut waiting: VecDeque<_> = self.known.iter().copied().collect();
        let mut attempts = JoinSet::new();
        let mut next = Instant::now();
        let mut worst = DialError::Unreachable;
        // How long the late family is waited for when there is nothing else to try.
        let mut patience = None;
        loop {
            let idle = waiting.is_empty() && attempts.is_empty();
            if idle && patience.is_none() {
                let expected = self.late.as_ref().is_some_and(Late::is_expected);
                let wait = if expected { LATE } else { Duration::ZERO };
                patience = Some(Instant::now() + wait);
            }
            tokio::select! {
                biased;
                more = late(&mut self.late), if self.late.is_some() => {
                    self.late = None;
                    let more = interleave(self.join(&more)?, self.first);
                    waiting = alternate(waiting, more.into());
                    self.known = interleave(self.known.clone(), self.first);
                }
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => {
                        worst = more_telling(worst, error);
                        next = Instant::now();
                    }
                    Err(_) => {}
                },
                () = sleep_until(next), if !waiting.is_empty() => {
                    if let Some(address) = waiting.pop_front() {
                        attempts.spawn(connect_one(address.get(), cause.client("connect")));
                    }
                    next = Instant::now() + NEXT_ADDRESS;
                }
                () = sleep_until(patience.unwrap_or(next)), if idle => return Err(worst),
            }
        }
    }

    /// What has not come yet.
    pub(super) fn into_late(self) -> Option<Late> {
        self.late
    }

    /// Judges what came late: one address that is denied denies the target.
    fn join(&mut self, more: &[IpAddr]) -> Result<Vec<PermittedAddr>, DialError> {
        let more = self.permit.addresses(more)?;
        self.known.extend(&more);
        Ok(more)
    }
}

async fn late(late: &mut Option<Late>) -> Vec<IpAddr> {
    match late {
        Some(late) => late.addresses().await,
        None => std::future::pending().await,
    }
}

/// Those that came late take turns with those that still wait, and begin.
fn alternate(
    mut waiting: VecDeque<PermittedAddr>,
    mut more: VecDeque<PermittedAddr>,
) -> VecDeque<PermittedAddr> {
    let mut ordered = VecDeque::new();
    while ordered.len() < MOST_ADDRESSES && !(waiting.is_empty() && more.is_empty()) {
        ordered.extend(more.pop_front());
        ordered.extend(waiting.pop_front());
    }
    ordered
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
/// The same where there is nothing else to try.
const LATE: Duration = Duration::from_millis(250);
const MOST_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests;
