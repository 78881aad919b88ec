//! Whose whole budget is gone.
//!
//! Owns [`Spent`] and [`Gone`]. The idea: a refusal that shows that nothing at all would be let through is remembered
//! until that ends, so that a transport can answer before it looks at anything. While there is nobody, asking is one load.
//!
//! Must not: decide that a budget is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::gcra::Quota;

/// A budget of which nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Which: `daily`, `read`, `write` or `destroy`.
    pub name: &'static str,
    /// What it allows.
    pub quota: Quota,
    /// How long until something is there again.
    pub after: Duration,
}

/// Principals without any budget, and until when.
#[derive(Debug)]
pub(super) struct Spent {
    until: AtomicU64,
    most: AtomicUsize,
    by: Mutex<HashMap<Box<str>, (Gone, Duration)>>,
}

impl Spent {
    pub(super) fn new(most: usize) -> Self {
        Self { until: AtomicU64::new(0), most: AtomicUsize::new(most), by: Mutex::default() }
    }

    pub(super) fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        // other quotas may let through what these did not: who is still over them is noted again
        self.by.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn note(&self, principal: &str, gone: Gone, now: Duration) {
        let until = now.saturating_add(gone.after);
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.most.load(Ordering::Relaxed).max(1);
        if by.len() >= most && !by.contains_key(principal) {
            by.retain(|_, (_, until)| *until > now);
            if by.len() >= most {
                return; // each call of theirs is refused one by one all the same
            }
        }
        by.insert(principal.into(), (gone, until));
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.until.fetch_max(millis, Ordering::Relaxed);
    }

    pub(super) fn of(&self, principal: &str, now: Duration) -> Option<Gone> {
        if now.as_millis() >= u128::from(self.until.load(Ordering::Relaxed)) {
            return None;
        }
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, until) = *by.get(principal)?;
        if until <= now {
            by.remove(principal);
            return None;
        }
        Some(Gone { after: until.saturating_sub(now), ..gone })
    }
}
