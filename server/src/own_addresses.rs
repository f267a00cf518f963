//! Finds the addresses of this machine, and keeps them up to date for the policy.
//!
//! Interfaces' addresses on every system; on Linux also what the routing table delivers locally, such as the address of a
//! load balancer that a cloud's agent puts there, and the kernel tells of changes at once. Elsewhere, and should that
//! fail, they are looked up every few seconds. What cannot be looked up stays as it was.

#[cfg(target_os = "linux")]
mod netlink;

use crate::policy::OwnAddresses;
use ipnet::IpNet;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

/// The addresses as they are now, and the future that keeps them so for ever. Cancel safe.
pub async fn follow() -> (watch::Receiver<OwnAddresses>, impl Future<Output = ()> + Send) {
    // Subscribed first: a change while they are looked up is not missed.
    let mut changes = Changes::subscribe();
    let (known, watched) = watch::channel(OwnAddresses::default());
    update(&known).await;
    let follow = async move {
        loop {
            changes.wait().await;
            update(&known).await;
        }
    };
    (watched, follow)
}

async fn update(known: &watch::Sender<OwnAddresses>) {
    // A few calls to the kernel; with many interfaces they take their time.
    let looked = tokio::task::spawn_blocking(look).await;
    match looked.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
        Ok(found) => {
            let changed = known.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            });
            if changed {
                debug!(count = known.borrow().len(), "this machine's own addresses");
            }
        }
        Err(error) => {
            warn!(%error, "this machine's own addresses cannot be looked up: the policy goes by older ones")
        }
    }
}

fn look() -> io::Result<OwnAddresses> {
    let interfaces = if_addrs::get_if_addrs()?;
    let addresses = interfaces.iter().map(|interface| IpNet::from(interface.ip()));
    let mut own: OwnAddresses = addresses.collect();
    own.extend(local_routes());
    Ok(own)
}

#[cfg(target_os = "linux")]
fn local_routes() -> Vec<IpNet> {
    netlink::local_routes().unwrap_or_else(|error| {
        // In a sandbox without netlink, say: the interfaces' addresses are known all the same.
        debug!(%error, "the local routing table cannot be read");
        Vec::new()
    })
}

#[cfg(not(target_os = "linux"))]
const fn local_routes() -> Vec<IpNet> {
    Vec::new()
}

/// Tells when to look again.
struct Changes {
    #[cfg(target_os = "linux")]
    kernel: Option<netlink::Notices>,
}

impl Changes {
    #[cfg(target_os = "linux")]
    fn subscribe() -> Self {
        let kernel = netlink::Notices::subscribe();
        let kernel = kernel
            .inspect_err(|error| debug!(%error, "the kernel does not tell of changes"))
            .ok();
        Self { kernel }
    }

    #[cfg(not(target_os = "linux"))]
    const fn subscribe() -> Self {
        Self {}
    }

    #[cfg(target_os = "linux")]
    async fn wait(&mut self) {
        // However many changes there are, there is a pause after each look.
        sleep(PAUSE).await;
        let Some(kernel) = &mut self.kernel else {
            return sleep(LOOK).await;
        };
        let told = tokio::time::timeout(LOOK_ANYWAY, kernel.changed()).await;
        if let Ok(Err(error)) = told {
            debug!(%error, "the kernel tells of changes no more");
            self.kernel = None;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn wait(&mut self) {
        sleep(PAUSE + LOOK).await;
    }
}

/// After each look, so that changes without end cost little.
const PAUSE: Duration = Duration::from_millis(50);
/// Where nobody tells of changes.
const LOOK: Duration = Duration::from_secs(2);
/// Where the kernel tells of them.
#[cfg(target_os = "linux")]
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[tokio::test]
    async fn this_machine_knows_itself() {
        let (own, _follow) = follow().await;
        let own = own.borrow();
        assert!(own.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)), "{own:?}");
        assert!(!own.contains("192.0.2.1".parse().unwrap()), "{own:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_local_routing_table_is_read() {
        let routes = netlink::local_routes().unwrap();
        assert!(routes.contains(&"127.0.0.0/8".parse().unwrap()), "{routes:?}");
    }
}
