//! What would a call change?
//!
//! Owns the stage before the question: [`look`] reads what a call would change, and says where the call goes and as
//! whom. The idea: the read is a call of its own, with its own intent and outcome in the audit, its own quota, schema
//! and policy, made for the same caller; what it brings is shown to nobody but the person who is asked.
//!
//! Must not: change anything, or read what policy does not let the caller read.

use std::sync::Arc;

use super::approve::stamp;
use super::diff::{self, Eyes};
use super::{Aim, Context, LineParts, Notes, Proposed, Reply, Sight, record, redact};
use super::{admit, execute, permit, validate};
use crate::approvals::{Approvals, Seen, render};
use crate::audit::{Event, Finish, Step};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, canonical, json};
use crate::policy::Verdict;
use crate::redaction::Redactor;
use crate::telemetry::facts::Facts;

/// The method that the audit names for such a read.
const METHOD: &str = "bartizan/state";
/// The method that the audit names for a dry run.
const REHEARSAL: &str = "bartizan/rehearsal";
/// How much of a state a person is shown.
const LONGEST: usize = 4_000;

/// What a call would change, as it is now.
pub(super) struct Looked {
    /// For the person, and for the approval to be bound to.
    pub(super) seen: Seen,
    /// The entity tag, to be sent along as a condition.
    pub(super) tag: Option<String>,
}

/// Reads what the call would change, where the tool has a read for it and configuration wants it.
pub(super) async fn look(
    call: &Proposed,
    approvals: &Approvals,
    parts: &LineParts,
    context: &Context,
) -> Result<Option<Looked>> {
    if !approvals.shows_state() {
        return Ok(None);
    }
    let Some(sight) = call.tool.sight(&call.arguments) else { return Ok(None) };
    let Sight { tool, arguments, proposed, replaces } = sight;
    let pointers = tool.spec().redact.clone();
    let read = Proposed { tool, arguments, method: METHOD };
    let answer = match walk(read, parts, context).await {
        Ok(answer) => answer,
        // What policy or the upstream's own rules keep from the caller is not shown, and that it is not is.
        Err(error) if matches!(error.kind(), Kind::Forbidden | Kind::NoSuchTool | Kind::BadArguments) => {
            return Ok(Some(unread(approvals, "policy does not let the caller read it")));
        }
        Err(error) => return Err(error),
    };
    let status = answer["status"].as_u64().unwrap_or_default();
    let tag = answer["etag"].as_str().map(String::from);
    Ok(Some(match status {
        200..=299 => {
            let body = &answer["body"];
            let version = match &tag {
                Some(tag) => format!("etag {tag}"),
                None => format!("body {}", canonical(body)),
            };
            let summary = summary(body, proposed.as_ref(), replaces, &pointers, &parts.redactor);
            Looked { seen: Seen { version: approvals.keyed(version.as_bytes()), summary }, tag }
        }
        404 | 410 => {
            let summary = String::from("There is nothing at this address now.");
            Looked { seen: Seen { version: approvals.keyed(b"absent"), summary }, tag: None }
        }
        400..=499 if status != 408 && status != 429 => {
            unread(approvals, &format!("the upstream refuses to show it, status {status}"))
        }
        _ => {
            return Err(Error::new(
                Kind::UpstreamFailed,
                "What this call would change could not be read just now, so nobody was asked to agree; try again.",
            )
            .with_detail(json!({"status": status})));
        }
    }))
}

/// What the API says to a dry run of the call, where the tool has one. Whatever it says, the person decides.
pub(super) async fn rehearse(call: &Proposed, parts: &LineParts, context: &Context) -> Option<String> {
    let Sight { tool, arguments, .. } = call.tool.rehearsal(&call.arguments)?;
    let pointers = tool.spec().redact.clone();
    let dry = Proposed { tool, arguments, method: REHEARSAL };
    let answer = match walk(dry, parts, context).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("It could not be made: {}", error.message())),
    };
    let status = answer["status"].as_u64().unwrap_or_default();
    let accepted = (200..300).contains(&status);
    let mut body = answer["body"].clone();
    if !accepted {
        redact::unlike(&mut body, &pointers, &parts.redactor);
    }
    let body = summary(&body, None, false, &pointers, &parts.redactor);
    let said = if accepted { "It would be accepted" } else { "It would be REFUSED" };
    Some(format!("{said}, status {status}:\n{body}"))
}

fn unread(approvals: &Approvals, why: &str) -> Looked {
    let summary = format!("Not known: {why}.");
    Looked { seen: Seen { version: approvals.keyed(summary.as_bytes()), summary }, tag: None }
}

/// The line in small: the same stages with the same engines, but nobody is asked, and the answer stays inside.
async fn walk(call: Proposed, parts: &LineParts, context: &Context) -> Result<Value> {
    let tool = Arc::clone(&call.tool);
    let entry = parts.audit.intent(record(&call, tool.spec(), context, parts.profile)).await?;
    let mut notes = Notes::default();
    let stages = async {
        let call = admit::admit(call, ("read", None), &parts.limiter, context).await?;
        entry.reached(Step::Admitted);
        let call = validate::validate(call, Aim::Call, &parts.redactor, &parts.config, &mut notes)?;
        entry.reached(Step::Validated);
        let call = permit::permit(call, parts, context, &mut notes).await?;
        entry.reached(Step::Permitted);
        if call.verdict() != Verdict::Allow {
            return Err(Error::new(
                Kind::Forbidden,
                "A read before an approval would need an approval itself.",
            ));
        }
        let call = stamp(call.into_call(), None, None);
        entry.reached(Step::Approved);
        let done = match execute::execute(call, Aim::Call, parts, context).await? {
            execute::Ran::Executed(done) => done,
            execute::Ran::Asked(_) => {
                return Err(Error::new(
                    Kind::ToolFailed,
                    "A read before an approval asked something itself.",
                ));
            }
        };
        entry.reached(Step::Executed);
        match done.into_reply() {
            Reply::Tool(result) => Ok(result.structured_content.unwrap_or_default()),
            Reply::Resource(_) | Reply::Prompt(_) | Reply::Completion(_) => Ok(Value::Null),
        }
    };
    let facts = Arc::new(Facts::default());
    let result = facts.during(stages).await;
    let upstream = facts.upstream();
    let result = result.map_err(|error| redact::error(&error, &parts.redactor, &entry.id().to_string()));
    let policy = notes.policies.as_ref().map(|policies| policies.join(" "));
    let status = result.as_ref().ok().and_then(|answer| answer["status"].as_u64()).unwrap_or_default();
    let finish = Finish {
        result: match &result {
            Ok(_) if (200..300).contains(&status) => "ok",
            Ok(_) => "tool_error",
            Err(error) => error.kind().name(),
        },
        verdict: notes.verdict.map(Verdict::name),
        policy: policy.as_deref(),
        event: facts.egress_refused().then_some(Event::EgressRefused),
        upstream: upstream.as_ref().map(|seen| &*seen.name),
        upstream_request: upstream.as_ref().and_then(|seen| seen.request.as_deref()),
        upstream_requests: facts.requests(),
        upstream_status: u16::try_from(status).ok().filter(|status| *status > 0),
        ..Finish::default()
    };
    entry.finish(finish).await?;
    result
}

/// What a person reads: what would differ, or all of it where that cannot be said.
fn summary(
    body: &Value,
    proposed: Option<&Value>,
    replaces: bool,
    pointers: &[String],
    redactor: &Redactor,
) -> String {
    let eyes = Eyes { pointers, redactor };
    let text = match (body, proposed) {
        (Value::Object(old), Some(Value::Object(new))) => diff::members(old, new, replaces, &eyes),
        (_, Some(Value::Array(steps))) if steps.iter().all(|step| step["path"].is_string()) => {
            diff::patch(body, steps, &eyes)
        }
        _ => render(&eyes.clean(body)),
    };
    let end = text.floor_char_boundary(LONGEST);
    match text.len() - end {
        0 => text,
        cut => format!("{}\n[cut: {cut} more bytes of this are unseen]", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redaction::Config;

    #[test]
    fn a_long_state_is_cut_and_says_so() {
        let redactor = Redactor::new(&Config::default()).unwrap();
        let long = json!({"list": vec!["x".repeat(100); 100]});
        let text = summary(&long, None, false, &[], &redactor);
        assert!(text.len() < LONGEST + 100 && text.contains("are unseen"), "{text}");
        let steps = json!([{"op": "replace", "path": "/size", "value": 9}]);
        assert_eq!(summary(&json!({"size": 2}), Some(&steps), false, &[], &redactor), "/size: 2 -> 9");
    }
}
