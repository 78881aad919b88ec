//! What the policies say about one call.
//!
//! Owns [`Policy`] and [`Judgement`].
//!
//! Must not: know the line.

use super::{Config, Deciding, Resource, Verdict};
use crate::error::Result;
use crate::json::{Map, Value};
use crate::principal::Principal;

/// A set of policies, checked and ready.
pub struct Policy {}

/// What the policies say about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The ids of the policies that decided.
    pub policies: Deciding,
    /// The caller is told that there is no such tool.
    pub hidden: bool,
}

impl Policy {
    /// Reads and checks the policies.
    pub fn load(_config: &Config) -> Result<Self> {
        Ok(Self {})
    }

    /// A name for exactly these policies.
    pub fn version(&self) -> &str {
        ""
    }

    /// What the policies say, and which of them.
    pub fn explain(
        &self,
        _principal: &Principal,
        _resource: &Resource<'_>,
        _arguments: &Map<String, Value>,
    ) -> Judgement {
        Judgement { verdict: Verdict::Deny, policies: Vec::new().into(), hidden: true }
    }

    /// Whether a call could be allowed with some arguments.
    pub fn lists(&self, _principal: &Principal, _resource: &Resource<'_>) -> bool {
        false
    }
}
