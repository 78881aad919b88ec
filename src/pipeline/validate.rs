//! Well formed?
//!
//! Owns the stamp [`Validated`].

use super::Proposed;

/// A call whose arguments fit the schema.
pub struct Validated {
    _call: Proposed,
}
