//! Secrets in a `HashiCorp` Vault (KV version 2).
//!
//! Owns [`Config`] and [`Hashicorp`]. The idea: the token comes by reference or from an `AppRole` login, is renewed while
//! it can be and fetched again when it cannot; what was read is kept for a while, so that a call seldom waits and a
//! Vault that is away for a moment costs nothing. Requests go out by our own client, under its rules.
//!
//! Must not: repeat what Vault said, or send anything but its own token to it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::Reference;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::credentials::Header;
use crate::http::{self, Client, Credentials, HeaderName, HeaderValue, Method, Request, Response, Settings};
use crate::json::{Value, json};
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;

/// `[secrets.vault]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is, such as `https://vault.example.com:8200`; plain `http` on this machine only.
    pub address: Url,
    /// Its namespace, if it has any.
    #[serde(default)]
    pub namespace: Option<String>,
    /// PEM file of certificate authorities that it is trusted under besides the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Its token; not of this Vault itself.
    #[serde(default)]
    pub token: Option<Reference>,
    /// How to log in, where there is no token.
    #[serde(default)]
    pub approle: Option<AppRole>,
    /// Seconds that a request may take.
    #[serde(default = "Config::timeout")]
    pub timeout_seconds: u64,
}

impl Config {
    const fn timeout() -> u64 {
        10
    }
}

/// A login by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// Where the login is mounted.
    #[serde(default = "AppRole::mount")]
    pub mount: String,
    /// The role's id.
    pub role_id: Reference,
    /// The secret that goes with it.
    pub secret_id: Reference,
}

impl AppRole {
    fn mount() -> String {
        String::from("approle")
    }
}

/// Where in the Vault a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spot {
    /// Where the engine is mounted.
    pub mount: String,
    /// The path below it.
    pub path: String,
    /// Which of its values.
    pub field: String,
    /// Which version; the newest unless said.
    pub version: Option<u64>,
}

impl Spot {
    /// Reads `MOUNT/PATH#FIELD`, with `@VERSION` at the end if one version is meant.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, field) = text.split_once('#')?;
        let (mount, path) = place.split_once('/')?;
        let (field, version) = match field.split_once('@') {
            None => (field, None),
            Some((field, version)) => (field, Some(version.parse().ok().filter(|version| *version > 0)?)),
        };
        let segments = |text: &str| text.split('/').all(is_plain);
        (segments(mount) && segments(path) && is_plain(field)).then(|| Self {
            mount: mount.to_owned(),
            path: path.to_owned(),
            field: field.to_owned(),
            version,
        })
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "vault:{}/{}#{}", self.mount, self.path, self.field)?;
        self.version.map_or(Ok(()), |version| write!(out, "@{version}"))
    }
}

/// A segment that means itself, wherever it stands.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && text != "."
        && text != ".."
}

/// A Vault.
pub(super) struct Hashicorp {
    config: Config,
    egress: http::Config,
    refresh: Duration,
    redactor: Redactor,
    clock: SharedClock,
    state: Mutex<State>,
    /// One request at a time: whoever waits finds what the one before has read.
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// What was read, by mount, path and version; and when.
    kept: HashMap<Place, (Arc<Values>, Duration)>,
}

/// Mount, path and version.
type Place = (String, String, Option<u64>);

type Values = HashMap<String, Secret>;

#[derive(Clone)]
struct Token {
    secret: Secret,
    /// When it is renewed or fetched again; never where it has no end.
    renew: Option<Duration>,
    ends: Option<Duration>,
    renewable: bool,
    _held: Arc<Held>,
}

impl Hashicorp {
    pub(super) fn new(
        config: &Config,
        egress: &http::Config,
        refresh: Duration,
        redactor: Redactor,
        clock: SharedClock,
    ) -> Result<Self> {
        let wrong = |what: &str| Err(Error::new(Kind::BadConfig, format!("[secrets.vault]: {what}.")));
        let host = config.address.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if config.address.scheme() != "https" && !(config.address.scheme() == "http" && here) {
            return wrong("`address` must be https (plain http on this machine only)");
        }
        if config.token.is_some() == config.approle.is_some() {
            return wrong("say either `token` or `approle`");
        }
        let own = config
            .token
            .iter()
            .chain(config.approle.iter().flat_map(|role| [&role.role_id, &role.secret_id]));
        if own.into_iter().any(|reference| matches!(reference, Reference::Vault(_))) {
            return wrong("what opens the Vault cannot be in it");
        }
        if let Some(role) = &config.approle
            && !role.mount.split('/').all(is_plain)
        {
            return wrong("`mount` is a path");
        }
        // the operator said where it is: a private address is meant, and nothing else there
        let port = config.address.port_or_known_default().unwrap_or(8200);
        let mut egress = egress.clone().allowing(if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        });
        if let Some(ca_file) = &config.ca_file {
            egress.ca_file = Some(ca_file.clone());
        }
        let seconds = std::cmp::max(config.timeout_seconds, 1);
        egress.timeout = f64::from(u32::try_from(seconds).unwrap_or(3600).min(3600));
        let made = Self {
            config: config.clone(),
            egress,
            refresh,
            redactor,
            clock,
            state: Mutex::default(),
            turn: Mutex::default(),
        };
        made.client(None)?;
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A secret. Blocks; `resolve` reads what opens the Vault.
    pub(super) fn secret(
        &self,
        spot: &Spot,
        resolve: &dyn Fn(&Reference) -> Result<Secret>,
    ) -> Result<Secret> {
        let key = (spot.mount.clone(), spot.path.clone(), spot.version);
        let fresh = || {
            let state = self.lock();
            let (values, read) = state.kept.get(&key)?;
            (self.clock.monotonic() < *read + self.refresh).then(|| Arc::clone(values))
        };
        if let Some(values) = fresh() {
            return field(&values, spot);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = fresh() {
            return field(&values, spot);
        }
        let values = Arc::new(self.read(spot, resolve)?);
        self.lock().kept.insert(key, (Arc::clone(&values), self.clock.monotonic()));
        field(&values, spot)
    }

    /// Forgets what was read and the token.
    pub(super) fn forget(&self) {
        *self.lock() = State::default();
    }

    /// On a thread with a runtime of its own: whoever asks may be in one already, or in none.
    #[allow(clippy::unused_self, reason = "it belongs to those who ask")]
    fn apart<T: Send, F: Future<Output = Result<T>>>(&self, work: impl FnOnce() -> F + Send) -> Result<T> {
        let failed = || Error::new(Kind::Internal, "a thread to ask the Vault on could not be had");
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|cause| failed().with_source(cause))?.block_on(work())
            });
            done.join().map_err(|_| failed())?
        })
    }

    fn read(&self, spot: &Spot, resolve: &dyn Fn(&Reference) -> Result<Secret>) -> Result<Values> {
        let mut again = true;
        loop {
            let token = self.token(resolve)?;
            let mut path = format!("/v1/{}/data/{}", spot.mount, spot.path);
            if let Some(version) = spot.version {
                let _ = write!(path, "?version={version}");
            }
            let answer = self.ask(Method::GET, &path, None, Some(&token.secret))?;
            match answer.status {
                200 => return values(&answer, spot),
                // the token was taken back, or its reference leads to another one by now
                403 if again => {
                    again = false;
                    self.lock().token = None;
                }
                403 => {
                    return Err(refused(format!(
                        "the Vault does not let this token read {spot}; check its policy"
                    )));
                }
                404 => {
                    return Err(refused(format!(
                        "the Vault has nothing at {spot}, or that version was deleted"
                    )));
                }
                status => return Err(broken(status)),
            }
        }
    }

    /// A token that has not ended.
    fn token(&self, resolve: &dyn Fn(&Reference) -> Result<Secret>) -> Result<Token> {
        let now = self.clock.monotonic();
        let held = self.lock().token.clone().filter(|token| token.ends.is_none_or(|ends| now < ends));
        if let Some(token) = held {
            if token.renew.is_none_or(|renew| now < renew) {
                return Ok(token);
            }
            if token.renewable
                && let Some(renewed) = self.renew(&token)
            {
                return Ok(self.keep(renewed));
            }
        }
        let token = match (&self.config.token, &self.config.approle) {
            (Some(reference), _) => self.look_up(resolve(reference)?)?,
            (None, Some(role)) => self.log_in(role, resolve)?,
            (None, None) => return Err(refused(String::from("nothing opens the Vault"))),
        };
        Ok(self.keep(token))
    }

    fn keep(&self, token: Token) -> Token {
        self.lock().token = Some(token.clone());
        token
    }

    fn made(&self, secret: Secret, lasts: u64, renewable: bool) -> Token {
        let now = self.clock.monotonic();
        let lasts = (lasts > 0).then(|| Duration::from_secs(lasts.min(10 * 365 * 24 * 3600)));
        let held = Arc::new(self.redactor.hold(&secret, "vault-token"));
        let (renew, ends) = (lasts.map(|lasts| now + lasts * 2 / 3), lasts.map(|lasts| now + lasts));
        Token { secret, renew, ends, renewable, _held: held }
    }

    /// How long a token lasts that somebody gave us. One that may not say so is used as it is.
    fn look_up(&self, secret: Secret) -> Result<Token> {
        let answer = self.ask(Method::GET, "/v1/auth/token/lookup-self", None, Some(&secret))?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let data = &told["data"];
        match answer.status {
            200 => Ok(self.made(secret, data["ttl"].as_u64().unwrap_or(0), data["renewable"] == true)),
            _ => Ok(self.made(secret, 0, false)),
        }
    }

    fn log_in(&self, role: &AppRole, resolve: &dyn Fn(&Reference) -> Result<Secret>) -> Result<Token> {
        let (id, secret) = (resolve(&role.role_id)?, resolve(&role.secret_id)?);
        let _held = self.redactor.hold(&secret, "vault-secret-id");
        let body = json!({"role_id": id.expose(), "secret_id": secret.expose()});
        let answer = self.ask(Method::POST, &format!("/v1/auth/{}/login", role.mount), Some(&body), None)?;
        match answer.status {
            200 => self.granted(&answer).ok_or_else(|| broken(200)),
            400..=499 => Err(refused(format!(
                "the Vault refused the login (status {}); check {} and {}",
                answer.status, role.role_id, role.secret_id
            ))),
            status => Err(broken(status)),
        }
    }

    fn renew(&self, token: &Token) -> Option<Token> {
        let asked =
            self.ask(Method::POST, "/v1/auth/token/renew-self", Some(&json!({})), Some(&token.secret));
        let answer = asked.ok().filter(|answer| answer.status == 200)?;
        self.granted(&answer)
    }

    fn granted(&self, answer: &Response) -> Option<Token> {
        let told: Value = serde_json::from_slice(&answer.body).ok()?;
        let auth = &told["auth"];
        let secret = auth["client_token"].as_str().filter(|token| !token.is_empty())?;
        let lasts = auth["lease_duration"].as_u64().unwrap_or(0);
        Some(self.made(Secret::new(secret), lasts, auth["renewable"] == true))
    }

    fn client(&self, token: Option<&Secret>) -> Result<Client> {
        let credentials: Arc<dyn Credentials> = match token {
            Some(token) => {
                Arc::new(Header::named(HeaderName::from_static("x-vault-token"), Arc::new(token.clone())))
            }
            None => Arc::new(http::credentials::Open),
        };
        let settings = Settings::new("the Vault", self.config.address.clone(), &self.egress);
        Client::new(settings, credentials, self.redactor.clone(), Arc::clone(&self.clock))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Secret>,
    ) -> Result<Response> {
        let url = self.config.address.join(path).map_err(|cause| {
            Error::new(Kind::Internal, "an address of the Vault could not be made").with_source(cause)
        })?;
        let mut request = Request::new(method, url);
        request.headers.push((HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true")));
        if let Some(namespace) = &self.config.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|cause| {
                Error::new(Kind::BadConfig, "[secrets.vault]: `namespace` is none that a header can carry.")
                    .with_source(cause)
            })?;
            request.headers.push((HeaderName::from_static("x-vault-namespace"), value));
        }
        if let Some(body) = body {
            request = request.json("application/json", body);
        }
        let client = self.client(token)?;
        self.apart(|| client.send(request))
    }
}

fn values(answer: &Response, spot: &Spot) -> Result<Values> {
    let told: Value = serde_json::from_slice(&answer.body).map_err(|cause| broken(200).with_source(cause))?;
    let data = told["data"]["data"].as_object().ok_or_else(|| {
        refused(format!(
            "the Vault holds nothing like a secret at {spot}; is {} of KV version 2?",
            spot.mount
        ))
    })?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(Secret::new(text.as_str())),
        Value::Number(number) => Some(Secret::new(number.to_string())),
        _ => None,
    };
    Ok(data.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect())
}

fn field(values: &Values, spot: &Spot) -> Result<Secret> {
    values
        .get(&spot.field)
        .filter(|value| !value.is_empty())
        .cloned()
        .ok_or_else(|| refused(format!("the Vault has no such value there: {spot}")))
}

fn refused(message: String) -> Error {
    Error::new(Kind::BadConfig, message)
}

fn broken(status: u16) -> Error {
    let what = match status {
        503 => "is sealed or away",
        429 | 472 | 473 => "is on standby",
        _ => "did not answer as a Vault does",
    };
    Error::new(Kind::UpstreamFailed, format!("the Vault {what} (status {status}); nothing was read"))
}

#[cfg(test)]
mod tests {
    use super::Spot;

    #[test]
    fn a_spot_means_one_thing() {
        for text in ["secret/equinix#client_secret", "kv/a/b.c/d-e#x@12"] {
            assert_eq!(Spot::parse(text).unwrap().to_string(), format!("vault:{text}"));
        }
        for text in [
            "",
            "secret",
            "secret/x",
            "secret#x",
            "/x#y",
            "secret/#y",
            "secret/../sys#y",
            "secret/x#",
            "secret/x#y@0",
            "secret/x#y@z",
            "secret/x?list=true#y",
            "secret//x#y",
            "secret/%2e%2e/x#y",
            "secret/x#y#z",
            "secret/x y#z",
        ] {
            assert!(Spot::parse(text).is_none(), "{text}");
        }
    }
}
