//! Threads that connections run on.
//!
//! Owns [`Lanes`]: one runtime of one thread for each core. The idea: a call stays on the thread that read it, from the
//! first byte to the last, so that nothing on its way has to wake another thread; a connection is given to the lane
//! that has the fewest. The lanes are the process's: what a call leaves behind (a task, a pooled upstream connection)
//! outlives the endpoint that it came in by.
//!
//! Must not: know what a connection says.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind, Result};

/// A runtime that is about to sleep until its next timer is woken, by a write to a descriptor, for each new timer that is
/// due sooner. Every request sets timers; there is always one that is due sooner than they are.
const TICK: Duration = Duration::from_millis(500);

/// Threads for connections.
pub(super) struct Lanes(Vec<Lane>);

struct Lane {
    handle: Handle,
    busy: Arc<AtomicUsize>,
}

impl Lanes {
    /// The lanes of this process, one for each core; started when they are first needed.
    ///
    /// # Errors
    /// `Internal`, if the operating system gives no threads.
    pub(super) fn shared() -> Result<&'static Self> {
        static LANES: Mutex<Option<&'static Lanes>> = Mutex::new(None);
        let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(started) = *lanes {
            return Ok(started);
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let started: Vec<Lane> = (0..cores).map(|_| Lane::start()).collect::<Result<_>>()?;
        Ok(lanes.insert(Box::leak(Box::new(Self(started)))))
    }

    /// Runs what `make` makes on the lane that has the fewest connections. It is called there, so that what it opens
    /// belongs to that lane.
    pub(super) fn spawn<F>(&self, tracker: &TaskTracker, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let Some(lane) = self.0.iter().min_by_key(|lane| lane.busy.load(Ordering::Relaxed)) else {
            return;
        };
        lane.busy.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&lane.busy));
        tracker.spawn_on(
            async move {
                make().await;
                drop(place);
            },
            &lane.handle,
        );
    }
}

/// A connection's place on its lane.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    fn start() -> Result<Self> {
        let no_thread = |error| {
            Error::new(Kind::Internal, "The operating system gave no threads to run on.").with_source(error)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let named = thread::Builder::new().name("bartizan-lane".to_owned());
        let ticking = async {
            loop {
                tokio::time::sleep(TICK).await;
            }
        };
        named.spawn(move || runtime.block_on(ticking)).map_err(no_thread)?;
        Ok(Self { handle, busy: Arc::default() })
    }
}
