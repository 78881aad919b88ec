//! What the audit and whoever measures are told of a call.
//!
//! Owns the words for it. The idea: the line walks; what is written down of the walk is put together here.
//!
//! Must not: decide anything.

use super::{Context, Notes, Outcome, Proposed, ToolSpec};
use crate::audit::{Event, Record, Step};
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::policy::Verdict;
use crate::telemetry::Began;
use crate::telemetry::facts::Facts;

/// What whoever measures is told.
pub(super) fn began<'a>(method: &'static str, spec: &'a ToolSpec, context: &Context) -> Began<'a> {
    Began {
        method,
        name: &spec.name,
        family: spec.family.name(),
        effect: spec.effect.name(),
        transport: context.transport,
        revision: context.revision.name(),
        parent: context.parent(),
    }
}

/// The security event that the end of a call is, if it is one.
pub(super) fn event(result: &Result<Outcome>, step: Step, notes: &Notes, facts: &Facts) -> Option<Event> {
    if facts.egress_refused() {
        return Some(Event::EgressRefused);
    }
    match result.as_ref().err()?.kind() {
        // what the limiter here said; an upstream's own limit is no security event
        Kind::RateLimited if step < Step::Approved => Some(Event::Limited),
        Kind::Forbidden if step < Step::Approved => Some(Event::Denied),
        Kind::NoSuchTool | Kind::NoSuchResource if notes.verdict == Some(Verdict::Deny) => {
            Some(Event::Denied)
        }
        _ => None,
    }
}

pub(super) fn record<'a>(
    call: &'a Proposed,
    spec: &'a ToolSpec,
    context: &'a Context,
    profile: &'static str,
) -> Record<'a> {
    Record {
        principal: &context.principal.id,
        bearer: context.principal.bearer.as_deref(),
        delegate: context.principal.delegate.as_deref(),
        address: context.address,
        profile,
        transport: context.transport,
        client: &context.client.name,
        client_version: &context.client.version,
        method: call.method,
        tool: &spec.name,
        effect: spec.effect.name(),
        arguments: Some(&call.arguments),
        request: &context.request_id,
        trace: context.parent().map(|parent| parent.trace_id()),
        practice: spec.meta.as_ref().is_some_and(|meta| meta.get("practice") == Some(&Value::Bool(true))),
    }
}

/// The upstream's status, where an error carries it as `status`.
pub(super) fn status(error: &Error) -> Option<u16> {
    error.detail()?.get("status")?.as_u64().and_then(|status| u16::try_from(status).ok())
}
