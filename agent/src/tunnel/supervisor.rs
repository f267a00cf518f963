//! Keeps the tunnel up: connects, notices when it is lost or silent, connects again, and says so.
//!
//! The only writer of [`Phase`]. A silent connection is not trusted until the idle timeout: after two missed probes it
//! is suspect, another one is made beside it, and whichever is heard first is used. A connection that drains keeps
//! its sessions and takes no new ones.

use super::dialer::{Dialed, Dialer, Driver};
use super::doubled::Doubled;
use super::fault::{DialError, explain_end};
use super::heard::{Heard, changed_others, drained};
use super::pace::Pace;
use super::renewal::{Renewal, Turn, end_of};
use super::state::{Phase, State};
use super::summon::{Reason, Summons};
use crate::config::{Config, Connect, Start};
use crate::lifecycle::{Demand, Lifecycle};
use backon::{BackoffBuilder, ExponentialBuilder};
use fluidity_wire::tls::term::reached;
use fluidity_wire::{CloseCode, Link, Others};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Owns the tunnel's connections.
#[derive(Debug)]
pub struct Supervisor {
    dialer: Arc<Dialer>,
    connect: Connect,
    /// Silence after which a connection is suspect.
    patience: Duration,
    phase: watch::Sender<Phase>,
    demand: Arc<Demand>,
    life: Option<Arc<Lifecycle>>,
    doubled: Doubled,
    tasks: TaskTracker,
    stop: CancellationToken,
}

pub(super) type Round = Pin<Box<dyn Future<Output = Result<Dialed, DialError>> + Send>>;

/// What requests see of the supervision.
#[derive(Clone, Debug)]
pub struct Watched {
    /// How the tunnel stands.
    pub phase: watch::Receiver<Phase>,
    /// Where they say that they want it.
    pub demand: Arc<Demand>,
}

/// Why a connection is no longer the one for new sessions.
enum Left {
    /// It is gone; a round of attempts may be under way already.
    Lost(Option<Round>),
    /// Another one took its place.
    Replaced(Dialed),
    /// Nobody wanted it for long enough.
    Unwanted,
    /// The agent stops. Who else the server had then, where the connection was good and the server has said so.
    Stopped(Option<Others>),
}

impl Supervisor {
    /// Prepares the supervision; `stop` closes the connection. With a life cycle the server may be asleep.
    pub fn new(
        config: &Config,
        dialer: Arc<Dialer>,
        life: Option<Arc<Lifecycle>>,
        stop: CancellationToken,
    ) -> (Self, Watched) {
        let (phase, watched) = watch::channel(Phase::default());
        let demand = Arc::new(Demand::default());
        let supervisor = Self {
            dialer,
            connect: config.connect.clone(),
            patience: config.quic.keep_alive * 2 + Duration::from_millis(500),
            phase,
            demand: demand.clone(),
            life,
            doubled: Doubled::new(config.quic.idle_timeout),
            tasks: TaskTracker::new(),
            stop,
        };
        let watched = Watched {
            phase: watched,
            demand,
        };
        (supervisor, watched)
    }

    /// Runs until it is told to stop; then every connection is closed, and the server stopped where that is due.
    pub async fn run(self) {
        let mut round = None;
        let mut next = None;
        let mut others = None;
        let mut pace = Pace::default();
        let wake = |life: &Arc<Lifecycle>| life.config().start == Start::Wake;
        let mut wanted = self
            .life
            .as_ref()
            .is_none_or(wake)
            .then_some(Reason::Wanted(None));
        loop {
            let dialed = match next.take() {
                Some(dialed) => dialed,
                None => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => break,
                    dialed = self.obtain(round.take(), wanted.take()) => dialed,
                },
            };
            self.announce(&dialed);
            let made = Instant::now();
            match self.stay(dialed).await {
                Left::Lost(begun) => {
                    wanted = self.is_in_use().then_some(Reason::Lost);
                    round = begun;
                    let pause = pace.after(made.elapsed(), self.connect.retry_max, rand::random());
                    if !pause.is_zero() {
                        info!(
                            ?pause,
                            "connections to the server do not last: waiting before the next"
                        );
                    }
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => break,
                        () = sleep(pause) => {}
                    }
                }
                Left::Replaced(dialed) => next = Some(dialed),
                Left::Unwanted => wanted = None,
                Left::Stopped(last) => {
                    others = last;
                    break;
                }
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.dialer.wait_idle(GOODBYE).await;
        if let Some(life) = &self.life {
            life.farewell(others.map(|others| others.count)).await;
        }
    }

    /// Whether a server that is lost now is wanted back.
    fn is_in_use(&self) -> bool {
        let unwanted = self.life.as_ref().and_then(|life| life.config().idle_disconnect);
        self.demand.idle() < unwanted.map_or(IN_USE, |unwanted| IN_USE.min(unwanted / 2))
    }

    /// Waits until somebody wants a connection, where the server may be asleep, and makes one.
    async fn obtain(&self, mut round: Option<Round>, mut wanted: Option<Reason>) -> Dialed {
        let Some(life) = &self.life else {
            return self.establish(round).await;
        };
        loop {
            let reason = match wanted.take() {
                Some(reason) => reason,
                None => self.rest().await,
            };
            self.set(State::Waking, None);
            let summons = Summons::new(life, self.dialer.clone(), round.take());
            let error = match summons.run(reason, |said| self.note(said.to_owned())).await {
                Ok(dialed) => return dialed,
                Err(error) => error,
            };
            warn!(
                error = error.said,
                "no connection to the server; the next request asks for it again"
            );
            self.demand.clear();
            self.phase.send_modify(|phase| {
                phase.state = State::Dormant;
                phase.since = Instant::now();
                phase.last_error = Some(error.said);
                phase.lasting = error.lasting;
                phase.failed_wakes += 1;
            });
            // Requests that come at once do not make the control plane's trouble worse.
            sleep(life.config().retry_interval.min(EARLY_PAUSE)).await;
        }
    }

    /// Nobody wants the tunnel: waits until somebody does.
    async fn rest(&self) -> Reason {
        if self.phase.borrow().state != State::Dormant {
            self.demand.clear();
            self.phase.send_modify(|phase| {
                phase.state = State::Dormant;
                phase.since = Instant::now();
                phase.link = None;
            });
            info!("dormant: the next request has the server woken");
        }
        let cause = self.demand.wanted().await;
        info!("wanted: asking for the server");
        Reason::Wanted(cause)
    }

    /// Tries until there is a connection.
    async fn establish(&self, mut round: Option<Round>) -> Dialed {
        let started = Instant::now();
        let mut pauses = self.pauses(self.connect.retry_max.min(EARLY_PAUSE));
        let mut late = false;
        let mut said = None;
        loop {
            self.set(State::Connecting, None);
            let attempt = round
                .take()
                .unwrap_or_else(|| Box::pin(self.dialer.clone().dial()));
            let error = match self.patiently(attempt, &mut said).await {
                Ok(dialed) => return dialed,
                Err(error) => error,
            };
            if !late && started.elapsed() > EARLY {
                late = true;
                pauses = self.pauses(self.connect.retry_max);
            }
            let text = error.to_string();
            self.phase.send_modify(|phase| {
                phase.state = State::Disconnected;
                phase.since = Instant::now();
                phase.last_error = Some(text.clone());
                phase.lasting = error.is_lasting();
            });
            let pause = match error.needs_a_person() {
                true => self.connect.retry_max,
                false => pauses.next().unwrap_or(self.connect.retry_max),
            };
            if said.as_ref() == Some(&text) {
                debug!(error = text, ?pause, "still not connected");
            } else {
                let server = self.address();
                warn!(server, error = text, ?pause, "not connected to the server");
                said = Some(text);
            }
            tokio::select! {
                () = sleep(pause) => {}
                // Perhaps that was what was wrong.
                () = self.dialer.renewed() => {}
            }
        }
    }

    /// Waits for a round of attempts. Where that takes long, log and status say so before the round is over; what was
    /// `said` last is not said again.
    async fn patiently(&self, mut attempt: Round, said: &mut Option<String>) -> Result<Dialed, DialError> {
        if let Ok(ended) = timeout(SOON, &mut attempt).await {
            return ended;
        }
        if let Some(address) = self.dialer.address() {
            let (server, error) = (address.to_string(), DialError::NoAnswer(address).to_string());
            if said.is_none() {
                warn!(server, error, "not connected to the server yet");
                *said = Some(error.clone());
            }
            self.note(error);
        }
        attempt.await
    }

    fn address(&self) -> Option<String> {
        self.dialer.address().map(|address| address.to_string())
    }

    fn pauses(&self, most: Duration) -> impl Iterator<Item = Duration> + use<> {
        // Jitter doubles a pause at the most.
        ExponentialBuilder::new()
            .with_min_delay(self.connect.retry_initial.min(most / 2))
            .with_max_delay(most / 2)
            .without_max_times()
            .with_jitter()
            .build()
    }

    fn announce(&self, dialed: &Dialed) {
        let again = self.phase.borrow().server.is_some();
        let server = self.address();
        let software = &dialed.hello.software;
        // As the status writes it.
        let instance = format_args!("{:016x}", dialed.hello.instance);
        if again {
            info!(
                server,
                software, %instance, "reconnected: connected to the server again"
            );
        } else {
            info!(server, software, %instance, "connected to the server");
        }
        // The idle time of a tunnel begins when it is there.
        self.demand.touch();
        self.phase.send_modify(|phase| {
            phase.state = State::Connected;
            phase.since = Instant::now();
            phase.server = Some(dialed.hello.clone());
            phase.awake_since = SystemTime::now().checked_sub(dialed.hello.uptime);
            phase.others = dialed.link.peer().borrow().others.clone();
            phase.last_error = None;
            phase.lasting = false;
            phase.link = Some(dialed.link.clone());
            phase.reconnects += u64::from(again);
        });
    }

    /// Uses a connection while it is good. Cancel safe in its parts: the link itself is driven by `driver` only.
    async fn stay(&self, dialed: Dialed) -> Left {
        let mut renewal = Renewal::of(&dialed, &self.dialer);
        let Dialed {
            link,
            hello,
            mut driver,
            ..
        } = dialed;
        let mut peer = link.peer();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Heard::new(&link);
        let mut rescue: Option<Round> = None;
        let unwanted_after = self.life.as_ref().and_then(|life| life.config().idle_disconnect);
        let mut company = link.peer();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    let good = self.phase.borrow().state == State::Connected;
                    close(&link, driver).await;
                    // Read last: what the server says while the goodbye is on its way counts, too.
                    let others = link.peer().borrow().others.clone();
                    return Left::Stopped(others.filter(|_| good));
                }
                end = &mut driver => {
                    let error = explain_end(&end).to_string();
                    warn!(error, "connection to the server lost");
                    self.set(State::Connecting, Some(error));
                    return Left::Lost(rescue);
                }
                turn = renewal.turn(&link) => return match turn {
                    Turn::Newer(dialed) => {
                        info!("connected beside it with newer certificates; running sessions go on");
                        self.retire(link, driver, Duration::MAX);
                        Left::Replaced(dialed)
                    }
                    Turn::Over(said, grace) => {
                        warn!(said, "the connection to the server may not go on");
                        self.set(State::Connecting, Some(said));
                        self.retire(link, driver, grace);
                        Left::Lost(rescue)
                    }
                },
                deadline = drained(&mut peer) => {
                    info!(?deadline, "the server is stopping: reconnecting; running sessions go on");
                    self.set(State::Connecting, Some("the server is stopping".into()));
                    self.retire(link, driver, Duration::MAX);
                    return Left::Lost(rescue);
                }
                dialed = wait(&mut rescue) => match dialed {
                    Ok(dialed) => {
                        if dialed.hello.instance == hello.instance {
                            self.retire(link, driver, Duration::MAX);
                        } else {
                            // Another process: it knows none of the old sessions.
                            link.close(CloseCode::Replaced);
                            self.tasks.spawn(driver);
                        }
                        return Left::Replaced(dialed);
                    }
                    Err(error) => {
                        self.note(error.to_string());
                        let dialer = self.dialer.clone();
                        rescue = Some(Box::pin(async move {
                            sleep(EARLY_PAUSE).await;
                            dialer.dial().await
                        }));
                    }
                },
                others = changed_others(&mut company) => {
                    debug!(others = others.count, "the server told who else is connected");
                    self.phase.send_modify(|phase| phase.others = Some(others));
                }
                _ = look.tick() => {
                    self.demand.look(link.sessions());
                    self.doubled.look(link.peer().borrow().others.as_ref());
                    if unwanted_after.is_some_and(|limit| self.demand.idle() >= limit) {
                        info!("nobody wants the tunnel: disconnecting");
                        // No session is opened on it from here on; one that was just opened still ends by itself.
                        self.demand.clear();
                        self.set(State::Dormant, None);
                        self.retire(link, driver, Duration::MAX);
                        return Left::Unwanted;
                    }
                    let silence = heard.look(&link);
                    if silence < self.patience && rescue.take().is_some() {
                        info!("the server is heard again: connected as before");
                        self.phase.send_modify(|phase| {
                            phase.state = State::Connected;
                            phase.since = Instant::now();
                            phase.last_error = None;
                        });
                    } else if silence >= self.patience && rescue.is_none() {
                        warn!(?silence, "nothing heard from the server: connecting anew beside it");
                        self.set(State::Suspect, Some(DialError::Silence.to_string()));
                        rescue = Some(Box::pin(self.dialer.clone().dial()));
                    }
                }
            }
        }
    }

    /// Lets a connection's sessions end before it, for as long as `grace` and the server's certificate last.
    fn retire(&self, link: Arc<Link>, mut driver: Driver, grace: Duration) {
        let stop = self.stop.clone();
        let end = end_of(&link);
        self.tasks.spawn(async move {
            // Not at once: a request that has just been given the link is still to open its session.
            let mut look = interval_at(Instant::now() + LOOK, LOOK);
            let mut overdue = pin!(sleep(grace));
            loop {
                tokio::select! {
                    _ = &mut driver => return,
                    () = stop.cancelled() => break,
                    () = reached(end) => break,
                    () = &mut overdue => break,
                    _ = look.tick() => if link.sessions() == 0 { break },
                }
            }
            close(&link, driver).await;
        });
    }

    fn set(&self, state: State, error: Option<String>) {
        self.phase.send_modify(|phase| {
            if phase.state != state {
                phase.state = state;
                phase.since = Instant::now();
            }
            phase.last_error = error.or(phase.last_error.take());
        });
    }

    fn note(&self, error: String) {
        self.phase.send_modify(|phase| phase.last_error = Some(error));
    }
}

async fn wait(rescue: &mut Option<Round>) -> Result<Dialed, DialError> {
    match rescue {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

/// Says goodbye, gives it a moment to be sent, and closes.
async fn close(link: &Link, mut driver: Driver) {
    link.send_goodbye();
    if timeout(FLUSH, &mut driver).await.is_err() {
        link.close(CloseCode::Normal);
        driver.await;
    }
}

/// A server that was used so short a time ago is wanted back when it is lost; half the time until it is not wanted, where
/// that is less.
const IN_USE: Duration = Duration::from_secs(30);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After so long without an answer, log and status say that none came.
const SOON: Duration = Duration::from_secs(2);
/// While a loss is fresh, pauses are short: the server is often back at once.
const EARLY: Duration = Duration::from_secs(60);
const EARLY_PAUSE: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_millis(50);
const GOODBYE: Duration = Duration::from_secs(1);
