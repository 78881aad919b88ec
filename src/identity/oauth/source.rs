//! Where an issuer's keys come from.
//!
//! Owns [`Source`]: the issuer's metadata (RFC 8414, or that of `OpenID` Connect) and the key set that it names. The idea:
//! both are fetched through the same way out as everything else, so that the rules for addresses, redirects and sizes
//! are those of `http/`; metadata that calls itself another issuer is not this issuer's.
//!
//! Must not: remember keys, or send a credential.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::ACCEPT;
use url::Url;

use super::jwk::Key;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::credentials::Open;
use crate::http::{Client, Config as Egress, HeaderValue, Method, Request, Settings};
use crate::json::{Bounds, Map, Value, parse};
use crate::redaction::Redactor;

/// Longest document that is read.
const LONGEST: u64 = 512 << 10;
/// Keys of one issuer; further ones are not looked at.
const MOST: usize = 128;
/// Longest wait for one document.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What fetches for one issuer.
pub(super) struct Source {
    name: String,
    issuer: String,
    address: Url,
    /// Where the keys are: from the configuration, or found out.
    keys: Mutex<Option<Url>>,
    configured: bool,
    egress: Egress,
    redactor: Redactor,
    clock: SharedClock,
}

impl Source {
    /// Nothing is fetched yet; what can be known to be wrong now is.
    pub(super) fn new(
        (name, issuer): (String, String),
        address: Url,
        keys: Option<Url>,
        egress: &Egress,
        (redactor, clock): (Redactor, SharedClock),
    ) -> Result<Self> {
        let mut egress = egress.clone();
        egress.retries = 0;
        egress.per_minute = None;
        let configured = keys.is_some();
        let source =
            Self { name, issuer, address, keys: Mutex::new(keys), configured, egress, redactor, clock };
        let first = source.known().unwrap_or_else(|| source.address.clone());
        source.client(&first)?;
        Ok(source)
    }

    fn known(&self) -> Option<Url> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client(&self, url: &Url) -> Result<Client> {
        let mut settings = Settings::new(format!("the issuer {}", self.name), url.clone(), &self.egress);
        settings.timeout = Some(PATIENCE);
        settings.body_limit = Some(LONGEST);
        Client::new(settings, Arc::new(Open), self.redactor.clone(), self.clock.clone())
    }

    /// The keys as they are published now.
    pub(super) async fn fetch(&self) -> Result<Vec<Key>> {
        let url = match self.known() {
            Some(url) => url,
            None => self.discover().await?,
        };
        let document = self.get(&url).await;
        if !self.configured {
            // the next time they may be somewhere else
            let found = document.is_ok().then_some(url);
            *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        let document = document?;
        let Some(Value::Array(all)) = document.get("keys") else {
            return Err(self.broken("published something that is not a key set"));
        };
        let keys = all.iter().take(MOST).filter_map(Value::as_object).filter_map(|jwk| Key::read(jwk).ok());
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            return Err(self.broken("published no key that can verify a signature"));
        }
        Ok(keys)
    }

    async fn discover(&self) -> Result<Url> {
        let mut last = None;
        for url in places(&self.address) {
            let document = match self.get(&url).await {
                Ok(document) => document,
                // whoever cannot be reached, or may not be, is not there under another path either
                Err(error) if matches!(error.kind(), Kind::TimedOut | Kind::Forbidden) => return Err(error),
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            if document.get("issuer").and_then(Value::as_str) != Some(&self.issuer) {
                last = Some(self.broken("has metadata that names another issuer"));
                continue;
            }
            let keys = document.get("jwks_uri").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            return keys.ok_or_else(|| self.broken("has metadata without the address of its keys"));
        }
        Err(last.unwrap_or_else(|| self.broken("has no metadata")))
    }

    async fn get(&self, url: &Url) -> Result<Map<String, Value>> {
        let mut request = Request::new(Method::GET, url.clone());
        request.headers.push((ACCEPT, HeaderValue::from_static("application/json")));
        let response = self.client(url)?.send(request).await?;
        if response.status != 200 {
            return Err(self.broken("did not answer with a document"));
        }
        let bounds = Bounds { size: usize::try_from(LONGEST).unwrap_or(usize::MAX), depth: 16 };
        match parse(&response.body, &bounds) {
            Ok(Value::Object(document)) => Ok(document),
            _ => Err(self.broken("answered with something that is not a JSON object")),
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(Kind::UpstreamFailed, format!("The issuer {} {what}.", self.name))
    }
}

/// Where metadata can be, in the order of the specification.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    paths.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_the_specification_says() {
        let at = |issuer: &str| -> Vec<String> {
            places(&Url::parse(issuer).unwrap()).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            at("https://a.example"),
            [
                "https://a.example/.well-known/oauth-authorization-server",
                "https://a.example/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            at("https://a.example/t/v2.0/"),
            [
                "https://a.example/.well-known/oauth-authorization-server/t/v2.0",
                "https://a.example/.well-known/openid-configuration/t/v2.0",
                "https://a.example/t/v2.0/.well-known/openid-configuration"
            ]
        );
    }
}
