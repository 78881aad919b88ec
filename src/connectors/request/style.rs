//! How values are written in paths, queries, headers, cookies and forms.
//!
//! Owns the styles of OpenAPI 3 and the collection formats of 2.0. The idea: delimiters are ours and stay as the style
//! has them (RFC 6570, which the specification refers to); everything a value brings is percent-encoded, and a value
//! that would be read as two is refused. Where the specification leaves a case open, the way that most servers read is
//! taken: lists inside of `deepObject` are numbered in forms and repeated in queries, lists of objects always numbered.
//!
//! Must not: let a value add a parameter that another parameter has the name of.

use std::fmt::Write as _;

use super::{overriding, refused};
use crate::connectors::document::{Operation, Parameter, Place, Style};
use crate::connectors::openapi::{is_json, overrides};
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// Levels of an object that is written as `a[b][c]`.
const LEVELS: usize = 8;
/// Reserved characters that stay where `allowReserved` says so: all but those that part pairs or end the query.
pub(super) const RESERVED: &[u8] = b":/?@!$()*,;";

/// Percent-encodes everything but `A-Z a-z 0-9 - . _ ~`.
pub(super) fn encode(text: &str) -> String {
    escaped(text, b"")
}

/// Names of query parameters keep what names are made of: `$filter`.
fn name(text: &str) -> String {
    escaped(text, b"$@:!*(),;/")
}

/// Percent-encodes what is neither unreserved nor among `kept`.
pub(super) fn escaped(text: &str, kept: &[u8]) -> String {
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

/// A value as the media type of a `content` parameter has it.
pub(super) fn content(media_type: &str, value: &Value) -> String {
    if is_json(media_type) { value.to_string() } else { scalar(value) }
}

/// A value as text: strings as they are, the rest as JSON.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) type Encoder<'a> = &'a dyn Fn(&str) -> String;
type Filler<'a> = &'a dyn Fn(&str) -> Result<String>;

/// One parameter or field, and how it is written as pairs of name and value.
pub(super) struct Script<'a> {
    pub(super) style: Style,
    pub(super) explode: bool,
    /// Whether every list inside of `a[b]` is numbered.
    pub(super) numbered: bool,
    /// Whether delimiters that an address cannot hold are percent-encoded, as the rest is.
    pub(super) encoded: bool,
    /// Encodes names and keys.
    pub(super) name: Encoder<'a>,
    /// Encodes a value that stands alone, and one that stands in a list with delimiters.
    pub(super) value: (Encoder<'a>, Encoder<'a>),
    /// What it is called among the arguments.
    pub(super) argument: &'a str,
}

impl Script<'_> {
    /// The pairs of a value. `taken` says which names are other parameters'.
    pub(super) fn pairs(
        &self,
        own: &str,
        value: &Value,
        taken: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(String, String)>> {
        let mut out = Vec::new();
        let whole = (self.name)(own);
        match value {
            Value::Null => {}
            Value::Array(_) | Value::Object(_) if self.style == Style::DeepObject => {
                self.deep(&whole, value, (0, self.numbered), &mut out)?;
            }
            Value::Array(items) if self.explode => {
                let items = items.iter().filter(|item| !item.is_null());
                out.extend(items.map(|item| (whole.clone(), (self.value.0)(&scalar(item)))));
            }
            Value::Object(object) if self.explode && self.style == Style::Form => {
                for (key, item) in object.iter().filter(|(_, item)| !item.is_null()) {
                    if overrides(key) {
                        return Err(overriding(self.argument));
                    }
                    if taken(key) {
                        return Err(Error::new(
                            Kind::BadArguments,
                            format!(
                                "The argument {} has a property that is the name of another parameter; give that one instead.",
                                self.argument
                            ),
                        ));
                    }
                    let items = item.as_array().map_or(std::slice::from_ref(item), Vec::as_slice);
                    let key = (self.name)(key);
                    out.extend(items.iter().map(|item| (key.clone(), (self.value.0)(&scalar(item)))));
                }
            }
            Value::Array(_) | Value::Object(_) => {
                let (mark, separator) = mark(self.style);
                let encoded = if self.encoded { separator } else { mark };
                let encode = |text: &str| self.item(text, mark);
                let text = joined(value, encoded, encoded, &encode)?;
                if !text.is_empty() || value.as_array().is_some_and(|items| !items.is_empty()) {
                    out.push((whole, text));
                }
            }
            value => out.push((whole, (self.value.0)(&scalar(value)))),
        }
        Ok(out)
    }

    /// One item among others. It must not hold what parts them: only a comma is told apart by its encoding.
    fn item(&self, text: &str, mark: &str) -> Result<String> {
        let written = (self.value.1)(text);
        let unclear = text.contains(mark) && (mark != "," || written.contains(mark));
        if unclear { Err(parted(self.argument, mark)) } else { Ok(written) }
    }

    /// `a[b]=1&a[c][d]=2`.
    fn deep(
        &self,
        own: &str,
        value: &Value,
        (depth, numbered): (usize, bool),
        out: &mut Vec<(String, String)>,
    ) -> Result<()> {
        if depth > LEVELS {
            let what = format!("An object for a query or a form is nested deeper than {LEVELS} levels.");
            return Err(Error::new(Kind::BadArguments, what));
        }
        let (open, close) = if self.encoded { ("%5B", "%5D") } else { ("[", "]") };
        match value {
            Value::Null => {}
            Value::Object(object) => {
                for (key, item) in object {
                    let name = format!("{own}{open}{}{close}", (self.name)(key));
                    self.deep(&name, item, (depth + 1, self.numbered), out)?;
                }
            }
            Value::Array(items) => {
                // Without numbers nobody could say which property belongs to which item.
                let apart = depth == 0
                    || numbered
                    || items.iter().any(|item| matches!(item, Value::Object(_) | Value::Array(_)));
                for (at, item) in items.iter().enumerate() {
                    let name = if apart { format!("{own}{open}{at}{close}") } else { own.to_owned() };
                    self.deep(&name, item, (depth + 1, apart), out)?;
                }
            }
            value => out.push((own.to_owned(), (self.value.0)(&scalar(value)))),
        }
        Ok(())
    }
}

/// What parts the items of a style: as it is, and as an address has it.
fn mark(style: Style) -> (&'static str, &'static str) {
    match style {
        Style::SpaceDelimited => (" ", "%20"),
        Style::PipeDelimited => ("|", "%7C"),
        Style::TabDelimited => ("\t", "%09"),
        _ => (",", ","),
    }
}

fn parted(argument: &str, mark: &str) -> Error {
    let what = match mark {
        " " => "a space",
        "|" => "a vertical bar",
        "\t" => "a tab",
        _ => "a comma",
    };
    let message =
        format!("The argument {argument} has an item that holds {what}, by which this API parts items.");
    Error::new(Kind::BadArguments, message)
}

/// Items with separators; nothing that is null is there.
fn joined(value: &Value, separator: &str, equals: &str, encode: Filler<'_>) -> Result<String> {
    let parts: Vec<String> = match value {
        Value::Array(items) => items
            .iter()
            .filter(|item| !item.is_null())
            .map(|item| encode(&scalar(item)))
            .collect::<Result<_>>()?,
        Value::Object(object) => object
            .iter()
            .filter(|(_, item)| !item.is_null())
            .map(|(key, item)| Ok(format!("{}{equals}{}", encode(key)?, encode(&scalar(item))?)))
            .collect::<Result<_>>()?,
        value => vec![encode(&scalar(value))?],
    };
    Ok(parts.join(separator))
}

/// A value in a header: `simple`, and nothing is percent-encoded there.
pub(super) fn header(parameter: &Parameter, value: &Value) -> Result<String> {
    if let Some(media_type) = &parameter.content_type {
        return Ok(ascii(content(media_type, value), media_type));
    }
    let (mark, _) = mark(parameter.style);
    let several = matches!(value, Value::Array(_) | Value::Object(_));
    let plain = |text: &str| {
        let unclear = several && text.contains(mark);
        if unclear { Err(parted(&parameter.argument, mark)) } else { Ok(text.to_owned()) }
    };
    joined(value, mark, if parameter.explode { "=" } else { mark }, &plain)
}

/// JSON can say everything in ASCII, which is all that a header can hold.
fn ascii(text: String, media_type: &str) -> String {
    if text.is_ascii() || !is_json(media_type) {
        return text;
    }
    let mut out = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// A value as pairs of a cookie. Exploded, each becomes a cookie of its own.
pub(super) fn cookie(parameter: &Parameter, value: &Value, operation: &Operation) -> Result<Vec<String>> {
    if let Some(media_type) = &parameter.content_type {
        return Ok(vec![format!("{}={}", parameter.name, encode(&content(media_type, value)))]);
    }
    let script = Script {
        style: Style::Form,
        explode: parameter.explode,
        numbered: false,
        encoded: true,
        name: &encode,
        value: (&encode, &encode),
        argument: &parameter.argument,
    };
    let token = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let taken = |key: &str| {
        let other = |it: &Parameter| it.place == Place::Cookie && it.name == key;
        !key.chars().all(token) || key.is_empty() || operation.parameters.iter().any(other)
    };
    let mut pairs = script.pairs(&parameter.name, value, &taken)?;
    // The name is a token already, and stays as the document has it.
    let own = encode(&parameter.name);
    pairs.iter_mut().filter(|(name, _)| *name == own).for_each(|pair| pair.0.clone_from(&parameter.name));
    Ok(pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// A value in a path. `fill` encodes one text, or refuses it.
pub(super) fn path_value(parameter: &Parameter, value: &Value, fill: Filler<'_>) -> Result<String> {
    if matches!(value, Value::Null) {
        return Err(refused(&parameter.argument));
    }
    if let Some(media_type) = &parameter.content_type {
        return fill(&content(media_type, value));
    }
    let several = matches!(value, Value::Array(_) | Value::Object(_));
    let (sign, separator) = mark(parameter.style);
    // A comma of a value is told apart by its encoding; what is encoded itself as a separator is not.
    let fill = |text: &str| {
        let unclear = several && sign != separator && text.contains(sign);
        if unclear { Err(parted(&parameter.argument, sign)) } else { fill(text) }
    };
    // Every part is checked before anything is joined.
    let parts: Vec<(Option<String>, String)> = match value {
        Value::Array(items) => items
            .iter()
            .filter(|item| !item.is_null())
            .map(|item| Ok((None, fill(&scalar(item))?)))
            .collect::<Result<_>>()?,
        Value::Object(object) => object
            .iter()
            .filter(|(_, item)| !item.is_null())
            .map(|(key, item)| Ok((Some(fill(key)?), fill(&scalar(item))?)))
            .collect::<Result<_>>()?,
        value => vec![(None, fill(&scalar(value))?)],
    };
    if parts.is_empty() {
        return Err(refused(&parameter.argument));
    }
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
        Style::Matrix if !several || !explode => format!(";{own}={}", all(",", ",")),
        Style::Matrix => parts
            .iter()
            .map(|part| {
                if part.0.is_some() { format!(";{}", pair(part, "=")) } else { format!(";{own}={}", part.1) }
            })
            .collect(),
        Style::SpaceDelimited | Style::PipeDelimited | Style::TabDelimited => all(separator, separator),
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
    let reserved: &[u8] = if parameter.allow_reserved { RESERVED } else { b"" };
    let encode = |text: &str| escaped(text, reserved);
    if let Some(media_type) = &parameter.content_type {
        out.push(format!("{}={}", name(&parameter.name), encode(&content(media_type, value))));
        return Ok(());
    }
    let among = |text: &str| escaped(text, reserved.strip_suffix(b",;").unwrap_or(reserved));
    let script = Script {
        style: parameter.style,
        explode: parameter.explode,
        numbered: false,
        encoded: true,
        name: &name,
        value: (&encode, &among),
        argument: &parameter.argument,
    };
    let taken = |key: &str| operation.parameters.iter().any(|it| it.place == Place::Query && it.name == key);
    let pairs = script.pairs(&parameter.name, value, &taken)?;
    out.extend(pairs.into_iter().map(|(name, value)| format!("{name}={value}")));
    Ok(())
}
