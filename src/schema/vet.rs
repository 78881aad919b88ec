//! Is a schema usable here?
//!
//! Owns [`vet`]. The idea: one walk over the places where 2020-12 puts schemas (so that data under `const`, `enum` or
//! `default` is never mistaken for one), refusing what could fetch, loop, grow without end, or match in more than
//! linear time.
//!
//! Must not: compile anything.

use std::collections::HashMap;

use super::Remotes;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, pointer};

const MOST_SCHEMAS: usize = 20_000;
const MOST_DEPTH: usize = 100;
const MOST_BYTES: usize = 4 << 20;
/// How many schemas may have to be tried against one and the same value.
const MOST_WORK: u64 = 100_000;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const META: &str = "https://json-schema.org/draft/2020-12/";

/// Keywords whose value is a schema; those marked apply to the same value.
const ONE: &[(&str, bool)] = &[
    ("additionalProperties", false),
    ("unevaluatedProperties", false),
    ("unevaluatedItems", false),
    ("items", false),
    ("contains", false),
    ("contentSchema", false),
    ("propertyNames", false),
    ("not", true),
    ("if", true),
    ("then", true),
    ("else", true),
];
/// Keywords whose value is an array of schemas.
const MANY: &[(&str, bool)] = &[("prefixItems", false), ("allOf", true), ("anyOf", true), ("oneOf", true)];
/// Keywords whose value is an object of schemas.
const NAMED: &[(&str, bool)] = &[
    ("properties", false),
    ("patternProperties", false),
    ("$defs", false),
    ("definitions", false),
    ("dependentSchemas", true),
];

/// Refuses a schema that is not usable, naming the keyword and the place.
pub(super) fn vet(source: &Value, remotes: Option<&Remotes>) -> Result<()> {
    let mut walk = Walk { root: source, remotes, has_ids: false, schemas: 0, bytes: 0, refs: Vec::new() };
    let mut path = String::new();
    walk.schema(source, &mut path, 0)?;
    if !walk.has_ids {
        for (target, place) in &walk.refs {
            walk.target(target, place)?;
        }
        Work::over(source)?;
    }
    Ok(())
}

fn refused(path: &str, keyword: &str, why: &str) -> Error {
    let place = if path.is_empty() { "its top level" } else { path };
    Error::new(Kind::BadConfig, format!("The schema cannot be used: `{keyword}` at {place} {why}."))
}

struct Walk<'a> {
    root: &'a Value,
    remotes: Option<&'a Remotes>,
    has_ids: bool,
    schemas: usize,
    bytes: usize,
    refs: Vec<(&'a str, String)>,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, path: &mut String, depth: usize) -> Result<()> {
        self.schemas += 1;
        if self.schemas > MOST_SCHEMAS {
            return Err(too_large(&format!("it has more than {MOST_SCHEMAS} subschemas")));
        }
        if depth > MOST_DEPTH {
            return Err(too_large(&format!("it is nested deeper than {MOST_DEPTH} levels")));
        }
        let Value::Object(keywords) = schema else {
            return if schema.is_boolean() {
                Ok(())
            } else {
                let place = if path.is_empty() { "its top level" } else { path };
                Err(Error::new(
                    Kind::BadConfig,
                    format!("The schema cannot be used: there is no object and no boolean at {place}."),
                ))
            };
        };
        self.own_keywords(keywords, path)?;
        for (keyword, _) in ONE {
            if let Some(inner) = keywords.get(*keyword) {
                self.enter(inner, path, &[keyword], depth)?;
            }
        }
        for (keyword, _) in MANY {
            for (index, inner) in
                keywords.get(*keyword).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                self.enter(inner, path, &[keyword, &index.to_string()], depth)?;
            }
        }
        for (keyword, _) in NAMED {
            for (name, inner) in keywords.get(*keyword).and_then(Value::as_object).into_iter().flatten() {
                self.bytes += name.len();
                if *keyword == "patternProperties" {
                    Self::pattern(name, "patternProperties", path)?;
                }
                self.enter(inner, path, &[keyword, name], depth)?;
            }
        }
        Ok(())
    }

    fn enter(&mut self, inner: &'a Value, path: &mut String, steps: &[&str], depth: usize) -> Result<()> {
        let length = path.len();
        for step in steps {
            path.push('/');
            path.push_str(&pointer::escaped(step));
        }
        let result = self.schema(inner, path, depth + 1);
        path.truncate(length);
        result
    }

    fn own_keywords(&mut self, keywords: &'a Map<String, Value>, path: &str) -> Result<()> {
        for value in keywords.values() {
            self.bytes += data_size(value);
        }
        if self.bytes > MOST_BYTES {
            return Err(too_large(&format!("it is larger than {MOST_BYTES} bytes")));
        }
        if let Some(dialect) = keywords.get("$schema") {
            let known = dialect.as_str().is_some_and(|dialect| {
                dialect.trim_end_matches('#') == DIALECT
                    || self.remotes.is_some_and(|remotes| remotes.has(dialect))
            });
            if !known {
                return Err(refused(path, "$schema", "names a dialect other than JSON Schema 2020-12"));
            }
        }
        self.has_ids |= ["$id", "$anchor", "$dynamicAnchor"].iter().any(|name| keywords.contains_key(*name));
        for keyword in ["$ref", "$dynamicRef"] {
            match keywords.get(keyword) {
                None => {}
                Some(Value::String(target)) => self.reference(target, keyword, path)?,
                Some(_) => return Err(refused(path, keyword, "is not a string")),
            }
        }
        if let Some(Value::String(pattern)) = keywords.get("pattern") {
            Self::pattern(pattern, "pattern", path)?;
        }
        Ok(())
    }

    fn reference(&mut self, target: &'a str, keyword: &str, path: &str) -> Result<()> {
        if target.starts_with('#') {
            self.refs.push((target, path.to_owned()));
            return Ok(());
        }
        // With `$id`s of its own a document can name its parts by address; with preloaded documents, theirs. The
        // compiler resolves those, and has nowhere to fetch from.
        let may_be_known = target.starts_with(META)
            || self.remotes.is_some()
            || self.has_ids
            || self.root.as_object().is_some_and(|root| root.contains_key("$id"));
        if may_be_known {
            return Ok(());
        }
        Err(refused(path, keyword, "leads out of the document, and references are never fetched"))
    }

    fn target(&self, target: &str, place: &str) -> Result<()> {
        let found = match target.strip_prefix('#') {
            Some("") | None => true,
            Some(pointer) => resolve(self.root, pointer).is_some(),
        };
        if found { Ok(()) } else { Err(refused(place, "$ref", "leads to nothing in the document")) }
    }

    fn pattern(pattern: &str, keyword: &str, path: &str) -> Result<()> {
        match beyond_linear(pattern) {
            None => Ok(()),
            Some(what) => Err(refused(
                path,
                keyword,
                &format!("uses a {what}, which cannot be matched in linear time; write it without"),
            )),
        }
    }
}

fn too_large(how: &str) -> Error {
    Error::new(Kind::BadConfig, format!("The schema is too large: {how}."))
}

/// Bytes of texts that are data; objects are left to the walk, which sees the schemas in them.
fn data_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(data_size).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => 8,
    }
}

fn resolve<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    let decoded = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
    root.pointer(&decoded)
}

/// Counts how many schemas one value may have to be tried against, and finds references that lead back to themselves
/// without going into the value.
struct Work<'a> {
    root: &'a Value,
    /// By the address of the schema: what it costs, or that it is being counted.
    known: HashMap<*const Value, Option<u64>>,
    /// Schemas for parts of a value. They start afresh, because going into the value is progress: only what is still
    /// open for one and the same value is a circle.
    later: Vec<&'a Value>,
}

impl<'a> Work<'a> {
    fn over(root: &'a Value) -> Result<()> {
        let mut work = Work { root, known: HashMap::new(), later: vec![root] };
        while let Some(schema) = work.later.pop() {
            work.of(schema, "", 0)?;
        }
        Ok(())
    }

    fn of(&mut self, schema: &'a Value, place: &str, depth: usize) -> Result<u64> {
        let Value::Object(keywords) = schema else { return Ok(1) };
        match self.known.get(&std::ptr::from_ref(schema)) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(refused(place, "$ref", "leads back to itself without end")),
            None => {}
        }
        if depth > 10 * MOST_DEPTH {
            return Err(too_large("its references form too long a chain"));
        }
        self.known.insert(std::ptr::from_ref(schema), None);
        let mut cost = 1u64;
        if let Some(target) =
            keywords.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'))
            && let Some(inner) = resolve(self.root, target)
        {
            cost = cost.saturating_add(self.of(inner, place, depth + 1)?);
        }
        for (inner, same_value) in children(keywords) {
            if same_value {
                cost = cost.saturating_add(self.of(inner, place, depth + 1)?);
            } else {
                self.later.push(inner);
            }
        }
        if cost > MOST_WORK {
            return Err(too_large("its references multiply without bound"));
        }
        self.known.insert(std::ptr::from_ref(schema), Some(cost));
        Ok(cost)
    }
}

fn children(keywords: &Map<String, Value>) -> impl Iterator<Item = (&Value, bool)> {
    let one = ONE.iter().filter_map(|(keyword, same)| keywords.get(*keyword).map(|inner| (inner, *same)));
    let many = MANY.iter().flat_map(|(keyword, same)| {
        let items = keywords.get(*keyword).and_then(Value::as_array).into_iter().flatten();
        items.map(move |inner| (inner, *same))
    });
    let named = NAMED.iter().flat_map(|(keyword, same)| {
        let members = keywords.get(*keyword).and_then(Value::as_object).into_iter().flatten();
        members.map(move |(_, inner)| (inner, *same))
    });
    one.chain(many).chain(named)
}

/// What in a pattern no linear-time engine can match.
fn beyond_linear(pattern: &str) -> Option<&'static str> {
    let bytes = pattern.as_bytes();
    let (mut at, mut in_class) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                match bytes.get(at + 1) {
                    Some(b'1'..=b'9') if !in_class => return Some("back-reference"),
                    Some(b'k') if !in_class && bytes.get(at + 2) == Some(&b'<') => {
                        return Some("back-reference");
                    }
                    _ => {}
                }
                at += 1;
            }
            b'[' => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => {
                let rest = &bytes[at..];
                if rest.starts_with(b"(?=") || rest.starts_with(b"(?!") {
                    return Some("look-ahead");
                }
                if rest.starts_with(b"(?<=") || rest.starts_with(b"(?<!") {
                    return Some("look-behind");
                }
                if rest.starts_with(b"(?>") {
                    return Some("atomic group");
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(schema: &Value) -> String {
        vet(schema, None).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_circle_through_a_property_is_none_wherever_it_begins() {
        let schema = json!({"$ref": "#/$defs/A", "$defs": {
            "A": {"allOf": [{"properties": {"again": {"$ref": "#/$defs/A"}}}]}}});
        vet(&schema, None).unwrap();
        let endless = json!({"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}});
        assert!(refusal(&endless).contains("without end"));
    }

    #[test]
    fn patterns_beyond_linear_time_are_named() {
        assert_eq!(beyond_linear("^(?!x)a"), Some("look-ahead"));
        assert_eq!(beyond_linear("(?<=x)a"), Some("look-behind"));
        assert_eq!(beyond_linear(r"(a)\1"), Some("back-reference"));
        assert_eq!(beyond_linear(r"(?<n>a)\k<n>"), Some("back-reference"));
        for fine in [r"[(?=]", r"\(?=", r"\\(a)", "(?:a|b)", "(?<name>a)", r"[\1]", "^[a-z]+$"] {
            assert_eq!(beyond_linear(fine), None, "{fine}");
        }
        let message = refusal(&json!({"properties": {"a": {"pattern": "(?=x)"}}}));
        assert!(message.contains("look-ahead") && message.contains("/properties/a"), "{message}");
        let message = refusal(&json!({"patternProperties": {"(?<!x)y": true}}));
        assert!(message.contains("look-behind"), "{message}");
    }

    #[test]
    fn data_is_not_mistaken_for_a_schema() {
        let schema = json!({
            "properties": {"$ref": {"const": {"$ref": "http://elsewhere.example/"}}, "pattern": {"type": "string"}},
            "default": {"pattern": "(?=x)", "$ref": "file:///etc/passwd"},
            "enum": [{"$schema": "nonsense"}],
        });
        assert!(vet(&schema, None).is_ok());
    }

    // proves: schema-references
    #[test]
    fn references_that_leave_or_lead_nowhere_are_refused() {
        for target in ["http://elsewhere.example/x", "file:///etc/passwd", "other.json", "//host/x"] {
            let message = refusal(&json!({"items": {"$ref": target}}));
            assert!(message.contains("never fetched") && message.contains("/items"), "{message}");
            assert!(!message.contains(target), "{message}");
        }
        assert!(refusal(&json!({"$ref": "#/$defs/missing"})).contains("leads to nothing"));
        assert!(refusal(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).contains("dialect"));
    }

    // proves: schema-references
    #[test]
    fn schemas_that_loop_or_multiply_are_refused_and_recursive_ones_are_not() {
        assert!(refusal(&json!({"$ref": "#"})).contains("back to itself"));
        let mutual = json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}});
        assert!(refusal(&mutual).contains("back to itself"));
        let mut defs = Map::new();
        for level in 0..40 {
            let next = format!("#/$defs/d{}", level + 1);
            defs.insert(format!("d{level}"), json!({"allOf": [{"$ref": next}, {"$ref": next}]}));
        }
        defs.insert("d40".into(), json!({"type": "string"}));
        assert!(refusal(&json!({"$ref": "#/$defs/d0", "$defs": defs})).contains("multiply"));
        let tree = json!({"properties": {"children": {"items": {"$ref": "#"}}, "left": {"$ref": "#"}}});
        assert!(vet(&tree, None).is_ok());
    }

    #[test]
    fn bounds_hold() {
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({"items": deep});
        }
        assert!(refusal(&deep).contains("nested deeper"));
        let many: Map<String, Value> = (0..30_000).map(|number| (number.to_string(), json!({}))).collect();
        assert!(refusal(&json!({"properties": many})).contains("subschemas"));
        assert!(refusal(&json!({"properties": 7, "description": "x".repeat(5 << 20)})).contains("larger"));
        assert!(refusal(&json!({"items": 7})).contains("no boolean at /items"));
    }
}
