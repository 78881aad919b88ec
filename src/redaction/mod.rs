//! Nothing secret leaves.
//!
//! Owns [`Redactor`] and its [`Config`].
//!
//! Must not: know where a text goes.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::json::Value;
use crate::secret::Secret;

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
    /// The key of fingerprints: per installation, set by the program and never by the file.
    #[serde(skip)]
    pub fingerprint_key: Option<Secret>,
}

/// Text or JSON in, clean text or JSON out. Cheap to clone.
#[derive(Clone)]
pub struct Redactor {
    _inner: Arc<Config>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// A redactor with the built-in rules and those of the configuration.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { _inner: Arc::new(config.clone()) })
    }

    /// Adds a credential that this process holds; `label` names it in markers (`[redacted:LABEL]`).
    pub fn learn(&self, _secret: &Secret, _label: &'static str) {}

    /// Removes secrets from a text. Borrowed when nothing changes.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }

    /// Removes secrets from a value: by key name, by what its texts hold, in keys too.
    pub fn value(&self, _value: &mut Value) {}

    /// The same, and also whatever is at these JSON Pointers (`*` stands for any item or member).
    pub fn value_at(&self, _value: &mut Value, _pointers: &[String]) {}

    /// Strips ANSI sequences, control, zero-width and bidirectional characters. Borrowed when nothing changes.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }

    /// Whether arguments hold a redaction marker or a credential of this process, and so must not be sent on.
    pub fn refuses(&self, _arguments: &Value) -> bool {
        false
    }

    /// A name for a secret in logs and audit: the same for the same secret, of no use to anybody else. None without
    /// a key, and for texts too short to be told apart safely.
    pub fn fingerprint(&self, _text: &str) -> Option<String> {
        None
    }
}
