//! Waiting: on a future or on a condition, always under a deadline, and always with a name for what was awaited.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// Awaits `future` for at most `deadline`.
///
/// # Panics
/// When the deadline passes.
pub async fn within<F: Future>(deadline: Duration, what: &str, future: F) -> F::Output {
    match tokio::time::timeout(deadline, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {deadline:?}: {what}"),
    }
}

/// Asks `probe` again and again until it answers `Ok`; returns the value.
///
/// # Panics
/// When the deadline passes: with the last `Err`.
pub async fn until<T, E, F, P>(deadline: Duration, what: &str, mut probe: P) -> T
where
    E: Debug,
    F: Future<Output = Result<T, E>>,
    P: FnMut() -> F,
{
    let started = Instant::now();
    loop {
        let last = match tokio::time::timeout(deadline, probe()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => "the probe itself hangs".to_owned(),
        };
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}; last: {last}"
        );
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}

/// Between two probes of a condition.
const PROBE_PAUSE: Duration = Duration::from_millis(15);
