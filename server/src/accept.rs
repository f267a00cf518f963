//! The QUIC accept loop: how many handshakes at once, from whom, and who has to prove its address first.
//!
//! Until a handshake is over nobody is known, so that nothing of a real agent is spent on it: handshakes under way are
//! counted apart from connections, and `admission` says who gets a place.

use crate::admission::{Admission, Entrance, Place};
use crate::connection::{self, House};
use fluidity_wire::{Ending, Watch};
use quinn::{ConnectionError, Endpoint, Incoming};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

/// Accepts connections until `stop`, then waits for those that are served. Owns their tasks.
pub async fn accept(endpoint: Endpoint, house: Arc<House>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let admission = Arc::new(Admission::default());
    loop {
        let incoming = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        // Nothing more comes out of an endpoint that is closed.
        let Some(incoming) = incoming else { break };
        let (address, proven) = (
            incoming.remote_address().ip(),
            incoming.remote_address_validated(),
        );
        match admission.begin(address, proven, Instant::now()) {
            Entrance::Open(place) => {
                let peer = incoming.remote_address();
                if proven {
                    house.unproven.prove(peer);
                }
                let watch = (!proven).then(|| house.unproven.watch(peer));
                if let Some(None) = watch {
                    let _ = incoming.retry();
                    continue;
                }
                connections.spawn(enter(incoming, place, watch.flatten(), house.clone()));
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

/// `watch` is there while the address is not proven, and outlives the close that QUIC sends behind a failure.
async fn enter(incoming: Incoming, place: Place, watch: Option<Watch>, house: Arc<House>) {
    let stop = house.services.shutdown.draining.clone();
    let peer = incoming.remote_address();
    let metrics = &house.services.metrics;
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            debug!(peer.addr = %peer, error = %Ending(&error), "no handshake");
            return metrics.connection_rejected("handshake");
        }
    };
    let connected = tokio::select! {
        connected = connecting => connected,
        () = sleep(HANDSHAKE) => {
            debug!(peer.addr = %peer, "handshake took too long");
            return metrics.connection_rejected("handshake-timeout");
        }
        () = place.evicted() => {
            debug!(peer.addr = %peer, "handshake made room for another");
            return metrics.connection_rejected("too-many-handshakes");
        }
        // Who is not in yet is not waited for.
        () = stop.cancelled() => return metrics.connection_rejected("stopping"),
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => return failed(&house, peer, &error),
    };
    if let Some(watch) = watch {
        watch.proven();
    }
    let admission = place.leave();
    admission.remember(peer.ip(), Instant::now());
    connection::serve(connection, house).await;
    admission.remember(peer.ip(), Instant::now());
}

/// Tells of a handshake that came to nothing. Anybody can begin one.
fn failed(house: &House, peer: SocketAddr, error: &ConnectionError) {
    let ending = Ending(error);
    let (services, kind) = (&house.services, "handshake");
    services.metrics.connection_rejected(match error {
        ConnectionError::TimedOut => "handshake-timeout",
        _ => kind,
    });
    let quiet = ending.is_abandoned() || matches!(error, ConnectionError::TimedOut);
    if !quiet && services.notices.stranger(kind, peer.ip().to_canonical()) {
        info!(peer.addr = %peer, error = %ending, "handshake failed");
    } else {
        debug!(peer.addr = %peer, error = %ending, "handshake failed");
    }
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
