//! Arguments, as a policy sees them.
//!
//! Owns the mapping from JSON to Cedar values. The idea: only what policies read is mapped, only as the type they read
//! it, and a value that does not fit, or is missing although the tool could take it, is a reason to deny.
//!
//! Must not: guess.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;

use super::reads::{Kind, Path, Reads};
use crate::json::{Map, Value};

/// An argument that a policy needs cannot be given to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmappable;

/// `context.arguments` for these reads.
pub(super) fn record(
    reads: &Reads,
    arguments: &Map<String, Value>,
    input: &Value,
) -> Result<RestrictedExpression, Unmappable> {
    let mut root = Node::default();
    for (path, kind) in &reads.paths {
        match value(arguments, path) {
            None if may_be_given(input, input, path, 0) => return Err(Unmappable),
            None => {}
            Some(value) => root.put(path, leaf(kind, value)?),
        }
    }
    root.into_expression()
}

/// The reads that cannot be given: each with its type, and whether it is absent.
pub(super) fn troubles<'a>(
    reads: &'a Reads,
    arguments: &Map<String, Value>,
    input: &Value,
) -> Vec<(&'a Path, &'a Kind, bool)> {
    let mut found = Vec::new();
    for (path, kind) in &reads.paths {
        match value(arguments, path) {
            None if may_be_given(input, input, path, 0) => found.push((path, kind, true)),
            Some(value) if leaf(kind, value).is_err() => found.push((path, kind, false)),
            _ => {}
        }
    }
    found
}

fn value<'a>(arguments: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (last, objects) = path.split_last()?;
    let inside = objects.iter().try_fold(arguments, |at, name| at.get(name)?.as_object());
    inside?.get(last)
}

enum Leaf {
    Value(RestrictedExpression),
    Record,
}

fn leaf(kind: &Kind, value: &Value) -> Result<Leaf, Unmappable> {
    if *kind == Kind::Record {
        return if value.is_object() { Ok(Leaf::Record) } else { Err(Unmappable) };
    }
    convert(kind, value).map(Leaf::Value)
}

fn convert(kind: &Kind, value: &Value) -> Result<RestrictedExpression, Unmappable> {
    match (kind, value) {
        (_, Value::Null) => Err(Unmappable),
        (Kind::Present, _) => Ok(RestrictedExpression::new_bool(true)),
        (Kind::Text, Value::String(text)) => Ok(RestrictedExpression::new_string(text.clone())),
        (Kind::Bool, Value::Bool(truth)) => Ok(RestrictedExpression::new_bool(*truth)),
        (Kind::Long, Value::Number(number)) => {
            integer(number).map(RestrictedExpression::new_long).ok_or(Unmappable)
        }
        (Kind::Decimal, Value::Number(number)) => decimal(&number.to_string()),
        (Kind::Decimal, Value::String(text)) => decimal(text),
        (Kind::Address, Value::String(text)) => Ok(RestrictedExpression::new_ip(text)),
        (Kind::Time, Value::String(text)) => Ok(RestrictedExpression::new_datetime(text)),
        (Kind::Set(element), Value::Array(items)) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| convert(element, item)).collect();
            Ok(RestrictedExpression::new_set(items?))
        }
        _ => Err(Unmappable),
    }
}

/// The whole number, also when it was written as `1.0`.
fn integer(number: &serde_json::Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let float = number.as_f64().filter(|_| number.is_f64())?;
    #[allow(clippy::cast_possible_truncation, reason = "checked: integral and within 2^53")]
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
}

/// Cedar wants one to four digits after the point, JSON does not; more digits than four cannot be mapped.
fn decimal(text: &str) -> Result<RestrictedExpression, Unmappable> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(part) || part.len() > 4 {
        return Err(Unmappable);
    }
    Ok(RestrictedExpression::new_decimal(format!("{whole}.{part}")))
}

#[derive(Default)]
struct Node {
    value: Option<RestrictedExpression>,
    parts: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &[String], leaf: Leaf) {
        let mut at = self;
        for name in path {
            at = at.parts.entry(name.clone()).or_default();
        }
        if let Leaf::Value(value) = leaf {
            at.value = Some(value);
        }
    }

    fn into_expression(self) -> Result<RestrictedExpression, Unmappable> {
        if let Some(value) = self.value {
            return Ok(value);
        }
        let mut parts = Vec::with_capacity(self.parts.len());
        for (name, node) in self.parts {
            parts.push((name, node.into_expression()?));
        }
        RestrictedExpression::new_record(parts).map_err(|_| Unmappable)
    }
}

/// Whether the schema lets a caller give the property at `path`. In doubt it does.
fn may_be_given(root: &Value, schema: &Value, path: &[String], depth: u8) -> bool {
    let Some((name, rest)) = path.split_first() else { return true };
    let Value::Object(object) = schema else { return schema != &Value::Bool(false) };
    if depth > 16 {
        return true;
    }
    if let Some(reference) = object.get("$ref") {
        let target =
            reference.as_str().and_then(|text| text.strip_prefix('#')).and_then(|at| root.pointer(at));
        return target.is_none_or(|target| may_be_given(root, target, path, depth + 1));
    }
    if ["allOf", "anyOf", "oneOf", "if", "dependentSchemas", "patternProperties", "$dynamicRef"]
        .iter()
        .any(|key| object.contains_key(*key))
    {
        return true;
    }
    match object.get("properties").and_then(|all| all.get(name)) {
        Some(property) => may_be_given(root, property, rest, depth + 1),
        None => object.get("additionalProperties") != Some(&Value::Bool(false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(String::from).collect()
    }

    #[test]
    fn a_schema_says_what_may_be_given() {
        let schema = json!({
            "properties": {"a": {"$ref": "#/$defs/A"}, "s": {"type": "string"}, "o": {"oneOf": []}},
            "additionalProperties": false,
            "$defs": {"A": {"properties": {"b": true}, "additionalProperties": false}}
        });
        let may = |text: &str| may_be_given(&schema, &schema, &path(text), 0);
        assert!(may("a.b") && may("s") && may("o.anything"));
        assert!(!may("a.c") && !may("x"));
        assert!(may_be_given(&json!({}), &json!({}), &path("x"), 0));
    }

    #[test]
    fn numbers_map_exactly_or_not_at_all() {
        let map = |kind: Kind, value: Value| convert(&kind, &value).is_ok();
        assert!(map(Kind::Long, json!(3)) && map(Kind::Long, json!(3.0)));
        assert!(
            !map(Kind::Long, json!(3.5))
                && !map(Kind::Long, json!(1e300))
                && !map(Kind::Long, json!(u64::MAX))
        );
        assert!(map(Kind::Decimal, json!(3)) && map(Kind::Decimal, json!(-3.25)));
        assert!(!map(Kind::Decimal, json!(3.12345)) && !map(Kind::Decimal, json!(1e30)));
        assert!(!map(Kind::Text, json!(3)) && !map(Kind::Present, json!(null)));
        assert!(!map(Kind::Set(Box::new(Kind::Text)), json!(["a", 1])));
    }
}
