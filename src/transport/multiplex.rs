//! HTTP/2, for clients that begin with it.
//!
//! Owns [`begins`] and [`serve`]. The idea: a connection shows with its first bytes which HTTP it speaks; one that
//! speaks HTTP/2 carries many exchanges at once and is held to the same rules, and to a few of its own: how many at
//! once, how long without any, how long an answer waits to be taken, and a sign of life now and then. HTTP/1.1 is not
//! touched by any of it.
//!
//! Must not: know what an exchange is about.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::Config;
use super::sse::Reply;
use super::stall::Stall;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams that may have been reset before they were looked at, and that our own errors may have reset.
const RESETS: usize = 32;
/// How long a sign of life may take.
const PONG: Duration = Duration::from_secs(10);

/// Whether the connection begins as HTTP/2 does. Nothing if it says nothing in time.
pub(super) async fn begins(stream: &TcpStream, within: Duration) -> Option<bool> {
    let look = async {
        let mut seen = [0; PREFACE.len()];
        loop {
            let count = stream.peek(&mut seen).await.ok().filter(|count| *count > 0)?;
            if !PREFACE.starts_with(&seen[..count]) {
                return Some(false);
            }
            if count == PREFACE.len() {
                return Some(true);
            }
            // it comes in pieces, which nobody does by accident; there is nothing to be woken by
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(within, look).await.ok().flatten()
}

/// How many exchanges a connection has under way.
#[derive(Default)]
struct Busy {
    count: AtomicUsize,
    changed: Notify,
}

/// One exchange, until the last byte of its answer.
struct Under(Arc<Busy>);

impl Under {
    fn way(busy: &Arc<Busy>) -> Self {
        busy.count.fetch_add(1, Ordering::Relaxed);
        busy.changed.notify_one();
        Self(Arc::clone(busy))
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Bytes of an answer that are handed over at a time: no more than that is out of sight.
const PIECE: usize = 16 << 10;

tokio::task_local! {
    /// Of the exchange that this task carries.
    static TURNS: Arc<Turns>;
}

/// How often the body of an exchange was asked for more; odd while a piece of it waits to be taken.
#[derive(Default)]
struct Turns(AtomicUsize);

impl Turns {
    fn count(&self, waits: bool) {
        let last = self.0.load(Ordering::Relaxed);
        self.0.store((last | 1).wrapping_add(1 + usize::from(waits)), Ordering::Relaxed);
    }

    /// Resolves when the same piece has waited for so long. Polled after the body, by the task that carries both.
    async fn ignored(&self, within: Duration) {
        let mut waiting: Option<(usize, Pin<Box<Sleep>>)> = None;
        poll_fn(|context| {
            let turn = self.0.load(Ordering::Relaxed);
            if turn.is_multiple_of(2) {
                waiting = None;
                return Poll::Pending;
            }
            let until = || (turn, Box::pin(tokio::time::sleep(within)));
            let (since, sleep) = waiting.get_or_insert_with(until);
            if *since != turn {
                *since = turn;
                sleep.as_mut().reset(Instant::now() + within);
            }
            sleep.as_mut().poll(context)
        })
        .await;
    }
}

/// Runs each exchange in a task of its own, which ends when the client does not take its answer. The stream is reset
/// then; the connection sees a client that takes bytes and cannot tell.
#[derive(Clone)]
struct Patience(Duration);

impl<F: Future + Send + 'static> Executor<F> for Patience {
    fn execute(&self, work: F) {
        let (turns, within) = (Arc::new(Turns::default()), self.0);
        let watched = Arc::clone(&turns);
        tokio::spawn(TURNS.scope(turns, async move {
            tokio::select! {
                biased;
                _ = work => {}
                () = watched.ignored(within) => {}
            }
        }));
    }
}

struct Counted {
    reply: Reply,
    rest: Bytes,
    turns: Option<Arc<Turns>>,
    _under: Under,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut frame = Poll::Ready(None);
        if self.rest.is_empty() {
            frame = Pin::new(&mut self.reply).poll_frame(context);
            if let Poll::Ready(Some(Ok(whole))) = frame {
                self.rest = whole.into_data().unwrap_or_default();
                frame = Poll::Ready(None);
            }
        }
        if !self.rest.is_empty() {
            let piece = self.rest.len().min(PIECE);
            frame = Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))));
        }
        if let Some(turns) = &self.turns {
            turns.count(matches!(frame, Poll::Ready(Some(_))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.len() as u64;
        let hint = self.reply.size_hint();
        hint.exact().map_or(hint, |exact| SizeHint::with_exact(exact + left))
    }
}

/// Serves one connection until it ends, is idle for too long, or `leaving` fires.
pub(super) async fn serve<S, F>(
    stream: S,
    config: &Config,
    leaving: &CancellationToken,
    respond: impl Fn(Request<Incoming>) -> F + Clone,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Reply>> + Send + 'static,
{
    let mut builder = http2::Builder::new(Patience(config.write_timeout));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams)
        .max_header_list_size(u32::try_from(config.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(Some(config.keep_alive))
        .keep_alive_timeout(PONG);
    let busy = Arc::new(Busy::default());
    let service = {
        let busy = Arc::clone(&busy);
        service_fn(move |request| {
            let (under, response) = (Under::way(&busy), respond(request));
            async move {
                let turns = TURNS.try_with(Arc::clone).ok();
                let counted = |reply| Counted { reply, rest: Bytes::new(), turns, _under: under };
                Ok::<_, std::convert::Infallible>(response.await.map(counted))
            }
        })
    };
    let stream = TokioIo::new(Stall::new(stream, config.write_timeout));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let idle = async {
        loop {
            let changed = busy.changed.notified();
            if busy.count.load(Ordering::Relaxed) > 0 {
                changed.await;
            } else if tokio::time::timeout(config.header_timeout, changed).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = idle => {}
        () = leaving.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(config.drain, connection).await;
}
