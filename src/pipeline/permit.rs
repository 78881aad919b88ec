//! Allowed?
//!
//! Owns the stamp [`Permitted`] and the [`Guard`] port.

use super::{BoxFuture, Context, Proposed, ToolSpec};
use crate::error::Result;
use crate::json::{Map, Value};
use crate::policy::Verdict;

/// What a guard sees.
#[derive(Clone, Copy)]
pub struct Guarded<'a> {
    /// What is called.
    pub spec: &'a ToolSpec,
    /// With which arguments.
    pub arguments: &'a Map<String, Value>,
    /// By whom.
    pub context: &'a Context,
    /// What policy said.
    pub verdict: Verdict,
}

/// A user's own rule. It can only make the verdict stricter; failing denies.
pub trait Guard: Send + Sync + 'static {
    /// What the rule says.
    fn judge<'a>(&'a self, call: Guarded<'a>) -> BoxFuture<'a, Result<Verdict>>;
}

/// A call that policy allows, at least if a person agrees.
pub struct Permitted {
    _call: Proposed,
}
