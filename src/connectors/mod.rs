//! Connectors: vendor documents plus our opinion become tools.

pub mod document;
pub mod openapi;
mod shape;

pub use shape::Shape;
