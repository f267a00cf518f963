//! The server's life cycle as the agent drives it: wake it when it is wanted, let it sleep when it is not.
//!
//! [`client`] speaks to the control plane, [`demand`] tells whether anybody wants the tunnel, [`ledger`] keeps what
//! the server's waking hours cost. Who decides is `tunnel::supervisor`: it alone asks for a wake, so that a thousand
//! requests that arrive at once make one. Without a control plane there is none of this.

pub mod accounts;
pub mod client;
pub mod command;
pub mod demand;
pub mod endpoint;
pub mod ledger;

pub use accounts::Accounts;
pub use client::{Answer, CallError, ClientError, ControlPlane, ServiceState};
pub use demand::Demand;
pub use endpoint::Endpoint;
pub use ledger::{Cost, Prices};

use crate::config::{ControlPlaneConfig, OnShutdown};
use fluidity_trace::TraceParent;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// The life cycle of one server.
#[derive(Debug)]
pub struct Lifecycle {
    config: ControlPlaneConfig,
    client: ControlPlane,
    heard: Mutex<Option<Heard>>,
}

/// What the control plane said last.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// Its answer, or why there is none.
    pub said: Result<Answer, String>,
}

impl Lifecycle {
    /// Drives the server behind this control plane.
    ///
    /// # Errors
    /// There is no client.
    pub fn new(config: ControlPlaneConfig) -> Result<Self, ClientError> {
        Ok(Self {
            client: ControlPlane::new(&config)?,
            config,
            heard: Mutex::default(),
        })
    }

    /// How the life cycle is configured.
    pub const fn config(&self) -> &ControlPlaneConfig {
        &self.config
    }

    /// What the control plane said last.
    pub fn heard(&self) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the server, on behalf of the request whose span is `cause`. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`], in words for people.
    pub async fn wake(&self, cause: Option<&TraceParent>) -> Result<Answer, CallError> {
        let answer = self
            .client
            .wake_noting(cause, |error| self.hear(&Err(error.clone())))
            .await;
        self.hear(&answer);
        answer
    }

    /// What is to be done when the agent stops: `others` is how many other agents the server had at the last moment,
    /// where it was connected and said so.
    pub async fn farewell(&self, others: Option<u32>) {
        let kill = match self.config.on_shutdown {
            OnShutdown::Leave => false,
            OnShutdown::Kill => true,
            OnShutdown::KillIfLast => others == Some(0),
        };
        if !kill || !self.client.can_kill() {
            return;
        }
        match tokio::time::timeout(FAREWELL, self.client.kill()).await {
            Ok(Ok(answer)) => info!(
                state = answer.state.name(),
                "told the control plane to stop the server"
            ),
            Ok(Err(error)) => warn!(%error, "the server could not be stopped; its schedule will"),
            Err(_) => warn!("the control plane did not answer in time; the server's schedule will stop it"),
        }
    }

    fn hear(&self, answer: &Result<Answer, CallError>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = heard.take().and_then(|heard| heard.said.err());
        let said = match (answer, before) {
            (Ok(answer), _) => Ok(answer.clone()),
            // What opened the breaker says more than that it is open.
            (Err(CallError::BreakerOpen), Some(before)) => Err(before),
            (Err(error), _) => Err(error.to_string()),
        };
        let at = Instant::now();
        *heard = Some(Heard { at, said });
    }
}

/// How long the agent's own end waits for the server's.
pub const FAREWELL: Duration = Duration::from_secs(5);
