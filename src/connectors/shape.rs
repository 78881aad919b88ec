//! A schema that shares its parts with every other schema of the same document.
//!
//! Owns [`Shape`]. The idea: each component is converted once and kept in one table; a self-contained schema (its own
//! `$defs`, only what is reachable, no larger than a budget) is put together when somebody asks for it. What does not
//! fit the budget becomes a schema that accepts anything: the upstream still checks it.
//!
//! Must not: know what a schema says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::loose::{settle, spread};
use crate::json::{Map, Value, json};

/// Where `$ref`s of converted schemas lead.
pub(super) const DEFS: &str = "#/$defs/";
/// Levels of one bundle, summed over its parts: a chain of references cannot be longer, so that compiling and
/// checking stay within the stack.
const LEVELS: usize = 3_000;
/// What says of a schema that the empty text may not fit it; `type: string` alone does not.
const CHECKS: [&str; 9] =
    ["enum", "const", "minLength", "pattern", "format", "anyOf", "allOf", "oneOf", "not"];
/// Levels of references from the root.
const HOPS: usize = 20;
/// Levels of `allOf` that are looked into, and branches that are asked what kind they are.
const COMPOSED: usize = 8;
const BRANCHES: usize = 500;
/// What has schemas of its own.
const INSIDE: [&str; 12] = [
    "properties",
    "items",
    "allOf",
    "anyOf",
    "oneOf",
    "then",
    "else",
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "prefixItems",
    "unevaluatedItems",
];
/// Levels that are packed: `serde_json` reads back no more than 128.
const READABLE: usize = 100;

/// One schema of a document.
#[derive(Clone)]
pub struct Shape {
    root: Arc<Part>,
    table: Arc<Table>,
}

/// A converted schema and the parts it refers to.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// Nothing once it is packed.
    pub(super) value: Value,
    /// The schema, packed: thousands are kept and few are looked at, and as text they need a tenth of the room.
    pub(super) text: Option<Box<str>>,
    /// Parts it refers to, by index.
    pub(super) refs: Vec<u32>,
    /// Those among them that apply to the same value (`$ref`, `allOf`, `anyOf`…, not properties or items).
    pub(super) in_place: Vec<u32>,
    pub(super) size: usize,
    pub(super) depth: usize,
    /// Whether it accepts more than its document says.
    pub(super) loose: bool,
}

/// A part with the name it has in `$defs`.
#[derive(Debug, Clone, Default)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) part: Part,
}

/// Every part of a document; filled once, when the document has been read.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) parts: OnceLock<Vec<Named>>,
}

impl Part {
    /// The schema.
    fn whole(&self) -> Value {
        match &self.text {
            // our own text, once a value
            Some(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
            None => self.value.clone(),
        }
    }

    fn packed(&self) -> Self {
        if self.text.is_some() || self.depth > READABLE {
            return self.clone();
        }
        let text = Some(self.value.to_string().into_boxed_str());
        let (refs, in_place) = (self.refs.as_slice().to_vec(), Vec::new());
        let Self { size, depth, loose, .. } = *self;
        Self { value: Value::Null, text, refs, in_place, size, depth, loose }
    }
}

impl Shape {
    /// A schema that is self-contained already.
    pub fn of(value: Value) -> Self {
        Self::new(Part { value, ..Part::default() }, Arc::default())
    }

    pub(super) fn new(mut part: Part, table: Arc<Table>) -> Self {
        (part.size, part.depth) = measure(&part.value);
        Self { root: Arc::new(part), table }
    }

    /// The schema, with `$defs` for what it refers to: at most about a megabyte.
    pub fn value(&self) -> Value {
        self.value_within(1 << 20)
    }

    /// The schema, with `$defs` of together at most about `budget` bytes.
    pub fn value_within(&self, budget: usize) -> Value {
        let (defs, loose) = definitions(std::iter::once(self), budget);
        let mut value = self.whole();
        settle(&mut value, &|name| loose.contains(name));
        if let (Value::Object(object), false) = (&mut value, defs.is_empty()) {
            object.insert(String::from("$defs"), Value::Object(defs));
        }
        value
    }

    /// The same, but the empty text fits too (`allowEmptyValue`).
    pub(super) fn or_empty(self) -> Self {
        let said = self.root.value.as_object();
        let checked = |(key, value): (&String, &Value)| {
            key == "$ref" || (key == "type" && value != "string") || CHECKS.contains(&key.as_str())
        };
        if !said.is_some_and(|object| object.iter().any(checked)) {
            return self;
        }
        let value = json!({"anyOf": [self.root.value, {"const": ""}]});
        let part = Part {
            value,
            refs: self.root.refs.clone(),
            in_place: self.root.in_place.clone(),
            ..Part::default()
        };
        Self::new(part, self.table)
    }

    /// What a `$ref` inside of it leads to, by the parts that may be meant.
    pub(super) fn follow<'a>(&'a self, reference: &str, refs: &[u32]) -> Option<(&'a Value, &'a [u32])> {
        let name = reference.strip_prefix(DEFS)?;
        let parts = self.table.parts.get()?;
        let named = refs.iter().filter_map(|id| parts.get(*id as usize)).find(|named| named.name == name)?;
        Some((&named.part.value, &named.part.refs))
    }

    /// The schema alone: its `$ref`s lead to `#/$defs/NAME`, which [`definitions`] has.
    pub(super) fn root(&self) -> &Value {
        &self.root.value
    }

    /// The same, packed or not.
    pub(super) fn whole(&self) -> Value {
        self.root.whole()
    }

    /// What it refers to.
    pub(super) fn part(&self) -> &Part {
        &self.root
    }

    /// A look at it, without putting it together; before it is packed.
    pub(super) fn look(&self) -> Look<'_> {
        Look { value: &self.root.value, part: &self.root, table: &self.table }.settled()
    }
}

/// A place in a schema; references are followed as far as they are needed.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    value: &'a Value,
    part: &'a Part,
    table: &'a Table,
}

impl<'a> Look<'a> {
    fn settled(mut self) -> Self {
        for _ in 0..HOPS {
            let Some(name) = self.value.get("$ref").and_then(Value::as_str) else { break };
            let name = name.strip_prefix(DEFS).unwrap_or_default();
            let Some(parts) = self.table.parts.get() else { break };
            let named = self.part.refs.iter().filter_map(|id| parts.get(*id as usize));
            let Some(found) = named.into_iter().find(|named| named.name == name) else { break };
            (self.value, self.part) = (&found.part.value, &found.part);
        }
        self
    }

    /// Whether nothing is said.
    pub(super) fn is_open(self) -> bool {
        !["type", "properties", "items", "allOf", "anyOf", "oneOf"]
            .iter()
            .any(|key| self.value.get(*key).is_some())
    }

    /// Whether nothing of it, or in it, has a schema of its own.
    pub(super) fn is_leaf(self) -> bool {
        !INSIDE.iter().any(|key| self.value.get(*key).is_some())
    }

    /// Whether values may be of that kind.
    pub(super) fn is(self, kind: &str) -> bool {
        self.may_be(kind, &mut { BRANCHES })
    }

    fn may_be(self, kind: &str, left: &mut usize) -> bool {
        let said = match self.value.get("type") {
            Some(Value::String(one)) => one == kind,
            Some(Value::Array(several)) => several.iter().any(|one| one == kind),
            _ => false,
        };
        said || self.branches().any(|part| {
            let Some(less) = left.checked_sub(1) else { return false };
            *left = less;
            part.may_be(kind, left)
        })
    }

    /// What its items are.
    pub(super) fn items(self) -> Option<Self> {
        self.value.get("items").map(|value| Look { value, ..self }.settled())
    }

    /// What it may be instead.
    pub(super) fn branches(self) -> impl Iterator<Item = Self> + use<'a> {
        self.parts("anyOf").chain(self.parts("oneOf"))
    }

    /// Whether a keyword is true.
    pub(super) fn flag(self, key: &str) -> bool {
        self.value.get(key) == Some(&Value::Bool(true))
    }

    /// The same for the same place in a document.
    pub(super) fn identity(self) -> *const Value {
        std::ptr::from_ref(self.value)
    }

    /// A word about it, such as `format`.
    pub(super) fn word(self, key: &str) -> &'a str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number about it, such as `minimum`.
    pub(super) fn number(self, key: &str) -> Option<i64> {
        self.value.get(key).and_then(Value::as_i64)
    }

    /// Its properties, those of what it is put together from too.
    pub(super) fn properties(self) -> Vec<(&'a str, Look<'a>)> {
        let (mut found, mut known) = (Vec::new(), HashSet::new());
        for part in self.together() {
            let own = part.value.get("properties").and_then(Value::as_object).into_iter().flatten();
            let own = own.filter(|(name, _)| known.insert(name.as_str()));
            found.extend(own.map(|(name, value)| (name.as_str(), Look { value, ..part }.settled())));
        }
        found
    }

    /// What else of it, or of what is in it, has a schema: what it may be instead, members without a name of their own,
    /// and items; of items it is said that they are.
    pub(super) fn others(self) -> Vec<(Self, bool)> {
        let mut found = Vec::new();
        for part in self.together() {
            let one = |key: &str| part.value.get(key).into_iter();
            let list = |key: &str| part.value.get(key).and_then(Value::as_array).into_iter().flatten();
            let patterns = part.value.get("patternProperties").and_then(Value::as_object);
            let members = one("additionalProperties").chain(one("unevaluatedProperties"));
            let members = members.chain(patterns.into_iter().flat_map(|them| them.values()));
            let instead = list("anyOf").chain(list("oneOf")).chain(one("then")).chain(one("else"));
            let items = one("items").chain(list("prefixItems")).chain(one("unevaluatedItems"));
            let all =
                instead.chain(members).map(|value| (value, false)).chain(items.map(|value| (value, true)));
            found.extend(all.map(|(value, item)| (Look { value, ..part }.settled(), item)));
        }
        found
    }

    /// It and what it is put together from, in order.
    fn together(self) -> Vec<Self> {
        let mut found = Vec::new();
        self.gather(&mut found, &mut HashSet::new(), COMPOSED);
        found
    }

    fn gather(self, found: &mut Vec<Self>, seen: &mut HashSet<(*const Value, usize)>, levels: usize) {
        found.push(self);
        let Some(less) = levels.checked_sub(1) else { return };
        for part in self.parts("allOf") {
            if seen.insert((part.identity(), less)) {
                part.gather(found, seen, less);
            }
        }
    }

    fn parts(self, key: &str) -> impl Iterator<Item = Look<'a>> + use<'a> {
        let several = self.value.get(key).and_then(Value::as_array).into_iter().flatten();
        several.map(move |value| Look { value, ..self }.settled())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.whole())
    }
}

/// The `$defs` that several shapes of one document need together, nearest first, within a budget in bytes; and which of
/// them accept more than the document says, which whoever refers to them has to [`settle`].
pub(super) fn definitions<'a>(
    shapes: impl Iterator<Item = &'a Shape>,
    budget: usize,
) -> (Map<String, Value>, HashSet<&'a str>) {
    let mut taken: Vec<(u32, &'a Named, bool)> = Vec::new();
    gather(shapes, budget, |id, named, fits| taken.push((id, named, fits)));
    let opened = taken.iter().filter(|(.., fits)| !fits).map(|(id, ..)| *id).collect();
    // Those that were loose before have been settled when the document was read.
    let anew = spread(
        taken.iter().filter(|(.., fits)| *fits).map(|(id, named, _)| (*id, &*named.part.refs)),
        opened,
    );
    let loose: HashSet<&str> = taken
        .iter()
        .filter(|(id, named, _)| named.part.loose || anew.contains(id))
        .map(|(_, named, _)| named.name.as_str())
        .collect();
    let mut defs = Map::new();
    for (id, named, fits) in taken {
        let mut value = if fits { named.part.whole() } else { json!({}) };
        if anew.contains(&id) {
            settle(&mut value, &|name| loose.contains(name));
        }
        defs.insert(named.name.clone(), value);
    }
    (defs, loose)
}

/// About how many bytes several shapes of one document have together with the `$defs` that they need.
pub(super) fn weight<'a>(shapes: impl Iterator<Item = &'a Shape>, budget: usize) -> usize {
    let mut names = 0;
    let size = gather(shapes, budget, |_, named, _| names += named.name.len() + 4);
    size + names
}

/// Walks over the parts that several shapes need, nearest first, and says of each whether the budget has room for it.
fn gather<'a>(
    shapes: impl Iterator<Item = &'a Shape>,
    budget: usize,
    mut take: impl FnMut(u32, &'a Named, bool),
) -> usize {
    let mut queue: VecDeque<(u32, usize)> = VecDeque::new();
    let mut seen: HashSet<u32> = HashSet::new();
    let mut table: Option<&'a Arc<Table>> = None;
    let (mut size, mut levels) = (0_usize, 0_usize);
    for shape in shapes {
        size += shape.root.size;
        levels += shape.root.depth;
        if !shape.root.refs.is_empty() {
            table = Some(&shape.table);
        }
        queue.extend(shape.root.refs.iter().filter(|id| seen.insert(**id)).map(|id| (*id, 1)));
    }
    let Some(parts) = table.and_then(|table| table.parts.get()) else { return size };
    while let Some((id, hops)) = queue.pop_front() {
        let Some(named) = parts.get(id as usize) else { continue };
        let part = &named.part;
        let fits = size + part.size <= budget && levels + part.depth <= LEVELS && hops <= HOPS;
        if fits {
            size += part.size;
            levels += part.depth;
            queue.extend(part.refs.iter().filter(|id| seen.insert(**id)).map(|id| (*id, hops + 1)));
        } else {
            size += 2;
        }
        take(id, named, fits);
    }
    size
}

/// Packs shapes of one document when nobody looks at them before a call. What they do not lead to is not kept for their
/// sake, and what thousands of them say alike is kept once.
pub(super) fn pack(mut shapes: Vec<&mut Shape>) {
    let known = shapes.iter().find(|shape| !shape.root.refs.is_empty()).map(|shape| Arc::clone(&shape.table));
    let parts = known.as_ref().and_then(|table| table.parts.get()).map(Vec::as_slice).unwrap_or_default();
    let mut needed = vec![false; parts.len()];
    let mut next: Vec<u32> = shapes.iter().flat_map(|shape| shape.root.refs.iter().copied()).collect();
    while let Some(id) = next.pop() {
        if let Some(needed) = needed.get_mut(id as usize).filter(|needed| !**needed) {
            *needed = true;
            next.extend(&parts[id as usize].part.refs);
        }
    }
    let packed = parts.iter().zip(needed).map(|(named, needed)| {
        if needed { Named { name: named.name.clone(), part: named.part.packed() } } else { Named::default() }
    });
    let table = Arc::new(Table { parts: OnceLock::from(packed.collect::<Vec<_>>()) });
    let mut alike: HashMap<(Box<str>, Vec<u32>), Arc<Part>> = HashMap::new();
    for shape in &mut shapes {
        let part = shape.root.packed();
        shape.table = Arc::clone(&table);
        shape.root = match part.text.clone() {
            Some(text) => {
                Arc::clone(alike.entry((text, part.refs.clone())).or_insert_with(|| Arc::new(part)))
            }
            None => Arc::new(part),
        };
    }
}

/// Bytes as JSON, roughly, and levels.
pub(super) fn measure(value: &Value) -> (usize, usize) {
    match value {
        Value::Null | Value::Bool(_) => (5, 0),
        Value::Number(_) => (8, 0),
        Value::String(text) => (text.len() + 3, 0),
        Value::Array(items) => items.iter().fold((2, 1), |(size, depth), item| {
            let inner = measure(item);
            (size + inner.0 + 1, depth.max(inner.1 + 1))
        }),
        Value::Object(object) => object.iter().fold((2, 1), |(size, depth), (key, item)| {
            let inner = measure(item);
            (size + key.len() + 4 + inner.0, depth.max(inner.1 + 1))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(parts: Vec<(Value, Vec<u32>)>, root: Value, refs: Vec<u32>) -> Shape {
        let table = Arc::new(Table::default());
        let named = parts.into_iter().enumerate().map(|(index, (value, refs))| {
            let (size, depth) = measure(&value);
            Named { name: format!("P{index}"), part: Part { value, refs, size, depth, ..Part::default() } }
        });
        table.parts.set(named.collect()).unwrap();
        Shape::new(Part { value: root, refs, ..Part::default() }, table)
    }

    #[test]
    fn only_what_is_reachable_is_included_and_cycles_are_fine() {
        let parts = vec![
            (json!({"properties": {"next": {"$ref": "#/$defs/P1"}}}), vec![1]),
            (json!({"properties": {"back": {"$ref": "#/$defs/P0"}}}), vec![0]),
            (json!({"type": "string"}), vec![]),
        ];
        let value = shape(parts, json!({"$ref": "#/$defs/P0"}), vec![0]).value();
        let names: Vec<&String> = value["$defs"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["P0", "P1"]);
    }

    #[test]
    fn what_exceeds_the_budget_accepts_anything() {
        let parts = vec![
            (json!({"properties": {"next": {"$ref": "#/$defs/P1"}}}), vec![1]),
            (json!({"enum": ["x".repeat(500)]}), vec![]),
        ];
        let value = shape(parts, json!({"$ref": "#/$defs/P0"}), vec![0]).value_within(200);
        assert_eq!(value["$defs"]["P1"], json!({}));
        assert!(value["$defs"]["P0"].to_string().len() > 10);
    }

    #[test]
    fn what_is_packed_is_what_it_was() {
        let parts = vec![
            (json!({"enum": ["x".repeat(500)]}), vec![2]),
            (json!({"title": "nobody refers to it"}), vec![]),
            (json!({"title": "y"}), vec![]),
        ];
        let mut first =
            shape(parts, json!({"allOf": [{"$ref": "#/$defs/P0"}, {"$ref": "#/$defs/P2"}]}), vec![0, 2]);
        let mut again = first.clone();
        let mut deep = json!({"type": "string"});
        for _ in 0..300 {
            deep = json!({"items": deep});
        }
        let mut far = Shape::of(deep.clone());
        let before = first.value();
        pack(vec![&mut first, &mut far, &mut again]);
        assert_eq!(first.value(), before);
        assert!(far.value() == deep, "too deep to be read back");
        assert!(Arc::ptr_eq(&first.root, &again.root) && first.root.text.is_some());
        let kept = first.table.parts.get().unwrap();
        assert_eq!(kept[1].part.size + kept[1].name.len(), 0, "nobody needs it");
        let (real, weight) = (before.to_string().len(), weight(std::iter::once(&first), 10_000));
        assert!(real.abs_diff(weight) < 60, "{real} {weight}");
    }

    #[test]
    fn a_long_chain_is_cut() {
        let count = 10_000_u32;
        let parts = (0..count)
            .map(|id| (json!({"$ref": format!("{DEFS}P{}", id + 1)}), vec![id + 1]))
            .chain([(json!({}), vec![])])
            .collect();
        let value = shape(parts, json!({"$ref": "#/$defs/P0"}), vec![0]).value();
        assert!(value["$defs"].as_object().unwrap().len() <= HOPS + 1);
    }
}
