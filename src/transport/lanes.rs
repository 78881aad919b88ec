//! Threads that connections run on.
//!
//! Owns [`Lanes`]: one runtime of one thread for each core. The idea: a call stays on the thread that read it, from the
//! first byte to the last, so that nothing on its way has to wake another thread; a connection is given to the lane
//! that has the fewest.
//!
//! Must not: know what a connection says.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind, Result};

/// Threads for connections. They end when this is dropped.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    _end: DropGuard,
}

struct Lane {
    handle: Handle,
    busy: Arc<AtomicUsize>,
}

impl Lanes {
    /// One lane for each core.
    ///
    /// # Errors
    /// `Internal`, if the operating system gives no threads.
    pub(super) fn start() -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let end = CancellationToken::new();
        let lanes = (0..cores).map(|_| Lane::start(end.clone())).collect::<Result<_>>()?;
        Ok(Self { lanes, _end: end.drop_guard() })
    }

    /// Runs what `make` makes on the lane that has the fewest connections. It is called there, so that what it opens
    /// belongs to that lane.
    pub(super) fn spawn<F>(&self, tracker: &TaskTracker, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let Some(lane) = self.lanes.iter().min_by_key(|lane| lane.busy.load(Ordering::Relaxed)) else {
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
    fn start(end: CancellationToken) -> Result<Self> {
        let no_thread = |error| {
            Error::new(Kind::Internal, "The operating system gave no threads to run on.").with_source(error)
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let named = thread::Builder::new().name("bartizan-lane".to_owned());
        named
            .spawn(move || {
                runtime.block_on(end.cancelled());
                // Whatever still blocks is not waited for.
                runtime.shutdown_background();
            })
            .map_err(no_thread)?;
        Ok(Self { handle, busy: Arc::default() })
    }
}
