//! Tasks as clients see them.
//!
//! Owns the shape of a task on the wire. The idea: one shape for `tasks/get` and for notifications; a created task is
//! the same without what comes later.
//!
//! Must not: know how a task runs.

use serde::Serialize;

use super::super::faults;
use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::answers;
use crate::protocol::shape::{self, Frame, Takes};
use crate::protocol::types::ToolResult;
use crate::tasks::{Mail, Record, State};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    task_id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    created_at: String,
    last_updated_at: String,
    ttl_ms: u64,
    poll_interval_ms: u64,
}

/// A task without what came of it.
pub(super) fn shown(record: &Record, poll_ms: u64) -> Shown<'_> {
    let at = |millis| rfc3339(std::time::Duration::from_millis(millis));
    Shown {
        task_id: &record.id,
        status: match record.state {
            State::Working => "working",
            State::InputRequired { .. } => "input_required",
            State::Completed { .. } => "completed",
            State::Failed { .. } => "failed",
            State::Cancelled => "cancelled",
        },
        status_message: record.message.as_deref(),
        created_at: at(record.created),
        last_updated_at: at(record.updated),
        ttl_ms: record.expires.saturating_sub(record.created),
        poll_interval_ms: poll_ms,
    }
}

/// A task with what came of it.
pub(super) fn detailed(record: &Record, poll_ms: u64, frame: Frame<'_>) -> Result<Map<String, Value>> {
    let value = serde_json::to_value(shown(record, poll_ms)).map_err(odd)?;
    let Value::Object(mut body) = value else { return Ok(Map::new()) };
    let (name, value) = match &record.state {
        State::Working | State::Cancelled => return Ok(body),
        State::InputRequired { requests } => ("inputRequests", Value::Object(requests.clone())),
        State::Failed { error } => ("error", error.clone()),
        State::Completed { result } => {
            // what the tool declares is not known any more
            let takes = Takes { data: false, declared: true };
            let result: ToolResult = serde_json::from_value(result.clone()).map_err(odd)?;
            ("result", serde_json::to_value(shape::called(frame, &result, takes)).map_err(odd)?)
        }
    };
    body.insert(String::from(name), value);
    Ok(body)
}

fn odd(cause: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "A task that was written down cannot be read.").with_source(cause)
}

/// Checks answers that go to another process: all that can be seen from here is whether they look like answers.
pub(super) fn check_from_afar(record: &Record, mail: &Mail) -> Result<()> {
    let Mail::Answers { responses } = mail else { return Ok(()) };
    // whatever the task does now: it is written down until its process reads it
    if serde_json::to_vec(responses).map_or(0, |bytes| bytes.len()) > MOST_BYTES {
        return Err(faults::bad_params("The answers are too large; send less."));
    }
    let State::InputRequired { requests } = &record.state else { return Ok(()) };
    let mut asked = responses.iter().filter(|(key, _)| requests.contains_key(*key));
    asked.try_for_each(|(_, answer)| answers::check_form(answer))
}

/// Bytes of answers that are left for another process.
const MOST_BYTES: usize = 256 << 10;
