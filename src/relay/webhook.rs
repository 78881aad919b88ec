//! A signed webhook.
//!
//! Owns how messages look there: `{"messages": [...]}` with the headers of Standard Webhooks (`webhook-id`,
//! `webhook-timestamp`, `webhook-signature: v1,BASE64`). The idea: the signature covers id, time and body, so whoever gets
//! it can tell that it is ours, whole and of now.
//!
//! Must not: put the key anywhere.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

use super::{Means, Message, refused};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::credentials::Open;
use crate::http::{Body, Client, HeaderName, HeaderValue, Method, Request};
use crate::json::{Value, json};
use crate::redaction::Held;
use crate::secret::Secret;
use crate::vault::Reference;

/// Shortest key.
const SHORTEST: usize = 24;

pub(super) struct Webhook {
    client: Client,
    url: Url,
    key: Secret,
    clock: SharedClock,
    _held: Held,
}

impl Webhook {
    pub(super) fn open(url: &str, secret: &str, means: &Means) -> Result<Self> {
        let key = Reference::parse(secret)?.resolve()?;
        if key.expose().len() < SHORTEST {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "The secret of a webhook is too short; make it {SHORTEST} random characters at least."
                ),
            ));
        }
        let (client, url) = means.client("webhook", url, Arc::new(Open))?;
        let held = means.redactor.hold(&key, "webhook-secret");
        Ok(Self { client, url, key, clock: means.clock.clone(), _held: held })
    }

    pub(super) async fn send(&self, messages: &[Message]) -> Result<()> {
        let messages: Vec<Value> = messages.iter().map(Message::json).collect();
        let body = json!({ "messages": messages }).to_string();
        let id = Uuid::new_v4().to_string();
        let time = self.clock.wall().as_secs().to_string();
        let signature = signature(&self.key, &id, &time, &body)?;
        let mut request = Request::new(Method::POST, self.url.clone());
        for (name, value) in
            [("webhook-id", &id), ("webhook-timestamp", &time), ("webhook-signature", &signature)]
        {
            let value = HeaderValue::from_str(value).map_err(|cause| {
                Error::new(Kind::Internal, "A webhook's header cannot be written.").with_source(cause)
            })?;
            request.headers.push((HeaderName::from_static(name), value));
        }
        request.body =
            Body::Bytes { content_type: String::from("application/json"), bytes: Bytes::from(body) };
        // a message has an id, so that one that comes twice can be told
        request.idempotent = true;
        let response = self.client.send(request).await?;
        if (200..300).contains(&response.status) { Ok(()) } else { Err(refused("webhook", response.status)) }
    }
}

fn signature(key: &Secret, id: &str, time: &str, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
        .map_err(|cause| Error::new(Kind::Internal, "A webhook's key cannot be used.").with_source(cause))?;
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}
