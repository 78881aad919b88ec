//! What an action of an overlay changes: a `JSONPath` (RFC 9535).
//!
//! Owns [`Target`]. The idea: a query is looked at before it runs, so that what it can cost is known: at most one `..`,
//! few alternatives, no look at the whole document from inside a filter. What it may look at is taken from what all
//! queries of an import may, and its patterns are counted.
//!
//! Must not: change anything.

use serde_json_path::{JsonPath, PathElement};

use super::{Places, pattern};
use crate::json::Value;

/// Bytes of a query, brackets in brackets, and how often one value may be found.
const LENGTH: usize = 1_000;
const NESTED: usize = 16;
const TIMES: usize = 64;
/// Steps of one query, and of all that are applied to a document.
const STEPS: usize = 100_000_000;
const ALL_STEPS: usize = 500_000_000;
/// Bytes of a text that are compared in one step.
const COMPARED: usize = 64;
/// Marks of a query that a comparison of two values needs, and steps for each level of a place that is found.
const COMPARISON: usize = 8;
const LEVEL: usize = 4;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Index(usize),
    Name(String),
}

/// What the queries that are applied to a document may still cost.
#[derive(Debug)]
pub(in crate::connectors::openapi) struct Budget {
    steps: usize,
    patterns: pattern::Cost,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: ALL_STEPS, patterns: pattern::Cost::default() }
    }
}

/// A query whose cost is bounded.
#[derive(Debug, Clone)]
pub(super) struct Target {
    path: JsonPath,
    /// As it may be shown.
    shown: String,
    cost: PerValue,
}

/// What a query costs for each value of a document.
#[derive(Debug, Clone, Copy)]
struct PerValue {
    /// For a value that a filter is asked of; nothing where the query names its places.
    steps: usize,
    /// Whether it looks at every level, and so may compare a value with another from each level above it.
    descends: bool,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let cost = look(text)?;
        let path = JsonPath::parse(text).map_err(|error| {
            format!("has a `target` that is no JSONPath (RFC 9535), at character {}", error.position() + 1)
        })?;
        let plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
        Ok(Self { path, shown: text.chars().filter(plain).take(160).collect(), cost })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Every place in the document that it selects.
    pub(super) fn find(&self, document: &Value, budget: &mut Budget) -> Result<Places, String> {
        if self.cost.steps > 0 {
            let may = budget.steps.min(STEPS);
            let left = self.cost.take(document, 1, may);
            budget.steps -= may - left.unwrap_or(0);
            if left.is_none() {
                return Err(String::from(
                    "It, or it and the actions before it, would look at too much of the document: name places \
                     rather than `..`, `*` and filters.",
                ));
            }
        }
        let step = |element: &PathElement<'_>| match element {
            PathElement::Name(name) => Step::Name((*name).to_owned()),
            PathElement::Index(index) => Step::Index(*index),
        };
        let (found, odd) = pattern::counted(&mut budget.patterns, || self.path.query_located(document))?;
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

impl PerValue {
    /// What is left when a value at a level, and what is in it, has been looked at; nothing if it is too much.
    fn take(self, value: &Value, level: usize, left: usize) -> Option<usize> {
        let text = if let Value::String(text) = value { text.len() / COMPARED } else { 0 };
        let each_level = if self.descends { LEVEL.max(self.steps / COMPARISON) } else { 0 };
        let steps = self.steps.saturating_add(each_level.saturating_mul(level));
        let left = left.checked_sub(steps.saturating_mul(1 + text))?;
        match value {
            Value::Array(items) => items.iter().try_fold(left, |left, item| self.take(item, level + 1, left)),
            Value::Object(members) => {
                members.values().try_fold(left, |left, member| self.take(member, level + 1, left))
            }
            _ => Some(left),
        }
    }
}

/// Refuses a query that could take long, and says what it costs.
fn look(text: &str) -> Result<PerValue, String> {
    if text.len() > LENGTH {
        return Err(format!("has a `target` of more than {LENGTH} characters"));
    }
    let (mut descents, mut times) = (0_usize, 1_usize);
    // what can select more than one value, and what stands for the parts of a filter
    let (mut many, mut marks) = (false, 0_usize);
    let mut alternatives: Vec<usize> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        many |= matches!(character, '*' | '?' | ':');
        marks += usize::from(character.is_ascii_punctuation());
        match character {
            '\'' | '"' => loop {
                match rest.next() {
                    Some((_, '\\')) => drop(rest.next()),
                    Some((_, end)) if end == character => break,
                    Some(_) => {}
                    None => break,
                }
            },
            '$' if at > 0 => {
                return Err(String::from(
                    "has a `target` whose filter looks at the whole document ($); look at what is filtered (@)",
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
    let descends = descents > 0;
    let steps = if many || descends { marks.saturating_mul(times) } else { 0 };
    Ok(PerValue { steps, descends })
}
