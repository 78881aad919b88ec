//! What happened on the way.
//!
//! Owns [`Notes`]. The idea: the stages leave here what only the outcome line of the audit needs to know.
//!
//! Must not: decide anything.

use super::onward::Resumed;
use crate::policy::{Deciding, Verdict};

/// What the outcome line of the audit says beside the result.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) verdict: Option<Verdict>,
    pub(super) policies: Option<Deciding>,
    pub(super) approval: Option<String>,
    pub(super) approver: Option<String>,
    pub(super) bytes: Option<u64>,
    /// Arguments that were read otherwise than they were written.
    pub(super) coerced: Vec<String>,
    /// The earlier call that this one goes on with.
    pub(super) resumed: Option<Box<Resumed>>,
    /// What text in the reply tries: labels between spaces.
    pub(super) untrusted: String,
}
