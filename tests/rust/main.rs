//! The one integration binary: a module per subject.

mod architecture;
mod audit;
mod client;
mod connectors;
mod conversations;
mod equinix;
mod http;
mod loopback;
mod practice;
mod practice_document;
mod questions;
mod redaction;
mod revisions;
mod schema;
mod scripted;
mod stage;
mod stdio;
mod support;
mod transport;
