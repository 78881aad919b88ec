//! Logs on standard error.
//!
//! Owns [`Config`] and [`start`].
