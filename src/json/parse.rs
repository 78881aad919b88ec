//! Bytes to a value, within bounds.
//!
//! Owns the only way untrusted JSON enters the process. The idea: one pass with `serde_json`'s reader and a visitor of
//! our own that counts depth and refuses duplicate keys, so that no two readers can disagree about a document.
//!
//! Must not: repeat the input in an error.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Bounds, Map, Number, Value};
use crate::error::{Error, Kind, Result};

/// Reads one JSON document.
///
/// Errors are of kind `BadJson`: too large, too deep, a duplicate key, or not JSON (RFC 8259) at all.
pub fn parse(bytes: &[u8], bounds: &Bounds) -> Result<Value> {
    if bytes.len() > bounds.size {
        return Err(Error::new(
            Kind::BadJson,
            format!("The message is larger than the limit of {} bytes; send less at once.", bounds.size),
        ));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    // serde_json stops at 128 levels by itself; ours is the lower bound unless it was configured higher.
    let value = Within { left: bounds.depth.min(126) }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let text = error.to_string();
        let what = if text.starts_with(TOO_DEEP) {
            format!("The message is nested deeper than {} levels; flatten it.", bounds.depth)
        } else if text.starts_with(DUPLICATE) {
            format!(
                "The message has the same key twice in one object, near line {}; send each key once.",
                error.line()
            )
        } else {
            format!("The message is not valid JSON (line {}, column {}).", error.line(), error.column())
        };
        Error::new(Kind::BadJson, what)
    })
}

/// How many values a JSON document holds, or a few more; known without making them.
pub fn count(bytes: &[u8]) -> usize {
    let (mut values, mut text, mut escaped) = (1_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = text,
            b'"' => text = !text,
            b',' | b'[' | b'{' if !text => values += 1,
            _ => {}
        }
    }
    values
}

const TOO_DEEP: &str = "too deep";
const DUPLICATE: &str = "duplicate key";

struct Within {
    left: usize,
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let left = self.left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Within { left })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let left = self.left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Within { left })?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes(), &Bounds::default()).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_document_keeps_its_order() {
        let value = parse(br#"{"b":1,"a":[true,null,1.5,"x"]}"#, &Bounds::default()).unwrap();
        assert_eq!(value.to_string(), r#"{"b":1,"a":[true,null,1.5,"x"]}"#);
    }

    // proves: json-bounded
    #[test]
    fn what_is_refused_is_named_and_never_repeated() {
        assert!(refusal(r#"{"secret":1,"secret":2}"#).contains("same key twice"));
        assert!(refusal(&"[".repeat(100_000)).contains("64 levels"));
        assert!(refusal("{hunter2}").contains("not valid JSON"));
        for text in [r#"{"hunter2":1,"hunter2":2}"#, "hunter2", r#"{"a":"hunter2"#] {
            assert!(!refusal(text).contains("hunter2"));
        }
        let small = Bounds { size: 4, depth: 64 };
        assert!(parse(b"[1,2,3]", &small).unwrap_err().message().contains("4 bytes"));
    }

    #[test]
    fn values_are_counted_without_being_made() {
        for (text, values) in [
            ("1", 1),
            ("[1,2,3]", 4),
            (r#"{"a":{"b":[1,2]},"c":3}"#, 6),
            (r#"["a,[{","\\",",\","]"#, 4),
            ("[]", 2),
        ] {
            assert_eq!(count(text.as_bytes()), values, "{text}");
        }
    }

    // proves: json-bounded
    #[test]
    fn depth_is_counted_exactly() {
        let at = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(at(64).as_bytes(), &Bounds::default()).is_ok());
        assert!(parse(at(65).as_bytes(), &Bounds::default()).is_err());
    }
}
