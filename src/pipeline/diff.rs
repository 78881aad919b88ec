//! What would differ.
//!
//! Owns the lines that say so: `field: old -> new`. The idea: what is there now and what the call would put there are
//! compared as they are, and shown redacted; what changes unseen, and what the API alone decides, is said.
//!
//! Must not: show a value that was not redacted, or leave out a change.

use super::approve::reveal;
use super::redact;
use crate::approvals::visible;
use crate::json::{Map, Value, canonical, pointer};
use crate::redaction::Redactor;

/// Lines that are shown of one diff.
const MOST: usize = 200;
/// Characters that are shown of one value.
const LONGEST: usize = 300;
/// Bytes that the steps of a patch may make us look at together: a step can double a document.
const ROOM: usize = 2 << 20;

/// How values are made fit to be shown.
pub(super) struct Eyes<'a> {
    /// JSON Pointers that are always redacted.
    pub(super) pointers: &'a [String],
    pub(super) redactor: &'a Redactor,
}

impl Eyes<'_> {
    pub(super) fn clean(&self, value: &Value) -> Value {
        let mut value = value.clone();
        reveal(&mut value, self.redactor);
        redact::value(&mut value, self.pointers, self.redactor);
        value
    }
}

#[derive(Default)]
struct Lines {
    text: String,
    count: usize,
    left_out: usize,
}

impl Lines {
    fn add(&mut self, line: &str) {
        self.count += 1;
        if self.count > MOST {
            self.left_out += 1;
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    fn end(mut self) -> String {
        if self.left_out > 0 {
            let more = format!("\n[{} more changes are unseen]", self.left_out);
            self.text.push_str(&more);
        }
        if self.text.is_empty() { String::from("Nothing would change.") } else { self.text }
    }
}

/// A value in one line.
fn brief(value: Option<&Value>) -> String {
    let Some(value) = value else { return String::from("(nothing)") };
    let text = visible(&canonical(value)).replace('\n', "<U+000A>");
    let end = text.floor_char_boundary(LONGEST);
    match text.len() - end {
        0 => text,
        cut => format!("{}… [cut: {cut} more bytes are unseen]", &text[..end]),
    }
}

/// `name: old -> new`, with a word where the eye could be misled.
fn change(name: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    let (old, new) = (brief(old), brief(new));
    let hidden = old.contains("[redacted:") || new.contains("[redacted:") || new.contains("are unseen]");
    let said = if old == new {
        " (changes, unseen)"
    } else if hidden {
        " (in part unseen)"
    } else {
        ""
    };
    format!("{}: {old} -> {new}{said}", visible(name).replace('\n', "<U+000A>"))
}

/// What the members of `new` would change of `old`; where they take the place of all that is there, what they leave out
/// would go, too.
pub(super) fn members(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    replaces: bool,
    eyes: &Eyes<'_>,
) -> String {
    let now = eyes.clean(&Value::Object(old.clone()));
    let then = eyes.clean(&Value::Object(new.clone()));
    let mut lines = Lines::default();
    walk("", (old, new), (&now, &then), replaces, &mut lines);
    lines.end()
}

fn walk(
    path: &str,
    (old, new): (&Map<String, Value>, &Map<String, Value>),
    (now, then): (&Value, &Value),
    replaces: bool,
    lines: &mut Lines,
) {
    let named = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in new {
        match (old.get(name), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after))
                if now[name].is_object() && then[name].is_object() =>
            {
                walk(&named(name), (before, after), (&now[name], &then[name]), replaces, lines);
            }
            (before, _) => {
                let shown = before.map(|_| now.get(name).unwrap_or(&HIDDEN));
                lines.add(&change(&named(name), shown, Some(then.get(name).unwrap_or(&HIDDEN))));
            }
        }
    }
    let left: Vec<&String> = old.keys().filter(|name| !new.contains_key(*name)).collect();
    if replaces {
        for name in left {
            lines.add(&change(&named(name), Some(now.get(name).unwrap_or(&HIDDEN)), None));
        }
    } else if !path.is_empty() && !left.is_empty() {
        // a merge keeps them, an assignment does not: only the API knows which this is
        lines.add(&format!(
            "{}: {} more members that the call does not name stay or go, as the API decides",
            visible(path),
            left.len()
        ));
    }
}

/// What is shown of a member whose name itself was redacted.
const HIDDEN: Value = Value::Null;

/// What the steps of a JSON Patch (RFC 6902) would do, one after the other.
pub(super) fn patch(old: &Value, steps: &[Value], eyes: &Eyes<'_>) -> String {
    let (mut work, mut lines) = (old.clone(), Lines::default());
    let mut room = ROOM;
    let mut after = None;
    for (at, step) in steps.iter().enumerate() {
        let copied = match step["op"].as_str() {
            Some("copy") => {
                step["from"].as_str().and_then(|from| work.pointer(from)).map_or(0, |it| weigh(it, room))
            }
            _ => 0,
        };
        let size = weigh(&work, room).saturating_add(weigh(step, room)).saturating_add(copied);
        if at >= MOST || size >= room {
            lines.left_out += steps.len() - at;
            break;
        }
        room -= size;
        let text = |name: &str| step[name].as_str().unwrap_or_default();
        let (op, path, from) = (text("op"), text("path"), text("from"));
        let before = after.take().unwrap_or_else(|| eyes.clean(&work));
        let applied = apply(&mut work, op, path, from, step.get("value"));
        let then = eyes.clean(&work);
        let name = if path.is_empty() { "(everything)" } else { path };
        let line = match (op, applied) {
            ("test", Some(_)) => format!("{}: has to be {}", visible(name), brief(Some(&eyes.value(step)))),
            (_, Some(at)) if op == "move" => {
                format!("{} moves from {}: {}", visible(name), visible(from), brief(then.pointer(&at)))
            }
            (_, Some(at)) => {
                // what is added to a list takes the place of nothing
                let inserts = matches!(op, "add" | "copy") && is_element(&before, &at);
                let there = before.pointer(&at).filter(|_| !inserts);
                let stays = then.pointer(&at).filter(|_| op != "remove");
                change(if path.ends_with("/-") { &at } else { name }, there, stays)
            }
            (_, None) => format!(
                "{} {}: does not fit what is there now; it is sent as {}",
                visible(op),
                visible(name),
                brief(Some(&eyes.value(step)))
            ),
        };
        lines.add(&line);
        after = Some(then);
    }
    lines.end()
}

impl Eyes<'_> {
    /// The value of a step, with its name beside it, so that a telling name redacts it.
    fn value(&self, step: &Value) -> Value {
        let Some(value) = step.get("value") else { return Value::Null };
        let name = step["path"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let mut object = Map::new();
        object.insert(name.to_owned(), value.clone());
        match self.clean(&Value::Object(object)) {
            Value::Object(object) => object.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
            other => other,
        }
    }
}

/// About how many bytes a value has; counting ends at `most`.
fn weigh(value: &Value, most: usize) -> usize {
    let mut size: usize = match value {
        Value::String(text) => text.len(),
        _ => 8,
    };
    let mut add = |more: usize| {
        size = size.saturating_add(more);
        size < most
    };
    match value {
        Value::Array(items) => {
            let _ = items.iter().all(|item| add(weigh(item, most)));
        }
        Value::Object(members) => {
            let _ = members.iter().all(|(name, member)| add(name.len() + weigh(member, most)));
        }
        _ => {}
    }
    size
}

/// Whether the pointer leads into a list.
fn is_element(value: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').and_then(|(parent, _)| value.pointer(parent));
    parent.is_some_and(Value::is_array)
}

/// Does one step; where it was done, or nothing if it does not fit.
fn apply(work: &mut Value, op: &str, path: &str, from: &str, value: Option<&Value>) -> Option<String> {
    match op {
        "test" => value.is_some_and(|value| work.pointer(path) == Some(value)).then(|| path.to_owned()),
        "add" => put(work, path, value?.clone()),
        "replace" => {
            *work.pointer_mut(path)? = value?.clone();
            Some(path.to_owned())
        }
        "remove" => take(work, path).map(|_| path.to_owned()),
        "copy" => {
            let copied = work.pointer(from)?.clone();
            put(work, path, copied)
        }
        "move" => {
            let moved = take(work, from)?;
            put(work, path, moved)
        }
        _ => None,
    }
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, pointer::plain(last)))
}

fn put(work: &mut Value, path: &str, value: Value) -> Option<String> {
    if path.is_empty() {
        *work = value;
        return Some(String::new());
    }
    let (parent, last) = split(path)?;
    match work.pointer_mut(parent)? {
        Value::Object(object) => {
            object.insert(last, value);
            Some(path.to_owned())
        }
        Value::Array(items) => {
            let at = if last == "-" { items.len() } else { last.parse().ok()? };
            (at <= items.len()).then(|| items.insert(at, value))?;
            Some(format!("{parent}/{at}"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn take(work: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match work.pointer_mut(parent)? {
        Value::Object(object) => object.shift_remove(&last),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;
    use crate::redaction::Config;

    fn redactor() -> Redactor {
        Redactor::new(&Config::default()).unwrap()
    }

    fn diff(old: &Value, new: &Value, replaces: bool) -> String {
        let redactor = redactor();
        let eyes = Eyes { pointers: &[], redactor: &redactor };
        members(old.as_object().unwrap(), new.as_object().unwrap(), replaces, &eyes)
    }

    #[test]
    fn a_person_reads_what_would_differ_and_no_secret() {
        let old = json!({"name": "web", "size": 2, "password": "hunter2hunter2", "gone": 1,
            "owner": {"mail": "a@example.com", "team": "x"}});
        let new = json!({"name": "web", "size": 3, "password": "hunter3hunter3", "fresh": null,
            "owner": {"team": "y"}});
        let text = diff(&old, &new, false);
        assert!(text.contains("size: 2 -> 3") && text.contains("fresh: (nothing) -> null"), "{text}");
        assert!(
            text.contains("owner.team: \"x\" -> \"y\"") && text.contains("owner: 1 more members"),
            "{text}"
        );
        assert!(text.contains("password: \"[redacted:") && text.contains("(changes, unseen)"), "{text}");
        assert!(!text.contains("hunter") && !text.contains("web") && !text.contains("gone"), "{text}");
        let text = diff(&old, &new, true);
        assert!(text.contains("gone: 1 -> (nothing)") && text.contains("owner.mail: \"a@"), "{text}");
        assert_eq!(diff(&old, &json!({"size": 2}), false), "Nothing would change.");
    }

    #[test]
    fn nothing_hides_in_a_diff_and_what_is_long_says_so() {
        let old = json!({"note": "a"});
        let text = diff(&old, &json!({"note": "b\u{202e}c\nsize: 1 -> 2", "x\ny": 1}), false);
        assert!(text.contains("b<U+202E>c\\nsize") && text.contains("x<U+000A>y: (nothing) -> 1"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        let text = diff(&old, &json!({"note": "x".repeat(5000)}), false);
        assert!(text.contains("more bytes are unseen]") && text.contains("(in part unseen)"), "{text}");
        let many: Map<String, Value> = (0..500).map(|at| (format!("m{at}"), json!(at))).collect();
        assert!(diff(&old, &Value::Object(many), false).ends_with("[300 more changes are unseen]"));
    }

    #[test]
    fn a_patch_that_doubles_what_is_there_is_not_followed_to_its_end() {
        let redactor = redactor();
        let eyes = Eyes { pointers: &[], redactor: &redactor };
        let old = json!({"a": "x".repeat(1000)});
        let doubling: Vec<Value> =
            (0..64).map(|at| json!({"op": "copy", "from": "", "path": format!("/c{at}")})).collect();
        let text = patch(&old, &doubling, &eyes);
        assert!(text.contains("more changes are unseen]") && text.len() < 100_000, "{}", text.len());
        let many: Vec<Value> =
            (0..50_000).map(|at| json!({"op": "add", "path": format!("/m{at}"), "value": at})).collect();
        let text = patch(&old, &many, &eyes);
        assert!(text.ends_with("more changes are unseen]"), "{}", &text[text.len() - 60..]);
    }

    #[test]
    fn the_steps_of_a_patch_are_followed() {
        let old = json!({"size": 2, "tags": ["a", "b"], "password": "hunter2hunter2", "x": {"y": 1}});
        let steps = json!([
            {"op": "test", "path": "/size", "value": 2},
            {"op": "replace", "path": "/size", "value": 9},
            {"op": "replace", "path": "/size", "value": 10},
            {"op": "add", "path": "/tags/-", "value": "c"},
            {"op": "add", "path": "/tags/0", "value": "z"},
            {"op": "remove", "path": "/x/y"},
            {"op": "move", "from": "/x", "path": "/moved"},
            {"op": "replace", "path": "/password", "value": "hunter3hunter3"},
            {"op": "replace", "path": "/nowhere/at/all", "value": 1},
        ]);
        let redactor = redactor();
        let eyes = Eyes { pointers: &[], redactor: &redactor };
        let text = patch(&old, steps.as_array().unwrap(), &eyes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 9, "{text}");
        assert_eq!(lines[0], "/size: has to be 2");
        assert_eq!(lines[1], "/size: 2 -> 9");
        assert_eq!(lines[2], "/size: 9 -> 10");
        assert_eq!(lines[3], "/tags/2: (nothing) -> \"c\"");
        assert_eq!(lines[4], "/tags/0: (nothing) -> \"z\"");
        assert_eq!(lines[5], "/x/y: 1 -> (nothing)");
        assert_eq!(lines[6], "/moved moves from /x: {}");
        assert!(lines[7].contains("(changes, unseen)") && !text.contains("hunter"), "{text}");
        assert!(lines[8].contains("does not fit what is there now"), "{text}");
    }
}
