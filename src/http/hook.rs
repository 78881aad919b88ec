//! Signed messages to an address of somebody's choice.
//!
//! Owns [`Hook`]. The idea: messages look as Standard Webhooks has them (`webhook-id`, `webhook-timestamp`,
//! `webhook-signature: v1,BASE64`): id, time and body are signed together (HMAC-SHA256), so that whoever holds the key can
//! tell that a message is ours, whole, and not an old one sent again; it leaves by the same way out as everything else.
//!
//! Must not: know what is told, or try again for long; whoever tells does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use super::{Body, Client, Config, HeaderName, HeaderValue, Method, Request, Settings};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::redaction::Redactor;
use crate::secret::Secret;

/// Shortest secret that signs.
const SHORTEST: usize = 24;
/// Longest time for one message with all its tries.
const LONGEST: Duration = Duration::from_secs(15);

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
            return Err(bad("the signing secret is too short; make it 24 random characters at least."));
        }
        let visible = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key_id.len() > 64 || !key_id.bytes().all(visible) {
            return Err(bad("`key_id` is at most 64 of the characters A-Z a-z 0-9 - _ and a dot."));
        }
        let mut base = url.clone();
        base.set_query(None);
        base.set_path("/");
        let mut settings = Settings::new(name, base, egress);
        settings.timeout = Some(LONGEST);
        settings.body_limit = Some(64 << 10);
        let client = Client::new(settings, Arc::new(super::credentials::Open), redactor, clock.clone())?;
        Ok(Self { client, url, secret, key_id: key_id.to_owned(), clock })
    }

    /// Sends one message, and returns the status that was answered. `id` names it: the same name means the same message,
    /// sent again.
    pub async fn send(&self, id: &str, message: &Value) -> Result<u16> {
        let body = message.to_string();
        let time = self.clock.wall().as_secs().to_string();
        let signature = sign(&self.secret, id, &time, &body)?;
        let key_id = (!self.key_id.is_empty()).then_some(("bartizan-key-id", self.key_id.as_str()));
        let own = [("webhook-id", id), ("webhook-timestamp", &*time), ("webhook-signature", &*signature)];
        let mut request = Request::new(Method::POST, self.url.clone());
        for (name, value) in own.into_iter().chain(key_id) {
            let value = HeaderValue::from_str(value).map_err(|cause| {
                Error::new(Kind::Internal, "A header of a webhook cannot be written.").with_source(cause)
            })?;
            request.headers.push((HeaderName::from_static(name), value));
        }
        request.body =
            Body::Bytes { content_type: String::from("application/json"), bytes: Bytes::from(body) };
        // the receiver knows a message that comes twice by its name
        request.idempotent = true;
        self.client.send(request).await.map(|response| response.status)
    }
}

/// The signature of a message at a time.
fn sign(secret: &Secret, id: &str, time: &str, body: &str) -> Result<String> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes())
        .map_err(|_| Error::new(Kind::BadConfig, "The signing secret of a webhook cannot be used."))?;
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_one_that_others_can_compute() {
        // python: b64encode(hmac.new(b"0123456789abcdef01234567", b'abc.1700000000.{"a":1}', "sha256").digest())
        let secret = Secret::new("0123456789abcdef01234567");
        let signed = sign(&secret, "abc", "1700000000", "{\"a\":1}").unwrap();
        assert_eq!(signed, "v1,phePukZ/4gYY8Qp9rht0Xn1t9PTVC8vFF7MGd5VWqBE=");
    }
}
