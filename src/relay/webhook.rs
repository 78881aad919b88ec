//! A signed webhook.
//!
//! Owns how messages look there: `{"messages": [...]}`. The idea: how they are signed is the same for everything that
//! bartizan tells somebody outside (`http/hook.rs`).
//!
//! Must not: put the key anywhere.

use uuid::Uuid;

use super::{Means, Message, refused};
use crate::error::Result;
use crate::http::hook::Hook;
use crate::json::{Value, json};
use crate::redaction::Held;
use crate::vault::Reference;

pub(super) struct Webhook {
    hook: Hook,
    _held: Held,
}

impl Webhook {
    pub(super) fn open(url: &str, secret: &str, means: &Means) -> Result<Self> {
        let key = means.secrets.resolve(&Reference::parse(secret)?)?;
        let held = means.redactor.hold(&key, "webhook-secret");
        let (redactor, clock) = (means.redactor.clone(), means.clock.clone());
        let hook = Hook::new("webhook", (url, key, ""), &means.egress, redactor, clock)?;
        Ok(Self { hook, _held: held })
    }

    pub(super) async fn send(&self, messages: &[Message]) -> Result<()> {
        let messages: Vec<Value> = messages.iter().map(Message::json).collect();
        let status = self.hook.send(&Uuid::new_v4().to_string(), &json!({ "messages": messages })).await?;
        if (200..300).contains(&status) { Ok(()) } else { Err(refused("webhook", status)) }
    }
}
