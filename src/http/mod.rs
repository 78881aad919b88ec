//! The way out: one outbound request, checked, signed, paced, capped.
//!
//! Owns [`Client`]. The idea: a request is a value; where it may go (`egress.rs`), how it is signed
//! (`credentials.rs`, `query.rs`, `signature.rs`, `certificate.rs`, `oauth.rs`), how often it is tried (`retry.rs`),
//! how fast (`pace.rs`) and whether at all (`circuit.rs`) are settled here and nowhere else; `wire.rs` makes a single try. Clients that reach the same host with the
//! same credential share a lane (`lane.rs`).
//!
//! Must not: know what an operation is.

mod account;
mod announced;
pub mod certificate;
mod circuit;
mod clients;
pub mod credentials;
mod drawer;
mod egress;
mod endpoint;
mod exchange;
mod failed;
mod granted;
pub mod hook;
mod lane;
mod message;
pub mod oauth;
mod pace;
pub mod query;
pub mod recipe;
mod refresh;
mod retry;
mod settings;
mod sharing;
pub mod signature;
mod token;
mod traffic;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method};

pub use credentials::{Credentials, Identity, Signing, Supply};
pub use granted::Granted;
pub use lane::on_behalf;
pub use message::{Body, Part, Request, Response};
pub use settings::{Config, Pace, Settings};
pub use token::TokenStore;
pub use traffic::{State, Traffic, Watch};

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::redaction::Redactor;
use egress::{Exemptions, Origin};
use lane::{Lane, Rules};
use wire::{Answer, Leaving, Wire};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Headers that describe the connection; no caller may set them.
const OURS: &[HeaderName] = &[HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE, TRAILER];

/// One HTTP client bound to one upstream: its hosts, its credentials, its pace. Cheap to clone; clones share the pace.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    base: String,
    wire: Wire,
    credentials: Arc<dyn Credentials>,
    redactor: Redactor,
    clock: SharedClock,
    lane: Arc<Lane>,
    retries: u32,
    timeout: Duration,
    body_limit: u64,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for one upstream. Nothing is opened and no credential is read before the first request; what can be
    /// known to be wrong now (`BadConfig`) is.
    pub fn new(
        settings: Settings,
        credentials: Arc<dyn Credentials>,
        redactor: Redactor,
        clock: SharedClock,
    ) -> Result<Self> {
        let Settings { name, base, hosts, egress, pace, timeout, body_limit } = settings;
        let longest = seconds(egress.timeout, "timeout")?;
        seconds(egress.connect_timeout, "connect_timeout")?;
        seconds(egress.read_timeout, "read_timeout")?;
        let origin = Origin::of(&base, &hosts, &Exemptions::parse(&egress.allow_private)?, &name)?;
        let pace =
            pace.or(egress.per_minute.map(|per_minute| Pace { per_minute, burst: per_minute.div_ceil(6) }));
        let rules = Rules {
            pace,
            at_once: egress.at_once,
            circuit: circuit::Rules {
                failures: egress.circuit_failures,
                open: seconds(egress.circuit_seconds, "circuit_seconds")?,
            },
            alert: egress.too_many_alert,
        };
        let host = base.origin().ascii_serialization();
        let lane = egress.traffic.lane(&name, &host, credentials.account(), rules);
        let inner = Inner {
            wire: Wire::new(&name, origin, &egress)?,
            name,
            base: base.to_string(),
            credentials,
            redactor,
            clock,
            lane,
            retries: egress.retries,
            timeout: timeout.map_or(longest, |own| own.min(longest)),
            body_limit: body_limit.map_or(egress.body_limit, |own| own.min(egress.body_limit)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the operator calls the upstream.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether a credential of this process is in it, or a redaction marker.
    pub fn refuses(&self, value: &crate::json::Value) -> bool {
        self.inner.redactor.refuses(value)
    }

    /// Bytes that an answer may have.
    pub fn body_limit(&self) -> usize {
        usize::try_from(self.inner.body_limit).unwrap_or(usize::MAX)
    }

    /// Where requests go, and as whom.
    pub async fn identity(&self) -> (String, Identity) {
        let inner = &*self.inner;
        (inner.base.clone(), inner.credentials.identity(&inner.redactor).await)
    }

    /// What the upstream lets its credential do, as far as that says. With `login` a token is fetched for it, if need
    /// be.
    pub async fn granted(&self, login: bool) -> Result<Granted> {
        self.inner.credentials.granted(login, &self.inner.redactor).await
    }

    /// Sends a request. Any status is an `Ok`, a redirect too; no answer at all is an error (`UpstreamFailed`,
    /// `TimedOut`, `Forbidden` for a refused destination, `RateLimited` when the pace would exceed the deadline).
    ///
    /// Dropping the future aborts the request.
    pub async fn send(&self, request: Request) -> Result<Response> {
        let inner = &*self.inner;
        let longest = request.timeout.map_or(inner.timeout, |own| own.min(inner.timeout));
        let idempotent = request.idempotent;
        let deadline = inner.clock.monotonic() + longest;
        let done = tokio::time::timeout(longest, inner.run(request, deadline)).await;
        done.unwrap_or_else(|_| {
            let seconds = longest.as_secs_f64();
            let message = format!("{} did not answer within {seconds:.1} seconds", inner.name);
            let late = Error::new(Kind::TimedOut, message);
            Err(if idempotent { late } else { doubtful(late) })
        })
    }
}

impl Inner {
    async fn run(&self, request: Request, deadline: Duration) -> Result<Response> {
        self.wire.check(&request.url)?;
        let Request { method, mut url, headers: extra, body, idempotent, .. } = request;
        url.set_fragment(None);
        let (content_type, body) = body.encode(|| uuid::Uuid::new_v4().simple().to_string());
        let headers = self.headers(extra, content_type.as_deref())?;
        self.lane.budget.earn();
        let (mut tries, mut renewed, mut lost) = (0, false, false);
        loop {
            let permit = self.lane.enter(&self.clock, deadline, tries > 0).await?;
            let mut signing = Signing {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: body.clone(),
                generation: 0,
                shown: None,
                redactor: self.redactor.clone(),
            };
            self.credentials.apply(&mut signing).await?;
            let generation = signing.generation;
            tries += 1;
            let Signing { url: signed, headers: with, shown, .. } = signing;
            let leaving = Leaving { method: method.clone(), url: signed, headers: with, body: body.clone() };
            let sent = self.wire.send(leaving, shown.as_ref(), self.body_limit).await;
            if let Ok(Answer { status: 401, headers, .. }) = &sent
                && !renewed
                && self.credentials.rejected(generation, &self.redactor).await
            {
                permit.answered(401, &announced::read(headers, self.clock.wall()), Duration::ZERO);
                renewed = true;
                continue;
            }
            let wait = match sent {
                Ok(answer) => {
                    let said = announced::read(&answer.headers, self.clock.wall());
                    let asked = retry::retry_after(&answer.headers, self.clock.wall());
                    let response = Response {
                        status: answer.status,
                        headers: answer.headers,
                        body: answer.body,
                        tries,
                        lost,
                        retry_after: asked,
                    };
                    // on top of what is asked for, so that those who were told the same do not come back together
                    let wait = asked.unwrap_or_default() + retry::backoff(tries, rand::random());
                    permit.answered(response.status, &said, wait);
                    if !retry::worth(response.status, idempotent) || !self.may_retry(tries, wait, deadline) {
                        return Ok(response);
                    }
                    lost |= response.status >= 500;
                    // the pause above makes everybody wait, this request too
                    if response.status == 429 { Duration::ZERO } else { wait }
                }
                Err(failure) => {
                    permit.failed(failure.passing);
                    let wait = retry::backoff(tries, rand::random());
                    let safe = failure.passing && (failure.unsent || idempotent);
                    lost |= !failure.unsent;
                    if !safe || !self.may_retry(tries, wait, deadline) {
                        return Err(if lost && !idempotent {
                            doubtful(failure.error)
                        } else {
                            failure.error
                        });
                    }
                    wait
                }
            };
            crate::telemetry::facts::retried(&self.name);
            tokio::time::sleep(wait).await;
        }
    }

    fn may_retry(&self, tries: u32, wait: Duration, deadline: Duration) -> bool {
        tries <= self.retries && self.clock.monotonic() + wait < deadline && self.lane.budget.spend()
    }

    fn headers(
        &self,
        extra: Vec<(HeaderName, HeaderValue)>,
        content_type: Option<&str>,
    ) -> Result<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(extra.len() + 3);
        for (name, value) in extra {
            if OURS.contains(&name) || name.as_str().starts_with("proxy-") {
                let message = "a request header that belongs to the connection may not be set; leave it out";
                return Err(Error::new(Kind::BadArguments, message));
            }
            headers.append(name, value);
        }
        if let Some(content_type) = content_type {
            let value = HeaderValue::from_str(content_type).map_err(|cause| {
                let message = format!("the media type of a request to {} is not one", self.name);
                Error::new(Kind::BadArguments, message).with_source(cause)
            })?;
            headers.insert(CONTENT_TYPE, value);
        }
        Ok(headers)
    }
}

/// The failure of something that must not be done twice, and may have been done.
fn doubtful(error: Error) -> Error {
    let message = format!(
        "{}; whether it was carried out is not known: look before you send it again",
        error.message()
    );
    Error::new(error.kind(), message).with_source(error)
}

/// A time from the configuration, if it is one.
fn seconds(value: f64, key: &str) -> Result<Duration> {
    let valid =
        Duration::try_from_secs_f64(value).ok().filter(|time| !time.is_zero() && time.as_secs() <= 86_400);
    valid.ok_or_else(|| {
        Error::new(Kind::BadConfig, format!("[egress] {key} must be a number of seconds between 0 and 86400"))
    })
}
