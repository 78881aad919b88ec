//! One try: a connection, a request, an answer within its cap.
//!
//! Owns the sending with the HTTP library, whose clients `clients.rs` makes. The idea: what leaves is checked against its
//! origin, what comes back has a cap, and what the library says of a failure is kept for the log and never shown.
//!
//! Must not: try twice.

use std::error::Error as _;

use ::http::{HeaderMap, HeaderValue, Method};
use bytes::{Bytes, BytesMut};
use url::Url;

use super::certificate::Shown;
use super::clients::Clients;
use super::egress::{AddressRefused, Origin};
use super::settings::Config;
use crate::error::{Error, Kind, Result};
use crate::limits::room::{self, LARGE};
use crate::telemetry::facts;

/// The way to one origin.
pub(super) struct Wire {
    name: String,
    origin: Origin,
    clients: Clients,
}

/// A request as it leaves, signed.
pub(super) struct Leaving {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing came back.
pub(super) struct Failure {
    /// What is said of it.
    pub(super) error: Error,
    /// Whether it surely did not reach the upstream.
    pub(super) unsent: bool,
    /// Whether another try may end differently.
    pub(super) passing: bool,
}

impl Wire {
    pub(super) fn new(name: &str, origin: Origin, config: &Config) -> Result<Self> {
        let clients = Clients::new(name, origin.clone(), config)?;
        Ok(Self { name: name.to_owned(), origin, clients })
    }

    /// Refuses an address that leads anywhere but to this origin.
    pub(super) fn check(&self, url: &Url) -> Result<()> {
        self.origin.check(url, &self.name).inspect_err(|_| {
            facts::egress_refused();
        })
    }

    /// Sends once; the answer is at most `limit` bytes long.
    pub(super) async fn send(
        &self,
        leaving: Leaving,
        shown: Option<&Shown>,
        limit: u64,
    ) -> Result<Answer, Failure> {
        let Leaving { method, url, headers, body } = leaving;
        self.check(&url).map_err(lasting)?;
        let client = self.clients.here(shown).map_err(lasting)?;
        let leaving = facts::leaving(url.host_str().unwrap_or_default(), method.as_str());
        let told = leaving.as_ref().and_then(|leaving| HeaderValue::try_from(leaving.traceparent()?).ok());
        let mut request = client.request(method, url).headers(headers);
        if let Some(told) = told {
            request = request.header("traceparent", told);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        let sent = request.send().await;
        let status = sent.as_ref().map_or(0, |response| response.status().as_u16());
        if let Some(leaving) = leaving {
            leaving.answered(&self.name, status);
        }
        let mut response = sent.map_err(|cause| self.failed(cause))?;
        let headers = std::mem::take(response.headers_mut());
        let named = facts::REQUEST_IDS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
        facts::answered(&self.name, status, named);
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(self.too_long(limit));
        }
        let (mut body, mut room) = (BytesMut::new(), 0);
        while let Some(chunk) = response.chunk().await.map_err(|cause| self.failed(cause))? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(self.too_long(limit));
            }
            let length = body.len() + chunk.len();
            if length > room && length > LARGE {
                // doubling, so that the room is not asked for each piece
                let most = usize::try_from(limit).unwrap_or(usize::MAX).max(length);
                let wanted = length.saturating_mul(2).min(most);
                let full = |error| Failure { error, unsent: false, passing: false };
                room::take(wanted - room).map_err(full)?;
                room = wanted;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    /// What is said of a failure: which step, and nothing of the library's words.
    fn failed(&self, cause: reqwest::Error) -> Failure {
        // the address may hold a key
        let (name, cause) = (&self.name, cause.without_url());
        if refused_address(&cause) {
            let message = format!(
                "{name} resolves to a private or special address; it was not contacted (list it in [egress] \
                 allow_private if it is meant)"
            );
            facts::egress_refused();
            return lasting(Error::new(Kind::Forbidden, message).with_source(cause));
        }
        if let Some(tls) = find::<rustls::Error>(&cause) {
            let message = match tls {
                rustls::Error::InvalidCertificate(_) => format!(
                    "{name} shows a certificate that is not trusted for its address; nothing was sent (a private \
                     authority is named in [egress] ca_file)"
                ),
                rustls::Error::AlertReceived(alert) if about_us(*alert) => format!(
                    "{name} does not let us in: it wants a client certificate, or another one than it was shown; check \
                     [credentials]"
                ),
                _ => format!("no safe connection to {name} could be agreed on; TLS 1.2 is the least"),
            };
            return lasting(Error::new(Kind::UpstreamFailed, message).with_source(cause));
        }
        let (connect, timeout) = (cause.is_connect(), cause.is_timeout());
        let (kind, message) = match (connect, timeout) {
            (true, true) => (Kind::TimedOut, format!("{name} could not be reached in time")),
            (true, false) => (Kind::UpstreamFailed, format!("{name} could not be reached")),
            (false, true) => (Kind::TimedOut, format!("{name} stopped answering")),
            (false, false) => {
                (Kind::UpstreamFailed, format!("{name} broke off the connection or its answer"))
            }
        };
        let passing = !cause.is_builder();
        Failure { error: Error::new(kind, message).with_source(cause), unsent: connect, passing }
    }

    fn too_long(&self, limit: u64) -> Failure {
        let message = format!("the answer of {} is longer than {limit} bytes; ask for less of it", self.name);
        Failure { error: Error::new(Kind::UpstreamFailed, message), unsent: false, passing: false }
    }
}

/// A failure that no other try changes.
fn lasting(error: Error) -> Failure {
    Failure { error, unsent: true, passing: false }
}

/// Whether the other side complains about our certificate.
fn about_us(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn refused_address(cause: &reqwest::Error) -> bool {
    find::<AddressRefused>(cause).is_some()
}

/// The cause of that type, however deep it is wrapped.
fn find<E: std::error::Error + 'static>(cause: &reqwest::Error) -> Option<&E> {
    let mut next = cause.source();
    while let Some(error) = next {
        // an I/O error hides what it holds: its source is what its content's source is
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = error.downcast_ref().or_else(|| held?.downcast_ref());
        if found.is_some() {
            return found;
        }
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}
