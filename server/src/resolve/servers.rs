//! One question to all name servers: the next is asked when one failed or took too long, and the first answer counts.
//!
//! Bounded: each server is asked so many times, each time under a deadline. Which of them was silent of late, and which
//! does not understand EDNS (RFC 6891 §7), is remembered for a while.

use super::exchange;
use super::message::{Answer, Extensions, Question};
use super::system::SystemOptions;
use super::{Fault, ResolveError};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The name servers, in the order of the system.
#[derive(Debug)]
pub(super) struct Servers {
    list: Vec<Arc<Server>>,
    options: ServersOptions,
    /// Nobody named them.
    assumed: bool,
    turn: AtomicUsize,
}

/// How they are asked.
#[derive(Clone, Copy, Debug)]
struct ServersOptions {
    timeout: Duration,
    attempts: usize,
    rotate: bool,
    tcp: bool,
    edns: bool,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// It did not answer: others are asked first until then.
    silent: Until,
    /// It does not understand EDNS.
    plain: Until,
}

/// A time that may lie ahead.
#[derive(Debug, Default)]
struct Until(Mutex<Option<Instant>>);

impl Until {
    fn holds(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.lock() = until;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Servers {
    /// As the system says; `timeout` is for one question where it says nothing of that.
    pub(super) fn new(system: &SystemOptions, timeout: Duration) -> Self {
        let server = |address: &SocketAddr| {
            Arc::new(Server {
                address: *address,
                silent: Until::default(),
                plain: Until::default(),
            })
        };
        Self {
            list: system.servers.iter().map(server).collect(),
            options: ServersOptions {
                timeout: system.timeout.unwrap_or(timeout),
                attempts: system.attempts,
                rotate: system.rotate,
                tcp: system.tcp,
                edns: system.edns,
            },
            assumed: system.assumed,
            turn: AtomicUsize::new(0),
        }
    }

    /// The first answer of any of them. Cancel safe: dropped, it asks nobody any more.
    pub(super) async fn ask(&self, question: &Arc<Question>) -> Result<Answer, ResolveError> {
        let order = self.order();
        let mut waiting = (0..self.options.attempts).flat_map(|_| order.iter().cloned());
        let mut next_server = waiting.next();
        let mut asked = JoinSet::new();
        let mut next = Instant::now();
        let mut worst = None;
        loop {
            tokio::select! {
                biased;
                Some(ended) = asked.join_next() => match ended {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(fault)) => {
                        worst = worst.max(Some(fault));
                        next = Instant::now();
                    }
                    Err(_) => {}
                },
                () = sleep_until(next), if next_server.is_some() => {
                    if let Some(server) = next_server.take() {
                        asked.spawn(server.ask(question.clone(), self.options));
                    }
                    next_server = waiting.next();
                    next = Instant::now() + PATIENCE.min(self.options.timeout);
                }
                else => break,
            }
        }
        Err(match worst {
            _ if self.assumed => ResolveError::NoServers,
            None => ResolveError::NoServers,
            Some(Fault::Failed) => ResolveError::Failed,
            Some(Fault::Refused) => ResolveError::Refused,
            Some(Fault::Silent) => ResolveError::Timeout,
            Some(Fault::Unreachable) => ResolveError::Unreachable,
        })
    }

    /// In their order, or in turns; those that were silent of late come last.
    fn order(&self) -> Vec<Arc<Server>> {
        let mut order = self.list.clone();
        if self.options.rotate && !order.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
            order.rotate_left(turn);
        }
        order.sort_by_key(|server| server.silent.holds());
        order
    }
}

impl Server {
    async fn ask(self: Arc<Self>, question: Arc<Question>, options: ServersOptions) -> Result<Answer, Fault> {
        let asked = timeout(options.timeout, self.ask_any_way(&question, options)).await;
        let asked = asked.unwrap_or(Err(Fault::Silent));
        let silent = matches!(asked, Err(Fault::Silent | Fault::Unreachable));
        self.silent.set(silent.then(|| Instant::now() + SILENCE));
        asked
    }

    async fn ask_any_way(&self, question: &Question, options: ServersOptions) -> Result<Answer, Fault> {
        if options.tcp {
            return exchange::by_tcp(self.address, question).await;
        }
        if options.edns && !self.plain.holds() {
            let wait = PATIENCE.min(options.timeout / 2);
            let asked = timeout(wait, exchange::ask(self.address, question, Extensions::With)).await;
            match asked.unwrap_or(Err(Fault::Silent)) {
                Err(Fault::Failed | Fault::Refused | Fault::Silent) => {}
                answered => return answered,
            }
            // It may be the question with EDNS that it failed at, or that somebody on the way has dropped.
            let answer = exchange::ask(self.address, question, Extensions::Without).await?;
            self.plain.set(Some(Instant::now() + PLAIN));
            return Ok(answer);
        }
        exchange::ask(self.address, question, Extensions::Without).await
    }
}

/// After so long without an answer the next one is asked, too.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long others are asked before one that was silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long one that does not understand EDNS is asked without.
const PLAIN: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests;
