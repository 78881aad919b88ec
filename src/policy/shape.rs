//! The Cedar types of a tool's arguments.
//!
//! Owns [`Shape`]. The idea: a JSON Schema says more than Cedar has types for; what has exactly one type gets it, and
//! whatever is in doubt is open: it can still be read by a policy, as the type that the policy reads it as.
//!
//! Must not: say that an argument cannot be given although it can.

use std::collections::BTreeMap;

use super::reads::Kind;
use crate::json::{Value, json};

/// How deep references and objects are followed.
const DEPTH: u8 = 16;

/// What one argument is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Anything, or nothing that Cedar has one type for.
    Open,
    Text,
    Long,
    Decimal,
    Bool,
    Set(Box<Shape>),
    Record(Members),
}

/// The arguments of a tool, or of an object within them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Members {
    pub(super) known: BTreeMap<String, Member>,
    /// Whether there may be others.
    pub(super) open: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// What is at the end of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum At<'a> {
    /// This.
    Is(&'a Shape),
    /// Nobody knows.
    Unknown,
    /// Nothing; these are the names that there are, beside the one that there is not.
    Nothing(Vec<&'a str>),
}

impl Members {
    /// What a tool's input schema lets a caller give.
    pub(super) fn of(input: &Value) -> Self {
        match shape(input, input, 0) {
            Shape::Record(members) => members,
            _ => Self { open: true, ..Self::default() },
        }
    }

    pub(super) fn at(&self, path: &[String]) -> At<'_> {
        let Some((name, rest)) = path.split_first() else { return At::Unknown };
        match self.known.get(name) {
            None if self.open => At::Unknown,
            None => At::Nothing(self.known.keys().map(String::as_str).collect()),
            Some(member) if rest.is_empty() => At::Is(&member.shape),
            Some(Member { shape: Shape::Record(inner), .. }) => inner.at(rest),
            Some(Member { shape: Shape::Open, .. }) => At::Unknown,
            Some(_) => At::Nothing(Vec::new()),
        }
    }

    /// The Cedar type in JSON; `kinds` says as what policies read something, where that is known. Without `strict`
    /// nothing is required.
    pub(super) fn cedar(
        &self,
        strict: bool,
        path: &mut Vec<String>,
        kinds: &dyn Fn(&[String]) -> Option<Kind>,
    ) -> Value {
        let mut attributes = serde_json::Map::new();
        for (name, member) in &self.known {
            path.push(name.clone());
            let own = match (&member.shape, kinds(path)) {
                (Shape::Record(inner), Some(Kind::Record) | None) => Some(inner.cedar(strict, path, kinds)),
                (_, Some(kind)) => Some(kind.schema()),
                (shape, None) => shape.cedar(),
            };
            path.pop();
            if let Some(mut own) = own {
                own["required"] = Value::Bool(strict && member.required);
                attributes.insert(name.clone(), own);
            }
        }
        json!({"type": "Record", "attributes": attributes})
    }

    /// Adds what another tool takes; where both differ, nobody knows.
    pub(super) fn join(&mut self, other: &Self) {
        self.open |= other.open;
        for (name, member) in &other.known {
            match self.known.get_mut(name) {
                None => {
                    self.known.insert(name.clone(), member.clone());
                }
                Some(known) => known.shape = known.shape.clone().or(&member.shape),
            }
        }
    }
}

impl Shape {
    fn or(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Record(mut own), Self::Record(other)) => {
                own.join(other);
                Self::Record(own)
            }
            (Self::Set(own), Self::Set(other)) => Self::Set(Box::new(own.or(other))),
            (own, other) if own == *other => own,
            _ => Self::Open,
        }
    }

    /// The Cedar type in JSON, if it has one.
    fn cedar(&self) -> Option<Value> {
        Some(match self {
            Self::Open => return None,
            Self::Text => json!({"type": "String"}),
            Self::Long => json!({"type": "Long"}),
            Self::Decimal => json!({"type": "Extension", "name": "decimal"}),
            Self::Bool => json!({"type": "Boolean"}),
            Self::Set(element) => json!({"type": "Set", "element": element.cedar()?}),
            Self::Record(members) => members.cedar(false, &mut Vec::new(), &|_| None),
        })
    }

    /// Whether a value of this shape can be read as that.
    pub(super) fn fits(&self, kind: &Kind) -> bool {
        match (self, kind) {
            (Self::Open, _)
            | (_, Kind::Present)
            | (Self::Text, Kind::Text | Kind::Address | Kind::Time | Kind::Decimal)
            | (Self::Long | Self::Decimal, Kind::Long | Kind::Decimal)
            | (Self::Bool, Kind::Bool)
            | (Self::Record(_), Kind::Record) => true,
            (Self::Set(own), Kind::Set(element)) => own.fits(element),
            _ => false,
        }
    }

    /// What it is, for people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Open => "anything",
            Self::Text => "text",
            Self::Long => "a whole number",
            Self::Decimal => "a number",
            Self::Bool => "true or false",
            Self::Set(_) => "a list",
            Self::Record(_) => "an object",
        }
    }
}

fn shape(root: &Value, schema: &Value, depth: u8) -> Shape {
    let Value::Object(object) = schema else { return Shape::Open };
    if depth > DEPTH {
        return Shape::Open;
    }
    if let Some(reference) = object.get("$ref") {
        let target =
            reference.as_str().and_then(|text| text.strip_prefix('#')).and_then(|at| root.pointer(at));
        return match target {
            // what stands beside a reference may say more than the target does
            Some(target)
                if object.keys().all(|key| matches!(key.as_str(), "$ref" | "description" | "title")) =>
            {
                shape(root, target, depth + 1)
            }
            _ => Shape::Open,
        };
    }
    if ["if", "dependentSchemas", "$dynamicRef", "not"].iter().any(|key| object.contains_key(*key)) {
        return Shape::Open;
    }
    let parts = |key: &str| object.get(key).and_then(Value::as_array);
    if let Some(parts) = parts("anyOf").or(parts("oneOf")) {
        if object.contains_key("properties") || object.contains_key("allOf") {
            return Shape::Open;
        }
        let mut all =
            parts.iter().filter(|part| part["type"] != "null").map(|part| shape(root, part, depth + 1));
        let Some(first) = all.next() else { return Shape::Open };
        return all.fold(first, |all, one| all.or(&one));
    }
    if object.contains_key("allOf") {
        return Shape::Open;
    }
    match kind_of(schema) {
        Some("string") => Shape::Text,
        Some("integer") => Shape::Long,
        Some("number") => Shape::Decimal,
        Some("boolean") => Shape::Bool,
        Some("array") => {
            let items = object.get("items").filter(|_| !object.contains_key("prefixItems"));
            Shape::Set(Box::new(items.map_or(Shape::Open, |items| shape(root, items, depth + 1))))
        }
        Some("object") => {
            let required = |name: &str| {
                object
                    .get("required")
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.iter().any(|one| one == name))
            };
            let properties = object.get("properties").and_then(Value::as_object);
            let known = properties
                .into_iter()
                .flatten()
                .map(|(name, property)| {
                    let shape = shape(root, property, depth + 1);
                    (name.clone(), Member { shape, required: required(name) })
                })
                .collect();
            let open = object.get("additionalProperties") != Some(&Value::Bool(false))
                || object.contains_key("patternProperties");
            Shape::Record(Members { known, open })
        }
        _ => Shape::Open,
    }
}

/// The one type that a value has, `null` left aside.
fn kind_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => return Some(name),
        Value::Array(names) => {
            let mut named = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            return named.next().filter(|_| named.next().is_none());
        }
        _ => {}
    }
    let same = |values: &[Value]| {
        let mut names = values.iter().filter(|value| !value.is_null()).map(|value| match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Value::Number(_) => "number",
            _ => "",
        });
        let first = names.next()?;
        names.all(|name| name == first).then_some(first)
    };
    match (&schema["enum"], schema.get("const")) {
        (Value::Array(values), _) => same(values),
        (_, Some(value)) => same(std::slice::from_ref(value)),
        _ => schema.get("properties").map(|_| "object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_type_gets_it_and_the_rest_is_open() {
        let of = |schema: Value| shape(&schema, &schema, 0);
        assert_eq!(of(json!({"type": "string", "format": "ipv4"})), Shape::Text);
        assert_eq!(of(json!({"type": ["integer", "null"]})), Shape::Long);
        assert_eq!(of(json!({"enum": ["a", null, "b"]})), Shape::Text);
        assert_eq!(of(json!({"enum": ["a", 1]})), Shape::Open);
        assert_eq!(
            of(json!({"type": "array", "items": {"type": "number"}})),
            Shape::Set(Box::new(Shape::Decimal))
        );
        assert_eq!(of(json!({"anyOf": [{"type": "string"}, {"type": "null"}]})), Shape::Text);
        assert_eq!(of(json!({"anyOf": [{"type": "string"}, {"type": "integer"}]})), Shape::Open);
        for open in [
            json!(true),
            json!({}),
            json!({"allOf": []}),
            json!({"$ref": "#/nowhere"}),
            json!({"type": ["string", "integer"]}),
        ] {
            assert_eq!(of(open.clone()), Shape::Open, "{open}");
        }
        // a schema that contains itself ends somewhere
        let looped = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(matches!(of(looped), Shape::Record(_)));
    }

    #[test]
    fn a_path_leads_to_a_shape_or_to_the_names_there_are() {
        let members = Members::of(&json!({
            "type": "object", "additionalProperties": false, "required": ["size"],
            "properties": {
                "size": {"type": "integer"}, "free": {},
                "order": {"type": "object", "properties": {"term": {"type": "integer"}}, "additionalProperties": false}
            }
        }));
        let at = |path: &str| members.at(&path.split('.').map(String::from).collect::<Vec<_>>());
        assert_eq!(at("size"), At::Is(&Shape::Long));
        assert_eq!(at("order.term"), At::Is(&Shape::Long));
        assert_eq!(at("free.anything"), At::Unknown);
        assert_eq!(at("sizes"), At::Nothing(vec!["free", "order", "size"]));
        assert_eq!(at("order.terms"), At::Nothing(vec!["term"]));
        assert_eq!(at("size.x"), At::Nothing(Vec::new()));
        assert_eq!(Members::of(&json!({})).at(&[String::from("x")]), At::Unknown);
    }
}
