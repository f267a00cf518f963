//! How many descriptors the process may have open: as many as the system gives it.
//!
//! Every client of an agent and every target of a server takes one, and systems hand out 1024 to begin with, as a courtesy
//! to programs from before `poll`. The hard limit is the one that is meant.

/// What the process itself needs besides clients and targets: the admin pages' connections, the listeners, files that are
/// read again, what tells a cloud of activity, and some to spare.
pub const RESERVED: u64 = 96;

/// Raises the soft limit as far as the hard one allows. Returns what holds then; nothing where there is no limit, or the
/// system has none of that kind.
pub fn raise() -> Option<u64> {
    raise_to_the_hard_limit()
}

#[cfg(unix)]
fn raise_to_the_hard_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current?;
    // macOS has no hard limit and refuses more than the kernel's own.
    let wanted = [limit.maximum, Some(1 << 20), Some(1 << 16), Some(10_240)];
    let more = wanted.into_iter().filter(|wanted| {
        let within = limit
            .maximum
            .is_none_or(|most| wanted.is_some_and(|wanted| wanted <= most));
        within && wanted.is_none_or(|wanted| wanted > soft)
    });
    for current in more {
        let raised = Rlimit {
            current,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return current;
        }
    }
    Some(soft)
}

#[cfg(not(unix))]
const fn raise_to_the_hard_limit() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let limit = raise();
        let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(now.current, limit);
        #[cfg(target_os = "linux")]
        assert_eq!(now.current, now.maximum);
        assert_eq!(raise(), limit, "once is enough");
    }
}
