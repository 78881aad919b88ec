//! What of a tool's arguments is not checked here.
//!
//! Owns [`unchecked`]. The idea: a document may say more than can be checked in bounded time and space (patterns with
//! look-around, definitions without end); such a part accepts anything here and is the upstream's to check, and this says
//! which parts those are, so that an operator knows.
//!
//! Must not: change a schema.

use super::openapi::UNCHECKED_PATTERN;
use crate::json::Value;

/// Words about a schema that check nothing.
const WORDS: &[&str] = &[
    "description",
    "title",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
];
/// Names in one sentence.
const MOST: usize = 8;

/// A sentence about what a tool accepts unchecked; none if everything is checked.
pub fn unchecked(name: &str, input: &Value) -> Option<String> {
    let open = |key: &str| -> Vec<String> {
        let members = input.get(key).and_then(Value::as_object).into_iter().flatten();
        members.filter(|(_, schema)| accepts_anything(schema)).map(|(name, _)| format!("`{name}`")).collect()
    };
    let (arguments, parts, patterns) = (open("properties"), open("$defs"), patterns(input));
    let mut said = Vec::new();
    if !arguments.is_empty() {
        said.push(format!("arguments that accept anything: {}", listed(&arguments)));
    }
    if !parts.is_empty() {
        said.push(format!("parts that accept anything: {}", listed(&parts)));
    }
    if patterns > 0 {
        said.push(format!("patterns that cannot be matched in linear time: {patterns}"));
    }
    (!said.is_empty()).then(|| format!("{name} is checked by the upstream in part: {}.", said.join("; ")))
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn accepts_anything(schema: &Value) -> bool {
    schema.as_object().is_some_and(|object| object.keys().all(|key| WORDS.contains(&key.as_str())))
}

fn patterns(value: &Value) -> usize {
    match value {
        Value::Object(object) => {
            let own = object.get("description").and_then(Value::as_str);
            usize::from(own.is_some_and(|text| text.ends_with(UNCHECKED_PATTERN)))
                + object.values().map(patterns).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}
