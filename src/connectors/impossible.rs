//! Tools that nobody can call.
//!
//! Owns [`impossible`]. The idea: a document may ask for a value that is of two kinds at once (an object that is one of
//! several strings); every call would be refused, and an operator should hear it before a model does.
//!
//! Must not: prove more than kinds of values can.

use crate::json::{Value, pointer};

/// Levels of members that must be there, references and alternatives from one schema to the next, and steps in all.
const LEVELS: usize = 6;
const CHAIN: usize = 12;
const STEPS: usize = 5_000;

const KINDS: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];
const ALL: u8 = 63;
const OBJECT: u8 = 32;

/// A sentence about an argument of a tool, or a part of one, that no value fits although it must be there.
pub fn impossible(name: &str, input: &Value) -> Option<String> {
    let mut look = Look { root: input, left: STEPS };
    let place = look.impossible(input, LEVELS)?;
    Some(format!(
        "{name} cannot be called: its document asks at {place} for a value of two kinds at once; an overlay can mend it."
    ))
}

struct Look<'a> {
    root: &'a Value,
    left: usize,
}

impl<'a> Look<'a> {
    /// Where something must be that cannot, as a JSON Pointer into the value.
    fn impossible(&mut self, schema: &'a Value, levels: usize) -> Option<String> {
        let kinds = self.kinds(schema, CHAIN);
        if kinds == 0 {
            return Some(String::new());
        }
        let (OBJECT, Some(levels)) = (kinds, levels.checked_sub(1)) else { return None };
        let schema = self.target(schema)?;
        let properties = schema.get("properties")?;
        let required = schema.get("required")?.as_array()?;
        required.iter().filter_map(Value::as_str).find_map(|name| {
            let inside = self.impossible(properties.get(name)?, levels)?;
            Some(format!("/{}{inside}", pointer::escaped(name)))
        })
    }

    /// The kinds of values that a schema may accept, one bit for each; all of them where that is not clear.
    fn kinds(&mut self, schema: &'a Value, chain: usize) -> u8 {
        let (Some(chain), Some(left)) = (chain.checked_sub(1), self.left.checked_sub(1)) else { return ALL };
        self.left = left;
        let Value::Object(object) = schema else {
            return if schema == &Value::Bool(false) { 0 } else { ALL };
        };
        let listed = |key: &str| object.get(key).and_then(Value::as_array).map(Vec::as_slice);
        let mut kinds = match object.get("type") {
            Some(Value::String(one)) => bit(one),
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(bit).fold(0, join),
            _ => ALL,
        };
        if let Some(members) = listed("enum") {
            kinds &= members.iter().map(kind).fold(0, join);
        }
        kinds &= object.get("const").map_or(ALL, kind);
        if let Some(referred) = object.get("$ref").and_then(Value::as_str) {
            kinds &= self.find(referred).map_or(ALL, |schema| self.kinds(schema, chain));
        }
        for part in listed("allOf").unwrap_or_default() {
            kinds &= self.kinds(part, chain);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(parts) = listed(key) {
                kinds &= parts.iter().map(|part| self.kinds(part, chain)).fold(0, join);
            }
        }
        kinds
    }

    fn target(&self, mut schema: &'a Value) -> Option<&'a Value> {
        for _ in 0..CHAIN {
            let Some(Value::String(reference)) = schema.get("$ref") else { return Some(schema) };
            schema = self.find(reference)?;
        }
        None
    }

    fn find(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

const fn join(all: u8, one: u8) -> u8 {
    all | one
}

fn bit(name: &str) -> u8 {
    let name = if name == "integer" { "number" } else { name };
    KINDS.iter().position(|kind| *kind == name).map_or(ALL, |at| 1 << at)
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 1,
        Value::Bool(_) => 2,
        Value::Number(_) => 4,
        Value::String(_) => 8,
        Value::Array(_) => 16,
        Value::Object(_) => OBJECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn body(schema: &Value) -> Value {
        json!({"type": "object", "properties": {"body": schema}, "required": ["body"], "$defs": {
            "Word": {"oneOf": [{"type": "string"}, {"enum": ["a", "b"]}]},
            "Again": {"type": "object", "required": ["again"], "properties": {"again": {"$ref": "#/$defs/Again"}}}}})
    }

    #[test]
    fn what_is_of_two_kinds_at_once_is_named() {
        let both = json!({"type": "object", "oneOf": [{"type": "string", "enum": ["none"]}, {"$ref": "#/$defs/Word"}]});
        for (schema, place) in [
            (both.clone(), "/body"),
            (json!({"type": "object", "required": ["a/b"], "properties": {"a/b": both}}), "/body/a~1b"),
            (json!({"allOf": [{"type": "array"}, {"$ref": "#/$defs/Word"}]}), "/body"),
            (json!({"type": "string", "const": 5}), "/body"),
        ] {
            let said = impossible("act", &body(&schema)).unwrap();
            assert!(
                said.starts_with("act cannot be called") && said.contains(&format!("at {place} for")),
                "{said}"
            );
        }
    }

    #[test]
    fn what_somebody_can_send_is_not() {
        let both = json!({"type": "object", "anyOf": [{"type": "string"}]});
        for schema in [
            json!({}),
            json!({"type": ["object", "null"], "properties": {"x": both}, "required": ["x"]}),
            json!({"type": "object", "properties": {"x": both}}),
            json!({"type": "array", "items": both}),
            json!({"type": "integer", "enum": [1.0, "x"]}),
            json!({"$ref": "#/$defs/Again"}),
            json!({"type": "string", "anyOf": [{"type": "object"}, {"$ref": "#/$defs/Word"}]}),
        ] {
            assert_eq!(impossible("act", &body(&schema)), None, "{schema}");
        }
    }
}
