//! How many calls run at once.
//!
//! Owns [`Gate`]. The idea: a bounded number runs, a bounded number waits, the rest is told to come back; a call from
//! inside a tool does not wait behind its own caller.
//!
//! Must not: count anything per caller; that is `admit.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Config, Context};
use crate::error::{Error, Kind, Result};

pub(super) struct Gate {
    running: Semaphore,
    waiting: AtomicUsize,
    most_waiting: usize,
    longest: Duration,
}

/// Leaves the waiting room when it is dropped.
struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            running: Semaphore::new(config.at_once.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            most_waiting: config.waiting,
            longest: Duration::from_secs(config.longest_seconds),
        }
    }

    /// A place among those that run; none for a call from inside a tool, which runs in its caller's place.
    pub(super) async fn enter(&self, context: &Context) -> Result<Option<SemaphorePermit<'_>>> {
        if context.within.is_some() {
            return Ok(None);
        }
        if let Ok(place) = self.running.try_acquire() {
            return Ok(Some(place));
        }
        let busy = || {
            Error::new(Kind::RateLimited, "The server is busy with other calls; try again in a moment.")
                .with_retry_after(Duration::from_secs(1))
        };
        let seat = Seat(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most_waiting {
            return Err(busy());
        }
        let place = tokio::select! {
            place = self.running.acquire() => place.map_err(|_| busy())?,
            () = context.cancel.cancelled() => {
                return Err(Error::new(Kind::Cancelled, "The call was cancelled."));
            }
            () = tokio::time::sleep(self.longest) => return Err(busy()),
        };
        drop(seat);
        Ok(Some(place))
    }
}
