//! What may be sent to addresses that are not proven: three times what came from them (RFC 9000 §8.1).
//!
//! quinn counts as well, but lets a whole datagram begin while one byte is left, its last close among them. So the socket
//! counts once more, and leaves out what would be too much, which to QUIC is a lost packet: a real client's next datagram
//! pays for it. Only datagrams that begin with a long header are looked at, those of handshakes; while no address is
//! watched, the look is at one number. The one datagram that QUIC sends with a short header before a handshake is over,
//! which names connection ids, is counted beforehand: counted when it is sent, it could not be told from those of another
//! connection of the same address.
//!
//! Invariants: at most [`MOST`] addresses; one that finds no place is not watched, and has to be proven first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The addresses that handshakes are under way with and that have proven nothing.
#[derive(Debug, Default)]
pub struct Unproven {
    /// How many accounts there are.
    watched: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: HashMap<SocketAddr, Account>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Account {
    /// Each of its handshakes has one, too.
    alive: Arc<()>,
    received: usize,
    sent: usize,
    /// When the last handshake went: its close is sent behind it.
    left: Instant,
}

impl Account {
    fn is_over(&self, now: Instant) -> bool {
        Arc::strong_count(&self.alive) == 1 && now.saturating_duration_since(self.left) >= LINGER
    }
}

impl Unproven {
    /// Counts for an address whose first datagram of a handshake has come. `None` where too many are watched.
    pub fn watch(self: &Arc<Self>, address: SocketAddr) -> Option<Watch> {
        let (key, now) = (key(address), Instant::now());
        let mut state = self.lock();
        let due = |swept: Instant| now.saturating_duration_since(swept) >= SWEEP;
        if state.swept.is_none_or(due) {
            state.swept = Some(now);
            state.accounts.retain(|_, account| !account.is_over(now));
        }
        if state
            .accounts
            .get(&key)
            .is_some_and(|account| account.is_over(now))
        {
            state.accounts.remove(&key);
        }
        if state.accounts.len() >= MOST && !state.accounts.contains_key(&key) {
            return None;
        }
        let account = state.accounts.entry(key).or_insert(Account {
            alive: Arc::default(),
            // It was not watched when that came.
            received: LEAST_INITIAL,
            sent: 0,
            left: now,
        });
        account.sent += CONNECTION_IDS;
        let alive = account.alive.clone();
        self.watched.store(state.accounts.len(), Ordering::Release);
        Some(Watch {
            unproven: self.clone(),
            key,
            alive,
        })
    }

    /// The address is proven: it may be sent whatever QUIC likes.
    pub fn prove(&self, address: SocketAddr) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.accounts.remove(&key(address));
        self.watched.store(state.accounts.len(), Ordering::Release);
    }

    /// Notes a datagram that came.
    pub(crate) fn received(&self, address: SocketAddr, datagram: &[u8]) {
        if !concerns(datagram) || self.is_empty() {
            return;
        }
        if let Some(account) = self.lock().accounts.get_mut(&key(address)) {
            account.received = account.received.saturating_add(datagram.len());
        }
    }

    /// How many of `bytes`, which are datagrams of `size`, may be sent; they count as sent.
    pub(crate) fn allow(&self, address: SocketAddr, bytes: &[u8], size: usize) -> usize {
        if !concerns(bytes) || self.is_empty() {
            return bytes.len();
        }
        let mut state = self.lock();
        let Some(account) = state.accounts.get_mut(&key(address)) else {
            return bytes.len();
        };
        let left = account
            .received
            .saturating_mul(FACTOR)
            .saturating_sub(account.sent);
        let allowed = match bytes.len() <= left {
            true => bytes.len(),
            false => left - left % size.max(1),
        };
        account.sent = account.sent.saturating_add(allowed);
        allowed
    }

    /// Takes back what the kernel did not take.
    pub(crate) fn unsent(&self, address: SocketAddr, bytes: &[u8], count: usize) {
        if !concerns(bytes) || self.is_empty() {
            return;
        }
        if let Some(account) = self.lock().accounts.get_mut(&key(address)) {
            account.sent = account.sent.saturating_sub(count);
        }
    }

    fn is_empty(&self) -> bool {
        self.watched.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handshake with an address that is watched. Dropped, the address is watched a while longer.
#[derive(Debug)]
pub struct Watch {
    unproven: Arc<Unproven>,
    key: SocketAddr,
    alive: Arc<()>,
}

impl Watch {
    /// The handshake has come to its end, which proves the address.
    pub fn proven(self) {
        self.unproven.prove(self.key);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.unproven.lock();
        // It may have been proven meanwhile, and be another's.
        let own = state.accounts.get_mut(&self.key);
        if let Some(account) = own.filter(|account| Arc::ptr_eq(&account.alive, &self.alive)) {
            account.left = Instant::now();
        }
    }
}

/// Whether datagrams begin with a long header, as those of handshakes do.
fn concerns(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & LONG_HEADER != 0)
}

/// The same for both spellings of an IPv4 address.
fn key(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

const FACTOR: usize = 3;
/// A datagram that begins a handshake has at least so many bytes (RFC 9000 §14.1).
const LEAST_INITIAL: usize = 1200;
const LONG_HEADER: u8 = 0x80;
/// The most that a packet takes which names the seven connection ids that quinn has for a peer.
const CONNECTION_IDS: usize = 256;
/// Addresses that are watched at once.
const MOST: usize = 4096;
/// QUIC may answer with a close for three probe timeouts, each of about a second, after a handshake was given up.
const LINGER: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LONG: u8 = 0xc0;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn three_times_what_came_may_be_sent_in_whole_datagrams_and_no_byte_more() {
        let unproven = Arc::new(Unproven::default());
        let watch = unproven.watch(address(1)).unwrap();
        let batch = vec![LONG; 2538];
        // Less what goes beside them; two datagrams and a short one, then one too many.
        assert_eq!(unproven.allow(address(1), &batch, 1200), 2538);
        assert_eq!(unproven.allow(address(1), &[LONG; 1200], 1200), 0);
        assert_eq!(unproven.allow(address(1), &[LONG; 806], 806), 806);
        assert_eq!(unproven.allow(address(1), &[LONG; 1], 1), 0);
        unproven.received(address(1), &[LONG; 500]);
        // What came for an established connection is not counted, nor what goes to one.
        unproven.received(address(1), &[0x40; 500]);
        assert_eq!(unproven.allow(address(1), &[0x40; 5000], 1200), 5000);
        assert_eq!(unproven.allow(address(1), &batch, 1200), 1200);
        unproven.unsent(address(1), &batch, 1200);
        assert_eq!(unproven.allow(address(1), &batch[..1500], 1500), 1500);
        // Of others nothing is known.
        assert_eq!(unproven.allow(address(2), &batch, 1200), 2538);
        watch.proven();
        assert_eq!(unproven.allow(address(1), &batch, 1200), 2538);
        assert!(unproven.is_empty());
    }

    #[test]
    fn a_second_handshake_of_an_address_brings_no_bytes_of_its_own_and_an_ended_one_is_watched_on() {
        let unproven = Arc::new(Unproven::default());
        let watches = [unproven.watch(address(1)), unproven.watch(address(1))];
        assert_eq!(unproven.allow(address(1), &[LONG; 3600], 1200), 2400);
        assert_eq!(unproven.allow(address(1), &[LONG; 688], 688), 688);
        drop(watches);
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 1));
        assert_eq!(unproven.allow(mapped, &[LONG; 40], 40), 0);
        let _again = unproven.watch(mapped).unwrap();
        assert_eq!(unproven.allow(address(1), &[LONG; 40], 40), 0);
    }

    #[test]
    fn too_many_addresses_find_no_place_until_some_are_over() {
        let unproven = Arc::new(Unproven::default());
        let most = u32::try_from(MOST).unwrap();
        let of = |number: u32| SocketAddr::from((Ipv6Addr::from_bits(u128::from(number) + 1), 1));
        let watches: Vec<_> = (0..most).map(|number| unproven.watch(of(number))).collect();
        assert!(watches.iter().all(Option::is_some));
        assert!(unproven.watch(of(most)).is_none());
        drop(watches);
        assert!(unproven.watch(of(most)).is_none());
        let Some(long_ago) = Instant::now().checked_sub(LINGER) else {
            return;
        };
        {
            let mut state = unproven.lock();
            state.swept = None;
            state
                .accounts
                .values_mut()
                .take(10)
                .for_each(|account| account.left = long_ago);
        }
        assert!(unproven.watch(of(most)).is_some());
        assert_eq!(unproven.lock().accounts.len(), MOST - 9);
    }
}
