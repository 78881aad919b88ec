//! How much each caller may do.
//!
//! Owns [`Limiter`], its [`Config`] and the [`Store`] port. The idea: one bucket per principal and class of tool
//! (read, write, destroy), and where the configuration says so (`budgets.rs`) one per tool, one for a day and one for all
//! callers together; the arithmetic of all is in `gcra.rs`, the buckets are in `memory.rs`, in a file that the processes of
//! one state directory share (`ledger.rs`), in the store that instances share (`shared.rs`), or behind any other
//! [`Store`]. A store that fails never means no limit: the configuration says whether this process then counts by itself
//! or refuses. Whatever a store says, this process never lets more through than the quota by its own count, so a store
//! that forgot gives nobody a second burst here. How many bytes large bodies and answers may take, and how much of that one
//! caller, is `shares.rs` and `room.rs`.
//!
//! Must not: know what a tool is.

mod budgets;
pub mod fair;
mod gcra;
mod ledger;
mod memory;
mod refusals;
pub mod room;
mod shared;
mod shares;
mod spent;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use budgets::Budgets;
pub use budgets::{Daily, ToolQuota};
pub use gcra::{Decision, Quota, decide};
use memory::{CLASSES, Memory};
use refusals::Refusals;
pub use refusals::Tally;
pub use shares::Shares;
pub use spent::Gone;
use spent::Spent;

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::state::{Shared, StateDir};

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
    /// On top, for tools by name; a trailing `*` stands for any ending, and each name or pattern that fits counts.
    pub tools: BTreeMap<String, ToolQuota>,
    /// On top, for the calls of a caller in any 24 hours.
    pub daily: Option<Daily>,
    /// On top, for the calls of all callers together.
    pub global: Option<Quota>,
    /// How often a caller may be refused for any of these one by one, each with its lines in the audit. Who goes on far
    /// beyond is turned away over HTTP before anything is looked at.
    pub refusals: Quota,
    /// How many principals are remembered at once.
    pub most_principals: usize,
    /// What happens when calls cannot be counted together with other instances or processes.
    pub on_outage: Outage,
}

/// What happens when a shared store cannot be reached. "No limit" is not a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// This process counts by itself until the store is back.
    Local,
    /// This process counts reads by itself until the store is back; every other call is refused.
    Reads,
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
            tools: BTreeMap::new(),
            daily: None,
            global: None,
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

/// A bucket in this process.
#[derive(Clone, Copy)]
struct Own<'a> {
    memory: &'a Memory,
    key: &'a str,
    index: usize,
}

impl Own<'_> {
    fn take(self, quota: Quota, cost: u32, now: Duration) -> Decision {
        self.memory.take(self.key, self.index, quota, cost, now)
    }
}

/// Counts calls per principal and class.
pub struct Limiter {
    quotas: [Quota; CLASSES],
    refusals: Quota,
    refused: Arc<Refusals>,
    tally: Tally,
    memory: Arc<Memory>,
    budgets: Budgets,
    spent: Arc<Spent>,
    /// Where reads are counted, and where all else is, if not in this process alone.
    shared: [Option<Arc<dyn Store>>; 2],
    /// The store that instances share, if that is where.
    instances: Option<Arc<Shared>>,
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
            tally: Tally::default(),
            memory: Arc::new(Memory::new(config.most_principals)),
            budgets: Budgets::new(config),
            spent: Arc::new(Spent::new(config.most_principals)),
            shared: [None, None],
            instances: None,
            on_outage: config.on_outage,
            clock,
        }
    }

    /// The same limiter with other quotas: what was counted stays counted.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Self {
        self.memory.resize(config.most_principals);
        self.refused.resize(config.most_principals);
        self.spent.resize(config.most_principals);
        Self {
            quotas: [config.read, config.write, config.destroy],
            refusals: config.refusals,
            refused: Arc::clone(&self.refused),
            tally: self.tally.clone(),
            memory: Arc::clone(&self.memory),
            budgets: self.budgets.renewed(config),
            spent: Arc::clone(&self.spent),
            shared: self.shared.clone(),
            instances: self.instances.clone(),
            on_outage: config.on_outage,
            clock: Arc::clone(&self.clock),
        }
    }

    /// A limiter that counts in a shared store.
    pub fn shared(config: &Config, clock: SharedClock, store: Arc<dyn Store>) -> Self {
        Self { shared: [Some(Arc::clone(&store)), Some(store)], ..Self::new(config, clock) }
    }

    /// A limiter whose calls count together with those of all instances that share a store. Reads are taken from it some
    /// at a time, because there are many; everything else is asked for each time.
    pub fn instances(config: &Config, clock: SharedClock, store: &Arc<Shared>) -> Self {
        let reads = shared::Leased::new(Arc::clone(store));
        let others = shared::Buckets::new(Arc::clone(store));
        Self {
            shared: [Some(Arc::new(reads)), Some(Arc::new(others))],
            instances: Some(Arc::clone(store)),
            ..Self::new(config, clock)
        }
    }

    /// A limiter whose writes and destroys count together with those of all processes of this state directory; reads are
    /// counted in this process, because there are many and each costs next to nothing.
    pub fn across(config: &Config, clock: SharedClock, state: StateDir) -> Self {
        Self { shared: [None, Some(Arc::new(ledger::Ledger::new(state)))], ..Self::new(config, clock) }
    }

    /// Where the bucket of a class is, if not in this process.
    fn elsewhere(&self, index: usize) -> Option<&Arc<dyn Store>> {
        self.shared[usize::from(index != READ)].as_ref()
    }

    /// Takes `cost` calls of `class` (`read`, `write` or `destroy`; anything else counts as `write`).
    ///
    /// Over quota is a `RateLimited` error that says when to come back.
    pub async fn take(&self, principal: &str, class: &'static str, cost: u32) -> Result<Decision> {
        let index = index(class);
        let quota = self.quotas[index];
        let own = Own { memory: &self.memory, key: principal, index };
        let decision = match self.elsewhere(index) {
            None => own.take(quota, cost, self.clock.monotonic()),
            Some(store) => {
                self.ask(&**store, &format!("{class}:{principal}"), (quota, cost), own, index == READ).await?
            }
        };
        match decision {
            Decision::Allowed { .. } => Ok(decision),
            Decision::Refused { retry_after } => {
                self.refused.count(principal, self.refusals, self.clock.monotonic());
                self.tally.count(class);
                self.note_exhaustion(principal);
                Err(refusal(class, quota, cost, retry_after))
            }
        }
    }

    /// Asks a store, and this process's own count, which is never higher than everybody's unless the store has forgotten.
    /// Where it cannot be asked, what the configuration says.
    async fn ask(
        &self,
        store: &dyn Store,
        key: &str,
        (quota, cost): (Quota, u32),
        own: Own<'_>,
        reads: bool,
    ) -> Result<Decision> {
        let now = self.clock.monotonic();
        match store.take(key, quota, cost, self.clock.wall()).await {
            Ok(Decision::Allowed { left }) => Ok(match own.take(quota, cost, now) {
                Decision::Allowed { left: most } => Decision::Allowed { left: left.min(most) },
                refused @ Decision::Refused { .. } => refused,
            }),
            Ok(refused) => Ok(refused),
            Err(_) if self.counts_alone(reads) => Ok(own.take(quota, cost, now)),
            Err(cause) => {
                let said = "The store that counts calls cannot be reached, so no call of this kind is let through; try \
                            again later.";
                self.tally.count("store");
                let wait = cause.retry_after().unwrap_or(Duration::from_secs(1));
                Err(Error::new(Kind::RateLimited, said).with_retry_after(wait).with_source(cause))
            }
        }
    }

    /// Whether this process counts by itself while the store is away.
    fn counts_alone(&self, reads: bool) -> bool {
        match self.on_outage {
            Outage::Local => true,
            Outage::Reads => reads,
            Outage::Refuse => false,
        }
    }

    /// Takes one call: of its class, and of each further budget that the configuration has. `tool` is none where the
    /// caller may not learn that there is such a tool.
    pub async fn admit(&self, principal: &str, tool: Option<&str>, class: &'static str) -> Result<()> {
        self.take(principal, class, 1).await?;
        for wanted in self.budgets.wants(principal, tool, class) {
            let decision = match self.elsewhere(if wanted.lasts { WRITE } else { index(class) }) {
                None => self.budgets.own(&wanted).take(wanted.quota, wanted.cost, self.clock.monotonic()),
                Some(store) => {
                    let own = self.budgets.own(&wanted);
                    self.ask(&**store, &wanted.key, (wanted.quota, wanted.cost), own, class == "read").await?
                }
            };
            if let Decision::Refused { retry_after } = decision {
                let now = self.clock.monotonic();
                self.refused.count(principal, self.refusals, now);
                self.tally.count(wanted.name());
                if let Some(wait) = retry_after.filter(|_| wanted.is_all) {
                    self.spent.note(principal, Gone { name: "daily", quota: wanted.quota, after: wait }, now);
                }
                return Err(wanted.refusal(retry_after));
            }
        }
        Ok(())
    }

    /// Whether nothing whatever is let through for a principal, as far as a refusal has shown; asking costs next to
    /// nothing while nobody is.
    pub fn gone(&self, principal: &str) -> Option<Gone> {
        self.spent.of(principal, self.clock.monotonic())
    }

    /// Remembers a principal whose classes are all empty at once.
    fn note_exhaustion(&self, principal: &str) {
        let now = self.clock.monotonic();
        let mut soonest: Option<Gone> = None;
        for (class, quota) in CLASS_NAMES.into_iter().zip(self.quotas) {
            if self.left(principal, class) > 0 {
                return;
            }
            let told = self.told(principal, class);
            let decision = match told {
                Some(full_at) => decide(full_at, quota, 1, self.clock.wall()).0,
                None => decide(self.memory.full_at(principal, index(class)), quota, 1, now).0,
            };
            let Decision::Refused { retry_after } = decision else { return };
            if let Some(after) = retry_after
                && soonest.as_ref().is_none_or(|known| after < known.after)
            {
                soonest = Some(Gone { name: class, quota, after });
            }
        }
        if let Some(gone) = soonest {
            self.spent.note(principal, gone, now);
        }
    }

    /// When, in wall time, a bucket is full again that is elsewhere, where that can be told.
    fn told(&self, principal: &str, class: &'static str) -> Option<Duration> {
        self.elsewhere(index(class)).and_then(|store| store.full_at(&format!("{class}:{principal}")))
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
                self.tally.count("size");
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
        if let Some(full_at) = self.told(principal, class) {
            return self.quotas[index].left(full_at, self.clock.wall());
        }
        self.quotas[index].left(self.memory.full_at(principal, index), self.clock.monotonic())
    }

    /// How often each limit refused, counted from the start on.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether every call is refused just now, because the store that instances share is away.
    pub fn is_cut_off(&self) -> bool {
        self.on_outage == Outage::Refuse
            && self.instances.as_ref().is_some_and(|shared| shared.problem().is_some())
    }

    /// The quota of `class`.
    pub fn quota(&self, class: &'static str) -> Quota {
        self.quotas[index(class)]
    }
}

/// The index of reads.
const READ: usize = 0;
/// The index of writes.
const WRITE: usize = 1;
/// The classes by index.
const CLASS_NAMES: [&str; CLASSES] = ["read", "write", "destroy"];

fn index(class: &str) -> usize {
    match class {
        "read" => READ,
        "destroy" => 2,
        _ => WRITE,
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
