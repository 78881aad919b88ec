//! OAuth 2 client credentials: a secret becomes a short-lived token.
//!
//! Owns [`ClientCredentials`]. The idea: one token, one fetch at a time however many calls wait for it, and a guard
//! that stops asking long before a vendor locks the account.
//!
//! Must not: send the client secret anywhere but to the token endpoint, or try a failed login again by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, Method};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture as Boxed, Shared};

use super::account::{Account, May, Try, pause};
use super::credentials::{Identity, both, read};
use super::drawer::Drawer;
use super::egress::{Exemptions, Origin};
pub use super::endpoint::{Style, TokenEndpoint};
use super::failed::Failed;
use super::granted::{self, Granted};
use super::sharing::{self, Begun};
use super::token::{self, TokenStore, read_token};
use super::wire::Wire;
use super::{BoxFuture, Config, Credentials, Signing, Supply, retry, seconds};
use crate::clock::SharedClock;
use crate::error::{Kind, Result};
use crate::json::Digest;
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;
use crate::state::Folder;

/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_mins(1);
/// Longest answer of a token endpoint.
const LIMIT: u64 = 256 * 1024;
/// Refused logins in a row before a long pause.
pub(super) const STRIKES: u32 = 3;
/// That pause.
pub(super) const COOL_DOWN: Duration = Duration::from_mins(30);
/// Refused logins in a row with the same secret before it is given up: vendors lock accounts at five.
pub(super) const OUT: u32 = 4;

/// Signs with a token that it fetches, keeps and renews.
pub struct ClientCredentials {
    shared: Arc<Fetcher>,
}

struct Fetcher {
    name: String,
    endpoint: TokenEndpoint,
    wire: Wire,
    id: Arc<dyn Supply>,
    secret: Arc<dyn Supply>,
    clock: SharedClock,
    timeout: Duration,
    /// Where refused logins are counted for all processes.
    logins: Option<Arc<Folder>>,
    /// Where the token is kept over a restart.
    store: Option<Arc<dyn TokenStore>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    generation: u64,
    running: Option<Shared<Boxed<'static, Result<Token, Failed>>>>,
    /// Refused logins in a row, and the secret they were refused for.
    strikes: u32,
    refused: Option<Secret>,
    /// The token that an upstream did not accept.
    rejected: Option<Digest>,
    /// The secret that the token was exchanged for.
    exchanged: Option<Secret>,
    /// Where the token is kept over a restart.
    drawer: Option<Drawer>,
    /// Failures of any kind in a row.
    failures: u32,
    /// No attempt before this; the sentence says why.
    closed_until: Duration,
    last: Option<Failed>,
    /// The client secret, and the pair it is sent in: what was sent last.
    sent: Vec<Held>,
    /// The scopes that the endpoint said beside the token.
    granted: Option<BTreeSet<String>>,
}

#[derive(Clone)]
struct Token {
    secret: Secret,
    generation: u64,
    ends: Duration,
    _held: Arc<Held>,
}

/// How an attempt ended.
enum Attempt {
    Token {
        token: Secret,
        held: Held,
        lasts: u64,
        exchanged: Secret,
    },
    /// The endpoint does not accept this secret.
    Refused {
        secret: Secret,
        failed: Failed,
        /// How many in a row, where all processes count together.
        strikes: Option<u32>,
    },
    /// It could not be asked, or is out of order.
    Broken(Failed),
    /// There is nothing to ask with.
    Missing(Failed),
}

impl ClientCredentials {
    /// Credentials for the upstream `name`. Nothing is read or sent before the first request.
    pub fn new(
        name: &str,
        endpoint: TokenEndpoint,
        id: Arc<dyn Supply>,
        secret: Arc<dyn Supply>,
        egress: &Config,
        clock: SharedClock,
    ) -> Result<Self> {
        let place = format!("{name}'s token endpoint");
        let origin = Origin::of(&endpoint.url, &[], &Exemptions::parse(&egress.allow_private)?, &place)?;
        let wire = Wire::new(&place, origin, egress)?;
        let timeout = seconds(egress.timeout, "timeout")?.min(Duration::from_secs(30));
        let (name, logins, store, state) = (name.to_owned(), None, None, Mutex::default());
        let fetcher = Fetcher { name, endpoint, wire, id, secret, clock, timeout, logins, store, state };
        Ok(Self { shared: Arc::new(fetcher) })
    }

    /// The same, counting refused logins together with all processes that share this folder.
    #[must_use]
    pub fn counting_in(mut self, folder: Option<Folder>) -> Self {
        if let Some(fetcher) = Arc::get_mut(&mut self.shared) {
            fetcher.logins = folder.map(Arc::new);
        }
        self
    }

    /// The same, keeping the token over a restart.
    #[must_use]
    pub fn kept_in(mut self, store: Option<Arc<dyn TokenStore>>) -> Self {
        if let Some(fetcher) = Arc::get_mut(&mut self.shared) {
            fetcher.store = store;
        }
        self
    }
}

impl Credentials for ClientCredentials {
    fn account(&self) -> Option<String> {
        Some(format!("{} at {}", self.shared.id.reference(), self.shared.endpoint.url))
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let token = self.shared.token(signing.redactor()).await?;
            signing.generation(token.generation);
            signing.set(AUTHORIZATION, &format!("Bearer {}", token.secret.expose()))
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let fetcher = &self.shared;
            let (id, secret) = (read(&fetcher.id).await.ok(), read(&fetcher.secret).await.ok());
            if let Some(secret) = &secret {
                let mut state = fetcher.lock();
                // A token that another secret was exchanged for is not this identity's.
                if state.exchanged.as_ref().is_some_and(|used| used.expose() != secret.expose()) {
                    (state.token, state.exchanged) = (None, None);
                }
            }
            let print = |one: Option<Secret>| one.and_then(|one| redactor.fingerprint(one.expose()));
            Identity {
                reference: format!(
                    "{} with {} at {}",
                    fetcher.id.reference(),
                    fetcher.secret.reference(),
                    fetcher.endpoint.url
                ),
                fingerprint: both(print(id), print(secret)),
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, _redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        let mut state = self.shared.lock();
        // somebody else may have renewed it meanwhile
        if state.token.as_ref().is_some_and(|token| token.generation == generation) {
            state.rejected = state.token.take().map(|token| Digest::of(token.secret.expose().as_bytes()));
            state.drawer.iter().for_each(Drawer::clear);
        }
        drop(state);
        Box::pin(async { true })
    }

    fn granted<'a>(&'a self, login: bool, redactor: &'a Redactor) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async move {
            if !login {
                return Ok(Granted::AfterLogin);
            }
            let token = self.shared.token(redactor).await?;
            let beside = self.shared.lock().granted.clone();
            Ok(Granted::of(&token.secret, beside))
        })
    }

    fn forget(&self) {
        let mut state = self.shared.lock();
        (state.token, state.exchanged) = (None, None);
        state.drawer.iter().for_each(Drawer::clear);
    }

    fn ready(&self) -> Result<()> {
        let both = self.shared.id.secret().and_then(|_| self.shared.secret.secret());
        both.map(|_| ())
    }
}

impl Fetcher {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token; fetched by whoever comes first, shared by all who come meanwhile.
    async fn token(self: &Arc<Self>, redactor: &Redactor) -> Result<Token> {
        let (done, joined) = self.shared_fetch(redactor).await;
        match done {
            // it died with whoever began it (a runtime that ended, say), and that is not this caller's loss
            Err(failed) if joined && failed.is_interrupted() => {
                self.shared_fetch(redactor).await.0.map_err(Failed::into_error)
            }
            done => done.map_err(Failed::into_error),
        }
    }

    /// One look at the kept token, or one fetch; and whether somebody else had begun that fetch.
    async fn shared_fetch(self: &Arc<Self>, redactor: &Redactor) -> (Result<Token, Failed>, bool) {
        let (running, joined) = {
            let now = self.clock.monotonic();
            let mut state = self.lock();
            if let Some(token) = state.token.as_ref().filter(|token| now + MARGIN < token.ends) {
                return (Ok(token.clone()), false);
            }
            if let Some(running) = &state.running {
                (running.clone(), true)
            } else {
                if now < state.closed_until
                    && let Some(last) = state.last.clone()
                {
                    return (Err(last.until(state.closed_until.saturating_sub(now))), false);
                }
                // a task of its own: a caller who gives up does not leave a login half done
                let (this, redactor, after) = (Arc::clone(self), redactor.clone(), Arc::downgrade(self));
                let task = tokio::spawn(async move { this.fetch(&redactor).await });
                let running = async move {
                    task.await.unwrap_or_else(|_| {
                        if let Some(fetcher) = after.upgrade() {
                            fetcher.lock().running = None;
                        }
                        Err(Failed::interrupted())
                    })
                };
                let running = running.boxed().shared();
                state.running = Some(running.clone());
                (running, false)
            }
        };
        (running.await, joined)
    }

    async fn fetch(&self, redactor: &Redactor) -> Result<Token, Failed> {
        let attempt = self.attempt(redactor).await;
        let now = self.clock.monotonic();
        let mut state = self.lock();
        state.running = None;
        match attempt {
            Attempt::Token { token: secret, held, lasts, exchanged } => {
                state.generation += 1;
                // a token that lasts no longer than the margin is still used once
                let lasts = Duration::from_secs(lasts).max(MARGIN + Duration::from_secs(1));
                let (generation, ends) = (state.generation, now + lasts);
                let token = Token { secret, generation, ends, _held: Arc::new(held) };
                state.token = Some(token.clone());
                state.exchanged = Some(exchanged);
                (state.strikes, state.failures, state.refused, state.last) = (0, 0, None, None);
                Ok(token)
            }
            Attempt::Refused { secret, failed, strikes } => {
                state.strikes = strikes.unwrap_or(state.strikes + 1);
                state.failures += 1;
                // where all count together, the file says more, and an operator can remove it
                let wait = if strikes.is_some() { pause(1) } else { pause(state.strikes) };
                (state.refused, state.closed_until) = (Some(secret), now + wait);
                let message = if state.strikes < STRIKES {
                    failed.message
                } else {
                    format!(
                        "{} {} times in a row, and the vendor may lock the account",
                        failed.message, state.strikes
                    )
                };
                let failed = Failed { message, ..failed };
                state.last = Some(failed.clone());
                Err(failed)
            }
            Attempt::Broken(failed) => {
                state.failures += 1;
                state.closed_until = now + Duration::from_secs(1 << state.failures.min(6));
                state.last = Some(failed.clone());
                Err(failed)
            }
            Attempt::Missing(failed) => Err(failed),
        }
    }

    async fn attempt(&self, redactor: &Redactor) -> Attempt {
        let former = self.lock().exchanged.clone();
        let (id, secret) = match (read(&self.id).await, read(&self.secret).await) {
            (Ok(id), Ok(secret)) => (id, secret),
            // what was replaced by something that cannot be read is used on
            (Ok(id), Err(error)) if former.is_some() => {
                tracing::warn!(
                    reference = self.secret.reference(),
                    reason = error.message(),
                    "a client secret has changed and cannot be used; the former one stays in use"
                );
                (id, former.unwrap_or_else(|| Secret::new("")))
            }
            (Err(error), _) | (_, Err(error)) => return Attempt::Missing(Failed::of(error)),
        };
        let endpoint = &self.endpoint;
        let (scope, audience) = (endpoint.scope.as_deref(), endpoint.audience.as_deref());
        let parts =
            [endpoint.url.as_str(), id.expose(), scope.unwrap_or_default(), audience.unwrap_or_default()];
        let drawer = Drawer::of(self.store.as_ref(), redactor, &parts, &secret);
        self.lock().drawer.clone_from(&drawer);
        if let Some(drawer) = &drawer
            && let Some((token, lasts)) = drawer.take(self.clock.wall().as_secs(), MARGIN.as_secs()).await
        {
            let held = redactor.hold(&token, "access-token");
            return Attempt::Token { token, held, lasts, exchanged: secret };
        }
        let mut sent = vec![redactor.hold(&secret, "client-secret")];
        let account = self.logins.as_ref().and_then(|folder| {
            Account::of(
                folder,
                redactor,
                &[&self.name, self.endpoint.url.as_str(), id.expose()],
                secret.expose(),
            )
        });
        let out = account.is_none() && {
            let state = self.lock();
            state.strikes >= OUT && state.refused.as_ref().is_some_and(|old| old.expose() == secret.expose())
        };
        let name = &self.name;
        if out {
            let message = format!(
                "{name}'s token endpoint refused this client secret {OUT} times; it is not sent again, because the \
                 vendor may lock the account: correct {} and try again",
                self.secret.reference()
            );
            return Attempt::Missing(Failed::new(Kind::UpstreamRefused, message));
        }
        let (headers, body) = match self.endpoint.question(id.expose(), secret.expose(), redactor, &mut sent)
        {
            Ok(question) => question,
            Err(error) => return Attempt::Missing(Failed::of(error)),
        };
        self.lock().sent = sent;
        let refused = self.lock().rejected;
        let time = (&self.clock, MARGIN, self.timeout);
        let asking = match sharing::begin(self.logins.as_deref(), &parts, &secret, refused, time).await {
            Ok(Begun::Token(token, lasts)) => {
                let held = redactor.hold(&token, "access-token");
                return Attempt::Token { token, held, lasts, exchanged: secret };
            }
            Ok(Begun::Ask(asking)) => asking,
            Err(failed) => return Attempt::Missing(failed),
        };
        let permit = match &account {
            None => None,
            Some(account) => match self.permit(account).await {
                Ok(permit) => Some(permit),
                Err(failed) => return Attempt::Missing(failed),
            },
        };
        let attempt = self.exchange(headers, body, secret, redactor).await;
        if let (Some(drawer), Attempt::Token { token, lasts, .. }) = (&drawer, &attempt) {
            drawer.put(token, self.clock.wall().as_secs().saturating_add(*lasts)).await;
        }
        if let (Some(asking), Attempt::Token { token, lasts, .. }) = (asking, &attempt) {
            asking.share(token, *lasts).await;
        }
        let Some(permit) = permit else { return attempt };
        let noted = match attempt {
            Attempt::Token { .. } => permit.accepted().await.map(|()| attempt),
            Attempt::Refused { secret, failed, .. } => permit
                .refused(self.clock.wall().as_secs())
                .await
                .map(|strikes| Attempt::Refused { secret, failed, strikes: Some(strikes) }),
            Attempt::Broken(_) | Attempt::Missing(_) => permit.neither().await.map(|()| attempt),
        };
        noted.unwrap_or_else(|error| Attempt::Missing(Failed::of(error)))
    }

    /// Asks whether all processes together may try once more.
    async fn permit(&self, account: &Account) -> Result<Try, Failed> {
        let name = &self.name;
        let place = account.place();
        let way_out = format!(
            "correct {} and {}, then remove {place} to be let try at once",
            self.id.reference(),
            self.secret.reference(),
        );
        let patience = self.clock.monotonic() + self.timeout;
        loop {
            let failed = match account.may_try(self.clock.wall().as_secs()).await.map_err(Failed::of)? {
                May::Try(permit) => return Ok(permit),
                May::Never => Failed::new(
                    Kind::UpstreamRefused,
                    format!(
                        "{name}'s token endpoint refused this client secret {OUT} times; it is not sent again, because \
                         the vendor may lock the account: {way_out}"
                    ),
                ),
                May::Wait(wait, strikes) => Failed::new(
                    Kind::UpstreamRefused,
                    format!(
                        "{name}'s token endpoint refused the client credentials {strikes} times in a row, and the \
                         vendor may lock the account: {way_out}"
                    ),
                )
                .until(wait),
                May::Busy if self.clock.monotonic() < patience => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                May::Busy => Failed::new(
                    Kind::UpstreamFailed,
                    format!("other processes are logging in to {name} with the same client id; try again later"),
                ),
            };
            return Err(failed);
        }
    }

    async fn exchange(
        &self,
        headers: HeaderMap,
        body: Bytes,
        secret: Secret,
        redactor: &Redactor,
    ) -> Attempt {
        let name = &self.name;
        let asked = self.wire.send(Method::POST, self.endpoint.url.clone(), headers, body, LIMIT);
        let answer = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return Attempt::Broken(Failed::of(failure.error)),
            Err(_) => {
                let message = format!("{name}'s token endpoint did not answer in time");
                return Attempt::Broken(Failed::new(Kind::TimedOut, message));
            }
        };
        let broken = |message: String| Attempt::Broken(Failed::new(Kind::UpstreamFailed, message));
        match answer.status {
            200..=299 => match read_token(&answer.body) {
                Some((token, lasts)) => {
                    let now = self.clock.wall().as_secs();
                    if let Some(what) = token::misfit(&token, now, self.endpoint.audience.as_deref()) {
                        return broken(format!("{name}'s token endpoint answered a token that {what}"));
                    }
                    let lasts = token::stated(&token, now).map_or(lasts, |stated| lasts.min(stated));
                    let held = redactor.hold(&token, "access-token");
                    self.lock().granted = granted::answered(&answer.body);
                    Attempt::Token { token, held, lasts, exchanged: secret }
                }
                None => broken(format!("{name}'s token endpoint answered something that is not a token")),
            },
            400..=499 if answer.status != 429 && answer.status != 408 => {
                let message = format!(
                    "{name}'s token endpoint refused the client credentials (status {}); check {} and {}",
                    answer.status,
                    self.id.reference(),
                    self.secret.reference()
                );
                let failed = Failed::new(Kind::UpstreamRefused, message);
                Attempt::Refused { secret, failed, strikes: None }
            }
            status => {
                let asked = retry::retry_after(&answer.headers, self.clock.wall());
                let hint =
                    asked.map_or(String::new(), |wait| format!(" and asks to wait {} s", wait.as_secs()));
                broken(format!("{name}'s token endpoint is out of order (status {status}){hint}"))
            }
        }
    }
}
