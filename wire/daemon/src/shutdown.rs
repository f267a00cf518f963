//! Signals: the first asks for an orderly stop, the second for an immediate one.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// What a daemon watches to know that it is to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop taking new work and let the running work end.
    pub draining: CancellationToken,
    /// Stop now.
    pub now: CancellationToken,
    began: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// Since when it drains, where it does.
    pub fn draining_since(&self) -> Option<Instant> {
        let draining = self.draining.is_cancelled();
        draining.then(|| *self.began.get_or_init(Instant::now))
    }

    /// Cuts what still runs when the `grace` after a stop is over. Spawn it.
    pub async fn cut_after(self, grace: Duration) {
        self.draining.cancelled().await;
        tokio::select! {
            () = sleep(grace) => tracing::info!("the grace is over: cutting what still runs"),
            () = self.now.cancelled() => {}
        }
        self.now.cancel();
    }

    /// Completes when what was cut should long have ended: whoever waits for it need not wait any longer.
    pub async fn overdue(&self) {
        self.now.cancelled().await;
        sleep(CUT).await;
    }

    /// Listens for SIGTERM and SIGINT (Ctrl-C elsewhere). The returned future is the listener: spawn it.
    pub fn listen(&self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let mut signals = Signals::new()?;
        let shutdown = self.clone();
        Ok(async move {
            signals.next().await;
            tracing::info!("stopping; a second signal stops at once");
            let _ = shutdown.began.set(Instant::now());
            shutdown.draining.cancel();
            signals.next().await;
            tracing::warn!("second signal: stopping at once");
            shutdown.now.cancel();
        })
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the same signature as on unix")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // An error means that Ctrl-C cannot be listened for: then only ending the process stops it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// How long it may take to tell peers that they are cut.
const CUT: Duration = Duration::from_secs(2);

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;
    use tokio::time::timeout;

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_stops_at_once() {
        let shutdown = Shutdown::default();
        let listener = tokio::spawn(shutdown.listen().unwrap());
        let signal = |name: &str| {
            let pid = std::process::id().to_string();
            assert!(
                Command::new("kill")
                    .args([name, &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        };
        let deadline = Duration::from_secs(10);
        signal("-TERM");
        timeout(deadline, shutdown.draining.cancelled())
            .await
            .expect("SIGTERM drains");
        assert!(!shutdown.now.is_cancelled());
        signal("-INT");
        timeout(deadline, shutdown.now.cancelled())
            .await
            .expect("SIGINT stops");
        timeout(deadline, listener)
            .await
            .expect("nothing more to listen for")
            .unwrap();
    }
}
