//! What the process says about itself.
//!
//! Owns logs, and what a call learns of its upstream. The idea: everything passes the redactor before it is written, and
//! standard output is never touched.
//!
//! Must not: know what is being logged.

pub mod facts;
pub mod logs;
