//! The keys of one issuer, as long as they hold.
//!
//! Owns [`Keys`]. The idea: requests read a set that is there; whoever finds it missing or too old starts the one fetch
//! that all others join, and a key id nobody has seen starts one only every so often. When the issuer cannot be
//! reached, the keys it had serve on for a bounded time, and no longer.
//!
//! Must not: hold a lock across an await, or let a caller who goes away end a fetch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use super::jwk::Key;
use super::jws::Jws;
use super::source::Source;
use crate::clock::SharedClock;

/// Keys that are tried for a token which names none.
const TRIED: usize = 16;

/// Times that bound what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Between two fetches because of an unknown key id.
    pub(super) refresh: Duration,
    /// When keys are fetched again.
    pub(super) max_age: Duration,
    /// How long they serve on after that.
    pub(super) stale: Duration,
}

/// Keys that were published together.
pub(super) struct KeySet {
    keys: Vec<Key>,
    fetched: Duration,
}

/// What a set says about a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// The key of this thumbprint signed it.
    By(String),
    /// A key that it names did not sign it.
    Not,
    /// No key of the set is the one.
    Unknown,
}

impl KeySet {
    /// Who signed it?
    pub(super) fn check(&self, token: &Jws<'_>) -> Signed {
        let named = token.head("kid");
        let fits = |key: &&Key| key.is_for(token.algorithm);
        let mut candidates: Vec<&Key> = self
            .keys
            .iter()
            .filter(|key| named.is_none() || key.id.as_deref() == named)
            .filter(fits)
            .collect();
        let certain = named.is_some() && !candidates.is_empty();
        if candidates.is_empty() {
            // a set that gives its keys no names
            candidates = self.keys.iter().filter(|key| key.id.is_none()).filter(fits).collect();
        }
        match candidates.into_iter().take(TRIED).find(|key| token.is_signed_by(key)) {
            Some(key) => Signed::By(key.thumbprint.clone()),
            None if certain => Signed::Not,
            None => Signed::Unknown,
        }
    }

    /// Whether a key is still among them.
    pub(super) fn has(&self, thumbprint: &str) -> bool {
        self.keys.iter().any(|key| key.thumbprint == thumbprint)
    }
}

/// The keys of one issuer.
pub(super) struct Keys {
    source: Source,
    times: Times,
    clock: SharedClock,
    set: ArcSwapOption<KeySet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Shared<BoxFuture<'static, ()>>>,
    /// When the last fetch began.
    tried: Option<Duration>,
    /// Fetches in a row that brought nothing.
    failures: u32,
}

/// No keys, and for how long to stay away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unavailable(pub(super) Duration);

impl Keys {
    pub(super) fn new(source: Source, times: Times, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { source, times, clock, set: ArcSwapOption::empty(), state: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys that hold now. If they should be newer, somebody sees to that meanwhile.
    pub(super) fn now(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let set = self.set.load_full()?;
        let age = self.clock.monotonic().saturating_sub(set.fetched);
        if age >= self.times.max_age {
            let _ = self.fetch(false);
        }
        (age < self.times.max_age + self.times.stale).then_some(set)
    }

    /// Whether a key still holds.
    pub(super) fn holds(self: &Arc<Self>, thumbprint: &str) -> bool {
        self.now().is_some_and(|set| set.has(thumbprint))
    }

    /// Keys that may know a token which those that hold do not, or which there were none for; as fresh as can be had.
    pub(super) async fn newer(self: &Arc<Self>) -> Result<Arc<KeySet>, Unavailable> {
        let known = self.now();
        match self.fetch(known.is_some()) {
            Ok(running) => running.await,
            Err(wait) => return known.ok_or(Unavailable(wait)),
        }
        let wait = self.pause(&self.lock());
        self.now().ok_or(Unavailable(wait))
    }

    /// How long after a fetch the next may begin.
    fn pause(&self, state: &State) -> Duration {
        match state.failures {
            0 => self.times.refresh,
            failures => Duration::from_secs(1 << failures.min(8)).min(self.times.refresh),
        }
    }

    /// The fetch that runs, or a new one; else how long until there may be one. `unknown` says that there are keys, and
    /// that somebody claims that there are others.
    fn fetch(self: &Arc<Self>, unknown: bool) -> Result<Shared<BoxFuture<'static, ()>>, Duration> {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        if let Some(running) = &state.running {
            return Ok(running.clone());
        }
        let pause = if unknown { self.times.refresh } else { self.pause(&state) };
        let next = state.tried.map_or(now, |tried| tried + pause);
        if next > now {
            return Err(next.saturating_sub(now));
        }
        let Ok(runtime) = Handle::try_current() else { return Err(self.times.refresh) };
        state.tried = Some(now);
        let (this, after) = (Arc::clone(self), Arc::downgrade(self));
        let task = runtime.spawn(async move { this.renew().await });
        let running = async move {
            // it died with the runtime it ran in: the next one may try
            if task.await.is_err()
                && let Some(keys) = after.upgrade()
            {
                keys.lock().running = None;
            }
        };
        let running = running.boxed().shared();
        state.running = Some(running.clone());
        Ok(running)
    }

    async fn renew(&self) {
        let fetched = self.source.fetch().await;
        let now = self.clock.monotonic();
        let failed = match fetched {
            Ok(keys) => {
                self.set.store(Some(Arc::new(KeySet { keys, fetched: now })));
                false
            }
            Err(error) => {
                tracing::warn!(reason = error.message(), "the keys of an issuer could not be fetched");
                true
            }
        };
        let mut state = self.lock();
        state.running = None;
        state.failures = if failed { state.failures.saturating_add(1) } else { 0 };
    }
}
