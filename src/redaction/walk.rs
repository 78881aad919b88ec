//! Redaction of JSON.
//!
//! Owns the walk over a value. The idea: a key that tells makes its text a secret whatever it looks like; an object
//! with a telling `name` beside a `value` (headers, environment variables) is the same thing in other words; every
//! other text, keys included, is read like running text.
//!
//! Must not: descend for ever (the depth of a value is bounded where it is parsed).

use std::borrow::Cow;
use std::collections::HashMap;

use super::known::Known;
use super::{Marks, Redactor, looks, marker};
use crate::json::{Map, Value};

/// One walk: what is known does not change on the way.
pub(super) struct Walk<'a> {
    pub(super) redactor: &'a Redactor,
    pub(super) known: &'a Known,
    pub(super) marks: Marks,
}

impl Walk<'_> {
    /// Redacts a value in place. True if anything changed.
    pub(super) fn value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.redactor.text_with(text, self.known, self.marks) {
                    *text = clean;
                    return true;
                }
                false
            }
            Value::Array(items) => items.iter_mut().fold(false, |changed, item| self.value(item) | changed),
            Value::Object(members) => self.object(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn object(&self, members: &mut Map<String, Value>) -> bool {
        let named = if members.contains_key("value") || members.contains_key("Value") {
            ["name", "key", "header", "Name", "Key"]
                .iter()
                .find_map(|name| members.get(*name).and_then(Value::as_str))
                .and_then(|name| self.redactor.told(name))
        } else {
            None
        };
        let (mut changed, mut keys_changed) = (false, false);
        for (name, member) in members.iter_mut() {
            let told = match named {
                Some(kind) if matches!(name.as_str(), "value" | "Value") => Some(kind),
                _ => self.redactor.told(name),
            };
            changed |= match told {
                // `{"name": "Cookie", "value": "cookie"}` says what is matched, not with what.
                Some(_) if named.is_some() && is_plain(member) => false,
                Some(kind) => self.by_name(member, kind),
                None => self.value(member),
            };
            keys_changed |= matches!(self.redactor.text_with(name, self.known, self.marks), Cow::Owned(_));
        }
        if keys_changed {
            // The next number of each key, so that a thousand secrets as keys are not counted a million times.
            let mut numbers: HashMap<String, usize> = HashMap::new();
            for (name, member) in std::mem::take(members) {
                let clean = self.redactor.text_with(&name, self.known, self.marks);
                // Two different secrets as keys leave two members.
                let mut free = clean.to_string();
                while members.contains_key(&free) {
                    let number = numbers.entry(clean.to_string()).or_insert(1);
                    *number += 1;
                    free = format!("{clean}#{number}");
                }
                members.insert(free, member);
            }
        }
        changed | keys_changed
    }

    /// Blanks what a telling key names: texts and long numbers; objects are walked, since `credentials: {name: ...}`
    /// is not itself a credential.
    fn by_name(&self, member: &mut Value, kind: &'static str) -> bool {
        match member {
            Value::String(text) if text.is_empty() || looks::is_marker(text) || looks::is_blank(text) => {
                return false;
            }
            Value::Number(number) if kind != "password" && number.to_string().len() < 6 => return false,
            Value::String(_) | Value::Number(_) => {}
            Value::Array(items) => {
                return items.iter_mut().fold(false, |changed, item| self.by_name(item, kind) | changed);
            }
            Value::Object(members) => return self.object(members),
            Value::Null | Value::Bool(_) => return false,
        }
        let mut marked = String::new();
        self.redactor.mark(&mut marked, kind, member.as_str().unwrap_or_default(), self.marks);
        *member = Value::String(marked);
        true
    }
}

/// A word that says nothing, or a list of them.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => looks::is_plain_word(text),
        Value::Array(items) => items.iter().all(is_plain),
        _ => false,
    }
}

/// The kind of what is blanked because of where it is.
pub(super) const FIELD: &str = "field";

/// Blanks every member whose name is one of these, wherever it is. How many there were.
pub(super) fn blank_named(value: &mut Value, names: &[String]) -> u64 {
    match value {
        Value::Object(members) => members
            .iter_mut()
            .map(|(name, member)| {
                let named = names.iter().any(|known| known.eq_ignore_ascii_case(name));
                if named { blank_at(member, &[]) } else { blank_named(member, names) }
            })
            .sum(),
        Value::Array(items) => items.iter_mut().map(|item| blank_named(item, names)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Blanks whatever is at the end of these steps. How many there were.
pub(super) fn blank_at(value: &mut Value, steps: &[String]) -> u64 {
    let Some((step, rest)) = steps.split_first() else {
        if value.is_null() {
            return 0;
        }
        *value = Value::String(marker(FIELD));
        return 1;
    };
    match value {
        Value::Object(members) if step == "*" => {
            members.values_mut().map(|member| blank_at(member, rest)).sum()
        }
        Value::Object(members) => members.get_mut(step).map_or(0, |member| blank_at(member, rest)),
        Value::Array(items) if step == "*" => items.iter_mut().map(|item| blank_at(item, rest)).sum(),
        Value::Array(items) => {
            let item = step.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.map_or(0, |item| blank_at(item, rest))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
