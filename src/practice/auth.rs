//! Who may call: tokens issued and checked.
//!
//! Owns [`Auth`] and the gate. The idea: the values are made for this run and mean nothing anywhere else; what the
//! vendors do with a wrong one (a 400 in their own words, a lock after five) happens here too.
//!
//! Must not: resolve or accept a real credential.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reply::Reply;
use crate::clock::SharedClock;
use crate::json::{Value, json};

/// Tokens remembered at most.
const TOKENS: usize = 1000;

/// What a request must carry.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nothing.
    Open,
    /// A token from one of the token paths, by OAuth2 client credentials: as JSON in Equinix's style, as a form in
    /// RFC 6749's.
    ClientCredentials {
        /// Paths that issue tokens; `{}` stands for any one segment.
        paths: Vec<String>,
        /// The client.
        client_id: String,
        /// Its secret, for practice only.
        client_secret: String,
        /// How long a token lives.
        lifetime: Duration,
        /// Successive failures after which the account is locked.
        lock_after: u32,
    },
    /// A fixed bearer token, for practice only.
    Bearer(String),
    /// A key in a header, for practice only.
    Header {
        /// Header name.
        name: String,
        /// The key.
        key: String,
    },
    /// A name and a password, for practice only.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
}

impl Auth {
    /// Client credentials made for this run.
    pub fn client_credentials() -> Self {
        Self::ClientCredentials {
            paths: vec!["/oauth2/v1/token".into(), "/oauth2/token".into(), "/{}/oauth2/v2.0/token".into()],
            client_id: format!("practice-client-{:08x}", rand::random::<u32>()),
            client_secret: format!("practice-secret-{:032x}", rand::random::<u128>()),
            lifetime: Duration::from_hours(1),
            lock_after: 5,
        }
    }

    /// A bearer token made for this run.
    pub fn bearer() -> Self {
        Self::Bearer(format!("practice-token-{:032x}", rand::random::<u128>()))
    }
}

/// The gate: what was issued, and how often somebody failed.
pub(super) struct Gate {
    auth: Auth,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: VecDeque<(String, Duration)>,
    failures: u32,
    issued: u64,
}

impl Gate {
    pub(super) fn new(auth: Auth, clock: SharedClock) -> Self {
        Self { auth, clock, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every token that was issued.
    pub(super) fn revoke(&self) {
        self.state().tokens.clear();
    }

    /// Opens a locked account again.
    pub(super) fn unlock(&self) {
        self.state().failures = 0;
    }

    /// How many tokens were issued.
    pub(super) fn issued(&self) -> u64 {
        self.state().issued
    }

    /// Whether a path issues tokens.
    pub(super) fn issues(&self, path: &str) -> bool {
        let Auth::ClientCredentials { paths, .. } = &self.auth else { return false };
        paths.iter().any(|known| {
            let mut left = path.split('/');
            let same = known.split('/').all(|segment| {
                left.next().is_some_and(|given| segment == given || (segment == "{}" && !given.is_empty()))
            });
            same && left.next().is_none()
        })
    }

    /// Whether a request carries what it must.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = |scheme: &str| {
            let (given, rest) = text("authorization")?.split_once(' ')?;
            given.eq_ignore_ascii_case(scheme).then_some(rest.trim())
        };
        match &self.auth {
            Auth::Open => true,
            Auth::Bearer(token) => authorization("bearer").is_some_and(|given| same(given, token)),
            Auth::Header { name, key } => text(name).is_some_and(|given| same(given, key)),
            Auth::Basic { user, password } => authorization("basic")
                .is_some_and(|given| same(given, &STANDARD.encode(format!("{user}:{password}")))),
            Auth::ClientCredentials { .. } => authorization("bearer").is_some_and(|given| {
                let now = self.clock.monotonic();
                self.state().tokens.iter().any(|(token, until)| *until > now && same(given, token))
            }),
        }
    }

    /// The scheme that a refusal names.
    pub(super) fn challenge(&self) -> &'static str {
        match self.auth {
            Auth::Basic { .. } => "Basic realm=\"practice\"",
            _ => "Bearer realm=\"practice\"",
        }
    }

    /// Answers a request for a token.
    pub(super) fn token(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let Auth::ClientCredentials { client_id, client_secret, lifetime, lock_after, .. } = &self.auth
        else {
            return Reply::empty(StatusCode::NOT_FOUND);
        };
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let form = kind.starts_with("application/x-www-form-urlencoded");
        if !form && !kind.starts_with("application/json") {
            return refusal(form, "unsupported_media_type", "The token request must be JSON or a form.");
        }
        let given = read(headers, body, form);
        if given.grant_type.as_deref() != Some("client_credentials") {
            return refusal(
                form,
                "unsupported_grant_type",
                "The practice upstream issues client credentials only.",
            );
        }
        let right = given.client_id.is_some_and(|given| same(&given, client_id))
            & given.client_secret.is_some_and(|given| same(&given, client_secret));
        let mut state = self.state();
        if state.failures >= *lock_after {
            return refusal(form, "account_locked", "The account is locked after too many failed attempts.");
        }
        if !right {
            state.failures += 1;
            return refusal(form, "invalid_client", "The client id or the client secret is wrong.");
        }
        state.failures = 0;
        state.issued += 1;
        let token = format!("practice-access-{:032x}", rand::random::<u128>());
        state.tokens.push_back((token.clone(), self.clock.monotonic() + *lifetime));
        while state.tokens.len() > TOKENS {
            state.tokens.pop_front();
        }
        drop(state);
        let answer = if form {
            json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs()})
        } else {
            json!({
                "access_token": token,
                "token_timeout": lifetime.as_secs().saturating_sub(1).to_string(),
                "user_name": "practice-user",
                "token_type": "Bearer",
            })
        };
        Reply::json(StatusCode::OK, &answer).with_header("cache-control", "no-store")
    }
}

#[derive(Default)]
struct Given {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

fn read(headers: &HeaderMap, body: &[u8], form: bool) -> Given {
    if !form {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        return Given {
            grant_type: text("grant_type"),
            client_id: text("client_id"),
            client_secret: text("client_secret"),
        };
    }
    let mut given = Given::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "grant_type" => given.grant_type = Some(value.into_owned()),
            "client_id" => given.client_id = Some(value.into_owned()),
            "client_secret" => given.client_secret = Some(value.into_owned()),
            _ => {}
        }
    }
    // RFC 6749 section 2.3.1: the client may sign with HTTP Basic instead, each half form-encoded
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|coded| STANDARD.decode(coded).ok())
        .and_then(|plain| String::from_utf8(plain).ok());
    if let Some((id, secret)) = basic.as_deref().and_then(|plain| plain.split_once(':')) {
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        given.client_id = Some(decode(id));
        given.client_secret = Some(decode(secret));
    }
    given
}

fn refusal(form: bool, code: &str, message: &str) -> Reply {
    if form {
        return Reply::json(StatusCode::BAD_REQUEST, &json!({"error": code, "error_description": message}));
    }
    let answer = json!({
        "error_domain": "apimanagement",
        "error_title": "Authentication failed",
        "error_code": code,
        "developer_message": message,
        "error_message": message,
    });
    Reply::json(StatusCode::BAD_REQUEST, &answer)
}

/// Equality in time that depends on the lengths only.
fn same(one: &str, other: &str) -> bool {
    subtle::ConstantTimeEq::ct_eq(one.as_bytes(), other.as_bytes()).into()
}
