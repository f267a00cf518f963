//! Warns of an identity that several agents use at once: a certificate that was copied to a second machine.
//!
//! An agent that is killed and started again overlaps with its own past for up to the idle timeout, so only a longer
//! overlap counts. Each name is warned of once an hour.

use crate::roster::Roster;
use fluidity_daemon::recent::Recent;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Warns of names that are used twice for longer than `overlap`. Runs until it is dropped.
pub async fn watch(roster: Arc<Roster>, overlap: Duration) {
    let mut agents = roster.agents();
    let mut warned = Recent::new(MAX_WARNED, WARN_INTERVAL);
    loop {
        let (names, next) = roster.doubled(overlap);
        let now = Instant::now();
        for agent in names {
            if warned.get(&agent, now).is_none() {
                warn!(
                    %agent,
                    "several agents use one identity at the same time; issue each machine a certificate of its own \
                     with fluidity pki"
                );
                warned.insert(agent, (), now);
            }
        }
        let pause = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The roster outlives this task.
            _ = agents.changed() => {}
            () = pause => {}
        }
    }
}

/// Names that are remembered as warned of.
const MAX_WARNED: usize = 1024;
const WARN_INTERVAL: Duration = Duration::from_secs(3600);
