//! Bodies as they are sent.
//!
//! Owns [`body`]. The idea: JSON as it is; forms field by field with the document's `encoding`; text and bytes from a
//! string, bytes as base64.
//!
//! Must not: choose the media type (the document's reader did).

use base64::Engine as _;
use bytes::Bytes;

use super::style::{RESERVED, Script, escaped, scalar};
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
            let text = urlencoded(fields(spec, value)?, spec)?;
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
        if hints.is_styled() && !hints.binary && matches!(value, Value::Array(_) | Value::Object(_)) {
            let plain = |text: &str| text.to_owned();
            let pairs = script(&hints, (&plain, &plain, &plain), false, &spec.argument).pairs(
                name,
                value,
                &|key| fields.contains_key(key),
            )?;
            let text = |(name, text): (String, String)| {
                let content_type = hints.content_type.clone();
                Part { name, file_name: None, content_type, bytes: Bytes::from(text) }
            };
            parts.extend(pairs.into_iter().map(text));
            continue;
        }
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

/// How a field is written that the document has a style for. The encoders are for names, for values and for items.
fn script<'a>(
    hints: &Encoding,
    (name, value, item): (super::style::Encoder<'a>, super::style::Encoder<'a>, super::style::Encoder<'a>),
    encoded: bool,
    argument: &'a str,
) -> Script<'a> {
    let style = hints.style.unwrap_or(Style::Form);
    let explode = hints.explode.unwrap_or(style == Style::Form);
    Script { style, explode, numbered: true, encoded, name, value: (value, item), argument }
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

fn urlencoded(fields: &Map<String, Value>, spec: &BodySpec) -> Result<String> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, value) in fields {
        let hints = spec.encoding.get(name).cloned().unwrap_or_default();
        let written = |text: &str, kept: &[u8]| {
            if hints.allow_reserved { escaped(text, kept) } else { pressed(text.as_bytes()) }
        };
        let (alone, among) = (|text: &str| written(text, RESERVED), |text: &str| written(text, b":/?@!$()*"));
        let own = |text: &str| pressed(text.as_bytes());
        match value {
            Value::Null => {}
            Value::String(text) if hints.binary => {
                out.push((own(name), pressed(&decoded(text, &spec.argument)?)));
            }
            value if hints.content_type.as_deref().is_some_and(is_json) => {
                out.push((own(name), pressed(value.to_string().as_bytes())));
            }
            // Without a style an object is JSON; a list is repeated, whatever it holds.
            Value::Object(_) if !hints.is_styled() => {
                out.push((own(name), pressed(value.to_string().as_bytes())));
            }
            value => {
                let script = script(&hints, (&own, &alone, &among), true, &spec.argument);
                out.extend(script.pairs(name, value, &|key| fields.contains_key(key))?);
            }
        }
    }
    Ok(out.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

/// As forms write it: a space is a plus.
fn pressed(bytes: &[u8]) -> String {
    url::form_urlencoded::byte_serialize(bytes).collect()
}
