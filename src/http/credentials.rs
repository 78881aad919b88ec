//! How a request is signed.
//!
//! Owns [`Credentials`], [`Signing`], [`Supply`] and the plain kinds: none, bearer, basic, header. The idea: signing
//! happens last, on a request whose destination was checked, and every secret is taught to the redactor before it is
//! used.
//!
//! Must not: know where secrets are kept (`vault/` answers [`Supply`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::Engine as _;
use bytes::Bytes;
use url::Url;

use super::certificate::Shown;
use super::{BoxFuture, Granted};
use crate::error::{Error, Kind, Result};
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;

/// Where a secret comes from.
pub trait Supply: Send + Sync + 'static {
    /// The secret, read anew; may block. The error says what to set, and where.
    fn secret(&self) -> Result<Secret>;
    /// How the operator refers to it (`env:NAME`), for messages.
    fn reference(&self) -> String;
    /// What changes when the secret may have changed; looking costs next to nothing. None where nothing can tell.
    fn stamp(&self) -> Option<u64> {
        None
    }
}

impl Supply for Secret {
    fn secret(&self) -> Result<Secret> {
        Ok(self.clone())
    }

    fn reference(&self) -> String {
        String::from("a value held in memory")
    }
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The kind of credential and where it comes from, for people.
    pub reference: String,
    /// A keyed fingerprint of the secret itself; none where there is no secret, or it is too short or plain for one.
    pub fingerprint: Option<String>,
}

/// A way of signing requests. Shared by all calls to one upstream.
pub trait Credentials: Send + Sync + 'static {
    /// Signs a request whose destination was checked.
    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>>;

    /// Who it signs as, read anew: a secret that was changed is the one that is used from then on.
    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity>;

    /// Names whose account is used, without reading a secret: clients with the same name share an upstream's limits. None
    /// where nobody can tell.
    fn account(&self) -> Option<String> {
        None
    }

    /// The upstream answered 401 to a request that was signed with this `generation` (see [`Signing::generation`]).
    /// True if another credential can be had, so that one more try is worth it.
    fn rejected<'a>(&'a self, _generation: u64, _redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }

    /// What the upstream lets it do, as far as it says. With `login` it may fetch a token for that.
    fn granted<'a>(&'a self, _login: bool, _redactor: &'a Redactor) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async { Ok(Granted::Silent) })
    }

    /// Forgets what can be had again: the secret as it was read, a token that was fetched with it.
    fn forget(&self) {}

    /// Whether what is needed is there; the error says what to set.
    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// A request that is about to leave, as those who sign it see it. Where it goes cannot be changed any more.
#[derive(Debug)]
pub struct Signing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) generation: u64,
    pub(super) shown: Option<Shown>,
    pub(super) redactor: Redactor,
}

impl Signing {
    /// Method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Headers so far.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body's bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Which credential was used, for [`Credentials::rejected`].
    pub fn generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// What must be taught every secret before it is used.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Sets a header that carries a secret, in place of any of that name.
    pub fn set(&mut self, name: HeaderName, value: &str) -> Result<()> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Error::new(
                Kind::ToolFailed,
                "the credential holds a character that a header cannot carry; check it",
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }
}

/// A secret that is read when it is first needed, and again when it has changed.
pub(super) struct Kept {
    supply: Arc<dyn Supply>,
    label: &'static str,
    value: Mutex<State>,
}

#[derive(Default)]
struct State {
    value: Option<(Secret, Held)>,
    /// Counts the values there were.
    generation: u64,
    /// What the supply said before the value was read, or could not be.
    stamp: Option<u64>,
}

impl Kept {
    pub(super) fn new(supply: Arc<dyn Supply>, label: &'static str) -> Self {
        Self { supply, label, value: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret and which one it is. What was replaced is read anew; what can no longer be read is used on.
    pub(super) async fn get(&self, redactor: &Redactor) -> Result<(Secret, u64)> {
        let stamp = self.supply.stamp();
        {
            let state = self.lock();
            if let Some((secret, _)) = state.value.as_ref().filter(|_| state.stamp == stamp) {
                return Ok((secret.clone(), state.generation));
            }
        }
        let found = read(&self.supply).await;
        let mut state = self.lock();
        state.stamp = stamp;
        match (found, &state.value) {
            (Ok(secret), _) => Ok(self.put(&mut state, secret, redactor)),
            (Err(error), Some((secret, _))) => {
                tracing::warn!(
                    reference = self.supply.reference(),
                    reason = error.message(),
                    "a credential has changed and cannot be used; the former one stays in use"
                );
                Ok((secret.clone(), state.generation))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn put(&self, state: &mut State, secret: Secret, redactor: &Redactor) -> (Secret, u64) {
        if state.value.as_ref().is_none_or(|(old, _)| !old.same(&secret)) {
            if state.value.is_some() {
                tracing::info!(reference = self.supply.reference(), "a credential was replaced");
            }
            state.generation += 1;
            let held = redactor.hold(&secret, self.label);
            state.value = Some((secret.clone(), held));
        }
        (secret, state.generation)
    }

    /// The secret as it is now; the one that is kept if it cannot be read.
    pub(super) async fn fresh(&self, redactor: &Redactor) -> Option<Secret> {
        let found = read(&self.supply).await.ok();
        let mut state = self.lock();
        match found {
            Some(secret) => Some(self.put(&mut state, secret, redactor).0),
            None => state.value.as_ref().map(|(secret, _)| secret.clone()),
        }
    }

    /// Whether there is another one than that which was refused, whatever its file says of itself.
    pub(super) async fn renewed(&self, generation: u64, redactor: &Redactor) -> bool {
        if self.lock().generation == generation {
            self.fresh(redactor).await;
        }
        self.lock().generation != generation
    }

    /// Where it is.
    pub(super) fn reference(&self) -> String {
        self.supply.reference()
    }

    /// Whether it is there.
    pub(super) fn ready(&self) -> Result<()> {
        self.supply.secret().map(|_| ())
    }

    /// Forgets the value; it is read again next time.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.value = None;
        state.generation += 1;
    }
}

/// Reads a secret where blocking does no harm.
pub(super) async fn read(supply: &Arc<dyn Supply>) -> Result<Secret> {
    let supply = Arc::clone(supply);
    let read = tokio::task::spawn_blocking(move || supply.secret()).await;
    let secret = read.map_err(|cause| {
        Error::new(Kind::Internal, "reading a credential was interrupted; try again").with_source(cause)
    })?;
    secret.map_err(missing)
}

/// A configuration fault, met in the middle of a call, as the failure of that call.
pub(super) fn missing(error: Error) -> Error {
    if error.kind() == Kind::BadConfig {
        return Error::new(Kind::ToolFailed, error.message().to_owned()).with_source(error);
    }
    error
}

/// No credentials.
#[derive(Debug)]
pub struct Open;

impl Credentials for Open {
    fn account(&self) -> Option<String> {
        Some(String::from("nobody"))
    }

    fn identity<'a>(&'a self, _redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async { Identity { reference: String::from("nobody (unsigned)"), fingerprint: None } })
    }

    fn apply<'a>(&'a self, _signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// A secret in a header: `Authorization: Bearer …`, or another header as it is.
pub struct Header {
    name: HeaderName,
    prefix: &'static str,
    secret: Kept,
}

impl Header {
    /// `Authorization: Bearer SECRET`.
    pub fn bearer(secret: Arc<dyn Supply>) -> Self {
        Self { name: AUTHORIZATION, prefix: "Bearer ", secret: Kept::new(secret, "bearer-token") }
    }

    /// `NAME: SECRET`.
    pub fn named(name: HeaderName, secret: Arc<dyn Supply>) -> Self {
        Self { name, prefix: "", secret: Kept::new(secret, "api-key") }
    }
}

impl Credentials for Header {
    fn account(&self) -> Option<String> {
        Some(format!("{} {}", self.name, self.secret.supply.reference()))
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (secret, generation) = self.secret.get(signing.redactor()).await?;
            signing.generation(generation);
            signing.set(self.name.clone(), &format!("{}{}", self.prefix, secret.expose()))
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let secret = self.secret.fresh(redactor).await;
            Identity {
                reference: format!("{} {}", self.name, self.secret.supply.reference()),
                fingerprint: secret.and_then(|secret| redactor.fingerprint(secret.expose())),
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        Box::pin(self.secret.renewed(generation, redactor))
    }

    fn granted<'a>(&'a self, _login: bool, redactor: &'a Redactor) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async move { Ok(Granted::of(&self.secret.get(redactor).await?.0, None)) })
    }

    fn forget(&self) {
        self.secret.forget();
    }

    fn ready(&self) -> Result<()> {
        self.secret.supply.secret().map(|_| ())
    }
}

/// `Authorization: Basic …`.
pub struct Basic {
    user: Arc<dyn Supply>,
    password: Kept,
    pair: Mutex<Option<Held>>,
}

impl Basic {
    /// User name and password.
    pub fn new(user: Arc<dyn Supply>, password: Arc<dyn Supply>) -> Self {
        Self { user, password: Kept::new(password, "password"), pair: Mutex::default() }
    }
}

impl Credentials for Basic {
    fn account(&self) -> Option<String> {
        Some(self.user.reference())
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let user = read(&self.user).await?;
            let (password, generation) = self.password.get(signing.redactor()).await?;
            signing.generation(generation);
            let pair = basic(user.expose(), password.expose());
            let held = signing.redactor().hold(&Secret::new(pair.clone()), "basic-credential");
            *self.pair.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
            signing.set(AUTHORIZATION, &format!("Basic {pair}"))
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let (user, password) = (read(&self.user).await.ok(), self.password.fresh(redactor).await);
            let print = |secret: Option<Secret>| secret.and_then(|one| redactor.fingerprint(one.expose()));
            Identity {
                reference: format!("{} with {}", self.user.reference(), self.password.supply.reference()),
                fingerprint: both(print(user), print(password)),
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        Box::pin(self.password.renewed(generation, redactor))
    }

    fn forget(&self) {
        self.password.forget();
        *self.pair.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ready(&self) -> Result<()> {
        self.user.secret().and_then(|_| self.password.supply.secret()).map(|_| ())
    }
}

/// The fingerprints of a name and of its secret, as one.
pub(super) fn both(name: Option<String>, secret: Option<String>) -> Option<String> {
    (name.is_some() || secret.is_some())
        .then(|| format!("{}:{}", name.unwrap_or_default(), secret.unwrap_or_default()))
}

/// The value of a basic credential.
pub(super) fn basic(user: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// The first of several ways whose secrets are there.
pub struct FirstReady {
    ways: Vec<Arc<dyn Credentials>>,
    chosen: Mutex<Option<usize>>,
    none: &'static str,
}

impl FirstReady {
    /// Tries `ways` in order when the first request leaves; `none` begins the sentence for when none is ready;
    /// what to set for each follows it.
    pub fn new(ways: Vec<Arc<dyn Credentials>>, none: &'static str) -> Self {
        Self { ways, chosen: Mutex::new(None), none }
    }

    fn current(&self) -> Option<usize> {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn choose(&self) -> Result<usize> {
        if let Some(index) = self.current() {
            return Ok(index);
        }
        let (ways, none) = (self.ways.clone(), self.none);
        let found = tokio::task::spawn_blocking(move || first_ready(&ways, none)).await;
        let index = found.map_err(|cause| {
            Error::new(Kind::Internal, "reading a credential was interrupted; try again").with_source(cause)
        })??;
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(index);
        Ok(index)
    }
}

impl Credentials for FirstReady {
    fn account(&self) -> Option<String> {
        let ways: Option<Vec<String>> = self.ways.iter().map(|way| way.account()).collect();
        ways.map(|ways| ways.join(" or "))
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let index = self.choose().await?;
            match self.ways.get(index) {
                Some(way) => way.apply(signing).await,
                None => Err(Error::new(Kind::ToolFailed, self.none)),
            }
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            match self.choose().await.ok().and_then(|index| self.ways.get(index)) {
                Some(way) => way.identity(redactor).await,
                None => {
                    Identity { reference: String::from("nobody (no credential is there)"), fingerprint: None }
                }
            }
        })
    }

    fn granted<'a>(&'a self, login: bool, redactor: &'a Redactor) -> BoxFuture<'a, Result<Granted>> {
        Box::pin(async move {
            match self.ways.get(self.choose().await?) {
                Some(way) => way.granted(login, redactor).await,
                None => Ok(Granted::Silent),
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        match self.current().and_then(|index| self.ways.get(index)) {
            Some(way) => way.rejected(generation, redactor),
            None => Box::pin(async { false }),
        }
    }

    fn forget(&self) {
        self.ways.iter().for_each(|way| way.forget());
    }

    fn ready(&self) -> Result<()> {
        first_ready(&self.ways, self.none).map(|_| ())
    }
}

/// The first way whose secrets are there. One that is there but refused (readable by others, say) is an error: nothing
/// else is used behind the operator's back.
fn first_ready(ways: &[Arc<dyn Credentials>], none: &'static str) -> Result<usize> {
    let mut absent = Vec::with_capacity(ways.len());
    for (index, way) in ways.iter().enumerate() {
        match way.ready() {
            Ok(()) => return Ok(index),
            Err(error) if is_absent(&error) => absent.push(error.message().to_owned()),
            Err(error) => return Err(missing(error)),
        }
    }
    Err(Error::new(Kind::ToolFailed, format!("{none}: {}", absent.join("; or "))))
}

/// Whether an error says that nothing is there, rather than that what is there cannot be used.
fn is_absent(error: &Error) -> bool {
    error.detail().and_then(|detail| detail.get("absent")).is_some_and(|absent| absent == true)
}
