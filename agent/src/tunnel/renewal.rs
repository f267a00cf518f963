//! A newer connection beside one whose certificates are no longer the newest, so that nobody waits for their end.
//!
//! Once the agent has a new identity, or shortly before the server's certificate ends, another connection is made. What runs
//! stays where it is. A connection that ends no later than the one there is, is of no use, and is tried again later.

use super::dialer::{Dialed, Dialer, Shown};
use super::fault::{At, DialError};
use super::supervisor::Round;
use super::trust::CertificateFault;
use fluidity_wire::tls::term::{first_end, peer_certificates, reached};
use fluidity_wire::{CloseCode, Link};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// What becomes of a connection on account of certificates.
pub(super) enum Turn {
    /// This one goes over it.
    Newer(Dialed),
    /// It takes no new session, and what runs on it has so long.
    Over(String, Duration),
}

/// Watches over the certificates of one connection.
pub(super) struct Renewal {
    search: Search,
    trust: watch::Receiver<Shown>,
}

impl Renewal {
    pub(super) fn of(dialed: &Dialed, dialer: &Arc<Dialer>) -> Self {
        Self {
            search: Search {
                dialer: dialer.clone(),
                shown: dialed.shown.clone(),
                is_new: false,
                end: end_of(&dialed.link),
                next: Instant::now() + PAUSE,
                round: None,
            },
            trust: dialed.shown.clone(),
        }
    }

    /// Completes when the connection has had its time, or has a successor. Cancel safe.
    pub(super) async fn turn(&mut self, link: &Link) -> Turn {
        let (end, dialer) = (self.search.end, self.search.dialer.clone());
        tokio::select! {
            biased;
            dialed = self.search.newer() => Turn::Newer(dialed),
            () = reached(end) => Turn::Over("the server's certificate has ended; renew it with `fluidity pki renew`".into(), Duration::ZERO),
            error = distrusted(&mut self.trust, link, dialer.name()) => {
                let untrusted = DialError::ServerNotTrusted {
                    at: At::default(),
                    reason: error.to_string(),
                    fault: CertificateFault::Other,
                };
                let said = untrusted.to_string();
                Turn::Over(said, UNTRUSTED)
            }
        }
    }
}

/// Looks for a connection that goes over this one.
struct Search {
    dialer: Arc<Dialer>,
    /// Changes when the agent has a newer identity than the one that this connection was made with.
    shown: watch::Receiver<Shown>,
    is_new: bool,
    /// When the server's certificate ends.
    end: SystemTime,
    /// When to try next, at the earliest.
    next: Instant,
    round: Option<Round>,
}

impl Search {
    /// Cancel safe.
    async fn newer(&mut self) -> Dialed {
        loop {
            if self.round.is_none() {
                self.due().await;
            }
            let dialer = &self.dialer;
            let round = self.round.get_or_insert_with(|| Box::pin(dialer.clone().dial()));
            let made = round.await;
            self.round = None;
            self.next = Instant::now() + PAUSE;
            match made {
                Ok(dialed) if self.is_new || end_of(&dialed.link) > self.end => return dialed,
                Ok(dialed) => {
                    dialed.link.close(CloseCode::Normal);
                    // It is not used: whether the server hears of it in time matters to nobody.
                    let _ = timeout(FLUSH, dialed.driver).await;
                }
                Err(error) => debug!(%error, "no connection with the newer certificate yet"),
            }
        }
    }

    async fn due(&mut self) {
        let soon = self.end.checked_sub(LEAD).unwrap_or(SystemTime::UNIX_EPOCH);
        tokio::select! {
            Ok(()) = self.shown.changed() => {
                self.is_new = true;
                return;
            }
            () = reached(soon), if !self.is_new => {}
            () = std::future::ready(()), if self.is_new => {}
        }
        sleep_until(self.next).await;
    }
}

/// Completes when a newer identity does not trust the server.
async fn distrusted(trust: &mut watch::Receiver<Shown>, link: &Link, name: &str) -> rustls::Error {
    let certificates = peer_certificates(link.connection());
    loop {
        // The dialer outlives every connection.
        if trust.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let accepted = trust
            .borrow_and_update()
            .identity
            .accepts_server(&certificates, name);
        if let Err(error) = accepted {
            return error;
        }
    }
}

/// When the server's certificates end, and the connection with them.
pub(super) fn end_of(link: &Link) -> SystemTime {
    first_end(&peer_certificates(link.connection()))
}

/// How long before the end of the server's certificate one that ends later is looked for.
const LEAD: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(10);
/// How long sessions may go on with a server that is no longer trusted.
const UNTRUSTED: Duration = Duration::from_secs(25);
const FLUSH: Duration = Duration::from_millis(50);
