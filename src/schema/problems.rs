//! What is wrong with a value, in the schema's words.
//!
//! Owns [`Problem`]. The idea: a path is made of names the schema declares and of indices (a name the caller chose
//! becomes `*`), and a sentence of the schema's keywords; so a message can be shown to anybody.
//!
//! Must not: look at the value, other than through the validator.

use std::collections::BTreeSet;
use std::fmt;

use jsonschema::error::{TypeKind, ValidationErrorKind as Rule};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{ValidationError, Validator};
use serde::Serialize;

use crate::error::{Error, Kind};
use crate::json::{Value, pointer};

/// How many names or choices a sentence lists.
const MOST_LISTED: usize = 12;
/// Longest unknown name that is compared with the declared ones.
const LONGEST_NAME: usize = 128;
/// How long a quoted piece of the schema may be.
const MOST_QUOTED: usize = 100;

/// One problem: where, and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON Pointer into the value; `*` stands for a name the schema does not know.
    pub path: String,
    /// What is expected there.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "the top level" } else { &self.path };
        write!(out, "{place} {}", self.problem)
    }
}

/// Up to `most` problems, and whether there are more.
pub(super) fn problems(
    validator: &Validator,
    source: &Value,
    value: &Value,
    most: usize,
) -> (Vec<Problem>, bool) {
    let facts = Facts { source, declared: declared(source) };
    let mut found = Vec::new();
    for error in validator.iter_errors(value).take(10 * most) {
        for problem in facts.explain(&error, 0) {
            if !found.contains(&problem) {
                found.push(problem);
            }
        }
        if found.len() > most {
            break;
        }
    }
    let more = found.len() > most;
    found.truncate(most);
    (found, more)
}

/// The refusal of a schema that does not compile.
pub(super) fn unusable(error: &ValidationError<'_>) -> Error {
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { "its top level" } else { place };
    let why = match error.kind() {
        Rule::Referencing(_) => String::from(
            "a reference leads out of the document or to nothing, and references are never fetched",
        ),
        Rule::Format { format } if format == "regex" => {
            format!("the pattern at {place} is not a regular expression that can be matched in linear time")
        }
        Rule::RegexEngineFailure { .. } | Rule::BacktrackLimitExceeded { .. } => {
            format!("the pattern at {place} is too large")
        }
        _ => format!("the keyword at {place} does not have the form that JSON Schema 2020-12 gives it"),
    };
    Error::new(Kind::BadConfig, format!("The schema cannot be used: {why}."))
}

struct Facts<'a> {
    source: &'a Value,
    declared: BTreeSet<&'a str>,
}

impl Facts<'_> {
    fn explain(&self, error: &ValidationError<'_>, depth: usize) -> Vec<Problem> {
        let path = self.path(error.instance_path());
        let at = |problem: String| vec![Problem { path: path.clone(), problem }];
        match error.kind() {
            Rule::Type { kind } => at(format!("must be {}", types(kind))),
            Rule::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let path = format!("{path}/{}", pointer::escaped(name));
                vec![Problem { path, problem: String::from("is required") }]
            }
            Rule::AdditionalProperties { unexpected } | Rule::UnevaluatedProperties { unexpected } => {
                at(self.unknown(unexpected, error.schema_path()))
            }
            Rule::FalseSchema if is_additional(error.schema_path()) => {
                at(self.unknown(&[String::new()], error.schema_path()))
            }
            Rule::FalseSchema => at(String::from("is not allowed")),
            Rule::AnyOf { context } | Rule::OneOfNotValid { context } => self.choice(&path, context, depth),
            Rule::OneOfMultipleValid { .. } => {
                at(String::from("fits several of the alternatives and must fit exactly one"))
            }
            Rule::PropertyNames { .. } => at(String::from("has a name in it that is not allowed")),
            other => at(sentence(other)),
        }
    }

    /// The names in a path are the schema's or they are not shown.
    fn path(&self, location: &Location) -> String {
        let mut path = String::new();
        for segment in location.segments() {
            path.push('/');
            match segment {
                LocationSegment::Index(index) => path.push_str(&index.to_string()),
                LocationSegment::Property(name) if self.declared.contains(name.as_ref()) => {
                    path.push_str(&pointer::escaped(&name));
                }
                LocationSegment::Property(_) => path.push('*'),
            }
        }
        path
    }

    fn unknown(&self, unexpected: &[String], schema_path: &Location) -> String {
        let parent = schema_path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
        let siblings: Vec<&str> = self
            .source
            .pointer(parent)
            .and_then(|schema| schema.get("properties"))
            .and_then(Value::as_object)
            .map(|names| names.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let known = if siblings.is_empty() && !is_additional(schema_path) {
            self.declared.iter().copied().collect()
        } else {
            siblings
        };
        let mut near: Vec<&str> = Vec::new();
        // Who sends names by the thousand, or long ones, was not close to any.
        for name in unexpected.iter().filter(|name| name.len() <= LONGEST_NAME).take(MOST_LISTED) {
            if let Some(best) = nearest(name, &known)
                && !near.contains(&best)
            {
                near.push(best);
            }
        }
        let what = match unexpected.len() {
            0 | 1 => String::from("has an unknown argument"),
            many => format!("has {many} unknown arguments"),
        };
        if !near.is_empty() {
            near.truncate(3);
            return format!("{what}; did you mean {}?", quoted(&near, " and "));
        }
        if known.is_empty() {
            return format!("{what}; there are none here");
        }
        if known.len() > MOST_LISTED {
            return what;
        }
        format!("{what}; known are {}", quoted(&known, ", "))
    }

    /// Of several alternatives none fits: the types if that is all, else what the nearest one lacks.
    fn choice(&self, path: &str, context: &[Vec<ValidationError<'static>>], depth: usize) -> Vec<Problem> {
        let mut kinds: Vec<String> = Vec::new();
        let mut nearest: Option<&Vec<ValidationError<'static>>> = None;
        let here =
            context.iter().flatten().map(|error| error.instance_path().as_str().len()).min().unwrap_or(0);
        for branch in context {
            let wrong_type = branch.iter().find_map(|error| match error.kind() {
                Rule::Type { kind } if error.instance_path().as_str().len() == here => Some(types(kind)),
                _ => None,
            });
            match wrong_type {
                Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
                None if nearest.is_none_or(|best| branch.len() < best.len()) => nearest = Some(branch),
                Some(_) | None => {}
            }
        }
        match nearest {
            None if !kinds.is_empty() => {
                vec![Problem { path: path.to_owned(), problem: format!("must be {}", kinds.join(" or ")) }]
            }
            Some(branch) if depth < 3 && !branch.is_empty() => {
                branch.iter().take(3).flat_map(|error| self.explain(error, depth + 1)).collect()
            }
            _ => vec![Problem {
                path: path.to_owned(),
                problem: String::from("fits none of the alternatives the schema allows"),
            }],
        }
    }
}

/// Sentences that need nothing but the rule.
fn sentence(rule: &Rule) -> String {
    match rule {
        Rule::AdditionalItems { limit } => format!("must have at most {limit} items"),
        Rule::UnevaluatedItems { .. } => String::from("has items that are not allowed"),
        Rule::Constant { expected_value } => format!("must be {}", shown(expected_value)),
        Rule::Enum { options } => choices(options),
        Rule::Contains => String::from("lacks an item of the required kind"),
        Rule::ContentEncoding { content_encoding } => format!("must be encoded as {content_encoding}"),
        Rule::ContentMediaType { content_media_type } => format!("must hold {content_media_type}"),
        Rule::FromUtf8 { .. } => String::from("must hold UTF-8 text"),
        Rule::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Rule::ExclusiveMinimum { limit } => format!("must be greater than {limit}"),
        Rule::Maximum { limit } => format!("must be at most {limit}"),
        Rule::Minimum { limit } => format!("must be at least {limit}"),
        Rule::MaxItems { limit } => format!("must have at most {}", count(*limit, "item")),
        Rule::MinItems { limit } => format!("must have at least {}", count(*limit, "item")),
        Rule::MaxLength { limit } => format!("must have at most {}", count(*limit, "character")),
        Rule::MinLength { limit } => format!("must have at least {}", count(*limit, "character")),
        Rule::MaxProperties { limit } => format!("must have at most {}", count(*limit, "member")),
        Rule::MinProperties { limit } => format!("must have at least {}", count(*limit, "member")),
        Rule::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Rule::Pattern { pattern } if pattern.len() <= MOST_QUOTED => {
            format!("must match the pattern {pattern}")
        }
        Rule::Pattern { .. } => String::from("must match the pattern in the schema"),
        Rule::Format { format } => format!("must have the format {format}"),
        Rule::Not { .. } => String::from("has a form that is not allowed"),
        Rule::UniqueItems => String::from("must not have the same item twice"),
        _ => String::from("does not fit the schema"),
    }
}

fn types(kind: &TypeKind) -> String {
    let article = |name: &str| match name {
        "null" => String::from("null"),
        "array" | "integer" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(name) => article(&name.to_string()),
        TypeKind::Multiple(names) => {
            names.into_iter().map(|name| article(&name.to_string())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn choices(options: &Value) -> String {
    let Some(options) = options.as_array() else { return String::from("must be one of the listed values") };
    if options.len() > MOST_LISTED {
        return format!("must be one of the {} values that the schema lists", options.len());
    }
    let options: Vec<String> = options.iter().map(shown).collect();
    format!("must be one of {}", options.join(", "))
}

/// A value of the schema, not of the caller.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MOST_QUOTED { text } else { String::from("the value in the schema") }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn quoted(names: &[&str], between: &str) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(between)
}

fn is_additional(schema_path: &Location) -> bool {
    schema_path.as_str().ends_with("/additionalProperties")
}

/// The declared name that an unknown one was most likely meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain =
        |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let wanted = plain(name);
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &plain(candidate)), *candidate))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Every property name the schema declares anywhere.
fn declared(source: &Value) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut left = vec![source];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                for keyword in ["properties", "dependentRequired", "dependentSchemas"] {
                    if let Some(Value::Object(properties)) = members.get(keyword) {
                        names.extend(properties.keys().map(String::as_str));
                    }
                }
                left.extend(members.values());
            }
            Value::Array(items) => left.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    names
}
