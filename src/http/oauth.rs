//! OAuth 2: client credentials, or a refresh token, become a short-lived token.
//!
//! Owns [`ClientCredentials`]. The idea: one token, one fetch at a time however many calls wait for it, and a guard
//! that stops asking long before a vendor locks the account. How the endpoint is asked is in `exchange.rs`.
//!
//! Must not: send a secret anywhere but to the token endpoint, or try a failed login again by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::AUTHORIZATION;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture as Boxed, Shared};

use super::account::pause;
use super::credentials::{Identity, both, read};
use super::drawer::Drawer;
use super::egress::{Exemptions, Origin};
pub use super::endpoint::{Style, TokenEndpoint};
use super::failed::Failed;
use super::granted::Granted;
use super::refresh::Chain;
use super::token::TokenStore;
use super::wire::Wire;
use super::{BoxFuture, Config, Credentials, Signing, Supply, seconds};
use crate::clock::SharedClock;
use crate::error::Result;
use crate::json::Digest;
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;
use crate::state::Folder;

/// A token is renewed this long before it ends.
pub(super) const MARGIN: Duration = Duration::from_mins(1);
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

pub(super) struct Fetcher {
    pub(super) name: String,
    pub(super) endpoint: TokenEndpoint,
    pub(super) wire: Wire,
    pub(super) id: Arc<dyn Supply>,
    /// What is exchanged for a token: the client's secret, or the refresh token that the chain begins with.
    pub(super) secret: Arc<dyn Supply>,
    pub(super) grant: Grant,
    pub(super) clock: SharedClock,
    pub(super) timeout: Duration,
    /// Where refused logins are counted for all processes.
    pub(super) logins: Option<Arc<Folder>>,
    /// Where the token is kept over a restart.
    pub(super) store: Option<Arc<dyn TokenStore>>,
    /// The refresh token that is good now.
    pub(super) chain: Mutex<Chain>,
    state: Mutex<State>,
}

/// What the secret is.
pub(super) enum Grant {
    /// The client's.
    Client,
    /// A refresh token.
    Refresh {
        /// The client's own secret, if it has one.
        own: Option<Arc<dyn Supply>>,
        /// Whether another refresh token may be handed out with each access token.
        rotates: bool,
    },
}

/// A refresh token that somebody got by logging in.
pub struct RefreshToken {
    /// The token.
    pub token: Arc<dyn Supply>,
    /// The client's secret, if it has one.
    pub secret: Option<Arc<dyn Supply>>,
    /// Whether the endpoint may hand out another one each time, so that it is used only where that can be kept.
    pub rotates: bool,
}

#[derive(Default)]
pub(super) struct State {
    token: Option<Token>,
    generation: u64,
    running: Option<Shared<Boxed<'static, Result<Token, Failed>>>>,
    /// Refused logins in a row, and the secret they were refused for.
    pub(super) strikes: u32,
    pub(super) refused: Option<Secret>,
    /// The token that an upstream did not accept.
    pub(super) rejected: Option<Digest>,
    /// The secret that the token was exchanged for.
    pub(super) exchanged: Option<Secret>,
    /// Where the token is kept over a restart.
    pub(super) drawer: Option<Drawer>,
    /// Failures of any kind in a row.
    failures: u32,
    /// No attempt before this; the sentence says why.
    closed_until: Duration,
    last: Option<Failed>,
    /// The secrets, and the pair they are sent in: what was sent last.
    pub(super) sent: Vec<Held>,
    /// The scopes that the endpoint said beside the token.
    pub(super) granted: Option<BTreeSet<String>>,
}

#[derive(Clone)]
struct Token {
    secret: Secret,
    generation: u64,
    ends: Duration,
    _held: Arc<Held>,
}

/// How an attempt ended.
pub(super) enum Attempt {
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
        Self::with(name, endpoint, id, (secret, Grant::Client), egress, clock)
    }

    /// The same for a refresh token, and the client's secret if it has one. Where the endpoint may hand out
    /// another refresh token each time, give it a place to be kept ([`Self::kept_in`]): without one it is not used.
    pub fn refreshing(
        name: &str,
        endpoint: TokenEndpoint,
        id: Arc<dyn Supply>,
        refresh: RefreshToken,
        egress: &Config,
        clock: SharedClock,
    ) -> Result<Self> {
        let RefreshToken { token, secret: own, rotates } = refresh;
        Self::with(name, endpoint, id, (token, Grant::Refresh { own, rotates }), egress, clock)
    }

    fn with(
        name: &str,
        endpoint: TokenEndpoint,
        id: Arc<dyn Supply>,
        (secret, grant): (Arc<dyn Supply>, Grant),
        egress: &Config,
        clock: SharedClock,
    ) -> Result<Self> {
        let place = format!("{name}'s token endpoint");
        let origin = Origin::of(&endpoint.url, &[], &Exemptions::parse(&egress.allow_private)?, &place)?;
        let wire = Wire::new(&place, origin, egress)?;
        let timeout = seconds(egress.timeout, "timeout")?.min(Duration::from_secs(30));
        let fetcher = Fetcher {
            name: name.to_owned(),
            endpoint,
            wire,
            id,
            secret,
            grant,
            clock,
            timeout,
            logins: None,
            store: None,
            chain: Mutex::default(),
            state: Mutex::default(),
        };
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
        let fetcher = &self.shared;
        fetcher.id.secret().and_then(|_| fetcher.secret.secret())?;
        match &fetcher.grant {
            Grant::Refresh { own: Some(secret), .. } => secret.secret().map(drop),
            Grant::Client | Grant::Refresh { own: None, .. } => Ok(()),
        }
    }
}

impl Fetcher {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
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
}
