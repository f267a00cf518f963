//! The processes of one function, and what they print.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::task::JoinSet;

#[derive(Debug)]
pub(super) struct Processes {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    /// Each owns one process and its output; aborting it ends the process.
    tasks: JoinSet<()>,
    alive: Arc<AtomicUsize>,
    started: usize,
    log: Arc<Mutex<Vec<String>>>,
}

impl Processes {
    pub(super) fn new(
        name: &str,
        binary: PathBuf,
        environment: &[(String, String)],
        runtime: SocketAddr,
    ) -> Self {
        let own = [
            ("AWS_LAMBDA_RUNTIME_API", runtime.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            // The SDK must not look around on this machine for its settings.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Self {
            binary,
            environment: own.into_iter().chain(environment.iter().cloned()).collect(),
            tasks: JoinSet::new(),
            alive: Arc::default(),
            started: 0,
            log: Arc::default(),
        }
    }

    /// Starts processes until so many run. `on_exit` is called for each of them that ends by itself.
    pub(super) fn grow_to<F>(&mut self, wanted: usize, on_exit: F)
    where
        F: Fn() + Clone + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        for _ in self.alive.load(Ordering::SeqCst)..wanted {
            self.start(on_exit.clone());
        }
    }

    fn start(&mut self, on_exit: impl FnOnce() + Send + 'static) {
        let mut child = Command::new(&self.binary)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()));
        self.started += 1;
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.alive));
        let out = keep(child.stdout.take().expect("piped"), Arc::clone(&self.log));
        let err = keep(child.stderr.take().expect("piped"), Arc::clone(&self.log));
        self.tasks.spawn(async move {
            tokio::join!(out, err);
            // Both ends of its output are closed: it has ended, or is about to.
            let _ = child.wait().await;
            drop(alive);
            on_exit();
        });
    }

    pub(super) fn end_all(&mut self) {
        self.tasks.abort_all();
    }

    pub(super) fn started(&self) -> usize {
        self.started
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panics").clone()
    }
}

/// Counts down also when its task is aborted.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn keep(output: impl AsyncRead + Unpin, log: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().expect("no reader panics").push(line);
    }
}
