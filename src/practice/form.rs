//! Media types, forms and cookies.
//!
//! Owns the reading of what is not JSON. The idea: a form becomes an object whose values have the types its schema
//! asks for, so that the same check serves every body.
//!
//! Must not: know operations.

use axum::http::{HeaderMap, header};
use indexmap::IndexMap;

use super::recipe::View;
use super::request::coerce;
use crate::connectors::document::{Encoding, Style};
use crate::json::{Map, Value};

/// A media type without its parameters, in lower case.
pub(super) fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Whether an offered media type or range covers a given one.
pub(super) fn covers(offered: &str, given: &str) -> bool {
    offered == given
        || offered == "*/*"
        || offered.strip_suffix("/*").is_some_and(|kind| given.split('/').next() == Some(kind))
}

/// Whether a media type is JSON.
pub(super) fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// A cookie's value.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';').find_map(|pair| {
        let (given, value) = pair.trim().split_once('=')?;
        (given == name).then(|| value.to_owned())
    })
}

/// The fields of `a=1&b=2`.
pub(super) fn urlencoded(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The fields of a multipart body.
pub(super) fn multipart(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = content_type.split(';').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    })?;
    let text = String::from_utf8_lossy(body);
    let mut fields = Vec::new();
    let mark = format!("--{boundary}");
    let mut parts = text.split(&mark);
    parts.next();
    for part in parts {
        if part.starts_with("--") {
            return Some(fields);
        }
        let (head, content) = part.split_once("\r\n\r\n")?;
        let disposition =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition"))?;
        let name = disposition.split(';').find_map(|piece| piece.trim().strip_prefix("name="))?;
        fields.push((
            name.trim_matches('"').to_owned(),
            content.strip_suffix("\r\n").unwrap_or(content).to_owned(),
        ));
    }
    None
}

/// Fields as an object of the schema's types: repeated names become arrays, `a[b]` becomes a member, JSON texts become
/// values where an object is wanted, and what the document joins is parted.
pub(super) fn object(
    view: View<'_>,
    fields: Vec<(String, String)>,
    encoding: &IndexMap<String, Encoding>,
) -> Value {
    let mut object = Map::new();
    for (name, text) in fields {
        let steps: Vec<&str> = name.split('[').map(|step| step.trim_end_matches(']')).collect();
        if let [own, inner @ ..] = steps.as_slice()
            && !inner.is_empty()
            && let Some(place) = view.property(own)
        {
            let slot = object.entry((*own).to_owned()).or_insert(Value::Null);
            put(slot, Some(place), inner, &text);
            continue;
        }
        let Some(place) = view.property(&name) else {
            object.insert(name, text.into());
            continue;
        };
        let hints = encoding.get(&name).cloned().unwrap_or_default();
        let style = hints.style.unwrap_or(Style::Form);
        let whole = hints.explode.unwrap_or(style == Style::Form);
        let mark = match style {
            Style::SpaceDelimited => ' ',
            Style::PipeDelimited => '|',
            Style::TabDelimited => '\t',
            _ => ',',
        };
        match (place.plain().main_type(), place.items()) {
            (Some("array"), Some(items)) => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    match serde_json::from_str(&text) {
                        Ok(Value::Array(many)) => list.extend(many),
                        _ if !whole => list.extend(text.split(mark).map(|item| coerce(items, item))),
                        _ => list.push(coerce(items, &text)),
                    }
                }
            }
            (Some("object"), _) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                object.insert(name, value);
            }
            _ => {
                object.insert(name, coerce(place, &text));
            }
        }
    }
    Value::Object(object)
}

/// Puts a text where `[b][0]` says, and what lies on the way.
fn put(slot: &mut Value, view: Option<View<'_>>, steps: &[&str], text: &str) {
    let [step, rest @ ..] = steps else {
        *slot = view.map_or_else(|| Value::String(text.to_owned()), |view| coerce(view, text));
        return;
    };
    let is_list = view.as_ref().map_or_else(
        || step.bytes().all(|byte| byte.is_ascii_digit()),
        |view| view.plain().main_type() == Some("array"),
    );
    if is_list {
        if !slot.is_array() {
            *slot = Value::Array(Vec::new());
        }
        let Value::Array(list) = slot else { return };
        let at = step.parse().unwrap_or(list.len()).min(list.len());
        if at == list.len() {
            list.push(Value::Null);
        }
        put(&mut list[at], view.and_then(View::items), rest, text);
    } else {
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(members) = slot else { return };
        let member = members.entry((*step).to_owned()).or_insert(Value::Null);
        put(member, view.and_then(|view| view.property(step)), rest, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    #[test]
    fn forms_become_objects_of_the_right_types() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}, "o": {"type": "object"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "joined": {"type": "array", "items": {"type": "integer"}}
        }});
        let joined = Encoding { explode: Some(false), ..Encoding::default() };
        let encoding = [(String::from("joined"), joined)].into_iter().collect();
        let fields = urlencoded(b"n=3&tags=a&tags=b&o=%7B%22x%22%3A1%7D&s=%20t");
        let object = |fields| object(View::new(&schema), fields, &encoding);
        assert_eq!(object(fields), json!({"n": 3, "tags": ["a", "b"], "o": {"x": 1}, "s": " t"}));
        let deep = urlencoded(b"deep%5Bn%5D=7&deep%5Blist%5D%5B0%5D=a&deep%5Blist%5D%5B1%5D=b&joined=1%2C2");
        assert_eq!(object(deep), json!({"deep": {"n": 7, "list": ["a", "b"]}, "joined": [1, 2]}));
    }

    #[test]
    fn a_multipart_body_is_read_to_its_end() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\n\
                    1\r\n2\r\n--X--\r\n";
        let fields = multipart("multipart/form-data; boundary=X", body.as_bytes()).unwrap();
        assert_eq!(fields, [("a".to_owned(), "1\r\n2".to_owned())]);
        assert!(multipart("multipart/form-data; boundary=X", b"--X\r\nContent").is_none());
    }

    #[test]
    fn ranges_cover_types() {
        assert!(
            covers("*/*", "text/plain") && covers("image/*", "image/png") && !covers("image/*", "text/plain")
        );
        assert!(is_json("application/problem+json") && !is_json("text/plain"));
    }
}
