//! The way out: one outbound request, checked, signed, paced, capped.
//!
//! Owns [`Client`]. The idea: a request is a value; where it may go, how it is signed and how often it is tried are
//! settled here and nowhere else.
//!
//! Must not: know what an operation is.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::error::{Error, Kind, Result};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One request to an upstream, complete but for its credentials.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute address; its scheme, host and port must be the connector's.
    pub url: Url,
    /// Headers beyond those of the body and the credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Body,
    /// Whether sending it twice is as good as once (GET, HEAD, PUT, DELETE with an idempotent upstream): only then is
    /// it tried again after a failure that may have reached the upstream.
    pub idempotent: bool,
    /// Longest time for all tries together; capped by the client's own.
    pub timeout: Option<Duration>,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// Bytes of a media type.
    Bytes {
        /// `Content-Type`.
        content_type: String,
        /// The bytes.
        bytes: Bytes,
    },
    /// `multipart/form-data`.
    Multipart(Vec<Part>),
}

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub struct Part {
    /// Field name.
    pub name: String,
    /// File name, for files.
    pub file_name: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// The bytes.
    pub bytes: Bytes,
}

/// What an upstream answered, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, at most as long as the client's cap.
    pub body: Bytes,
    /// How many times it was tried.
    pub tries: u32,
}

/// One HTTP client bound to one upstream: its hosts, its credentials, its pace.
#[derive(Debug, Clone)]
pub struct Client {}

impl Client {
    /// Sends a request. Any status is an `Ok`; no answer at all is an error (`UpstreamFailed`, `TimedOut`,
    /// `Forbidden` for a refused destination, `RateLimited` when the pace would exceed the deadline).
    ///
    /// Dropping the future aborts the request.
    pub async fn send(&self, _request: Request) -> Result<Response> {
        Err(Error::new(Kind::Internal, "the way out is not built yet"))
    }
}
