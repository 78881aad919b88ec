//! The document, with its schemas at hand.
//!
//! Owns [`Book`]: every schema of every operation as a value and compiled, each made when it is first needed. The
//! idea: a start costs nothing for operations that nobody calls.
//!
//! Must not: change after it is made.

use std::sync::OnceLock;

use super::recipe::View;
use crate::connectors::document::{Document, Operation, Parameter};
use crate::json::Value;
use crate::schema::Schema;

/// Bytes of a schema that are looked at to see what kind of thing it describes.
const GLANCE: usize = 32 << 10;
/// Bytes of an answer's schema that answers are made from and held to; what lies deeper may be anything.
const ANSWER: usize = 256 << 10;

/// A document and what was made of its schemas so far.
pub(super) struct Book {
    pub document: Document,
    pages: Vec<Page>,
}

struct Page {
    parameters: Vec<Entry>,
    body: Entry,
    answers: Vec<Entry>,
}

/// One schema.
#[derive(Default)]
pub(super) struct Entry {
    source: OnceLock<Value>,
    compiled: OnceLock<Option<Schema>>,
}

impl Entry {
    /// Whether a value fits; a schema that cannot be compiled is not held against anybody.
    fn check(&self, value: &Value) -> crate::error::Result<()> {
        let Some(source) = self.source.get() else { return Ok(()) };
        match self.compiled.get_or_init(|| Schema::compile(source).ok()) {
            Some(schema) => schema.check(value),
            None => Ok(()),
        }
    }
}

impl Book {
    /// Opens a document.
    pub(super) fn new(document: Document) -> Self {
        let many = |count: usize| (0..count).map(|_| Entry::default()).collect();
        let pages = document
            .operations
            .iter()
            .map(|operation| Page {
                parameters: many(operation.parameters.len()),
                body: Entry::default(),
                answers: many(operation.responses.len()),
            })
            .collect();
        Self { document, pages }
    }

    /// An operation.
    pub(super) fn operation(&self, index: usize) -> &Operation {
        &self.document.operations[index]
    }

    /// A parameter and where its schema begins.
    pub(super) fn parameter(&self, operation: usize, position: usize) -> (&Parameter, View<'_>) {
        let parameter = &self.operation(operation).parameters[position];
        let entry = &self.pages[operation].parameters[position];
        (parameter, View::new(entry.source.get_or_init(|| parameter.schema.value())))
    }

    /// Where the body's schema begins.
    pub(super) fn body(&self, operation: usize) -> Option<View<'_>> {
        let body = self.operation(operation).body.as_ref()?;
        Some(View::new(self.pages[operation].body.source.get_or_init(|| body.schema.value())))
    }

    /// Where the schema of an answer begins.
    pub(super) fn answer(&self, operation: usize, status: usize) -> Option<View<'_>> {
        let schema = self.operation(operation).responses.get_index(status)?.1.schema.as_ref()?;
        Some(View::new(
            self.pages[operation].answers.get(status)?.source.get_or_init(|| schema.value_within(ANSWER)),
        ))
    }

    /// The schema of an answer, made for this one look.
    pub(super) fn glance(&self, operation: usize, status: usize) -> Option<Value> {
        Some(self.operation(operation).responses.get_index(status)?.1.schema.as_ref()?.value_within(GLANCE))
    }

    /// Checks a parameter's value.
    pub(super) fn check_parameter(
        &self,
        operation: usize,
        position: usize,
        value: &Value,
    ) -> crate::error::Result<()> {
        let _ = self.parameter(operation, position);
        self.pages[operation].parameters[position].check(value)
    }

    /// Checks a body.
    pub(super) fn check_body(&self, operation: usize, value: &Value) -> crate::error::Result<()> {
        let _ = self.body(operation);
        self.pages[operation].body.check(value)
    }

    /// Checks an answer.
    pub(super) fn check_answer(
        &self,
        operation: usize,
        status: usize,
        value: &Value,
    ) -> crate::error::Result<()> {
        let _ = self.answer(operation, status);
        self.pages[operation].answers.get(status).map_or(Ok(()), |entry| entry.check(value))
    }
}
