//! A network of its own for a test: addresses that this machine must not have otherwise.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, in which only loopback is up. Nothing, and a word about it, where there are no rights to make one.
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fluidity-{}-{number}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {}
            made => {
                eprintln!("SKIPPED: no network namespace can be made, which takes root and `ip`: {made:?}");
                return None;
            }
        }
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        Some(namespace)
    }

    /// What `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip ARGS` in it.
    pub fn ip(&self, args: &[&str]) {
        let output = self.try_ip(args);
        assert!(output.status.success(), "ip {args:?}: {output:?}");
    }

    fn try_ip(&self, args: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(args);
        command.output().expect("run ip")
    }

    /// Runs a test, or a part of one, in it: its sockets, and the processes that it starts.
    pub fn run<T: Send, F: Future<Output = T>>(&self, test: impl FnOnce() -> F + Send) -> T {
        let path = format!("/var/run/netns/{}", self.name);
        let run = || {
            let file = File::open(&path).expect("the namespace");
            rustix::thread::move_into_link_name_space(
                file.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .expect("enter the namespace");
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(test())
        };
        std::thread::scope(|scope| {
            let ended = std::thread::Builder::new().spawn_scoped(scope, run);
            match ended.expect("a thread").join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
