//! A key in the query of an address.
//!
//! Owns [`Query`]. The idea: the key joins the address last, on a copy that goes to the wire and nowhere else; what logs,
//! approvals, results and errors know of a request is the address without it.
//!
//! Must not: change where a request goes.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::credentials::{Identity, Kept};
use super::{BoxFuture, Credentials, Signing, Supply};
use crate::error::Result;
use crate::redaction::Redactor;

/// What stays as it is in a query (RFC 3986: unreserved).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a server may take two names of headers or of parameters for the same: many read them whatever their case, and
/// `_` as `-`.
pub fn is_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// `?NAME=SECRET`.
pub struct Query {
    name: String,
    secret: Kept,
}

impl Query {
    /// A key under that name, in place of anything of that name in the query.
    pub fn new(name: impl Into<String>, secret: Arc<dyn Supply>) -> Self {
        Self { name: name.into(), secret: Kept::new(secret, "api-key") }
    }
}

impl Signing {
    /// Puts a secret into the query, in place of any of that name, however it is written. The rest of the address stays byte for byte.
    pub(super) fn set_query(&mut self, name: &str, value: &str) {
        let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let named = |pair: &&str| {
            url::form_urlencoded::parse(pair.as_bytes())
                .next()
                .is_some_and(|(known, _)| is_alike(&known, name))
        };
        let query = self.url.query().unwrap_or_default();
        let mut pairs: Vec<String> =
            query.split('&').filter(|pair| !pair.is_empty() && !named(pair)).map(str::to_owned).collect();
        pairs.push(format!("{}={}", encode(name), encode(value)));
        self.url.set_query(Some(&pairs.join("&")));
    }
}

impl Credentials for Query {
    fn account(&self) -> Option<String> {
        Some(format!("?{} {}", self.name, self.secret.reference()))
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (secret, generation) = self.secret.get(signing.redactor()).await?;
            signing.generation(generation);
            signing.set_query(&self.name, secret.expose());
            Ok(())
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let secret = self.secret.fresh(redactor).await;
            Identity {
                reference: format!("?{} {}", self.name, self.secret.reference()),
                fingerprint: secret.and_then(|secret| redactor.fingerprint(secret.expose())),
            }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        Box::pin(self.secret.renewed(generation, redactor))
    }

    fn forget(&self) {
        self.secret.forget();
    }

    fn ready(&self) -> Result<()> {
        self.secret.ready()
    }
}
