//! What the process says about itself.
//!
//! Owns logs, what a call learns of its upstream, and where messages to the outside go. The idea: everything passes the redactor before it is written, and
//! standard output is never touched.
//!
//! Must not: know what is being logged.

mod destination;
pub mod facts;
pub mod logs;

pub use destination::Destination;
