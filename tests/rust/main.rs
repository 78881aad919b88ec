//! The one integration binary: a module per subject.

mod architecture;
mod connectors;
mod http;
mod loopback;
mod practice;
mod practice_document;
mod redaction;
mod schema;
