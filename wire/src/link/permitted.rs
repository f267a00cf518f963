//! How many sessions the peer of a link may open.

use crate::quic::FIRST_SESSIONS;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many sessions the peer may have open now: some more whenever few are left.
///
/// Not many more: quinn keeps for each what its streams have needed most.
#[derive(Debug)]
pub(super) struct Permitted {
    now: AtomicU32,
    most: u32,
}

impl Permitted {
    pub(super) fn new(most: u32) -> Self {
        Self {
            now: AtomicU32::new(most.min(FIRST_SESSIONS)),
            most,
        }
    }

    /// The new number, where it is time for one.
    pub(super) fn raise(&self, sessions: usize) -> Option<u32> {
        let now = self.now.load(Ordering::Relaxed);
        let used = u32::try_from(sessions).unwrap_or(u32::MAX);
        if now >= self.most || now.saturating_sub(used) > FIRST_SESSIONS / 2 {
            return None;
        }
        let count = now.saturating_add(FIRST_SESSIONS.max(now / 4)).min(self.most);
        self.now.store(count, Ordering::Relaxed);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_may_open_more_as_it_uses_what_it_has_and_never_more_than_the_most() {
        let permitted = Permitted::new(1200);
        assert_eq!(permitted.raise(63), None);
        assert_eq!(permitted.raise(64), Some(256));
        assert_eq!(permitted.raise(100), None);
        for (used, count) in [
            (192, 384),
            (320, 512),
            (500, 640),
            (600, 800),
            (800, 1000),
            (990, 1200),
        ] {
            assert_eq!(permitted.raise(used), Some(count));
        }
        assert_eq!(permitted.raise(1200), None);
        assert_eq!(Permitted::new(0).raise(0), None);
    }
}
