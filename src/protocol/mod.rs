//! What the wire says, in every revision we speak.
//!
//! Must not: do anything; this folder is words, tables and shapes.

mod revision;
pub mod types;

pub use revision::{Door, Revision};
