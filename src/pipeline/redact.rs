//! Fit to leave?
//!
//! Owns the stamp [`Redacted`], and with it the only way out of the line. The idea: texts are stripped of what could
//! hide in them, then of secrets; data by key, by pointer and by content; a text that is JSON is treated as the data it
//! is, so that both copies of a structured result lose the same. Only then is the result held against its schema.
//!
//! Must not: let anything through unseen, or pass off a cut or changed result as a whole one.
//!
//! ```compile_fail
//! fn forge(reply: bartizan::pipeline::Reply) -> bartizan::pipeline::Redacted {
//!     bartizan::pipeline::Redacted { reply, bytes: 0, labels: Default::default() }
//! }
//! ```

use std::borrow::Cow;

use super::cut::{self, Shaping};
use super::{Reply, ToolSpec};
use crate::error::{Error, Kind};
use crate::json::{MOST_VALUES, Map, Value, count};
use crate::protocol::types::{Ask, Asks, Content, PromptResult, ResourceContents, ToolResult};
use crate::redaction::{Labels, Redactor};

/// A reply that is fit to leave.
pub struct Redacted {
    reply: Reply,
    bytes: usize,
    labels: Labels,
}

impl Redacted {
    /// The clean reply.
    pub fn reply(&self) -> &Reply {
        &self.reply
    }

    /// The clean reply.
    pub fn into_reply(self) -> Reply {
        self.reply
    }

    /// What text in it tried with whoever reads it.
    pub fn labels(&self) -> Labels {
        self.labels
    }

    /// Whether it says that its upstream answered something else than its document describes.
    pub(super) fn departs(&self) -> bool {
        let Reply::Tool(result) = &self.reply else { return false };
        result.meta.as_ref().is_some_and(|meta| meta.contains_key(DEPARTURE))
    }

    /// About how many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

pub(super) fn redact((mut reply, labels): (Reply, Labels), shaping: &Shaping<'_>) -> Redacted {
    let Shaping { spec, redactor, .. } = *shaping;
    match &mut reply {
        Reply::Tool(result) => tool(result, spec, redactor),
        Reply::Resource(all) => all.iter_mut().for_each(|one| resource(one, spec, redactor)),
        Reply::Prompt(result) => prompt(result, redactor),
        Reply::Completion(result) => {
            for one in &mut result.values {
                text(one, redactor);
            }
        }
    }
    if let (Reply::Tool(result), Some(meta)) = (&mut reply, &spec.meta)
        && meta.get(PRACTICE) == Some(&Value::Bool(true))
    {
        result.meta.get_or_insert_default().insert(String::from(PRACTICE), Value::Bool(true));
    }
    let bytes = if let Reply::Tool(result) = &mut reply {
        let shaped = shaping.shape(result);
        if let Some(way) = shaping.way {
            way.tell(result, shaped.list.as_ref().map(|(list, kept)| (list.as_str(), *kept)));
        }
        let bytes = shaped.bytes;
        shaped.tell(result);
        conform(result, spec);
        bytes
    } else {
        cut::within(&mut reply, shaping.most)
    };
    distrust(&mut reply, spec, labels);
    Redacted { reply, bytes, labels }
}

/// What the texts of a reply try.
pub(super) fn labels(reply: &Reply) -> Labels {
    let mut labels = Labels::default();
    match reply {
        Reply::Tool(result) => {
            result.content.iter().for_each(|one| labelled(one, &mut labels));
            if let Some(structured) = &result.structured_content {
                texts(structured, &mut labels);
            }
        }
        Reply::Resource(all) => {
            all.iter().filter_map(|one| one.text.as_deref()).for_each(|text| labels.read(text));
        }
        Reply::Prompt(result) => result.messages.iter().for_each(|one| labelled(&one.content, &mut labels)),
        Reply::Completion(result) => result.values.iter().for_each(|text| labels.read(text)),
    }
    labels
}

fn labelled(content: &Content, labels: &mut Labels) {
    match content {
        Content::Text { text, .. } => labels.read(text),
        Content::ResourceLink { uri, description, .. } => {
            labels.read(uri);
            labels.read(description.as_deref().unwrap_or_default());
        }
        Content::Resource { resource, .. } => labels.read(resource.text.as_deref().unwrap_or_default()),
        Content::Image { .. } | Content::Audio { .. } => {}
    }
}

fn texts(value: &Value, labels: &mut Labels) {
    match value {
        Value::String(text) => labels.read(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, labels)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            labels.read(name);
            texts(member, labels);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Says of what an upstream sent that it is not to be trusted, and of anything else when it tries something.
fn distrust(reply: &mut Reply, spec: &ToolSpec, labels: Labels) {
    if spec.target.is_none() && labels.is_empty() {
        return;
    }
    let names: Vec<Value> = labels.names().map(Value::from).collect();
    let said = || crate::json::json!({"source": spec.source, "labels": names});
    match reply {
        Reply::Tool(result) => {
            result.meta.get_or_insert_default().insert(UNTRUSTED.to_owned(), said());
        }
        Reply::Resource(all) => {
            for one in all {
                let meta = one.meta.get_or_insert_default();
                // what was kept still says of which upstream it is, and what all of it tried
                let mut said = said();
                if let Some(known) = meta.get(UNTRUSTED) {
                    if let Some(source) = known.get("source") {
                        said["source"] = source.clone();
                    }
                    if let (Some(Value::Array(more)), Some(Value::Array(all))) =
                        (known.get("labels"), said.get_mut("labels"))
                    {
                        let fresh: Vec<Value> = more.iter().filter(|it| !all.contains(it)).cloned().collect();
                        all.extend(fresh);
                    }
                }
                meta.insert(UNTRUSTED.to_owned(), said);
            }
        }
        Reply::Prompt(_) | Reply::Completion(_) => {}
    }
}

/// The `_meta` key, of a tool and of its results, that says that a stand-in answers.
const PRACTICE: &str = "practice";

/// The `_meta` key that says that a result comes from outside, from where, and what text in it tries.
pub(super) const UNTRUSTED: &str = "bartizan/untrusted";

/// The `_meta` key under which a connector says where an answer is not what its document describes.
pub const DEPARTURE: &str = "bartizan/departure";

/// The `_meta` key that says that a result does not fit the schema its tool declares.
pub(super) const MISFIT: &str = "bartizan/outputMismatch";

/// A structured result fits the declared schema, or is sent as text and says so.
fn conform(result: &mut ToolResult, spec: &ToolSpec) {
    let Some(schema) = &spec.output else { return };
    if result.is_error {
        return;
    }
    let why = match &result.structured_content {
        None => Some(String::from("The tool declares structured results and gave none.")),
        Some(value) => match schema.compiled().and_then(|schema| schema.check(value)) {
            Ok(()) => None,
            Err(error) => Some(error.message().to_owned()),
        },
    };
    if let Some(why) = why {
        if let Some(value) = result.structured_content.take()
            && result.content.is_empty()
        {
            result.content.push(Content::text(value.to_string()));
        }
        result.meta.get_or_insert_with(Map::new).insert(MISFIT.to_owned(), Value::String(why));
    }
}

/// The text without what hides and without secrets.
pub(super) fn clean<'a>(text: &'a str, redactor: &Redactor) -> Cow<'a, str> {
    match redactor.clean(text) {
        Cow::Borrowed(text) => redactor.text(text),
        Cow::Owned(stripped) => match redactor.text(&stripped) {
            Cow::Borrowed(_) => Cow::Owned(stripped),
            Cow::Owned(clean) => Cow::Owned(clean),
        },
    }
}

fn text(text: &mut String, redactor: &Redactor) {
    let changed = match clean(text, redactor) {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed),
    };
    if let Some(changed) = changed {
        *text = changed;
    }
}

fn maybe(one: &mut Option<String>, redactor: &Redactor) {
    if let Some(one) = one {
        text(one, redactor);
    }
}

/// The value without what hides and without secrets; `pointers` are always taken out.
pub(super) fn value(value: &mut Value, pointers: &[String], redactor: &Redactor) {
    strip(value, redactor);
    if pointers.is_empty() {
        redactor.value(value);
    } else if value.is_string() {
        // nobody knows where in it they would lead
        redactor.blank_like(value, pointers);
    } else {
        redactor.value_at(value, pointers);
    }
}

/// The same for an answer of another form than the pointers are for.
pub(super) fn unlike(value: &mut Value, pointers: &[String], redactor: &Redactor) {
    strip(value, redactor);
    redactor.blank_like(value, pointers);
    redactor.value(value);
}

fn strip(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = redactor.clean(text) {
                *text = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, redactor)),
        Value::Object(object) => {
            if object.keys().any(|key| matches!(redactor.clean(key), Cow::Owned(_))) {
                *object = std::mem::take(object)
                    .into_iter()
                    .map(|(key, value)| (redactor.clean(&key).into_owned(), value))
                    .collect();
            }
            object.values_mut().for_each(|value| strip(value, redactor));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn meta(meta: &mut Option<Map<String, Value>>, redactor: &Redactor) {
    if let Some(object) = meta {
        let mut whole = Value::Object(std::mem::take(object));
        value(&mut whole, &[], redactor);
        if let Value::Object(clean) = whole {
            *object = clean;
        }
    }
}

fn tool(result: &mut ToolResult, spec: &ToolSpec, redactor: &Redactor) {
    let before = result.structured_content.clone();
    match &mut result.structured_content {
        None => {}
        Some(structured) if result.is_error => {
            if let Some(answer) = structured.get_mut(ANSWER) {
                unlike(answer, &spec.redact, redactor);
            }
            value(structured, &[], redactor);
        }
        Some(structured) => value(structured, &spec.redact, redactor),
    }
    for one in &mut result.content {
        if let Content::Text { text, meta: extra, most, .. } = one {
            match most.take() {
                Some(most) => words(text, most, spec, redactor),
                None => {
                    data_or_text(text, before.as_ref(), result.structured_content.as_ref(), spec, redactor);
                }
            }
            meta(extra, redactor);
        } else if spec.redact.is_empty() || matches!(one, Content::ResourceLink { .. }) {
            content(one, spec, redactor);
        } else {
            *one = Content::text(UNSEEN);
        }
    }
    meta(&mut result.meta, redactor);
}

/// The member of a failure's data that holds what the upstream answered.
pub const ANSWER: &str = "answer";

/// What stands where an upstream said something in which nothing can be blanked.
const UNSEEN: &str =
    "[redacted:field] Left out: in what came, the fields that are never shown cannot be told apart.";

/// The words of an upstream: first redacted, then cut.
fn words(words: &mut String, most: usize, spec: &ToolSpec, redactor: &Redactor) {
    if is_too_much(words) {
        TOO_MUCH.clone_into(words);
        return;
    }
    let data = serde_json::from_str::<Value>(words).ok();
    match data.filter(|data| data.is_object() || data.is_array()) {
        Some(mut data) if !spec.redact.is_empty() => {
            unlike(&mut data, &spec.redact, redactor);
            *words = data.to_string();
        }
        Some(_) => data_or_text(words, None, None, spec, redactor),
        None if !spec.redact.is_empty() && !words.is_empty() => UNSEEN.clone_into(words),
        None => {}
    }
    text(words, redactor);
    if words.len() > most {
        words.truncate(words.floor_char_boundary(most));
        words.push_str("… ");
        words.push_str(cut::MARK);
    }
}

/// What stands where a text has more parts than are looked through.
const TOO_MUCH: &str = "[redacted:size] Left out: it has too many parts to be looked through for secrets.";

/// Whether a text that holds JSON would be too much in memory.
fn is_too_much(words: &str) -> bool {
    words.len() > MOST_VALUES
        && words.trim_start().starts_with(['{', '['])
        && count(words.as_bytes()) > MOST_VALUES
}

/// A text that holds JSON loses what the same data would lose.
fn data_or_text(
    words: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    spec: &ToolSpec,
    redactor: &Redactor,
) {
    let whole = before.filter(|before| before.is_string()).map(Value::to_string);
    if is_too_much(words) {
        TOO_MUCH.clone_into(words);
    } else if let (Some(whole), Some(after)) = (whole, after)
        && *words == whole
    {
        *words = after.to_string();
    } else if words.trim_start().starts_with(['{', '['])
        && let Ok(parsed) = serde_json::from_str::<Value>(words)
    {
        if Some(&parsed) == before {
            if let Some(after) = after.filter(|after| Some(*after) != before) {
                *words = after.to_string();
            }
        } else {
            let mut clean = parsed.clone();
            value(&mut clean, &spec.redact, redactor);
            if clean != parsed {
                *words = clean.to_string();
            }
        }
    }
    text(words, redactor);
}

fn content(one: &mut Content, spec: &ToolSpec, redactor: &Redactor) {
    match one {
        Content::Text { text: words, meta: extra, .. } => {
            data_or_text(words, None, None, spec, redactor);
            meta(extra, redactor);
        }
        Content::Image { data, mime_type, meta: extra, .. }
        | Content::Audio { data, mime_type, meta: extra, .. } => {
            bytes(data, redactor);
            text(mime_type, redactor);
            meta(extra, redactor);
        }
        Content::ResourceLink { uri, name, title, description, mime_type, .. } => {
            text(uri, redactor);
            text(name, redactor);
            maybe(title, redactor);
            maybe(description, redactor);
            maybe(mime_type, redactor);
        }
        Content::Resource { resource: inside, .. } => resource(inside, spec, redactor),
    }
}

/// Bytes that hold a secret cannot be mended, so they are withheld.
fn bytes(data: &mut String, redactor: &Redactor) {
    if let Cow::Owned(_) = redactor.text(data) {
        // Base64 of `[redacted:bytes]`.
        *data = String::from("W3JlZGFjdGVkOmJ5dGVzXQ==");
    }
}

fn resource(one: &mut ResourceContents, spec: &ToolSpec, redactor: &Redactor) {
    text(&mut one.uri, redactor);
    maybe(&mut one.mime_type, redactor);
    if let Some(words) = &mut one.text {
        data_or_text(words, None, None, spec, redactor);
    }
    if let Some(blob) = &mut one.blob {
        bytes(blob, redactor);
    }
    meta(&mut one.meta, redactor);
}

fn prompt(result: &mut PromptResult, redactor: &Redactor) {
    let none = ToolSpec::new("prompt");
    maybe(&mut result.description, redactor);
    for message in &mut result.messages {
        content(&mut message.content, &none, redactor);
    }
}

/// Questions without secrets, from a tool that may have put one in.
pub(super) fn asks(mut asks: Asks, redactor: &Redactor) -> Asks {
    for ask in asks.values_mut() {
        match ask {
            Ask::Form { message, schema } => {
                text(message, redactor);
                value(schema, &[], redactor);
            }
            Ask::Url { message, url } => {
                text(message, redactor);
                text(url, redactor);
            }
            Ask::Sample(params) => value(params, &[], redactor),
            Ask::Roots => {}
        }
    }
    asks
}

/// Whether an error of this kind carries the id of its lines in the audit. Those that the specification gives a form of
/// its own do not, and with them those that say that there is nothing: what is hidden must look as what is not there.
pub(super) fn is_named(kind: Kind) -> bool {
    kind.is_tool_result() || kind == Kind::Internal
}

/// The detail of an error with the id of its lines in the audit; a tool's own `id` stays unless the log knows more.
pub(super) fn named(detail: Option<Value>, id: &str, leads: bool) -> Value {
    let mut members = match detail {
        Some(Value::Object(members)) => members,
        Some(other) => Map::from_iter([(String::from("detail"), other)]),
        None => Map::new(),
    };
    if leads || !members.contains_key("id") {
        members.insert(String::from("id"), Value::String(id.to_owned()));
    }
    Value::Object(members)
}

/// An error whose words and detail are surely ours, with the id that leads to its lines in the audit and in the log.
pub(super) fn error(error: &Error, redactor: &Redactor, id: &str) -> Error {
    let kind = match error.kind() {
        // A tool cannot send a caller to log in, or blame the configuration in a protocol error.
        Kind::Unauthenticated | Kind::BadConfig => Kind::ToolFailed,
        kind => kind,
    };
    let leads = matches!(kind, Kind::Internal | Kind::ToolFailed);
    if leads || std::error::Error::source(error).is_some() {
        tracing::warn!(
            id,
            kind = kind.name(),
            error = %error,
            cause = std::error::Error::source(error).map(tracing::field::display),
            "a call failed"
        );
    }
    let mut message = clean(error.message(), redactor).into_owned();
    let mut detail = error.detail().cloned();
    if let Some(detail) = &mut detail {
        value(detail, &[], redactor);
    }
    if leads {
        message = format!("{} (The log knows more under {id}.)", message.trim_end());
    }
    if is_named(kind) {
        detail = Some(named(detail, id, leads));
    }
    let mut clean = Error::new(kind, message);
    if let Some(detail) = detail {
        clean = clean.with_detail(detail);
    }
    if let Some(after) = error.retry_after() {
        clean = clean.with_retry_after(after);
    }
    clean
}
