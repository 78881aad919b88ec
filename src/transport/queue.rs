//! Messages on their way to one peer.
//!
//! Owns [`Queue`], the [`Outlet`] of every transport. The idea: a peer that stops reading costs a fixed number of
//! bytes; what does not fit is dropped and the sender is told.
//!
//! Must not: write to anything; the transport that owns the connection takes the messages out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;

use super::{Event, Outlet};

/// What a waiting message costs beside its text.
const OVERHEAD: usize = 64;

/// A bounded queue of JSON texts.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    taker: AtomicWaker,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Event>,
    bytes: usize,
    closed: bool,
    ended: bool,
    resumable: bool,
    answer: Option<String>,
}

impl Queue {
    /// A queue of at most `limit` bytes; a single message may be larger when nothing else waits.
    pub(super) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), taker: AtomicWaker::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes this task when the next message comes.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.taker.register(context.waker());
    }

    /// Takes everything that waits.
    pub(super) fn take(&self) -> VecDeque<Event> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.messages)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    /// Whether nothing more is to be sent than what waits.
    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Whether somebody can come back for what is not sent.
    pub(super) fn is_resumable(&self) -> bool {
        self.lock().resumable
    }

    /// The id under which the answer goes.
    pub(super) fn answer_id(&self) -> Option<String> {
        self.lock().answer.take()
    }

    /// Refuses everything from now on, and forgets what waits.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.bytes = 0;
        waiting.messages = VecDeque::new();
    }
}

impl Outlet for Queue {
    fn send(&self, message: String) -> bool {
        self.event(Event::from(message))
    }

    fn event(&self, event: Event) -> bool {
        let cost = event.message.len() + OVERHEAD;
        {
            let mut waiting = self.lock();
            let full = waiting.bytes > 0 && waiting.bytes.saturating_add(cost) > self.limit;
            if waiting.closed || waiting.ended || full {
                return false;
            }
            waiting.bytes += cost;
            waiting.resumable |= event.id.is_some();
            waiting.messages.push_back(event);
        }
        self.taker.wake();
        true
    }

    fn replay(&self, events: Vec<Event>) {
        {
            let mut waiting = self.lock();
            if waiting.closed || waiting.ended {
                return;
            }
            waiting.bytes += events.iter().map(|event| event.message.len() + OVERHEAD).sum::<usize>();
            waiting.resumable = true;
            waiting.messages.extend(events);
        }
        self.taker.wake();
    }

    fn name_answer(&self, id: String) {
        self.lock().answer = Some(id);
    }

    fn end(&self) {
        self.lock().ended = true;
        self.taker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_said_so() {
        let queue = Queue::new(200);
        assert!(queue.send("x".repeat(1000)), "one message always fits");
        assert!(!queue.send("y".into()));
        assert_eq!(queue.take().len(), 1);
        assert!(queue.send("a".into()) && queue.send("b".into()) && queue.send("c".into()));
        assert!(!queue.send("d".into()));
        queue.close();
        assert!(queue.is_empty() && !queue.send("e".into()));
    }
}
