//! From nothing to a connection with the help of the control plane: ask for the server until it is there.
//!
//! Beside the first question the last known address is tried: the server is often still awake, and then the answer of
//! an API would only cost time. Where the API is down, that address is all there is. Everything stays inside one
//! deadline. Dropped, it leaves nothing behind.

use super::dialer::{Dialed, Dialer};
use super::fault::DialError;
use super::supervisor::Round;
use crate::lifecycle::{Answer, CallError, Lifecycle, ServiceState};
use fluidity_trace::TraceParent;
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

/// What the summons is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reason {
    /// The agent starts, or a request, whose span it is, wants the tunnel.
    Wanted(Option<TraceParent>),
    /// The server was lost while it was in use. So it was for every other agent: they do not all ask at once.
    Lost,
}

/// Why a summons came to nothing, in words for people.
pub(super) struct Failed {
    pub(super) said: String,
    /// Waiting does not mend it.
    pub(super) lasting: bool,
}

/// One summons.
pub(super) struct Summons<'a> {
    life: &'a Lifecycle,
    dialer: Arc<Dialer>,
    until: Instant,
    round: Option<Round>,
    /// What a person is told if it comes to nothing.
    said: String,
    /// The control plane named the address that is being dialled: what is wrong there is wrong.
    named: bool,
}

impl<'a> Summons<'a> {
    /// Begins with the last known address, or with a round that is under way.
    pub(super) fn new(life: &'a Lifecycle, dialer: Arc<Dialer>, begun: Option<Round>) -> Self {
        let known = || dialer.address().map(|_| dial(&dialer));
        Self {
            life,
            until: Instant::now() + life.config().connection_timeout,
            round: begun.or_else(known),
            dialer,
            said: String::new(),
            named: false,
        }
    }

    /// Asks and dials until there is a connection; `note` hears how it goes.
    ///
    /// # Errors
    /// Why there is none, in words for people.
    pub(super) async fn run(mut self, reason: Reason, note: impl Fn(&str)) -> Result<Dialed, Failed> {
        // Woken, the server would refuse it, and cost money all the same.
        if self.dialer.is_expired() {
            let said = DialError::Expired.to_string();
            return Err(Failed { said, lasting: true });
        }
        let (mut spread, cause) = match reason {
            Reason::Wanted(cause) => (Duration::ZERO, cause),
            Reason::Lost => (SPREAD.mul_f64(rand::rng().random()), None),
        };
        let cause = cause.as_ref();
        let (life, until) = (self.life, self.until);
        loop {
            let asked = async move {
                sleep(spread).await;
                life.wake(cause).await
            };
            // Both are cancel safe: a connection that is made goes over an answer that is awaited.
            let answer = tokio::select! {
                biased;
                dialed = self.dialed() => return dialed,
                answer = timeout_at(until, asked) => answer,
            };
            let Ok(answer) = answer else {
                return Err(self.too_late());
            };
            let go_on = match &answer {
                Ok(answer) => self.heard(answer),
                Err(error) => self.refused(error),
            };
            note(&self.said);
            let pause = self.pause();
            tokio::select! {
                biased;
                dialed = self.dialed() => return dialed,
                () = sleep_until(until) => return Err(self.too_late()),
                () = sleep(pause), if go_on || self.round.is_some() => {}
                // What does not pass by itself is not asked again, and there is no address left to try.
                () = std::future::ready(()), if !go_on && self.round.is_none() => {
                    return Err(Failed { said: self.said, lasting: false });
                }
            }
            spread = Duration::ZERO;
        }
    }

    /// Takes the control plane's word for where the server is. Returns whether to ask again.
    fn heard(&mut self, answer: &Answer) -> bool {
        let state = answer.state;
        debug!(
            state = state.name(),
            message = answer.message,
            "the control plane answered"
        );
        self.said = match answer.message.is_empty() {
            true => format!("the server is {}", state.name()),
            false => answer.message.clone(),
        };
        if let Some(address) = &answer.endpoint {
            if self.dialer.move_to(&address.0) {
                info!("the control plane told where the server is");
                self.round = None;
            }
            self.named = true;
        }
        let there = answer.endpoint.is_some() || state == ServiceState::Running;
        if there && self.round.is_none() && self.dialer.address().is_some() {
            self.round = Some(dial(&self.dialer));
        }
        true
    }

    /// The control plane is of no help: the last known address is what there is.
    fn refused(&mut self, error: &CallError) -> bool {
        let said = error.to_string();
        if self.said != said {
            warn!(error = said, "the server cannot be woken");
        }
        // What opened the breaker says more than that it is open.
        if *error != CallError::BreakerOpen || self.said.is_empty() {
            self.said = said;
        }
        if self.round.is_none() && self.dialer.address().is_some() && error.may_pass() {
            self.round = Some(dial(&self.dialer));
        }
        error.may_pass()
    }

    /// Completes with a connection, or with what only a person can mend; pending where nothing is being dialled. Cancel
    /// safe.
    async fn dialed(&mut self) -> Result<Dialed, Failed> {
        if let Some(round) = &mut self.round {
            match round.await {
                Ok(dialed) => return Ok(dialed),
                Err(error) => {
                    self.round = None;
                    debug!(%error, "the server is not there yet");
                    // An old address may be somebody else's by now: what is wrong there says nothing.
                    if self.named && error.needs_a_person() {
                        let said = error.to_string();
                        return Err(Failed { said, lasting: true });
                    }
                    if self.named && !matches!(error, DialError::NoAddress) {
                        self.said = error.to_string();
                    }
                }
            }
        }
        std::future::pending().await
    }

    fn pause(&self) -> Duration {
        let interval = self.life.config().retry_interval;
        interval.mul_f64(rand::rng().random_range(0.8..1.2))
    }

    fn too_late(&self) -> Failed {
        let limit = humantime::format_duration(self.life.config().connection_timeout);
        // Where no question of this summons was answered: what the last one runs into.
        let began = self.until.checked_sub(self.life.config().connection_timeout);
        let heard = || {
            self.life
                .heard()
                .filter(|heard| Some(heard.at) >= began)
                .and_then(|heard| heard.said.err())
        };
        let said = Some(self.said.clone())
            .filter(|said| !said.is_empty())
            .or_else(heard);
        let said = said.unwrap_or_else(|| "the control plane did not answer".into());
        Failed {
            said: format!("the server was not there within {limit}: {said}"),
            lasting: false,
        }
    }
}

fn dial(dialer: &Arc<Dialer>) -> Round {
    Box::pin(dialer.clone().dial())
}

/// Over how long the agents of a lost server spread their questions.
const SPREAD: Duration = Duration::from_secs(2);
