//! The line: six calls in a row.
//!
//! Owns [`Line`]. The idea: admit, validate, permit, approve, execute, redact; each stage hands on a stamp that only
//! its own file can make, so that none can be skipped and the order is what compiles.
//!
//! Must not: be gone round.

mod admit;
pub mod answers;
mod approve;
pub mod call;
mod execute;
mod permit;
mod redact;
pub mod tool;
mod validate;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use admit::Admitted;
pub use approve::Approved;
pub use call::{Answers, Client, Context, Halt, Outcome, Proposed, Question, Reply, Voice};
pub use execute::Executed;
pub use permit::{Guard, Guarded, Permitted};
pub use redact::Redacted;
pub use tool::{Family, Tool, ToolSpec};
pub use validate::Validated;

use crate::approvals::Approvals;
use crate::audit::Audit;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::limits::Limiter;
use crate::policy::{Filter, Policy};
use crate::principal::Principal;
use crate::redaction::Redactor;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The `[calls]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds a call may take when its tool does not say.
    pub timeout_seconds: u64,
    /// Seconds no call may exceed, whatever its tool says.
    pub longest_seconds: u64,
    /// How many calls may run at once.
    pub at_once: usize,
    /// How many calls may wait for their turn.
    pub waiting: usize,
    /// Bytes of a result; what is beyond is cut, and says so.
    pub result_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout_seconds: 30, longest_seconds: 300, at_once: 256, waiting: 1024, result_limit: 1 << 20 }
    }
}

/// What a line is made of.
pub struct LineParts {
    /// Where intents and outcomes go.
    pub audit: Arc<Audit>,
    /// Who may call how often.
    pub limiter: Arc<Limiter>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// What is switched on at all.
    pub filter: Filter,
    /// The user's own rules; they can only tighten.
    pub guards: Vec<Arc<dyn Guard>>,
    /// What keeps secrets in.
    pub redactor: Redactor,
    /// Where a person's agreement is kept; without it, whatever needs a person is refused.
    pub approvals: Option<Arc<Approvals>>,
    /// The time.
    pub clock: SharedClock,
    /// Times and sizes.
    pub config: Config,
}

/// The line.
pub struct Line {
    parts: LineParts,
}

impl Line {
    /// Joins the parts.
    pub fn new(parts: LineParts) -> Self {
        Self { parts }
    }

    /// Calls a tool, reads a resource, gets a prompt.
    ///
    /// Hidden and unknown are answered alike here, so the server passes on whatever its catalog holds.
    pub async fn run(&self, _call: Proposed, _context: &Context) -> Result<Outcome> {
        Err(Error::new(Kind::Internal, "The line is being built."))
    }

    /// Asks a prompt or a template for completions, through the same stages.
    pub async fn complete(&self, _call: Proposed, _context: &Context) -> Result<Outcome> {
        Err(Error::new(Kind::Internal, "The line is being built."))
    }

    /// Whether this principal sees it in a list: switched on, and not denied for every argument.
    pub fn visible(&self, _principal: &Principal, _spec: &ToolSpec) -> bool {
        true
    }

    /// What keeps secrets in.
    pub fn redactor(&self) -> &Redactor {
        &self.parts.redactor
    }

    /// The digest of a definition: what an approval is bound to, and what shows that a tool has changed.
    pub fn fingerprint(_spec: &ToolSpec) -> Digest {
        Digest([0; 32])
    }
}
