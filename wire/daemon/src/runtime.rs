//! The runtime under a daemon: how many threads it works on, and how it ends.

use crate::memory;
use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::runtime::Builder;

/// Runs a future to its end. A name that is still being resolved then does not hold the process up.
///
/// It works on half of the cores that the process may use, one at the least: the kernel's half of the work, the sockets',
/// wants cores too, and on one thread a connection and its sessions neither wake nor wait for each other.
/// `TOKIO_WORKER_THREADS` says otherwise.
///
/// # Errors
/// The variable holds no number of threads, or the system gives none.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let workers = asked()?.unwrap_or_else(|| workers(available_parallelism().map_or(1, NonZeroUsize::get)));
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).enable_all().build()?;
    runtime.spawn(memory::tend());
    let output = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_MOMENT);
    Ok(output)
}

/// How many threads the environment asks for.
///
/// # Errors
/// It is no number of threads.
pub fn asked() -> io::Result<Option<usize>> {
    let asked = std::env::var(WORKER_THREADS).unwrap_or_default();
    match asked.trim() {
        "" => Ok(None),
        asked => parse(asked).map(Some),
    }
}

fn parse(asked: &str) -> io::Result<usize> {
    let number = asked
        .parse()
        .ok()
        .filter(|number| (1..=MOST_WORKERS).contains(number));
    number.ok_or_else(|| {
        let wrong =
            format!("{WORKER_THREADS} is {asked:?}, but takes a number of threads from 1 to {MOST_WORKERS}");
        io::Error::new(io::ErrorKind::InvalidInput, wrong)
    })
}

fn workers(cores: usize) -> usize {
    (cores / 2).max(1)
}

/// The name by which every program on tokio takes it.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";
const MOST_WORKERS: usize = 1024;
const LAST_MOMENT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_cores_work_and_one_at_the_least() {
        assert_eq!([1, 2, 3, 4, 8].map(workers), [1, 1, 1, 2, 4]);
    }

    #[test]
    fn what_is_no_number_of_threads_is_refused_with_its_name() {
        assert_eq!(parse("3").unwrap(), 3);
        for wrong in ["0", "-1", "many", "", "100000"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(WORKER_THREADS) && error.contains(wrong), "{error}");
        }
    }
}
