//! Bytes that several callers share.
//!
//! Owns [`Shares`]. The idea: what somebody holds is taken from a room for all, of which one caller has at most a part;
//! whoever is alone, in the room or in that part, always fits, because how large one thing may be others say.
//!
//! Must not: wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A room, and what is taken of it.
#[derive(Debug)]
pub struct Shares {
    /// Bytes for all, and of them for one caller.
    most: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    by: HashMap<Arc<str>, usize>,
}

impl Shares {
    /// A room of so many bytes, of which each caller may have so many.
    pub fn new(most: usize, each: usize) -> Self {
        Self { most, each, taken: Mutex::default() }
    }

    /// Takes `more` bytes for somebody who holds `own` already; false if there is no room for them beside what others
    /// hold.
    pub fn take(&self, who: &Arc<str>, own: usize, more: usize) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let by = taken.by.get(who).copied().unwrap_or_default();
        let full = |there: usize, most: usize| there > own && there.saturating_add(more) > most;
        if full(taken.bytes, self.most) || full(by, self.each) {
            return false;
        }
        taken.bytes = taken.bytes.saturating_add(more);
        taken.by.insert(Arc::clone(who), by.saturating_add(more));
        true
    }

    /// Gives bytes back.
    pub fn give(&self, who: &Arc<str>, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes = taken.bytes.saturating_sub(bytes);
        let left = taken.by.get_mut(who).map(|by| {
            *by = by.saturating_sub(bytes);
            *by
        });
        if left == Some(0) {
            taken.by.remove(who);
        }
    }

    /// What one caller holds.
    #[cfg(test)]
    pub(super) fn of(&self, who: &str) -> Option<usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).by.get(who).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_part_and_who_is_alone_has_room() {
        let shares = Shares::new(100, 50);
        let [anna, bert] = ["anna", "bert"].map(Arc::<str>::from);
        assert!(shares.take(&anna, 0, 200), "alone");
        assert!(shares.take(&anna, 200, 10), "and alone still");
        assert!(!shares.take(&anna, 0, 1) && !shares.take(&bert, 0, 1));
        shares.give(&anna, 210);
        assert_eq!(shares.of("anna"), None);
        assert!(shares.take(&anna, 0, 30) && shares.take(&anna, 0, 20));
        assert!(!shares.take(&anna, 0, 1), "its part");
        assert!(shares.take(&bert, 0, 50));
        assert!(!shares.take(&Arc::from("carl"), 0, 1), "the room");
    }
}
