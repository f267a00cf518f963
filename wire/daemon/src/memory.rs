//! Gives memory back that the allocator keeps for nobody.
//!
//! glibc keeps what was freed below the top of an arena: after hours of mixed load, four fifths of a daemon's heap were
//! free and still resident (docs/performance.md). Once a minute, where resident memory has grown since the last time, it
//! is told to return whole pages. Elsewhere than on Linux with glibc nothing is done.

use std::time::Duration;
use tokio::time::sleep;

/// Looks once a minute, for ever. Cancel safe.
pub(crate) async fn tend() {
    let mut left = 0;
    loop {
        sleep(PAUSE).await;
        let resident = resident().unwrap_or_default();
        if resident > left + WORTH {
            // A few milliseconds, for which the threads that allocate may wait. A runtime that stops ends it.
            let _ = tokio::task::spawn_blocking(give_back).await;
            left = self::resident().unwrap_or_default();
        }
        // What was needed once and is no longer does not count as growth later.
        left = left.min(resident);
    }
}

/// Resident memory in bytes; nothing where the system does not tell.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(
    unsafe_code,
    reason = "the one call that the allocator has for it; std has none"
)]
fn give_back() {
    // SAFETY: malloc_trim takes a number, may be called from any thread at any time, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn give_back() {}

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(60);
/// Less growth is left alone.
const WORTH: u64 = 4 * 1024 * 1024;
/// `/proc` counts in pages; with larger ones, growth counts for less than it is.
const PAGE: u64 = 4096;

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_between_blocks_that_live_is_given_back() {
        // Every other block lives on, so that none of the freed ones is at the top.
        let mut blocks: Vec<_> = (0..4000_u32).map(|_| Some(vec![1_u8; 16 * 1024])).collect();
        for block in blocks.iter_mut().step_by(2) {
            *block = None;
        }
        let before = resident().unwrap();
        give_back();
        let after = resident().unwrap();
        assert!(after + 16 * 1024 * 1024 < before, "{before} -> {after}");
        assert_eq!(blocks.iter().flatten().count(), 2000);
    }
}
