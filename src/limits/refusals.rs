//! Who is refused far too often.
//!
//! Owns [`Refusals`], and the [`Tally`] of what refused. The idea: a refusal costs lines in the audit and work on the line, so refusals have a quota too;
//! whoever is beyond it need not be listened to until it has waited. While nobody is refused, asking is one load.
//!
//! Must not: refuse anything by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::gcra::{Decision, Quota, decide};
use super::memory::Memory;

/// How often each limit refused. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    /// Counts one refusal by the limit of that name.
    pub fn count(&self, limit: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }

    /// What was counted so far.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Refusals by principal, in buckets of their own.
#[derive(Debug)]
pub(super) struct Refusals {
    memory: Memory,
    /// When the last bucket that was touched is full again, in milliseconds: nobody is held after that.
    until: AtomicU64,
}

impl Refusals {
    pub(super) fn new(most_principals: usize) -> Self {
        Self { memory: Memory::new(most_principals), until: AtomicU64::new(0) }
    }

    pub(super) fn resize(&self, most_principals: usize) {
        self.memory.resize(most_principals);
    }

    /// Counts one.
    pub(super) fn count(&self, principal: &str, quota: Quota, now: Duration) {
        self.memory.take(principal, 0, quota, 1, now);
        let full_at = self.memory.full_at(principal, 0);
        let millis = u64::try_from(full_at.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.until.fetch_max(millis, Ordering::Relaxed);
    }

    /// How long a principal is not listened to.
    pub(super) fn held(&self, principal: &str, quota: Quota, now: Duration) -> Option<Duration> {
        if now.as_millis() >= u128::from(self.until.load(Ordering::Relaxed)) {
            return None;
        }
        match decide(self.memory.full_at(principal, 0), quota, 1, now).0 {
            Decision::Allowed { .. } => None,
            Decision::Refused { retry_after } => Some(retry_after.unwrap_or(Duration::from_mins(1))),
        }
    }
}
