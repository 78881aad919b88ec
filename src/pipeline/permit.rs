//! Allowed?
//!
//! Owns the stamp [`Permitted`] and the [`Guard`] port. The idea: the filter, the policies and the user's guards are
//! asked in turn, and the strictest word wins; what is denied for every argument is answered as if it did not exist.
//!
//! Must not: let a guard allow what policy does not, or take a guard that fails for a yes.
//!
//! ```compile_fail
//! fn forge(call: bartizan::pipeline::Proposed) -> bartizan::pipeline::Permitted {
//!     bartizan::pipeline::Permitted { call, verdict: bartizan::policy::Verdict::Allow }
//! }
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::{BoxFuture, Context, LineParts, Notes, Proposed, ToolSpec, Validated, unknown};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
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
    /// What policy, and the guards before this one, said.
    pub verdict: Verdict,
}

/// A user's own rule. It can only make the verdict stricter; failing denies.
pub trait Guard: Send + Sync + 'static {
    /// What the audit calls it, where it decided.
    #[allow(clippy::unnecessary_literal_bound, reason = "a guard may have a name of its own")]
    fn name(&self) -> &str {
        "guard"
    }

    /// What the rule says.
    fn judge<'a>(&'a self, call: Guarded<'a>) -> BoxFuture<'a, Result<Verdict>>;
}

impl<F> Guard for F
where
    F: Fn(Guarded<'_>) -> Result<Verdict> + Send + Sync + 'static,
{
    fn judge<'a>(&'a self, call: Guarded<'a>) -> BoxFuture<'a, Result<Verdict>> {
        Box::pin(async move { self(call) })
    }
}

/// A call that policy allows, at least if a person agrees.
pub struct Permitted {
    call: Proposed,
    verdict: Verdict,
}

impl Permitted {
    /// What was decided: allow, or ask.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn into_call(self) -> Proposed {
        self.call
    }
}

pub(super) async fn permit(
    call: Validated,
    parts: &LineParts,
    context: &Context,
    notes: &mut Notes,
) -> Result<Permitted> {
    let call = call.into_call();
    let spec = call.tool.spec();
    let resource = spec.resource();
    if !parts.filter.passes(&resource) {
        notes.verdict = Some(Verdict::Deny);
        return Err(unknown(call.method));
    }
    let judgement = parts.policy.judge(&context.principal, &resource, &call.arguments);
    let mut verdict = judgement.verdict;
    notes.verdict = Some(verdict);
    notes.policies = Some(Arc::clone(&judgement.policies));
    if verdict == Verdict::Deny {
        return Err(if judgement.hidden {
            unknown(call.method)
        } else {
            Error::new(
                Kind::Forbidden,
                "Policy forbids this call; an operator can say which rule, and whether it may change.",
            )
            .with_detail(json!({"policies": *judgement.policies}))
        });
    }
    if context.within.is_some_and(|most| spec.effect > most) {
        notes.verdict = Some(Verdict::Deny);
        return Err(Error::new(
            Kind::Forbidden,
            "A tool tried to do more than it declares: what it calls has a stronger effect than its own.",
        ));
    }
    for guard in &parts.guards {
        let seen = Guarded { spec, arguments: &call.arguments, context, verdict };
        let word = AssertUnwindSafe(async { guard.judge(seen).await }).catch_unwind().await;
        let word = match word {
            Ok(Ok(word)) => word,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "a guard failed, which denies the call");
                Verdict::Deny
            }
            Err(_) => {
                tracing::warn!("a guard panicked, which denies the call");
                Verdict::Deny
            }
        };
        if word > verdict {
            verdict = word;
            notes.verdict = Some(verdict);
            let before = notes.policies.iter().flat_map(|policies| policies.iter().cloned());
            notes.policies = Some(before.chain([Box::from(guard.name())]).collect());
        }
        if verdict == Verdict::Deny {
            return Err(Error::new(Kind::Forbidden, "A rule of this server's owner forbids this call.")
                .with_detail(json!({"policies": ["guard"]})));
        }
    }
    Ok(Permitted { call, verdict })
}
