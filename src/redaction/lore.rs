//! What a redactor has learnt while the process runs.
//!
//! Owns [`Lore`], [`Held`] and [`Passes`]. The idea: redactors with different rules share what they learn; what is in use
//! is known for as long as whoever uses it keeps a token for that.
//!
//! Must not: search texts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::known::Known;
use super::passing::Passing;
use crate::secret::Secret;

/// What was learnt.
#[derive(Default)]
pub(super) struct Lore {
    pub(super) known: ArcSwap<Known>,
    learning: Mutex<()>,
    pub(super) passing: RwLock<Passing>,
    /// How many secrets were taken out for callers, by kind.
    pub(super) taken: Mutex<BTreeMap<String, u64>>,
}

impl Lore {
    pub(super) fn took(&self, kind: &str, count: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(kind) {
            Some(known) => *known += count,
            None => drop(taken.insert(kind.to_owned(), count)),
        }
    }

    pub(super) fn replace(&self, change: impl FnOnce(&Known) -> Option<Known>) {
        let _alone = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change(&self.known.load());
        if let Some(next) = next {
            self.known.store(Arc::new(next));
        }
    }
}

/// A credential in use. Dropped, it is one that was replaced: still known, until many others were replaced after it.
pub struct Held {
    pub(super) lore: Arc<Lore>,
    pub(super) secret: Secret,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lore.replace(|known| known.released(&self.secret));
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Held(..)")
    }
}

/// A credential of somebody else's that passes through, such as the token a caller shows: arguments that hold it, or a
/// part of it, are refused until this is dropped.
pub struct Passes {
    pub(super) lore: Arc<Lore>,
    pub(super) token: Secret,
}

impl Drop for Passes {
    fn drop(&mut self) {
        self.lore.passing.write().unwrap_or_else(PoisonError::into_inner).remove(self.token.expose());
    }
}

impl std::fmt::Debug for Passes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Passes(..)")
    }
}
