//! A JSON Schema, read as a recipe.
//!
//! Owns [`View`] and [`Flat`]. The idea: to make or to mend a value one needs to know, for one place of a schema, its
//! type, properties and bounds in one hand, with `$ref` followed and `allOf` merged; which branch of a `oneOf` or
//! `anyOf` counts is the caller's choice.
//!
//! Must not: check values (`crate::schema` does) or follow a `$ref` out of its own document.

use indexmap::IndexMap;

use crate::json::Value;

/// Deepest chain of `$ref` and `allOf` that is followed at one place.
const DEEPEST: usize = 24;

/// One place in a self-contained schema.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    root: &'a Value,
    at: &'a Value,
}

/// What one place asks for, merged.
#[derive(Default)]
pub(super) struct Flat<'a> {
    pub types: Vec<&'a str>,
    pub properties: IndexMap<&'a str, &'a Value>,
    pub required: Vec<&'a str>,
    pub choices: Option<&'a [Value]>,
    pub constant: Option<&'a Value>,
    pub items: Option<&'a Value>,
    pub closed: bool,
    pub additional: Option<&'a Value>,
    pub format: Option<&'a str>,
    pub pattern: Option<&'a str>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub above: Option<f64>,
    pub below: Option<f64>,
    pub multiple: Option<f64>,
    pub min_length: Option<usize>,
    pub max_length: Option<usize>,
    pub min_items: Option<usize>,
    pub max_items: Option<usize>,
    pub unique: bool,
    pub min_properties: usize,
    pub example: Option<&'a Value>,
    pub read_only: bool,
    pub write_only: bool,
    pub deprecated: bool,
}

impl<'a> View<'a> {
    /// The whole schema.
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, at: root }
    }

    /// Another place of the same schema.
    pub(super) fn of(self, at: &'a Value) -> Self {
        Self { root: self.root, at }
    }

    /// What this place asks for; `choose` picks a branch of each `oneOf` and `anyOf`.
    pub(super) fn flat(self, mut choose: impl FnMut(View<'a>, &'a [Value]) -> usize) -> Flat<'a> {
        let mut flat = Flat::default();
        let mut groups = Vec::new();
        self.collect(self.at, &mut flat, &mut groups, 0);
        for _ in 0..DEEPEST {
            let Some(group) = groups.pop() else { break };
            let index = choose(self, group);
            if let Some(branch) = group.get(index).or_else(|| group.first()) {
                self.collect(branch, &mut flat, &mut groups, 1);
            }
        }
        if flat.types.is_empty() {
            if !flat.properties.is_empty() {
                flat.types.push("object");
            } else if flat.items.is_some() {
                flat.types.push("array");
            }
        }
        flat
    }

    /// The same, with the first branch everywhere that is not null.
    pub(super) fn plain(self) -> Flat<'a> {
        self.flat(|view, group| group.iter().position(|branch| !view.of(branch).is_null()).unwrap_or(0))
    }

    /// The place below a property, of the merged schema.
    pub(super) fn property(self, name: &str) -> Option<View<'a>> {
        self.plain().properties.get(name).map(|at| self.of(at))
    }

    /// The place of an array's items.
    pub(super) fn items(self) -> Option<View<'a>> {
        self.plain().items.map(|at| self.of(at))
    }

    fn is_null(self) -> bool {
        self.at.get("type").and_then(Value::as_str) == Some("null")
    }

    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix('#')?;
        let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
        self.root.pointer(&pointer)
    }

    fn collect(self, node: &'a Value, flat: &mut Flat<'a>, groups: &mut Vec<&'a [Value]>, depth: usize) {
        let Some(object) = node.as_object() else { return };
        if depth > DEEPEST {
            return;
        }
        flat.take(object);
        if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|at| self.target(at)) {
            self.collect(target, flat, groups, depth + 1);
        }
        for part in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.collect(part, flat, groups, depth + 1);
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(group) = object.get(key).and_then(Value::as_array).filter(|group| !group.is_empty()) {
                groups.push(group);
            }
        }
    }
}

impl<'a> Flat<'a> {
    fn take(&mut self, object: &'a crate::json::Map<String, Value>) {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let number = |key: &str| object.get(key).and_then(Value::as_f64);
        let count =
            |key: &str| object.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        let flag = |key: &str| object.get(key).and_then(Value::as_bool).unwrap_or(false);
        let types: Vec<&str> = match object.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if self.types.is_empty() {
            self.types = types;
        } else if !types.is_empty() {
            self.types.retain(|known| types.contains(known));
        }
        for (name, schema) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let narrower = schema.get("const").is_some() || schema.get("enum").is_some();
            if narrower || !self.properties.contains_key(name.as_str()) {
                self.properties.insert(name, schema);
            }
        }
        for name in object.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = name.as_str().filter(|name| !self.required.contains(name)) {
                self.required.push(name);
            }
        }
        self.choices = object.get("enum").and_then(Value::as_array).map(Vec::as_slice).or(self.choices);
        self.constant = object.get("const").or(self.constant);
        self.items = self.items.or_else(|| object.get("items"));
        match object.get("additionalProperties").or_else(|| object.get("unevaluatedProperties")) {
            Some(Value::Bool(false)) => self.closed = true,
            Some(schema @ Value::Object(_)) => self.additional = Some(schema),
            _ => {}
        }
        self.format = self.format.or_else(|| text("format"));
        self.pattern = self.pattern.or_else(|| text("pattern"));
        self.minimum = larger(self.minimum, number("minimum"));
        self.maximum = smaller(self.maximum, number("maximum"));
        self.above = larger(self.above, number("exclusiveMinimum"));
        self.below = smaller(self.below, number("exclusiveMaximum"));
        self.multiple = self.multiple.or_else(|| number("multipleOf"));
        self.min_length = self.min_length.max(count("minLength"));
        self.max_length = count("maxLength").or(self.max_length);
        self.min_items = self.min_items.max(count("minItems"));
        self.max_items = count("maxItems").or(self.max_items);
        self.unique |= flag("uniqueItems");
        self.min_properties = self.min_properties.max(count("minProperties").unwrap_or(0));
        self.example = self
            .example
            .or_else(|| object.get("example"))
            .or_else(|| object.get("examples").and_then(Value::as_array).and_then(|all| all.first()))
            .or_else(|| object.get("default"));
        self.read_only |= flag("readOnly");
        self.write_only |= flag("writeOnly");
        self.deprecated |= flag("deprecated");
    }

    /// The type that values are made in: the first that is not null.
    pub(super) fn main_type(&self) -> Option<&'a str> {
        self.types.iter().copied().find(|kind| *kind != "null").or_else(|| self.types.first().copied())
    }

    /// Whether a value has one of the types.
    pub(super) fn allows(&self, value: &Value) -> bool {
        self.types.is_empty() || self.types.iter().any(|kind| is(kind, value))
    }
}

/// Whether a value is of a JSON Schema type.
pub(super) fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => true,
    }
}

fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

fn smaller(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::View;
    use crate::json::json;

    #[test]
    fn references_and_all_of_are_merged_and_cycles_end() {
        let schema = json!({
            "$ref": "#/$defs/A",
            "$defs": {
                "A": {"allOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/A"}], "required": ["x"]},
                "B": {"properties": {"x": {"type": "string"}}, "additionalProperties": false}
            }
        });
        let flat = View::new(&schema).plain();
        assert_eq!(flat.types, ["object"]);
        assert_eq!(flat.required, ["x"]);
        assert!(flat.closed && flat.properties.contains_key("x"));
    }
}
