//! Nothing secret leaves.
//!
//! Owns [`Redactor`] and its [`Config`]. The idea: three sources of certainty, in one pass: credentials this process
//! holds, in every encoding (`known.rs`); well-known forms (`rules.rs`, `marks.rs`, read by `scan.rs`); and names that
//! tell (`names.rs`), as JSON keys here and in running text in `context.rs`. What is found becomes `[redacted:KIND]`;
//! what nothing claims comes back as it was, borrowed.
//!
//! Must not: know where a text goes, or touch what a later call needs (page tokens, ids, etags).

mod clean;
mod context;
mod examples;
mod known;
mod labels;
mod looks;
mod lore;
mod marks;
mod memo;
mod names;
mod passing;
mod pii;
mod rules;
mod scan;
mod shell;
mod sieve;
mod talk;
mod value;
mod walk;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use regex::RegexSet;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value, pointer};
use crate::secret::Secret;
use known::Known;
pub use labels::Labels;
use lore::Lore;
pub use lore::{Held, Passes};
pub use pii::Pii;
use scan::Found;

/// How every marker begins.
const MARKER: &str = "[redacted:";

/// The `[redaction]` table of the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// More key names whose values are secrets, beside the built-in ones.
    pub keys: Vec<String>,
    /// Key names whose values are not secrets, whatever they sound like.
    pub keep: Vec<String>,
    /// More patterns (linear-time regular expressions) that are secrets wherever they appear.
    pub patterns: Vec<String>,
    /// More rules with a name of their own, which markers show.
    pub rules: Vec<NamedRule>,
    /// Data about people that is taken out as well: `email`, `phone`, `iban`, `card`, `ip`.
    pub pii: Vec<Pii>,
    /// The key of fingerprints: per installation, set by the program and never by the file.
    #[serde(skip)]
    pub fingerprint_key: Option<Secret>,
}

/// A rule of the configuration: key names, or a pattern, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamedRule {
    /// What markers call it: small letters, digits and dashes.
    pub name: String,
    /// A linear-time regular expression; what it fits is a secret wherever it appears.
    pub pattern: Option<String>,
    /// Key names whose values are secrets.
    pub keys: Vec<String>,
}

/// Text or JSON in, clean text or JSON out. Cheap to clone; clones share what they learn, and their rules.
#[derive(Clone)]
pub struct Redactor(Arc<Inner>);

struct Inner {
    rules: ArcSwap<Rules>,
    fingerprint_key: Option<Secret>,
    lore: Arc<Lore>,
}

/// What the configuration says.
struct Rules {
    /// In small letters, with the kind that each names.
    keys: Vec<(String, &'static str)>,
    keep: Vec<String>,
    /// Says quickly that no pattern hits.
    any: Option<RegexSet>,
    patterns: Vec<(regex::Regex, &'static str)>,
    pii: Vec<Pii>,
    version: u64,
}

impl Rules {
    fn read(config: &Config) -> Result<Self> {
        let bad = |sentence: &'static str| Error::new(Kind::BadConfig, sentence);
        let mut keys: Vec<_> = config.keys.iter().map(|key| (key.to_lowercase(), "configured")).collect();
        let mut patterns: Vec<_> = config.patterns.iter().map(|pattern| (pattern, "configured")).collect();
        for rule in &config.rules {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if rule.name.is_empty() || rule.name.len() > 32 || !rule.name.chars().all(fits) {
                return Err(bad(
                    "A name in [[redaction.rules]] is not made of small letters, digits and dashes, 32 at most.",
                ));
            }
            if rule.pattern.is_none() && rule.keys.is_empty() {
                return Err(bad(
                    "A rule in [[redaction.rules]] has neither a pattern nor keys; give it one.",
                ));
            }
            let name = named(&rule.name);
            keys.extend(rule.keys.iter().map(|key| (key.to_lowercase(), name)));
            patterns.extend(rule.pattern.iter().map(|pattern| (pattern, name)));
        }
        let unusable = |cause: regex::Error| {
            bad("A pattern in [redaction] is not a regular expression that can be matched in linear time.")
                .with_source(cause)
        };
        let any = match patterns.len() {
            0 => None,
            _ => Some(RegexSet::new(patterns.iter().map(|(pattern, _)| pattern)).map_err(unusable)?),
        };
        let patterns: Vec<_> = patterns
            .into_iter()
            .map(|(pattern, name)| regex::Regex::new(pattern).map(|pattern| (pattern, name)))
            .collect::<Result<_, _>>()
            .map_err(unusable)?;
        if patterns.iter().any(|(pattern, _)| pattern.is_match("")) {
            return Err(bad(
                "A pattern in [redaction] fits the empty text and would redact everything; make it longer.",
            ));
        }
        let keep = config.keep.iter().map(|name| name.to_lowercase()).collect();
        let mut pii = config.pii.clone();
        pii.dedup();
        Ok(Self { keys, keep, any, patterns, pii, version: memo::version() })
    }
}

/// The name of a rule for as long as the process lives: there are as many as configurations have named.
fn named(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(Box::from(name));
    names.insert(kept);
    kept
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// A redactor with the built-in rules and those of the configuration.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            rules: ArcSwap::from_pointee(Rules::read(config)?),
            fingerprint_key: config.fingerprint_key.clone(),
            lore: Arc::default(),
        })))
    }

    /// One with the rules of another configuration. What either of the two learns, both know.
    pub fn renewed(&self, config: &Config) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            rules: ArcSwap::from_pointee(Rules::read(config)?),
            fingerprint_key: self.0.fingerprint_key.clone(),
            lore: Arc::clone(&self.0.lore),
        })))
    }

    /// Takes over the rules of another, for this one and all its clones.
    pub fn follow(&self, other: &Self) {
        self.0.rules.store(other.0.rules.load_full());
    }

    /// Adds a credential that this process came across; `label` names it in markers (`[redacted:LABEL]`).
    pub fn learn(&self, secret: &Secret, label: &'static str) {
        self.0.lore.replace(|known| known.with(secret, label));
    }

    /// The same for a credential that is in use: it is not forgotten before the [`Held`] is dropped, however many others
    /// are learnt meanwhile.
    #[must_use]
    pub fn hold(&self, secret: &Secret, label: &'static str) -> Held {
        self.0.lore.replace(|known| known.held(secret, label));
        Held { lore: Arc::clone(&self.0.lore), secret: secret.clone() }
    }

    /// Keeps a caller's token out of arguments. Many can pass at a time; the more there are, the more it costs to take
    /// one in, and not to look for them.
    #[must_use]
    pub fn pass(&self, token: &Secret) -> Passes {
        self.0.lore.passing.write().unwrap_or_else(PoisonError::into_inner).add(token.expose());
        Passes { lore: Arc::clone(&self.0.lore), token: token.clone() }
    }

    /// Removes what is not for reading (as [`Redactor::clean`] does), then secrets. Borrowed when nothing changes.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.text_with(text, &self.0.lore.known.load(), Marks::Kind)
    }

    /// The same for what only operators read: markers also hold the secret's fingerprint (`[redacted:KIND#0123456789ab]`),
    /// where it has one.
    pub fn logged<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.0.lore.known.load();
        let state = memo::State { rules: self.0.rules.load().version, known: known.version() };
        // tokens that pass through come and go too quickly to be part of a state
        if memo::is_clean(state, text) && !self.passes(text) {
            return Cow::Borrowed(text);
        }
        let clean = self.text_with(text, &known, Marks::Fingerprint);
        // judged by rules that came meanwhile, it says nothing of the former ones
        if matches!(clean, Cow::Borrowed(_)) && self.0.rules.load().version == state.rules {
            memo::keep(state, text);
        }
        clean
    }

    /// The same, for many texts in a row.
    fn text_with<'a>(&self, text: &'a str, known: &Known, marks: Marks) -> Cow<'a, str> {
        match self.cleaned(text, known, marks) {
            Cow::Borrowed(text) => self.readable(text, known, marks),
            Cow::Owned(text) => Cow::Owned(self.readable(&text, known, marks).into_owned()),
        }
    }

    /// Removes secrets from a value: by key name, by what its texts hold, in keys too. Texts are cleaned as well. True
    /// if anything changed.
    pub fn value(&self, value: &mut Value) -> bool {
        walk::Walk { redactor: self, known: &self.0.lore.known.load(), marks: Marks::Kind }.value(value)
    }

    /// The same for what only operators read, as [`Redactor::logged`].
    pub fn value_logged(&self, value: &mut Value) -> bool {
        walk::Walk { redactor: self, known: &self.0.lore.known.load(), marks: Marks::Fingerprint }
            .value(value)
    }

    /// The same, and also whatever is at these JSON Pointers (`*` stands for any item or member).
    pub fn value_at(&self, value: &mut Value, pointers: &[String]) {
        for pointer in pointers {
            let steps: Vec<String> = pointer::names(pointer);
            let blanked = walk::blank_at(value, &steps);
            if blanked > 0 {
                self.0.lore.took(walk::FIELD, blanked);
            }
        }
        self.value(value);
    }

    /// Blanks in an answer of another form than the pointers are for, such as a failure, what they could mean: every
    /// member that has the name one of them ends with, wherever it is; everything, where one ends with none.
    pub fn blank_like(&self, value: &mut Value, pointers: &[String]) {
        let last = |pointer: &String| {
            let is_name = |step: &String| step != "*" && !step.bytes().all(|byte| byte.is_ascii_digit());
            pointer::names(pointer).into_iter().rfind(is_name)
        };
        let names: Option<Vec<String>> = pointers.iter().map(last).collect();
        let text = !pointers.is_empty() && value.is_string();
        let blanked = match names {
            Some(names) if !text => walk::blank_named(value, &names),
            _ => walk::blank_at(value, &[]),
        };
        if blanked > 0 {
            self.0.lore.took(walk::FIELD, blanked);
        }
    }

    /// How many secrets were taken out of what goes to callers so far, by kind; shared by all who share what they learn.
    pub fn taken(&self) -> BTreeMap<String, u64> {
        self.0.lore.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a name says that a secret follows.
    pub fn names_a_secret(&self, name: &str) -> bool {
        matches!(names::telling(name), names::Telling::Secret(_))
    }

    /// Strips ANSI sequences, control, zero-width and bidirectional characters. Borrowed when nothing changes. Where
    /// something is stripped, the secrets that stand there go first: a sequence for terminals could take the beginning of
    /// one along, and what is left of it would not be known for what it is.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.cleaned(text, &self.0.lore.known.load(), Marks::Kind)
    }

    fn cleaned<'a>(&self, text: &'a str, known: &Known, marks: Marks) -> Cow<'a, str> {
        let clean = clean::clean(text);
        if matches!(clean, Cow::Borrowed(_)) {
            return clean;
        }
        let found = self.found(text, known);
        if found.is_empty() { clean } else { Cow::Owned(self.replace(text, found, marks)) }
    }

    /// Whether arguments hold a redaction marker or a credential of this process, and so must not be sent on.
    pub fn refuses(&self, arguments: &Value) -> bool {
        match arguments {
            Value::String(text) => self.holds_back(text),
            Value::Array(items) => items.iter().any(|item| self.refuses(item)),
            Value::Object(members) => {
                members.iter().any(|(name, member)| self.holds_back(name) || self.refuses(member))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// Whether a credential that this process knows is in a text, however it is encoded.
    pub fn knows(&self, text: &str) -> bool {
        self.0.lore.known.load().is_in(text)
    }

    /// A name for a secret in logs and audit: the same for the same secret, of no use to anybody else. None without a
    /// key, and for texts too short or too plain to be told apart safely.
    pub fn fingerprint(&self, text: &str) -> Option<String> {
        if text.len() < 16 || looks::variety(text.as_bytes()) < 8 {
            return None;
        }
        self.keyed_digest(text.as_bytes()).map(|digest| digest.hex()[..16].to_owned())
    }

    /// The HMAC-SHA256 of bytes under the installation's key; none without one.
    pub fn keyed_digest(&self, bytes: &[u8]) -> Option<Digest> {
        let key = self.0.fingerprint_key.as_ref()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).ok()?;
        mac.update(bytes);
        Some(Digest(mac.finalize().into_bytes().into()))
    }

    /// What a JSON key tells about its value.
    fn told(&self, name: &str) -> Option<&'static str> {
        let rules = self.0.rules.load();
        if !rules.keys.is_empty() || !rules.keep.is_empty() {
            let lower = name.to_lowercase();
            if rules.keep.contains(&lower) {
                return None;
            }
            if let Some((_, kind)) = rules.keys.iter().find(|(key, _)| *key == lower) {
                return Some(*kind);
            }
        }
        match names::telling(name) {
            names::Telling::Secret(kind) => Some(kind),
            names::Telling::Maybe(_) | names::Telling::No => None,
        }
    }

    fn holds_back(&self, text: &str) -> bool {
        let known = self.0.lore.known.load();
        let held = |text: &str| {
            text.contains(MARKER) || known.is_in(text) || known.is(text).is_some() || self.passes(text)
        };
        // as a reader sees it, and as it stands there
        let clean = clean::clean(text);
        held(&clean) || (matches!(clean, Cow::Owned(_)) && held(text))
    }

    /// Whether a text holds a token that passes through.
    fn passes(&self, text: &str) -> bool {
        let passing = self.0.lore.passing.read().unwrap_or_else(PoisonError::into_inner);
        !passing.is_empty() && passing.is_in(text)
    }

    /// Secrets out of a text that is already clean.
    fn readable<'a>(&self, text: &'a str, known: &Known, marks: Marks) -> Cow<'a, str> {
        let found = self.found(text, known);
        if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(self.replace(text, found, marks)) }
    }

    /// The secrets of a text, by place.
    fn found(&self, text: &str, known: &Known) -> Vec<Found> {
        let rules = self.0.rules.load();
        if rules.any.is_none() && rules.pii.is_empty() && is_harmless(text) {
            return Vec::new();
        }
        let mut found = scan::scan(text, known);
        self.0.lore.passing.read().unwrap_or_else(PoisonError::into_inner).scan(text, &mut found);
        if let Some(any) = &rules.any
            && any.is_match(text)
        {
            for (pattern, kind) in &rules.patterns {
                let hits = pattern.find_iter(text).filter(|hit| !hit.is_empty());
                found.extend(hits.map(|hit| Found { start: hit.start(), end: hit.end(), kind }));
            }
        }
        if !rules.pii.is_empty() {
            pii::scan(text, &rules.pii, &mut found);
        }
        found.sort_by_key(|place| (place.start, usize::MAX - place.end));
        found
    }

    /// Puts markers where secrets were found, and cleans the rest; what overlaps becomes one marker.
    fn replace(&self, text: &str, found: Vec<Found>, marks: Marks) -> String {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for place in found {
            if place.end <= at {
                continue;
            }
            if place.start >= at {
                out.push_str(&clean::clean(&text[at..place.start]));
                self.mark(&mut out, place.kind, &text[place.start..place.end], marks);
            }
            at = place.end;
        }
        out.push_str(&clean::clean(&text[at..]));
        out
    }

    /// Writes the marker of a secret. Data about people has no fingerprint: whoever knows them all could try them.
    fn mark(&self, out: &mut String, kind: &str, secret: &str, marks: Marks) {
        out.push_str(MARKER);
        out.push_str(kind);
        if marks == Marks::Kind {
            self.0.lore.took(kind, 1);
        }
        if marks == Marks::Fingerprint
            && !pii::is_kind(kind)
            && let Some(print) = self.fingerprint(secret)
        {
            out.push('#');
            out.push_str(&print[..12]);
        }
        out.push(']');
    }
}

/// What markers show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// The kind alone: for callers.
    Kind,
    /// A fingerprint too: for logs and the audit.
    Fingerprint,
}

/// Too short for any form or credential, and without anything that could join a name to a value: most keys and many
/// values, which need no search at all.
fn is_harmless(text: &str) -> bool {
    text.len() < known::SHORT
        && !text
            .bytes()
            .any(|byte| matches!(byte, b'=' | b':' | b' ' | b'>' | b',' | b'\t' | b'\n' | b'"' | b'\''))
}

/// The marker for a kind of secret.
fn marker(kind: &str) -> String {
    format!("{MARKER}{kind}]")
}
