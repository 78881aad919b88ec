//! Whether a question may be put to a person.
//!
//! Owns the check of what a tool asks. The idea: what a person fills into a form passes the client, which may show it
//! to a model and keep it, so a form never asks for a secret; an address where a person goes instead is one that
//! anybody may see, over TLS, and carries no credential.
//!
//! Must not: repeat a word of the question.

use std::borrow::Cow;

use url::{Host, Url};

use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::protocol::types::{Ask, Asks};
use crate::redaction::Redactor;

const SECRET: &str = "The tool asks for a secret in a form, which the client would see and may keep. Let it send the \
                      person to an address instead (`ask_url`).";
const ADDRESS: &str = "The tool sends a person to an address that cannot be shown: it has to be an https URL without \
                       a credential in it.";

/// Checks every question of a call.
pub(super) fn fit(asks: &Asks, redactor: &Redactor) -> Result<()> {
    for ask in asks.values() {
        match ask {
            Ask::Form { schema, .. } if wants_a_secret(schema, redactor) => {
                return Err(Error::new(Kind::ToolFailed, SECRET));
            }
            Ask::Url { url, .. } if !is_plain(url, redactor) => {
                return Err(Error::new(Kind::ToolFailed, ADDRESS));
            }
            Ask::Form { .. } | Ask::Url { .. } | Ask::Sample(_) | Ask::Roots => {}
        }
    }
    Ok(())
}

fn wants_a_secret(schema: &Value, redactor: &Redactor) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().any(|(name, property)| {
        let text = matches!(property.get("type").and_then(Value::as_str), Some("string") | None);
        let title = property.get("title").and_then(Value::as_str);
        let hidden = property.get("format").and_then(Value::as_str) == Some("password");
        text && (hidden
            || redactor.names_a_secret(name)
            || title.is_some_and(|title| redactor.names_a_secret(title)))
    })
}

fn is_plain(text: &str, redactor: &Redactor) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let open = url.scheme() == "https" || (url.scheme() == "http" && here);
    let signed = !url.username().is_empty() || url.password().is_some();
    let telling = url.query_pairs().any(|(name, _)| redactor.names_a_secret(&name));
    open && !signed && !telling && matches!(redactor.text(text), Cow::Borrowed(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;
    use crate::redaction::Config;
    use crate::secret::Secret;

    fn asked(ask: Ask) -> Option<Kind> {
        let redactor = Redactor::new(&Config::default()).unwrap();
        redactor.learn(&Secret::new("swordfish-and-chips"), "test");
        let asks = Asks::from_iter([(String::from("q"), ask)]);
        let error = fit(&asks, &redactor).err()?;
        assert!(!error.message().contains("hunter2"));
        Some(error.kind())
    }

    fn form(properties: &Value) -> Option<Kind> {
        asked(Ask::Form {
            message: "hunter2".into(),
            schema: json!({"type": "object", "properties": properties}),
        })
    }

    // proves: forms-without-secrets
    #[test]
    fn a_form_never_asks_for_a_secret() {
        for secret in [
            json!({"password": {"type": "string"}}),
            json!({"api_key": {"type": "string"}}),
            json!({"value": {"type": "string", "title": "Client secret"}}),
            json!({"word": {"type": "string", "format": "password"}}),
            json!({"city": {"type": "string"}, "accessToken": {}}),
        ] {
            assert_eq!(form(&secret), Some(Kind::ToolFailed), "{secret}");
        }
        for plain in [
            json!({"name": {"type": "string"}, "page_token": {"type": "string"}}),
            json!({"keepPassword": {"type": "boolean"}}),
            json!({}),
        ] {
            assert_eq!(form(&plain), None, "{plain}");
        }
    }

    // proves: addresses-without-secrets
    #[test]
    fn an_address_can_be_seen_by_anybody() {
        let url = |url: &str| asked(Ask::Url { message: "hunter2".into(), url: url.into() });
        for plain in ["https://example.com/in?flow=7", "http://127.0.0.1:8000/in", "http://localhost/in"] {
            assert_eq!(url(plain), None, "{plain}");
        }
        for wrong in [
            "http://example.com/in",
            "https://me@example.com/in",
            "https://me:hunter2@example.com/in",
            "https://example.com/in?access_token=hunter2",
            "https://example.com/in?x=swordfish-and-chips",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "in",
        ] {
            assert_eq!(url(wrong), Some(Kind::ToolFailed), "{wrong}");
        }
    }
}
