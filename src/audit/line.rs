//! How a record becomes a line.
//!
//! Owns the writing of members: what [`Record`], [`Finish`] and events say, as JSON without braces, ready for the
//! chain. The idea: a line is written once, straight into one string; everything from outside passes the redactor and
//! is cut to a length on the way.
//!
//! Must not: leave anything out silently; what is cut says so.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use uuid::Uuid;

use super::record::{Finish, Record, Step};
use crate::clock::rfc3339;
use crate::json::{Digest, Map, Value, canonical};
use crate::redaction::Redactor;

/// Longest text from outside in one member.
const MOST_TEXT: usize = 256;
/// How many argument names are listed when the arguments themselves are too long.
const MOST_NAMES: usize = 20;

/// Members of one line.
pub(super) struct Members(String);

impl Members {
    pub(super) fn new(kind: &str, wall: Duration, process: &str) -> Self {
        let mut line = String::with_capacity(512);
        line.push_str("\"time\":\"");
        time(&mut line, wall);
        line.push_str("\",\"kind\":\"");
        line.push_str(kind);
        line.push_str("\",\"process\":\"");
        line.push_str(process);
        line.push('"');
        Self(line)
    }

    /// A text of ours.
    pub(super) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.name(name);
        quote(&mut self.0, text);
        self
    }

    /// A text from outside: redacted, cut.
    fn foreign(&mut self, name: &str, text: &str, redactor: &Redactor) -> &mut Self {
        if text.is_empty() {
            return self;
        }
        let clean = redactor.logged(text);
        match clean.char_indices().nth(MOST_TEXT) {
            None => self.text(name, &clean),
            Some((cut, _)) => self.text(name, &format!("{}… (cut)", &clean[..cut])),
        }
    }

    pub(super) fn number(&mut self, name: &str, number: impl Into<u64>) -> &mut Self {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{}", number.into());
        self
    }

    pub(super) fn flag(&mut self, name: &str) -> &mut Self {
        self.json(name, "true")
    }

    /// Members that were written before.
    pub(super) fn more(&mut self, members: &str) -> &mut Self {
        self.0.push_str(members);
        self
    }

    fn json(&mut self, name: &str, json: &str) -> &mut Self {
        self.name(name);
        self.0.push_str(json);
        self
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The intent of a call, and the members its outcome repeats.
pub(super) fn intent(
    mut line: Members,
    id: Uuid,
    record: &Record<'_>,
    redactor: &Redactor,
    most_arguments: usize,
) -> (String, String) {
    let mut who = Members(String::with_capacity(160));
    let mut buffer = Uuid::encode_buffer();
    who.text("id", id.hyphenated().encode_lower(&mut buffer))
        .foreign("principal", record.principal, redactor)
        .text("method", record.method)
        .foreign("tool", record.tool, redactor)
        .text("effect", record.effect);
    let who = who.finish();
    line.more(&who).text("transport", record.transport);
    if let Some(address) = record.address {
        line.text("address", &address.to_string());
    }
    line.foreign("bearer", record.bearer.unwrap_or_default(), redactor)
        .foreign("delegate", record.delegate.unwrap_or_default(), redactor)
        .foreign("client_claimed", record.client, redactor)
        .foreign("client_version_claimed", record.client_version, redactor)
        .foreign("profile", record.profile, redactor)
        .foreign("request", record.request, redactor);
    if let Some(trace) = &record.trace {
        line.foreign("trace", trace, redactor);
    }
    if record.practice {
        line.flag("practice");
    }
    if let Some(arguments) = record.arguments {
        self::arguments(&mut line, arguments, redactor, most_arguments);
    }
    (line.finish(), who)
}

/// The digest of the arguments as they came, and a redacted copy. Where the copy hides something, the digest is keyed,
/// so that nobody can try out what was hidden; without a key there is then none.
fn arguments(line: &mut Members, arguments: &Map<String, Value>, redactor: &Redactor, most: usize) {
    if arguments.is_empty() {
        line.json("arguments", "{}");
        return;
    }
    let mut shown = Value::Object(arguments.clone());
    let raw = canonical(&shown);
    let changed = redactor.value_logged(&mut shown);
    line.number("bytes_in", u64::try_from(raw.len()).unwrap_or(u64::MAX));
    let mut text = shown.to_string();
    let cut = text.len() > most;
    if !changed && !cut {
        line.text("arguments_digest", &format!("sha256:{}", Digest::of(raw.as_bytes())));
    } else if let Some(keyed) = redactor.keyed_digest(raw.as_bytes()) {
        line.text("arguments_digest", &format!("hmac-sha256:{keyed}"));
    }
    if cut {
        line.number("arguments_bytes", u64::try_from(text.len()).unwrap_or(u64::MAX));
        let names = shown.as_object().into_iter().flat_map(Map::keys).take(MOST_NAMES);
        let names: Vec<String> = names.map(|name| name.chars().take(64).collect()).collect();
        text = Value::from(names).to_string();
        line.json("arguments_cut", &text);
    } else {
        line.json("arguments", &text);
    }
}

/// The outcome of a call.
pub(super) fn outcome(
    mut line: Members,
    who: &str,
    step: Step,
    finish: &Finish<'_>,
    took: Duration,
    redactor: &Redactor,
) -> String {
    line.more(who).text("step", step.name()).text("result", finish.result);
    if let Some(event) = finish.event {
        line.text("event", event.name());
    }
    if let Some(verdict) = finish.verdict {
        line.text("verdict", verdict);
    }
    let texts = [("policy", finish.policy), ("approval", finish.approval), ("approver", finish.approver)];
    for (name, text) in texts {
        line.foreign(name, text.unwrap_or_default(), redactor);
    }
    line.foreign("upstream", finish.upstream.unwrap_or_default(), redactor);
    if let Some(status) = finish.upstream_status {
        line.number("upstream_status", status);
    }
    line.foreign("upstream_request", finish.upstream_request.unwrap_or_default(), redactor);
    if finish.upstream_requests > 1 {
        line.number("upstream_requests", finish.upstream_requests);
    }
    if let Some(bytes) = finish.bytes {
        line.number("bytes_out", bytes);
    }
    if !finish.untrusted.is_empty() {
        line.text("untrusted", finish.untrusted);
    }
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    line.json("duration_ms", &format!("{}.{:03}", micros / 1000, micros % 1000));
    line.finish()
}

/// A security event.
pub(super) fn event(
    mut line: Members,
    event: &str,
    detail: &Value,
    redactor: &Redactor,
    most: usize,
) -> String {
    let mut detail = detail.clone();
    redactor.value_logged(&mut detail);
    let text = detail.to_string();
    line.text("event", event);
    if text.len() <= most {
        line.json("detail", &text);
    } else {
        line.number("detail_bytes", u64::try_from(text.len()).unwrap_or(u64::MAX));
    }
    line.finish()
}

/// Writes a time. Under load many lines have the same one.
fn time(out: &mut String, wall: Duration) {
    thread_local! {
        static LAST: RefCell<(u128, String)> = RefCell::new((0, rfc3339(Duration::ZERO)));
    }
    let millis = wall.as_millis();
    let written = LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        if last.0 != millis {
            *last = (millis, rfc3339(wall));
        }
        out.push_str(&last.1);
    });
    if written.is_err() {
        out.push_str(&rfc3339(wall));
    }
}

/// Writes a JSON string.
fn quote(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}
