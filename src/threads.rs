//! Which thread this is.
//!
//! Owns [`number`]. The idea: what many threads use at once is kept once for each of them, so that none has to wake
//! another; a number that is given back when its thread ends keeps such places few, however many threads come and go.
//!
//! Must not: start threads.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The numbers that threads have.
static TAKEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// The number of a thread, the lowest that no other has.
struct Number(usize);

impl Number {
    fn lowest() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        // one of so many is free
        let lowest = (0..=taken.len()).find(|number| !taken.contains(number)).unwrap_or_default();
        taken.insert(lowest);
        Self(lowest)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The number of this thread. It has it to its end; then another may get it, so that two that stay never share one.
pub(crate) fn number() -> usize {
    thread_local! {
        static THREAD: Number = Number::lowest();
    }
    // a thread that ends has none any more, and takes any
    THREAD.try_with(|thread| thread.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_last_never_share_a_number_and_those_that_end_give_theirs_back() {
        let mine = number();
        assert_eq!(number(), mine);
        // one after the other they take the same few: other tests have threads as well
        let seen: std::collections::BTreeSet<usize> =
            (0..500).map(|_| std::thread::spawn(number).join().unwrap()).collect();
        assert!(!seen.contains(&mine) && seen.len() < 250, "{}", seen.len());
        let together = std::sync::Barrier::new(8);
        let mut others: Vec<usize> = std::thread::scope(|scope| {
            let ask = || {
                let number = number();
                together.wait();
                number
            };
            let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        others.push(mine);
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), 9);
    }
}
