//! What is known of names: answers while they last, questions under way, and which families were silent. Bounded.

use super::message::Said;
use super::{Family, ResolveError};
use fluidity_daemon::recent::Recent;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// One name and family.
pub(super) type Key = (String, Family);
/// What became of a question.
pub(super) type Outcome = Result<Said, ResolveError>;
/// The outcome of a question under way, when there is one.
pub(super) type Coming = watch::Receiver<Option<Outcome>>;
/// Where it is told.
pub(super) type Telling = watch::Sender<Option<Outcome>>;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Cache {
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug)]
struct State {
    known: Recent<Key, (Said, Instant)>,
    silent: Recent<Key, ()>,
    under_way: HashMap<Key, Telling>,
}

/// How a question ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// What became of it; nothing where it was given up.
    pub(super) outcome: Option<Outcome>,
    /// For how long an answer holds, where it says so.
    pub(super) lasts: Option<Duration>,
}

/// What a look at the cache finds.
#[derive(Debug)]
pub(super) enum Found {
    /// An answer that still lasts.
    Known(Said),
    /// Somebody asks already.
    UnderWay(Coming),
    /// Nobody does: the one who looked asks, and tells it here.
    Ask(Telling, Coming),
    /// So many questions are under way that no other may be.
    Full,
}

impl Cache {
    /// Keeps `most` answers.
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                known: Recent::new(most, LONGEST_KEPT),
                silent: Recent::new(MOST_SILENT, SILENCE),
                under_way: HashMap::new(),
            }),
            most,
        }
    }

    /// Looks for an answer, or for a question under way.
    pub(super) fn look(&self, key: &Key, now: Instant) -> Found {
        let mut state = self.lock();
        if let Some((said, until)) = state.known.get(key, now)
            && now < *until
        {
            return Found::Known(said.clone());
        }
        if let Some(telling) = state.under_way.get(key) {
            return Found::UnderWay(telling.subscribe());
        }
        if state.under_way.len() >= MOST_UNDER_WAY {
            return Found::Full;
        }
        let (telling, coming) = watch::channel(None);
        state.under_way.insert(key.clone(), telling.clone());
        Found::Ask(telling, coming)
    }

    /// A question is over. What it found is kept while it lasts.
    pub(super) fn over(&self, key: &Key, ended: &Ended, now: Instant) {
        let mut state = self.lock();
        state.under_way.remove(key);
        match &ended.outcome {
            Some(Ok(said)) => {
                state.silent.remove(key);
                let (longest, otherwise) = match said {
                    Said::Addresses(_) => (LONGEST_KEPT, Duration::ZERO),
                    Said::NoAddress | Said::NoName => (LONGEST_KEPT_DENIAL, LONGEST_KEPT_DENIAL / 3),
                };
                let lasts = ended.lasts.unwrap_or(otherwise).min(longest);
                if self.most > 0 && !lasts.is_zero() {
                    state.known.insert(key.clone(), (said.clone(), now + lasts), now);
                }
            }
            Some(Err(ResolveError::Timeout)) => state.silent.insert(key.clone(), (), now),
            Some(Err(_)) | None => {}
        }
    }

    /// Whether nobody answered to this of late.
    pub(super) fn is_silent(&self, key: &Key, now: Instant) -> bool {
        self.lock().silent.get(key, now).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A longer TTL is cut: an address that moved is found again within the hour.
const LONGEST_KEPT: Duration = Duration::from_secs(3600);
/// The same for what is not there.
const LONGEST_KEPT_DENIAL: Duration = Duration::from_secs(30);
/// How long a family that was silent is not waited for.
const SILENCE: Duration = Duration::from_secs(300);
const MOST_SILENT: usize = 1024;
/// Questions at once: each has a socket or two.
const MOST_UNDER_WAY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("a.example".to_owned(), Family::V6)
    }

    fn found() -> Said {
        Said::Addresses(vec![[192, 0, 2, 1].into()])
    }

    fn ended(outcome: Outcome, lasts: Option<Duration>) -> Ended {
        Ended {
            outcome: Some(outcome),
            lasts,
        }
    }

    const fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn an_answer_is_kept_while_it_lasts_and_a_question_is_asked_once() {
        let (cache, now) = (Cache::new(10), Instant::now());
        let Found::Ask(_telling, _coming) = cache.look(&key(), now) else {
            panic!("nobody asks yet")
        };
        assert!(matches!(cache.look(&key(), now), Found::UnderWay(_)));
        cache.over(&key(), &ended(Ok(found()), Some(seconds(60))), now);
        assert!(matches!(cache.look(&key(), now + seconds(59)), Found::Known(said) if said == found()));
        assert!(matches!(cache.look(&key(), now + seconds(61)), Found::Ask(..)));
    }

    #[test]
    fn what_does_not_last_is_not_kept_and_nothing_for_too_long() {
        let (cache, now) = (Cache::new(10), Instant::now());
        for (said, lasts, kept) in [
            (found(), Some(0), 0),
            (found(), Some(1 << 31), 3600),
            (Said::NoName, Some(9000), 30),
            (Said::NoAddress, None, 10),
        ] {
            cache.over(&key(), &ended(Ok(said), lasts.map(seconds)), now);
            let is_known = |after| matches!(cache.look(&key(), now + after), Found::Known(_));
            assert!(kept == 0 || is_known(seconds(kept - 1)), "{kept}");
            assert!(!is_known(seconds(kept)), "{kept}");
        }
    }

    #[test]
    fn a_family_is_silent_for_a_while_or_until_it_answers() {
        let (cache, now) = (Cache::new(10), Instant::now());
        let over = |outcome: Outcome| cache.over(&key(), &ended(outcome, None), now);
        assert!(!cache.is_silent(&key(), now));
        over(Err(ResolveError::Failed));
        assert!(!cache.is_silent(&key(), now), "a failure is an answer");
        over(Err(ResolveError::Timeout));
        assert!(cache.is_silent(&key(), now) && !cache.is_silent(&key(), now + SILENCE));
        over(Ok(Said::NoAddress));
        assert!(!cache.is_silent(&key(), now));
    }
}
