//! Many callers, few writers.
//!
//! Owns [`Queue`]. The idea: a caller leaves its line and waits; whoever finds nobody writing writes everything that
//! is queued, in one go, and tells all of them. Under load that writer first lets the other tasks run that are ready,
//! so that many lines share one lock and one write; a caller alone writes at once. Each thread has a queue of its own,
//! because to wake a caller on another thread costs more than a write.
//!
//! A file that another process holds for longer than a moment is waited for on a thread that may wait, and not for ever.
//!
//! Must not: tell anybody that a line is written before it is, or wait for another process on a thread that serves.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Config;
use super::copies::Copies;
use super::file::{File, patiently};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::redaction::Redactor;
use crate::threads;

/// How often a writer lets others go first.
const MOST_TURNS: usize = 2;
/// How many queues there are; more threads than that share.
const QUEUES: usize = 64;
/// How long a thread that serves tries to get the file: about a write of somebody else.
const MOMENT: Duration = Duration::from_micros(500);
/// How long is tried after the last try was in vain.
const STALLED: Duration = Duration::from_millis(200);
/// How many lines of a queue are kept for a file that cannot be had.
const MOST_LEFT: usize = 4096;

/// Lines on their way into a file.
pub(super) struct Queue {
    waiting: Vec<Mutex<Waiting>>,
    file: Mutex<File>,
    /// What a call needs once more at its end: kept here, so that it holds one thing and not three.
    pub(super) clock: SharedClock,
    pub(super) redactor: Redactor,
    /// Who gets copies of what is written.
    pub(super) copies: Copies,
    /// Calls that have begun and not ended.
    pub(super) running: AtomicUsize,
    /// Writes that failed.
    pub(super) failures: AtomicUsize,
    /// Whether each write is flushed to the disk, which no thread that serves may wait for.
    blocking: bool,
    /// How long a line waits for another process.
    wait: Duration,
    /// Another process was waited for in vain the last time.
    stalled: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Pending>,
    somebody_writes: bool,
}

struct Pending {
    members: String,
    written: Option<oneshot::Sender<bool>>,
    /// What it says has happened: it is written late rather than never.
    owed: bool,
}

impl Queue {
    pub(super) fn new(file: File, clock: SharedClock, redactor: Redactor, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            waiting: (0..QUEUES).map(|_| Mutex::default()).collect(),
            file: Mutex::new(file),
            clock,
            redactor,
            copies: Copies::default(),
            running: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            blocking: config.sync,
            wait: Duration::from_secs(u64::from(config.lock_timeout)),
            stalled: AtomicBool::new(false),
        })
    }

    /// Returns when the line is written. One that is owed may be written later if this fails.
    pub(super) async fn append(self: &Arc<Self>, members: String, owed: bool) -> Result<()> {
        let (sender, written) = oneshot::channel();
        if let Some(writer) = self.push(Pending { members, written: Some(sender), owed }) {
            if !self.blocking {
                // Dropped while it gathers, the writer writes at once.
                self.gather(writer.queue).await;
            }
            drop(writer);
        }
        match written.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(refused()),
        }
    }

    /// Leaves a line and does not wait; for a caller that has gone.
    pub(super) fn leave(self: &Arc<Self>, members: String) {
        drop(self.push(Pending { members, written: None, owed: true }));
    }

    /// How many lines wait.
    pub(super) fn depth(&self) -> usize {
        (0..self.waiting.len()).map(|queue| self.waiting(queue).lines.len()).sum()
    }

    /// Writes what is queued and a checkpoint.
    pub(super) fn close(&self) {
        for queue in 0..self.waiting.len() {
            self.drain(queue);
        }
        if self.write(self.patience(), File::checkpoint).is_err() {
            tracing::error!("the last audit checkpoint could not be written");
        }
    }

    /// Queues a line. If nobody writes, the caller does: by dropping what it gets.
    fn push(self: &Arc<Self>, line: Pending) -> Option<Writer> {
        let queue = threads::number() % QUEUES;
        let mut waiting = self.waiting(queue);
        waiting.lines.push_back(line);
        let somebody_writes = std::mem::replace(&mut waiting.somebody_writes, true);
        (!somebody_writes).then(|| Writer { all: Arc::clone(self), queue, may_wait: false })
    }

    /// Lets others leave their lines first, as long as more come or another thread writes, and not every call that runs is
    /// waiting already. Not for long: who is gathered is served together, at the end.
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

    /// Writes what is queued unless that takes longer than a moment; whether it did.
    fn drain_at_once(&self, queue: usize) -> bool {
        // In vain before: not even a moment is spent here.
        if self.blocking || self.stalled.load(Ordering::Relaxed) {
            return false;
        }
        while let Some(batch) = self.take(queue) {
            let lines = || batch.iter().map(|pending| pending.members.as_str());
            let result = self.write(MOMENT, |file, wall| file.append(lines(), wall));
            if would_block(&result) {
                self.put_back(queue, batch);
                return false;
            }
            Self::tell(batch, &result);
        }
        true
    }

    /// Writes what is queued, and waits for other processes.
    fn drain(&self, queue: usize) {
        while let Some(batch) = self.take(queue) {
            let lines = || batch.iter().map(|pending| pending.members.as_str());
            let result = self.write(self.patience(), |file, wall| file.append(lines(), wall));
            let held = would_block(&result);
            self.stalled.store(held, Ordering::Relaxed);
            if held {
                self.give_up(queue, batch);
                return;
            }
            Self::tell(batch, &result);
        }
    }

    /// The lines of a queue; if there are none, nobody writes from here on.
    fn take(&self, queue: usize) -> Option<VecDeque<Pending>> {
        let mut waiting = self.waiting(queue);
        waiting.somebody_writes = !waiting.lines.is_empty();
        waiting.somebody_writes.then(|| std::mem::take(&mut waiting.lines))
    }

    fn put_back(&self, queue: usize, mut batch: VecDeque<Pending>) {
        let mut waiting = self.waiting(queue);
        batch.append(&mut waiting.lines);
        waiting.lines = batch;
    }

    /// Refuses everybody who waits. Lines that are owed, and of callers that have gone, are kept for the next who writes.
    fn give_up(&self, queue: usize, mut batch: VecDeque<Pending>) {
        tracing::error!("another process holds the audit file for too long; calls are refused");
        let mut waiting = self.waiting(queue);
        batch.append(&mut waiting.lines);
        let mut lost = 0;
        for mut pending in batch {
            let told = pending.written.take().is_some_and(|written| written.send(false).is_ok());
            if told && !pending.owed {
                continue;
            }
            if waiting.lines.len() < MOST_LEFT {
                waiting.lines.push_back(pending);
            } else {
                lost += 1;
            }
        }
        waiting.somebody_writes = false;
        if lost > 0 {
            tracing::error!(
                lost,
                "audit lines were lost: too many wait for a file that another process holds"
            );
        }
    }

    fn tell(batch: VecDeque<Pending>, result: &io::Result<()>) {
        if let Err(cause) = result
            && !would_block(result)
        {
            tracing::error!(kind = ?cause.kind(), "the audit file cannot be written; calls are refused");
        }
        for pending in batch {
            if let Some(written) = pending.written {
                // A caller that has gone does not mind.
                let _ = written.send(result.is_ok());
            }
        }
    }

    /// Works on the file, trying that long while another process has it. Other threads get at it in between.
    fn write(
        &self,
        wait: Duration,
        mut work: impl FnMut(&mut File, Duration) -> io::Result<()>,
    ) -> io::Result<()> {
        patiently(wait, || {
            let mut file = self.file();
            let result = work(&mut file, self.clock.wall());
            // Under the lock, so that copies come in the order of the file; after a failure too, for what was written.
            file.written().into_iter().for_each(|bytes| self.copies.written(bytes));
            if result.is_err() && !would_block(&result) {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            result
        })
    }

    fn patience(&self) -> Duration {
        if self.stalled.load(Ordering::Relaxed) { STALLED.min(self.wait) } else { self.wait }
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
    /// It was dropped once, and is on a thread that may wait.
    may_wait: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.may_wait {
            if self.all.drain_at_once(self.queue) {
                return;
            }
            if let Ok(runtime) = Handle::try_current() {
                let writer = Self { all: Arc::clone(&self.all), queue: self.queue, may_wait: true };
                // A runtime that is ending drops it here, and it writes here.
                drop(runtime.spawn_blocking(move || drop(writer)));
                return;
            }
        }
        self.all.drain(self.queue);
    }
}

fn would_block(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::WouldBlock)
}

pub(super) fn refused() -> Error {
    Error::new(
        Kind::Internal,
        "The audit file cannot be written, and without a line there is no call; an operator has to look at the disk.",
    )
}
