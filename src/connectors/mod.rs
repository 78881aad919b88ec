//! Connectors: vendor documents plus our opinion become tools.

pub mod document;
