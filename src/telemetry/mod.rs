//! What the process says about itself.
//!
//! Owns logs, traces and metrics, what a call learns of its upstream, and where messages to the outside go. The idea: everything passes the redactor before it is written, and
//! standard output is never touched.
//!
//! Must not: know what is being logged.

mod config;
mod destination;
pub mod facts;
pub mod logs;
mod metrics;
mod observer;
#[cfg(feature = "otlp")]
mod otel;
mod tables;
mod trace;

pub use config::Config;
pub use destination::Destination;
pub use metrics::Metrics;
pub use observer::{Began, Call, Ended, Leaving, Observer};
#[cfg(feature = "otlp")]
pub use otel::Otel;
pub use tables::{Rows, Shape, Table};
pub use trace::TraceContext;
