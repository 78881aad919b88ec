//! JSON Schema: check a value and never repeat it; compile once.
//!
//! Owns [`Schema`] and [`LazySchema`].

use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::json::{Value, json};

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {}

impl Schema {
    /// Compiles a JSON Schema 2020-12 document.
    pub fn compile(_source: &Value) -> Result<Self> {
        Ok(Self {})
    }

    /// A cheap check that a schema is usable here: dialect, references, patterns, bounds. Full compilation comes later.
    pub fn vet(_source: &Value) -> Result<()> {
        Ok(())
    }

    /// Checks a value; errors are `BadArguments`, name the path and never repeat the value.
    pub fn check(&self, _value: &Value) -> Result<()> {
        Ok(())
    }
}

/// A schema that is compiled when it is first needed, once.
#[derive(Debug, Clone)]
pub struct LazySchema {
    source: Arc<Value>,
    compiled: Arc<OnceLock<Result<Schema, String>>>,
}

impl LazySchema {
    /// Keeps the source; nothing is compiled yet.
    pub fn new(source: impl Into<Arc<Value>>) -> Self {
        Self { source: source.into(), compiled: Arc::new(OnceLock::new()) }
    }

    /// An object without properties that refuses any.
    pub fn empty_object() -> Self {
        Self::new(json!({"type": "object", "properties": {}, "additionalProperties": false}))
    }

    /// The schema as JSON.
    pub fn source(&self) -> &Arc<Value> {
        &self.source
    }

    /// The compiled schema.
    pub fn compiled(&self) -> Result<&Schema> {
        let _ = &self.compiled;
        Err(crate::error::Error::new(crate::error::Kind::Internal, "schemas are not compiled yet"))
    }
}
