//! Both families of one name: the first answer is given soon, and the other one follows when it comes.
//!
//! RFC 8305 §3, turned to a policy's needs: whichever family answers first, the other one has a moment to join, since
//! one denied address closes a name. What comes later is [`Late`], to be judged before any of it is dialled. A family
//! that was silent of late is not waited for.

use super::cache::Outcome;
use super::message::Said;
use super::names::{Names, Pending};
use super::{Family, ResolveError};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What is known of a host.
#[derive(Debug)]
pub struct Lookup {
    /// Its addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// The name that they were found under, where that is another: a search domain was behind it.
    pub name: Option<String>,
    /// The family that has not answered yet.
    pub late: Option<Late>,
}

/// The addresses of a family that takes its time.
#[derive(Debug)]
pub struct Late {
    pending: Pending,
    expected: bool,
}

impl Lookup {
    /// What is known without asking.
    pub(super) const fn of(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            name: None,
            late: None,
        }
    }

    pub(super) fn under(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }
}

impl Late {
    /// The addresses, once it is known whether there are any. Cancel safe; asked again, the same.
    pub async fn addresses(&mut self) -> Vec<IpAddr> {
        match self.pending.outcome().await {
            Ok(Said::Addresses(addresses)) => addresses,
            _ => Vec::new(),
        }
    }

    /// Whether it is worth a wait: it was not silent before.
    pub const fn is_expected(&self) -> bool {
        self.expected
    }
}

impl Names {
    /// Asks for both families of a name.
    pub(super) async fn lookup(&self, name: &str) -> Result<Lookup, ResolveError> {
        let mut four = self.ask(name, Family::V4);
        if self.system.v4_only {
            return both(Ok(Said::NoAddress), four.outcome().await);
        }
        if self.system.single_request {
            let four = four.outcome().await;
            return both(self.ask(name, Family::V6).outcome().await, four);
        }
        let mut six = self.ask(name, Family::V6);
        let silent = |family| self.is_silent(name, family);
        let first = tokio::select! {
            biased;
            outcome = six.outcome() => First { outcome, other: four, silent: silent(Family::V4) },
            outcome = four.outcome() => First { outcome, other: six, silent: silent(Family::V6) },
        };
        first.joined().await
    }
}

/// The family that has answered, and the one that has not.
struct First {
    outcome: Outcome,
    other: Pending,
    silent: bool,
}

impl First {
    async fn joined(mut self) -> Result<Lookup, ResolveError> {
        let patience = match &self.outcome {
            Ok(Said::Addresses(_)) => Some(RESOLUTION_DELAY),
            // It concerns the other family as well; some name servers say it of one alone (RFC 4074 §4.2).
            Ok(Said::NoName) => Some(DENIAL_DELAY),
            Ok(Said::NoAddress) | Err(_) => None,
        };
        let patience = patience.map(|patience| if self.silent { Duration::ZERO } else { patience });
        let until = Instant::now() + patience.unwrap_or_default();
        tokio::select! {
            biased;
            other = self.other.outcome() => return both(self.outcome, other),
            () = sleep_until(until), if patience.is_some() => {}
        }
        match self.outcome {
            Ok(Said::Addresses(addresses)) => Ok(Lookup {
                addresses,
                name: None,
                late: Some(Late {
                    pending: self.other,
                    expected: !self.silent,
                }),
            }),
            _ => Err(ResolveError::NotFound),
        }
    }
}

/// A family that failed is no failure where the other one has answered.
fn both(one: Outcome, other: Outcome) -> Result<Lookup, ResolveError> {
    let mut addresses: Vec<_> = [&one, &other]
        .into_iter()
        .filter_map(|outcome| match outcome {
            Ok(Said::Addresses(addresses)) => Some(addresses),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    if !addresses.is_empty() {
        // RFC 6724 §2.1: IPv6 first, whichever answered first.
        addresses.sort_by_key(IpAddr::is_ipv4);
        return Ok(Lookup::of(addresses));
    }
    Err(match (one, other) {
        (Ok(Said::NoName), _) | (_, Ok(Said::NoName)) => ResolveError::NotFound,
        // The address may be of the family that is not known.
        (Err(error), _) | (_, Err(error)) => error,
        (Ok(_), Ok(_)) => ResolveError::NoAddress,
    })
}

/// RFC 8305 §3.
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// After a name was said not to exist: long enough for a question that was lost to be asked again.
const DENIAL_DELAY: Duration = Duration::from_secs(3);
