//! JSON Schema keywords that hold no schema.
//!
//! Owns which keywords survive, with what values. The idea: a keyword of the wrong type is dropped; text is cleaned
//! and shortened; what only OpenAPI knows is translated.
//!
//! Must not: look into subschemas (`convert.rs` does).

use std::collections::HashSet;

use super::words::{clean, line};
use crate::json::{Map, Number, Value, json};

/// Keywords that restrict values; a boolean `exclusiveMinimum` belongs to the older dialect, see [`older`].
const RESTRICTING: [&str; 13] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "maxContains",
];
/// Bytes of one value that a schema allows; a longer one is no choice but a text.
const MEMBER: usize = 300;

/// Whether a boolean keyword is set.
pub(super) fn flag(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key) == Some(&Value::Bool(true))
}

/// Copies what 2020-12 has; false if something is missing that would have restricted values.
pub(super) fn copy(object: &Map<String, Value>, request: bool, out: &mut Map<String, Value>) -> bool {
    let mut whole = true;
    for (key, value) in object {
        let kept = match key.as_str() {
            "type" => types(value),
            "title" => value.as_str().and_then(|text| line(text, 100)).map(Value::String),
            "description" => value.as_str().and_then(|text| clean(text, 300)).map(Value::String),
            "enum" => members(value),
            "const" => showable(value).then(|| value.clone()),
            "default" => short(value).then(|| value.clone()),
            "example" => short(value).then(|| json!([value])),
            "examples" => first(value),
            "format" | "contentEncoding" | "contentMediaType" => word(value),
            "minimum" | "maximum" => value.is_number().then(|| value.clone()),
            "exclusiveMinimum" | "exclusiveMaximum" => value.is_number().then(|| value.clone()),
            "multipleOf" => value.as_f64().is_some_and(|number| number > 0.0).then(|| value.clone()),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
            | "minContains" | "maxContains" => count(value),
            "uniqueItems" | "deprecated" | "writeOnly" => {
                (value == &Value::Bool(true)).then(|| value.clone())
            }
            "readOnly" => (!request && value == &Value::Bool(true)).then(|| value.clone()),
            _ => None,
        };
        let Some(kept) = kept else {
            whole &= !RESTRICTING.contains(&key.as_str());
            continue;
        };
        let name = if key == "example" { "examples" } else { key };
        out.insert(name.to_owned(), kept);
    }
    let file =
        object.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("file"));
    if file || is_bytes(object) {
        out.insert(String::from("type"), json!("string"));
        out.shift_remove("format");
        out.insert(String::from("contentEncoding"), json!("base64"));
    }
    whole
}

/// Whether a schema means raw bytes, which an argument holds as base64.
pub(super) fn is_bytes(object: &Map<String, Value>) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    text("format") == "binary"
        || text("type").eq_ignore_ascii_case("file")
        || (text("contentMediaType") == "application/octet-stream" && text("contentEncoding").is_empty())
}

/// `required`, without what is absent.
pub(super) fn require(object: &Map<String, Value>, absent: &HashSet<&str>, out: &mut Map<String, Value>) {
    let Some(Value::Array(list)) = object.get("required") else { return };
    let mut seen = HashSet::new();
    let names: Vec<Value> = list
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !absent.contains(name) && seen.insert(*name))
        .map(|name| json!(name))
        .collect();
    if !names.is_empty() {
        out.insert(String::from("required"), Value::Array(names));
    }
}

/// What 2.0 and 3.0 write differently: `nullable`, and bounds that are exclusive by a boolean.
pub(super) fn older(object: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if flag(object, exclusive)
            && let Some(value) = out.shift_remove(bound)
        {
            out.insert(exclusive.to_owned(), value);
        }
    }
    if flag(object, "nullable") || flag(object, "x-nullable") {
        nullable(out);
    }
}

fn nullable(out: &mut Map<String, Value>) {
    if let Some(Value::Array(members)) = out.get_mut("enum")
        && !members.contains(&Value::Null)
    {
        members.push(Value::Null);
    }
    match out.get_mut("type") {
        Some(kind @ Value::String(_)) => *kind = json!([kind.take(), "null"]),
        Some(Value::Array(kinds)) if !kinds.contains(&json!("null")) => kinds.push(json!("null")),
        _ => {}
    }
    if ["allOf", "anyOf", "oneOf"].iter().any(|key| out.contains_key(*key)) {
        let description = out.shift_remove("description");
        let whole = Value::Object(std::mem::take(out));
        if let Some(description) = description {
            out.insert(String::from("description"), description);
        }
        out.insert(String::from("anyOf"), json!([whole, {"type": "null"}]));
    }
}

/// `type`, with the spellings that documents use by mistake.
fn types(value: &Value) -> Option<Value> {
    let one = |name: &str| match name.to_ascii_lowercase().as_str() {
        "string" | "date" | "date-time" | "datetime" | "uuid" | "file" | "byte" | "char" | "uri"
        | "email" => Some("string"),
        "integer" | "int" | "int32" | "int64" | "long" => Some("integer"),
        "number" | "float" | "double" | "decimal" => Some("number"),
        "boolean" | "bool" => Some("boolean"),
        "object" | "map" => Some("object"),
        "array" | "list" => Some("array"),
        "null" => Some("null"),
        _ => None,
    };
    match value {
        Value::String(name) => one(name).map(|name| json!(name)),
        Value::Array(names) => {
            let mut kinds: Vec<&str> = Vec::new();
            for name in names {
                // One name that means nothing makes the whole list mean nothing.
                let kind = if name.is_null() { Some("null") } else { name.as_str().and_then(one) }?;
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            (!kinds.is_empty()).then(|| json!(kinds))
        }
        _ => None,
    }
}

fn members(value: &Value) -> Option<Value> {
    let Value::Array(list) = value else { return None };
    if list.is_empty() || list.len() > 5_000 || !list.iter().all(showable) {
        return None;
    }
    let mut seen = HashSet::new();
    let unique: Vec<Value> = list.iter().filter(|member| seen.insert(member.to_string())).cloned().collect();
    Some(Value::Array(unique))
}

/// Whether a value that goes over the wire as it is can be shown to a model as it is.
fn showable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= MEMBER && !text.chars().any(super::words::is_hidden),
        Value::Array(items) => items.iter().all(showable),
        Value::Object(items) => items.values().all(showable),
        _ => true,
    }
}

fn short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= 80 && !text.chars().any(super::words::is_hidden),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Null => false,
        _ => true,
    }
}

fn first(value: &Value) -> Option<Value> {
    let Value::Array(list) = value else { return None };
    list.iter().find(|example| short(example)).map(|example| json!([example]))
}

fn word(value: &Value) -> Option<Value> {
    let text = value.as_str()?;
    let plain =
        text.len() <= 60 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+; =*".contains(c));
    plain.then(|| value.clone())
}

/// A pattern whose braces that repeat nothing are escaped: ECMA-262 without `u` takes them as they are, others do not.
pub(super) fn literal_braces(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let (mut in_class, mut rest) = (false, pattern);
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => escape(rest),
            '{' if !in_class => repeats(rest).unwrap_or(1),
            _ => c.len_utf8(),
        };
        match c {
            '[' => in_class = true,
            ']' => in_class = false,
            '{' | '}' if !in_class && length == 1 => out.push('\\'),
            _ => {}
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Bytes of what begins with a backslash, `\p{…}` and its like as one.
fn escape(text: &str) -> usize {
    let Some(c) = text[1..].chars().next() else { return 1 };
    let plain = 1 + c.len_utf8();
    match (c, text[plain..].find('}')) {
        ('p' | 'P' | 'u' | 'x', Some(end)) if text[plain..].starts_with('{') => plain + end + 1,
        _ => plain,
    }
}

/// Bytes of `{2}`, `{2,}` or `{2,3}` at the beginning.
fn repeats(text: &str) -> Option<usize> {
    let (inside, _) = text.strip_prefix('{')?.split_once('}')?;
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && digits(least) && digits(most)).then_some(inside.len() + 2)
}

fn count(value: &Value) -> Option<Value> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: integral and in range"
    )]
    let whole = value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|float| float.fract() == 0.0 && (0.0..1e15).contains(float))
            .map(|float| float as u64)
    });
    whole.map(|whole| Value::Number(Number::from(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(schema: &Value) -> Value {
        let object = schema.as_object().unwrap();
        let mut out = Map::new();
        copy(object, true, &mut out);
        require(object, &HashSet::new(), &mut out);
        older(object, &mut out);
        Value::Object(out)
    }

    #[test]
    fn the_older_dialect_is_translated() {
        for (older, newer) in [
            (
                json!({"type": "string", "nullable": true, "enum": ["a"]}),
                json!({"type": ["string", "null"], "enum": ["a", null]}),
            ),
            (
                json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
                json!({"type": "integer", "exclusiveMinimum": 1}),
            ),
            (
                json!({"maximum": 9, "exclusiveMaximum": false, "example": 3}),
                json!({"maximum": 9, "examples": [3]}),
            ),
            (json!({"type": "file"}), json!({"type": "string", "contentEncoding": "base64"})),
            (
                json!({"type": "string", "format": "binary"}),
                json!({"type": "string", "contentEncoding": "base64"}),
            ),
        ] {
            assert_eq!(converted(&older), newer);
        }
    }

    #[test]
    fn braces_that_repeat_nothing_are_escaped() {
        for (pattern, plain) in [
            (r"deny_custom_{\d+}", r"deny_custom_\{\d+\}"),
            (r"^a{2}b{2,}c{2,3}$", r"^a{2}b{2,}c{2,3}$"),
            (r"x{,3}{a}{", r"x\{,3\}\{a\}\{"),
            (r"\{a\}[{}]\p{L}\u{41}\", r"\{a\}[{}]\p{L}\u{41}\"),
            (r"ü{é}[\]{]}", r"ü\{é\}[\]{]\}"),
        ] {
            assert_eq!(literal_braces(pattern), plain);
            assert_eq!(literal_braces(plain), plain, "again");
        }
    }

    #[test]
    fn keywords_of_the_wrong_type_are_dropped() {
        let odd = json!({
            "type": "banana", "required": true, "enum": [], "minimum": "1", "maxLength": -1, "minItems": 2.0,
            "multipleOf": 0, "title": 5, "discriminator": {"propertyName": "x"}, "xml": {}, "x-y": 1,
            "format": "a\nb",
        });
        assert_eq!(converted(&odd), json!({"minItems": 2}));
    }
}
