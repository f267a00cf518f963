//! How many log lines may be about whom: a token bucket for each key, and a count of what was left out.
//!
//! Memory is bounded: keys that find no place share one bucket. Whatever is left out is counted, and
//! [`take_left_out`](Quota::take_left_out) hands the counts out for a summary line.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// So many at once, then one each `every`.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How long it takes until there is one more.
    pub every: Duration,
}

/// Lines by what they are about.
#[derive(Debug)]
pub struct Quota<K> {
    rate: Rate,
    most: usize,
    buckets: HashMap<K, Bucket>,
    /// For those who have no place.
    rest: Bucket,
}

/// What was left out of one key's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut<K> {
    /// Whose; none where it was of several that had no place.
    pub key: Option<K>,
    /// How many lines.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again, where it is not.
    full_at: Option<Instant>,
    left_out: u64,
}

impl<K: Clone + Eq + Hash> Quota<K> {
    /// `rate` for each of up to `most` keys, and once more for all others together.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            buckets: HashMap::new(),
            rest: Bucket::default(),
        }
    }

    /// Whether there may be a line about `key` now; if not, it is counted.
    pub fn allows(&mut self, key: &K, now: Instant) -> bool {
        if !self.buckets.contains_key(key) && self.buckets.len() >= self.most {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
        }
        if self.buckets.len() >= self.most && !self.buckets.contains_key(key) {
            return self.rest.take(self.rate, now);
        }
        self.buckets.entry(key.clone()).or_default().take(self.rate, now)
    }

    /// What was left out since this was asked last.
    pub fn take_left_out(&mut self) -> Vec<LeftOut<K>> {
        let own = self
            .buckets
            .iter_mut()
            .map(|(key, bucket)| (Some(key.clone()), bucket));
        own.chain([(None, &mut self.rest)])
            .filter(|(_, bucket)| bucket.left_out > 0)
            .map(|(key, bucket)| LeftOut {
                key,
                count: std::mem::take(&mut bucket.left_out),
            })
            .collect()
    }
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now)) + rate.every;
        let allowed = full_at.duration_since(now) <= rate.every * rate.burst;
        if allowed {
            self.full_at = Some(full_at);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        allowed
    }

    /// Nothing is lost where it is forgotten.
    fn is_idle(&self, now: Instant) -> bool {
        self.left_out == 0 && self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(10),
    };

    fn left_out<K>(key: Option<K>, count: u64) -> LeftOut<K> {
        LeftOut { key, count }
    }

    #[test]
    fn a_burst_passes_then_one_in_a_while_and_the_rest_is_counted() {
        let (mut quota, now) = (Quota::new(RATE, 10), Instant::now());
        let mut passed = 0;
        for second in 0..100 {
            passed += u32::from(quota.allows(&'a', now + Duration::from_secs(second)));
        }
        assert_eq!(passed, RATE.burst + 9);
        assert_eq!(quota.take_left_out(), [left_out(Some('a'), 100 - 12)]);
        assert_eq!(quota.take_left_out(), []);
        // Left alone for long enough, all of the burst is there again, and no more.
        let later = now + Duration::from_secs(1000);
        let passed = (0..100).filter(|_| quota.allows(&'a', later)).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn one_key_takes_nothing_from_another_while_there_is_place() {
        let (mut quota, now) = (Quota::new(RATE, 2), Instant::now());
        assert_eq!((0..9).filter(|_| quota.allows(&1, now)).count(), 3);
        assert_eq!((0..9).filter(|_| quota.allows(&2, now)).count(), 3);
    }

    #[test]
    fn any_number_of_keys_takes_bounded_memory_and_bounded_lines() {
        let (mut quota, now) = (Quota::new(RATE, 5), Instant::now());
        let passed = (0..10_000).filter(|key| quota.allows(key, now)).count();
        assert_eq!(passed, 5 + 3);
        assert_eq!(quota.buckets.len(), 5);
        assert_eq!(quota.take_left_out(), [left_out(None, 10_000 - 8)]);
        // Who was quiet makes room.
        let later = now + Duration::from_secs(10);
        assert!(quota.allows(&77, later) && quota.buckets.contains_key(&77));
    }
}
