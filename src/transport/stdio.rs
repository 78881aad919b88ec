//! Lines in, lines out.
//!
//! Owns the stdio transport, over any pair of byte streams. The idea: one task reads, runs the handlers and writes,
//! so that a lone request crosses no thread and a burst of them is read and written in a few system calls; everything
//! that waits (messages, running requests, bytes for the peer) is bounded, and a peer that stops reading is not read
//! from either.
//!
//! Must not: know what a message means, beyond telling a request from what must never wait behind one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::exchange::Guarded;
use super::lines::{Line, Lines};
use super::queue::Queue;
use super::{Answer, Channel, Delivery, Handler, HeaderFacts, Outlet, Peer};
use crate::error::{Error, Kind, Result};
use crate::json::{self, Bounds, Value};
use crate::principal::Principal;

/// Bytes that wait for the peer before nothing more is read from it.
const HIGH_WATER: usize = 1 << 20;
/// Requests that wait for a free place before nothing more is read.
const PARKED: usize = 256;
/// Rounds of work before other tasks get their turn.
const ROUNDS: usize = 32;

/// Bounds of the stdio transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of a line: its bytes, and the depth of the JSON in it.
    pub bounds: Bounds,
    /// Requests that run at one time; further ones wait.
    pub in_flight: usize,
    /// Bytes of messages that wait for a client that reads too slowly; further notifications are dropped.
    pub queue_bytes: usize,
    /// Bytes of requests that are held at one time before nothing more is read.
    pub held_bytes: usize,
    /// How long running requests are given after the end of the input or a shutdown.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            in_flight: 128,
            queue_bytes: 1 << 20,
            held_bytes: 32 << 20,
            drain: Duration::from_secs(3),
        }
    }
}

/// The number of the next connection or exchange.
pub(super) fn next_connection() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Serves one peer until its input ends, it goes away, or `shutdown` fires; requests under way are given
/// `settings.drain` to finish.
pub async fn serve<R, W>(
    reader: R,
    writer: W,
    handler: Arc<dyn Handler>,
    settings: &Settings,
    shutdown: CancellationToken,
    principal: Arc<Principal>,
) -> Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let gone = CancellationToken::new();
    let _fires_at_the_end = gone.clone().drop_guard();
    let peer = Peer {
        principal,
        channel: Channel::Stdio,
        address: None,
        connection: next_connection(),
        headers: Arc::new(HeaderFacts::default()),
        gone,
        right: None,
    };
    let mut stopping = std::pin::pin!(shutdown.cancelled());
    let mut connection = Connection::new(reader, writer, &*handler, settings, peer);
    poll_fn(|context| {
        if connection.phase.is_none() && stopping.as_mut().poll(context).is_ready() {
            connection.drain();
        }
        connection.poll(context)
    })
    .await
}

/// A request under way. `weight` is the bytes it came as; `counts` says whether it takes one of the places.
struct Flight<'a> {
    work: Guarded<'a>,
    weight: usize,
    counts: bool,
}

impl Future for Flight<'_> {
    type Output = (Answer, usize, bool);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (weight, counts) = (self.weight, self.counts);
        self.work.poll(context).map(|answer| (answer, weight, counts))
    }
}

struct Connection<'a, R, W> {
    reader: R,
    writer: W,
    handler: &'a dyn Handler,
    settings: &'a Settings,
    peer: Peer,
    queue: Arc<Queue>,
    lines: Lines,
    parked: VecDeque<(Delivery, usize)>,
    flights: FuturesUnordered<Flight<'a>>,
    running: usize,
    held: usize,
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Set once nothing more is read: when to stop waiting.
    phase: Option<Pin<Box<Sleep>>>,
    /// Whether the handler was told that the conversation is over.
    closed: bool,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<'a, R, W> {
    fn new(reader: R, writer: W, handler: &'a dyn Handler, settings: &'a Settings, peer: Peer) -> Self {
        Self {
            reader,
            writer,
            handler,
            settings,
            peer,
            queue: Arc::new(Queue::new(settings.queue_bytes)),
            lines: Lines::new(settings.bounds.size),
            parked: VecDeque::new(),
            flights: FuturesUnordered::new(),
            running: 0,
            held: 0,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            phase: None,
            closed: false,
        }
    }

    /// Reads nothing more and lets what runs finish.
    fn drain(&mut self) {
        if self.phase.is_none() {
            self.phase = Some(Box::pin(tokio::time::sleep(self.settings.drain)));
        }
    }

    /// Closes the conversation once everything that was read has been started.
    fn say_farewell(&mut self) {
        if self.phase.is_some() && self.parked.is_empty() && !self.closed {
            self.closed = true;
            let farewell = Guarded::new(self.handler.close(self.peer.clone()), None);
            self.flights.push(Flight { work: farewell, weight: 0, counts: false });
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.queue.register(context);
        for _ in 0..ROUNDS {
            let mut progress = self.poll_read(context);
            self.say_farewell();
            progress |= self.poll_flights(context);
            match self.poll_write(context) {
                Ok(wrote) => progress |= wrote,
                // The peer has gone: dropping the connection cancels what runs.
                Err(_) => return Poll::Ready(Ok(())),
            }
            if let Some(deadline) = &mut self.phase {
                let idle = self.closed && self.flights.is_empty() && self.parked.is_empty() && !progress;
                let sent = self.written == self.out.len() && !self.unflushed && self.queue.is_empty();
                if (idle && sent) || deadline.as_mut().poll(context).is_ready() {
                    self.queue.close();
                    return Poll::Ready(Ok(()));
                }
            }
            if !progress {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_full(&self) -> bool {
        self.parked.len() >= PARKED
            || self.flights.len() >= self.settings.in_flight + PARKED
            || self.held >= self.settings.held_bytes
            || self.out.len() - self.written >= HIGH_WATER
    }

    /// Takes lines until there are none, or too much waits already.
    fn poll_read(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.phase.is_none() && !self.is_full() {
            if self.lines.is_empty() {
                match self.lines.poll_read(&mut self.reader, context) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false) | Err(_)) => {
                        let last = self.lines.last();
                        self.deliver_line(&last);
                        self.drain();
                        return true;
                    }
                }
            }
            progress = true;
            let bounds = self.settings.bounds;
            match self.lines.next() {
                Line::Incomplete => {}
                Line::Text(text) => {
                    if let Some((delivery, weight)) = understand(text, &bounds) {
                        self.deliver(delivery, weight);
                    }
                }
                Line::TooLong => self.deliver(Delivery { body: Err(too_long(bounds.size)) }, 0),
            }
        }
        progress
    }

    fn deliver_line(&mut self, text: &[u8]) {
        if let Some((delivery, weight)) = understand(text, &self.settings.bounds) {
            self.deliver(delivery, weight);
        }
    }

    fn deliver(&mut self, delivery: Delivery, weight: usize) {
        self.held += weight;
        if takes_a_place(&delivery) && self.running >= self.settings.in_flight {
            self.parked.push_back((delivery, weight));
        } else {
            self.start(delivery, weight);
        }
    }

    fn start(&mut self, delivery: Delivery, weight: usize) {
        let counts = takes_a_place(&delivery);
        let id = delivery.body.as_ref().ok().and_then(|value| value.get("id")).cloned();
        let outlet: Arc<dyn Outlet> = self.queue.clone();
        let work = Guarded::new(self.handler.handle(delivery, self.peer.clone(), outlet), id);
        self.running += usize::from(counts);
        self.flights.push(Flight { work, weight, counts });
    }

    /// Runs what can run and collects the answers. What a handler sent before its answer goes before its answer.
    fn poll_flights(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Poll::Ready(Some((answer, weight, counts))) = Pin::new(&mut self.flights).poll_next(context)
        {
            progress = true;
            self.held -= weight;
            self.running -= usize::from(counts);
            self.take_queued(true);
            if let Some(body) = answer.body {
                self.put(&body);
            }
            if self.running < self.settings.in_flight
                && let Some((delivery, weight)) = self.parked.pop_front()
            {
                self.start(delivery, weight);
            }
        }
        self.take_queued(false) || progress
    }

    fn take_queued(&mut self, anyway: bool) -> bool {
        if !anyway && self.out.len() - self.written >= HIGH_WATER {
            return false;
        }
        let messages = self.queue.take();
        let any = !messages.is_empty();
        for event in messages {
            self.put(&event.message);
        }
        any
    }

    fn put(&mut self, message: &str) {
        let from = self.out.len();
        self.out.extend_from_slice(message.as_bytes());
        if self.out[from..].contains(&b'\n') {
            // Between tokens a line end is a space; inside strings JSON has none.
            self.out[from..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        }
        self.out.push(b'\n');
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        while self.written < self.out.len() {
            match Pin::new(&mut self.writer).poll_write(context, &self.out[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.unflushed = true;
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progress),
            }
        }
        self.written = 0;
        if self.out.capacity() > HIGH_WATER {
            self.out = Vec::new();
        }
        self.out.clear();
        if self.unflushed && Pin::new(&mut self.writer).poll_flush(context)?.is_ready() {
            self.unflushed = false;
        }
        Ok(progress)
    }
}

/// Nothing for an empty line.
fn understand(line: &[u8], bounds: &Bounds) -> Option<(Delivery, usize)> {
    let text = line.trim_ascii();
    (!text.is_empty()).then(|| (Delivery { body: json::parse(text, bounds) }, text.len()))
}

/// Notifications and answers are never kept waiting: they may be what a running request waits for.
fn takes_a_place(delivery: &Delivery) -> bool {
    let asks = |value: &Value| value.get("method").is_some() && value.get("id").is_some();
    match &delivery.body {
        Ok(Value::Array(messages)) => messages.iter().any(asks),
        Ok(message) => asks(message) || !message.is_object(),
        Err(_) => false,
    }
}

fn too_long(limit: usize) -> Error {
    Error::new(
        Kind::BadJson,
        format!("The message is larger than the limit of {limit} bytes; send less at once."),
    )
}
