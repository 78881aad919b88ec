//! How values are written in paths, queries and headers.
//!
//! Owns the styles of OpenAPI 3 and the collection formats of 2.0. The idea: delimiters are ours and stay as the style
//! has them; everything a value brings is percent-encoded.
//!
//! Must not: let a value add a parameter that another parameter has the name of.

use std::fmt::Write as _;

use super::refused;
use crate::connectors::document::{Operation, Parameter, Place, Style};
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// Percent-encodes everything but `A-Z a-z 0-9 - . _ ~`.
pub(super) fn encode(text: &str) -> String {
    escaped(text, b"")
}

/// Names of query parameters keep what names are made of: `$filter`.
fn name(text: &str) -> String {
    escaped(text, b"$@:!*(),;/")
}

fn escaped(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A value as text: strings as they are, the rest as JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

type Encoder<'a> = &'a dyn Fn(&str) -> String;
type Filler<'a> = &'a dyn Fn(&str) -> Result<String>;

/// Style `simple`, for headers and paths.
pub(super) fn simple(parameter: &Parameter, value: &Value, encode: Encoder<'_>) -> String {
    if parameter.content_type.is_some() {
        return encode(&value.to_string());
    }
    let separator = match parameter.style {
        Style::SpaceDelimited => " ",
        Style::PipeDelimited => "|",
        Style::TabDelimited => "\t",
        _ => ",",
    };
    joined(value, separator, if parameter.explode { "=" } else { separator }, encode)
}

fn joined(value: &Value, separator: &str, equals: &str, encode: Encoder<'_>) -> String {
    match value {
        Value::Array(items) => {
            items.iter().map(|item| encode(&scalar(item))).collect::<Vec<_>>().join(separator)
        }
        Value::Object(object) => object
            .iter()
            .map(|(key, item)| format!("{}{equals}{}", encode(key), encode(&scalar(item))))
            .collect::<Vec<_>>()
            .join(separator),
        value => encode(&scalar(value)),
    }
}

/// A value in a path. `fill` encodes one text, or refuses it.
pub(super) fn path_value(parameter: &Parameter, value: &Value, fill: Filler<'_>) -> Result<String> {
    if matches!(value, Value::Null) {
        return Err(refused(&parameter.argument));
    }
    if parameter.content_type.is_some() {
        return fill(&value.to_string());
    }
    // Every part is checked before anything is joined.
    let parts: Vec<(Option<String>, String)> = match value {
        Value::Array(items) => {
            items.iter().map(|item| Ok((None, fill(&scalar(item))?))).collect::<Result<_>>()?
        }
        Value::Object(object) => object
            .iter()
            .map(|(key, item)| Ok((Some(fill(key)?), fill(&scalar(item))?)))
            .collect::<Result<_>>()?,
        value => vec![(None, fill(&scalar(value))?)],
    };
    if parts.is_empty() {
        return Err(refused(&parameter.argument));
    }
    let single = !matches!(value, Value::Array(_) | Value::Object(_));
    let own = name(&parameter.name);
    let explode = parameter.explode;
    let pair = |(key, item): &(Option<String>, String), equals: &str| match key {
        Some(key) => format!("{key}{equals}{item}"),
        None => item.clone(),
    };
    let all = |separator: &str, equals: &str| -> String {
        parts.iter().map(|part| pair(part, equals)).collect::<Vec<_>>().join(separator)
    };
    Ok(match parameter.style {
        Style::Label if explode => format!(".{}", all(".", "=")),
        Style::Label => format!(".{}", all(",", ",")),
        Style::Matrix if single || !explode => format!(";{own}={}", all(",", ",")),
        Style::Matrix => parts
            .iter()
            .map(|part| {
                if part.0.is_some() { format!(";{}", pair(part, "=")) } else { format!(";{own}={}", part.1) }
            })
            .collect(),
        Style::SpaceDelimited => all("%20", "%20"),
        Style::PipeDelimited => all("%7C", "%7C"),
        Style::TabDelimited => all("%09", "%09"),
        _ => all(",", if explode { "=" } else { "," }),
    })
}

/// Adds a parameter's pairs to a query.
pub(super) fn query(
    parameter: &Parameter,
    value: &Value,
    operation: &Operation,
    out: &mut Vec<String>,
) -> Result<()> {
    let own = name(&parameter.name);
    let reserved: &[u8] = if parameter.allow_reserved { b":/?@!$()*,;" } else { b"" };
    let encode = |text: &str| escaped(text, reserved);
    if parameter.content_type.is_some() {
        out.push(format!("{own}={}", encode(&value.to_string())));
        return Ok(());
    }
    let separator = match parameter.style {
        Style::SpaceDelimited => "%20",
        Style::PipeDelimited => "%7C",
        Style::TabDelimited => "%09",
        _ => ",",
    };
    match value {
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if parameter.explode => {
            out.extend(items.iter().map(|item| format!("{own}={}", encode(&scalar(item)))));
        }
        Value::Object(_) if parameter.style == Style::DeepObject => deep(&own, value, 0, &encode, out)?,
        Value::Object(object) if parameter.explode && parameter.style == Style::Form => {
            for (key, item) in object {
                let taken = operation.parameters.iter().any(|it| it.place == Place::Query && it.name == *key);
                if taken {
                    return Err(Error::new(
                        Kind::BadArguments,
                        format!(
                            "The argument {} has a property that is the name of another parameter; give that one instead.",
                            parameter.argument
                        ),
                    ));
                }
                match item {
                    Value::Array(items) => {
                        out.extend(
                            items.iter().map(|item| format!("{}={}", name(key), encode(&scalar(item)))),
                        );
                    }
                    item => out.push(format!("{}={}", name(key), encode(&scalar(item)))),
                }
            }
        }
        Value::Object(object) if object.is_empty() => {}
        value => out.push(format!("{own}={}", joined(value, separator, separator, &encode))),
    }
    Ok(())
}

/// `a[b]=1&a[c][d]=2`, with the brackets encoded.
fn deep(own: &str, value: &Value, depth: usize, encode: Encoder<'_>, out: &mut Vec<String>) -> Result<()> {
    if depth > 8 {
        return Err(Error::new(Kind::BadArguments, "An object for a query is nested deeper than 8 levels."));
    }
    match value {
        Value::Object(object) => {
            for (key, item) in object {
                deep(&format!("{own}%5B{}%5D", escaped(key, b"")), item, depth + 1, encode, out)?;
            }
        }
        Value::Array(items) => {
            for item in items {
                deep(own, item, depth + 1, encode, out)?;
            }
        }
        Value::Null => {}
        value => out.push(format!("{own}={}", encode(&scalar(value)))),
    }
    Ok(())
}
