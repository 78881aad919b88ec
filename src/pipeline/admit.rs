//! Over quota?
//!
//! Owns the stamp [`Admitted`]. The idea: the cheapest refusal comes first.
//!
//! Must not: look at the arguments.
//!
//! ```compile_fail
//! fn forge(call: bartizan::pipeline::Proposed) -> bartizan::pipeline::Admitted {
//!     bartizan::pipeline::Admitted { call }
//! }
//! ```

use super::{Context, Proposed};
use crate::error::Result;
use crate::limits::Limiter;

/// A call within its quota.
pub struct Admitted {
    call: Proposed,
}

impl Admitted {
    pub(super) fn into_call(self) -> Proposed {
        self.call
    }
}

pub(super) async fn admit(
    call: Proposed,
    (class, tool): (&'static str, Option<&str>),
    limiter: &Limiter,
    context: &Context,
) -> Result<Admitted> {
    limiter.admit(&context.principal.id, tool, class).await?;
    Ok(Admitted { call })
}
