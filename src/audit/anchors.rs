//! What somebody outside kept.
//!
//! Owns [`Anchors`] and [`Known`]. The idea: whatever form it was kept in (bodies of webhooks, lines of syslog, log records of OTLP),
//! somewhere in it are the place and the hash of a line; a chain that has another line at that place was rewritten, and
//! one that ends before was cut off.
//!
//! Must not: trust more of what was kept than those two.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::chain::Hash;
use super::query::unreadable;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// What whoever verifies knows beside the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// What somebody outside kept.
    pub anchors: Option<&'a Anchors>,
    /// The hash of a line noted earlier: if it is in the file, nothing before it was cut off.
    pub head: Option<&'a str>,
    /// It is a part of an audit, and may begin anywhere.
    pub part: bool,
}

impl<'a> From<Option<&'a str>> for Known<'a> {
    fn from(head: Option<&'a str>) -> Self {
        Self { head, ..Self::default() }
    }
}

/// How deep is looked; a text may be JSON again.
const DEEPEST: usize = 12;

/// Places in a chain, and the hashes that lines had there.
#[derive(Debug, Clone, Default)]
pub struct Anchors(BTreeMap<u64, Hash>);

impl Anchors {
    /// Reads what was kept. Nothing in it is an error.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|cause| unreadable(path, cause))?;
        let mut found = Self::default();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|cause| unreadable(path, cause))?;
            // before it stand the words of whoever kept it
            let Some(start) = line.iter().position(|byte| *byte == b'{') else { continue };
            let mut values = serde_json::Deserializer::from_slice(&line[start..]).into_iter::<Value>();
            if let Some(Ok(value)) = values.next() {
                found.take(&value, 0);
            }
        }
        if found.0.is_empty() {
            return Err(Error::new(
                Kind::BadConfig,
                "There is no checkpoint in the file given with --anchor; it holds what the anchor was sent, one message \
                 a line.",
            ));
        }
        Ok(found)
    }

    fn take(&mut self, value: &Value, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        match value {
            Value::Object(members) => {
                let seq = members.get("seq").and_then(Value::as_u64);
                let hash = members.get("hash").and_then(Value::as_str);
                let hash = hash.and_then(|hash| <Hash>::try_from(hash.as_bytes()).ok());
                if let (Some(seq), Some(hash)) = (seq, hash) {
                    self.0.insert(seq, hash);
                } else {
                    members.values().for_each(|member| self.take(member, depth + 1));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.take(item, depth + 1)),
            Value::String(text) if text.starts_with('{') => {
                if let Ok(inner) = serde_json::from_str::<Value>(text) {
                    self.take(&inner, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// The hash that the line at this place had.
    pub(super) fn at(&self, seq: u64) -> Option<&Hash> {
        self.0.get(&seq)
    }

    /// The last place.
    pub(super) fn last(&self) -> Option<u64> {
        self.0.keys().next_back().copied()
    }
}
