//! Gives memory back that the allocator keeps for nobody.
//!
//! glibc keeps what was freed below the top of an arena: after hours of mixed load, four fifths of a daemon's heap were
//! free and still resident (docs/performance.md). It is told to return whole pages when the process falls quiet, and
//! where resident memory has grown: at once in a quiet process, once a minute in a busy one. Elsewhere than on
//! Linux with glibc nothing is done.

use std::time::Duration;
use tokio::time::sleep;

/// Looks every few seconds, for ever. Cancel safe.
pub(crate) async fn tend() {
    let mut keeper = Keeper::default();
    loop {
        sleep(PAUSE).await;
        let Some(look) = Look::take() else { return };
        if keeper.gives_back(look) {
            give_back_now().await;
            keeper.left = Look::take().map_or(look.resident, |look| look.resident);
        }
    }
}

/// Gives back at once what is free: a few milliseconds, for which the threads that allocate may wait.
pub async fn give_back_now() {
    // A runtime that stops ends it.
    let _ = tokio::task::spawn_blocking(give_back).await;
}

/// Resident memory in bytes; `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// The process at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Resident memory in bytes.
    resident: u64,
    /// CPU that all its threads have used, in hundredths of a second.
    cpu: u64,
}

impl Look {
    /// `None` where the system does not tell.
    fn take() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name before it may hold spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self {
            resident: resident()?,
            cpu: user + system,
        })
    }
}

/// When it is worth it.
#[derive(Debug, Default)]
struct Keeper {
    /// What was resident after the last time, or less since then.
    left: u64,
    /// At the last look.
    cpu: u64,
    busy: bool,
    /// Looks in a row that saw growth and a busy process.
    waited: u32,
}

impl Keeper {
    fn gives_back(&mut self, look: Look) -> bool {
        // What was needed once and is no longer does not count as growth later.
        self.left = self.left.min(look.resident);
        let busy = look.cpu.saturating_sub(self.cpu) > QUIET;
        // What the work needed is free now, whether or not memory grew since the last time, which may have been during it.
        let calmed = self.busy && !busy;
        (self.cpu, self.busy) = (look.cpu, busy);
        let grown = look.resident > self.left + WORTH;
        self.waited = if grown && busy { self.waited + 1 } else { 0 };
        let now = calmed || (grown && !busy) || self.waited >= PATIENCE;
        if now {
            self.waited = 0;
        }
        now
    }
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
const PAUSE: Duration = Duration::from_secs(5);
/// A process that has used less between two looks has little to do: a twentieth of a core, in hundredths of a second.
const QUIET: u64 = 25;
/// Looks after which a busy process gives back, too: a minute.
const PATIENCE: u32 = 12;
/// Less growth is left alone.
const WORTH: u64 = 4 * 1024 * 1024;
/// `/proc` counts in pages; with larger ones, growth counts for less than it is.
const PAGE: u64 = 4096;

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// What a keeper answers to looks at resident MiB and CPU.
    fn answers(looks: impl IntoIterator<Item = (u64, u64)>) -> Vec<bool> {
        let mut keeper = Keeper {
            left: 10 * MIB,
            ..Keeper::default()
        };
        let looks = looks.into_iter().map(|(mib, cpu)| Look {
            resident: mib * MIB,
            cpu,
        });
        looks.map(|look| keeper.gives_back(look)).collect()
    }

    #[test]
    fn growth_goes_back_when_the_process_falls_quiet() {
        assert_eq!(answers([(50, 400), (50, 800), (50, 810)]), [false, false, true]);
    }

    #[test]
    fn what_a_busy_process_kept_goes_back_when_it_falls_quiet_though_it_did_not_grow() {
        let looks = (1..=12).map(|look| (50, 400 * look)).chain([(50, 4810)]);
        assert_eq!(answers(looks)[11..], [true, true]);
        let mut keeper = Keeper {
            left: 50 * MIB,
            cpu: 0,
            busy: true,
            waited: 0,
        };
        let quiet = Look {
            resident: 50 * MIB,
            cpu: 1,
        };
        assert_eq!([quiet, quiet].map(|look| keeper.gives_back(look)), [true, false]);
    }

    #[test]
    fn a_busy_process_gives_back_once_a_minute() {
        let busy = answers((1..=24).map(|look| (50, 400 * look)));
        let given: Vec<_> = (1..=24).filter(|look| busy[look - 1]).collect();
        assert_eq!(given, [12, 24]);
    }

    #[test]
    fn little_growth_is_left_alone_and_what_shrank_is_the_new_measure() {
        assert_eq!(
            answers([(14, 0), (14, 0), (4, 0), (9, 0)]),
            [false, false, false, true]
        );
    }

    #[test]
    fn a_look_counts_the_time_that_this_process_works() {
        let before = Look::take().unwrap();
        assert!(before.resident > MIB, "{before:?}");
        let began = std::time::Instant::now();
        while Look::take().unwrap().cpu <= before.cpu {
            assert!(began.elapsed() < Duration::from_secs(20), "{before:?}");
        }
    }

    #[test]
    fn what_was_freed_between_blocks_that_live_is_given_back() {
        // Every other block lives on, so that none of the freed ones is at the top.
        let mut blocks: Vec<_> = (0..4000_u32).map(|_| Some(vec![1_u8; 16 * 1024])).collect();
        for block in blocks.iter_mut().step_by(2) {
            *block = None;
        }
        let before = Look::take().unwrap().resident;
        give_back();
        let after = Look::take().unwrap().resident;
        assert!(after + 16 * MIB < before, "{before} -> {after}");
        assert_eq!(blocks.iter().flatten().count(), 2000);
    }
}
