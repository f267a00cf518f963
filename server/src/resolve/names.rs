//! What the system's files say, and what is known by it. Where the files change, another takes its place.

use super::cache::{Cache, Coming, Ended, Found, Key, Outcome, Telling};
use super::files;
use super::hosts::Hosts;
use super::lookup::Lookup;
use super::message::{Answer, Question};
use super::servers::Servers;
use super::system::SystemOptions;
use super::{Family, ResolveError, ResolverOptions};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The names of one system at one time.
#[derive(Debug)]
pub(super) struct Names {
    said: files::Said,
    pub(super) system: SystemOptions,
    shared: Arc<Shared>,
    /// The questions under way; each ends where nobody waits for it.
    asking: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    servers: Servers,
    cache: Cache,
}

/// A question that was asked.
#[derive(Debug)]
pub(super) enum Pending {
    Over(Outcome),
    Coming(Coming),
}

impl Pending {
    /// What becomes of it. Cancel safe.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self {
            Self::Over(outcome) => outcome.clone(),
            Self::Coming(coming) => match coming.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Err(ResolveError::Failed)),
                // The files have changed meanwhile.
                Err(_) => Err(ResolveError::Failed),
            },
        }
    }
}

impl Names {
    pub(super) fn new(options: &ResolverOptions, said: files::Said) -> Self {
        let system = said
            .system
            .clone()
            .unwrap_or_else(|| SystemOptions::configured(&options.servers));
        let most = usize::try_from(options.cache_entries).unwrap_or(usize::MAX);
        Self {
            shared: Arc::new(Shared {
                servers: Servers::new(&system, options.timeout),
                cache: Cache::new(most),
            }),
            said,
            system,
            asking: Mutex::default(),
        }
    }

    /// Whether the files say just this.
    pub(super) fn say(&self, said: &files::Said) -> bool {
        self.said == *said
    }

    /// Whether nobody was named who could be asked.
    pub(super) fn are_without_servers(&self) -> bool {
        self.system.assumed
    }

    /// The addresses of a name: the hosts file's, or those of the first of its candidates that has some.
    pub(super) async fn resolve(&self, name: &str) -> Result<Lookup, ResolveError> {
        if let Some(addresses) = self.hosts().get(name) {
            return Ok(Lookup::of(addresses.to_vec()));
        }
        let mut worst = ResolveError::NotFound;
        for candidate in self.system.candidates(name) {
            match self.lookup(&candidate).await {
                Ok(lookup) if candidate == name => return Ok(lookup),
                Ok(lookup) => return Ok(lookup.under(candidate)),
                Err(ResolveError::NotFound) => {}
                Err(error @ ResolveError::NoAddress) => {
                    if worst == ResolveError::NotFound {
                        worst = error;
                    }
                }
                // One domain's name server fails: another's may not.
                Err(error @ (ResolveError::Failed | ResolveError::Refused)) => worst = error,
                Err(error) => return Err(error),
            }
        }
        Err(worst)
    }

    /// The addresses of this machine under a name of its own: as the hosts file has them, and no others.
    pub(super) fn loopback(&self, name: &str) -> Vec<IpAddr> {
        let listed = |name| {
            let addresses = self.hosts().get(name).unwrap_or_default().iter();
            addresses
                .filter(|address| address.is_loopback())
                .copied()
                .collect()
        };
        // A machine without IPv6 says so at `localhost`, and lists nothing below it.
        for name in [name, "localhost"] {
            let listed: Vec<_> = listed(name);
            if !listed.is_empty() {
                return listed;
            }
        }
        vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
    }

    /// Asks for a name, where nobody does and nothing is known.
    pub(super) fn ask(&self, name: &str, family: Family) -> Pending {
        let key = (name.to_owned(), family);
        match self.shared.cache.look(&key, Instant::now()) {
            Found::Known(said) => Pending::Over(Ok(said)),
            Found::UnderWay(coming) => Pending::Coming(coming),
            Found::Full => Pending::Over(Err(ResolveError::Busy)),
            Found::Ask(telling, coming) => {
                let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
                while asking.try_join_next().is_some() {}
                asking.spawn(UnderWay::new(self.shared.clone(), key).run(telling));
                Pending::Coming(coming)
            }
        }
    }

    /// Whether nobody answered to this of late.
    pub(super) fn is_silent(&self, name: &str, family: Family) -> bool {
        self.shared
            .cache
            .is_silent(&(name.to_owned(), family), Instant::now())
    }

    fn hosts(&self) -> &Hosts {
        &self.said.hosts
    }
}

/// A question under way: over when it is dropped, whatever became of it.
struct UnderWay {
    shared: Arc<Shared>,
    key: Key,
    ended: Ended,
}

impl UnderWay {
    const fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self {
            shared,
            key,
            ended: Ended {
                outcome: None,
                lasts: None,
            },
        }
    }

    async fn run(mut self, telling: Telling) {
        let (name, family) = &self.key;
        let Some(question) = Question::new(name, *family) else {
            self.tell(&telling, Err(ResolveError::NotFound));
            return;
        };
        let question = Arc::new(question);
        let began = Instant::now();
        let answered = tokio::select! {
            answered = self.shared.servers.ask(&question) => answered,
            // Nobody waits: its sockets are for others.
            () = telling.closed() => {
                if began.elapsed() >= SILENT {
                    self.ended.outcome = Some(Err(ResolveError::Timeout));
                }
                return;
            }
        };
        let outcome = answered.map(|Answer { said, lasts, .. }| {
            self.ended.lasts = lasts;
            said
        });
        self.tell(&telling, outcome);
    }

    fn tell(mut self, telling: &Telling, outcome: Outcome) {
        self.ended.outcome = Some(outcome.clone());
        // Known before it is told: whoever hears of it and asks again finds it.
        drop(self);
        telling.send_replace(Some(outcome));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.cache.over(&self.key, &self.ended, Instant::now());
    }
}

/// A second without an answer is silence, too.
const SILENT: Duration = Duration::from_secs(1);
