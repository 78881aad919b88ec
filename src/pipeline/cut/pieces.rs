//! A value that is too large, in pieces that fit.
//!
//! Owns [`Knife`]: a list gives as many whole items as fit, anything else loses its largest parts. The idea: what is left
//! out has a marker in its place that says what was there, so that nobody takes the rest for the whole, and the line
//! refuses it as an argument. Sizes are exact: bytes as JSON.
//!
//! Must not: split an item that fits.

use std::io;

use crate::json::{Map, Value};
use crate::pipeline::select;

/// How every marker of something that was left out begins; the line takes nothing back that holds it.
pub(in crate::pipeline) const MARK: &str = "[redacted:cut]";
/// Bytes that a note about a part may need.
const NOTE: usize = 200;
/// How deep a list may lie to be given in pieces, and parts to be shortened by themselves.
const LIST_DEPTH: usize = 5;
const DEPTH: usize = 12;

/// A piece of a value.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) value: Value,
    /// Which items of which list it has; none where parts were left out instead.
    pub(super) list: Option<Items>,
}

/// The items of a list that are shown: the first ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Items {
    /// The way to the list: names of members; empty where the value is the list.
    pub(super) path: Vec<String>,
    pub(super) shown: usize,
    pub(super) total: usize,
}

/// Cuts values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knife<'a> {
    /// The argument that asks for a part, where there is one.
    pub(super) ask: Option<&'a str>,
}

/// Bytes of a value as JSON.
pub(super) fn length(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // a value can always be written
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

impl Knife<'_> {
    /// A piece of a value: of its main list the first items that fit into `room` bytes, or, where it has none, the value
    /// without its largest parts. `named` is the list that counts, where that is known.
    pub(super) fn take(self, mut value: Value, named: Option<&[String]>, room: usize) -> Piece {
        let named = named.filter(|path| list_mut(&mut value, path).is_some()).map(<[String]>::to_vec);
        let Some(path) = named.or_else(|| main_list(&value)) else {
            return Piece { value: self.condense(value, room, &mut Vec::new()), list: None };
        };
        let items = list_mut(&mut value, &path).map(std::mem::take).unwrap_or_default();
        let mut frame = value;
        // what is around the list gets half of the room at most
        if length(&frame) > room / 2 {
            frame = self.condense(frame, room / 2, &mut Vec::new());
        }
        let total = items.len();
        let mut left = room.saturating_sub(length(&frame));
        let mut shown = Vec::new();
        for item in items {
            let size = length(&item) + 1;
            if size > left {
                if shown.is_empty() {
                    // alone it is too large: it is shown without its largest parts, or nobody would get past it
                    shown.push(self.condense(item, left, &mut path.clone()));
                }
                break;
            }
            left -= size;
            shown.push(item);
        }
        let list = Items { path, shown: shown.len(), total };
        match list_mut(&mut frame, &list.path) {
            Some(place) => *place = shown,
            // its place was among what had to go
            None => frame = Value::Array(shown),
        }
        Piece { value: frame, list: Some(list) }
    }

    /// The value without its largest parts: `room` bytes at most, as long as that is enough for a note.
    pub(super) fn condense(self, value: Value, room: usize, path: &mut Vec<String>) -> Value {
        if length(&value) <= room {
            return value;
        }
        if path.len() >= DEPTH || room < NOTE {
            let note = self.note(&value, room, path);
            // what is as short as the note about it stays
            return if length(&note) < length(&value) { note } else { value };
        }
        match value {
            Value::String(text) => shortened(&text, room),
            Value::Array(items) => {
                let total = items.len();
                let mut left = room.saturating_sub(NOTE);
                let mut shown = Vec::new();
                for item in items {
                    let size = length(&item) + 1;
                    if size > left {
                        if shown.is_empty() && left > NOTE {
                            shown.push(self.condense(item, left, path));
                        }
                        break;
                    }
                    left -= size;
                    shown.push(item);
                }
                let more = total - shown.len();
                if more > 0 {
                    shown.push(Value::String(format!(
                        "{MARK} {more} more of {total} items{}",
                        self.how(path)
                    )));
                }
                Value::Array(shown)
            }
            Value::Object(members) => Value::Object(self.slimmed(members, room, path)),
            other => self.note(&other, room, path),
        }
    }

    /// The members that are small, the largest ones shortened so that all of them fit.
    fn slimmed(self, members: Map<String, Value>, room: usize, path: &mut Vec<String>) -> Map<String, Value> {
        let total = members.len();
        let mut left = room.saturating_sub(NOTE);
        let mut sized = Vec::new();
        for (name, member) in members {
            let key = length(&Value::String(name.clone())) + 2;
            let size = length(&member);
            // names beyond the room are not even listed
            let Some(rest) = left.checked_sub(key + size.min(NOTE)) else { break };
            left = rest;
            sized.push((name, member, size));
        }
        let named = sized.len();
        // what is left is dealt out to those that need more than a note, the small ones first
        let mut sizes: Vec<usize> =
            sized.iter().map(|(_, _, size)| *size).filter(|size| *size > NOTE).collect();
        sizes.sort_unstable();
        let mut most = usize::MAX;
        for (index, size) in sizes.iter().enumerate() {
            let share = left / (sizes.len() - index);
            if size - NOTE > share {
                most = NOTE + share;
                break;
            }
            left -= size - NOTE;
        }
        let mut kept = Map::new();
        for (name, member, size) in sized {
            let member = if size > most {
                path.push(name.clone());
                let short = self.condense(member, most, path);
                path.pop();
                short
            } else {
                member
            };
            kept.insert(name, member);
        }
        if named < total {
            let more = total - named;
            kept.insert(
                MARK.to_owned(),
                Value::String(format!("{more} more of {total} members{}", self.how(path))),
            );
        }
        kept
    }

    /// What stands where something was.
    fn note(self, value: &Value, room: usize, path: &[String]) -> Value {
        let what = match value {
            Value::Array(items) => format!("a list of {} items", items.len()),
            Value::Object(members) => format!("an object of {} members", members.len()),
            Value::String(_) => String::from("a text"),
            Value::Null | Value::Bool(_) | Value::Number(_) => String::from("a number"),
        };
        let whole = format!("{MARK} {what}, {} bytes{}", length(value), self.how(path));
        let text = if whole.len() + 2 <= room.max(NOTE) { whole } else { format!("{MARK} {what}") };
        Value::String(text)
    }

    /// How to ask for a part.
    fn how(self, path: &[String]) -> String {
        let Some(ask) = self.ask else { return String::new() };
        let path = select::path(path);
        if path.is_empty() || path.len() > 80 || path.contains(['"', '\\']) || path.contains(char::is_control)
        {
            return String::new();
        }
        format!("; ask with {ask}: ['{path}']")
    }
}

/// The way to the list that most of a value is, where one is that has more than one item.
fn main_list(value: &Value) -> Option<Vec<String>> {
    fn largest(value: &Value, path: &mut Vec<String>, best: &mut Option<(usize, Vec<String>)>) {
        match value {
            Value::Array(items) if items.len() > 1 || path.is_empty() => {
                let size = length(value);
                if best.as_ref().is_none_or(|(known, _)| size > *known) {
                    *best = Some((size, path.clone()));
                }
            }
            Value::Object(members) if path.len() < LIST_DEPTH => {
                for (name, member) in members {
                    path.push(name.clone());
                    largest(member, path, best);
                    path.pop();
                }
            }
            _ => {}
        }
    }
    let mut best = None;
    largest(value, &mut Vec::new(), &mut best);
    best.filter(|(size, _)| size * 2 >= length(value)).map(|(_, path)| path)
}

fn list_mut<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Vec<Value>> {
    let place = path.iter().try_fold(value, |value, name| value.get_mut(name.as_str()))?;
    place.as_array_mut()
}

/// The beginning of a text.
fn shortened(text: &str, room: usize) -> Value {
    let mark = format!(" {MARK} the beginning of {} bytes", text.len());
    // a character may need several as JSON
    let mut end = text.floor_char_boundary(room.saturating_sub(mark.len() + 2));
    loop {
        let short = Value::String(format!("{}{mark}", &text[..end]));
        let over = length(&short).saturating_sub(room);
        if over == 0 || end == 0 {
            return short;
        }
        // each character that goes takes at least one byte along, and at most six
        end = text.floor_char_boundary(end.saturating_sub(over.div_ceil(6).max(1)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::json;

    const KNIFE: Knife<'static> = Knife { ask: Some("fields") };

    /// Any JSON, with unicode, escapes, odd names and lists in lists.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,60}".prop_map(Value::from),
            "[\"\\\\\n\u{0}é漢🦀a]{0,200}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 60, 10, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
                prop::collection::vec(("[a-z./~\"é]{0,12}", inner), 0..12)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn at<'a>(value: &'a Value, path: &[String]) -> &'a Vec<Value> {
        path.iter().fold(value, |value, name| &value[name.as_str()]).as_array().unwrap()
    }

    #[test]
    fn a_note_is_never_longer_than_what_it_is_about() {
        for value in [json!([1_000_000_000]), json!(["short"]), json!({"a": [null, true]})] {
            let piece = KNIFE.take(value.clone(), None, 0);
            assert!(length(&piece.value) <= length(&value), "{}", piece.value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn any_value_fits_any_room_and_no_item_is_split(value in any_json(), room in 0_usize..3_000) {
            let whole = length(&value);
            let piece = KNIFE.take(value.clone(), None, room);
            let size = length(&piece.value);
            prop_assert!(size <= room.max(whole.min(room + 2 * NOTE)), "{size} bytes for {room}");
            // what is written can be read again
            let again: Value = serde_json::from_str(&piece.value.to_string()).unwrap();
            prop_assert_eq!(length(&again), size);
            if let Some(list) = &piece.list {
                let all = at(&value, &list.path);
                prop_assert_eq!(list.total, all.len());
                if let Some(shown) = list.path.iter().try_fold(&piece.value, |value, name| value.get(name.as_str())).and_then(Value::as_array) {
                    for (index, item) in shown.iter().enumerate() {
                        let split = *item != all[index];
                        prop_assert!(!split || (shown.len() == 1 && item.to_string().contains(MARK)), "item {index}");
                    }
                }
            } else if whole > room {
                prop_assert!(piece.value.to_string().contains(MARK) || whole <= room + 2 * NOTE);
            }
        }

        #[test]
        fn pieces_put_together_are_the_list(
            items in prop::collection::vec((any::<u32>(), "[a\"\n漢é🦀]{0,90}"), 2..80),
            room in 1_000_usize..4_000,
        ) {
            let items: Vec<Value> = items.into_iter().map(|(id, text)| json!({"id": id, "text": text})).collect();
            let value = json!({"meta": {"n": items.len()}, "data": items});
            let (mut rest, mut all) = (value.clone(), Vec::new());
            loop {
                let piece = KNIFE.take(rest.clone(), Some(&[String::from("data")]), room);
                prop_assert!(length(&piece.value) <= room);
                let list = piece.list.unwrap();
                all.extend(at(&piece.value, &list.path).iter().cloned());
                prop_assert!(list.shown > 0);
                rest["data"].as_array_mut().unwrap().drain(..list.shown);
                if list.shown == list.total {
                    break;
                }
            }
            prop_assert_eq!(Value::Array(all), value["data"].clone());
        }
    }

    #[test]
    fn the_main_list_is_the_one_that_most_of_the_value_is() {
        let long = vec![json!({"a": "x".repeat(40)}); 30];
        let paths = |value: Value| main_list(&value).map(|path| path.join("."));
        assert_eq!(paths(json!({"data": long, "links": [1, 2]})).as_deref(), Some("data"));
        assert_eq!(paths(json!({"a": {"b": {"items": long}}})).as_deref(), Some("a.b.items"));
        assert_eq!(paths(json!(long)).as_deref(), Some(""));
        assert_eq!(paths(json!({"text": "x".repeat(9_000), "data": [1, 2]})), None);
        assert_eq!(paths(json!({"data": [{"one": "x".repeat(900)}]})), None, "one item is no list to cut");
    }

    #[test]
    fn the_largest_parts_go_and_say_what_they_were() {
        let value = json!({
            "name": "widget", "tags": ["a", "b"],
            "history": vec![json!({"at": 1, "what": "changed"}); 500],
            "config": {"blob": "y".repeat(50_000), "mode": "on"}
        });
        let Piece { value: short, list: None } = KNIFE.take(value, None, 2_000) else { panic!("no list") };
        assert!(length(&short) <= 2_000);
        assert_eq!((&short["name"], &short["tags"]), (&json!("widget"), &json!(["a", "b"])));
        assert_eq!(short["config"]["mode"], "on");
        let history = short["history"].as_array().unwrap();
        assert_eq!(history[0], json!({"at": 1, "what": "changed"}));
        let last = history.last().unwrap().as_str().unwrap();
        assert!(
            last.starts_with(MARK) && last.contains("of 500 items") && last.contains("['history']"),
            "{last}"
        );
        assert!(short["config"]["blob"].as_str().unwrap().contains("the beginning of 50000 bytes"));
    }

    #[test]
    fn an_item_that_is_alone_too_large_does_not_block_the_way() {
        let value = json!({"data": [{"id": 1}, {"id": 2, "text": "z".repeat(5_000)}, {"id": 3}]});
        let list = |from: usize| {
            let mut rest = value.clone();
            rest["data"].as_array_mut().unwrap().drain(..from);
            KNIFE.take(rest, Some(&[String::from("data")]), 800)
        };
        assert_eq!(list(0).list.unwrap().shown, 1);
        let second = list(1);
        assert_eq!(second.list.as_ref().unwrap().shown, 1);
        assert_eq!(second.value["data"][0]["id"], 2);
        assert!(second.value["data"][0]["text"].as_str().unwrap().contains(MARK));
        assert_eq!(list(2).value["data"], json!([{"id": 3}]));
        let over = list(3).list.unwrap();
        assert_eq!((over.shown, over.total), (0, 0));
    }
}
