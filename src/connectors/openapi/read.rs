//! Bytes of a document -> [`Value`], within bounds.
//!
//! Owns the reading of JSON and YAML. The idea: one visitor for both; of a key that is given twice the later one
//! counts (vendors ship such documents, and nothing is decided by them twice); size, depth and the number of values
//! are bounded, so that a YAML bomb costs no more than its limit.
//!
//! Must not: repeat the document in an error.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, Kind, Result};
use crate::json::{Map, Number, Value};

/// Bytes of one document.
pub(super) const SIZE: usize = 64 << 20;
/// Levels: `serde_json` stops at 128 by itself.
const DEPTH: usize = 100;
/// Bytes of stack for that many levels of YAML.
const STACK: usize = 64 << 20;
/// Values, after YAML aliases are expanded.
const NODES: usize = 4_000_000;
/// Bytes of text, after YAML aliases are expanded.
const TEXT: usize = 128 << 20;

/// Reads a document. `name` says which, in errors: `The API document`.
pub(super) fn read(bytes: &[u8], name: &str) -> Result<Value> {
    let bad = |what: String| Error::new(Kind::BadConfig, what);
    if bytes.len() > SIZE {
        return Err(bad(format!("{name} is larger than {} MiB.", SIZE >> 20)));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| bad(format!("{name} is not text in UTF-8; give JSON or YAML.")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let left = Left { nodes: Cell::new(NODES), text: Cell::new(TEXT) };
    let seed = Within { depth: DEPTH, left: &left };
    if text.trim_start().starts_with(['{', '[']) {
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        // What looks like JSON may still be YAML in flow style.
        if let Ok(value) = value {
            return Ok(value);
        }
        if let Err(error) = value
            && text.trim_start().starts_with(['{', '['])
            && let Some(limit) = limit(&error.to_string())
        {
            return Err(bad(format!("{name} {limit}.")));
        }
    }
    yaml(text).map_err(|error| {
        let Some(error) = error else { return bad(format!("{name} could not be read for want of memory.")) };
        let place = error
            .location()
            .map(|at| format!(" (line {}, column {})", at.line(), at.column()))
            .unwrap_or_default();
        let why = limit(&error.to_string()).unwrap_or("is neither JSON nor YAML that can be read");
        bad(format!("{name} {why}{place}."))
    })
}

/// YAML's reader needs a lot of stack for each level, more than the thread we are on may have.
fn yaml(text: &str) -> Result<Value, Option<serde_saphyr::Error>> {
    let read = || {
        let left = Left { nodes: Cell::new(NODES), text: Cell::new(TEXT) };
        serde_saphyr::with_deserializer_from_str_with_options(text, options(), |reader| {
            Within { depth: DEPTH, left: &left }.deserialize(reader)
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read).ok();
        let result = thread.and_then(|thread| thread.join().ok());
        result.map_or(Err(None), |result| result.map_err(Some))
    })
}

fn limit(error: &str) -> Option<&'static str> {
    if error.contains(TOO_DEEP) {
        Some("is nested deeper than 100 levels")
    } else if error.contains(TOO_MANY) {
        Some("grows beyond every sensible size when its aliases are expanded")
    } else {
        None
    }
}

fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = 8_000_000;
    budget.max_nodes = NODES;
    budget.max_depth = DEPTH;
    budget.flow_nesting_limit = DEPTH;
    budget.max_documents = 1;
    budget.max_total_scalar_bytes = TEXT;
    options.budget = Some(budget);
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.ignore_binary_tag_for_string = true;
    options.non_finite_float_policy = serde_saphyr::options::NonFiniteFloatPolicy::AsString;
    options.emit_comments = false;
    options.with_snippet = false;
    options
}

const TOO_DEEP: &str = "bartizan: too deep";
const TOO_MANY: &str = "bartizan: too many";

struct Left {
    nodes: Cell<usize>,
    text: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Within<'a> {
    depth: usize,
    left: &'a Left,
}

impl Within<'_> {
    fn count<E: serde::de::Error>(self, text: usize) -> Result<(), E> {
        let (nodes, bytes) = (self.left.nodes.get().checked_sub(1), self.left.text.get().checked_sub(text));
        let (Some(nodes), Some(bytes)) = (nodes, bytes) else { return Err(E::custom(TOO_MANY)) };
        self.left.nodes.set(nodes);
        self.left.text.set(bytes);
        Ok(())
    }

    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        self.count(0)?;
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(TOO_DEEP))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON or YAML")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.count(0).map(|()| Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.count(0).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.count(0).map(|()| Value::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.count(0).map(|()| Value::Number(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a bound in a document; beyond 64 bits only its size counts"
        )]
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a bound in a document; beyond 64 bits only its size counts"
        )]
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.count(0)?;
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.count(value.len()).map(|()| Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.count(value.len()).map(|()| Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.count(key.len())?;
            object.insert(key, entries.next_value_seed(inside)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use serde_json::json;

    fn refusal(text: &str) -> String {
        read(text.as_bytes(), "The API document").unwrap_err().message().to_owned()
    }

    #[test]
    fn json_and_yaml_read_alike() {
        let yaml = "a: 1\nb: [x, 'y', null, 1.5]\n200: yes\nc: {d: on, e: 007}\n";
        let json = json!({"a": 1, "b": ["x", "y", null, 1.5], "200": "yes", "c": {"d": "on", "e": "007"}});
        assert_eq!(read(yaml.as_bytes(), "x").unwrap(), json);
        assert_eq!(read(json.to_string().as_bytes(), "x").unwrap(), json);
        assert_eq!(read(b"{a: 1, b: [c]}", "x").unwrap(), json!({"a": 1, "b": ["c"]}));
    }

    #[test]
    fn of_a_key_given_twice_the_later_counts() {
        assert_eq!(read(b"a: 1\nb: 2\na: 3\n", "x").unwrap(), json!({"a": 3, "b": 2}));
        assert_eq!(read(br#"{"a": 1, "a": 3}"#, "x").unwrap(), json!({"a": 3}));
    }

    #[test]
    fn what_cannot_be_read_is_one_sentence_and_repeats_nothing() {
        for text in ["{\"hunter2\": ", "a: [hunter2", "\u{0}hunter2: *x", "a: *hunter2"] {
            let refusal = refusal(text);
            assert!(refusal.starts_with("The API document ") && refusal.ends_with('.'), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        assert!(read(&[0xff, 0xfe, 0x00], "It").unwrap_err().message().contains("UTF-8"));
    }

    #[test]
    fn bombs_are_bounded() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let inner = vec![format!("*a{}", level - 1); 10].join(",");
            writeln!(bomb, "a{level}: &a{level} [{inner}]").unwrap();
        }
        refusal(&bomb);
        refusal(&"[".repeat(100_000));
        refusal(&"{\"a\":".repeat(100_000));
        refusal(&"- ".repeat(10_000));
        refusal(&"{a: ".repeat(5_000));
    }
}
