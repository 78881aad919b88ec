//! What an action of an overlay changes: a `JSONPath` (RFC 9535).
//!
//! Owns [`Target`]. The idea: a query is looked at before it runs, so that what it can cost is known: at most one `..`,
//! few alternatives, from inside a filter no look at more of the whole document than one place, and patterns that are
//! counted.
//!
//! Must not: change anything.

use serde_json_path::{JsonPath, PathElement};

use super::{Places, pattern};
use crate::json::Value;

/// Bytes of a query, brackets in brackets, and how often one value may be found.
const LENGTH: usize = 1_000;
const NESTED: usize = 16;
const TIMES: usize = 64;
/// Values of a document in which `..` is followed.
const VALUES: usize = 1_000_000;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Index(usize),
    Name(String),
}

/// A query whose cost is bounded.
#[derive(Debug, Clone)]
pub(super) struct Target {
    path: JsonPath,
    /// As it may be shown.
    shown: String,
    /// Whether it looks at every level.
    descends: bool,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let descends = look(text)?;
        let path = JsonPath::parse(text).map_err(|error| {
            format!("has a `target` that is no JSONPath (RFC 9535), at character {}", error.position() + 1)
        })?;
        let plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
        Ok(Self { path, shown: text.chars().filter(plain).take(160).collect(), descends })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Every place in the document that it selects.
    pub(super) fn find(&self, document: &Value) -> Result<Places, String> {
        let mut left = VALUES;
        if self.descends && !fewer(document, &mut left) {
            return Err(format!("`..` is not followed in a document of more than {VALUES} values."));
        }
        let step = |element: &PathElement<'_>| match element {
            PathElement::Name(name) => Step::Name((*name).to_owned()),
            PathElement::Index(index) => Step::Index(*index),
        };
        let (found, odd) = pattern::counted(|| self.path.query_located(document))?;
        if found.is_empty() && odd {
            let what = "It matches nothing: a pattern in it is no I-Regexp (RFC 9485), which has neither \\d nor \\w.";
            return Err(String::from(what));
        }
        Ok(found.locations().map(|place| place.iter().map(step).collect()).collect())
    }
}

/// What is at a place.
pub(super) fn at<'a>(document: &'a mut Value, place: &[Step]) -> Option<&'a mut Value> {
    place.iter().try_fold(document, |value, step| match (value, step) {
        (Value::Object(object), Step::Name(name)) => object.get_mut(name),
        (Value::Array(list), Step::Index(index)) => list.get_mut(*index),
        _ => None,
    })
}

/// Whether a value holds no more than so many.
fn fewer(value: &Value, left: &mut usize) -> bool {
    *left = left.saturating_sub(1);
    *left > 0
        && match value {
            Value::Array(items) => items.iter().all(|item| fewer(item, left)),
            Value::Object(members) => members.values().all(|member| fewer(member, left)),
            _ => true,
        }
}

/// Whether what follows a `$` in a filter is names and numbers alone, so that it is one place, found at once. What is no
/// query at all is told by who reads it.
fn is_one_place(mut rest: &str) -> bool {
    loop {
        let blank = rest.trim_start();
        if let Some(after) = blank.strip_prefix('[') {
            let after = after.trim_start();
            let end = match after.chars().next() {
                Some(quote @ ('\'' | '"')) => {
                    let mut escaped = false;
                    let close = after[1..].find(|character| {
                        let ends = character == quote && !escaped;
                        escaped = character == '\\' && !escaped;
                        ends
                    });
                    close.map(|at| at + 2)
                }
                _ => after
                    .find(|character: char| character != '-' && !character.is_ascii_digit())
                    .filter(|at| *at > 0),
            };
            let Some(closed) = end.and_then(|end| after[end..].trim_start().strip_prefix(']')) else {
                return false;
            };
            rest = closed;
        } else if let Some(after) = blank.strip_prefix('.') {
            let end = after.find(|character: char| {
                character.is_ascii() && !character.is_ascii_alphanumeric() && character != '_'
            });
            let end = end.unwrap_or(after.len());
            if end == 0 {
                return false;
            }
            rest = &after[end..];
        } else {
            return true;
        }
    }
}

/// Refuses a query that could take long, and says whether it looks at every level.
fn look(text: &str) -> Result<bool, String> {
    if text.len() > LENGTH {
        return Err(format!("has a `target` of more than {LENGTH} characters"));
    }
    let (mut descents, mut times) = (0_usize, 1_usize);
    let mut alternatives: Vec<usize> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        match character {
            '\'' | '"' => loop {
                match rest.next() {
                    Some((_, '\\')) => drop(rest.next()),
                    Some((_, end)) if end == character => break,
                    Some(_) => {}
                    None => break,
                }
            },
            '$' if at > 0
                && (text[..at].trim_end().ends_with("length(") || !is_one_place(&text[at + 1..])) =>
            {
                return Err(String::from(
                    "has a `target` whose filter looks at more of the whole document ($) than one place, or measures it",
                ));
            }
            '.' if rest.next_if(|(_, next)| *next == '.').is_some() => descents += 1,
            '[' | '(' => {
                alternatives.push(1);
            }
            ']' | ')' => times = times.saturating_mul(alternatives.pop().unwrap_or(1)),
            ',' => {
                if let Some(count) = alternatives.last_mut() {
                    *count += 1;
                }
            }
            _ => {}
        }
        if alternatives.len() > NESTED {
            return Err(format!("has a `target` nested deeper than {NESTED} levels"));
        }
    }
    if descents > 1 {
        return Err(String::from("has a `target` with more than one `..`"));
    }
    if times > TIMES {
        return Err(format!("has a `target` that could find the same value more than {TIMES} times"));
    }
    Ok(descents > 0)
}
