//! The command line.
//!
//! Owns [`main`]: arguments in, exit code out. The idea: a command is a file; each turns what was typed into the one
//! configuration and hands it to `app`.
//!
//! Must not: hold a rule that a server without a command line would lack.
