//! The body of an HTTP answer.
//!
//! Owns [`Reply`] and [`EventStream`]. The idea: an event stream drives its handler itself, so there is no task per
//! request, and hyper dropping the body of a closed connection is all that cancelling needs.
//!
//! Must not: send a byte after the answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::exchange::{Afterlife, Exchange};
use super::leases::Leased;
use super::{Answer, Event};

/// A whole body, or a stream of events.
pub(super) enum Reply {
    Whole(Bytes),
    Events(Box<EventStream>),
}

/// Server-sent events until the handler answers.
pub(super) struct EventStream {
    exchange: Option<Exchange>,
    answer: Option<Answer>,
    keep_alive: Pin<Box<Sleep>>,
    every: Duration,
    greeting: bool,
    /// Where the handler goes on; nothing for a stream that is nothing but a connection.
    afterlife: Option<Afterlife>,
    /// What it goes on by; nothing where nothing can lapse.
    lease: Option<Leased>,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.part();
    }
}

impl EventStream {
    /// `answer` is what the handler answered already, if it did; `greeting` sends a comment at once, so that a client
    /// that waits for the first byte knows that it was heard.
    pub(super) fn new(exchange: Exchange, answer: Option<Answer>, every: Duration, greeting: bool) -> Self {
        let keep_alive = Box::pin(tokio::time::sleep(every));
        Self { exchange: Some(exchange), answer, keep_alive, every, greeting, afterlife: None, lease: None }
    }

    /// The handler may go on when the client has gone.
    pub(super) fn outlived_by(mut self, afterlife: Afterlife) -> Self {
        self.afterlife = Some(afterlife);
        self
    }

    /// It ends with its lease.
    pub(super) fn leased(mut self, lease: Option<Leased>) -> Self {
        self.lease = lease;
        self
    }

    fn part(&mut self) {
        if let (Some(exchange), Some(afterlife)) = (self.exchange.take(), &self.afterlife) {
            exchange.part(afterlife, self.lease.take());
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(lease) = &mut self.lease
            && Pin::new(lease).poll(context).is_ready()
        {
            // what was let in by a key that was taken back is not let out either
            self.lease = None;
            self.exchange = None;
        }
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        if self.answer.is_none()
            && let Poll::Ready(answer) = exchange.poll(context)
        {
            self.answer = Some(answer);
        }
        let mut text = String::new();
        if std::mem::take(&mut self.greeting) {
            text.push_str(":\n\n");
        }
        let ended = exchange.queue.is_ended();
        write_events(&mut text, exchange.queue.take());
        if let Some(answer) = self.answer.take() {
            let id = exchange.queue.answer_id();
            let last = answer.body.map(|message| Event { id, message, retry: None });
            write_events(&mut text, last.into_iter().collect());
            self.exchange = None;
            return Poll::Ready((!text.is_empty()).then(|| text.into()));
        }
        if ended {
            self.part();
            return Poll::Ready((!text.is_empty()).then(|| text.into()));
        }
        if text.is_empty() {
            if self.keep_alive.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            text.push_str(":\n\n");
        }
        self.keep_alive.as_mut().reset(Instant::now() + self.every);
        Poll::Ready(Some(text.into()))
    }
}

fn write_events(text: &mut String, events: VecDeque<Event>) {
    text.reserve(events.iter().map(|event| event.message.len() + 64).sum());
    for Event { id, retry, message } in events {
        // an event of no message only hands out its id
        if !message.is_empty() {
            text.push_str("event: message\n");
        }
        if let Some(id) = id {
            text.push_str("id: ");
            text.push_str(&id);
            text.push('\n');
        }
        if let Some(retry) = retry {
            let _ = writeln!(text, "retry: {}", retry.as_millis());
        }
        text.push_str("data: ");
        if message.contains(['\n', '\r']) {
            // Between tokens a line end is a space; inside strings JSON has none.
            text.push_str(&message.replace(['\n', '\r'], " "));
        } else {
            text.push_str(&message);
        }
        text.push_str("\n\n");
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Events(events) => {
                events.poll(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events(events) => events.exchange.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
