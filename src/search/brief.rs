//! A tool's schema, in few words.
//!
//! Owns [`size`] and [`brief`]. The idea: what a call needs first stays - names, types, what is required, what is
//! allowed -, then the words, then the shared parts, nearest first, until a budget is used up; what was left out is
//! named, and can be asked for.
//!
//! Must not: change what a schema says.

use std::collections::{HashSet, VecDeque};

use crate::json::{Map, Value, json, pointer};

/// About how many bytes a value has as JSON; counting ends beyond `most`.
pub(super) fn size(value: &Value, most: usize) -> usize {
    let mut left = most;
    count(value, &mut left);
    most.saturating_add(1) - left.saturating_add(usize::from(left > 0))
}

/// Takes a value's bytes from what is left; false when nothing is.
fn count(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 6,
        Value::String(text) => text.len() + 3,
        Value::Array(_) | Value::Object(_) => 2,
    };
    *left = left.saturating_sub(own);
    *left > 0
        && match value {
            Value::Array(items) => items.iter().all(|item| count(item, left)),
            Value::Object(members) => members.iter().all(|(name, member)| {
                *left = left.saturating_sub(name.len() + 4);
                *left > 0 && count(member, left)
            }),
            _ => true,
        }
}

/// A schema within a budget of bytes, and the names of shared parts that were left out.
pub(super) fn brief(schema: &Value, budget: usize) -> (Value, Vec<String>) {
    if size(schema, budget + 1) <= budget {
        return (schema.clone(), Vec::new());
    }
    let Value::Object(members) = schema else { return (schema.clone(), Vec::new()) };
    let empty = Map::new();
    let parts = members.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    let mut short = Value::Object(
        members
            .iter()
            .filter(|(name, _)| *name != "$defs")
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect(),
    );
    // words make room for the shared parts before anything is left out
    hush(&mut short, 160);
    for most in [60, 0] {
        if size(&short, budget + 1) > budget {
            hush(&mut short, most);
        }
    }
    let mut left = budget.saturating_sub(size(&short, budget));
    let (mut kept, mut omitted) = (Map::new(), Vec::new());
    let (mut queue, mut seen) = (VecDeque::new(), HashSet::new());
    references(&short, &mut seen, &mut queue);
    while let Some(name) = queue.pop_front() {
        let Some(part) = parts.get(&name) else { continue };
        let mut part = part.clone();
        hush(&mut part, 60);
        let needs = size(&part, left + 1) + name.len() + 4;
        if needs > left {
            omitted.push(name);
            continue;
        }
        left -= needs;
        references(&part, &mut seen, &mut queue);
        kept.insert(name, part);
    }
    if let (Value::Object(members), false) = (&mut short, kept.is_empty()) {
        members.insert(String::from("$defs"), Value::Object(kept));
    }
    (short, omitted)
}

/// One shared part of a schema, with what it refers to, within a budget.
pub(super) fn part(schema: &Value, name: &str, budget: usize) -> Option<(Value, Vec<String>)> {
    let parts = schema.get("$defs")?;
    let mut alone = parts.get(name)?.as_object()?.clone();
    alone.insert(String::from("$defs"), parts.clone());
    Some(brief(&Value::Object(alone), budget))
}

/// Cuts the words of a schema: descriptions longer than `most`, examples, and titles.
fn hush(value: &mut Value, most: usize) {
    match value {
        Value::Object(members) => {
            // a property may be called `description`: only a text is one
            for word in ["description", "title", "$comment"] {
                let Some(Value::String(text)) = members.get_mut(word) else { continue };
                if most == 0 {
                    members.remove(word);
                } else if text.len() > most {
                    let mut end = most;
                    while !text.is_char_boundary(end) {
                        end -= 1;
                    }
                    text.truncate(end);
                    text.push('…');
                }
            }
            if members.get("examples").is_some_and(Value::is_array) {
                members.remove("examples");
            }
            members.values_mut().for_each(|member| hush(member, most));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hush(item, most)),
        _ => {}
    }
}

fn references(value: &Value, seen: &mut HashSet<String>, queue: &mut VecDeque<String>) {
    match value {
        Value::Object(members) => {
            if let Some(name) =
                members.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix("#/$defs/"))
            {
                let name = pointer::plain(name);
                if seen.insert(name.clone()) {
                    queue.push_back(name);
                }
            }
            members.values().for_each(|member| references(member, seen, queue));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, seen, queue)),
        _ => {}
    }
}

/// The arguments of a tool in one line: required ones first, optional ones with a question mark.
pub(super) fn arguments(arguments: &[(String, bool)]) -> Value {
    let (needed, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|(_, needed)| *needed);
    let mut names: Vec<String> = needed.into_iter().map(|(name, _)| name.clone()).collect();
    let more = rest.len().saturating_sub(8);
    names.extend(rest.into_iter().take(8).map(|(name, _)| format!("{name}?")));
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    json!(names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LazySchema;

    #[test]
    fn sizes_are_about_right_and_counting_ends() {
        let value = json!({"a": "hello", "b": [1, 2, 3], "c": {"d": null}});
        let (real, counted) = (value.to_string().len(), size(&value, 10_000));
        assert!(counted.abs_diff(real) < 20, "{counted} {real}");
        assert!(size(&value, 10) > 10);
    }

    #[test]
    fn what_does_not_fit_is_named_and_can_be_asked_for() {
        let long = "words ".repeat(200);
        let parts: Map<String, Value> = (0..50)
            .map(|number| {
                let next = format!("#/$defs/P{}", number + 1);
                let properties =
                    json!({"x": {"type": "string", "description": long}, "next": {"$ref": next}});
                (format!("P{number}"), json!({"type": "object", "properties": properties}))
            })
            .collect();
        let schema = json!({
            "type": "object", "required": ["body"],
            "properties": {"body": {"$ref": "#/$defs/P0"}, "note": {"type": "string", "description": long}},
            "$defs": parts
        });
        let (short, omitted) = brief(&schema, 1_500);
        assert!(short.to_string().len() < 1_700, "{}", short.to_string().len());
        assert_eq!(short["required"], json!(["body"]));
        assert!(short["$defs"]["P0"].is_object());
        let first = omitted.first().map(String::as_str).unwrap_or_default();
        assert!(part(&schema, first, 1_500).is_some_and(|(part, _)| part["properties"]["x"].is_object()));
        assert!(part(&schema, "nowhere", 1_500).is_none());
        assert_eq!(arguments(&LazySchema::new(schema).arguments()), json!("body, note?"));
    }

    #[test]
    fn a_property_called_description_stays() {
        let mut schema = json!({"properties": {"description": {"type": "string", "description": "gone"}}});
        hush(&mut schema, 0);
        assert_eq!(schema, json!({"properties": {"description": {"type": "string"}}}));
    }
}
