//! Does a person agree?
//!
//! Owns the stamp [`Approved`].

use crate::json::{Map, Value};

/// A call that may run.
pub struct Approved {
    arguments: Map<String, Value>,
}

impl Approved {
    /// The validated arguments.
    pub fn arguments(&self) -> &Map<String, Value> {
        &self.arguments
    }
}
