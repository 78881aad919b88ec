//! Time, injected.
//!
//! Owns the [`Clock`] port, the system clock and the clock that tests wind by hand. The idea: nothing else in the
//! crate asks the operating system what time it is, so every expiry can be tested without sleeping.
//!
//! Must not: sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time, twice: wall time for people and expiry, monotonic time for intervals.
pub trait Clock: Send + Sync + 'static {
    /// Wall time since the Unix epoch.
    fn wall(&self) -> Duration;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// A clock, shared.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The system clock, shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall` since the epoch.
    pub fn at(wall: Duration) -> Arc<Self> {
        let clock = Self::default();
        clock.advance(wall);
        Arc::new(clock)
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.wall()
    }
}

/// Wall time as RFC 3339 text in UTC with milliseconds, as audit lines carry it.
pub fn rfc3339(wall: Duration) -> String {
    let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| String::from("9999-12-31T23:59:59.999Z"), |time| format!("{time:.3}"))
}
