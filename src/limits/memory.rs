//! Buckets in this process.
//!
//! Owns [`Memory`]. The idea: sixteen locked maps, chosen by the key's hash, so that callers seldom meet; an entry
//! holds the buckets of all classes, so a hit looks up one borrowed string and allocates nothing. The number of keys
//! is bounded: buckets that are full again are forgotten first, because forgetting those changes nothing.
//!
//! Must not: wait, or be asked about another process.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::gcra::{Decision, Quota, decide};

const SHARDS: usize = 16;

/// How many classes an entry has room for.
pub(super) const CLASSES: usize = 3;

type Buckets = [Duration; CLASSES];

/// A bounded, sharded map of buckets.
#[derive(Debug)]
pub(super) struct Memory {
    shards: [Mutex<HashMap<Box<str>, Buckets, RandomState>>; SHARDS],
    hasher: RandomState,
    most_per_shard: AtomicUsize,
}

impl Memory {
    /// A store of at most about `most_keys` keys.
    pub(super) fn new(most_keys: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            most_per_shard: AtomicUsize::new(share(most_keys)),
        }
    }

    /// Holds at most about so many keys from now on.
    pub(super) fn resize(&self, most_keys: usize) {
        self.most_per_shard.store(share(most_keys), Ordering::Relaxed);
    }

    /// Takes `cost` from the bucket of `key` and `class`.
    pub(super) fn take(&self, key: &str, class: usize, quota: Quota, cost: u32, now: Duration) -> Decision {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = shard.get_mut(key) {
            let (decision, next) = decide(buckets[class], quota, cost, now);
            buckets[class] = next;
            return decision;
        }
        let most = self.most_per_shard.load(Ordering::Relaxed);
        if shard.len() >= most {
            make_room(&mut shard, most, now);
        }
        let (decision, next) = decide(Duration::ZERO, quota, cost, now);
        let mut buckets = Buckets::default();
        buckets[class] = next;
        shard.insert(key.into(), buckets);
        decision
    }

    /// When the bucket of `key` and `class` is full again.
    pub(super) fn full_at(&self, key: &str, class: usize) -> Duration {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(key).map_or(Duration::ZERO, |buckets| buckets[class])
    }

    /// How many keys are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    #[allow(clippy::cast_possible_truncation, reason = "only the low bits are used")]
    fn shard(&self, key: &str) -> &Mutex<HashMap<Box<str>, Buckets, RandomState>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

fn share(most_keys: usize) -> usize {
    most_keys.div_ceil(SHARDS).max(1)
}

/// Forgets every full bucket; if there is none, the one that would be full soonest.
fn make_room(shard: &mut HashMap<Box<str>, Buckets, RandomState>, most: usize, now: Duration) {
    shard.retain(|_, buckets| buckets.iter().any(|full_at| *full_at > now));
    while shard.len() >= most {
        let soonest =
            shard.iter().min_by_key(|(_, buckets)| buckets.iter().max()).map(|(key, _)| key.clone());
        match soonest {
            Some(key) => shard.remove(&key),
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_keys_is_bounded_and_the_emptiest_bucket_is_remembered() {
        let memory = Memory::new(64);
        let quota = Quota::new(1, 10);
        for _ in 0..10 {
            memory.take("heavy", 0, quota, 1, Duration::from_secs(1));
        }
        for number in 0..5000 {
            memory.take(&format!("light{number}"), 0, quota, 1, Duration::from_secs(1));
        }
        assert!(memory.len() <= 64, "{} keys", memory.len());
        let decision = memory.take("heavy", 0, quota, 1, Duration::from_secs(1));
        assert!(matches!(decision, Decision::Refused { .. }), "a flood of keys must not refill a bucket");
    }

    #[test]
    fn full_buckets_are_forgotten_first() {
        let memory = Memory::new(16);
        let quota = Quota::new(60, 1);
        for number in 0..200 {
            memory.take(&format!("old{number}"), 0, quota, 1, Duration::from_secs(1));
        }
        memory.take("new", 1, quota, 1, Duration::from_secs(100));
        assert!(memory.full_at("new", 1) > Duration::from_secs(100));
        assert_eq!(memory.full_at("new", 0), Duration::ZERO);
    }
}
