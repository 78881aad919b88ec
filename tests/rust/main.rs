//! The one integration binary: a module per subject.

mod architecture;
mod connectors;
mod http;
mod loopback;
mod redaction;
mod schema;
