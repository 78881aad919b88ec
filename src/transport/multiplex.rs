//! HTTP/2, for clients that begin with it.
//!
//! Owns [`begins`] and [`serve`]. The idea: a connection shows with its first bytes which HTTP it speaks; one that
//! speaks HTTP/2 carries many exchanges at once and is held to the same rules, and to a few of its own: how many at
//! once, how long without any, and a sign of life now and then. HTTP/1.1 is not touched by any of it.
//!
//! Must not: know what an exchange is about.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
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

struct Counted {
    reply: Reply,
    _under: Under,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.reply).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}

/// Serves one connection until it ends, is idle for too long, or `leaving` fires.
pub(super) async fn serve<F>(
    stream: TcpStream,
    config: &Config,
    leaving: &CancellationToken,
    respond: impl Fn(Request<Incoming>) -> F + Clone,
) where
    F: Future<Output = Response<Reply>> + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
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
                Ok::<_, std::convert::Infallible>(
                    response.await.map(|reply| Counted { reply, _under: under }),
                )
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
