//! Path templates.
//!
//! Owns [`Template`]. The idea: a template falls into segments once; an argument can fill a gap in a segment and never
//! make another segment, however it is written (`..`, `%2e%2e`, `a/b`, `a%252fb`, a backslash).
//!
//! Must not: trust the encoding alone; what decodes to something else is refused.

use percent_encoding::percent_decode_str;

use super::style::{encode, path_value};
use crate::connectors::document::{Operation, Parameter, Place};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};

/// A path, in pieces.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Vec<Piece>>,
}

#[derive(Debug)]
enum Piece {
    /// As it is sent.
    Literal(String),
    /// A variable, and how it stands in its segment.
    Variable { name: String, frame: Frame },
}

/// What stands around a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Nothing that gives characters a meaning.
    Free,
    /// `f(a={a})`: commas and parentheses mean something.
    Call,
    /// `f(a='{a}')`: quotes are doubled.
    Quoted,
}

impl Template {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut segments = Vec::new();
        for segment in path.strip_prefix('/')?.split('/') {
            let mut pieces = Vec::new();
            let mut rest = segment;
            let mut before = String::new();
            while let Some(open) = rest.find('{') {
                let close = rest[open..].find('}')? + open;
                before.push_str(&rest[..open]);
                if open > 0 {
                    pieces.push(Piece::Literal(literal(&rest[..open])));
                }
                let after = &rest[close + 1..];
                let frame = if before.ends_with('\'') && after.starts_with('\'') {
                    Frame::Quoted
                } else if before.matches('(').count() > before.matches(')').count() {
                    Frame::Call
                } else {
                    Frame::Free
                };
                let name = rest[open + 1..close].to_owned();
                if name.is_empty() || name.contains('{') {
                    return None;
                }
                pieces.push(Piece::Variable { name, frame });
                rest = after;
            }
            if rest.contains('}') {
                return None;
            }
            if !rest.is_empty() || pieces.is_empty() {
                pieces.push(Piece::Literal(literal(rest)));
            }
            segments.push(pieces);
        }
        // The root is no segment.
        if let [only] = segments.as_slice()
            && matches!(only.as_slice(), [Piece::Literal(text)] if text.is_empty())
        {
            segments.clear();
        }
        Some(Self { segments })
    }

    /// The segments with the arguments filled in, as they are sent.
    pub(super) fn fill(&self, operation: &Operation, arguments: &Map<String, Value>) -> Result<Vec<String>> {
        let mut out = Vec::with_capacity(self.segments.len());
        for pieces in &self.segments {
            let mut segment = String::new();
            let mut has_variable = false;
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => segment.push_str(text),
                    Piece::Variable { name, frame } => {
                        has_variable = true;
                        let of = |it: &&Parameter| it.place == Place::Path && it.name == *name;
                        let parameter = operation.parameters.iter().find(of).ok_or_else(|| {
                            Error::new(Kind::Internal, "A path has a variable without a parameter.")
                        })?;
                        let value = arguments.get(&parameter.argument).ok_or_else(|| missing(parameter))?;
                        segment.push_str(&fill(parameter, value, *frame)?);
                    }
                }
            }
            // Pieces may add up to what none of them is: `.{x}` with `.`.
            if has_variable {
                harmless(&segment)?;
            }
            out.push(segment);
        }
        Ok(out)
    }
}

fn missing(parameter: &Parameter) -> Error {
    Error::new(Kind::BadArguments, format!("The argument {} is needed for the path.", parameter.argument))
}

fn fill(parameter: &Parameter, value: &Value, frame: Frame) -> Result<String> {
    let text = path_value(parameter, value, &|text: &str| {
        let marks = |marks: &[char]| frame == Frame::Call && text.contains(marks);
        if harmless(text).is_err() || marks(&['\'', '(', ')', ',', '=', ';']) {
            return Err(Error::new(
                Kind::BadArguments,
                format!(
                    "The argument {} is part of a path: it must not be empty, `.` or `..`, and hold no slash, no \
                     backslash and no control character, encoded or not.",
                    parameter.argument
                ),
            ));
        }
        Ok(if frame == Frame::Quoted { encode(&text.replace('\'', "''")) } else { encode(text) })
    })?;
    if text.is_empty() { Err(missing(parameter)) } else { Ok(text) }
}

/// Whether a text, decoded as often as it can be, stays one ordinary segment.
fn harmless(text: &str) -> Result<()> {
    let refused = || {
        Error::new(
            Kind::BadArguments,
            "A path argument makes a segment that would lead elsewhere; give the plain identifier.",
        )
    };
    let mut text = text.to_owned();
    for _ in 0..8 {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed == "." || trimmed == ".." {
            return Err(refused());
        }
        // `..;` and `..` with a tail are read as `..` by some servers.
        let odd = text.contains(['/', '\\', '\u{2215}', '\u{2044}', '\u{ff0f}', '\u{ff0e}'])
            || text.chars().any(char::is_control)
            || trimmed.starts_with("..;")
            || trimmed.starts_with(".;");
        if odd {
            return Err(refused());
        }
        let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| refused())?.into_owned();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err(refused())
}

/// The literal part of a path as it is sent: what may stand in a path stays, existing escapes too.
fn literal(text: &str) -> String {
    use std::fmt::Write as _;
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    for (at, byte) in bytes.iter().enumerate() {
        let escape = *byte == b'%'
            && bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte) || escape {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
