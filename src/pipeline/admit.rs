//! Over quota?
//!
//! Owns the stamp [`Admitted`].

use super::Proposed;

/// A call within its quota.
pub struct Admitted {
    _call: Proposed,
}
