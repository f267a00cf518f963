//! SIGHUP: somebody says that files have changed.

use std::io;
use std::sync::Arc;
use tokio::sync::Notify;

/// Passes SIGHUP on to `told`; elsewhere than on unix it never completes and passes nothing on. Spawn it.
///
/// # Errors
/// The signal cannot be listened for.
pub fn listen(told: Arc<Notify>) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = signal(SignalKind::hangup())?;
        Ok(async move {
            while hangups.recv().await.is_some() {
                tracing::info!(
                    "SIGHUP: looking at the identity's files; the configuration is not read again, which takes a restart"
                );
                told.notify_one();
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async move {
            let _told = told;
            std::future::pending().await
        })
    }
}
