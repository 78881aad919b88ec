//! Values out of schemas.
//!
//! Owns [`Faker`]: made values honour type, enumeration, format, pattern, bounds and required properties; cycles end.
//! The idea: the same seed, place and index give the same value, so a stand-in is the same on every run.
//!
//! Must not: keep state, or decide where a value goes.

use std::cell::Cell;

use super::recipe::{Flat, View};
use super::{pattern, words};
use crate::json::{Map, Number, Value};

/// How much of an object is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Required properties only.
    Required,
    /// Required ones, and those that a server assigns.
    Created,
    /// Everything that is not deprecated, down to a few levels.
    All,
}

/// Levels below which only required properties are made.
const OPTIONAL_LEVELS: usize = 4;
/// Levels below which nothing is made.
const DEEPEST: usize = 14;
/// Values made for one object at most.
const BUDGET: u32 = 3000;

/// Makes values.
pub(super) struct Faker<'a> {
    /// Everything depends on it.
    pub seed: u64,
    /// The time that times are.
    pub now: &'a str,
    /// How much is filled.
    pub fill: Fill,
    /// Which of several equal things this is.
    pub index: usize,
    /// What it is, in the singular.
    pub noun: &'a str,
    /// Each attempt chooses other branches and enumeration values.
    pub attempt: usize,
    /// Whether mending holds texts to their format, which a schema's check does not.
    pub formats: bool,
    /// Where in the value we are: what must not repeat depends on it.
    pub trail: Cell<u64>,
    /// Values still allowed.
    pub budget: Cell<u32>,
}

impl<'a> Faker<'a> {
    /// A faker for a thing called `noun`.
    pub(super) fn new(seed: u64, now: &'a str, fill: Fill, noun: &'a str, index: usize) -> Self {
        Self {
            seed,
            now,
            fill,
            index,
            noun,
            attempt: 0,
            formats: false,
            trail: Cell::new(0),
            budget: Cell::new(BUDGET),
        }
    }

    /// A value for a schema; tries other branches until `fits` agrees, and gives the last one otherwise.
    pub(super) fn make(&mut self, view: View<'_>, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for attempt in 0..24 {
            self.attempt = attempt;
            self.budget.set(BUDGET);
            let made = self.value(view, self.noun, 0);
            if fits(&made) {
                return made;
            }
            if attempt == 0 {
                last = made;
            }
        }
        self.attempt = 0;
        last
    }

    /// A value for one place. `name` is the property's.
    pub(super) fn value(&self, view: View<'_>, name: &str, depth: usize) -> Value {
        let above = self.trail.replace(words::hash(name, self.trail.get()));
        let made = self.made(view, name, depth);
        self.trail.set(above);
        made
    }

    fn made(&self, view: View<'_>, name: &str, depth: usize) -> Value {
        let flat = view.flat(|_, group| self.branch(name, group));
        self.budget.set(self.budget.get().saturating_sub(1));
        if let Some(constant) = flat.constant {
            return constant.clone();
        }
        if let Some(choice) = flat.choices.and_then(|choices| self.choice(name, choices)) {
            return choice;
        }
        if let Some(example) = flat.example.filter(|example| self.usable(name, example, &flat)) {
            return example.clone();
        }
        if let Some(Value::String(example)) = flat.example.filter(|_| name == "name" && depth < 2) {
            return match self.index {
                0 => example.as_str().into(),
                index => format!("{example}-{}", index + 1).into(),
            };
        }
        match flat.main_type() {
            Some("object") => Value::Object(self.object(view, &flat, depth)),
            Some("array") => Value::Array(self.array(view, &flat, name, depth)),
            Some("integer" | "number") => number(&flat, name, self.index),
            Some("boolean") => Value::Bool(self.attempt % 2 == 1),
            Some("null") => Value::Null,
            _ => Value::String(self.text(&flat, name)),
        }
    }

    fn branch(&self, name: &str, group: &[Value]) -> usize {
        if self.attempt == 0 {
            let is_null = |branch: &Value| branch.get("type").and_then(Value::as_str) == Some("null");
            return group.iter().position(|branch| !is_null(branch)).unwrap_or(0);
        }
        self.turn(name) % group.len()
    }

    /// A number that is another for each attempt, and for each name.
    fn turn(&self, name: &str) -> usize {
        usize::try_from(words::hash(name, self.attempt as u64) % 1000).unwrap_or(0)
    }

    fn choice(&self, name: &str, choices: &[Value]) -> Option<Value> {
        let texts: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        if self.attempt == 0
            && let Some(settled) = words::settled(&texts)
        {
            return Some(settled.into());
        }
        let useful: Vec<&Value> = choices.iter().filter(|choice| !choice.is_null()).collect();
        let turn = if self.attempt == 0 { 0 } else { self.turn(name) };
        useful.get(turn % useful.len().max(1)).map(|choice| (*choice).clone())
    }

    /// Whether the schema's own example serves: the right type, scalar, and no identity that must differ.
    fn usable(&self, name: &str, example: &Value, flat: &Flat<'_>) -> bool {
        let lower = name.to_ascii_lowercase();
        let timely = self.fill == Fill::Created && flat.format == Some("date-time");
        let identity = timely || matches!(lower.as_str(), "id" | "uuid" | "href" | "name" | "code");
        let scalars = match example {
            Value::Array(items) => {
                !items.is_empty() && items.iter().all(|item| !item.is_object() && !item.is_array())
            }
            Value::Object(_) | Value::Null => false,
            _ => true,
        };
        self.attempt < 3 && !identity && scalars && flat.allows(example) && within(flat, example)
    }

    fn object(&self, view: View<'_>, flat: &Flat<'_>, depth: usize) -> Map<String, Value> {
        let mut object = Map::new();
        if depth > DEEPEST {
            return object;
        }
        for (name, schema) in &flat.properties {
            let required = flat.required.contains(name);
            if required || self.wanted(name, view.of(schema), depth) {
                object.insert((*name).to_owned(), self.value(view.of(schema), name, depth + 1));
            }
        }
        for name in &flat.required {
            if !object.contains_key(*name) {
                let made = flat
                    .additional
                    .map_or_else(|| "practice".into(), |schema| self.value(view.of(schema), name, depth + 1));
                object.insert((*name).to_owned(), made);
            }
        }
        for (name, schema) in &flat.properties {
            if object.len() >= flat.min_properties {
                break;
            }
            if !object.contains_key(*name) {
                object.insert((*name).to_owned(), self.value(view.of(schema), name, depth + 1));
            }
        }
        if object.len() < flat.min_properties {
            let schema = flat.additional.map(|schema| view.of(schema));
            for number in object.len()..flat.min_properties {
                let made =
                    schema.map_or_else(|| "practice".into(), |view| self.value(view, "value", depth + 1));
                object.insert(format!("key{number}"), made);
            }
        }
        object
    }

    fn wanted(&self, name: &str, view: View<'_>, depth: usize) -> bool {
        let unhappy = matches!(name, "error" | "errors") || name.starts_with("deleted");
        let unhappy = unhappy || (self.fill == Fill::Created && name.starts_with("updated"));
        if self.fill == Fill::Required || depth >= OPTIONAL_LEVELS || self.budget.get() == 0 || unhappy {
            return false;
        }
        let flat = view.plain();
        if flat.deprecated || flat.write_only {
            return false;
        }
        self.fill == Fill::All || depth > 0 || flat.read_only || assigned(name)
    }

    fn array(&self, view: View<'_>, flat: &Flat<'_>, name: &str, depth: usize) -> Vec<Value> {
        let least = flat.min_items.unwrap_or(0);
        let open = self.fill != Fill::Required && depth < OPTIONAL_LEVELS && self.budget.get() > 0;
        let count = least.max(usize::from(open)).min(flat.max_items.unwrap_or(usize::MAX)).min(50);
        if depth > DEEPEST {
            return Vec::new();
        }
        let Some(items) = flat.items.filter(|items| items.is_object()) else {
            return (0..count).map(|number| format!("practice {number}").into()).collect();
        };
        let mut made: Vec<Value> = Vec::with_capacity(count);
        for number in 0..count {
            let other = Faker {
                index: self.index + number,
                budget: Cell::new(self.budget.get()),
                trail: Cell::new(self.trail.get()),
                attempt: if flat.unique { self.attempt + number } else { self.attempt },
                ..*self
            };
            made.push(other.value(view.of(items), name, depth + 1));
            self.budget.set(other.budget.get());
        }
        made
    }

    /// A text of the format, the pattern, the length.
    fn text(&self, flat: &Flat<'_>, name: &str) -> String {
        let place = words::hash(self.noun, self.seed ^ self.trail.get()).wrapping_add(self.index as u64);
        let mut text = match flat.format {
            Some("uuid") => words::uuid(place),
            Some("date-time") => self.now.to_owned(),
            Some("date") => self.now.get(..10).unwrap_or("2026-01-15").to_owned(),
            Some("time") => "09:00:00Z".to_owned(),
            Some("duration") => "PT1H".to_owned(),
            Some("email" | "idn-email") => "ops@example.com".to_owned(),
            Some("uri" | "url" | "iri" | "uri-reference" | "iri-reference") => {
                format!("https://practice.example/{}/{}", self.noun, self.index + 1)
            }
            Some("hostname" | "idn-hostname") => "practice.example".to_owned(),
            Some("ipv4" | "ip") => format!("192.0.2.{}", 10 + self.index % 200),
            Some("ipv6") => format!("2001:db8::{:x}", 10 + self.index % 200),
            Some("byte") => "cHJhY3RpY2U=".to_owned(),
            Some("json-pointer") => "/name".to_owned(),
            Some("password") => "practice-password".to_owned(),
            _ => {
                let word = match name {
                    "uuid" => words::uuid(place),
                    _ => words::text(name, self.noun, self.index),
                };
                let variant = self.index + self.attempt;
                let fitting = flat.pattern.and_then(|source| pattern::word_or_sample(source, &word, variant));
                fitting.unwrap_or(word)
            }
        };
        if text.is_empty() && flat.pattern.is_none() {
            self.now.clone_into(&mut text);
        }
        fit_length(text, flat)
    }
}

/// Whether a property is one that a server assigns.
fn assigned(name: &str) -> bool {
    matches!(
        name,
        "uuid"
            | "id"
            | "href"
            | "state"
            | "status"
            | "changeLog"
            | "account"
            | "operation"
            | "direction"
            | "isRemote"
            | "equinixAsn"
            | "createdDateTime"
            | "createdAt"
            | "created"
            | "created_at"
            | "etag"
    )
}

/// Whether a scalar example keeps the bounds that are easily overlooked.
fn within(flat: &Flat<'_>, example: &Value) -> bool {
    match example {
        Value::String(text) => {
            let length = text.chars().count();
            let long_enough = flat.min_length.is_none_or(|least| length >= least);
            let matches = flat
                .pattern
                .is_none_or(|pattern| regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)));
            let formed = match flat.format {
                Some("uuid") => uuid::Uuid::parse_str(text).is_ok(),
                Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
                _ => true,
            };
            long_enough && matches && formed && flat.max_length.is_none_or(|most| length <= most)
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            flat.minimum.is_none_or(|least| number >= least) && flat.maximum.is_none_or(|most| number <= most)
        }
        Value::Array(items) => {
            flat.min_items.is_none_or(|least| items.len() >= least)
                && flat.max_items.is_none_or(|most| items.len() <= most)
        }
        _ => true,
    }
}

/// Pads or cuts a text to the schema's length.
pub(super) fn fit_length(mut text: String, flat: &Flat<'_>) -> String {
    if let Some(most) = flat.max_length {
        text = text.chars().take(most).collect();
    }
    let missing = flat.min_length.unwrap_or(0).saturating_sub(text.chars().count()).min(65_536);
    text.extend(std::iter::repeat_n('x', missing));
    text
}

/// A number within the schema's bounds.
pub(super) fn number(flat: &Flat<'_>, name: &str, index: usize) -> Value {
    clamp(flat, words::number(name, index))
}

/// The number nearest to `wish` within the schema's bounds.
pub(super) fn clamp(flat: &Flat<'_>, wish: f64) -> Value {
    let whole = flat.main_type() == Some("integer");
    let step = if whole { 1.0 } else { 0.001 };
    let mut number = wish;
    if let Some(most) = flat.maximum {
        number = number.min(most);
    }
    if let Some(bound) = flat.below.filter(|bound| number >= *bound) {
        number = bound - step;
    }
    if let Some(least) = flat.minimum {
        number = number.max(least);
    }
    if let Some(bound) = flat.above.filter(|bound| number <= *bound) {
        number = bound + step;
    }
    if let Some(multiple) = flat.multiple.filter(|multiple| *multiple > 0.0) {
        number = (number / multiple).ceil() * multiple;
    }
    if whole || number.fract() == 0.0 {
        #[allow(clippy::cast_possible_truncation, reason = "floats saturate")]
        return Value::from(number.round() as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::{Faker, Fill};
    use crate::json::json;
    use crate::practice::recipe::View;

    fn make(schema: &crate::json::Value, fill: Fill) -> crate::json::Value {
        Faker::new(1, "2026-01-15T09:00:00Z", fill, "port", 0).make(View::new(schema), |_| true)
    }

    #[test]
    fn a_made_value_honours_its_schema() {
        let schema = json!({
            "type": "object", "required": ["a", "b", "c", "d"],
            "properties": {
                "a": {"type": "integer", "minimum": 5, "maximum": 7},
                "b": {"type": "string", "pattern": "^EQ-\\d{7}$"},
                "c": {"enum": ["DRAFT", "ACTIVE"]},
                "d": {"type": "array", "minItems": 2, "items": {"type": "string", "format": "uuid"}},
                "e": {"type": "string"}
            }
        });
        let made = make(&schema, Fill::Required);
        assert_eq!(made["a"], 5);
        assert_eq!(made["c"], "ACTIVE");
        assert_eq!(made["d"].as_array().unwrap().len(), 2);
        assert_ne!(made["d"][0], made["d"][1]);
        assert!(made.get("e").is_none());
        assert!(make(&schema, Fill::All).get("e").is_some());
        assert_eq!(make(&schema, Fill::All), make(&schema, Fill::All));
    }

    #[test]
    fn a_cycle_ends() {
        let schema = json!({
            "$ref": "#/$defs/Node",
            "$defs": {"Node": {"type": "object", "required": ["next"], "properties": {
                "next": {"$ref": "#/$defs/Node"}, "other": {"type": "array", "items": {"$ref": "#/$defs/Node"}}
            }}}
        });
        let made = make(&schema, Fill::All);
        assert!(made["next"].is_object());
        assert!(made.to_string().len() < 100_000);
    }
}
