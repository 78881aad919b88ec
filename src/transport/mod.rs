//! The ports: all a transport knows of a server.
//!
//! Owns [`Handler`], [`Outlet`], [`Delivery`], [`Peer`], [`Answer`], [`Watch`]. The idea: a transport reads bytes, bounds and
//! parses them, says who sent them, and writes what comes back; it gives no meaning to any of it.
//!
//! Must not: know the server.

pub mod addresses;
mod answers;
pub mod auth;
mod body;
mod compress;
mod config;
mod connection;
mod crowd;
mod exchange;
mod guard;
pub mod http;
mod lanes;
mod leases;
mod lines;
mod listen;
mod multiplex;
pub mod pages;
mod queue;
mod sse;
mod stall;
pub mod stdio;
mod tls;
pub mod wire;

pub use config::{Config, Holder};
pub use tls::{ClientCertificates, Tls};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::json::Value;
use crate::principal::Principal;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which kind of transport a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Lines on standard input and output (or an in-memory pipe): one long connection.
    Stdio,
    /// Streamable HTTP: one exchange at a time.
    Http,
}

impl Channel {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        }
    }
}

/// The headers that give a body meaning, exactly as they came (HTTP only; empty on stdio).
#[derive(Debug, Clone, Default)]
pub struct HeaderFacts {
    /// Every `MCP-Protocol-Version`, in order; more than one is a fault the server reports.
    pub revision: Vec<String>,
    /// Every `Mcp-Method`.
    pub method: Vec<String>,
    /// Every `Mcp-Name`, still encoded.
    pub name: Vec<String>,
    /// Every `Mcp-Param-*`: name after the prefix in lower case, value still encoded.
    pub params: Vec<(String, String)>,
    /// `Mcp-Session-Id`.
    pub session: Option<String>,
    /// `traceparent`.
    pub traceparent: Option<Arc<str>>,
    /// `Last-Event-ID`.
    pub last_event_id: Option<String>,
    /// Whether a header that must be text was not visible ASCII.
    pub malformed: bool,
}

/// Who sent a message, as far as the transport verified it.
#[derive(Clone)]
pub struct Peer {
    /// The authenticated caller.
    pub principal: Arc<Principal>,
    /// The kind of transport.
    pub channel: Channel,
    /// The address it speaks from (HTTP only); behind a trusted proxy, the one that the proxy names.
    pub address: Option<std::net::IpAddr>,
    /// Unique per stdio connection; for HTTP unique per exchange.
    pub connection: u64,
    /// Headers.
    pub headers: Arc<HeaderFacts>,
    /// Fires when the peer has gone (stream closed, end of input).
    pub gone: CancellationToken,
    /// What it was let in by, where that can be taken back.
    pub right: Option<auth::Right>,
}

/// A message as it arrived: parsed within bounds, or the reason why it could not be.
pub struct Delivery {
    /// The value, or a `BadJson` error.
    pub body: Result<Value, Error>,
}

/// What the server answers to one delivery.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status (stdio ignores it): 200, 202 for accepted notifications, 400, 404, 405 and so on.
    pub status: u16,
    /// The JSON text to send; none for notifications.
    pub body: Option<String>,
    /// A session that was just opened: sent as `Mcp-Session-Id`.
    pub session: Option<String>,
    /// With status 403: the scopes that this request needs and its caller may ask for.
    pub needs: Vec<String>,
}

/// A message on a stream that can be picked up where it broke off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What a client names when it comes back for the rest.
    pub id: Option<String>,
    /// When a client that lost the stream should come back.
    pub retry: Option<Duration>,
    /// The JSON text; empty for an event that only hands out an id.
    pub message: String,
}

impl From<String> for Event {
    fn from(message: String) -> Self {
        Self { message, ..Self::default() }
    }
}

/// Where messages beyond the answer go: progress, logs, and (older door) requests to the client.
pub trait Outlet: Send + Sync {
    /// Queues one JSON-RPC message (JSON text, no newline). False when the peer has gone or the queue is full.
    ///
    /// Over HTTP the first message turns the answer into an event stream.
    fn send(&self, message: String) -> bool;

    /// Queues one message under an id. From then on the stream can be picked up: over HTTP the handler of a request
    /// goes on when its client has gone.
    fn event(&self, event: Event) -> bool {
        event.message.is_empty() || self.send(event.message)
    }

    /// Queues what was missed, however much waits already; whoever calls it bounds it.
    fn replay(&self, events: Vec<Event>) {
        for event in events {
            self.event(event);
        }
    }

    /// The id under which the answer goes, where the answer ends a stream.
    fn name_answer(&self, _id: String) {}

    /// Ends the connection once what waits is sent. The request goes on if its stream can be picked up.
    fn end(&self) {}

    /// Lets the client go, to come back for the rest, where its revision can; else nothing.
    fn pause(&self) {}
}

/// The server, as a transport sees it.
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. Dropping the future cancels it.
    fn handle(&self, delivery: Delivery, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, Answer>;

    /// A GET stream of the older door (HTTP): resolves when the stream should end, or to the refusal at once (when
    /// it is first polled; a future that is still pending then has accepted the stream).
    fn listen(&self, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, Result<(), Answer>>;

    /// The peer ended its session (DELETE), or its connection ended (end of input, shutdown): what waits for the
    /// peer, such as listening streams and open questions, should end; calls under way may finish.
    fn close(&self, peer: Peer) -> BoxFuture<'_, Answer>;
}

/// Why and for how long a caller is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnedAway {
    /// The reason, in a few words of ours.
    pub why: &'static str,
    /// When it may come back.
    pub after: Duration,
    /// The quota of which nothing is left, where it is one: its name, how many, in how many seconds.
    pub quota: Option<(&'static str, u32, u32)>,
}

/// Hears of every message that a transport refused for safety's sake; `app` wires it to the audit.
pub trait Watch: Send + Sync + 'static {
    /// `what` names the reason in a few words of ours, `peer` the address it came from.
    fn refused(&self, what: &'static str, peer: &str);

    /// The file with the endpoint's certificate, or one that goes with it, has changed: the new one is in use, and until
    /// when; or it cannot be.
    fn renewed(&self, _file: &Path, _outcome: Result<Option<Duration>, &Error>) {}

    /// A credential was shown and is not accepted: told in place of [`Watch::refused`].
    fn unauthenticated(&self, what: &'static str, peer: &str) {
        self.refused(what, peer);
    }

    /// Whether a caller's messages are turned away unread, and for how long; asked for each, and told by asking.
    fn turns_away(&self, _principal: &str) -> Option<TurnedAway> {
        None
    }

    /// Charges a caller for a large body before it is parsed, whatever it turns out to be: `reads` of the caller's
    /// quota. How long to wait, where that is too much.
    fn weighs(&self, _principal: &str, _reads: u32) -> Option<Duration> {
        None
    }

    /// Why calls would be refused just now whoever makes them, in a word for `/readyz`; none if they would not.
    fn unready(&self) -> Option<&'static str> {
        None
    }
}
