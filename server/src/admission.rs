//! Whose handshakes are under way, and who has to wait: pure, with the clock as an argument.
//!
//! Whoever has not proven its address may be anybody, also somebody who wants that address locked out. So handshakes
//! of unproven sources are few and counted apart, and when they are too many, all that is asked of the next one is the
//! proof (a Retry, RFC 9000 §8.1.2). Only proven sources take the other places, and none keeps one from a newcomer:
//! where there is none left, the source that has the most gives one up. Some places are for those alone from whose
//! address an agent was let in lately.

use fluidity_daemon::recent::Recent;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Handshakes under way.
#[derive(Debug)]
pub struct Admission(Mutex<State>);

/// What becomes of a packet that begins a handshake.
#[derive(Debug)]
pub enum Entrance {
    /// The handshake may go on.
    Open(Place),
    /// The source has to prove its address first.
    ProveAddress,
    /// There is no place for now; only for a source that is proven.
    Full,
}

#[derive(Debug)]
struct State {
    last_id: u64,
    unproven: BTreeMap<u64, Handshake>,
    proven: BTreeMap<u64, Handshake>,
    /// From where agents were let in.
    known: Recent<IpAddr, ()>,
}

#[derive(Debug)]
struct Handshake {
    source: Source,
    known: bool,
    began: Instant,
    evicted: CancellationToken,
}

/// Who counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    /// An address, or the 64 bits of an IPv6 network that one customer gets at the least.
    place: IpAddr,
    /// The same address, or the 48 bits that one customer gets at the most.
    network: IpAddr,
}

impl Default for Admission {
    fn default() -> Self {
        Self(Mutex::new(State {
            last_id: 0,
            unproven: BTreeMap::new(),
            proven: BTreeMap::new(),
            known: Recent::new(MOST_KNOWN, KNOWN),
        }))
    }
}

impl Admission {
    /// Looks for a place; `proven` is whether `address` can receive what is sent to it.
    pub fn begin(self: &Arc<Self>, address: IpAddr, proven: bool, now: Instant) -> Entrance {
        let source = Source::of(address);
        let mut state = self.lock();
        let known = state.known.get(&source.place, now).is_some();
        if proven {
            if let Err(NoPlace) = state.make_room(source, known, now) {
                return Entrance::Full;
            }
        } else if state.must_prove(source) {
            return Entrance::ProveAddress;
        }
        state.last_id += 1;
        let id = state.last_id;
        let evicted = CancellationToken::new();
        let handshake = Handshake {
            source,
            known,
            began: now,
            evicted: evicted.clone(),
        };
        match proven {
            true => state.proven.insert(id, handshake),
            false => state.unproven.insert(id, handshake),
        };
        Entrance::Open(Place {
            admission: self.clone(),
            id,
            evicted,
        })
    }

    /// An agent was let in from `address`, or leaves from there.
    pub fn remember(&self, address: IpAddr, now: Instant) {
        self.lock().known.insert(Source::of(address).place, (), now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no place.
struct NoPlace;

impl State {
    fn must_prove(&self, source: Source) -> bool {
        let of = |same: fn(Source, Source) -> bool| {
            let own = self.unproven.values().filter(|other| same(other.source, source));
            own.count()
        };
        self.unproven.len() >= MOST_UNPROVEN
            || of(|a, b| a.place == b.place) >= UNPROVEN_OF_A_PLACE
            || of(|a, b| a.network == b.network) >= UNPROVEN_OF_A_NETWORK
    }

    /// Evicts somebody where that is needed for a place among the proven, and fair.
    fn make_room(&mut self, source: Source, known: bool, now: Instant) -> Result<(), NoPlace> {
        let is_old = |handshake: &Handshake| now.saturating_duration_since(handshake.began) >= YOUNG;
        // Ids rise, so that the first is the oldest.
        let oldest = |chosen: &dyn Fn(&Handshake) -> bool| {
            let (id, handshake) = self.proven.iter().find(|(_, handshake)| chosen(handshake))?;
            Some((*id, is_old(handshake)))
        };
        let count =
            |chosen: &dyn Fn(&Handshake) -> bool| self.proven.values().filter(|one| chosen(one)).count();
        let of_place = |one: &Handshake| one.source.place == source.place;
        let of_network = |one: &Handshake| one.source.network == source.network;
        let own = count(&of_network);
        let victim = if count(&of_place) >= MOST_OF_A_PLACE {
            oldest(&of_place).filter(|(_, old)| *old)
        } else if own >= MOST_OF_A_NETWORK {
            oldest(&of_network).filter(|(_, old)| *old)
        } else {
            let strangers = count(&|one| !one.known);
            let room = self.proven.len() < MOST_PROVEN && (known || strangers < MOST_STRANGERS);
            if room {
                return Ok(());
            }
            let weak = |one: &Handshake| !one.known || strangers == 0;
            let mut networks: HashMap<IpAddr, usize> = HashMap::new();
            for one in self.proven.values().filter(|one| weak(one)) {
                *networks.entry(one.source.network).or_default() += 1;
            }
            // Of several that have as many, the one whose oldest is the oldest.
            let most = networks.values().copied().max().unwrap_or_default();
            let largest = |one: &Handshake| weak(one) && networks.get(&one.source.network) == Some(&most);
            oldest(&largest).filter(|(_, old)| *old || known && strangers > 0 || most > own + 1)
        };
        let (id, _) = victim.ok_or(NoPlace)?;
        if let Some(victim) = self.proven.remove(&id) {
            victim.evicted.cancel();
        }
        Ok(())
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let cut = |bits: u32| {
                    let away = 128 - bits;
                    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> away << away))
                };
                Self {
                    place: cut(64),
                    network: cut(48),
                }
            }
            address => Self {
                place: address,
                network: address,
            },
        }
    }
}

/// A place among the handshakes, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    id: u64,
    evicted: CancellationToken,
}

impl Place {
    /// Completes when a newcomer needs the place. Cancel safe.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Gives the place back where it came from.
    pub fn leave(self) -> Arc<Admission> {
        self.admission.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.unproven.remove(&self.id);
        state.proven.remove(&self.id);
    }
}

/// Handshakes of unproven sources, in all.
const MOST_UNPROVEN: usize = 64;
const UNPROVEN_OF_A_PLACE: usize = 4;
const UNPROVEN_OF_A_NETWORK: usize = 16;
/// Handshakes of proven sources, in all.
const MOST_PROVEN: usize = 256;
/// The same from where no agent was let in lately.
const MOST_STRANGERS: usize = 224;
const MOST_OF_A_PLACE: usize = 32;
const MOST_OF_A_NETWORK: usize = 64;
/// A handshake that was begun so short a time ago is evicted only for one that has a better right. It takes a few round
/// trips; and whoever evicts its own cannot have the server begin more of them than so many in this time.
const YOUNG: Duration = Duration::from_secs(1);
/// Addresses from which agents were let in.
const MOST_KNOWN: usize = 1024;
const KNOWN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
