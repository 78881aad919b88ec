//! Schemas of OpenAPI 2.0, 3.0 and 3.1 -> JSON Schema 2020-12.
//!
//! Owns [`Schemas`], which keeps one converted copy of every schema that is referred to. The idea: keywords that
//! 2020-12 has are copied if their value is of the right type and dropped otherwise, because a wrong keyword must cost
//! a check and not an operation; what OpenAPI alone has is translated or dropped.
//!
//! Must not: follow references outside of [`Sources`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::keywords;
use super::refs::{Reason, Sources, Spot};
use super::words::{self, clean};
use crate::connectors::loose::{loosen, settle, trace, widen};
use crate::connectors::shape::{DEFS, Named, Part, Shape, Table, measure};
use crate::json::{Digest, Map, Value, json};
use crate::schema::Schema;

/// Whether a schema is for what is sent or for what comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    /// Read-only properties are taken out.
    Request,
    /// Everything stays.
    Response,
}

/// Schemas that are referred to, in all; and how deep one may be.
const PARTS: usize = 100_000;
const DEPTH: usize = 90;
/// How many branches of `allOf` are asked for read-only properties, and how deep.
const BRANCHES: usize = 200;
const BRANCH_LEVELS: usize = 3;

/// Every schema of a document, converted once each.
pub(super) struct Schemas<'a> {
    sources: &'a Sources,
    /// 3.1: `nullable` and boolean bounds mean nothing, siblings of `$ref` count.
    modern: bool,
    index: HashMap<(Direction, usize, String), u32>,
    names: HashSet<(Direction, String)>,
    nodes: Vec<Node<'a>>,
    done: usize,
    /// Parts that operations refer to themselves.
    roots: HashSet<u32>,
    /// As they can be matched, if they can.
    patterns: HashMap<String, Option<String>>,
    table: Arc<Table>,
}

struct Node<'a> {
    name: String,
    direction: Direction,
    spot: Spot<'a>,
    result: Result<Part, Reason>,
}

/// Where we are in a schema.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    direction: Direction,
    depth: usize,
    same_value: bool,
}

impl Place {
    fn below(self, same_value: bool) -> Self {
        Self { depth: self.depth + 1, same_value: self.same_value && same_value, ..self }
    }
}

impl<'a> Schemas<'a> {
    pub(super) fn new(sources: &'a Sources, modern: bool) -> Self {
        Self {
            sources,
            modern,
            index: HashMap::new(),
            names: HashSet::new(),
            nodes: Vec::new(),
            done: 0,
            roots: HashSet::new(),
            patterns: HashMap::new(),
            table: Arc::default(),
        }
    }

    /// The shape of a schema, and everything it refers to.
    pub(super) fn shape(&mut self, spot: Spot<'a>, direction: Direction) -> Result<Shape, Reason> {
        let part = self.part(spot, direction)?;
        self.roots.extend(&part.refs);
        while self.done < self.nodes.len() {
            let (spot, direction) = (self.nodes[self.done].spot, self.nodes[self.done].direction);
            let result = self.part(spot, direction);
            self.nodes[self.done].result = result;
            self.done += 1;
        }
        Ok(Shape::new(part, Arc::clone(&self.table)))
    }

    /// A shape of our own that refers to nothing.
    pub(super) fn plain(value: Value) -> Shape {
        Shape::of(value)
    }

    /// Closes the table; what is returned says for each part why it cannot be used, if so.
    pub(super) fn finish(self) -> Vec<Option<Reason>> {
        let mut reasons: Vec<Option<Reason>> = Vec::with_capacity(self.nodes.len());
        let mut parts: Vec<Named> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let (part, reason) = match node.result {
                Ok(part) => (part, None),
                Err(reason) => (Part::default(), Some(reason)),
            };
            reasons.push(reason);
            parts.push(Named { name: node.name, part });
        }
        spread(&parts, &mut reasons);
        // Circles are cut where operations enter them, in the order of names: the order of a document means nothing.
        let mut order: Vec<usize> = (0..parts.len()).collect();
        let entered = |id: &usize| !u32::try_from(*id).is_ok_and(|id| self.roots.contains(&id));
        order.sort_by(|one, other| {
            (entered(one), &parts[*one].name).cmp(&(entered(other), &parts[*other].name))
        });
        super::cycles::cut(&mut parts, &order);
        widen(&mut parts);
        // Nobody else fills it.
        let _ = self.table.parts.set(parts);
        reasons
    }

    fn part(&mut self, spot: Spot<'a>, direction: Direction) -> Result<Part, Reason> {
        let mut part = Part::default();
        let place = Place { file: spot.file, direction, depth: 0, same_value: true };
        part.value = self.schema(spot.value, place, &mut part, &HashSet::new())?;
        part.loose = settle(&mut part.value, &|_| false);
        for list in [&mut part.refs, &mut part.in_place] {
            list.sort_unstable();
            list.dedup();
            // By name, so that what a schema is does not depend on the order of a document.
            list.sort_by(|one, other| self.nodes[*one as usize].name.cmp(&self.nodes[*other as usize].name));
        }
        (part.size, part.depth) = measure(&part.value);
        Ok(part)
    }

    fn schema(
        &mut self,
        value: &'a Value,
        place: Place,
        part: &mut Part,
        absent: &HashSet<&'a str>,
    ) -> Result<Value, Reason> {
        if place.depth > DEPTH {
            return Err(format!("A schema is nested deeper than {DEPTH} levels."));
        }
        let Value::Object(object) = value else {
            // 3.1 has boolean schemas; anything else that is no schema restricts nothing.
            return Ok(if value == &Value::Bool(false) { Value::Bool(false) } else { json!({}) });
        };
        if let Some(Value::String(reference)) = object.get("$ref") {
            let referred = self.reference(reference, place, part)?;
            return self.beside(object, referred, place, part, absent);
        }
        let mut out = Map::new();
        self.keywords(object, place, part, absent, &mut out)?;
        Ok(Value::Object(out))
    }

    /// `$ref` with what stands beside it.
    fn beside(
        &mut self,
        object: &'a Map<String, Value>,
        referred: Value,
        place: Place,
        part: &mut Part,
        absent: &HashSet<&'a str>,
    ) -> Result<Value, Reason> {
        let mut out = Map::new();
        if let Some(text) =
            object.get("description").and_then(Value::as_str).and_then(|text| clean(text, 300))
        {
            out.insert(String::from("description"), json!(text));
        }
        if self.modern && object.len() > 1 {
            self.keywords(object, place, part, absent, &mut out)?;
        }
        if !self.modern && keywords::flag(object, "nullable") {
            out.insert(String::from("anyOf"), json!([referred, {"type": "null"}]));
        } else if let Value::Object(referred) = referred {
            out.extend(referred);
        }
        Ok(Value::Object(out))
    }

    fn reference(&mut self, reference: &str, place: Place, part: &mut Part) -> Result<Value, Reason> {
        let target = self.sources.target(place.file, reference)?;
        // A chain that only leads in a circle would keep a validator busy for ever.
        self.sources.resolve(target.spot)?;
        let key = (place.direction, target.spot.file, target.pointer);
        let id = if let Some(id) = self.index.get(&key) {
            *id
        } else {
            if self.nodes.len() >= PARTS {
                return Err(format!("The document refers to more than {PARTS} schemas."));
            }
            let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let name = self.name(&key);
            self.index.insert(key, id);
            let unread = Err(String::new());
            self.nodes.push(Node { name, direction: place.direction, spot: target.spot, result: unread });
            id
        };
        part.refs.push(id);
        if place.same_value {
            part.in_place.push(id);
        }
        Ok(json!({"$ref": format!("{DEFS}{}", self.nodes[id as usize].name)}))
    }

    /// The name in `$defs`: that of a component, or the last segment and a hash of where it is, so that it depends on
    /// nothing else in the document.
    fn name(&mut self, key: &(Direction, usize, String)) -> String {
        let (direction, file, pointer) = key;
        let path = self.sources.path(*file);
        let last = match pointer.rsplit('/').next().unwrap_or_default() {
            "" => path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("schema"),
            last => last,
        };
        let mut name: String = last
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' })
            .take(80)
            .collect();
        let home = if self.sources.root().get("swagger").is_some() {
            "/definitions/"
        } else {
            "/components/schemas/"
        };
        if *file != 0 || pointer.strip_prefix(home) != Some(&name) {
            let place = format!("{}#{pointer}", path.display());
            name = format!("{name}_{}", &Digest::of(place.as_bytes()).hex()[..8]);
        }
        while !self.names.insert((*direction, name.clone())) {
            name.push('_');
        }
        name
    }

    fn keywords(
        &mut self,
        object: &'a Map<String, Value>,
        place: Place,
        part: &mut Part,
        absent: &HashSet<&'a str>,
        out: &mut Map<String, Value>,
    ) -> Result<(), Reason> {
        let absent = &self.absent(object, place, absent);
        let mut whole = keywords::copy(object, place.direction == Direction::Request, out);
        whole &= self.pattern(object, out);
        for (key, value) in object {
            match (key.as_str(), value) {
                ("properties", Value::Object(list)) => {
                    let mut properties = Map::new();
                    for (name, schema) in list.iter().filter(|(name, _)| !absent.contains(name.as_str())) {
                        if showable(name) {
                            let schema = self.schema(schema, place.below(false), part, &HashSet::new())?;
                            properties.insert(name.clone(), schema);
                        } else {
                            whole = false;
                        }
                    }
                    out.insert(key.clone(), Value::Object(properties));
                }
                ("patternProperties", Value::Object(list)) => {
                    let mut patterns = Map::new();
                    for (pattern, schema) in list {
                        if let Some(pattern) = self.usable(pattern) {
                            let schema = self.schema(schema, place.below(false), part, &HashSet::new())?;
                            patterns.insert(pattern, schema);
                        } else {
                            whole = false;
                        }
                    }
                    out.insert(key.clone(), Value::Object(patterns));
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(list)) if !list.is_empty() => {
                    let mut branches = Vec::with_capacity(list.len());
                    for branch in list {
                        branches.push(self.schema(branch, place.below(true), part, absent)?);
                    }
                    out.insert(key.clone(), Value::Array(branches));
                }
                ("prefixItems" | "items", Value::Array(list)) if !list.is_empty() => {
                    let mut items = Vec::with_capacity(list.len());
                    for item in list {
                        items.push(self.schema(item, place.below(false), part, &HashSet::new())?);
                    }
                    out.insert(String::from("prefixItems"), Value::Array(items));
                }
                ("not" | "if" | "then" | "else", Value::Object(_) | Value::Bool(_)) => {
                    let schema = self.schema(value, place.below(true), part, absent)?;
                    out.insert(key.clone(), schema);
                }
                (
                    "items"
                    | "contains"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "unevaluatedItems"
                    | "propertyNames",
                    Value::Object(_) | Value::Bool(_),
                ) => {
                    // Names that are not known for want of what was dropped must not be refused.
                    if key == "additionalProperties" && !self.knows_names(object) {
                        continue;
                    }
                    let schema = self.schema(value, place.below(false), part, &HashSet::new())?;
                    // Refusing every name, those of the branches too, is never what was meant.
                    let blind = key == "additionalProperties"
                        && *value == Value::Bool(false)
                        && !object.contains_key("properties")
                        && ["allOf", "anyOf", "oneOf"].iter().any(|group| object.contains_key(*group));
                    let key = if blind { "unevaluatedProperties" } else { key.as_str() };
                    out.insert(key.to_owned(), schema);
                }
                ("dependentRequired" | "dependentSchemas" | "$dynamicRef", _) => whole &= !self.modern,
                _ => {}
            }
        }
        if !whole {
            loosen(out);
        }
        keywords::require(object, absent, out);
        if !self.modern {
            keywords::older(object, out);
        }
        Ok(())
    }

    /// Read-only properties, here and in the branches of `allOf`: a request has none of them.
    fn absent(
        &self,
        object: &'a Map<String, Value>,
        place: Place,
        outer: &HashSet<&'a str>,
    ) -> HashSet<&'a str> {
        let mut absent = outer.clone();
        if place.direction == Direction::Request {
            self.read_only(object, place.file, &mut absent);
        }
        absent
    }

    /// The nearest branches first, and not without end: a schema that is composed of more has some that are asked for in
    /// vain.
    fn read_only(&self, object: &'a Map<String, Value>, file: usize, out: &mut HashSet<&'a str>) {
        let mut waiting = VecDeque::from([(object, file, BRANCH_LEVELS)]);
        let (mut seen, mut left) = (HashSet::new(), BRANCHES);
        while let Some((object, file, levels)) = waiting.pop_front() {
            if let Some(Value::Object(properties)) = object.get("properties") {
                for (name, schema) in properties {
                    let own = schema.as_object().is_some_and(|schema| keywords::flag(schema, "readOnly"));
                    let referred = || {
                        schema.get("$ref").is_some()
                            && self.sources.resolve(Spot { file, value: schema }).is_ok_and(|spot| {
                                spot.value
                                    .as_object()
                                    .is_some_and(|schema| keywords::flag(schema, "readOnly"))
                            })
                    };
                    if own || referred() {
                        out.insert(name);
                    }
                }
            }
            let Some(levels) = levels.checked_sub(1) else { continue };
            for branch in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                let Some(less) = left.checked_sub(1) else { break };
                left = less;
                if let Ok(Spot { file, value: Value::Object(branch) }) =
                    self.sources.resolve(Spot { file, value: branch })
                    && seen.insert(std::ptr::from_ref(branch))
                {
                    waiting.push_back((branch, file, levels));
                }
            }
        }
    }

    /// Whether every property and every pattern of them is kept.
    fn knows_names(&mut self, object: &'a Map<String, Value>) -> bool {
        let names = |key: &str, known: &mut dyn FnMut(&str) -> bool| {
            let names = object.get(key).and_then(Value::as_object);
            names.is_none_or(|names| names.keys().all(|name| known(name)))
        };
        names("properties", &mut showable)
            && names("patternProperties", &mut |pattern| self.usable(pattern).is_some())
    }

    /// `pattern`, if it can be matched in linear time; false if it cannot.
    fn pattern(&mut self, object: &'a Map<String, Value>, out: &mut Map<String, Value>) -> bool {
        let Some(Value::String(pattern)) = object.get("pattern") else { return true };
        if let Some(pattern) = self.usable(pattern) {
            out.insert(String::from("pattern"), json!(pattern));
            return true;
        }
        let note = super::UNCHECKED_PATTERN;
        let text = out.get("description").and_then(Value::as_str);
        let text = text.map_or_else(|| String::from(note), |text| format!("{text} {note}"));
        out.insert(String::from("description"), json!(text));
        false
    }

    /// A pattern as it can be matched, if it can.
    fn usable(&mut self, pattern: &str) -> Option<String> {
        if let Some(known) = self.patterns.get(pattern) {
            return known.clone();
        }
        let compiles = |pattern: &str| Schema::compile(&json!({"pattern": pattern})).is_ok();
        let plain = [pattern.to_owned(), keywords::literal_braces(pattern)];
        let usable = plain.into_iter().find(|pattern| pattern.len() <= 2_000 && compiles(pattern));
        if self.patterns.len() < 10_000 {
            self.patterns.insert(pattern.to_owned(), usable.clone());
        }
        usable
    }
}

/// Whether the name of a property can be shown to a model.
fn showable(name: &str) -> bool {
    name.len() <= 256 && !name.chars().any(words::is_hidden)
}

/// A part that refers to one that cannot be used cannot be used either.
fn spread(parts: &[Named], reasons: &mut [Option<Reason>]) {
    let bad = (0_u32..).zip(&*reasons).filter(|(_, reason)| reason.is_some()).map(|(id, _)| id).collect();
    let refs = (0_u32..).zip(parts).map(|(id, named)| (id, named.part.refs.as_slice()));
    trace(refs, bad, |used, user| {
        let fresh = reasons[user as usize].is_none();
        if fresh {
            let reason = reasons[used as usize].clone();
            reasons[user as usize] = reason;
        }
        fresh
    });
}
