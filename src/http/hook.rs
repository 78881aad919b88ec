//! Signed messages to an address of somebody's choice.
//!
//! Owns [`Hook`]. The idea: the time and the body are signed together (HMAC-SHA256), so that whoever holds the key can
//! tell that a message is ours, whole, and not an old one sent again; it leaves by the same way out as everything else.
//!
//! Must not: know what is told, or try again for long; whoever tells does.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use super::{Body, Client, Config, HeaderName, HeaderValue, Method, Request, Settings};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value};
use crate::redaction::Redactor;
use crate::secret::Secret;

/// Shortest secret that signs.
const SHORTEST: usize = 16;

/// One address that signed messages go to.
pub struct Hook {
    client: Client,
    url: Url,
    secret: Secret,
    key_id: String,
    clock: SharedClock,
}

impl Hook {
    /// A hook at `url`, under the rules of `egress`. Errors are `BadConfig`; `name` says in them whose it is.
    pub fn new(
        name: &str,
        (url, secret, key_id): (&str, Secret, &str),
        egress: &Config,
        redactor: Redactor,
        clock: SharedClock,
    ) -> Result<Self> {
        let bad = |what: &str| Error::new(Kind::BadConfig, format!("{name}: {what}"));
        let url: Url = url.parse().map_err(|_| bad("`url` is no address; it begins with https://."))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "`url` must hold no user name and no password; the signature proves who speaks.",
            ));
        }
        if secret.expose().len() < SHORTEST {
            return Err(bad("the signing secret is too short; 16 characters are the least."));
        }
        let visible = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key_id.len() > 64 || !key_id.bytes().all(visible) {
            return Err(bad("`key_id` is at most 64 of the characters A-Z a-z 0-9 - _ and a dot."));
        }
        let mut base = url.clone();
        base.set_query(None);
        base.set_path("/");
        let settings = Settings { body_limit: Some(64 << 10), ..Settings::new(name, base, egress) };
        let open = std::sync::Arc::new(super::credentials::Open);
        let client = Client::new(settings, open, redactor, clock.clone())?;
        Ok(Self { client, url, secret, key_id: key_id.to_owned(), clock })
    }

    /// Sends one message, and returns the status that was answered. `delivery` names it: the same name means the same
    /// message, sent again.
    pub async fn send(&self, delivery: &str, message: &Value) -> Result<u16> {
        let body = message.to_string();
        let timestamp = self.clock.wall().as_secs().to_string();
        let mut request = Request::new(Method::POST, self.url.clone());
        for (name, value) in [
            ("bartizan-timestamp", timestamp.clone()),
            ("bartizan-key-id", self.key_id.clone()),
            ("bartizan-delivery", delivery.to_owned()),
            ("bartizan-signature", format!("v1={}", sign(&self.secret, &timestamp, body.as_bytes())?)),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers.push((HeaderName::from_static(name), value));
            }
        }
        request.body =
            Body::Bytes { content_type: String::from("application/json"), bytes: Bytes::from(body) };
        // the receiver knows a message that comes twice by its name
        request.idempotent = true;
        self.client.send(request).await.map(|response| response.status)
    }
}

/// The signature of a body at a time, in hexadecimal digits.
fn sign(secret: &Secret, timestamp: &str, body: &[u8]) -> Result<String> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes())
        .map_err(|_| Error::new(Kind::BadConfig, "The signing secret of a webhook cannot be used."))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(Digest(mac.finalize().into_bytes().into()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_one_that_others_can_compute() {
        // python: hmac.new(b"0123456789abcdef", b'1700000000.{"a":1}', "sha256").hexdigest()
        let signed = sign(&Secret::new("0123456789abcdef"), "1700000000", b"{\"a\":1}").unwrap();
        assert_eq!(signed, "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
    }
}
