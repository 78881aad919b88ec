//! How much room large answers have.
//!
//! Owns [`during`], [`take`] and [`work`]. The idea: what a call reads of large answers takes its bytes from a room that
//! all calls of this process share and of which each caller has at most half, until the call is over and nobody works for
//! it any more; the work itself is done on threads of its own, as many at once as there are cores, so that it holds up
//! nobody's connection. A call that is alone always has room: how large one may be, others say. What is small pays nothing.
//!
//! Must not: know what an answer says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Shares;
use crate::error::{Error, Kind, Result};

/// Bytes from which on an answer is large.
pub const LARGE: usize = 256 << 10;
/// Bytes of all calls together; of them, one caller has half.
const MOST: usize = 256 << 20;

/// What is taken, and the threads that work.
struct Room {
    shares: Shares,
    threads: Arc<Semaphore>,
}

static ROOM: LazyLock<Room> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Room { shares: Shares::new(MOST, MOST / 2), threads: Arc::new(Semaphore::new(cores)) }
});

/// What one call has taken.
struct Held {
    who: Arc<str>,
    bytes: AtomicUsize,
}

tokio::task_local! {
    static HELD: Arc<Held>;
}

impl Held {
    /// Takes so many more; false if there is no room for them beside what others have.
    fn grow(&self, more: usize) -> bool {
        let fits = ROOM.shares.take(&self.who, self.bytes.load(Ordering::Relaxed), more);
        if fits {
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ROOM.shares.give(&self.who, *self.bytes.get_mut());
    }
}

/// Runs a call of `who`; what is taken meanwhile is given back after it.
pub async fn during<T>(who: &Arc<str>, call: impl Future<Output = T>) -> T {
    HELD.scope(Arc::new(Held { who: Arc::clone(who), bytes: AtomicUsize::new(0) }), call).await
}

/// Takes room for the call that runs. Outside of a call there is always room.
pub fn take(bytes: usize) -> Result<()> {
    if HELD.try_with(|held| held.grow(bytes)).unwrap_or(true) {
        return Ok(());
    }
    let message = "There is no room for this answer beside other large ones at the moment; try again soon, or ask for \
                   less of it.";
    Err(Error::new(Kind::UpstreamFailed, message).with_retry_after(Duration::from_secs(1)))
}

/// Bytes that the call that runs has taken.
pub fn taken() -> usize {
    HELD.try_with(|held| held.bytes.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Works on something of that size: at once if it is small, else on a thread, when it is its turn. Who stops waiting stops
/// nothing, but what is worked on keeps its room.
pub async fn work<T: Send + 'static>(size: usize, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if size < LARGE {
        return Ok(job());
    }
    let failed = || Error::new(Kind::Internal, "The server failed to read a large answer.");
    let turn = Arc::clone(&ROOM.threads).acquire_owned().await.map_err(|_| failed())?;
    let held = HELD.try_with(Arc::clone).ok();
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match held {
            Some(held) => HELD.sync_scope(held, job),
            None => job(),
        }
    });
    done.await.map_err(|cause| failed().with_source(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn a_caller_has_half_of_the_room_a_call_that_is_alone_has_all_and_all_is_given_back() {
        let (anna, bert) = (who("room-anna"), who("room-bert"));
        let by = |who: &Arc<str>| ROOM.shares.of(who);
        during(&anna, async {
            take(MOST / 2).unwrap();
            let refused = during(&anna, async { take(1) }).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::UpstreamFailed);
            assert!(refused.retry_after().is_some());
            during(&bert, async { take(MOST / 4) }).await.unwrap();
            assert_eq!(by(&bert), None);
            assert_eq!((taken(), by(&anna)), (MOST / 2, Some(MOST / 2)));
        })
        .await;
        assert_eq!(by(&anna), None);
        take(usize::MAX).unwrap();
    }

    #[tokio::test]
    async fn what_is_worked_on_keeps_its_room_when_nobody_waits_any_more() {
        let carl = who("room-carl");
        let by = || ROOM.shares.of("room-carl");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let call = during(&carl, async {
            take(100).unwrap();
            let job = work(LARGE, move || {
                let _ = begun.send(());
                wait.recv().unwrap();
                take(11).is_ok()
            });
            tokio::select! {
                _ = job => unreachable!("it waits"),
                begun = begins => begun.unwrap(),
            }
        });
        tokio::time::timeout(Duration::from_secs(30), call).await.unwrap();
        assert_eq!(by(), Some(100));
        go.send(()).unwrap();
        let gone = async {
            while by().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    }
}
