//! Which parts of a result somebody wants to see.
//!
//! Owns [`Pattern`] (what is noise), [`Paths`] (what is asked for) and what is said of a path that leads nowhere. The
//! idea: a path is names between dots, and goes through lists by itself; a name that has a dot is written as a JSON
//! Pointer. All of it happens to data that has been redacted, so nothing shows that would not show without it.
//!
//! Must not: repeat in an error what a caller wrote.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json, pointer};

/// Names that one path may have.
const LONGEST: usize = 32;
/// Paths that are looked at for one that is near, and levels of them.
const LOOKED_AT: usize = 400;
const LEVELS: usize = 8;
/// Names that a sentence offers.
const OFFERED: usize = 6;

/// Members that are noise: `_links`, `data.href`, `**.href`; `*` stands for any name, `**` for any way down. A name with a
/// dot is written as a JSON Pointer, after `**` if it may be anywhere: `**/@odata.etag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Any,
    Deep,
}

impl Pattern {
    /// Reads a pattern; none if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let anywhere = text.strip_prefix("**").filter(|rest| rest.starts_with('/'));
        let text = anywhere.unwrap_or(text);
        let pointer = text.starts_with('/');
        let steps = names(text)?.into_iter().map(|name| match name.as_str() {
            "*" if !pointer => Step::Any,
            "**" if !pointer => Step::Deep,
            _ => Step::Name(name),
        });
        let steps: Vec<Step> = anywhere.map(|_| Step::Deep).into_iter().chain(steps).collect();
        (steps.last() != Some(&Step::Deep)).then_some(Self(steps))
    }
}

/// Adds the argument that asks for parts of a result to a schema, and returns its name: one that nothing has.
pub fn choose(schema: &mut Value) -> Option<String> {
    let properties = schema.get_mut("properties")?.as_object_mut()?;
    let free = |name: &&str| !properties.contains_key(*name);
    let name = ["fields", "select", "result_fields"].into_iter().find(free)?.to_owned();
    let list = json!({
        "type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 300}, "maxItems": 100,
        "description": "Only these parts of the result, such as data.name; lists are gone through."
    });
    properties.insert(name.clone(), list);
    Some(name)
}

/// Takes what is noise out of a value, and says how many members that were.
pub(super) fn drop(value: &mut Value, noise: &[Pattern]) -> usize {
    noise.iter().map(|pattern| drop_steps(value, &pattern.0)).sum()
}

fn drop_steps(value: &mut Value, steps: &[Step]) -> usize {
    match value {
        Value::Array(items) => items.iter_mut().map(|item| drop_steps(item, steps)).sum(),
        Value::Object(members) => match steps {
            [] => 0,
            [Step::Deep, rest @ ..] => {
                let here = drop_members(members, rest);
                here + members.values_mut().map(|member| drop_steps(member, steps)).sum::<usize>()
            }
            steps => drop_members(members, steps),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn drop_members(members: &mut Map<String, Value>, steps: &[Step]) -> usize {
    let before = members.len();
    match steps {
        [Step::Name(name)] => usize::from(members.shift_remove(name).is_some()),
        [Step::Any] => {
            members.clear();
            before
        }
        [Step::Name(name), rest @ ..] => members.get_mut(name).map_or(0, |member| drop_steps(member, rest)),
        [Step::Any, rest @ ..] => members.values_mut().map(|member| drop_steps(member, rest)).sum(),
        [Step::Deep, ..] | [] => 0,
    }
}

/// Takes out members that say nothing: null, and empty texts, lists and objects. An empty list of the result itself says
/// that nothing was found, and stays.
pub(super) fn prune(value: &mut Value) -> usize {
    prune_members(value, |member| is_nothing(member) && !member.is_array())
}

fn prune_members(value: &mut Value, goes: fn(&Value) -> bool) -> usize {
    match value {
        Value::Array(items) => items.iter_mut().map(|item| prune_members(item, is_nothing)).sum(),
        Value::Object(members) => {
            let inner: usize = members.values_mut().map(|member| prune_members(member, is_nothing)).sum();
            let before = members.len();
            members.retain(|_, member| !goes(member));
            inner + before - members.len()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The names of a path: between dots, or of a JSON Pointer.
fn names(text: &str) -> Option<Vec<String>> {
    let names: Vec<String> = match text.strip_prefix('/') {
        Some(rest) => rest.split('/').map(pointer::plain).collect(),
        // lists are gone through anyway, so that whoever says so is understood
        None => text.split('.').map(|name| name.strip_suffix("[]").unwrap_or(name).to_owned()).collect(),
    };
    let fine = names.len() <= LONGEST && names.iter().all(|name| !name.is_empty());
    fine.then_some(names)
}

/// A path as it is written.
pub(super) fn path(names: &[String]) -> String {
    if names.iter().all(|name| !name.contains(['.', '/']) && !name.is_empty()) {
        return names.join(".");
    }
    let step = |name: &String| format!("/{}", pointer::escaped(name));
    names.iter().map(step).collect()
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths(Vec<Vec<String>>);

/// Paths joined where they go the same way.
#[derive(Default)]
struct Tree {
    whole: bool,
    below: Vec<(String, Tree)>,
}

impl Tree {
    fn add(&mut self, names: &[String]) {
        let Some((first, rest)) = names.split_first() else {
            self.whole = true;
            return;
        };
        let place = self.below.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
            self.below.push((first.clone(), Self::default()));
            self.below.len() - 1
        });
        self.below[place].1.add(rest);
    }

    fn keep(&self, value: &mut Value) {
        if self.whole {
            return;
        }
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.keep(item)),
            Value::Object(members) => members.retain(|name, member| {
                let wanted = self.below.iter().find(|(known, _)| known == name);
                wanted.inspect(|(_, tree)| tree.keep(member)).is_some()
            }),
            // the path goes on where nothing is
            other => *other = Value::Null,
        }
    }
}

impl Paths {
    /// Reads what a caller asks for; empty means everything.
    pub(super) fn read(asked: &Value) -> Result<Self> {
        let texts = asked.as_array().into_iter().flatten();
        let paths = texts.enumerate().map(|(index, text)| {
            text.as_str().and_then(names).ok_or_else(|| {
                let message = format!(
                    "Entry {} of `fields` is no path: write names with dots between them, such as data.name, without [].",
                    index + 1
                );
                Error::new(Kind::BadArguments, message)
            })
        });
        paths.collect::<Result<_>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a path that a schema of the result does not have.
    pub(super) fn check(&self, schema: &Value) -> Result<()> {
        for (index, path) in self.0.iter().enumerate() {
            let Err(near) = walk(schema, schema, path, &mut Vec::new(), 0) else { continue };
            let names = near_by(path, near);
            let message = format!(
                "Entry {} of `fields` names nothing that this tool's results have{}",
                index + 1,
                offer(&names)
            );
            return Err(Error::new(Kind::BadArguments, message).with_detail(json!({"near": names})));
        }
        Ok(())
    }

    /// Leaves only what is asked for. Paths that lead nowhere are said in a sentence, with names that are near; the flag
    /// says whether all of them do, and then the value stays as it was.
    pub(super) fn apply(&self, value: &mut Value) -> Option<(String, bool)> {
        let lost: Vec<usize> = (0..self.0.len()).filter(|index| !is_there(value, &self.0[*index])).collect();
        let said = lost.first().map(|first| {
            let mut all = BTreeSet::new();
            gather(value, &mut Vec::new(), &mut all);
            let near = near_by(&self.0[*first], all.into_iter().collect());
            let which: Vec<String> = lost.iter().map(|index| (index + 1).to_string()).collect();
            let which = which.join(", ");
            let entries = if lost.len() == 1 { "Entry" } else { "Entries" };
            let names = if lost.len() == 1 { "names" } else { "name" };
            format!("{entries} {which} of `fields` {names} nothing in this result{}", offer(&near))
        });
        let all = lost.len() == self.0.len();
        if !all {
            let mut tree = Tree::default();
            self.0.iter().for_each(|path| tree.add(path));
            tree.keep(value);
        }
        said.map(|said| (said, all))
    }
}

/// How much is in a value: whatever goes out of it, this is less afterwards.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Array(items) => items.iter().map(|item| 1 + weight(item)).sum::<usize>() + 1,
        Value::Object(members) => members.values().map(|member| 1 + weight(member)).sum::<usize>() + 1,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn offer(names: &[String]) -> String {
    if names.is_empty() { String::from(".") } else { format!("; there are: {}.", names.join(", ")) }
}

/// Whether a path leads anywhere. A list without items may have anything in it, and so may null.
fn is_there(value: &Value, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match value {
        Value::Array(items) => items.is_empty() || items.iter().any(|item| is_there(item, path)),
        Value::Object(members) => members.get(first).is_some_and(|member| is_there(member, rest)),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Every path there is, as far as it is worth looking.
fn gather(value: &Value, path: &mut Vec<String>, all: &mut BTreeSet<Vec<String>>) {
    match value {
        Value::Array(items) => items.iter().take(20).for_each(|item| gather(item, path, all)),
        Value::Object(members) => {
            for (name, member) in members {
                if all.len() >= LOOKED_AT || path.len() >= LEVELS || name.len() > 100 {
                    continue;
                }
                path.push(name.clone());
                all.insert(path.clone());
                gather(member, path, all);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The paths that may have been meant, nearest first; the shortest where none is near.
fn near_by(meant: &[String], mut all: Vec<Vec<String>>) -> Vec<String> {
    let (whole, last) = (path(meant).to_lowercase(), meant.last().map(|name| name.to_lowercase()));
    let likeness = |names: &Vec<String>| {
        let own = names.last().map(|name| name.to_lowercase()).unwrap_or_default();
        let ends = last.as_deref().map_or(0.0, |last| strsim::jaro_winkler(last, &own));
        ends.max(strsim::jaro_winkler(&whole, &path(names).to_lowercase()))
    };
    let mut near: Vec<(f64, Vec<String>)> =
        all.iter().map(|names| (likeness(names), names.clone())).collect();
    near.retain(|(likeness, _)| *likeness > 0.8);
    near.sort_by(|(left, one), (right, other)| {
        right.total_cmp(left).then(one.len().cmp(&other.len())).then(one.cmp(other))
    });
    if near.is_empty() {
        all.sort_by(|one, other| one.len().cmp(&other.len()).then(one.cmp(other)));
        return all.iter().take(OFFERED).map(|names| path(names)).collect();
    }
    near.iter().take(OFFERED).map(|(_, names)| path(names)).collect()
}

/// Whether a schema has a path, or says nothing about it; else the paths that it has at that place.
fn walk(
    root: &Value,
    schema: &Value,
    rest: &[String],
    before: &mut Vec<String>,
    hops: usize,
) -> Result<(), Vec<Vec<String>>> {
    let Some((first, deeper)) = rest.split_first() else { return Ok(()) };
    if hops > 64 {
        return Ok(());
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Ok(()), |target| walk(root, target, rest, before, hops + 1));
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        return walk(root, items, rest, before, hops + 1);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(member) = properties.and_then(|properties| properties.get(first)) {
        before.push(first.clone());
        let walked = walk(root, member, deeper, before, hops + 1);
        before.pop();
        return walked;
    }
    let ways = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten();
    let mut names: Vec<Vec<String>> = properties
        .into_iter()
        .flatten()
        .map(|(name, _)| before.iter().cloned().chain([name.clone()]).collect())
        .collect();
    let mut any = false;
    for way in ways {
        any = true;
        match walk(root, way, rest, before, hops + 1) {
            Ok(()) => return Ok(()),
            Err(more) => names.extend(more),
        }
    }
    let open = match schema.get("additionalProperties") {
        Some(Value::Bool(open)) => *open,
        Some(_) => true,
        None => false,
    };
    let closed = properties.is_some() || any || is_plain(schema);
    if open || !closed { Ok(()) } else { Err(names) }
}

/// Whether a schema is of something that has no members.
fn is_plain(schema: &Value) -> bool {
    matches!(schema.get("type").and_then(Value::as_str), Some("string" | "number" | "integer" | "boolean"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(texts: &[&str]) -> Paths {
        Paths::read(&json!(texts)).unwrap()
    }

    #[test]
    fn noise_goes_wherever_its_pattern_leads() {
        let thing = json!({"href": 1, "_links": {}, "data": [{"href": 2, "a": {"href": 3, "b": 4}}, 5], "x": {"y": {"z": 6}}});
        let without = |patterns: &[&str]| {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
            let mut value = thing.clone();
            let count = drop(&mut value, &patterns);
            (count, value)
        };
        let deep = json!({"data": [{"a": {"b": 4}}, 5], "x": {"y": {"z": 6}}});
        assert_eq!(without(&["**.href", "_links"]), (4, deep));
        assert_eq!(without(&["data.href"]).0, 1);
        assert_eq!(without(&["x.*.z"]).1["x"], json!({"y": {}}));
        assert_eq!(without(&["x.*"]).1["x"], json!({}));
        assert_eq!(without(&["/data/a/b"]).1["data"][0]["a"], json!({"href": 3}));
        assert_eq!(without(&["nothing.at.all"]), (0, thing.clone()));
        let dotted = json!({"@odata.etag": 1, "value": [{"@odata.etag": 2, "a": {"b.c/d": 3, "e": 4}}]});
        let mut value = dotted;
        let patterns = ["**/@odata.etag", "**/b.c~1d", "*.**.e"].map(|text| Pattern::parse(text).unwrap());
        assert_eq!(drop(&mut value, &patterns), 4);
        assert_eq!(value, json!({"value": [{"a": {}}]}));
        for bad in ["", "a..b", "a.**", "**", ".", "a.", "**/", "**/a//b"] {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_says_nothing_is_pruned_and_items_stay() {
        let mut value = json!({"a": null, "b": "", "c": {"d": []}, "e": [null, {"f": {}}, ""], "g": 0, "h": false, "data": []});
        assert_eq!(prune(&mut value), 5);
        assert_eq!(value, json!({"e": [null, {}, ""], "g": 0, "h": false, "data": []}));
    }

    #[test]
    fn fields_are_kept_through_lists_in_the_order_of_the_result() {
        let mut value = json!({"data": [{"uuid": 1, "name": "a", "x": {"y": 2, "z": 3}}, {"name": "b"}], "page": {"n": 4}});
        assert_eq!(paths(&["data[].name", "data.x.y"]).apply(&mut value), None);
        assert_eq!(value, json!({"data": [{"name": "a", "x": {"y": 2}}, {"name": "b"}]}));
        let mut odd = json!({"a.b": {"c/d": 1, "e": 2}});
        assert_eq!(paths(&["/a.b/c~1d"]).apply(&mut odd), None);
        assert_eq!(odd, json!({"a.b": {"c/d": 1}}));
        let mut none = json!({"data": []});
        assert_eq!(paths(&["data.name"]).apply(&mut none), None, "an empty list may have anything in it");
    }

    #[test]
    fn a_path_that_leads_nowhere_is_said_with_what_is_near() {
        let mut value = json!({"data": [{"uuid": 1, "name": "a"}], "total": 1});
        let (said, all) = paths(&["data.uuid", "data.nmae"]).apply(&mut value).unwrap();
        assert!(!all && said.contains("Entry 2") && said.contains("data.name"), "{said}");
        assert_eq!(value, json!({"data": [{"uuid": 1}]}));
        let mut value = json!({"data": [{"uuid": 1, "name": "a"}]});
        let (said, all) = paths(&["name"]).apply(&mut value).unwrap();
        assert!(all && said.contains("data.name"), "{said}");
        assert_eq!(value["data"][0]["uuid"], 1);
        assert!(!paths(&["hunter2"]).apply(&mut value).unwrap().0.contains("hunter2"));
    }

    #[test]
    fn the_argument_has_a_name_that_is_free() {
        let name = |taken: &[&str]| {
            let properties: Map<String, Value> =
                taken.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
            choose(&mut json!({"properties": properties}))
        };
        assert_eq!(name(&["q"]).as_deref(), Some("fields"));
        assert_eq!(name(&["fields"]).as_deref(), Some("select"));
        assert_eq!(name(&["select", "fields"]).as_deref(), Some("result_fields"));
        assert_eq!(name(&["select", "fields", "result_fields"]), None);
    }

    #[test]
    fn a_schema_knows_which_fields_there_are() {
        let schema = json!({
            "type": "object",
            "properties": {"data": {"type": "array", "items": {"$ref": "#/$defs/Thing"}}, "free": {"type": "object"}},
            "$defs": {"Thing": {"allOf": [
                {"properties": {"name": {"type": "string"}, "self": {"$ref": "#/$defs/Thing"}}},
                {"properties": {"uuid": {"type": "string"}}}]}}
        });
        for fine in ["data", "data.name", "data.uuid", "data.self.self.name", "free.anything"] {
            assert!(paths(&[fine]).check(&schema).is_ok(), "{fine}");
        }
        let refused = paths(&["data.name", "data.nmae"]).check(&schema).unwrap_err();
        assert!(refused.message().contains("Entry 2") && refused.message().contains("data.name"));
        assert!(!refused.message().contains("nmae"));
        assert!(paths(&["data.name.first"]).check(&schema).is_err());
        assert!(Paths::read(&json!(["a[].b..c"])).is_err());
    }
}
