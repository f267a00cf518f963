//! The QUIC accept loop: how many handshakes at once, from whom, and who has to prove its address first.
//!
//! Until a handshake is over nobody is known, so that nothing of a real agent is spent on it: handshakes under way are
//! counted apart from connections, for all and for each source, and each has a deadline. When many are under way, a
//! source proves its address with a Retry first (RFC 9000 §8.1.2).

use crate::connection::{self, House};
use quinn::{Endpoint, Incoming};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

/// Accepts connections until `stop`, then waits for those that are served. Owns their tasks.
pub async fn accept(endpoint: Endpoint, house: Arc<House>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let handshakes = Arc::new(Handshakes::default());
    loop {
        let incoming = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        // Nothing more comes out of an endpoint that is closed.
        let Some(incoming) = incoming else { break };
        let source = source(incoming.remote_address().ip());
        match handshakes.begin(source, incoming.remote_address_validated()) {
            Entrance::Open(place) => {
                connections.spawn(enter(incoming, place, house.clone(), stop.clone()));
            }
            Entrance::ProveAddress => {
                // Refused only for an address that is proven, which is not asked for again.
                let _ = incoming.retry();
            }
            Entrance::Full => {
                house.services.metrics.connection_rejected("too-many-handshakes");
                incoming.ignore();
            }
        }
    }
    // From now on the endpoint itself refuses newcomers, while the connections that it has go on.
    endpoint.set_server_config(None);
    connections.close();
    connections.wait().await;
}

async fn enter(incoming: Incoming, place: Handshake, house: Arc<House>, stop: CancellationToken) {
    let peer = incoming.remote_address();
    let metrics = &house.services.metrics;
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            debug!(peer.addr = %peer, %error, "no handshake");
            return metrics.connection_rejected("handshake");
        }
    };
    let connected = tokio::select! {
        connected = timeout(HANDSHAKE, connecting) => connected,
        // Who is not in yet is not waited for.
        () = stop.cancelled() => return metrics.connection_rejected("stopping"),
    };
    let connection = match connected {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            info!(peer.addr = %peer, %error, "handshake failed");
            return metrics.connection_rejected("handshake");
        }
        Err(_) => {
            debug!(peer.addr = %peer, "handshake took too long");
            return metrics.connection_rejected("handshake-timeout");
        }
    };
    drop(place);
    connection::serve(connection, house).await;
}

/// Handshakes under way, by source.
#[derive(Debug, Default)]
struct Handshakes(Mutex<HashMap<IpAddr, u32>>);

enum Entrance {
    Open(Handshake),
    ProveAddress,
    Full,
}

impl Handshakes {
    fn begin(self: &Arc<Self>, source: IpAddr, proven: bool) -> Entrance {
        let mut under_way = self.lock();
        let all: u32 = under_way.values().sum();
        if !proven && all >= PROVE_FROM {
            return Entrance::ProveAddress;
        }
        let own = under_way.get(&source).copied().unwrap_or_default();
        if all >= MOST_HANDSHAKES || own >= MOST_OF_A_SOURCE {
            return Entrance::Full;
        }
        under_way.insert(source, own + 1);
        Entrance::Open(Handshake {
            handshakes: self.clone(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the handshakes, free again when it is dropped.
#[derive(Debug)]
struct Handshake {
    handshakes: Arc<Handshakes>,
    source: IpAddr,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut under_way = self.handshakes.lock();
        if let Some(count) = under_way.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.source);
            }
        }
    }
}

/// Who counts as one source: an address, or the 64 bits of an IPv6 network that one customer gets at the least.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

const HANDSHAKE: Duration = Duration::from_secs(5);
const MOST_HANDSHAKES: u32 = 256;
const MOST_OF_A_SOURCE: u32 = 32;
/// From so many on, addresses have to be proven.
const PROVE_FROM: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn one_source_cannot_take_every_place() {
        let handshakes = Arc::new(Handshakes::default());
        let begin = || handshakes.begin(address(1), true);
        let mut places: Vec<_> = (0..MOST_OF_A_SOURCE).map(|_| begin()).collect();
        assert!(places.iter().all(|place| matches!(place, Entrance::Open(_))));
        assert!(matches!(begin(), Entrance::Full));
        assert!(matches!(handshakes.begin(address(2), true), Entrance::Open(_)));
        places.pop();
        assert!(matches!(begin(), Entrance::Open(_)));
        drop(places);
        assert_eq!(handshakes.lock().len(), 0);
    }

    #[test]
    fn when_many_are_under_way_addresses_have_to_be_proven() {
        let handshakes = Arc::new(Handshakes::default());
        let places: Vec<_> = (0..PROVE_FROM)
            .map(|number| handshakes.begin(address(number), false))
            .collect();
        assert!(places.iter().all(|place| matches!(place, Entrance::Open(_))));
        assert!(matches!(
            handshakes.begin(address(1000), false),
            Entrance::ProveAddress
        ));
        assert!(matches!(handshakes.begin(address(1000), true), Entrance::Open(_)));
        let more: Vec<_> = (PROVE_FROM..MOST_HANDSHAKES)
            .map(|number| handshakes.begin(address(number), true))
            .collect();
        assert!(matches!(handshakes.begin(address(2000), true), Entrance::Full));
        drop((places, more));
    }

    #[test]
    fn an_ipv6_customer_is_one_source() {
        let source = |text: &str| source(text.parse().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), address(0xc000_0201));
    }
}
