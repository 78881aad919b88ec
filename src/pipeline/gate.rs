//! How many calls run at once.
//!
//! Owns [`Gate`]. The idea: a bounded number runs, a bounded number waits, the rest is told to come back; of both, one
//! caller has at most its share, so that nobody can starve the others; a call from inside a tool does not wait behind
//! its own caller.
//!
//! Must not: count how often somebody calls; that is `admit.rs`.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{Config, Context};
use crate::error::{Error, Kind, Result};

/// Tables of callers, so that threads seldom meet at one.
const TABLES: usize = 16;
/// Callers in a table before those that do nothing are forgotten.
const REMEMBERED: usize = 256;

pub(super) struct Gate {
    running: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
    each: usize,
    each_waiting: usize,
    longest: Duration,
    hasher: std::hash::RandomState,
    callers: [Mutex<HashMap<Arc<str>, Arc<Caller>>>; TABLES],
}

/// What one caller has under way.
struct Caller {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Leaves the waiting room when it is dropped.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let seat = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(seat)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among those that run.
pub(super) struct Place<'a> {
    _own: OwnedSemaphorePermit,
    _all: SemaphorePermit<'a>,
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        let percent = usize::from(config.share_percent.clamp(1, 100));
        let share = |all: usize| all.saturating_mul(percent).div_ceil(100);
        let running = config.at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            running: Semaphore::new(running),
            waiting: AtomicUsize::new(0),
            most_waiting: config.waiting,
            each: share(running).max(1),
            each_waiting: share(config.waiting),
            longest: Duration::from_secs(config.longest_seconds),
            hasher: std::hash::RandomState::new(),
            callers: Default::default(),
        }
    }

    /// The same for calls that run as tasks.
    pub(super) fn for_tasks(config: &Config) -> Self {
        Self::new(&Config {
            at_once: config.tasks_at_once,
            longest_seconds: config.longest_task_seconds,
            ..config.clone()
        })
    }

    fn caller(&self, id: &Arc<str>) -> Arc<Caller> {
        let hash = self.hasher.hash_one(id);
        let table = &self.callers[usize::try_from(hash % TABLES as u64).unwrap_or_default()];
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = table.get(id) {
            return Arc::clone(caller);
        }
        if table.len() >= REMEMBERED {
            table.retain(|_, caller| Arc::strong_count(caller) > 1 || Arc::strong_count(&caller.running) > 1);
        }
        let caller =
            Arc::new(Caller { running: Arc::new(Semaphore::new(self.each)), waiting: AtomicUsize::new(0) });
        table.insert(Arc::clone(id), Arc::clone(&caller));
        caller
    }

    /// A place among those that run; none for a call from inside a tool, which runs in its caller's place.
    pub(super) async fn enter(&self, context: &Context) -> Result<Option<Place<'_>>> {
        if context.within.is_some() {
            return Ok(None);
        }
        let caller = self.caller(&context.principal.id);
        if let Ok(own) = Arc::clone(&caller.running).try_acquire_owned()
            && let Ok(all) = self.running.try_acquire()
        {
            return Ok(Some(Place { _own: own, _all: all }));
        }
        let busy = || {
            Error::new(Kind::RateLimited, "The server is busy with other calls; try again in a moment.")
                .with_retry_after(Duration::from_secs(1))
        };
        let _seat = Seat::take(&self.waiting, self.most_waiting).ok_or_else(busy)?;
        let _own_seat = Seat::take(&caller.waiting, self.each_waiting).ok_or_else(busy)?;
        let place = async {
            let own = Arc::clone(&caller.running).acquire_owned().await.ok()?;
            let all = self.running.acquire().await.ok()?;
            Some(Place { _own: own, _all: all })
        };
        tokio::select! {
            place = place => place.ok_or_else(busy).map(Some),
            () = context.cancel.cancelled() => Err(Error::new(Kind::Cancelled, "The call was cancelled.")),
            () = tokio::time::sleep(self.longest) => Err(busy()),
        }
    }
}
