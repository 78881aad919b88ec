//! Everything that is on its way to upstreams.
//!
//! Owns [`Traffic`], which has one lane for each host and credential, and what others may know of it ([`State`],
//! [`Watch`]). The idea: an upstream limits an account and not a client of ours, so connectors that share both share the
//! lane; and a reload, which makes every client anew, forgets nothing that was learned.
//!
//! Must not: name a credential; a lane is known by where the credential comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::lane::{Lane, Rules};

/// More lanes than this are not remembered.
const MOST: usize = 1024;

/// What a lane is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What the operator calls the upstream.
    pub upstream: String,
    /// Its scheme, host and port.
    pub host: String,
    /// `closed`, `open` or `half-open`.
    pub circuit: &'static str,
    /// Requests under way.
    pub flying: u32,
    /// Requests that wait for their turn.
    pub waiting: u32,
    /// Requests that were sent, each try by itself.
    pub sent: u64,
    /// Of these, those that were tries after the first.
    pub retries: u64,
    /// Answers of 429.
    pub limited: u64,
    /// Answers of 5xx, and requests without an answer.
    pub failed: u64,
    /// Requests that were refused here: their turn would have come too late, or the circuit was open.
    pub refused: u64,
}

/// Hears what becomes of upstreams; `app` wires it to the audit.
pub trait Watch: Send + Sync + 'static {
    /// It failed too often and is left alone for so long.
    fn opened(&self, upstream: &str, host: &str, pause: Duration);
    /// It answers again.
    fn closed(&self, upstream: &str, host: &str);
    /// It said "too many" so often within so long.
    fn limited(&self, upstream: &str, host: &str, count: u32, window: Duration);
}

/// All lanes. Clones are the same.
#[derive(Clone, Default)]
pub struct Traffic(Arc<Inner>);

#[derive(Default)]
struct Inner {
    lanes: Mutex<BTreeMap<(String, String), Arc<Lane>>>,
    watch: Arc<OnceLock<Weak<dyn Watch>>>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Traffic")
    }
}

/// It is no setting: configurations do not differ by it.
impl PartialEq for Traffic {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Traffic {
    /// Tells somebody, as long as that somebody is there. The first one stays.
    pub fn watched_by(&self, watch: &Arc<dyn Watch>) {
        let _ = self.0.watch.set(Arc::downgrade(watch));
    }

    /// What every lane is doing, by host.
    pub fn states(&self) -> Vec<State> {
        let lanes: Vec<Arc<Lane>> =
            self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        lanes.iter().map(|lane| lane.state()).collect()
    }

    /// The lane to `host` with what `account` names, under these rules from now on. Without a name it is nobody else's.
    pub(super) fn lane(
        &self,
        upstream: &str,
        host: &str,
        account: Option<String>,
        rules: Rules,
    ) -> Arc<Lane> {
        let fresh = || Arc::new(Lane::new(upstream, host, rules, Arc::clone(&self.0.watch)));
        let Some(account) = account else { return fresh() };
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), account);
        if let Some(lane) = lanes.get(&key) {
            lane.tune(rules);
            return Arc::clone(lane);
        }
        if lanes.len() >= MOST {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = fresh();
        if lanes.len() < MOST {
            lanes.insert(key, Arc::clone(&lane));
        }
        lane
    }
}
