//! How much each caller may do.
//!
//! Owns [`Limiter`], its [`Config`] and the [`Store`] port. The idea: one bucket per principal and class of tool
//! (read, write, destroy); the arithmetic is in `gcra.rs`, the buckets are in `memory.rs`, in a file that the processes
//! of one state directory share (`ledger.rs`) or, when several instances share a quota, behind any other [`Store`]. A store that fails never means no limit: the configuration says whether this
//! process then counts by itself or refuses.
//!
//! Must not: know what a tool is.

pub mod fair;
mod gcra;
mod ledger;
mod memory;
mod refusals;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use gcra::{Decision, Quota, decide};
use memory::{CLASSES, Memory};
use refusals::Refusals;

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::state::StateDir;

/// The `[limits]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For calls that change nothing.
    pub read: Quota,
    /// For calls that change something.
    pub write: Quota,
    /// For calls that remove something.
    pub destroy: Quota,
    /// How often a caller may be refused for any of these one by one, each with its lines in the audit. Who goes on far
    /// beyond is turned away over HTTP before anything is looked at.
    pub refusals: Quota,
    /// How many principals are remembered at once.
    pub most_principals: usize,
    /// What happens when a shared store cannot be reached.
    pub on_outage: Outage,
}

/// What happens when a shared store cannot be reached. "No limit" is not a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// This process counts by itself until the store is back.
    Local,
    /// Every call is refused until the store is back.
    #[default]
    Refuse,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read: Quota::new(6000, 1000),
            write: Quota::new(60, 10),
            destroy: Quota::new(60, 10),
            refusals: Quota::new(600, 100),
            most_principals: 10_000,
            on_outage: Outage::default(),
        }
    }
}

/// Buckets that several processes share.
pub trait Store: Send + Sync + 'static {
    /// Takes `cost` from the bucket of `key` at wall time `now`; an error means that the store cannot be asked.
    fn take<'a>(
        &'a self,
        key: &'a str,
        quota: Quota,
        cost: u32,
        now: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Decision>> + Send + 'a>>;

    /// When, in wall time, the bucket of `key` is full again, where that can be told without waiting.
    fn full_at(&self, _key: &str) -> Option<Duration> {
        None
    }
}

/// Counts calls per principal and class.
pub struct Limiter {
    quotas: [Quota; CLASSES],
    refusals: Quota,
    refused: Arc<Refusals>,
    memory: Arc<Memory>,
    shared: Option<Arc<dyn Store>>,
    /// Whether reads are counted in this process all the same.
    own_reads: bool,
    on_outage: Outage,
    clock: SharedClock,
}

impl Limiter {
    /// A limiter that counts in this process.
    pub fn new(config: &Config, clock: SharedClock) -> Self {
        Self {
            quotas: [config.read, config.write, config.destroy],
            refusals: config.refusals,
            refused: Arc::new(Refusals::new(config.most_principals)),
            memory: Arc::new(Memory::new(config.most_principals)),
            shared: None,
            own_reads: false,
            on_outage: config.on_outage,
            clock,
        }
    }

    /// The same limiter with other quotas: what was counted stays counted.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Self {
        self.memory.resize(config.most_principals);
        self.refused.resize(config.most_principals);
        Self {
            quotas: [config.read, config.write, config.destroy],
            refusals: config.refusals,
            refused: Arc::clone(&self.refused),
            memory: Arc::clone(&self.memory),
            shared: self.shared.clone(),
            own_reads: self.own_reads,
            on_outage: config.on_outage,
            clock: Arc::clone(&self.clock),
        }
    }

    /// A limiter that counts in a shared store.
    pub fn shared(config: &Config, clock: SharedClock, store: Arc<dyn Store>) -> Self {
        Self { shared: Some(store), ..Self::new(config, clock) }
    }

    /// A limiter whose writes and destroys count together with those of all processes of this state directory; reads are
    /// counted in this process, because there are many and each costs next to nothing.
    pub fn across(config: &Config, clock: SharedClock, state: StateDir) -> Self {
        Self { own_reads: true, ..Self::shared(config, clock, Arc::new(ledger::Ledger::new(state))) }
    }

    /// Where the bucket of a class is, if not in this process.
    fn elsewhere(&self, index: usize) -> Option<&Arc<dyn Store>> {
        self.shared.as_ref().filter(|_| index != READ || !self.own_reads)
    }

    /// Takes `cost` calls of `class` (`read`, `write` or `destroy`; anything else counts as `write`).
    ///
    /// Over quota is a `RateLimited` error that says when to come back.
    pub async fn take(&self, principal: &str, class: &'static str, cost: u32) -> Result<Decision> {
        let index = index(class);
        let quota = self.quotas[index];
        let decision = match self.elsewhere(index) {
            None => self.memory.take(principal, index, quota, cost, self.clock.monotonic()),
            Some(store) => {
                let key = format!("{class}:{principal}");
                match (store.take(&key, quota, cost, self.clock.wall()).await, self.on_outage) {
                    (Ok(decision), _) => decision,
                    (Err(_), Outage::Local) => {
                        self.memory.take(principal, index, quota, cost, self.clock.monotonic())
                    }
                    (Err(cause), Outage::Refuse) => {
                        return Err(Error::new(
                            Kind::RateLimited,
                            "The store that counts calls cannot be reached, so no call is let through; try again later.",
                        )
                        .with_source(cause));
                    }
                }
            }
        };
        match decision {
            Decision::Allowed { .. } => Ok(decision),
            Decision::Refused { retry_after } => {
                self.refused.count(principal, self.refusals, self.clock.monotonic());
                Err(refusal(class, quota, cost, retry_after))
            }
        }
    }

    /// Takes reads, counted in this process, for work that has to be done before it is known to be a call at all. How
    /// long to wait, where that is too much; where reads are not let through at all, nothing is counted.
    pub fn weigh(&self, principal: &str, reads: u32) -> Option<Duration> {
        let (quota, now) = (self.quotas[READ], self.clock.monotonic());
        if quota.per_minute == 0 || quota.burst == 0 {
            return None;
        }
        match self.memory.take(principal, READ, quota, reads.min(quota.burst), now) {
            Decision::Allowed { .. } => None,
            Decision::Refused { retry_after } => {
                self.refused.count(principal, self.refusals, now);
                Some(retry_after.unwrap_or(Duration::from_mins(1)))
            }
        }
    }

    /// How long a principal that was refused far too often is not even listened to; none for everybody else.
    pub fn held(&self, principal: &str) -> Option<Duration> {
        self.refused.held(principal, self.refusals, self.clock.monotonic())
    }

    /// How many calls of `class` the principal would be let make right now.
    pub fn left(&self, principal: &str, class: &'static str) -> u32 {
        let index = index(class);
        let told = self.elsewhere(index).and_then(|store| store.full_at(&format!("{class}:{principal}")));
        if let Some(full_at) = told {
            return self.quotas[index].left(full_at, self.clock.wall());
        }
        self.quotas[index].left(self.memory.full_at(principal, index), self.clock.monotonic())
    }

    /// The quota of `class`.
    pub fn quota(&self, class: &'static str) -> Quota {
        self.quotas[index(class)]
    }
}

/// The index of reads.
const READ: usize = 0;

fn index(class: &str) -> usize {
    match class {
        "read" => READ,
        "destroy" => 2,
        _ => 1,
    }
}

fn refusal(class: &'static str, quota: Quota, cost: u32, retry_after: Option<Duration>) -> Error {
    let Some(wait) = retry_after else {
        return Error::new(
            Kind::RateLimited,
            if quota.per_minute == 0 || quota.burst == 0 {
                format!(
                    "The quota for {class} calls is zero, so none can be made; an operator can raise [limits] {class}."
                )
            } else {
                format!(
                    "This needs {cost} {class} calls at once and the quota allows {}; ask for less.",
                    quota.burst
                )
            },
        );
    };
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let unit = if seconds == 1 { "second" } else { "seconds" };
    Error::new(
        Kind::RateLimited,
        format!(
            "Too many {class} calls: the quota is {} a minute, at most {} at once. Try again in {seconds} {unit}.",
            quota.per_minute, quota.burst
        ),
    )
    .with_retry_after(wait)
}
