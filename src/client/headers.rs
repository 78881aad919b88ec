//! The headers that repeat a request.
//!
//! Owns [`Head`], the encoding of header values, and [`Marked`], which remembers the parameters that a tool wants as
//! headers. The idea: they are taken from the very body that is sent, so they cannot disagree with it.
//!
//! Must not: send anything.
//!
//! Source: MCP specification 2026-07-28, Streamable HTTP, Request Metadata.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What the headers of one message say.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) revision: Option<&'static str>,
    pub(super) method: String,
    pub(super) name: Option<String>,
    /// Names without the prefix, and encoded values.
    pub(super) parameters: Vec<(String, String)>,
}

/// A header value; what a header cannot hold is sent in base64.
pub(super) fn encode(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && text.trim_matches([' ', '\t']) == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="))
        && !text.is_empty();
    if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

/// The parameters of each tool that are wanted as headers.
#[derive(Default)]
pub(super) struct Marked(Mutex<HashMap<String, Vec<Mark>>>);

/// A header name, and where its value is in the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    header: String,
    path: Vec<String>,
}

impl Marked {
    /// Remembers a tool; false if its marks break the rules, so that the tool must not be offered.
    pub(super) fn learn(&self, tool: &Value) -> bool {
        let Some(name) = tool["name"].as_str() else { return false };
        let mut marks = Vec::new();
        let whole = find(&tool["inputSchema"], &mut Vec::new(), &mut marks)
            && count(&tool["inputSchema"]) == marks.len()
            && marks.iter().enumerate().all(|(at, mark)| {
                !marks[..at].iter().any(|other| other.header.eq_ignore_ascii_case(&mark.header))
            });
        if whole {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), marks);
        }
        whole
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// The headers of a call.
    pub(super) fn values(&self, name: &str, arguments: &Value) -> Vec<(String, String)> {
        let marked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = marked.get(name).map(Vec::as_slice).unwrap_or_default();
        let value_of = |mark: &Mark| {
            let value = mark.path.iter().try_fold(arguments, |value, step| value.get(step))?;
            let text = match value {
                Value::String(text) => encode(text),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((mark.header.clone(), text))
        };
        marks.iter().filter_map(value_of).collect()
    }
}

/// Marks that are reachable through `properties` alone.
fn find(schema: &Value, path: &mut Vec<String>, marks: &mut Vec<Mark>) -> bool {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(mark) = property.get("x-mcp-header") {
            let primitive = matches!(property["type"].as_str(), Some("string" | "integer" | "boolean"));
            match mark.as_str() {
                Some(header) if primitive && http::HeaderName::from_bytes(header.as_bytes()).is_ok() => {
                    marks.push(Mark { header: header.to_owned(), path: path.clone() });
                }
                _ => return false,
            }
        }
        if !find(property, path, marks) {
            return false;
        }
        path.pop();
    }
    true
}

/// Every mark, wherever it is.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(entries) => {
            let own = usize::from(entries.get("x-mcp-header").is_some_and(|mark| !mark.is_object()));
            own + entries.values().map(count).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        for (value, encoded) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(value), encoded);
        }
    }

    #[test]
    fn marked_parameters_become_headers() {
        let marked = Marked::default();
        let tool = json!({"name": "sql", "inputSchema": {"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "query": {"type": "string"},
        }}});
        assert!(marked.learn(&tool));
        let values = marked.values("sql", &json!({"region": "é", "deep": {"n": 4}, "query": "x"}));
        assert_eq!(values, [("Region".into(), "=?base64?w6k=?=".into()), ("N".into(), "4".into())]);
        assert!(marked.values("sql", &json!({"region": null})).is_empty());
    }

    #[test]
    fn tools_with_marks_against_the_rules_are_left_out() {
        let marked = Marked::default();
        let with = |properties: Value| {
            marked.learn(&json!({"name": "t", "inputSchema": {"type": "object", "properties": properties}}))
        };
        assert!(!with(json!({"a": {"type": "number", "x-mcp-header": "A"}})));
        assert!(!with(json!({"a": {"type": "string", "x-mcp-header": "A b"}})));
        assert!(!with(json!({"a": {"type": "string", "x-mcp-header": ""}})));
        assert!(!with(json!({"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}})));
        let twice = json!({"type": "string", "x-mcp-header": "A"});
        assert!(!with(json!({"a": twice, "b": {"type": "string", "x-mcp-header": "a"}})));
        assert!(with(json!({"x-mcp-header": {"type": "string"}})), "a parameter may be called that");
    }
}
