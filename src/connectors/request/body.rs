//! Bodies as they are sent.
//!
//! Owns [`body`]. The idea: JSON as it is; forms field by field with the document's `encoding`; text and bytes from a
//! string, bytes as base64.
//!
//! Must not: choose the media type (the document's reader did).

use base64::Engine as _;
use bytes::Bytes;

use super::style::scalar;
use crate::connectors::document::{BodySpec, Encoding, Style};
use crate::connectors::openapi::is_json;
use crate::error::{Error, Kind, Result};
use crate::http::{Body, Part};
use crate::json::{Map, Value};

/// The body for a value that fits its schema.
pub(super) fn body(spec: &BodySpec, value: &Value) -> Result<Body> {
    let kind = spec.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let content_type = spec.media_type.clone();
    if is_json(&kind) {
        return Ok(Body::Bytes { content_type, bytes: Bytes::from(value.to_string()) });
    }
    match kind.as_str() {
        "multipart/form-data" => multipart(fields(spec, value)?, spec).map(Body::Multipart),
        "application/x-www-form-urlencoded" => {
            let text = urlencoded(fields(spec, value)?, spec);
            Ok(Body::Bytes { content_type, bytes: Bytes::from(text) })
        }
        _ => {
            let Value::String(text) = value else {
                return Err(Error::new(
                    Kind::BadArguments,
                    format!("The argument {} must be text.", spec.argument),
                ));
            };
            let bytes = if spec.binary { decoded(text, &spec.argument)? } else { Bytes::from(text.clone()) };
            Ok(Body::Bytes { content_type, bytes })
        }
    }
}

fn fields<'a>(spec: &BodySpec, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| {
        Error::new(
            Kind::BadArguments,
            format!("The argument {} must be an object: it is sent as a form.", spec.argument),
        )
    })
}

fn decoded(text: &str, argument: &str) -> Result<Bytes> {
    let engine = &base64::engine::general_purpose::STANDARD;
    engine.decode(text.trim()).map(Bytes::from).map_err(|cause| {
        Error::new(Kind::BadArguments, format!("The bytes in the argument {argument} must be base64."))
            .with_source(cause)
    })
}

fn multipart(fields: &Map<String, Value>, spec: &BodySpec) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (name, value) in fields {
        let hints = spec.encoding.get(name).cloned().unwrap_or_default();
        let items: &[Value] = match value {
            Value::Array(items) => items,
            Value::Null => continue,
            value => std::slice::from_ref(value),
        };
        for item in items {
            parts.push(part(name, item, &hints, &spec.argument)?);
        }
    }
    Ok(parts)
}

fn part(name: &str, item: &Value, hints: &Encoding, argument: &str) -> Result<Part> {
    let content_type = hints.content_type.clone();
    let named = |content_type: &str, bytes: Bytes, file_name: Option<String>| Part {
        name: name.to_owned(),
        file_name,
        content_type: Some(hints.content_type.clone().unwrap_or_else(|| content_type.to_owned())),
        bytes,
    };
    Ok(match item {
        Value::String(text) if hints.binary => {
            named("application/octet-stream", decoded(text, argument)?, Some(name.to_owned()))
        }
        Value::Object(_) | Value::Array(_) => named("application/json", Bytes::from(item.to_string()), None),
        item => {
            Part { name: name.to_owned(), file_name: None, content_type, bytes: Bytes::from(scalar(item)) }
        }
    })
}

fn urlencoded(fields: &Map<String, Value>, spec: &BodySpec) -> String {
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        let hints = spec.encoding.get(name).cloned().unwrap_or_default();
        let style = hints.style.unwrap_or(Style::Form);
        let explode = hints.explode.unwrap_or(style == Style::Form);
        let as_json = hints.content_type.as_deref().is_some_and(is_json);
        match value {
            Value::Null => {}
            value if as_json => {
                out.append_pair(name, &value.to_string());
            }
            Value::Array(items) if explode => {
                for item in items {
                    out.append_pair(name, &scalar(item));
                }
            }
            Value::Array(items) => {
                let separator = match style {
                    Style::SpaceDelimited => " ",
                    Style::PipeDelimited => "|",
                    Style::TabDelimited => "\t",
                    _ => ",",
                };
                out.append_pair(name, &items.iter().map(scalar).collect::<Vec<_>>().join(separator));
            }
            Value::Object(object) if style == Style::DeepObject => {
                for (key, item) in object {
                    out.append_pair(&format!("{name}[{key}]"), &scalar(item));
                }
            }
            Value::Object(object) if hints.style == Some(Style::Form) && explode => {
                for (key, item) in object.iter().filter(|(key, _)| !fields.contains_key(*key)) {
                    out.append_pair(key, &scalar(item));
                }
            }
            value => {
                out.append_pair(name, &scalar(value));
            }
        }
    }
    out.finish()
}
