//! Access tokens: this server as an OAuth 2.1 resource server.
//!
//! Owns [`OAuth`]. The idea: a token is checked in the order in
//! which it can be wrong (form, issuer, signature, claims), by what configuration says and nothing else; then whether
//! this caller may use it, which is asked anew for every request. What is known is answered at once; what has to be
//! fetched or asked makes only its own request wait.
//!
//! ```text
//! config      what [oauth] says            keys, source   an issuer's keys, and where they come from
//! jws, jwk    a token; a public key        introspect     asking the issuer about a token
//! claims      what it says, and to us      dpop           proofs of possession
//! challenge   how one gets in              verified       tokens that were checked
//! ```
//!
//! Must not: take anything from a request but the credential, or hand a token on.

mod challenge;
mod claims;
mod config;
mod dpop;
mod introspect;
mod jwk;
mod jws;
mod keys;
mod source;
mod verified;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use url::Url;

pub use config::{Config, Dpop, Introspection, IssuerConfig};

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::Config as Egress;
use crate::principal::Principal;
use crate::redaction::Redactor;
use crate::secret::Secret;
use crate::state::shared::Once;
use crate::transport::auth::{Authenticator, Lease, Presented, Refusal, Verdict};
use challenge::Signposts;
use claims::{Facts, Issuer, Words};
use dpop::{Expected, Fault, Nonces, Proof};
use introspect::Introspector;
use jws::Jws;
use keys::{KeySet, Keys, Signed, Times};
use source::Source;
use verified::{Name, Shelf, Verified, Voucher, name};

/// Tokens that are remembered.
const REMEMBERED: usize = 4096;
/// Shorter credentials are no tokens.
const SHORTEST: usize = 16;
/// How long a stream goes on whose token an issuer cannot be asked about.
const GRACE: Duration = Duration::from_secs(60);

/// What the rest of the program gives.
pub struct Surroundings<'a> {
    /// The way out, for keys and questions.
    pub egress: &'a Egress,
    /// Keeps tokens out of arguments.
    pub redactor: Redactor,
    /// Ids of proofs that were used.
    pub once: Arc<dyn Once>,
    /// Seals nonces; the same for all who share callers.
    pub nonce_key: [u8; 32],
    /// What the server is called.
    pub name: Option<&'a str>,
    /// The time.
    pub clock: SharedClock,
}

/// Where an issuer's word is had.
enum Trust {
    Keys(Arc<Keys>),
    Word(Introspector),
}

/// Answers for access tokens.
pub struct OAuth {
    this: Weak<Self>,
    issuers: Vec<(Issuer, Trust)>,
    signposts: Signposts,
    words: Words,
    /// Our address, as proofs name it.
    address: String,
    dpop: Dpop,
    nonces: Option<Nonces>,
    once: Arc<dyn Once>,
    shelf: Shelf,
    leeway: Duration,
    word_holds: Duration,
    redactor: Redactor,
    clock: SharedClock,
}

/// What a request shows.
struct Shown<'a> {
    token: &'a str,
    name: Name,
    /// The proof, where it came as a bound token.
    proof: Option<&'a str>,
}

/// What is known of a token without waiting.
enum Known {
    Verified(Arc<Verified>),
    Refused(Refusal),
    /// It has to be asked for, or fetched.
    Unknown,
}

impl OAuth {
    /// Answers for tokens as `config` says. Nothing is fetched before the first token.
    pub fn new(config: &Config, around: Surroundings<'_>) -> Result<Arc<Self>> {
        let public = config.address()?;
        config.check()?;
        let (Some(text), Some(address)) = (&config.public_url, dpop::normal(&public)) else {
            return Err(Error::new(Kind::Internal, "An address that was checked cannot be used."));
        };
        let seconds = Duration::from_secs;
        let times = Times {
            refresh: seconds(config.keys_refresh_seconds.max(1)),
            max_age: seconds(config.keys_max_age_seconds.max(1)),
            stale: seconds(config.keys_stale_seconds),
        };
        let mut issuers = Vec::new();
        for one in &config.issuers {
            let issuer = Issuer::new(one, text)?;
            let shared = (around.redactor.clone(), around.clock.clone());
            let trust = if let Some(asked) = &one.introspection {
                Trust::Word(Introspector::new(&issuer.name, asked, around.egress, shared)?)
            } else {
                let wrong = |_| Error::new(Kind::BadConfig, "A `jwks_uri` under [oauth] is not an address.");
                let keys = one.jwks_uri.as_deref().map(Url::parse).transpose().map_err(wrong)?;
                let named = (issuer.name.clone(), one.issuer.clone());
                let source = Source::new(named, one.address()?, keys, around.egress, shared)?;
                Trust::Keys(Keys::new(source, times, around.clock.clone()))
            };
            issuers.push((issuer, trust));
        }
        let words = Words::new(config);
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            issuers,
            signposts: Signposts::new(config, &public, around.name, words.clone()),
            words,
            address,
            dpop: config.dpop,
            nonces: config.dpop_nonce.then(|| Nonces::new(&around.nonce_key)).flatten(),
            once: around.once,
            shelf: Shelf::new(REMEMBERED),
            leeway: seconds(config.leeway_seconds),
            word_holds: seconds(config.introspection_ttl_seconds),
            redactor: around.redactor,
            clock: around.clock,
        }))
    }

    /// The one token of a request, and whether it came as a bound one.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Result<(&'a str, bool), Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Err(self.signposts.missing()) };
        if values.next().is_some() {
            return Err(self.signposts.refused("more than one Authorization"));
        }
        let read = value.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((scheme, token)) = read.map(|(scheme, token)| (scheme, token.trim())) else {
            return Err(self.signposts.refused("Authorization is not a token"));
        };
        let bound = scheme.eq_ignore_ascii_case("dpop");
        if !bound && !scheme.eq_ignore_ascii_case("bearer") {
            return Err(self.signposts.refused("Authorization is not a token"));
        }
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
        };
        if !(SHORTEST..=jws::LONGEST).contains(&token.len()) || !token.bytes().all(plain) {
            return Err(self.signposts.refused("Authorization is not a token"));
        }
        Ok((token, bound))
    }

    /// The one credential of a request.
    fn shown<'a>(&self, headers: &'a HeaderMap) -> Result<Shown<'a>, Refusal> {
        let (token, bound) = self.token(headers)?;
        let mut proofs = headers.get_all("dpop").iter();
        let proof = proofs.next();
        if proofs.next().is_some() {
            return Err(self.signposts.unproved("more than one proof of possession"));
        }
        let proof = match (bound, proof.map(|proof| proof.to_str())) {
            (false, _) => None,
            (true, Some(Ok(proof))) => Some(proof),
            (true, _) => return Err(self.signposts.unproved("no proof of possession")),
        };
        Ok(Shown { token, name: name(token), proof })
    }

    /// What can be said at once.
    fn look(&self, shown: &Shown<'_>) -> Known {
        if let Some(verified) = self.shelf.get(&shown.name) {
            match self.stands(&verified) {
                Ok(true) => return Known::Verified(verified),
                // its issuer is asked again
                Ok(false) if verified.has_lapsed(self.clock.wall()) => return Known::Unknown,
                Ok(false) => self.shelf.remove(&shown.name),
                Err(what) => return Known::Refused(self.signposts.refused(what)),
            }
        }
        let token = match self.read(shown.token) {
            Ok(Some(token)) => token,
            Ok(None) => return Known::Unknown,
            Err(what) => return Known::Refused(self.signposts.refused(what)),
        };
        let (Trust::Keys(keys), issuer) = (&self.issuers[token.0].1, token.0) else { return Known::Unknown };
        let Some(set) = keys.now() else { return Known::Unknown };
        match self.judge(issuer, &token.1, &set, shown) {
            Ok(Some(verified)) => Known::Verified(verified),
            Ok(None) => Known::Unknown,
            Err(what) => Known::Refused(self.signposts.refused(what)),
        }
    }

    /// Whether what was found out still holds; an error if the token itself has ended.
    fn stands(&self, verified: &Verified) -> Result<bool, &'static str> {
        if verified.ends <= self.clock.wall() {
            return Err("token has expired");
        }
        Ok(match (&verified.voucher, &self.issuers[verified.issuer].1) {
            (Voucher::Key(print), Trust::Keys(keys)) => keys.holds(print),
            (Voucher::Word { until, .. }, _) => self.millis() < until.load(Ordering::Relaxed),
            (Voucher::Key(_), Trust::Word(_)) => false,
        } && !verified.is_revoked())
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// A signed token and its issuer's place; nothing for one that only its issuer can read.
    fn read<'a>(&self, token: &'a str) -> Result<Option<(usize, Jws<'a>)>, &'static str> {
        if !jws::looks_signed(token) {
            return match self.asks() {
                Some(_) => Ok(None),
                None => Err("not a signed token"),
            };
        }
        let token = Jws::read(token, jws::LONGEST)?;
        let typ = token.head("typ").map_or(String::new(), str::to_ascii_lowercase);
        if !matches!(typ.strip_prefix("application/").unwrap_or(&typ), "" | "jwt" | "at+jwt")
            || token.header.get("typ").is_some_and(|typ| !typ.is_string())
        {
            return Err("not an access token");
        }
        let issuer = token.claim("iss").ok_or("token without issuer")?;
        let place = self.issuers.iter().position(|(known, _)| *known.id == *issuer);
        let place = place.ok_or("token of an unknown issuer")?;
        if !self.issuers[place].0.algorithms.contains(&token.algorithm) {
            return Err("signature algorithm not accepted");
        }
        Ok(Some((place, token)))
    }

    /// The issuer that is asked about tokens nobody else can read.
    fn asks(&self) -> Option<(usize, &Issuer, &Introspector)> {
        self.issuers.iter().enumerate().find_map(|(place, (issuer, trust))| match trust {
            Trust::Word(asked) => Some((place, issuer, asked)),
            Trust::Keys(_) => None,
        })
    }

    /// Signature, then claims. Nothing if no key is the one.
    fn judge(
        &self,
        issuer: usize,
        token: &Jws<'_>,
        set: &KeySet,
        shown: &Shown<'_>,
    ) -> Result<Option<Arc<Verified>>, &'static str> {
        let print = match set.check(token) {
            Signed::By(print) => print,
            Signed::Not => return Err("token with a wrong signature"),
            Signed::Unknown => return Ok(None),
        };
        let facts =
            self.issuers[issuer].0.read(&token.claims, &self.words, (self.clock.wall(), self.leeway))?;
        Ok(Some(self.keep(issuer, facts, Voucher::Key(print), shown)))
    }

    fn keep(&self, issuer: usize, facts: Facts, voucher: Voucher, shown: &Shown<'_>) -> Arc<Verified> {
        let verified = Arc::new(Verified {
            principal: Arc::new(facts.principal),
            ends: facts.ends,
            binding: facts.binding,
            issuer,
            voucher,
            revoked: AtomicBool::new(false),
            _passes: self.redactor.pass(&Secret::new(shown.token)),
        });
        self.shelf.put(shown.name, Arc::clone(&verified), self.clock.wall());
        verified
    }

    /// Fetches or asks.
    async fn find_out(&self, shown: &Shown<'_>) -> Result<Arc<Verified>, Refusal> {
        let refused = |what| self.signposts.refused(what);
        if let Some((place, token)) = self.read(shown.token).map_err(refused)?
            && let Trust::Keys(keys) = &self.issuers[place].1
        {
            let set = keys.newer().await.map_err(|unavailable| {
                Signposts::unavailable("the issuer's keys cannot be had", unavailable.0)
            })?;
            let verified = self.judge(place, &token, &set, shown).map_err(refused)?;
            return verified.ok_or_else(|| refused("token of an unknown key"));
        }
        let Some((place, issuer, asked)) = self.asks() else { return Err(refused("not a signed token")) };
        let claims = asked.ask(shown.token).await.map_err(|error| {
            tracing::warn!(reason = error.message(), "an issuer could not be asked about a token");
            Signposts::unavailable("the issuer cannot be asked", Duration::from_secs(5))
        })?;
        let now = (self.clock.wall(), self.leeway);
        let facts = claims
            .ok_or("the issuer does not vouch for the token")
            .and_then(|claims| issuer.read(&claims, &self.words, now))
            .inspect_err(|_| self.shelf.remove(&shown.name))
            .map_err(refused)?;
        Ok(self.keep(place, facts, self.word(), shown))
    }

    /// An issuer's word, from now.
    fn word(&self) -> Voucher {
        let until = self.millis() + u64::try_from(self.word_holds.as_millis()).unwrap_or(u64::MAX / 2);
        Voucher::Word { until: AtomicU64::new(until), asking: AtomicBool::new(false) }
    }

    /// Whether whoever shows it may use it; a proof that has yet to be the first of its id.
    fn possession(
        &self,
        verified: &Verified,
        shown: &Shown<'_>,
        presented: &Presented<'_>,
    ) -> Result<Option<(String, Proof)>, Refusal> {
        if let Some(print) = &verified.binding.certificate
            && presented.certificate.is_none_or(|shown| *shown.thumbprint != **print)
        {
            return Err(self.signposts.refused("token of another certificate"));
        }
        let (key, proof) = match (&verified.binding.key, shown.proof) {
            (None, None) if self.dpop == Dpop::Required => {
                return Err(self.signposts.unproved("only tokens that are bound to a key are accepted"));
            }
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(self.signposts.refused("token is not bound to a key")),
            (Some(_), _) if self.dpop == Dpop::Off => {
                return Err(self.signposts.refused("tokens that are bound to a key are not accepted"));
            }
            // whoever stole it would like to use it without the key
            (Some(_), None) => {
                return Err(self.signposts.unproved("token is bound to a key and came without proof"));
            }
            (Some(key), Some(proof)) => (key, proof),
        };
        let now = self.clock.wall();
        let expected = Expected {
            method: presented.method.as_str(),
            address: &self.address,
            token: shown.token,
            key,
            now,
            leeway: self.leeway,
            nonces: self.nonces.as_ref(),
        };
        match (expected.check(proof), &self.nonces) {
            // one caller with many keys has one share of what is remembered
            (Ok(proof), _) => Ok(Some((format!("dpop/{}", verified.principal.id), proof))),
            (Err(Fault::Nonce), Some(nonces)) => Err(self.signposts.nonce(nonces.current(now))),
            (Err(Fault::Nonce), None) => Err(self.signposts.unproved("proof without our nonce")),
            (Err(Fault::Wrong(what)), _) => Err(self.signposts.unproved(what)),
        }
    }

    /// The first of its id, or nobody.
    async fn first(&self, namespace: String, proof: Proof) -> Result<(), Refusal> {
        match self.once.first(&namespace, &proof.id, Some(proof.made), proof.remember).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.signposts.unproved("proof was used before")),
            Err(error) => {
                tracing::warn!(
                    reason = error.message(),
                    "a proof of possession could not be told from a used one"
                );
                Err(Signposts::unavailable("used proofs cannot be told apart", Duration::from_secs(1)))
            }
        }
    }

    /// What has to wait: keys, a question, or the store of used proofs.
    async fn slowly(&self, shown: Shown<'_>, presented: &Presented<'_>) -> Result<Arc<Principal>, Refusal> {
        let verified = match self.look(&shown) {
            Known::Verified(verified) => verified,
            Known::Refused(refusal) => return Err(refusal),
            Known::Unknown => self.find_out(&shown).await?,
        };
        if let Some((namespace, proof)) = self.possession(&verified, &shown, presented)? {
            self.first(namespace, proof).await?;
        }
        Ok(Arc::clone(&verified.principal))
    }

    /// Asks again about a token whose stream is still open.
    fn ask_again(self: Arc<Self>, token: Secret, verified: Arc<Verified>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let Voucher::Word { until, asking } = &verified.voucher else { return };
            let Some((_, issuer, asked)) = self.asks() else { return };
            match asked.ask(token.expose()).await {
                Ok(Some(claims)) => {
                    let read = issuer.read(&claims, &self.words, (self.clock.wall(), self.leeway));
                    let same = read.is_ok_and(|facts| {
                        facts.principal == *verified.principal && facts.binding == verified.binding
                    });
                    verified.revoked.store(!same, Ordering::Relaxed);
                    let holds = u64::try_from(self.word_holds.as_millis()).unwrap_or(u64::MAX / 2);
                    until.store(self.millis() + holds, Ordering::Relaxed);
                }
                Ok(None) => verified.revoked.store(true, Ordering::Relaxed),
                Err(error) => {
                    tracing::warn!(reason = error.message(), "an issuer could not be asked about a token");
                }
            }
            asking.store(false, Ordering::Relaxed);
        });
    }

    /// Whether a stream goes on.
    fn goes_on(self: &Arc<Self>, token: &Secret, verified: &Arc<Verified>) -> bool {
        if verified.is_revoked() || verified.ends <= self.clock.wall() {
            return false;
        }
        let Voucher::Word { until, asking } = &verified.voucher else {
            return self.stands(verified).unwrap_or(false);
        };
        let (now, until) = (self.millis(), until.load(Ordering::Relaxed));
        if now >= until && !asking.swap(true, Ordering::Relaxed) {
            Arc::clone(self).ask_again(token.clone(), Arc::clone(verified));
        }
        now < until + u64::try_from(GRACE.as_millis()).unwrap_or_default()
    }
}

impl Authenticator for OAuth {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a> {
        let shown = match self.shown(presented.headers) {
            Ok(shown) => shown,
            Err(refusal) => return Verdict::Now(Err(refusal)),
        };
        match self.look(&shown) {
            Known::Refused(refusal) => Verdict::Now(Err(refusal)),
            Known::Verified(verified) => match self.possession(&verified, &shown, presented) {
                Err(refusal) => Verdict::Now(Err(refusal)),
                Ok(None) => Verdict::Now(Ok(Arc::clone(&verified.principal))),
                Ok(Some((namespace, proof))) => Verdict::Known(Box::pin(async move {
                    self.first(namespace, proof).await?;
                    Ok(Arc::clone(&verified.principal))
                })),
            },
            Known::Unknown => {
                let lapsed = self.shelf.get(&shown.name).is_some_and(|verified| {
                    verified.has_lapsed(self.clock.wall())
                        && self.possession(&verified, &shown, presented).is_ok()
                });
                let found = Box::pin(self.slowly(shown, presented));
                if lapsed { Verdict::Known(found) } else { Verdict::Later(found) }
            }
        }
    }

    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        // who may use it was asked when it was shown, with its proof; that proof is used by now
        let found = self.token(presented.headers).ok().and_then(|(token, _)| {
            let verified = self.shelf.get(&name(token))?;
            Some((self.this.upgrade()?, Secret::new(token), verified))
        });
        let Some((this, token, verified)) = found else { return Some(Box::new(|| false)) };
        Some(Box::new(move || this.goes_on(&token, &verified)))
    }

    fn step_up(&self, presented: &Presented<'_>, scopes: &[String]) -> Option<String> {
        let shown = self.shown(presented.headers).ok()?;
        Some(self.signposts.step_up(shown.proof.is_some(), scopes))
    }

    fn next_nonce(&self, presented: &Presented<'_>) -> Option<String> {
        let nonces = self.nonces.as_ref().filter(|_| presented.headers.contains_key("dpop"))?;
        Some(nonces.current(self.clock.wall()))
    }

    fn document(&self, path: &str) -> Option<Arc<str>> {
        self.signposts.document(path)
    }
}
