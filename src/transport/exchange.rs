//! A handler at work.
//!
//! Owns [`Guarded`], which turns a panic of a handler into an answer, and [`Exchange`], one HTTP exchange. The idea:
//! whoever drops an exchange cancels it and fires `Peer.gone`, so nothing has to remember to.
//!
//! Must not: know which transport drives it.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::leases::Leased;
use super::queue::Queue;
use super::{Answer, BoxFuture};
use crate::error::Kind;
use crate::json::{Value, json};

/// A handler's future that answers even if it panics.
pub(super) struct Guarded<'a> {
    work: BoxFuture<'a, Answer>,
    id: Option<Value>,
}

impl<'a> Guarded<'a> {
    /// `id` is the request's, for the answer after a panic.
    pub(super) fn new(work: BoxFuture<'a, Answer>, id: Option<Value>) -> Self {
        Self { work, id }
    }

    /// Drives the handler.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let work = &mut self.work;
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!("a request handler panicked; the request was answered with an internal error");
            let error =
                json!({"code": Kind::Internal.code(), "message": "The server failed on this request."});
            let body =
                self.id.take().map(|id| json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
            Poll::Ready(Answer { status: 500, body, ..Answer::default() })
        })
    }
}

/// One HTTP exchange: the handler, what it sends on the way, and the token that fires when the peer has gone.
pub(super) struct Exchange {
    work: Option<Guarded<'static>>,
    pub(super) queue: Arc<Queue>,
    _gone: DropGuard,
}

/// What comes first out of an exchange.
pub(super) enum First {
    /// The answer, and nothing before it.
    Answer(Answer),
    /// A message: from here on it is a stream. The answer, if it is there already.
    Stream(Option<Answer>),
}

impl Exchange {
    /// An exchange; dropping it fires `gone`.
    pub(super) fn new(work: Guarded<'static>, queue: Arc<Queue>, gone: DropGuard) -> Self {
        Self { work: Some(work), queue, _gone: gone }
    }

    /// Drives the handler until it answers. Nothing after that.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.queue.register(context);
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }

    /// Drives the handler until it answers or sends something.
    pub(super) fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<First> {
        match self.poll(context) {
            Poll::Ready(answer) if self.queue.is_empty() => Poll::Ready(First::Answer(answer)),
            Poll::Ready(answer) => Poll::Ready(First::Stream(Some(answer))),
            Poll::Pending if self.queue.is_empty() => Poll::Pending,
            Poll::Pending => Poll::Ready(First::Stream(None)),
        }
    }
}

/// Where a handler goes on whose client may come back.
#[derive(Clone)]
pub(super) struct Afterlife {
    /// Counts what runs, so that a server that stops waits for it.
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) drain: Duration,
}

impl Exchange {
    /// Lets the client go. What can be picked up runs on; what cannot ends here.
    pub(super) fn part(mut self, afterlife: &Afterlife, lease: Option<Leased>) {
        let Some(mut work) = self.work.take().filter(|_| self.queue.is_resumable()) else { return };
        drop(self);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Afterlife { tasks, shutdown, drain } = afterlife.clone();
        tasks.spawn_on(
            async move {
                let last = async {
                    shutdown.cancelled().await;
                    tokio::time::sleep(drain).await;
                };
                tokio::select! {
                    _ = poll_fn(|context| work.poll(context)) => {}
                    () = last => {}
                    () = async { if let Some(lease) = lease { lease.await } else { pending().await } } => {}
                }
            },
            &runtime,
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Guarded<'static> {
    /// The future of a handler that is kept alive by it.
    pub(super) fn owned<F>(work: F, id: Option<Value>) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let work: Pin<Box<dyn Future<Output = Answer> + Send>> = Box::pin(work);
        Self { work, id }
    }
}
