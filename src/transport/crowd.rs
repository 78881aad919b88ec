//! Places for connections.
//!
//! Owns [`Crowd`] and [`Place`]. The idea: connections are bounded, and who shows nothing that lets it in may use a place
//! only as long as nobody else needs it: when all are taken, the stranger who came first makes room. A connection that
//! had one exchange with a valid key keeps its place. Becoming known is one store; the list is touched once for each
//! connection.
//!
//! Must not: know what lets anybody in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long every stranger may stay, to say who it is.
const GRACE: Duration = Duration::from_secs(1);

/// All places.
pub(super) struct Crowd {
    most: usize,
    places: Arc<Semaphore>,
    strangers: Mutex<VecDeque<Weak<Place>>>,
}

/// The place of one connection.
pub(super) struct Place {
    known: AtomicBool,
    since: Instant,
    /// Fires when the connection has to end at once.
    pub(super) over: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Somebody was let in by this connection.
    pub(super) fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { most, places: Arc::new(Semaphore::new(most)), strangers: Mutex::default() }
    }

    /// A place, as soon as there is one; `over` ends all of them.
    pub(super) async fn enter(&self, over: &CancellationToken) -> Option<Arc<Place>> {
        loop {
            let free = Arc::clone(&self.places).acquire_owned();
            let wait = match Arc::clone(&self.places).try_acquire_owned() {
                Ok(permit) => return Some(self.seat(permit, over)),
                Err(_) => self.make_room(),
            };
            if let Ok(permit) = tokio::time::timeout(wait, free).await {
                return Some(self.seat(permit.ok()?, over));
            }
        }
    }

    fn seat(&self, permit: OwnedSemaphorePermit, over: &CancellationToken) -> Arc<Place> {
        let place = Arc::new(Place {
            known: AtomicBool::new(false),
            since: Instant::now(),
            over: over.child_token(),
            _permit: permit,
        });
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() >= self.most.saturating_mul(2) {
            strangers.retain(|one| one.upgrade().is_some_and(|one| !one.known.load(Ordering::Relaxed)));
        }
        strangers.push_back(Arc::downgrade(&place));
        place
    }

    /// Sends the first stranger away, if its time is up. How long to wait before it is worth asking again.
    fn make_room(&self) -> Duration {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = strangers.pop_front() {
            let Some(place) = first.upgrade().filter(|place| !place.known.load(Ordering::Relaxed)) else {
                continue;
            };
            let left = GRACE.saturating_sub(place.since.elapsed());
            if left.is_zero() {
                place.over.cancel();
                return GRACE;
            }
            strangers.push_front(first);
            return left;
        }
        GRACE
    }
}
