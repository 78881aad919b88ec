//! Turns, so that one caller cannot take all places.
//!
//! Owns [`Fair`], a queue of what waits to run. The idea: first come, first served, except that whoever has its share
//! running is passed over until one of them is done.
//!
//! Must not: run anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Who something belongs to; what belongs to nobody is not counted.
pub type Owner = Option<Arc<str>>;

/// What waits, and how many of each owner's run.
pub struct Fair<T> {
    waiting: VecDeque<(Owner, T)>,
    running: HashMap<Arc<str>, usize>,
    each: usize,
}

impl<T> Fair<T> {
    /// At most `each` of one owner's run at once.
    pub fn new(each: usize) -> Self {
        Self { waiting: VecDeque::new(), running: HashMap::new(), each: each.max(1) }
    }

    /// Lets it wait for its turn.
    pub fn push(&mut self, owner: Owner, what: T) {
        self.waiting.push_back((owner, what));
    }

    fn may(&self, owner: &Owner) -> bool {
        let running = owner.as_ref().and_then(|owner| self.running.get(owner)).copied().unwrap_or(0);
        running < self.each
    }

    /// The next whose turn it is. It counts as running until [`Fair::done`].
    pub fn pop(&mut self) -> Option<(Owner, T)> {
        let next = self.waiting.iter().position(|(owner, _)| self.may(owner))?;
        let (owner, what) = self.waiting.remove(next)?;
        if let Some(owner) = &owner {
            *self.running.entry(Arc::clone(owner)).or_default() += 1;
        }
        Some((owner, what))
    }

    /// One of that owner's runs no more.
    pub fn done(&mut self, owner: &Owner) {
        let Some(owner) = owner else { return };
        if let Some(running) = self.running.get_mut(owner) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(owner);
            }
        }
    }

    /// Whether there is anything that could run now.
    pub fn is_ready(&self) -> bool {
        self.waiting.iter().any(|(owner, _)| self.may(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn who_has_its_share_is_passed_over_until_one_is_done() {
        let mut fair = Fair::new(2);
        for number in 0..5 {
            fair.push(Some(owner("greedy")), number);
        }
        fair.push(Some(owner("modest")), 10);
        fair.push(None, 20);
        let mut next = || fair.pop().map(|(_, number)| number);
        assert_eq!([next(), next(), next(), next(), next()], [Some(0), Some(1), Some(10), Some(20), None]);
        assert!(!fair.is_ready());
        fair.done(&Some(owner("modest")));
        assert!(!fair.is_ready());
        fair.done(&Some(owner("greedy")));
        assert!(fair.is_ready());
        assert_eq!(fair.pop().map(|(_, number)| number), Some(2));
        assert!(fair.pop().is_none());
        for _ in 0..2 {
            fair.done(&Some(owner("greedy")));
        }
        assert!(fair.running.is_empty(), "nobody is remembered who has nothing");
    }
}
