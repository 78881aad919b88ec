//! The built-in connectors, one folder each.
//!
//! Must not: hold anything else.

pub mod equinix;
