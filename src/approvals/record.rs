//! What a person decides about.
//!
//! Owns [`Wish`], [`Shown`], [`Record`] and [`Status`]. The idea: the binding says exactly which call is meant (and is
//! keyed, so that it tells nothing about the arguments); what is shown to the person is part of it, so a record that
//! was altered after it was written approves nothing.
//!
//! Must not: read or write files.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::json::{Digest, Value, canonical, digest, json};
use crate::principal::Principal;

/// A call that wants a person's agreement.
pub struct Wish<'a> {
    /// Who calls.
    pub principal: &'a Principal,
    /// What is called.
    pub tool: &'a str,
    /// Where the tool comes from.
    pub source: &'a str,
    /// The digest of the tool's definition.
    pub fingerprint: Digest,
    /// `read`, `write` or `destroy`.
    pub effect: &'a str,
    /// Method and address template of an upstream operation.
    pub target: Option<&'a str>,
    /// The validated arguments: bound, never stored.
    pub arguments: &'a Value,
    /// The arguments as a person may see them: redacted. [`render`] makes them safe to look at.
    pub redacted: &'a Value,
    /// The policies that asked for a person.
    pub policy: &'a str,
}

/// What the person sees; the signature covers its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Who calls.
    pub principal: String,
    /// What is called.
    pub tool: String,
    /// Where the tool comes from.
    pub source: String,
    /// `read`, `write` or `destroy`.
    pub effect: String,
    /// Method and address template of an upstream operation.
    pub target: Option<String>,
    /// The arguments: redacted, cut to a readable length, control characters made visible.
    pub arguments: String,
}

impl Shown {
    /// What is shown of a wish.
    pub fn of(wish: &Wish<'_>) -> Self {
        Self {
            principal: visible(&wish.principal.id),
            tool: visible(wish.tool),
            source: visible(wish.source),
            effect: wish.effect.to_owned(),
            target: wish.target.map(visible),
            arguments: render(wish.redacted),
        }
    }

    /// The digest that is signed.
    pub fn digest(&self) -> Digest {
        digest(&json!({
            "principal": self.principal, "tool": self.tool, "source": self.source, "effect": self.effect,
            "target": self.target, "arguments": self.arguments
        }))
    }
}

/// An approval as it lies in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name: unguessable, and short enough to type.
    pub id: String,
    /// When it was asked for, in milliseconds since the epoch.
    pub created: u64,
    /// When it ends, decided or not.
    pub expires: u64,
    /// What the person sees.
    pub shown: Shown,
    /// The digest of the tool's definition.
    pub fingerprint: String,
    /// The keyed digest of everything the approval is bound to.
    pub binding: String,
    /// The policies that asked for a person.
    pub policy: String,
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody has decided.
    Pending,
    /// A person agreed; the call has not come back.
    Approved,
    /// A person refused.
    Refused,
    /// Its time is over.
    Expired,
    /// The call took it and has ended.
    Used,
    /// The call took it and asks something else of its client before it goes on.
    Carried,
    /// The call took it, and is running or was cut off; it never runs again.
    Unknown,
}

impl Status {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Used => "used",
            Self::Carried => "carried",
            Self::Unknown => "unknown",
        }
    }
}

/// The keyed digest of everything that must not change between the question and the call.
pub(super) fn binding(key: &[u8; 32], profile: &str, wish: &Wish<'_>) -> String {
    let principal = wish.principal;
    let whole = json!({
        "profile": profile,
        "principal": {
            "id": &*principal.id, "kind": principal.kind, "tenant": principal.tenant,
            "scopes": principal.scopes, "roles": principal.roles
        },
        "tool": wish.tool,
        "source": wish.source,
        "target": wish.target,
        "fingerprint": wish.fingerprint.hex(),
        "policy": wish.policy,
        "arguments": wish.arguments,
        "shown": Shown::of(wish).digest().hex(),
    });
    // HMAC pads a key to the block of its hash with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(canonical(&whole).as_bytes());
    Digest(mac.finalize().into_bytes().into()).hex()
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Longest text that is shown of one value, and of all.
const LONGEST_VALUE: usize = 400;
const LONGEST: usize = 16_000;

/// Arguments for a person's eyes: indented JSON, long texts cut (and saying so), and every character that could hide
/// or rearrange something written as its number.
pub fn render(redacted: &Value) -> String {
    // The order of keys and the spelling of numbers are the caller's whim; the same call is shown in the same words.
    let mut value = serde_json::from_str(&canonical(redacted)).unwrap_or(Value::Null);
    shorten(&mut value);
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    let mut shown = visible(&text);
    if shown.len() > LONGEST {
        let end = shown.floor_char_boundary(LONGEST);
        let left = shown.len() - end;
        shown.truncate(end);
        let _ = write!(shown, "\n[cut: {left} more bytes are not shown]");
    }
    shown
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            let length = text.chars().count();
            if length > LONGEST_VALUE {
                let start: String = text.chars().take(LONGEST_VALUE).collect();
                *text = format!("{start} [cut: {} more characters]", length - LONGEST_VALUE);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(object) => object.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with every control, invisible or direction-changing character written as `<U+XXXX>`; line feeds stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        if one != '\n' && hides(one) {
            let _ = write!(out, "<U+{:04X}>", u32::from(one));
        } else {
            out.push(one);
        }
    }
    out
}

fn hides(one: char) -> bool {
    one.is_control()
        || matches!(one,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_from_the_person() {
        let value = json!({"name": "a\u{202e}b\u{200b}c\u{7f}\u{1b}[2J", "note": "x".repeat(500), "n": "line\nbreak"});
        let shown = render(&value);
        assert!(shown.contains("a<U+202E>b<U+200B>c<U+007F>"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.contains("\\u001b") && shown.contains("line\\nbreak"));
        assert!(shown.contains("[cut: 100 more characters]"));
        let long = render(&Value::Array(vec![json!("y".repeat(300)); 100]));
        assert!(long.len() < LONGEST + 100 && long.contains("more bytes are not shown"));
    }

    #[test]
    fn everything_is_bound() {
        let principal = Principal::new("key:a", crate::principal::PrincipalKind::ApiKey);
        let mut other = principal.clone();
        other.roles.insert("ops".into());
        let (one, two) = (json!({"size": 1}), json!({"size": 2}));
        let wish = |principal, arguments, policy| Wish {
            principal,
            tool: "t",
            source: "s",
            fingerprint: Digest([1; 32]),
            effect: "write",
            target: None,
            arguments,
            redacted: &Value::Null,
            policy,
        };
        let key = [7; 32];
        let first = binding(&key, "p", &wish(&principal, &one, "v1"));
        assert_eq!(first, binding(&key, "p", &wish(&principal, &one, "v1")));
        assert_ne!(first, binding(&key, "q", &wish(&principal, &one, "v1")));
        assert_ne!(first, binding(&[8; 32], "p", &wish(&principal, &one, "v1")));
        assert_ne!(first, binding(&key, "p", &wish(&other, &one, "v1")));
        assert_ne!(first, binding(&key, "p", &wish(&principal, &two, "v1")));
        assert_ne!(first, binding(&key, "p", &wish(&principal, &one, "v2")));
        let changed = Wish { fingerprint: Digest([2; 32]), ..wish(&principal, &one, "v1") };
        assert_ne!(first, binding(&key, "p", &changed));
    }
}
