//! One request's messages on their way out, and onto the shelf.
//!
//! Owns [`Tape`]. The idea: a request that is answered in one piece never gets that far; with its first message it
//! becomes a stream, and from then on it goes on without its connection, as long as somebody may come back.
//!
//! Must not: outlive its request unseen; whoever listened is sent away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::{Shelf, Shelved};
use crate::server::session::lock;
use crate::transport::{Answer, Event, Outlet};

/// The way of one request's messages: straight out, and onto the shelf from the first of them on.
pub(in crate::server) struct Tape {
    shelf: Arc<Shelf>,
    direct: Arc<dyn Outlet>,
    /// The stream; zero until something is said.
    id: AtomicU64,
}

impl Tape {
    pub(in crate::server) fn new(shelf: Arc<Shelf>, direct: Arc<dyn Outlet>) -> Self {
        Self { shelf, direct, id: AtomicU64::new(0) }
    }

    fn begun(&self) -> Option<u64> {
        Some(self.id.load(Ordering::Acquire)).filter(|id| *id != 0)
    }

    fn begin(&self, inner: &mut Shelved) -> Option<u64> {
        if inner.closed {
            return None;
        }
        Some(self.begun().unwrap_or_else(|| {
            let id = self.shelf.open(inner, Some(Arc::clone(&self.direct)));
            self.id.store(id, Ordering::Release);
            id
        }))
    }

    /// Files the answer, if it is the end of a stream; one that stands alone passes by.
    pub(in crate::server) fn finish(&self, answer: Answer) -> Answer {
        let Some(id) = self.begun() else { return answer };
        let mut inner = lock(&self.shelf.inner);
        let event = answer.body.as_deref().and_then(|body| self.shelf.keep(&mut inner, id, body));
        let Some(stream) = inner.streams.get_mut(&id) else { return answer };
        stream.over = true;
        if let Some(outlet) = stream.outlet.take() {
            match (event, &answer.body) {
                // the exchange itself sends its answer
                (Some(event), _) if stream.turn == 0 => outlet.name_answer(event),
                (Some(event), Some(body)) => {
                    outlet.event(Event { id: Some(event), retry: None, message: body.clone() });
                    outlet.end();
                }
                _ => outlet.end(),
            }
        }
        stream.moved.notify_waiters();
        if stream.kept == 0 {
            inner.streams.remove(&id);
        }
        answer
    }

    /// Resolves when the client has left this request's stream and was not back in time.
    pub(in crate::server) async fn abandoned(&self, gone: &CancellationToken) {
        gone.cancelled().await;
        let Some(id) = self.begun() else { return };
        self.shelf.leave(id, 0);
        loop {
            let Some((moved, present)) = ({
                let inner = lock(&self.shelf.inner);
                inner.streams.get(&id).map(|stream| (Arc::clone(&stream.moved), stream.outlet.is_some()))
            }) else {
                return;
            };
            let changed = moved.notified();
            let still = || {
                let inner = lock(&self.shelf.inner);
                inner.streams.get(&id).is_some_and(|stream| stream.outlet.is_some() == present)
            };
            let mut changed = std::pin::pin!(changed);
            // from here on a change is noticed; one that came before shows in `still`
            changed.as_mut().enable();
            if !still() {
                continue;
            }
            if present {
                changed.await;
            } else if tokio::time::timeout(self.shelf.bounds.patience, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Tape {
    /// A request that ended without an answer leaves nobody waiting.
    fn drop(&mut self) {
        let Some(id) = self.begun() else { return };
        let mut inner = lock(&self.shelf.inner);
        let Some(stream) = inner.streams.get_mut(&id).filter(|stream| !stream.over) else { return };
        stream.over = true;
        if let Some(outlet) = stream.outlet.take() {
            outlet.end();
        }
        if stream.kept == 0 {
            inner.streams.remove(&id);
        }
    }
}

impl Outlet for Tape {
    fn send(&self, message: String) -> bool {
        let mut inner = lock(&self.shelf.inner);
        match self.begin(&mut inner) {
            Some(id) => self.shelf.say(&mut inner, id, message),
            None => false,
        }
    }

    fn pause(&self) {
        if !self.shelf.primes {
            return;
        }
        let mut inner = lock(&self.shelf.inner);
        if let Some(id) = self.begin(&mut inner)
            && let Some(stream) = inner.streams.get_mut(&id)
            && let Some(outlet) = stream.outlet.take()
        {
            outlet.end();
            stream.moved.notify_waiters();
        }
    }
}
