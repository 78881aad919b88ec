//! What the process says about itself.
//!
//! Owns logs. The idea: everything passes the redactor before it is written, and standard output is never touched.
//!
//! Must not: know what is being logged.

pub mod logs;
