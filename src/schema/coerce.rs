//! Values that are nearly right.
//!
//! Owns [`coerce`]. The idea: a model writes `"5"` where 5 belongs, a text that holds an object where an object
//! belongs, one value where a list of them belongs. Where the schema leaves one reading only, that reading is tried; the
//! schema then judges the whole again, so that nothing gets through that would not have been right if it had been
//! written so.
//!
//! Must not: guess between two readings, or look into what the schema does not name.

use crate::json::{Bounds, Value, parse, pointer};

/// Levels of a value that are looked at.
const DEPTH: usize = 24;
/// References from one schema to the next.
const CHAIN: usize = 16;
/// Bytes of a text that is read as JSON.
const TEXT: usize = 256 << 10;
/// Items of a list that are looked at.
const ITEMS: usize = 10_000;

/// The places (JSON Pointers, made of the schema's own names) that were read otherwise than they were written.
pub(super) fn coerce(schema: &Value, value: &mut Value) -> Vec<String> {
    let mut mended = Vec::new();
    mend(schema, schema, value, &mut (String::new(), DEPTH), &mut mended);
    mended
}

fn mend(
    root: &Value,
    schema: &Value,
    value: &mut Value,
    (place, depth): &mut (String, usize),
    mended: &mut Vec<String>,
) {
    let Some(schema) = resolved(root, schema) else { return };
    if *depth == 0 {
        return;
    }
    for part in list(schema, "allOf") {
        mend(root, part, value, &mut (place.clone(), *depth - 1), mended);
    }
    let mut types = Vec::new();
    kinds(root, schema, &mut types, CHAIN);
    if !types.is_empty() && !types.iter().any(|kind| is(kind, value)) {
        types.retain(|kind| *kind != "null");
        if let [only] = types[..]
            && let Some(read) = read_as(only, value)
        {
            *value = read;
            mended.push(if place.is_empty() { String::from("/") } else { place.clone() });
        }
    }
    // of several readings, the one that is for values of this kind
    let mut fitting = list(schema, "anyOf").chain(list(schema, "oneOf")).filter(|branch| {
        let mut types = Vec::new();
        kinds(root, branch, &mut types, CHAIN);
        types.iter().any(|kind| is(kind, value))
    });
    if let (Some(branch), None) = (fitting.next(), fitting.next()) {
        mend(root, branch, value, &mut (place.clone(), *depth - 1), mended);
    }
    match value {
        Value::Object(members) => {
            let Some(Value::Object(properties)) = schema.get("properties") else { return };
            for (name, member) in members {
                if let Some(schema) = properties.get(name) {
                    let inside = format!("{place}/{}", pointer::escaped(name));
                    mend(root, schema, member, &mut (inside, *depth - 1), mended);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter_mut().take(ITEMS).enumerate() {
                mend(root, schema, item, &mut (format!("{place}/{index}"), *depth - 1), mended);
            }
        }
        _ => {}
    }
}

/// What a value is if it has to be of that kind; nothing where there is more than one way, or none.
fn read_as(kind: &str, value: &Value) -> Option<Value> {
    match (kind, value) {
        ("array", one) if !matches!(one, Value::Null | Value::String(_)) => {
            Some(Value::Array(vec![one.clone()]))
        }
        ("array", Value::String(text)) => {
            Some(json(text).filter(Value::is_array).unwrap_or_else(|| Value::Array(vec![value.clone()])))
        }
        ("object", Value::String(text)) => json(text).filter(Value::is_object),
        ("integer", Value::String(text)) => {
            json(text).filter(|read| (read.is_i64() || read.is_u64()) && *text == *read.to_string())
        }
        ("number", Value::String(text)) => json(text).filter(Value::is_number),
        ("boolean", Value::String(text)) => json(text).filter(Value::is_boolean),
        ("string", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            Some(Value::String(number.to_string()))
        }
        _ => None,
    }
}

/// A text as JSON, within bounds; a text that begins with a blank is none.
fn json(text: &str) -> Option<Value> {
    let tidy = !text.starts_with(char::is_whitespace) || text.trim_start().starts_with(['{', '[']);
    (tidy && text.len() <= TEXT).then(|| parse(text.as_bytes(), &Bounds::default()).ok()).flatten()
}

/// Follows references within the schema.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut schema = schema;
    for _ in 0..CHAIN {
        let Some(Value::String(reference)) = schema.get("$ref") else { return Some(schema) };
        schema = root.pointer(reference.strip_prefix('#')?)?;
    }
    None
}

fn list<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The kinds of value a schema says it takes, in JSON Schema's words; none where it does not say.
fn kinds<'a>(root: &'a Value, schema: &'a Value, out: &mut Vec<&'a str>, left: usize) {
    let Some(schema) = resolved(root, schema).filter(|_| left > 0) else { return };
    let own: Vec<&'a str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => schema.get("const").into_iter().chain(list(schema, "enum")).map(kind).collect(),
    };
    if !own.is_empty() {
        for kind in own {
            if !out.contains(&kind) {
                out.push(kind);
            }
        }
        return;
    }
    let branches: Vec<&Value> = list(schema, "anyOf").chain(list(schema, "oneOf")).collect();
    for branch in &branches {
        let before = out.len();
        kinds(root, branch, out, left - 1);
        if out.len() == before && branches.len() > 1 && !says(root, branch) {
            // a branch that takes anything leaves nothing to mend
            out.extend(["null", "boolean", "integer", "number", "string", "array", "object"]);
            return;
        }
    }
}

/// Whether a schema says which kinds of value it takes.
fn says(root: &Value, schema: &Value) -> bool {
    let mut own = Vec::new();
    kinds(root, schema, &mut own, 4);
    !own.is_empty()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is(wanted: &str, value: &Value) -> bool {
    let kind = kind(value);
    let whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    kind == wanted
        || (wanted == "number" && kind == "integer")
        || (wanted == "integer" && kind == "number" && whole())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::json;
    use crate::schema::Schema;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "maximum": 100},
                "ratio": {"type": ["number", "null"]},
                "dry": {"type": "boolean"},
                "name": {"type": "string"},
                "ids": {"type": "array", "items": {"type": "string"}},
                "body": {"$ref": "#/$defs/Body"},
                "either": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
                "maybe": {"anyOf": [{"$ref": "#/$defs/Body"}, {"type": "null"}]}
            },
            "$defs": {"Body": {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}},
            "additionalProperties": false
        })
    }

    #[allow(clippy::needless_pass_by_value, reason = "tests read better so")]
    fn coerced(value: Value) -> Option<(Value, Vec<String>)> {
        Schema::compile(&schema()).unwrap().coerce(&value)
    }

    #[test]
    fn what_is_nearly_right_is_read_as_it_was_meant() {
        let given = json!({
            "limit": "5", "ratio": "0.5", "dry": "true", "name": 17, "ids": "a", "body": "{\"size\": \"3\"}",
            "maybe": "{\"size\": 1}"
        });
        let (value, mended) = coerced(given).unwrap();
        let meant = json!({
            "limit": 5, "ratio": 0.5, "dry": true, "name": "17", "ids": ["a"], "body": {"size": 3}, "maybe": {"size": 1}
        });
        assert_eq!(value, meant);
        assert_eq!(mended, ["/limit", "/ratio", "/dry", "/name", "/ids", "/body", "/body/size", "/maybe"]);
        assert_eq!(coerced(json!({"ids": "[\"a\", \"b\"]"})).unwrap().0, json!({"ids": ["a", "b"]}));
    }

    #[test]
    fn what_could_mean_two_things_or_would_still_be_wrong_is_left() {
        for given in [
            json!({"limit": "05"}),
            json!({"limit": " 5"}),
            json!({"limit": "5.5"}),
            json!({"limit": "500"}),
            json!({"dry": "yes"}),
            json!({"dry": 1}),
            json!({"name": true}),
            json!({"name": 1.5}),
            json!({"either": "5"}),
            json!({"body": "{}"}),
            json!({"body": "not json"}),
            json!({"unknown": "5"}),
            json!({"limit": "5", "unknown": 1}),
        ] {
            assert!(coerced(given.clone()).is_none(), "{given}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_always_fits_and_a_text_stays_a_text(text in ".{0,20}", number in any::<i64>()) {
            let schema = Schema::compile(&schema()).unwrap();
            for value in [
                json!({"limit": text, "name": text}),
                json!({"limit": number.to_string(), "name": text}),
                json!({"body": text, "ids": number}),
            ] {
                if let Some((read, mended)) = schema.coerce(&value) {
                    prop_assert!(schema.fits(&read));
                    prop_assert!(!mended.is_empty() && !mended.contains(&String::from("/name")));
                }
            }
        }
    }
}
