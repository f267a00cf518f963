//! Sessions to origins that wait for another request, so that it needs no new dial.
//!
//! Bounded in number and age. Any client may get one, so none is here that a client has logged in (`login`), whose
//! exchange was not whole in both directions, or whose origin reads no more. Bytes that arrive while a session waits are
//! an answer to nobody: hyper reads on, and closes it. Only requests that can be repeated use one (`forward`): an origin
//! may hang up at any moment. Emptied when the tunnel is anything but connected: an idle session must not keep a stopping server up.

use super::upstream::Upstream;
use crate::lifecycle::Demand;
use crate::tunnel::{Phase, State};
use fluidity_wire::Target;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// The sessions that wait.
#[derive(Debug)]
pub(super) struct Pool {
    waiting: Mutex<Waiting>,
    /// Is told how many: nobody wants the tunnel for their sake.
    demand: Arc<Demand>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_target: HashMap<Target, Vec<Idle>>,
    count: usize,
    closed: bool,
}

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    since: Instant,
}

impl Pool {
    pub(super) fn new(demand: Arc<Demand>) -> Self {
        Self {
            waiting: Mutex::default(),
            demand,
        }
    }

    /// A session to this target, the one that waits the shortest.
    pub(super) async fn take(&self, target: &Target) -> Option<Upstream> {
        loop {
            let mut upstream = {
                let mut waiting = self.lock();
                let popped = waiting.pop(target)?;
                self.demand.parked(waiting.count);
                popped
            };
            if upstream.is_usable(MOMENT).await {
                return Some(upstream);
            }
        }
    }

    /// Lets a session wait; one too many, or one that the origin has closed, is closed instead.
    pub(super) fn put(&self, target: Target, upstream: Upstream) {
        let mut waiting = self.lock();
        let full = waiting.closed || waiting.count >= MOST || upstream.is_closed();
        if full
            || waiting
                .by_target
                .get(&target)
                .is_some_and(|idle| idle.len() >= MOST_PER_TARGET)
        {
            return;
        }
        waiting.count += 1;
        let since = Instant::now();
        waiting
            .by_target
            .entry(target)
            .or_default()
            .push(Idle { upstream, since });
        self.demand.parked(waiting.count);
    }

    /// Closes what waited too long, and everything while the tunnel is not connected, until `closed`; then for good.
    pub(super) async fn tend(&self, mut phase: watch::Receiver<Phase>, closed: CancellationToken) {
        let mut look = interval(OLDEST / 6);
        loop {
            tokio::select! {
                () = closed.cancelled() => break,
                _ = look.tick() => self.retain(|idle| idle.since.elapsed() < OLDEST && !idle.upstream.is_closed()),
                Ok(()) = phase.changed() => {
                    if phase.borrow_and_update().state != State::Connected {
                        self.retain(|_| false);
                    }
                }
            }
        }
        self.lock().closed = true;
        self.retain(|_| false);
    }

    fn retain(&self, keep: impl Fn(&Idle) -> bool) {
        let mut waiting = self.lock();
        for idle in waiting.by_target.values_mut() {
            idle.retain(&keep);
        }
        waiting.by_target.retain(|_, idle| !idle.is_empty());
        waiting.count = waiting.by_target.values().map(Vec::len).sum();
        self.demand.parked(waiting.count);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self, target: &Target) -> Option<Upstream> {
        let idle = self.by_target.get_mut(target)?;
        let found = idle.pop()?;
        if idle.is_empty() {
            self.by_target.remove(target);
        }
        self.count -= 1;
        Some(found.upstream)
    }
}

/// For hyper to notice that an exchange is over.
const MOMENT: Duration = Duration::from_millis(20);
/// Sessions that wait, at the most.
const MOST: usize = 256;
const MOST_PER_TARGET: usize = 64;
/// How long one may wait.
const OLDEST: Duration = Duration::from_secs(30);
