//! What a part that is not wholly checked does to the schema around it.
//!
//! Owns [`settle`] and the mark that [`loosen`] leaves. The idea: a part that accepts more than was meant must never make
//! the whole refuse what it would have accepted. Most keywords only widen with their parts; `oneOf`, `not`, `if`,
//! `maxContains` and `unevaluated…` turn more into less, and give way where one of their parts is loose.
//!
//! Must not: decide what is left unchecked, or let the mark reach a finished schema.

use std::collections::{HashMap, HashSet};

use super::shape::{DEFS, Named};
use crate::json::{Map, Value, json};

/// A keyword of our own, only while a part is converted: it accepts more than its document says.
const MARK: &str = "x-bartizan-loose";
/// Keywords whose value is a schema, or a list or an object of schemas, for what is in a value.
const INSIDE: [&str; 4] = ["items", "additionalProperties", "propertyNames", "contains"];
const NAMED: [&str; 2] = ["properties", "patternProperties"];
/// Those for the same value.
const SAME: [&str; 5] = ["allOf", "anyOf", "oneOf", "then", "else"];
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];

/// Says of a schema that something it should check was left out.
pub(super) fn loosen(object: &mut Map<String, Value>) {
    object.insert(String::from(MARK), Value::Bool(true));
}

/// Rewrites what would refuse more because a part is loose, and says whether the whole is loose. `is_loose` says it of
/// what a `$ref` leads to.
pub(super) fn settle(value: &mut Value, is_loose: &dyn Fn(&str) -> bool) -> bool {
    let Value::Object(object) = value else { return false };
    let referred = |name: &str| name.strip_prefix(DEFS).is_some_and(is_loose);
    let mut same = object.shift_remove(MARK).is_some()
        || object.get("$ref").and_then(Value::as_str).is_some_and(referred);
    for key in SAME {
        if each(object.get_mut(key), is_loose) {
            same = true;
            if key == "oneOf" {
                any_of(object);
            }
        }
    }
    if object.get_mut("if").is_some_and(|when| settle(when, is_loose)) {
        same = true;
        for key in ["if", "then", "else"] {
            object.shift_remove(key);
        }
    }
    let mut inside = false;
    if object.get_mut("not").is_some_and(|not| settle(not, is_loose)) {
        object.shift_remove("not");
        inside = true;
    }
    for key in INSIDE.into_iter().chain(UNEVALUATED).chain(["prefixItems"]) {
        if each(object.get_mut(key), is_loose) {
            inside = true;
            if key == "contains" {
                object.shift_remove("maxContains");
            }
        }
    }
    for key in NAMED {
        for member in object.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            inside |= settle(member, is_loose);
        }
    }
    // What a loose part knew of members and items may have gone with what was left out.
    if same {
        for key in UNEVALUATED {
            object.shift_remove(key);
        }
    }
    same || inside
}

/// A schema or a list of them; all are looked at.
fn each(value: Option<&mut Value>, is_loose: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Some(Value::Array(list)) => {
            let loose = list.iter_mut().map(|one| settle(one, is_loose));
            loose.filter(|loose| *loose).count() > 0
        }
        Some(one) => settle(one, is_loose),
        None => false,
    }
}

/// `oneOf` as `anyOf`: that several alternatives fit says nothing where one of them is loose.
pub(super) fn any_of(object: &mut Map<String, Value>) {
    let Some(branches) = object.shift_remove("oneOf") else { return };
    if !object.contains_key("anyOf") {
        object.insert(String::from("anyOf"), branches);
    } else if let Value::Array(all) = object.entry("allOf").or_insert_with(|| json!([])) {
        all.push(json!({"anyOf": branches}));
    }
}

/// Settles the parts of a document: what refers to something loose is loose, and has to give way too.
pub(super) fn widen(parts: &mut [Named]) {
    let ids = || 0_u32..;
    let own = ids().zip(&*parts).filter(|(_, named)| named.part.loose).map(|(id, _)| id).collect();
    let loose = spread(ids().zip(parts.iter().map(|named| named.part.refs.as_slice())), own);
    for id in &loose {
        let names: HashSet<String> = {
            let refs = parts.get(*id as usize).into_iter().flat_map(|named| &named.part.refs);
            refs.filter(|used| loose.contains(used)).map(|used| parts[*used as usize].name.clone()).collect()
        };
        if let Some(named) = parts.get_mut(*id as usize) {
            settle(&mut named.part.value, &|name| names.contains(name));
            named.part.loose = true;
        }
    }
}

/// Which of several parts, each with what it refers to, are loose: those given, and all that lead to them.
pub(super) fn spread<'a>(parts: impl Iterator<Item = (u32, &'a [u32])>, found: Vec<u32>) -> HashSet<u32> {
    let mut loose: HashSet<u32> = found.iter().copied().collect();
    trace(parts, found, |_, user| loose.insert(user));
    loose
}

/// Goes from some of several parts, each with what it refers to, to all that lead to them. `fresh` is asked of each
/// step (what is used, and who uses it) whether to go on from there.
pub(super) fn trace<'a>(
    parts: impl Iterator<Item = (u32, &'a [u32])>,
    mut found: Vec<u32>,
    mut fresh: impl FnMut(u32, u32) -> bool,
) {
    let mut users: HashMap<u32, Vec<u32>> = HashMap::new();
    for (id, refs) in parts {
        for used in refs {
            users.entry(*used).or_default().push(id);
        }
    }
    while let Some(id) = found.pop() {
        found.extend(users.get(&id).into_iter().flatten().copied().filter(|user| fresh(id, *user)));
    }
}
