//! Many callers, few writers.
//!
//! Owns [`Queue`]. The idea: a caller leaves its line and waits; whoever finds nobody writing writes everything that
//! is queued, in one go, and tells all of them. Under load that writer first lets the other tasks run that are ready,
//! so that many lines share one lock and one write; a caller alone writes at once. Each thread has a queue of its own,
//! because to wake a caller on another thread costs more than a write.
//!
//! Must not: tell anybody that a line is written before it is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::oneshot;

use super::copies::Copies;
use super::file::File;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};

/// How often a writer lets others go first.
const MOST_TURNS: usize = 6;
/// Most queues; more threads than that share.
const MOST_QUEUES: usize = 16;

/// The queue of this thread, of so many.
fn mine(queues: usize) -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    THREAD.with(|thread| thread % queues.max(1))
}

/// Lines on their way into a file.
pub(super) struct Queue {
    waiting: Vec<Mutex<Waiting>>,
    file: Mutex<File>,
    clock: SharedClock,
    /// Who gets copies of what is written.
    pub(super) copies: Copies,
    /// Calls that have begun and not ended.
    pub(super) running: AtomicUsize,
    blocking: bool,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Pending>,
    somebody_writes: bool,
}

struct Pending {
    members: String,
    written: Option<oneshot::Sender<bool>>,
}

impl Queue {
    pub(super) fn new(file: File, clock: SharedClock, blocking: bool) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            waiting: (0..cores.min(MOST_QUEUES)).map(|_| Mutex::default()).collect(),
            file: Mutex::new(file),
            clock,
            copies: Copies::default(),
            running: AtomicUsize::new(0),
            blocking,
        })
    }

    /// Returns when the line is written.
    pub(super) async fn append(self: &Arc<Self>, members: String) -> Result<()> {
        let (sender, written) = oneshot::channel();
        if let Some(writer) = self.push(members, Some(sender)) {
            if self.blocking && tokio::runtime::Handle::try_current().is_ok() {
                drop(tokio::task::spawn_blocking(move || drop(writer)));
            } else {
                // Dropped while it gathers, the writer writes at once.
                self.gather(writer.queue).await;
                drop(writer);
            }
        }
        match written.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(refused()),
        }
    }

    /// Leaves a line and does not wait; for a caller that has gone.
    pub(super) fn leave(self: &Arc<Self>, members: String) {
        drop(self.push(members, None));
    }

    /// Writes what is queued and a checkpoint.
    pub(super) fn close(&self) {
        for queue in 0..self.waiting.len() {
            self.drain(queue);
        }
        let mut file = self.file();
        if file.checkpoint(self.clock.wall()).is_ok() {
            self.copies.written(file.written());
        } else {
            tracing::error!("the last audit checkpoint could not be written");
        }
    }

    /// Queues a line. If nobody writes, the caller does: by dropping what it gets.
    fn push(self: &Arc<Self>, members: String, written: Option<oneshot::Sender<bool>>) -> Option<Writer> {
        let queue = mine(self.waiting.len());
        let mut waiting = self.waiting(queue);
        waiting.lines.push_back(Pending { members, written });
        let somebody_writes = std::mem::replace(&mut waiting.somebody_writes, true);
        (!somebody_writes).then(|| Writer { all: Arc::clone(self), queue })
    }

    /// Lets others leave their lines first, as long as more come and not every call that runs is waiting already.
    async fn gather(&self, queue: usize) {
        let mut queued = 0;
        for _ in 0..MOST_TURNS {
            if self.running.load(Ordering::Relaxed) <= 1 {
                return;
            }
            tokio::task::yield_now().await;
            let now = self.waiting(queue).lines.len();
            let free = !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock));
            if now == queued && free {
                return;
            }
            queued = now;
        }
    }

    fn drain(&self, queue: usize) {
        loop {
            let batch = {
                let mut waiting = self.waiting(queue);
                if waiting.lines.is_empty() {
                    waiting.somebody_writes = false;
                    return;
                }
                std::mem::take(&mut waiting.lines)
            };
            let lines = batch.iter().map(|pending| pending.members.as_str());
            let result = {
                let mut file = self.file();
                let result = file.append(lines, self.clock.wall());
                if result.is_ok() {
                    // under the lock, so that copies come in the order of the file
                    self.copies.written(file.written());
                }
                result
            };
            if let Err(cause) = &result {
                tracing::error!(kind = ?cause.kind(), "the audit file cannot be written; calls are refused");
            }
            for pending in batch {
                if let Some(written) = pending.written {
                    // A caller that has gone does not mind.
                    let _ = written.send(result.is_ok());
                }
            }
        }
    }

    fn waiting(&self, queue: usize) -> MutexGuard<'_, Waiting> {
        self.waiting[queue].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes when it is dropped: also when the caller that holds it is dropped while it waits its turn.
struct Writer {
    all: Arc<Queue>,
    queue: usize,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.all.drain(self.queue);
    }
}

pub(super) fn refused() -> Error {
    Error::new(
        Kind::Internal,
        "The audit file cannot be written, and without a line there is no call; an operator has to look at the disk.",
    )
}
