//! Buckets in a file that the processes of one machine share.
//!
//! Owns [`Ledger`], a [`Store`]. The idea: one small file under a lock, replaced as a whole; it holds only buckets that
//! are not full, so it stays as small as the traffic it limits. Calls that change something are few, and pay for it;
//! calls that read do not come here.
//!
//! Must not: be on the way of a read.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::gcra::{Decision, Quota, decide};
use crate::error::{Error, Kind, Result};
use crate::state::StateDir;

const FILE: &str = "limits.json";
/// Buckets in the file; beyond it the one that is full soonest is forgotten.
const MOST: usize = 4096;

/// By key, when the bucket is full again: nanoseconds of wall time.
type Buckets = BTreeMap<String, u64>;

/// Buckets in the state directory.
pub(super) struct Ledger {
    state: Arc<StateDir>,
}

impl Ledger {
    pub(super) fn new(state: StateDir) -> Self {
        Self { state: Arc::new(state) }
    }
}

fn read(state: &StateDir) -> Result<Buckets> {
    // A file that is damaged (the power failed) is a new one.
    Ok(state.read(FILE)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn take(state: &StateDir, key: &str, quota: Quota, cost: u32, now: Duration) -> Result<Decision> {
    let _turn = state.lock("limits")?;
    let mut buckets = read(state)?;
    buckets.retain(|_, full_at| *full_at > nanos(now));
    // Wall clocks are set back now and then; nobody waits longer for that than an empty bucket would make them wait.
    let known = Duration::from_nanos(buckets.get(key).copied().unwrap_or_default());
    let full_at = known.min(quota.empty_at(now));
    let (decision, next) = decide(full_at, quota, cost, now);
    // One that was filled by another hand of the clock is written down anew when it refuses, too: it fills from now on.
    if matches!(decision, Decision::Allowed { .. }) || full_at < known {
        buckets.insert(key.to_owned(), nanos(next));
        while buckets.len() > MOST
            && let Some(soonest) =
                buckets.iter().min_by_key(|(_, full_at)| **full_at).map(|(key, _)| key.clone())
        {
            buckets.remove(&soonest);
        }
        let bytes = serde_json::to_vec(&buckets).map_err(|cause| {
            Error::new(Kind::Internal, "The counts of calls could not be written down.").with_source(cause)
        })?;
        state.replace(FILE, &bytes)?;
    }
    Ok(decision)
}

impl Store for Ledger {
    fn take<'a>(
        &'a self,
        key: &'a str,
        quota: Quota,
        cost: u32,
        now: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Decision>> + Send + 'a>> {
        let (state, key) = (Arc::clone(&self.state), key.to_owned());
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || take(&state, &key, quota, cost, now));
            work.await.map_err(|cause| {
                Error::new(Kind::Internal, "Counting a call was interrupted.").with_source(cause)
            })?
        })
    }

    fn full_at(&self, key: &str) -> Option<Duration> {
        let buckets = read(&self.state).ok()?;
        Some(Duration::from_nanos(buckets.get(key).copied().unwrap_or_default()))
    }
}
