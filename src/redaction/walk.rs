//! Redaction of JSON.
//!
//! Owns the walk over a value. The idea: a key that tells makes its text a secret whatever it looks like; an object
//! with a telling `name` beside a `value` (headers, environment variables) is the same thing in other words; every
//! other text, keys included, is read like running text.
//!
//! Must not: descend for ever (the depth of a value is bounded where it is parsed).

use super::{Redactor, looks, marker};
use crate::json::{Map, Value};

/// Redacts a value in place.
pub(super) fn value(redactor: &Redactor, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(clean) = redactor.text(text) {
                *text = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| self::value(redactor, item)),
        Value::Object(members) => object(redactor, members),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(redactor: &Redactor, members: &mut Map<String, Value>) {
    let named = ["name", "key", "header", "Name", "Key"]
        .iter()
        .find_map(|name| members.get(*name).and_then(Value::as_str))
        .and_then(|name| redactor.told(name));
    for (name, member) in members.iter_mut() {
        let told = match named {
            Some(kind) if matches!(name.as_str(), "value" | "Value") => Some(kind),
            _ => redactor.told(name),
        };
        match told {
            Some(kind) => by_name(redactor, member, kind),
            None => value(redactor, member),
        }
    }
    if members.keys().any(|name| matches!(redactor.text(name), std::borrow::Cow::Owned(_))) {
        let old = std::mem::take(members);
        for (name, member) in old {
            let clean = redactor.text(&name).into_owned();
            // Two different secrets as keys leave two members.
            let mut free = clean.clone();
            let mut number = 2;
            while members.contains_key(&free) {
                free = format!("{clean}#{number}");
                number += 1;
            }
            members.insert(free, member);
        }
    }
}

/// Blanks what a telling key names: texts and long numbers; objects are walked, since `credentials: {name: ...}` is
/// not itself a credential.
fn by_name(redactor: &Redactor, member: &mut Value, kind: &'static str) {
    match member {
        Value::String(text) => {
            if !text.is_empty() && !looks::is_marker(text) {
                *member = Value::String(marker(kind));
            }
        }
        Value::Number(number) => {
            if kind == "password" || number.to_string().len() >= 6 {
                *member = Value::String(marker(kind));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| by_name(redactor, item, kind)),
        Value::Object(members) => object(redactor, members),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Blanks whatever is at the end of these steps.
pub(super) fn blank_at(value: &mut Value, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        if !value.is_null() {
            *value = Value::String(marker("field"));
        }
        return;
    };
    match value {
        Value::Object(members) if step == "*" => {
            members.values_mut().for_each(|member| blank_at(member, rest));
        }
        Value::Object(members) => {
            if let Some(member) = members.get_mut(step) {
                blank_at(member, rest);
            }
        }
        Value::Array(items) if step == "*" => items.iter_mut().for_each(|item| blank_at(item, rest)),
        Value::Array(items) => {
            if let Some(item) = step.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                blank_at(item, rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
