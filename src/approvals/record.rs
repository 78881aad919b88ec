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

use crate::json::{Digest, Value, canonical, digest, json, pointer};
use crate::principal::{Principal, PrincipalKind};

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
    /// Where the call goes and as whom, if it goes anywhere.
    pub upstream: Option<&'a Destination>,
    /// What the call would change, as it is now, where that was read.
    pub state: Option<&'a Seen>,
    /// Method and address of the request that it would send, redacted.
    pub request: Option<&'a str>,
    /// What a dry run said, redacted.
    pub rehearsed: Option<&'a str>,
}

/// Where a call goes, and with which credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The base address and the credential's reference (`env:NAME`), for people.
    pub shown: String,
    /// A keyed fingerprint of the credential itself, where it has one: bound, never shown.
    pub fingerprint: Option<String>,
}

/// What a call would change, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// A keyed digest of the entity tag, or of the content where there is none.
    pub version: String,
    /// For people: redacted, cut to a readable length.
    pub summary: String,
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
    /// Method and address of the request that it would send.
    #[serde(default)]
    pub request: Option<String>,
    /// The base address and the reference of the credential.
    #[serde(default)]
    pub upstream: Option<String>,
    /// The arguments: redacted, what hides made visible, and cut if they are long.
    pub arguments: String,
    /// JSON Pointers of what was redacted: the person agrees to it unseen.
    #[serde(default)]
    pub unseen: Vec<String>,
    /// Set where the arguments had to be cut: all of them lie in a file beside the record.
    #[serde(default)]
    pub whole: Option<Whole>,
    /// What the call would change, as it is now.
    #[serde(default)]
    pub state: Option<String>,
    /// The keyed digest of that state.
    #[serde(default)]
    pub version: Option<String>,
    /// What a dry run said when the approval was asked for. It is signed with the rest, and no later call repeats it.
    #[serde(default)]
    pub rehearsed: Option<String>,
}

/// Arguments that are too long for a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// How many bytes the whole text has.
    pub bytes: u64,
    /// Its SHA-256, which the signature covers.
    pub digest: String,
}

impl Shown {
    /// What is shown of a wish, and the whole text of its arguments.
    pub(super) fn of(wish: &Wish<'_>) -> (Self, String) {
        let whole = render(wish.redacted);
        let end = whole.floor_char_boundary(LONGEST);
        let cut = whole.len() - end;
        let (arguments, known) = if cut == 0 {
            (whole.clone(), None)
        } else {
            let bytes = u64::try_from(whole.len()).unwrap_or(u64::MAX);
            let known = Whole { bytes, digest: Digest::of(whole.as_bytes()).hex() };
            (format!("{}\n[cut: {cut} more bytes are not shown]", &whole[..end]), Some(known))
        };
        let mut unseen = Vec::new();
        redacted(wish.redacted, &mut String::new(), &mut unseen);
        let shown = Self {
            principal: visible(&wish.principal.id),
            tool: visible(wish.tool),
            source: visible(wish.source),
            effect: wish.effect.to_owned(),
            target: wish.target.map(visible),
            request: wish.request.map(visible),
            upstream: wish.upstream.map(|upstream| visible(&upstream.shown)),
            arguments,
            unseen,
            whole: known,
            state: wish.state.map(|state| state.summary.clone()),
            version: wish.state.map(|state| state.version.clone()),
            rehearsed: wish.rehearsed.map(visible),
        };
        (shown, whole)
    }

    /// The digest that is signed.
    pub fn digest(&self) -> Digest {
        digest(&json!({
            "call": self.call().hex(), "state": self.state, "version": self.version, "rehearsed": self.rehearsed
        }))
    }

    /// Whether a call that comes later is what was shown here.
    pub(super) fn is_still(&self, later: &Self) -> bool {
        self.state == later.state && self.version == later.version && self.call() == later.call()
    }

    /// The digest of everything but the state, which may change while nobody decides.
    fn call(&self) -> Digest {
        digest(&json!({
            "principal": self.principal, "tool": self.tool, "source": self.source, "effect": self.effect,
            "target": self.target, "request": self.request, "upstream": self.upstream, "arguments": self.arguments,
            "unseen": self.unseen, "whole": self.whole.as_ref().map(|whole| &whole.digest)
        }))
    }
}

/// Where a redacted value lost something, as JSON Pointers; a long list ends with how many more there are.
fn redacted(value: &Value, at: &mut String, found: &mut Vec<String>) {
    const MOST: usize = 100;
    let mut note = |at: &str| match found.len() {
        0..MOST => found.push(visible(at)),
        MOST => found.push(String::from("(and more)")),
        _ => {}
    };
    match value {
        Value::String(text) if text.contains("[redacted:") => note(at),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let length = at.len();
                let _ = write!(at, "/{index}");
                redacted(item, at, found);
                at.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let length = at.len();
                let _ = write!(at, "/{}", pointer::escaped(name));
                if name.contains("[redacted:") {
                    redacted(&Value::String(name.clone()), at, found);
                }
                redacted(member, at, found);
                at.truncate(length);
            }
        }
    }
}

/// What of a caller says to whose calls it may agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Party {
    /// How it was authenticated; nothing for an operator at the command line.
    pub kind: Option<PrincipalKind>,
    /// Its tenant, if it has one.
    pub tenant: Option<String>,
    /// Who vouches for it.
    pub issuer: Option<String>,
    /// Whether it is known which person it is: it has an owner, or a place in `people`.
    pub known: bool,
    /// The names that it goes by.
    pub names: Vec<String>,
}

impl Party {
    /// Whether both are of one tenant; a name of a tenant means what its issuer means by it. An operator is of all.
    pub(super) fn shares_tenant(&self, other: &Self) -> bool {
        let token = Some(PrincipalKind::Token);
        let strangers = self.kind == token && other.kind == token && self.issuer != other.issuer;
        self.tenant == other.tenant && !(strangers && self.tenant.is_some())
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
    /// The keyed digest of who asked: whose share of the places it takes.
    #[serde(default)]
    pub owner: String,
    /// The names of the people who asked, where they may not decide themselves.
    #[serde(default)]
    pub people: Vec<String>,
    /// Who asked: what an approver is compared with.
    #[serde(default)]
    pub asker: Party,
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
    /// What it would have changed has changed since a person saw it.
    Void,
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
            Self::Void => "void",
            Self::Used => "used",
            Self::Carried => "carried",
            Self::Unknown => "unknown",
        }
    }
}

/// The keyed digest of everything that must not change between the question and the call.
pub(super) fn binding(key: &[u8; 32], profile: &str, wish: &Wish<'_>, shown: &Shown) -> String {
    let principal = wish.principal;
    let whole = json!({
        "profile": profile,
        "principal": {
            "id": &*principal.id, "kind": principal.kind, "tenant": principal.tenant, "issuer": principal.issuer,
            "scopes": principal.scopes, "roles": principal.roles
        },
        "tool": wish.tool,
        "source": wish.source,
        "target": wish.target,
        "fingerprint": wish.fingerprint.hex(),
        "policy": wish.policy,
        "arguments": wish.arguments,
        "credential": wish.upstream.and_then(|upstream| upstream.fingerprint.as_deref()),
        "shown": shown.call().hex(),
    });
    keyed(key, canonical(&whole).as_bytes())
}

/// The keyed digest of whoever calls, whatever the roles and scopes.
pub(super) fn owner(key: &[u8; 32], principal: &Principal) -> String {
    let whole = json!({"owner": {
        "id": &*principal.id, "kind": principal.kind, "tenant": principal.tenant, "issuer": principal.issuer
    }});
    keyed(key, canonical(&whole).as_bytes())
}

/// A digest that nobody without the installation's key can try values against.
pub(super) fn keyed(key: &[u8; 32], bytes: &[u8]) -> String {
    // HMAC pads a key to the block of its hash with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(bytes);
    Digest(mac.finalize().into_bytes().into()).hex()
}

/// How many of the waiting places an approval takes: one, and one more for every 64 KiB that lie beside it.
pub(super) fn places(shown: &Shown) -> usize {
    let beside = shown.whole.as_ref().map_or(0, |whole| whole.bytes.div_ceil(64 << 10));
    usize::try_from(beside).unwrap_or(usize::MAX).saturating_add(1)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How much of the arguments a record holds, and a client's question can show. What is longer lies beside the record,
/// and only an operator can agree to it.
const LONGEST: usize = 16_000;

/// A value for a person's eyes: indented JSON, whole, with every character that could hide or rearrange something
/// written as its number.
pub fn render(redacted: &Value) -> String {
    // The order of keys and the spelling of numbers are the caller's whim; the same call is shown in the same words.
    let value: Value = serde_json::from_str(&canonical(redacted)).unwrap_or(Value::Null);
    visible(&serde_json::to_string_pretty(&value).unwrap_or_default())
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
        let value = json!({"name": "a\u{202e}b\u{200b}c\u{7f}\u{1b}[2J", "n": "line\nbreak"});
        let shown = render(&value);
        assert!(shown.contains("a<U+202E>b<U+200B>c<U+007F>"), "{shown}");
        assert!(!shown.contains('\u{1b}') && shown.contains("\\u001b") && shown.contains("line\\nbreak"));
    }

    #[test]
    fn what_was_redacted_is_named() {
        let value =
            json!({"a/b": [{"password": "[redacted:password]"}, "x"], "c": "key [redacted:token] end"});
        let mut found = Vec::new();
        redacted(&value, &mut String::new(), &mut found);
        assert_eq!(found, ["/a~1b/0/password", "/c"]);
        found.clear();
        redacted(&Value::Array(vec![json!("[redacted:x]"); 300]), &mut String::new(), &mut found);
        assert_eq!((found.len(), found.last().map(String::as_str)), (101, Some("(and more)")));
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
            upstream: None,
            state: None,
            request: None,
            rehearsed: None,
        };
        let binding =
            |key: &[u8; 32], profile: &str, wish: &Wish<'_>| binding(key, profile, wish, &Shown::of(wish).0);
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
        let at = |shown: &str, fingerprint: &str| Destination {
            shown: shown.into(),
            fingerprint: Some(fingerprint.into()),
        };
        let (here, there, rotated) = (at("a", "1"), at("b", "1"), at("a", "2"));
        let to =
            |upstream| binding(&key, "p", &Wish { upstream: Some(upstream), ..wish(&principal, &one, "v1") });
        let same = here.clone();
        assert_eq!(to(&here), to(&same));
        assert_ne!(first, to(&here));
        assert_ne!(to(&here), to(&there));
        assert_ne!(to(&here), to(&rotated));
        let seen = Seen { version: "1".into(), summary: "now".into() };
        let with_state = Wish { state: Some(&seen), ..wish(&principal, &one, "v1") };
        assert_eq!(first, binding(&key, "p", &with_state), "the state has a place of its own");
        assert_ne!(Shown::of(&with_state).0.digest(), Shown::of(&wish(&principal, &one, "v1")).0.digest());
    }
}
