//! Whether anybody wants the tunnel: requests say so, the supervisor listens.

use fluidity_trace::TraceParent;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared by the requests that want a session and the supervisor that makes connections.
#[derive(Debug)]
pub struct Demand {
    wanted: Notify,
    last: Mutex<Instant>,
    parked: AtomicUsize,
    /// Of the request that was first, where it is traced.
    cause: Mutex<Option<TraceParent>>,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            wanted: Notify::new(),
            last: Mutex::new(Instant::now()),
            parked: AtomicUsize::new(0),
            cause: Mutex::default(),
        }
    }
}

impl Demand {
    /// A request uses the tunnel.
    pub fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How many sessions only wait for another request that may never come.
    pub fn parked(&self, count: usize) {
        self.parked.store(count, Ordering::Relaxed);
    }

    /// Looks at how many sessions there are: any that does not only wait uses the tunnel.
    pub fn look(&self, sessions: usize) {
        if sessions > self.parked.load(Ordering::Relaxed) {
            self.touch();
        }
    }

    /// A request saw that the tunnel is dormant and wants it; `cause` is its span.
    pub fn raise(&self, cause: Option<TraceParent>) {
        self.touch();
        if let Some(cause) = cause {
            self.cause().get_or_insert(cause);
        }
        self.wanted.notify_one();
    }

    /// How long ago a request used the tunnel.
    pub fn idle(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Forgets what was raised. To be called before the tunnel is seen to be dormant: requests raise their demand
    /// after that, so that none is lost, and none from before wakes a server that nobody wants.
    pub fn clear(&self) {
        let mut wanted = std::pin::pin!(self.wanted.notified());
        // Takes the stored permit, if there is one.
        wanted.as_mut().enable();
        self.cause().take();
    }

    /// Completes when a request wants the tunnel, with its span. Cancel safe.
    pub async fn wanted(&self) -> Option<TraceParent> {
        self.wanted.notified().await;
        self.cause().take()
    }

    fn cause(&self) -> MutexGuard<'_, Option<TraceParent>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[test]
    fn sessions_that_only_wait_for_another_request_want_nothing() {
        let demand = Demand::default();
        let touched = |sessions| {
            let before = *demand.last.lock().unwrap();
            demand.look(sessions);
            *demand.last.lock().unwrap() > before
        };
        demand.parked(2);
        assert!(!touched(2));
        assert!(touched(3));
        demand.parked(0);
        assert!(touched(1) && !touched(0));
    }

    #[tokio::test]
    async fn a_demand_wakes_once_and_one_from_before_is_forgotten() {
        let demand = Demand::default();
        demand.raise(None);
        demand.raise(None);
        demand.wanted().await;
        let again = timeout(Duration::from_millis(20), demand.wanted()).await;
        assert!(again.is_err(), "one wake for all that wait");
        demand.raise(None);
        demand.clear();
        let again = timeout(Duration::from_millis(20), demand.wanted()).await;
        assert!(again.is_err(), "cleared");
        demand.raise(None);
        demand.wanted().await;
    }
}
