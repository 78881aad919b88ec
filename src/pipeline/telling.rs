//! What a call was trusted with, and what it says when it fails.
//!
//! Owns [`conceal`]. The idea: the cause of a failure goes to the log, and a traceback repeats what it was called with;
//! so the values of arguments that are secrets (by their name, by their form, or because the schema says `writeOnly` or
//! `format: password`) are taken out of it first, in every spelling that programs print.
//!
//! Must not: cost anything while calls go well.

use super::ToolSpec;
use crate::error::Error;
use crate::json::{Map, Value};
use crate::redaction::Redactor;

/// Shorter values are no secrets, and would tear holes into every text.
const SHORTEST: usize = 3;
/// How deep a schema is followed.
const DEEPEST: usize = 32;

/// The error with a cause that repeats no secret argument.
pub(super) fn conceal(
    error: Error,
    spec: &ToolSpec,
    arguments: &Map<String, Value>,
    redactor: &Redactor,
) -> Error {
    let Some(cause) = std::error::Error::source(&error).map(ToString::to_string) else { return error };
    let mut clean = Error::new(error.kind(), error.message().to_owned())
        .with_source(without(cause, &secrets(spec, arguments, redactor)));
    if let Some(detail) = error.detail() {
        clean = clean.with_detail(detail.clone());
    }
    if let Some(after) = error.retry_after() {
        clean = clean.with_retry_after(after);
    }
    clean
}

/// The text without these values.
fn without(mut text: String, values: &[String]) -> String {
    let mut spellings: Vec<String> = values.iter().flat_map(|value| spellings(value)).collect();
    // The longest first: one value may be part of another.
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    spellings.dedup();
    for spelling in spellings {
        if text.contains(&spelling) {
            text = text.replace(&spelling, "[redacted:argument]");
        }
    }
    text
}

/// A value as it is, as JSON and Python write it, and as an address carries it.
fn spellings(value: &str) -> Vec<String> {
    let json = Value::from(value).to_string();
    let json = &json[1..json.len() - 1];
    let single = json.replace("\\\"", "\"");
    let encoded: String =
        percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).collect();
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    vec![value.to_owned(), json.to_owned(), single.replace('\'', "\\'"), single, encoded, form]
}

/// The arguments that are secrets.
fn secrets(spec: &ToolSpec, arguments: &Map<String, Value>, redactor: &Redactor) -> Vec<String> {
    let raw = Value::Object(arguments.clone());
    let mut clean = raw.clone();
    let mut found = Vec::new();
    if redactor.value(&mut clean) {
        differing(&raw, Some(&clean), &mut found);
    }
    let schema = spec.input.source();
    declared(schema, schema, &raw, DEEPEST, &mut found);
    found.retain(|text| text.chars().count() >= SHORTEST);
    found
}

/// The texts that the redactor changed.
fn differing(raw: &Value, clean: Option<&Value>, found: &mut Vec<String>) {
    match (raw, clean) {
        (Value::Object(raw), Some(Value::Object(clean))) => {
            for (name, member) in raw {
                if !clean.contains_key(name) {
                    found.push(name.clone());
                }
                differing(member, clean.get(name), found);
            }
        }
        (Value::Array(raw), Some(Value::Array(clean))) if raw.len() == clean.len() => {
            for (raw, clean) in raw.iter().zip(clean) {
                differing(raw, Some(clean), found);
            }
        }
        (raw, clean) if Some(raw) != clean => leaves(raw, found),
        _ => {}
    }
}

/// The values whose schema says that they are only ever written.
fn declared(schema: &Value, root: &Value, value: &Value, depth: usize, found: &mut Vec<String>) {
    let Some(next) = depth.checked_sub(1) else { return };
    if schema["writeOnly"] == true || schema["format"] == "password" {
        return leaves(value, found);
    }
    if let Some(inner) = schema["$ref"].as_str().and_then(|to| root.pointer(to.strip_prefix('#')?)) {
        declared(inner, root, value, next, found);
    }
    for branch in ["allOf", "anyOf", "oneOf"] {
        for inner in schema[branch].as_array().into_iter().flatten() {
            declared(inner, root, value, next, found);
        }
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let inner = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                declared(inner, root, member, next, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let inner = schema["prefixItems"].get(index).unwrap_or(&schema["items"]);
                declared(inner, root, item, next, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::json::json;
    use crate::redaction::Config;
    use crate::schema::LazySchema;

    #[test]
    fn a_cause_repeats_no_secret_argument() {
        let spec = ToolSpec {
            input: LazySchema::new(json!({
                "type": "object",
                "properties": {
                    "pin": {"type": "integer", "writeOnly": true},
                    "door": {"$ref": "#/$defs/door"},
                    "name": {"type": "string"}
                },
                "$defs": {"door": {"type": "object", "properties": {
                    "codes": {"type": "array", "items": {"type": "string", "format": "password"}}
                }}}
            })),
            ..ToolSpec::new("t")
        };
        let arguments = json!({
            "password": "it's \"quoted\"\nand long", "pin": 4711, "door": {"codes": ["sesame open"]}, "name": "web"
        });
        let Value::Object(arguments) = arguments else { panic!("an object") };
        let cause = "File \"x.py\": ValueError: it's \"quoted\"\nand long / 'it\\'s \"quoted\"\\nand long' / \
                     \"it's \\\"quoted\\\"\\nand long\" / pin 4711 / https://x/?c=sesame+open&d=sesame%20open for web";
        let redactor = Redactor::new(&Config::default()).unwrap();
        let error = Error::new(Kind::ToolFailed, "It failed.").with_source(cause.to_owned());
        let clean = conceal(error, &spec, &arguments, &redactor);
        let cause = std::error::Error::source(&clean).unwrap().to_string();
        for secret in ["quoted", "4711", "sesame"] {
            assert!(!cause.contains(secret), "{cause}");
        }
        assert!(cause.contains("x.py") && cause.ends_with("for web"), "{cause}");
        assert_eq!((clean.kind(), clean.message()), (Kind::ToolFailed, "It failed."));
    }
}
