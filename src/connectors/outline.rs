//! What an answer should look like, in short.
//!
//! Owns [`Outline`] and [`Outline::departures`]. The idea: an upstream's answer is taken as it comes, but whoever works
//! with it should know where it is not what its document says; kinds of values and what must be there are enough for
//! that, and small enough to be kept for every operation.
//!
//! Must not: refuse an answer, or repeat a value of it.

use std::sync::Arc;

use super::shape::Shape;
use crate::json::{Map, Value, pointer};

/// Levels, members in all, and references from one to the next, of one outline.
const LEVELS: usize = 4;
const MEMBERS: usize = 64;
const CHAIN: usize = 8;
/// Items of a list that are looked at, and departures that are told.
const ITEMS: usize = 100;
const TOLD: usize = 8;

/// The kinds of values a schema allows, and what is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// One bit for each of [`KINDS`]; none means any.
    kinds: u8,
    required: Vec<Arc<str>>,
    members: Vec<(Arc<str>, Outline)>,
    items: Option<Box<Outline>>,
}

const KINDS: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
const NULL: u8 = 1;
const INTEGER: u8 = 4;
const NUMBER: u8 = 8;
const ARRAY: u8 = 32;
const OBJECT: u8 = 64;

impl Outline {
    /// The outline of a schema; nothing where the schema says nothing that an outline holds.
    pub(super) fn of(shape: &Shape) -> Option<Self> {
        let mut left = MEMBERS;
        let outline = read(shape, (shape.root(), &shape.part().refs), LEVELS, &mut left);
        (outline != Self::default()).then_some(outline)
    }

    /// Where a value is not what this says: JSON Pointers and what is wrong there, the first few.
    pub(super) fn departures(&self, value: &Value) -> Vec<String> {
        let mut out = Vec::new();
        self.compare(value, &mut String::new(), &mut out);
        out
    }

    fn compare(&self, value: &Value, at: &mut String, out: &mut Vec<String>) {
        if out.len() >= TOLD {
            return;
        }
        let place = |at: &str| if at.is_empty() { String::from("the answer") } else { at.to_owned() };
        let kind = kind(value);
        if self.kinds != 0 && self.kinds & kind == 0 {
            let wanted: Vec<&str> = names(self.kinds).collect();
            let found = names(kind).next().unwrap_or_default();
            out.push(format!("{} should be {}, not {found}", place(at), wanted.join(" or ")));
            return;
        }
        match value {
            Value::Object(object) => {
                for name in &self.required {
                    if !object.contains_key(&**name) && out.len() < TOLD {
                        out.push(format!("{} has no {name}", place(at)));
                    }
                }
                for (name, outline) in &self.members {
                    if let Some(member) = object.get(&**name) {
                        within(at, name, |at| outline.compare(member, at, out));
                    }
                }
            }
            Value::Array(list) => {
                let Some(outline) = &self.items else { return };
                for (index, item) in list.iter().take(ITEMS).enumerate() {
                    within(at, &index.to_string(), |at| outline.compare(item, at, out));
                }
            }
            _ => {}
        }
    }
}

fn within(at: &mut String, step: &str, inside: impl FnOnce(&mut String)) {
    let length = at.len();
    at.push('/');
    at.push_str(&pointer::escaped(step));
    inside(at);
    at.truncate(length);
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => 2,
        Value::Number(number) => {
            let whole = number.is_i64()
                || number.is_u64()
                || number.as_f64().is_some_and(|float| float.fract() == 0.0);
            // A whole number is a number, too.
            if whole { INTEGER } else { NUMBER }
        }
        Value::String(_) => 16,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

fn names(kinds: u8) -> impl Iterator<Item = &'static str> {
    KINDS.iter().enumerate().filter(move |(bit, _)| kinds & (1 << bit) != 0).map(|(_, name)| *name)
}

type Spot<'a> = (&'a Value, &'a [u32]);

fn read<'a>(shape: &'a Shape, spot: Spot<'a>, levels: usize, left: &mut usize) -> Outline {
    let mut outline = Outline::default();
    let Some(levels) = levels.checked_sub(1) else { return outline };
    let Some((Value::Object(object), refs)) = target(shape, spot) else { return outline };
    outline.kinds = kinds(object);
    // Of several shapes any may be meant; only "this or nothing" is clear.
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(branches)) = object.get(key) else { continue };
        let (nothing, rest): (Vec<&Value>, Vec<&Value>) =
            branches.iter().partition(|branch| branch.get("type").is_some_and(|kind| kind == "null"));
        if let ([only], false) = (rest.as_slice(), nothing.is_empty()) {
            let Some(less) = left.checked_sub(1) else { return outline };
            *left = less;
            let mut inner = read(shape, (*only, refs), levels + 1, left);
            inner.kinds |= if inner.kinds == 0 { 0 } else { NULL };
            return inner;
        }
        return outline;
    }
    if let Some(Value::Array(branches)) = object.get("allOf") {
        for branch in branches {
            let Some(less) = left.checked_sub(1) else { return outline };
            *left = less;
            let inner = read(shape, (branch, refs), levels + 1, left);
            outline.kinds = if outline.kinds == 0 { inner.kinds } else { outline.kinds };
            outline.required.extend(inner.required);
            outline.members.extend(inner.members);
            outline.items = outline.items.or(inner.items);
        }
    }
    members(shape, (object, refs), levels, left, &mut outline);
    outline
}

fn members<'a>(
    shape: &'a Shape,
    (object, refs): (&'a Map<String, Value>, &'a [u32]),
    levels: usize,
    left: &mut usize,
    outline: &mut Outline,
) {
    let properties = object.get("properties").and_then(Value::as_object);
    // What is only written need not come back.
    let unseen = |name: &str| {
        let member = properties.and_then(|properties| properties.get(name));
        member.is_some_and(|member| member.get("writeOnly") == Some(&Value::Bool(true)))
    };
    let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str).filter(|name| !unseen(name)) {
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        outline.required.push(Arc::from(name));
    }
    for (name, member) in properties.into_iter().flatten() {
        let Some(less) = left.checked_sub(1) else { return };
        *left = less;
        let inner = read(shape, (member, refs), levels, left);
        if inner != Outline::default() {
            outline.members.push((Arc::from(name.as_str()), inner));
        }
    }
    if let Some(items) = object.get("items") {
        let inner = read(shape, (items, refs), levels, left);
        outline.items = (inner != Outline::default()).then(|| Box::new(inner));
    }
}

fn target<'a>(shape: &'a Shape, mut spot: Spot<'a>) -> Option<Spot<'a>> {
    for _ in 0..CHAIN {
        match spot.0.get("$ref") {
            Some(Value::String(reference)) => spot = shape.follow(reference, spot.1)?,
            _ => return Some(spot),
        }
    }
    None
}

fn kinds(object: &Map<String, Value>) -> u8 {
    let one = |name: &str| KINDS.iter().position(|kind| *kind == name).map_or(0, |bit| 1_u8 << bit);
    let said = match object.get("type") {
        Some(Value::String(name)) => one(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(one).fold(0, |all, bit| all | bit)
        }
        _ => 0,
    };
    if said & NUMBER != 0 { said | INTEGER } else { said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn departures(schema: Value, value: &Value) -> Vec<String> {
        Outline::of(&Shape::of(schema)).unwrap_or_default().departures(value)
    }

    #[test]
    fn what_fits_departs_from_nothing() {
        let schema = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"},
            "price": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}},
            "owner": {"anyOf": [{"type": "object", "required": ["name"]}, {"type": "null"}]},
            "any": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}});
        for value in [
            json!({"id": 1.0, "price": 2, "tags": [], "owner": null, "any": []}),
            json!({"id": 1, "owner": {"name": "x"}, "more": true}),
        ] {
            assert_eq!(departures(schema.clone(), &value), Vec::<String>::new(), "{value}");
        }
    }

    #[test]
    fn departures_are_named_by_their_place_and_hold_no_value() {
        let schema = json!({"type": "array", "items": {"allOf": [{"type": "object", "required": ["id", "a/b", "pass"],
            "properties": {"id": {"type": "string"}, "pass": {"type": "string", "writeOnly": true}}}]}});
        let told = departures(schema.clone(), &json!([{"id": 7, "a/b": 1}, {"id": "x"}, "hunter2"]));
        assert_eq!(
            told,
            ["/0/id should be string, not integer", "/1 has no a/b", "/2 should be object, not string"]
        );
        assert_eq!(departures(schema.clone(), &json!({})), ["the answer should be array, not object"]);
        let many: Vec<Value> = (0..1_000).map(|at| json!(at)).collect();
        assert_eq!(departures(schema, &json!(many)).len(), TOLD);
    }
}
