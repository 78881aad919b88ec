//! Memory that does not grow.
//!
//! Owns [`Bounded`], a map that forgets what was touched longest ago, and [`Window`], which tells a burst. The idea: who
//! makes up callers and addresses can make us forget others, and cannot make us grow.
//!
//! Must not: hold more than it was made for.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::config::Burst;

/// A map of at most so many keys.
pub(super) struct Bounded<K, V> {
    most: usize,
    turn: u64,
    all: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq + Clone, V: Default> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, turn: 0, all: HashMap::new() }
    }

    /// What is kept under a key, which from here on is the one touched last.
    pub(super) fn of(&mut self, key: &K) -> &mut V {
        self.turn += 1;
        if self.all.len() >= self.most && !self.all.contains_key(key) {
            // a quarter at once, so that this is seldom
            let mut turns: Vec<u64> = self.all.values().map(|(turn, _)| *turn).collect();
            turns.sort_unstable();
            let old = turns[turns.len() / 4];
            self.all.retain(|_, (turn, _)| *turn > old);
        }
        let entry = self.all.entry(key.clone()).or_default();
        entry.0 = self.turn;
        &mut entry.1
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.all.remove(key).map(|(_, value)| value)
    }
}

/// The last times of something.
#[derive(Default)]
pub(super) struct Window(VecDeque<u64>);

impl Window {
    /// Counts one at that second; whether that makes a burst, which is then forgotten.
    pub(super) fn count(&mut self, burst: Burst, now: u64) -> bool {
        if burst.count == 0 {
            return false;
        }
        self.0.push_back(now);
        while self.0.len() > burst.count as usize {
            self.0.pop_front();
        }
        let full = self.0.len() == burst.count as usize;
        let hit =
            full && self.0.front().is_some_and(|first| now.saturating_sub(*first) < u64::from(burst.seconds));
        if hit {
            self.0.clear();
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_longest_ago_is_forgotten() {
        let mut map: Bounded<u32, u32> = Bounded::new(8);
        for key in 0..1000 {
            *map.of(&0) += 1;
            *map.of(&key) += 1;
            assert!(map.all.len() <= 8);
        }
        assert_eq!(*map.of(&0), 1001);
        assert_eq!(*map.of(&1), 0);
    }

    #[test]
    fn a_burst_is_so_many_within_so_long() {
        let burst = Burst { count: 3, seconds: 10 };
        let mut window = Window::default();
        let hits: Vec<bool> = [0, 5, 10, 11, 12, 13, 14].map(|now| window.count(burst, now)).to_vec();
        assert_eq!(hits, [false, false, false, true, false, false, true]);
        assert!(!Window::default().count(Burst { count: 0, seconds: 10 }, 1));
    }
}
