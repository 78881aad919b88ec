//! How often each key was used.
//!
//! Owns [`Used`], the counters of this process and `keys.used.json`, in which all processes add up. The idea: a request
//! counts in memory and touches no file; now and then, and at the end, what was counted is added to the file.
//!
//! Must not: hold a key, or fail a request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a key was used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// When it last opened the door, since the epoch.
    pub last: Option<Duration>,
    /// How often it did.
    pub calls: u64,
    /// How often somebody named it and was refused: a wrong key, an expired one, another address.
    pub failures: u64,
}

impl Used {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            last: self.last.max(other.last),
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
        }
    }
}

/// What was counted here and is not written down yet.
#[derive(Debug, Default)]
pub(super) struct Counter {
    last: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Counter {
    /// It opened the door at a time since the epoch.
    pub(super) fn opened(&self, now: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.as_secs(), Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Used {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|at| *at > 0).map(Duration::from_secs);
        let (calls, failures) = (&self.calls, &self.failures);
        Used { last, calls: calls.load(Ordering::Relaxed), failures: failures.load(Ordering::Relaxed) }
    }

    pub(super) fn is_idle(&self) -> bool {
        let used = self.now();
        used.calls == 0 && used.failures == 0
    }

    /// Forgets what was written down.
    fn written(&self, used: Used) {
        self.calls.fetch_sub(used.calls, Ordering::Relaxed);
        self.failures.fetch_sub(used.failures, Ordering::Relaxed);
    }
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    calls: u64,
    failures: u64,
}

/// The file, read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    keys: BTreeMap<String, Line>,
}

impl Book {
    pub(super) fn of(&self, id: &str) -> Used {
        self.keys.get(id).map_or_else(Used::default, |line| Used {
            last: line.last.map(Duration::from_secs),
            calls: line.calls,
            failures: line.failures,
        })
    }

    /// Adds what was counted, and leaves out keys that are gone. What was added; nothing if there was nothing.
    pub(super) fn add<'a>(
        &mut self,
        counters: impl Iterator<Item = (&'a str, &'a Arc<Counter>)>,
    ) -> Vec<(Arc<Counter>, Used)> {
        let counters: HashMap<&str, &Arc<Counter>> = counters.collect();
        self.keys.retain(|id, _| counters.contains_key(&**id));
        let mut added = Vec::new();
        for (id, counter) in counters {
            if counter.is_idle() {
                continue;
            }
            let used = counter.now();
            let all = self.of(id).and(used);
            let last = all.last.map(|at| at.as_secs());
            self.keys.insert(id.to_owned(), Line { last, calls: all.calls, failures: all.failures });
            added.push((Arc::clone(counter), used));
        }
        added
    }

    /// Takes note that what was added is written down.
    pub(super) fn written(added: Vec<(Arc<Counter>, Used)>) {
        for (counter, used) in added {
            counter.written(used);
        }
    }
}
