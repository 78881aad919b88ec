//! Turns, so that one caller cannot take all places.
//!
//! Owns [`Fair`], a queue of what waits to run. The idea: first come, first served, except that whoever has its share
//! running is passed over until one of them is done. What was given up leaves the queue at once, and how much of one
//! owner waits is known, so that whoever fills the queue can be told to stop.
//!
//! Must not: run anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Who something belongs to; what belongs to nobody is not counted.
pub type Owner = Option<Arc<str>>;

/// What waits, and how many of each owner's run.
pub struct Fair<T> {
    waiting: VecDeque<(Owner, T)>,
    queued: HashMap<Arc<str>, usize>,
    running: HashMap<Arc<str>, usize>,
    each: usize,
}

impl<T> Fair<T> {
    /// At most `each` of one owner's run at once.
    pub fn new(each: usize) -> Self {
        Self { waiting: VecDeque::new(), queued: HashMap::new(), running: HashMap::new(), each: each.max(1) }
    }

    /// Lets it wait for its turn.
    pub fn push(&mut self, owner: Owner, what: T) {
        if let Some(owner) = &owner {
            *self.queued.entry(Arc::clone(owner)).or_default() += 1;
        }
        self.waiting.push_back((owner, what));
    }

    /// How many of that owner wait.
    pub fn waits(&self, owner: &Owner) -> usize {
        owner.as_ref().and_then(|owner| self.queued.get(owner)).copied().unwrap_or(0)
    }

    /// Takes out of the queue, and returns, the first of that owner's that nobody waits for any more.
    pub fn give_up(&mut self, owner: &Owner, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let place = self.waiting.iter().position(|(whose, what)| whose == owner && is_it(what))?;
        self.take(place).map(|(_, what)| what)
    }

    fn take(&mut self, place: usize) -> Option<(Owner, T)> {
        let (owner, what) = self.waiting.remove(place)?;
        less(&mut self.queued, &owner);
        Some((owner, what))
    }

    fn may(&self, owner: &Owner) -> bool {
        let running = owner.as_ref().and_then(|owner| self.running.get(owner)).copied().unwrap_or(0);
        running < self.each
    }

    /// The next whose turn it is. It counts as running until [`Fair::done`].
    pub fn pop(&mut self) -> Option<(Owner, T)> {
        let next = self.waiting.iter().position(|(owner, _)| self.may(owner))?;
        let (owner, what) = self.take(next)?;
        if let Some(owner) = &owner {
            *self.running.entry(Arc::clone(owner)).or_default() += 1;
        }
        Some((owner, what))
    }

    /// One of that owner's runs no more.
    pub fn done(&mut self, owner: &Owner) {
        less(&mut self.running, owner);
    }

    /// Whether there is anything that could run now.
    pub fn is_ready(&self) -> bool {
        self.waiting.iter().any(|(owner, _)| self.may(owner))
    }
}

fn less(counts: &mut HashMap<Arc<str>, usize>, owner: &Owner) {
    let Some(owner) = owner else { return };
    if let Some(count) = counts.get_mut(owner) {
        *count -= 1;
        if *count == 0 {
            counts.remove(owner);
        }
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

    #[test]
    fn what_was_given_up_leaves_the_queue_though_its_owner_has_its_share() {
        let mut fair = Fair::new(1);
        let (greedy, modest) = (Some(owner("greedy")), Some(owner("modest")));
        for number in 0..4 {
            fair.push(greedy.clone(), Arc::new(number));
        }
        fair.push(modest.clone(), Arc::new(2));
        assert_eq!(fair.pop().map(|(_, number)| *number), Some(0));
        assert_eq!((fair.waits(&greedy), fair.waits(&modest)), (3, 1));
        let given_up = fair.give_up(&greedy, |number| **number == 2).unwrap();
        assert_eq!(Arc::strong_count(&given_up), 1, "the queue keeps nothing of it");
        assert!(fair.give_up(&greedy, |number| **number == 2).is_none(), "another's stays");
        assert_eq!((fair.waits(&greedy), fair.waits(&modest)), (2, 1));
        assert_eq!(fair.pop().map(|(_, number)| *number), Some(2));
        fair.done(&greedy);
        assert_eq!(fair.pop().map(|(_, number)| *number), Some(1));
        fair.done(&greedy);
        assert_eq!(fair.pop().map(|(_, number)| *number), Some(3));
        assert!(fair.queued.is_empty() && fair.waiting.is_empty(), "nobody is remembered who has nothing");
    }
}
