//! A request, read as strictly as the document says.
//!
//! Owns [`Call`] and [`read`]. The idea: text becomes values by the parameter's own schema and style, values are
//! checked, and what nobody declared is refused: a stand-in that is lenient teaches nothing.
//!
//! Must not: answer, or repeat a value in a refusal.

use axum::http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::book::Book;
use super::form;
use super::recipe::View;
use super::reply::Refused;
use crate::connectors::document::{Parameter, Place, Style};
use crate::json::{Bounds, Map, Value, parse};

/// A request that was understood.
#[derive(Debug)]
pub(super) struct Call {
    pub operation: usize,
    /// Decoded path.
    pub segments: Vec<String>,
    /// Query parameters by their names on the wire.
    pub query: Map<String, Value>,
    /// The query string as it came.
    pub raw_query: String,
    pub body: Option<Value>,
    pub if_match: Option<String>,
}

/// What a request is read from.
pub(super) struct Raw<'a> {
    pub segments: Vec<String>,
    pub path: Map<String, Value>,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// Whether undeclared query parameters are refused.
    pub strict: bool,
}

type Pairs = Vec<(String, String)>;

fn bad(message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, message)
}

/// Reads a request as one operation.
pub(super) fn read(book: &Book, operation: usize, raw: Raw<'_>) -> Result<Call, Refused> {
    let declared = book.operation(operation);
    // name decoded, value still encoded: delimiters are only delimiters where they are bare
    let pairs: Pairs = raw
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), value.to_owned())
        })
        .collect();
    let mut used: Vec<bool> = vec![false; pairs.len()];
    let mut query = Map::new();
    for position in 0..declared.parameters.len() {
        let (parameter, view) = book.parameter(operation, position);
        let value = match parameter.place {
            Place::Path => match raw.path.get(&parameter.name) {
                Some(Value::String(text)) => Some(coerce(view, text)),
                _ => None,
            },
            Place::Query => from_query(parameter, view, &pairs, &mut used)?,
            Place::Header if ignored(&parameter.name) => continue,
            Place::Header => raw
                .headers
                .get(parameter.name.as_str())
                .and_then(|value| value.to_str().ok())
                .map(|text| from_header(view, text)),
            Place::Cookie => form::cookie(raw.headers, &parameter.name).map(|text| coerce(view, &text)),
        };
        let place = match parameter.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
            Place::Cookie => "cookie",
        };
        if let Some(fixed) = &parameter.fixed {
            if value != Some(coerce(view, fixed)) {
                return Err(bad(format!("The {place} parameter {} has one value only.", parameter.name)));
            }
            continue;
        }
        let Some(value) = value else {
            if parameter.required {
                return Err(bad(format!("The {place} parameter {} is missing.", parameter.name)));
            }
            continue;
        };
        if let Err(error) = book.check_parameter(operation, position, &value) {
            let message = format!(
                "The {place} parameter {} does not fit its schema: {}",
                parameter.name,
                error.message()
            );
            return Err(bad(message));
        }
        if parameter.place == Place::Query {
            query.insert(parameter.name.clone(), value);
        }
    }
    for ((name, value), used) in pairs.iter().zip(&mut used) {
        if !*used && super::page::is_own(name, value) {
            query.insert(name.clone(), Value::String(value.clone()));
            *used = true;
        }
    }
    if raw.strict && used.contains(&false) {
        return Err(bad("The query has a parameter that this operation does not declare."));
    }
    let body = read_body(book, operation, &raw)?;
    let if_match = raw.headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Call { operation, segments: raw.segments, query, raw_query: raw.query.to_owned(), body, if_match })
}

/// Header parameters that OpenAPI leaves to other parts of a document.
pub(super) fn ignored(name: &str) -> bool {
    ["accept", "content-type", "authorization"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Text as a value of the schema's type, or as text.
pub(super) fn coerce(view: View<'_>, text: &str) -> Value {
    let flat = view.plain();
    let wants = |kind: &str| flat.types.contains(&kind);
    if (wants("integer") || wants("number"))
        && let Ok(Value::Number(number)) = serde_json::from_str::<Value>(text)
    {
        return Value::Number(number);
    }
    if wants("boolean")
        && let Ok(flag) = text.parse::<bool>()
    {
        return Value::Bool(flag);
    }
    Value::String(text.to_owned())
}

fn from_header(view: View<'_>, text: &str) -> Value {
    match (view.plain().main_type(), view.items()) {
        (Some("array"), Some(items)) => text.split(',').map(|item| coerce(items, item.trim())).collect(),
        _ => coerce(view, text),
    }
}

fn from_query(
    parameter: &Parameter,
    view: View<'_>,
    pairs: &Pairs,
    used: &mut [bool],
) -> Result<Option<Value>, Refused> {
    let mut take = |wanted: &dyn Fn(&str) -> bool| -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (pair, used) in pairs.iter().zip(used.iter_mut()) {
            if wanted(&pair.0) {
                *used = true;
                found.push(pair.clone());
            }
        }
        found
    };
    let name = parameter.name.as_str();
    let flat = view.plain();
    if parameter.content_type.is_some() {
        let Some((_, text)) = take(&|given| given == name).pop() else { return Ok(None) };
        let value = serde_json::from_str(&decode(&text));
        return value.map(Some).map_err(|_| bad(format!("The query parameter {name} is not JSON.")));
    }
    match flat.main_type() {
        Some("array") => {
            let bare = format!("{name}[]");
            let found = take(&|given| given == name || given == bare);
            if found.is_empty() {
                return Ok(None);
            }
            let item = |text: &str| match view.items() {
                Some(items) => coerce(items, &decode(text)),
                None => decode(text).into(),
            };
            let repeated = parameter.explode || found.len() > 1;
            let values: Vec<Value> = if repeated {
                found.iter().map(|(_, text)| item(text)).collect()
            } else {
                let text = found.first().map_or("", |(_, text)| text.as_str());
                split(text, parameter.style).into_iter().map(item).collect()
            };
            Ok(Some(Value::Array(values)))
        }
        Some("object") => {
            let start = format!("{name}[");
            let property = |key: &str, text: &str| {
                let value = match view.property(key) {
                    Some(view) => coerce(view, &decode(text)),
                    None => decode(text).into(),
                };
                (key.to_owned(), value)
            };
            let object: Map<String, Value> = if parameter.style == Style::DeepObject {
                take(&|given| given.starts_with(&start))
                    .iter()
                    .map(|(given, text)| property(given[start.len()..].trim_end_matches(']'), text))
                    .collect()
            } else if parameter.explode {
                take(&|given| flat.properties.contains_key(given))
                    .iter()
                    .map(|(given, text)| property(given, text))
                    .collect()
            } else {
                let found = take(&|given| given == name);
                let text = found.first().map_or("", |(_, text)| text.as_str());
                let words: Vec<&str> = text.split(',').filter(|word| !word.is_empty()).collect();
                words.chunks_exact(2).map(|pair| property(&decode(pair[0]), pair[1])).collect()
            };
            Ok((!object.is_empty()).then_some(Value::Object(object)))
        }
        _ => {
            let found = take(&|given| given == name);
            if found.len() > 1 {
                return Err(bad(format!("The query parameter {name} is given more than once.")));
            }
            Ok(found.first().map(|(_, text)| coerce(view, &decode(text))))
        }
    }
}

fn split(text: &str, style: Style) -> Vec<&str> {
    let pieces: Vec<&str> = match style {
        Style::SpaceDelimited => text.split("%20").flat_map(|part| part.split('+')).collect(),
        Style::PipeDelimited => {
            text.split('|').flat_map(|part| part.split("%7C")).flat_map(|part| part.split("%7c")).collect()
        }
        Style::TabDelimited => text.split("%09").collect(),
        _ => text.split(',').collect(),
    };
    pieces
}

fn read_body(book: &Book, operation: usize, raw: &Raw<'_>) -> Result<Option<Value>, Refused> {
    let Some(declared) = &book.operation(operation).body else {
        return if raw.body.is_empty() { Ok(None) } else { Err(bad("This operation takes no body.")) };
    };
    if raw.body.is_empty() {
        return if declared.required { Err(bad("The body is missing.")) } else { Ok(None) };
    }
    let given = raw.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = form::essence(given);
    if !declared.offered.iter().any(|offered| form::covers(&form::essence(offered), &essence)) {
        let message = format!("The body must be sent as one of: {}.", declared.offered.join(", "));
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let Some(view) = book.body(operation) else { return Ok(None) };
    let value = if form::is_json(&essence) {
        let read = parse(raw.body, &Bounds::default());
        read.map_err(|error| bad(format!("The body cannot be read: {}", error.message())))?
    } else if essence == "application/x-www-form-urlencoded" {
        form::object(view, form::urlencoded(raw.body), &declared.encoding)
    } else if essence == "multipart/form-data" {
        let parts =
            form::multipart(given, raw.body).ok_or_else(|| bad("The multipart body cannot be read."))?;
        form::object(view, parts, &declared.encoding)
    } else {
        return Ok(None);
    };
    if let Err(error) = book.check_body(operation, &value) {
        return Err(bad(format!("The body does not fit its schema: {}", error.message())));
    }
    Ok(Some(value))
}
