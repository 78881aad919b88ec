//! Changes to a stored thing: JSON Patch (RFC 6902) and merge patch (RFC 7396).
//!
//! Owns [`apply`]. The idea: a patch is applied to a copy and takes effect as a whole or not at all; the media type
//! counts less than the shape, as vendors offer both under `application/json`. Two leniencies, which vendors' own services
//! share: `replace` of a member that is not there adds it, and an object that is added to the whole is laid over it.
//!
//! Must not: know what the thing is.

use crate::json::{Map, Value, pointer};

/// Why a patch could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The patch is not one.
    Malformed,
    /// A path leads nowhere.
    NoSuchPlace,
    /// A `test` failed.
    TestFailed,
}

/// The thing after the change.
pub(super) fn apply(thing: &Value, patch: &Value) -> Result<Value, Trouble> {
    let mut changed = thing.clone();
    match patch {
        Value::Array(steps) => {
            for step in steps {
                apply_step(&mut changed, step)?;
            }
        }
        Value::Object(object) if is_step(object) => apply_step(&mut changed, patch)?,
        Value::Object(_) => merge(&mut changed, patch),
        _ => return Err(Trouble::Malformed),
    }
    Ok(changed)
}

fn is_step(object: &Map<String, Value>) -> bool {
    let text = |name: &str| object.get(name).is_some_and(Value::is_string);
    text("op") && text("path")
}

fn apply_step(thing: &mut Value, step: &Value) -> Result<(), Trouble> {
    let operation = step.get("op").and_then(Value::as_str).ok_or(Trouble::Malformed)?;
    let path = tokens(step.get("path").and_then(Value::as_str).ok_or(Trouble::Malformed)?)?;
    let value = || step.get("value").cloned().ok_or(Trouble::Malformed);
    let from = || tokens(step.get("from").and_then(Value::as_str).ok_or(Trouble::Malformed)?);
    match operation.to_ascii_lowercase().as_str() {
        "add" => match (&mut *thing, value()?) {
            (Value::Object(members), Value::Object(more)) if path.is_empty() => {
                members.extend(more);
                Ok(())
            }
            (_, value) => put(thing, &path, value, true),
        },
        "replace" => put(thing, &path, value()?, false),
        "remove" => take(thing, &path).map(drop),
        "test" => {
            let held = look(thing, &path).ok_or(Trouble::TestFailed)?;
            if *held == value()? { Ok(()) } else { Err(Trouble::TestFailed) }
        }
        "copy" => {
            let held = look(thing, &from()?).cloned().ok_or(Trouble::NoSuchPlace)?;
            put(thing, &path, held, true)
        }
        "move" => {
            let held = take(thing, &from()?)?;
            put(thing, &path, held, true)
        }
        _ => Err(Trouble::Malformed),
    }
}

fn tokens(pointer: &str) -> Result<Vec<String>, Trouble> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let rest = pointer.strip_prefix('/').ok_or(Trouble::Malformed)?;
    Ok(rest.split('/').map(pointer::plain).collect())
}

fn look<'a>(thing: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(thing, |at, token| match at {
        Value::Object(object) => object.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

fn put(thing: &mut Value, path: &[String], value: Value, insert: bool) -> Result<(), Trouble> {
    let Some((last, before)) = path.split_last() else {
        *thing = value;
        return Ok(());
    };
    let mut at = thing;
    for token in before {
        at = match at {
            Value::Object(object) => object.entry(token.clone()).or_insert_with(|| Value::Object(Map::new())),
            Value::Array(items) => {
                let index: usize = token.parse().map_err(|_| Trouble::NoSuchPlace)?;
                items.get_mut(index).ok_or(Trouble::NoSuchPlace)?
            }
            _ => return Err(Trouble::NoSuchPlace),
        };
    }
    match at {
        Value::Object(object) => {
            object.insert(last.clone(), value);
        }
        Value::Array(items) if last == "-" && insert => items.push(value),
        Value::Array(items) => {
            let index: usize = last.parse().map_err(|_| Trouble::NoSuchPlace)?;
            if insert && index <= items.len() {
                items.insert(index, value);
            } else {
                *items.get_mut(index).ok_or(Trouble::NoSuchPlace)? = value;
            }
        }
        _ => return Err(Trouble::NoSuchPlace),
    }
    Ok(())
}

fn take(thing: &mut Value, path: &[String]) -> Result<Value, Trouble> {
    let (last, before) = path.split_last().ok_or(Trouble::Malformed)?;
    let mut at = thing;
    for token in before {
        at = match at {
            Value::Object(object) => object.get_mut(token).ok_or(Trouble::NoSuchPlace)?,
            Value::Array(items) => {
                let index: usize = token.parse().map_err(|_| Trouble::NoSuchPlace)?;
                items.get_mut(index).ok_or(Trouble::NoSuchPlace)?
            }
            _ => return Err(Trouble::NoSuchPlace),
        };
    }
    match at {
        Value::Object(object) => object.shift_remove(last).ok_or(Trouble::NoSuchPlace),
        Value::Array(items) => {
            let index: usize = last.parse().map_err(|_| Trouble::NoSuchPlace)?;
            if index < items.len() { Ok(items.remove(index)) } else { Err(Trouble::NoSuchPlace) }
        }
        _ => Err(Trouble::NoSuchPlace),
    }
}

fn merge(thing: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *thing = patch.clone();
        return;
    };
    if !thing.is_object() {
        *thing = Value::Object(Map::new());
    }
    if let Value::Object(object) = thing {
        for (name, change) in changes {
            if change.is_null() {
                object.shift_remove(name);
            } else {
                merge(object.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Trouble, apply};
    use crate::json::json;

    #[test]
    fn every_operation_of_a_json_patch() {
        let thing = json!({"a": 1, "list": [1, 3], "gone": true});
        let patch = json!([
            {"op": "test", "path": "/a", "value": 1},
            {"op": "replace", "path": "/a", "value": 2},
            {"op": "add", "path": "/list/1", "value": 2},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "remove", "path": "/gone"},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "move", "from": "/b", "path": "/c~1d"}
        ]);
        assert_eq!(apply(&thing, &patch).unwrap(), json!({"a": 2, "list": [1, 2, 3, 4], "c/d": 2}));
    }

    #[test]
    fn a_patch_that_fails_says_how() {
        let thing = json!({"a": 1});
        let tried = |patch: crate::json::Value| apply(&thing, &patch).unwrap_err();
        assert_eq!(tried(json!([{"op": "test", "path": "/a", "value": 9}])), Trouble::TestFailed);
        assert_eq!(tried(json!([{"op": "remove", "path": "/b"}])), Trouble::NoSuchPlace);
        assert_eq!(tried(json!([{"op": "add", "path": "a", "value": 9}])), Trouble::Malformed);
        assert_eq!(tried(json!("x")), Trouble::Malformed);
    }

    #[test]
    fn what_is_added_to_the_whole_leaves_the_rest() {
        let patch = json!([{"op": "add", "path": "", "value": {"b": [2], "c": 3}}]);
        assert_eq!(apply(&json!({"a": 1, "b": [1]}), &patch).unwrap(), json!({"a": 1, "b": [2], "c": 3}));
        let replaced = json!([{"op": "replace", "path": "", "value": {"c": 3}}]);
        assert_eq!(apply(&json!({"a": 1}), &replaced).unwrap(), json!({"c": 3}));
    }

    #[test]
    fn a_merge_patch_merges_and_removes() {
        let thing = json!({"a": {"b": 1, "c": 2}, "d": 3});
        assert_eq!(
            apply(&thing, &json!({"a": {"b": null, "e": 4}})).unwrap(),
            json!({"a": {"c": 2, "e": 4}, "d": 3})
        );
    }
}
