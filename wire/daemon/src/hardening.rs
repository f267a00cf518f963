//! What a daemon gives up at its start, since it never needs it: to be dumped, and to gain rights.
//!
//! A core dump would hold private keys and what clients send, and a crash reporter would carry it off. Not dumpable, the
//! process cannot be looked into by others of the same user either. Neither daemon starts programs, so that nothing ever
//! needs more rights than it began with.

/// Gives it up, as far as the system knows it; on Linux best before there are threads. What fails is told, and is no reason
/// not to start.
pub fn harden() -> Vec<String> {
    let mut failed = Vec::new();
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        if let Err(error) = setrlimit(Resource::Core, none) {
            failed.push(format!("core dumps cannot be forbidden: {error}"));
        }
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            failed.push(format!(
                "the process stays open to debuggers and core dumps: {error}"
            ));
        }
        if let Err(error) = rustix::thread::set_no_new_privs(true) {
            failed.push(format!("the process could still gain rights: {error}"));
        }
    }
    failed
}
