//! One text and one SHA-256 for a value, whatever the order of its keys.
//!
//! Owns [`canonical`] and [`digest`]. The idea: two JSON texts that mean the same have the same digest, so approvals
//! and audit lines can be bound to a call (RFC 8785 in spirit: keys sorted by UTF-16 code units, no white space,
//! numbers as `serde_json` prints them, and an integral float printed as the integer it equals).
//!
//! Must not: be used where the original bytes matter.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Number, Value};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Lower-case hexadecimal, 64 characters.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.hex())
    }
}

/// The canonical text of a value.
pub fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(128);
    write(value, &mut out);
    out
}

/// The SHA-256 of the canonical text of a value.
pub fn digest(value: &Value) -> Digest {
    Digest::of(canonical(value).as_bytes())
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => number_text(number, out),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort_by(|left, right| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                string(key, out);
                out.push(':');
                write(&object[key], out);
            }
            out.push('}');
        }
    }
}

fn number_text(number: &Number, out: &mut String) {
    #[allow(clippy::cast_possible_truncation, reason = "checked: integral and within 2^53")]
    if let Some(float) = number.as_f64()
        && number.is_f64()
        && float.fract() == 0.0
        && float.abs() < 9_007_199_254_740_992.0
    {
        out.push_str(&(float as i64).to_string());
        return;
    }
    out.push_str(&number.to_string());
}

fn string(text: &str, out: &mut String) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::String(text.to_owned()).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_and_number_spelling_do_not_matter() {
        let left = json!({"b": 1.0, "a": ["x", {"d": null, "c": true}]});
        let right = json!({"a": ["x", {"c": true, "d": null}], "b": 1});
        assert_eq!(digest(&left), digest(&right));
        assert_eq!(canonical(&left), r#"{"a":["x",{"c":true,"d":null}],"b":1}"#);
    }

    #[test]
    fn different_values_differ() {
        assert_ne!(digest(&json!({"a": "1"})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!({"a": null})), digest(&json!({})));
    }
}
