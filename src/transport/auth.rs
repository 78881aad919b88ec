//! Who is calling, over HTTP.
//!
//! Owns the [`Authenticator`] port and [`Attempts`], the brake on guessing. The idea: the transport asks, `identity`
//! answers; an address that keeps presenting refused credentials has to wait before another guess is told apart from
//! noise.
//!
//! Must not: know a kind of credential.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::BoxFuture;
use crate::clock::SharedClock;
use crate::principal::Principal;

/// Why a request was not let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status: 401 for a missing or refused credential, 403 for one that is not enough, 503 where it cannot be
    /// checked now.
    pub status: u16,
    /// The `WWW-Authenticate` challenges.
    pub challenges: Vec<String>,
    /// What the next proof of possession has to repeat (`DPoP-Nonce`).
    pub nonce: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The reason, in a few words of ours, for the audit.
    pub what: &'static str,
    /// Whether a credential was presented and refused: these are counted against the address.
    pub presented: bool,
}

impl Refusal {
    /// No credential was presented.
    pub fn missing() -> Self {
        Self {
            status: 401,
            challenges: vec!["Bearer realm=\"bartizan\"".into()],
            what: "no credential",
            ..Self::default()
        }
    }

    /// A credential was presented and is not accepted.
    pub fn refused(what: &'static str) -> Self {
        Self {
            status: 401,
            challenges: vec!["Bearer realm=\"bartizan\", error=\"invalid_token\"".into()],
            what,
            presented: true,
            ..Self::default()
        }
    }
}

/// A client certificate that the connection was opened with and that an authority of the configuration vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the certificate in base64url without padding, as `cnf.x5t#S256` of a token names it (RFC 8705).
    pub thumbprint: Arc<str>,
    /// The subject, as text.
    pub subject: String,
    /// The alternative names: `dns:`, `uri:`, `email:` or `ip:` and the name.
    pub names: Vec<String>,
    /// The issuer, as text.
    pub issuer: Arc<str>,
    /// When it ends, since the epoch.
    pub expires: Duration,
}

/// What a request shows of who sends it.
#[derive(Debug, Clone)]
pub struct Presented<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its method.
    pub method: &'a Method,
    /// Its path, as it came.
    pub path: &'a str,
    /// The address it came from; behind a trusted proxy, the one that the proxy names.
    pub address: IpAddr,
    /// The client certificate of its connection.
    pub certificate: Option<&'a Arc<Certificate>>,
}

/// What an [`Authenticator`] says: at once where it can, later where it has to ask somebody.
pub enum Verdict<'a> {
    /// Known now.
    Now(Result<Arc<Principal>, Refusal>),
    /// The credential was found good before; what it still waits for is no guess of anybody's.
    Known(BoxFuture<'a, Result<Arc<Principal>, Refusal>>),
    /// Known when this resolves.
    Later(BoxFuture<'a, Result<Arc<Principal>, Refusal>>),
}

/// Says whether a credential still opens what it opened, with the same rights.
pub type Lease = Box<dyn Fn() -> bool + Send + Sync>;

/// Turns the credentials of a request into a principal.
pub trait Authenticator: Send + Sync + 'static {
    /// Checks what a request presents.
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a>;

    /// What a stream that this opened goes on by; nothing where there is nothing that could lapse. It is asked a few
    /// times a second, so it may look at nothing but memory.
    fn lease(&self, _presented: &Presented<'_>) -> Option<Lease> {
        None
    }

    /// Finds out what has changed; called before leases are asked.
    fn refresh(&self) {}

    /// The challenge that leads to a credential which also has these scopes; nothing where there is no such way.
    fn step_up(&self, _presented: &Presented<'_>, _scopes: &[String]) -> Option<String> {
        None
    }

    /// What the next proof of possession has to repeat, where it is time to say so.
    fn next_nonce(&self, _presented: &Presented<'_>) -> Option<String> {
        None
    }

    /// A public JSON document on how to get in, if there is one at this path.
    fn document(&self, _path: &str) -> Option<Arc<str>> {
        None
    }

    /// Whether everybody is let in. Such an endpoint is never opened beyond loopback.
    fn is_open(&self) -> bool {
        false
    }
}

/// What a request was let in by, for what goes on without the request.
#[derive(Clone)]
pub struct Right {
    authenticator: Arc<dyn Authenticator>,
    authorization: Option<HeaderValue>,
    address: IpAddr,
    certificate: Option<Arc<Certificate>>,
}

impl Right {
    /// What this opens.
    pub fn new(authenticator: Arc<dyn Authenticator>, presented: &Presented<'_>) -> Self {
        Self {
            authenticator,
            authorization: presented.headers.get(AUTHORIZATION).cloned(),
            address: presented.address,
            certificate: presented.certificate.cloned(),
        }
    }

    /// A lease that finds out by itself what has changed.
    pub fn lease(&self) -> Option<Lease> {
        let mut headers = HeaderMap::new();
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let presented = Presented {
            headers: &headers,
            method: &Method::POST,
            path: "/mcp",
            address: self.address,
            certificate: self.certificate.as_ref(),
        };
        let (authenticator, lease) = (Arc::clone(&self.authenticator), self.authenticator.lease(&presented)?);
        Some(Box::new(move || {
            authenticator.refresh();
            lease()
        }))
    }
}

/// Addresses tracked at one time.
const TRACKED: usize = 4096;

/// Counts refused credentials by address.
pub(super) struct Attempts {
    /// When each address has paid for its attempts.
    paid_at: Mutex<HashMap<IpAddr, Duration>>,
    tracked: AtomicUsize,
    each: Duration,
    burst: u32,
    clock: SharedClock,
}

impl Attempts {
    /// `per_minute` refused credentials are free in a minute; 0 turns the brake off.
    pub(super) fn new(per_minute: u32, clock: SharedClock) -> Self {
        let each = Duration::from_mins(1).checked_div(per_minute).unwrap_or_default();
        Self { paid_at: Mutex::default(), tracked: AtomicUsize::new(0), each, burst: per_minute, clock }
    }

    /// Counts an attempt before it is known how it ends, so that those who come meanwhile are counted too; or how long this
    /// address has to wait.
    pub(super) fn reserve(&self, address: IpAddr) -> Result<(), Duration> {
        // two that look at once may both pass: each is counted all the same
        self.wait(address).map_or(Ok(()), Err)?;
        self.count(address);
        Ok(())
    }

    /// What was counted was no refused credential.
    pub(super) fn give_back(&self, address: IpAddr) {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = paid_at.get_mut(&network(address)) {
            *at = at.saturating_sub(self.each);
        }
    }

    /// How long this address has to wait before a credential of it is looked at again.
    pub(super) fn wait(&self, address: IpAddr) -> Option<Duration> {
        if self.tracked.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = self.clock.monotonic();
        let paid_at =
            self.paid_at.lock().unwrap_or_else(PoisonError::into_inner).get(&network(address)).copied()?;
        let allowed_at = (paid_at + self.each).saturating_sub(self.each * self.burst);
        allowed_at.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Counts one refused credential.
    pub(super) fn count(&self, address: IpAddr) {
        if self.burst == 0 {
            return;
        }
        let now = self.clock.monotonic();
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_at.len() >= TRACKED {
            paid_at.retain(|_, at| *at > now);
            if paid_at.len() >= TRACKED {
                // Somebody uses thousands of addresses; the one that is closest to done makes room.
                let oldest = paid_at.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
                oldest.and_then(|address| paid_at.remove(&address));
            }
        }
        let at = paid_at.entry(network(address)).or_insert(now);
        *at = (*at).max(now) + self.each;
        self.tracked.store(paid_at.len(), Ordering::Relaxed);
    }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_address_that_guesses_has_to_wait_and_others_do_not() {
        let clock = ManualClock::at(Duration::from_secs(1000));
        let attempts = Attempts::new(3, clock.clone());
        let guesser: IpAddr = "2001:db8::1".parse().unwrap();
        let sibling: IpAddr = "2001:db8::2".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(attempts.wait(guesser), None);
            attempts.count(guesser);
        }
        assert_eq!(attempts.wait(sibling), Some(Duration::from_secs(20)));
        assert_eq!(attempts.wait("127.0.0.1".parse().unwrap()), None);
        clock.advance(Duration::from_secs(20));
        assert_eq!(attempts.wait(guesser), None);
        attempts.count(guesser);
        assert!(attempts.wait(guesser).is_some());
    }

    #[test]
    fn attempts_that_wait_for_an_answer_count_until_it_is_a_good_one() {
        let attempts = Attempts::new(3, ManualClock::at(Duration::from_secs(1000)));
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!((0..10).filter(|_| attempts.reserve(address).is_ok()).count(), 3);
        attempts.give_back(address);
        assert!(attempts.reserve(address).is_ok() && attempts.reserve(address).is_err());
    }

    #[test]
    fn the_number_of_tracked_addresses_is_bounded() {
        let attempts = Attempts::new(3, ManualClock::at(Duration::from_secs(1)));
        for number in 0..10_000_u32 {
            attempts.count(IpAddr::V4(number.into()));
        }
        assert_eq!(attempts.tracked.load(Ordering::Relaxed), TRACKED);
    }
}
