//! What the wire says, in every revision we speak.
//!
//! Must not: do anything; this folder is words, tables and shapes.

pub mod message;
pub mod meta;
mod methods;
mod older;
mod revision;
pub mod shape;
pub mod types;

pub use methods::{Method, Notice};
pub use revision::{Door, Revision};
