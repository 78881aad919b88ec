//! The bounded pool of threads that Python runs on.
//!
//! Owns [`Pool`]. The idea: one thread attached to the interpreter drains the queue, which costs the interpreter's
//! lock once per burst and not once per call; only when a call has waited a moment is another thread woken. A thread
//! whose call was given up counts as stuck, and another may take its place, up to a limit. A call that was given up
//! before it began leaves the queue with all it held, and of one caller only so many may wait. What is ours and short
//! (to start a coroutine, to hand over a result) has a small pool of its own: no tool that waits can hold it up.
//!
//! Must not: touch the interpreter from the runtime's own threads; all of Python is reached through here.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::limits::fair::{Fair, Owner};

/// Threads that run calls at once, and how many of them one caller may have.
const THREADS: usize = 64;
const THREADS_EACH: usize = 32;
/// Threads for what is ours and short.
const BRIEF: usize = 2;
/// Threads that may be stuck before further calls are refused, and before further calls of one caller are.
const STUCK: usize = 128;
const STUCK_EACH: usize = 64;
/// Calls of one caller that may wait; more than the gate lets through, for what runs before the gate.
const QUEUED_EACH: usize = 1024;
/// How long what runs may still take when the interpreter is about to end.
const REST: Duration = Duration::from_millis(500);
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

struct State {
    queue: Fair<Job>,
    threads: usize,
    idle: usize,
    stuck: usize,
    stuck_of: HashMap<Arc<str>, usize>,
    /// Set when the interpreter is about to end: no thread goes back to it.
    over: bool,
}

impl State {
    fn is_full(&self, owner: &Owner) -> bool {
        let own = owner.as_ref().and_then(|owner| self.stuck_of.get(owner)).copied().unwrap_or(0);
        self.stuck >= STUCK || own >= STUCK_EACH
    }

    fn sticks(&mut self, owner: &Owner) {
        self.stuck += 1;
        if let Some(owner) = owner {
            *self.stuck_of.entry(Arc::clone(owner)).or_default() += 1;
        }
    }

    fn came_loose(&mut self, owner: &Owner) {
        self.stuck -= 1;
        if let Some(owner) = owner
            && let Some(stuck) = self.stuck_of.get_mut(owner)
        {
            *stuck -= 1;
            if *stuck == 0 {
                self.stuck_of.remove(owner);
            }
        }
    }
}

/// The pool.
pub(super) struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    /// Told of each thread that has let the interpreter go for good.
    rested: Condvar,
    most: usize,
}

impl Pool {
    /// The one pool of this process for what users wrote, and may wait.
    pub(super) fn global() -> &'static Self {
        static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::of(THREADS, THREADS_EACH));
        &POOL
    }

    /// The one pool for what is ours and short.
    pub(super) fn brief() -> &'static Self {
        static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::of(BRIEF, BRIEF));
        &POOL
    }

    fn of(most: usize, each: usize) -> Self {
        let queue = Fair::new(each);
        let state = State { queue, threads: 0, idle: 0, stuck: 0, stuck_of: HashMap::new(), over: false };
        Self { state: Mutex::new(state), wake: Condvar::new(), rested: Condvar::new(), most }
    }

    /// Begins nothing more and waits a moment for what runs. A thread that came back to an interpreter which has ended
    /// would be ended by it, and take the process along.
    pub(super) fn rest(&self) {
        let mut state = self.lock();
        state.over = true;
        let _ = self.rested.wait_timeout_while(state, REST, |state| state.idle < state.threads);
    }

    /// How many threads are stuck.
    pub(super) fn stuck(&self) -> usize {
        self.lock().stuck
    }

    /// Runs something of a caller on a thread attached to the interpreter. Dropping the future gives it up.
    pub(super) async fn run<T: Send + 'static>(
        &'static self,
        owner: &Arc<str>,
        work: impl FnOnce(Python<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let owner: Owner = Some(Arc::clone(owner));
        let (sender, mut receiver) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(QUEUED));
        let finished = Arc::clone(&state);
        let job = Job {
            work: Box::new(move |py| {
                let done = work(py);
                // before the answer is seen, so that a thread that has answered is never taken for a stuck one
                step(&finished, RUNNING, FINISHED);
                let _ = sender.send(done);
            }),
            state: Arc::clone(&state),
        };
        self.submit(owner.clone(), job)?;
        let _held = Held { pool: self, state: Arc::clone(&state), owner };
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
        if self.submit(None, job).is_ok() {
            self.nudge();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&'static self, owner: Owner, job: Job) -> Result<()> {
        let mut state = self.lock();
        if state.is_full(&owner) {
            return Err(Error::new(
                Kind::ToolFailed,
                "Too many Python tools have not returned in time; the server has no thread left for this one.",
            ));
        }
        if state.queue.waits(&owner) >= QUEUED_EACH {
            let message = "Too many calls of this caller wait for a thread of Python; try again later.";
            return Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_secs(1)));
        }
        state.queue.push(owner, job);
        if state.idle == state.threads {
            self.wake_one(state);
        }
        Ok(())
    }

    fn nudge(&'static self) {
        let state = self.lock();
        if state.queue.is_ready() {
            self.wake_one(state);
        }
    }

    fn wake_one(&'static self, mut state: MutexGuard<'_, State>) {
        if state.over {
            return;
        }
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
            let mut done: Option<Owner> = None;
            loop {
                let job = {
                    let mut state = self.lock();
                    if let Some(owner) = done.take() {
                        state.queue.done(&owner);
                    }
                    if state.over { None } else { state.queue.pop() }
                };
                let Some((owner, job)) = job.or_else(|| py.detach(|| self.wait())) else { return };
                if !step(&job.state, QUEUED, RUNNING) {
                    done = Some(owner);
                    continue;
                }
                let work = job.work;
                let _ = catch_unwind(AssertUnwindSafe(|| work(py)));
                step(&job.state, RUNNING, FINISHED);
                if job.state.load(Ordering::Acquire) != ABANDONED {
                    done = Some(owner);
                    continue;
                }
                let mut state = self.lock();
                state.came_loose(&owner);
                if state.threads >= self.most {
                    return;
                }
                state.threads += 1;
            }
        });
    }

    fn wait(&self) -> Option<(Owner, Job)> {
        let mut state = self.lock();
        loop {
            if !state.over
                && let Some(job) = state.queue.pop()
            {
                return Some(job);
            }
            state.idle += 1;
            if state.over {
                self.rested.notify_all();
            }
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
    owner: Owner,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.state.load(Ordering::Acquire) == FINISHED {
            return;
        }
        if step(&self.state, QUEUED, ABANDONED) {
            let given_up =
                self.pool.lock().queue.give_up(&self.owner, |job| Arc::ptr_eq(&job.state, &self.state));
            // not under the lock: what it held is dropped here, and may be much
            drop(given_up);
            return;
        }
        // under the lock, so that the thread, should it finish right now, counts itself back afterwards
        let mut state = self.pool.lock();
        if step(&self.state, RUNNING, ABANDONED) {
            state.threads -= 1;
            state.sticks(&self.owner);
            state.queue.done(&self.owner);
            if state.queue.is_ready() {
                self.pool.wake_one(state);
            }
        }
    }
}
