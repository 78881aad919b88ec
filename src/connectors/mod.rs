//! Connectors: vendor documents plus our opinion become tools.

pub mod catalog;
pub mod document;
pub mod flow;
pub mod handles;
pub mod openapi;
mod shape;

pub use shape::Shape;
