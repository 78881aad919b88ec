//! The bounded pool of threads that Python runs on.
//!
//! Owns [`Pool`]. The idea: one thread attached to the interpreter drains the queue, which costs the interpreter's
//! lock once per burst and not once per call; only when a call has waited a moment is another thread woken. A thread
//! whose call was given up counts as stuck, and another may take its place, up to a limit. What is ours and short (to
//! start a coroutine, to hand over a result) has a small pool of its own: no tool that waits can hold it up.
//!
//! Must not: touch the interpreter from the runtime's own threads; all of Python is reached through here.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};

/// Threads that run calls at once.
const THREADS: usize = 32;
/// Threads for what is ours and short.
const BRIEF: usize = 2;
/// Threads that may be stuck before further calls are refused.
const STUCK: usize = 64;
/// How long a call waits in the queue before another thread is woken for it.
const PATIENCE: Duration = Duration::from_millis(2);

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const FINISHED: u8 = 2;
const ABANDONED: u8 = 3;

type Work = Box<dyn FnOnce(Python<'_>) + Send>;

struct Job {
    work: Work,
    state: Arc<AtomicU8>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    stuck: usize,
}

/// The pool.
pub(super) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    most: usize,
}

impl Pool {
    /// The one pool of this process for what users wrote, and may wait.
    pub(super) fn global() -> &'static Self {
        static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::of(THREADS));
        &POOL
    }

    /// The one pool for what is ours and short.
    pub(super) fn brief() -> &'static Self {
        static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::of(BRIEF));
        &POOL
    }

    fn of(most: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), most }
    }

    /// How many threads are stuck.
    pub(super) fn stuck(&self) -> usize {
        self.lock().stuck
    }

    /// Runs something on a thread attached to the interpreter. Dropping the future gives it up.
    pub(super) async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce(Python<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, mut receiver) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(QUEUED));
        let finished = Arc::clone(&state);
        self.submit(Job {
            work: Box::new(move |py| {
                let done = work(py);
                // before the answer is seen, so that a thread that has answered is never taken for a stuck one
                step(&finished, RUNNING, FINISHED);
                let _ = sender.send(done);
            }),
            state: Arc::clone(&state),
        })?;
        let _held = Held { pool: self, state: Arc::clone(&state) };
        let done = loop {
            match tokio::time::timeout(PATIENCE, &mut receiver).await {
                Ok(done) => break done,
                Err(_) if state.load(Ordering::Acquire) == QUEUED => self.nudge(),
                Err(_) => break receiver.await,
            }
        };
        done.map_err(|_| Error::new(Kind::Internal, "The thread that ran the Python code broke off."))
    }

    /// Runs something some time soon; nobody waits for it.
    pub(super) fn send(&'static self, work: impl FnOnce(Python<'_>) + Send + 'static) {
        let job = Job { work: Box::new(work), state: Arc::new(AtomicU8::new(QUEUED)) };
        if self.submit(job).is_ok() {
            self.nudge();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&'static self, job: Job) -> Result<()> {
        let mut state = self.lock();
        if state.stuck >= STUCK {
            return Err(Error::new(
                Kind::ToolFailed,
                "Too many Python tools have not returned in time; the server has no thread left for this one.",
            ));
        }
        state.queue.push_back(job);
        if state.idle == state.threads {
            self.wake_one(state);
        }
        Ok(())
    }

    fn nudge(&'static self) {
        let state = self.lock();
        if !state.queue.is_empty() {
            self.wake_one(state);
        }
    }

    fn wake_one(&'static self, mut state: MutexGuard<'_, State>) {
        if state.idle > 0 {
            self.wake.notify_one();
        } else if state.threads < self.most {
            state.threads += 1;
            drop(state);
            let started = std::thread::Builder::new().name("bartizan-python".into()).spawn(|| self.turn());
            if started.is_err() {
                self.lock().threads -= 1;
            }
        }
    }

    /// One thread's life: attached all the time, so that thread-local state of tools survives from call to call.
    fn turn(&'static self) {
        let _ = Python::try_attach(|py| {
            loop {
                let job = self.lock().queue.pop_front();
                let Some(job) = job.or_else(|| py.detach(|| self.wait())) else { return };
                if !step(&job.state, QUEUED, RUNNING) {
                    continue;
                }
                let work = job.work;
                let _ = catch_unwind(AssertUnwindSafe(|| work(py)));
                if !step(&job.state, RUNNING, FINISHED) {
                    let mut state = self.lock();
                    if job.state.load(Ordering::Acquire) == ABANDONED {
                        state.stuck -= 1;
                        if state.threads >= self.most {
                            return;
                        }
                        state.threads += 1;
                    }
                }
            }
        });
    }

    fn wait(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn step(state: &AtomicU8, from: u8, to: u8) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Notices when nobody waits for a call any more.
struct Held {
    pool: &'static Pool,
    state: Arc<AtomicU8>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.state.load(Ordering::Acquire) == FINISHED || step(&self.state, QUEUED, ABANDONED) {
            return;
        }
        // under the lock, so that the thread, should it finish right now, counts itself back afterwards
        let mut state = self.pool.lock();
        if step(&self.state, RUNNING, ABANDONED) {
            state.threads -= 1;
            state.stuck += 1;
            if !state.queue.is_empty() {
                self.pool.wake_one(state);
            }
        }
    }
}
