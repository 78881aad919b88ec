//! Errors on the wire.
//!
//! Owns the way from [`Error`] to a JSON-RPC error or to a tool result with `isError`. The idea: what a model can mend
//! is a result; the rest is an error with the code of its revision; both carry the kind, and when to come back.
//!
//! Must not: show a source, or anything but the sentence and the detail.

use crate::error::{Error, Kind};
use crate::json::{Map, Value, json};
use crate::protocol::Revision;
use crate::protocol::message::{self, Id};
use crate::protocol::meta::RETRY_AFTER;
use crate::protocol::types::{Content, ToolResult};
use crate::transport::Answer;

/// An error, answered.
pub(super) fn answer(revision: Revision, id: Option<&Id>, error: &Error) -> Answer {
    let needs = lacked(error);
    let status = if needs.is_empty() { revision.status(error.kind()) } else { 403 };
    Answer { needs, ..with_status(revision, id, error, status) }
}

/// The caller's token does not reach far enough; all scopes that are needed go with it.
pub(super) fn lacking(scopes: &[String]) -> Error {
    let said = "The access token does not have the scopes that this call needs; ask the authorization server for them.";
    Error::new(Kind::Forbidden, said).with_detail(json!({"scopes": scopes}))
}

/// Those scopes, where that is what an error says.
fn lacked(error: &Error) -> Vec<String> {
    let scopes =
        error.detail().filter(|_| error.kind() == Kind::Forbidden).and_then(|detail| detail.get("scopes"));
    let scopes = scopes.and_then(Value::as_array).into_iter().flatten();
    scopes.filter_map(Value::as_str).map(String::from).collect()
}

/// An error, answered under a status of its own.
pub(super) fn with_status(revision: Revision, id: Option<&Id>, error: &Error, status: u16) -> Answer {
    note(error);
    let data = data(error);
    let text = message::error(id, revision.code(error.kind()), error.message(), data.as_ref());
    Answer { status, body: Some(text), ..Answer::default() }
}

/// An error as the result of a tool: words for the model, and the same as data.
pub(super) fn tool_result(error: &Error) -> ToolResult {
    note(error);
    let mut fault = facts(error);
    fault.insert(String::from("message"), error.message().into());
    let meta =
        seconds(error).map(|seconds| [(String::from(RETRY_AFTER), seconds.into())].into_iter().collect());
    ToolResult {
        content: vec![Content::text(error.message())],
        structured_content: Some(json!({"error": fault})),
        is_error: true,
        meta,
    }
}

/// Our own faults go to the log with their cause; its writer redacts.
fn note(error: &Error) {
    if error.kind() == Kind::Internal {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(kind = error.kind().name(), cause, "{}", error.message());
    }
}

fn seconds(error: &Error) -> Option<u64> {
    error.retry_after().map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0))
}

fn facts(error: &Error) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert(String::from("kind"), error.kind().name().into());
    if let Some(seconds) = seconds(error) {
        facts.insert(String::from("retryAfter"), seconds.into());
    }
    match error.detail() {
        Some(Value::Object(detail)) => {
            facts.extend(detail.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Some(other) => {
            facts.insert(String::from("detail"), other.clone());
        }
        None => {}
    }
    facts
}

/// `data` is what the specification defines for the faults it defines, and the kind with its facts for the rest.
pub(super) fn data(error: &Error) -> Option<Value> {
    match error.kind() {
        Kind::BadJson
        | Kind::BadRequest
        | Kind::NoSuchMethod
        | Kind::BadParams
        | Kind::NoSuchTool
        | Kind::NoSuchResource
        | Kind::HeaderMismatch
        | Kind::MissingCapability
        | Kind::UnsupportedRevision => error.detail().cloned(),
        Kind::Unauthenticated
        | Kind::BadArguments
        | Kind::RateLimited
        | Kind::Forbidden
        | Kind::NeedsApproval
        | Kind::Declined
        | Kind::Frozen
        | Kind::UpstreamRefused
        | Kind::UpstreamFailed
        | Kind::TimedOut
        | Kind::Cancelled
        | Kind::ToolFailed
        | Kind::BadConfig
        | Kind::Internal => Some(Value::Object(facts(error))),
    }
}

/// The caller went away or took the request back.
pub(super) fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "The request was cancelled.")
}

/// A parameter is missing or wrong.
pub(super) fn bad_params(message: &'static str) -> Error {
    Error::new(Kind::BadParams, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limited_call_says_when_to_come_back() {
        let error = Error::new(Kind::RateLimited, "Too many.").with_retry_after(Duration::from_millis(1200));
        let result = tool_result(&error);
        assert!(result.is_error);
        assert_eq!(
            result.structured_content.unwrap(),
            json!({"error": {"kind": "RateLimited", "retryAfter": 2, "message": "Too many."}})
        );
        assert_eq!(result.meta.unwrap()[RETRY_AFTER], 2);
    }

    #[test]
    fn the_source_stays_inside() {
        let error = Error::new(Kind::Internal, "Our fault.").with_source("hunter2");
        let answer = answer(Revision::NEWEST, Some(&Id::from(1)), &error);
        assert!(!answer.body.unwrap().contains("hunter2"));
    }
}
