//! JSON values and their bounds.
//!
//! Owns [`Value`] (`serde_json`'s, objects keep their order) and [`Bounds`]. The idea: bytes become a value once, and
//! only within limits on size, depth and duplicate keys.
//!
//! Must not: know what the value means.

mod digest;
mod parse;
pub mod pointer;

pub use digest::{Digest, canonical, digest};
pub use parse::{count, parse};
pub use serde_json::{Map, Number, Value, json};

/// Values that a document from outside may have: in memory each takes some seventy bytes, however few it takes on the wire.
pub const MOST_VALUES: usize = 1_000_000;

/// How much JSON is accepted before anybody tries to understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes.
    pub size: usize,
    /// Nested arrays and objects.
    pub depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { size: 4 << 20, depth: 64 }
    }
}
