//! Who may do what.
//!
//! Owns [`Effect`] and the policy engine.

use serde::{Deserialize, Serialize};

/// What a call does to the world. Undeclared means write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something.
    #[default]
    Write,
    /// Removes something, or cannot be undone.
    Destroy,
}

impl Effect {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destroy => "destroy",
        }
    }
}

/// What policy says about a call, mildest first: the strictest of several wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It may run.
    Allow,
    /// A person has to agree first.
    Ask,
    /// It may not run.
    Deny,
}

impl Verdict {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}
