//! JSON Schema: check a value and never repeat it; compile once.
//!
//! Owns [`Schema`] and [`Remotes`]; [`LazySchema`] is in `lazy.rs`. The idea: what a schema may ask of us is settled when it is
//! registered (`vet.rs`: dialect, references, linear-time patterns, bounds); checking is then a yes or no, and only a
//! no pays for sentences (`problems.rs`), which are made of the schema's words and never of the value's.
//!
//! Must not: fetch anything, or put a value or a name chosen by the caller into a message.

mod coerce;
mod lazy;
mod problems;
mod vet;

use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Registry, Validator};

pub use lazy::{LazySchema, Maker};
pub use problems::Problem;

use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};

/// Largest compiled pattern, and largest cache of its matcher, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// How many problems an error names.
const MOST_PROBLEMS: usize = 5;

/// Documents that a `$ref` may name although they are elsewhere: given, never fetched.
#[derive(Debug)]
pub struct Remotes(Registry<'static>);

impl Remotes {
    /// Takes documents by their addresses.
    pub fn new(documents: impl IntoIterator<Item = (String, Value)>) -> Result<Self> {
        let unusable = |cause| {
            Error::new(Kind::BadConfig, "The preloaded schema documents cannot be used.").with_source(cause)
        };
        let mut registry = Registry::new().draft(Draft::Draft202012).retriever(Nowhere);
        for (address, document) in documents {
            registry = registry.add(address, document).map_err(unusable)?;
        }
        Ok(Self(registry.prepare().map_err(unusable)?))
    }

    fn has(&self, address: &str) -> bool {
        self.0.contains_resource(address.trim_end_matches('#'))
    }
}

/// Fetches nothing.
#[derive(Debug)]
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        _uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("schemas are never fetched".into())
    }
}

/// A compiled schema.
pub struct Schema {
    source: Arc<Value>,
    validator: Validator,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Schema").field(&self.source).finish()
    }
}

impl Schema {
    /// Compiles a JSON Schema 2020-12 document.
    ///
    /// A `BadConfig` error says which keyword is not usable, and where: another dialect, a `$ref` that leaves the
    /// document or leads nowhere, a pattern with look-around or back-reference, a schema that is too large.
    pub fn compile(source: &Value) -> Result<Self> {
        Self::build(Arc::new(source.clone()), None)
    }

    /// Compiles a document whose references may name preloaded ones.
    pub fn compile_with(source: &Value, remotes: &Remotes) -> Result<Self> {
        Self::build(Arc::new(source.clone()), Some(remotes))
    }

    /// A cheap check that a schema is usable: dialect, references, patterns, bounds; compilation comes when the
    /// schema is first needed.
    pub fn vet(source: &Value) -> Result<()> {
        vet::vet(source, None)
    }

    fn build(source: Arc<Value>, remotes: Option<&Remotes>) -> Result<Self> {
        vet::vet(&source, remotes)?;
        let mut options = jsonschema::options().with_retriever(Nowhere).with_pattern_options(
            PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE),
        );
        match remotes {
            Some(remotes) => options = options.with_registry(&remotes.0),
            None => options = options.with_draft(Draft::Draft202012),
        }
        let validator = options.build(&source).map_err(|error| problems::unusable(&error))?;
        Ok(Self { source, validator })
    }

    /// Checks a value. A `BadArguments` error names up to five problems, each by JSON Pointer and in the schema's own
    /// words; its detail holds the same as data.
    pub fn check(&self, value: &Value) -> Result<()> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let (problems, more) = self.problems(value);
        let mut message = String::from("The arguments do not fit: ");
        for (index, problem) in problems.iter().enumerate() {
            if index > 0 {
                message.push_str("; ");
            }
            message.push_str(&problem.to_string());
        }
        message.push_str(if more { "; and more." } else { "." });
        Err(Error::new(Kind::BadArguments, message).with_detail(json!({ "problems": problems })))
    }

    /// A value that does not fit, read as it was meant: a number in quotes, JSON in a text, one value where a list
    /// belongs. With it the places that were read so, as JSON Pointers. None where that would not fit either.
    pub fn coerce(&self, value: &Value) -> Option<(Value, Vec<String>)> {
        let mut read = value.clone();
        let mended = coerce::coerce(&self.source, &mut read);
        (!mended.is_empty() && self.validator.is_valid(&read)).then_some((read, mended))
    }

    /// Whether a value fits.
    pub fn fits(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// What is wrong with a value, at most five problems, and whether there are more.
    pub fn problems(&self, value: &Value) -> (Vec<Problem>, bool) {
        problems::problems(&self.validator, &self.source, value, MOST_PROBLEMS)
    }
}
