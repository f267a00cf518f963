//! Renewed identities without a restart: new handshakes use them, live sessions go on.
//!
//! The files are looked at every few seconds; what counts is their content, so that it does not matter how they are
//! replaced. A change counts once it is seen twice: three files are not replaced in one moment. A bad new identity is
//! told once, and the old one stays.

use super::{Identity, IdentityError, IdentitySource};
use aws_lc_rs::digest;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// What the content of the files comes down to.
type Content = [u8; 32];

/// Looks whether an identity has changed.
#[derive(Debug)]
pub struct Reloader {
    source: IdentitySource,
    /// What is in use, or was found to be bad.
    known: Content,
    /// What was new when it was looked at last.
    fresh: Option<Content>,
    /// What is known was found to be bad.
    bad: bool,
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Looked {
    /// There is a new identity.
    New(Identity),
    /// There is a new one that cannot be used.
    Bad(IdentityError),
    /// Somebody asked for the look, and the files are those that are in use.
    Unchanged,
}

impl Reloader {
    /// What is there now is in use.
    pub fn new(source: IdentitySource) -> Self {
        let known = content(&source);
        Self {
            source,
            known,
            fresh: None,
            bad: false,
        }
    }

    /// A new identity, or why it cannot be used; nothing where nothing has changed, or it changes still.
    pub fn look(&mut self) -> Option<Result<Identity, IdentityError>> {
        let now = content(&self.source);
        if now == self.known {
            self.fresh = None;
            return None;
        }
        if self.fresh.replace(now) != Some(now) {
            return None;
        }
        self.now()
    }

    /// As [`look`](Self::look), for somebody who says that the change is whole.
    pub fn now(&mut self) -> Option<Result<Identity, IdentityError>> {
        let now = content(&self.source);
        self.fresh = None;
        // What is bad is told again to whoever asks.
        if std::mem::replace(&mut self.known, now) == now && !self.bad {
            return None;
        }
        let loaded = self.source.load();
        self.bad = loaded.is_err();
        Some(loaded)
    }
}

/// Looks until it is dropped, every few seconds and at once when `told`; `apply` gets what is new.
pub async fn follow(mut reloader: Reloader, told: Arc<Notify>, mut apply: impl FnMut(Looked) + Send) {
    loop {
        let whole = timeout(LOOK, told.notified()).await.is_ok();
        // A file system may be slow: not on a thread that carries bytes.
        let looked = tokio::task::spawn_blocking(move || {
            let new = if whole { reloader.now() } else { reloader.look() };
            (reloader, new)
        });
        let Ok((back, new)) = looked.await else {
            // It panicked, which is told already: what is in use stays.
            return sleep(Duration::MAX).await;
        };
        reloader = back;
        match new {
            Some(Ok(identity)) => apply(Looked::New(identity)),
            Some(Err(error)) => apply(Looked::Bad(error)),
            None if whole => apply(Looked::Unchanged),
            None => {}
        }
    }
}

fn content(source: &IdentitySource) -> Content {
    let mut context = digest::Context::new(&digest::SHA256);
    for pem in [&source.certificate, &source.key, &source.ca] {
        match pem.read() {
            Ok(bytes) => {
                context.update(&bytes.len().to_be_bytes());
                context.update(&bytes);
            }
            Err(error) => context.update(error.to_string().as_bytes()),
        }
    }
    let mut content = Content::default();
    content.copy_from_slice(context.finish().as_ref());
    content
}

const LOOK: Duration = Duration::from_secs(2);
