//! What was seen lately: a memory that is bounded in number and age. Where there is too much, the oldest makes room.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// Values by key, each with when it was put in.
#[derive(Debug)]
pub struct Recent<K, V> {
    entries: HashMap<K, (V, Instant)>,
    most: usize,
    kept: Duration,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// Remembers `most` values, each for as long as `kept`.
    pub fn new(most: usize, kept: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            kept,
        }
    }

    /// The value of this key, where it is not too old.
    pub fn get(&self, key: &K, now: Instant) -> Option<&V> {
        let (value, since) = self.entries.get(key)?;
        is_recent(*since, now, self.kept).then_some(value)
    }

    /// Puts a value in, in place of another of its key.
    pub fn insert(&mut self, key: K, value: V, now: Instant) {
        if !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, (value, now));
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        Some(self.entries.remove(key)?.0)
    }

    /// Forgets what was put in longest ago.
    pub fn remove_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, (_, since))| *since);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.entries.remove(&oldest);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How many values there are, old ones included that nothing made room for yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < self.most {
            return;
        }
        let kept = self.kept;
        self.entries.retain(|_, (_, since)| is_recent(*since, now, kept));
        if self.entries.len() < self.most {
            return;
        }
        self.remove_oldest();
    }
}

fn is_recent(since: Instant, now: Instant, kept: Duration) -> bool {
    now.saturating_duration_since(since) < kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Duration = Duration::from_secs(600);

    #[test]
    fn a_value_is_known_for_a_while_from_when_it_was_put_in_last() {
        let (mut recent, now) = (Recent::new(10, KEPT), Instant::now());
        assert_eq!(recent.get(&1, now), None);
        recent.insert(1, 'a', now);
        assert_eq!(recent.get(&1, now + KEPT / 2), Some(&'a'));
        assert_eq!(recent.get(&1, now + KEPT), None);
        recent.insert(1, 'b', now + KEPT / 2);
        assert_eq!(recent.get(&1, now + KEPT), Some(&'b'));
        assert_eq!(recent.remove(&1), Some('b'));
        assert!(recent.is_empty());
    }

    #[test]
    fn what_is_too_old_makes_room_and_else_the_oldest() {
        let (mut recent, now) = (Recent::new(3, KEPT), Instant::now());
        for (key, seconds) in [(1, 0), (2, 20), (3, 10), (2, 30)] {
            recent.insert(key, (), now + Duration::from_secs(seconds));
        }
        assert_eq!(recent.len(), 3);
        let later = now + Duration::from_secs(40);
        recent.insert(4, (), later);
        assert_eq!(
            [1, 2, 3, 4].map(|key| recent.get(&key, later).is_some()),
            [false, true, true, true]
        );
        recent.insert(5, (), later + KEPT);
        assert_eq!(recent.len(), 1);
    }
}
