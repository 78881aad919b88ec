//! The body of an HTTP answer.
//!
//! Owns [`Reply`] and [`EventStream`]. The idea: an event stream drives its handler itself, so there is no task per
//! request, and hyper dropping the body of a closed connection is all that cancelling needs.
//!
//! Must not: send a byte after the answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Answer;
use super::exchange::Exchange;

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
}

impl EventStream {
    /// `answer` is what the handler answered already, if it did; `greeting` sends a comment at once, so that a client
    /// that waits for the first byte knows that it was heard.
    pub(super) fn new(exchange: Exchange, answer: Option<Answer>, every: Duration, greeting: bool) -> Self {
        let keep_alive = Box::pin(tokio::time::sleep(every));
        Self { exchange: Some(exchange), answer, keep_alive, every, greeting }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
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
        write_events(&mut text, exchange.queue.take());
        if let Some(answer) = self.answer.take() {
            write_events(&mut text, answer.body.into_iter().collect());
            self.exchange = None;
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

fn write_events(text: &mut String, messages: VecDeque<String>) {
    text.reserve(messages.iter().map(|message| message.len() + 32).sum());
    for message in messages {
        text.push_str("event: message\ndata: ");
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
