//! Bodies on their way in.
//!
//! Owns [`Bodies`], which reads and parses them, and [`Held`], what one takes of the room for all. The idea: a body that
//! came with its head costs no copy, no timer and no count. One that has to be waited for, and one that is large, takes
//! its bytes from a room that all callers share and of which each has at most half; a large one is parsed on a thread
//! of its own, so that it holds up nobody else's connection.
//!
//! Must not: know what a body says.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;

use super::Config;
use super::guard::Refused;
use crate::error::{Error, Kind, Result};
use crate::json::{self, Bounds, Value};
use crate::limits::Shares;

/// Bytes of a body that are not worth counting once all of it is there.
const SMALL: usize = 64 << 10;
/// Bytes from which on a body is parsed elsewhere.
const LARGE: usize = 256 << 10;

/// Reads bodies, within bounds for each and for all.
pub(super) struct Bodies {
    bounds: Bounds,
    within: Duration,
    room: Shares,
    parsing: Semaphore,
}

/// The bytes of one body, until it is answered.
pub(super) struct Held {
    bodies: Arc<Bodies>,
    who: Arc<str>,
    bytes: usize,
}

impl Held {
    /// Takes what is missing to `bytes`; false if there is no room for it.
    fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = self.bodies.room.take(&self.who, self.bytes, more);
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.room.give(&self.who, self.bytes);
    }
}

/// A whole body, and what it holds of the room, if it is large.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) held: Option<Held>,
}

impl Whole {
    /// How many reads a caller is charged for it: none for a small one.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(self.bytes.len() / SMALL).unwrap_or(u32::MAX)
    }
}

impl Bodies {
    /// Bounds as they are configured. Room for one body there is always.
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (most, each) = (config.held_bytes, config.held_bytes / 2);
        Arc::new(Self {
            bounds: config.bounds(),
            within: config.body_timeout,
            room: Shares::new(most.max(config.body_limit), each.max(config.body_limit)),
            parsing: Semaphore::new(cores),
        })
    }

    /// Reads a body of `who`.
    pub(super) async fn read(self: &Arc<Self>, mut body: Incoming, who: &Arc<str>) -> Result<Whole, Refused> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut deadline = None;
        let mut held: Option<Held> = None;
        let hold = |bytes: usize, held: &mut Option<Held>| {
            let fresh = || Held { bodies: Arc::clone(self), who: Arc::clone(who), bytes: 0 };
            let full = Refused { status: StatusCode::SERVICE_UNAVAILABLE, what: "no room for the body" };
            if held.get_or_insert_with(fresh).grow(bytes) { Ok(()) } else { Err(full) }
        };
        poll_fn(|context| {
            loop {
                let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) else {
                    let count = first.len() + rest.len();
                    if count > 0
                        && let Err(full) = hold(count, &mut held)
                    {
                        return Poll::Ready(Err(full));
                    }
                    let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.within)));
                    ready!(deadline.as_mut().poll(context));
                    let late = Refused { status: StatusCode::REQUEST_TIMEOUT, what: "body came too slowly" };
                    return Poll::Ready(Err(late));
                };
                let data = match frame {
                    None => return Poll::Ready(Ok(())),
                    Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                    Some(Err(_)) => {
                        let broken = Refused { status: StatusCode::BAD_REQUEST, what: "body broke off" };
                        return Poll::Ready(Err(broken));
                    }
                };
                let count = first.len() + rest.len() + data.len();
                if count > self.bounds.size {
                    let large = Refused { status: StatusCode::PAYLOAD_TOO_LARGE, what: "body too large" };
                    return Poll::Ready(Err(large));
                }
                if count > SMALL
                    && let Err(full) = hold(count, &mut held)
                {
                    return Poll::Ready(Err(full));
                }
                if first.is_empty() && rest.is_empty() {
                    first = data;
                    if body.is_end_stream() {
                        return Poll::Ready(Ok(()));
                    }
                } else {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
            }
        })
        .await?;
        let bytes = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Whole { held: held.filter(|_| bytes.len() > SMALL), bytes })
    }

    /// The value, or a `BadJson` error.
    pub(super) async fn parse(&self, bytes: Bytes) -> Result<Value, Error> {
        let bounds = self.bounds;
        if bytes.len() < LARGE {
            return json::parse(&bytes, &bounds);
        }
        let failed = || Error::new(Kind::Internal, "The server failed to read this message.");
        let _turn = self.parsing.acquire().await.map_err(|_| failed())?;
        let parsed = tokio::task::spawn_blocking(move || json::parse(&bytes, &bounds));
        parsed.await.map_err(|_| failed())?
    }
}
