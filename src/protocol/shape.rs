//! On the way out: a result in the newest vocabulary becomes what one revision allows.
//!
//! Owns the result shapes and the reading of client capabilities. The idea: shapes borrow what they show and are
//! written once; what an older client may not see is said otherwise (`older.rs`) or left out, in one pass.
//!
//! Must not: know where a result came from.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::meta::ResultMeta;
use super::types::{
    Annotations, Ask, Asks, ClientCapabilities, Completion, Content, Implementation, PromptArgument,
    PromptMessage, PromptResult, ResourceContents, ToolResult,
};
use super::{Revision, older};
use crate::json::{Map, Value, json};

/// What every result of a revision carries beside its own members.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// The revision.
    pub revision: Revision,
    /// `serverInfo` as JSON.
    pub server: &'a RawValue,
}

impl<'a> Frame<'a> {
    fn result_type(self, name: &'static str) -> Option<&'static str> {
        self.revision.result_type().then_some(name)
    }

    fn meta(self, own: Option<&'a Map<String, Value>>) -> ResultMeta<'a> {
        ResultMeta { own, server: self.revision.result_type().then_some(self.server) }
    }
}

/// How long a client may keep an answer, and for whom.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// Milliseconds.
    pub ttl_ms: u64,
    /// `public` or `private`.
    pub cache_scope: &'static str,
}

/// A result: its type, its members, its hints, its `_meta`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shaped<'a, T: Serialize> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    #[serde(flatten)]
    body: T,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    freshness: Option<Freshness>,
    #[serde(rename = "_meta", skip_serializing_if = "ResultMeta::is_empty")]
    meta: ResultMeta<'a>,
}

/// Any complete result.
pub fn complete<'a, T: Serialize>(
    frame: Frame<'a>,
    body: T,
    freshness: Option<Freshness>,
    own: Option<&'a Map<String, Value>>,
) -> Shaped<'a, T> {
    Shaped {
        result_type: frame.result_type("complete"),
        body,
        freshness: freshness.filter(|_| frame.revision.cache_hints()),
        meta: frame.meta(own),
    }
}

/// `CreateTaskResult`: the call goes on under that task.
pub fn task<T: Serialize>(frame: Frame<'_>, body: T) -> Shaped<'_, T> {
    Shaped { result_type: frame.result_type("task"), ..complete(frame, body, None, None) }
}

/// `CallToolResult`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Called<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: Cow<'a, [Content]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured_content: Option<Cow<'a, Value>>,
    is_error: bool,
    #[serde(rename = "_meta", skip_serializing_if = "ResultMeta::is_empty")]
    meta: ResultMeta<'a>,
}

/// What is known of whoever gets a tool's result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Takes {
    /// The client reads data: no text has to say the same again.
    pub data: bool,
    /// The tool declares what its data look like: they are there, and hold nothing else.
    pub declared: bool,
}

/// A tool's result. Structured content that the revision does not allow is given as text.
pub fn called<'a>(frame: Frame<'a>, result: &'a ToolResult, takes: Takes) -> Called<'a> {
    let (content, structured_content) = older::result(frame.revision, result, takes);
    Called {
        result_type: frame.result_type("complete"),
        content,
        structured_content,
        is_error: result.is_error,
        meta: frame.meta(result.meta.as_ref()),
    }
}

/// `ReadResourceResult`, without hints.
#[derive(Serialize)]
pub struct Contents<'a> {
    contents: Cow<'a, [ResourceContents]>,
}

/// What a resource holds.
pub fn contents<'a>(frame: Frame<'a>, contents: &'a [ResourceContents]) -> Contents<'a> {
    Contents { contents: older::all_contents(frame.revision, contents) }
}

/// `GetPromptResult`, without hints.
#[derive(Serialize)]
pub struct Prompted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    messages: Cow<'a, [PromptMessage]>,
}

/// What a prompt says.
pub fn prompted<'a>(frame: Frame<'a>, result: &'a PromptResult) -> Prompted<'a> {
    Prompted {
        description: result.description.as_deref(),
        messages: older::messages(frame.revision, &result.messages),
    }
}

/// How the server describes itself.
pub fn implementation(revision: Revision, whole: &Implementation) -> Implementation {
    older::implementation(revision, whole)
}

/// The schema of a tool's arguments.
pub fn input_schema(revision: Revision, schema: &Value) -> Cow<'_, Value> {
    older::schema(revision, schema)
}

/// The schema of a tool's results, where the revision shows one.
pub fn output_schema(revision: Revision, schema: &Value) -> Option<Cow<'_, Value>> {
    let object = || schema.get("type").and_then(Value::as_str) == Some("object");
    let shown = revision.any_structured_content() || (revision.structured_content() && object());
    shown.then(|| older::schema(revision, schema))
}

/// Hints about an entry of a list; nothing if the revision has none of them.
pub fn annotations(revision: Revision, hints: &Annotations) -> Option<Annotations> {
    older::annotations(revision, hints)
}

/// The arguments of a prompt.
pub fn prompt_arguments(revision: Revision, arguments: &[PromptArgument]) -> Cow<'_, [PromptArgument]> {
    older::prompt_arguments(revision, arguments)
}

/// `CompleteResult`, without hints.
#[derive(Serialize)]
pub struct Completed<'a> {
    /// The suggestions.
    pub completion: &'a Completion,
}

/// A result without members of its own.
#[derive(Serialize)]
pub struct Nothing {}

/// `InputRequiredResult`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRequired<'a> {
    result_type: &'static str,
    input_requests: Map<String, Value>,
    request_state: &'a str,
    #[serde(rename = "_meta", skip_serializing_if = "ResultMeta::is_empty")]
    meta: ResultMeta<'a>,
}

/// Questions as the newer revisions ask them: in the result.
pub fn input_required<'a>(frame: Frame<'a>, asks: &Asks, state: &'a str) -> InputRequired<'a> {
    let ask = |(key, ask): (&String, &Ask)| (key.clone(), ask_request(ask, frame.revision));
    InputRequired {
        result_type: "input_required",
        input_requests: asks.iter().map(ask).collect(),
        request_state: state,
        meta: frame.meta(None),
    }
}

/// One question as the newer revisions ask it: a request inside of a result.
pub fn ask_request(ask: &Ask, revision: Revision) -> Value {
    json!({"method": ask.method(), "params": ask_params(ask, revision, String::new)})
}

/// The parameters of one question. `fresh` gives the id of a URL elicitation where the revision wants one.
pub fn ask_params(ask: &Ask, revision: Revision, fresh: impl FnOnce() -> String) -> Value {
    match ask {
        Ask::Form { message, schema } => {
            if revision.elicitation_modes() {
                json!({"mode": "form", "message": message, "requestedSchema": schema})
            } else {
                json!({"message": message, "requestedSchema": older::form(schema)})
            }
        }
        Ask::Url { message, url } => {
            let mut params = json!({"mode": "url", "message": message, "url": url});
            if revision.elicitation_ids() {
                params["elicitationId"] = Value::String(fresh());
            }
            params
        }
        Ask::Sample(params) => older::sample(revision, params),
        Ask::Roots => json!({}),
    }
}

/// What a client has to declare before it can be asked, in the form of its own capabilities.
pub fn needed(revision: Revision, ask: &Ask) -> Value {
    match ask {
        Ask::Form { .. } if !revision.elicitation_modes() => json!({"elicitation": {}}),
        Ask::Form { .. } => json!({"elicitation": {"form": {}}}),
        Ask::Url { .. } => json!({"elicitation": {"url": {}}}),
        Ask::Sample(params) if wants_tools(params) => json!({"sampling": {"tools": {}}}),
        Ask::Sample(_) => json!({"sampling": {}}),
        Ask::Roots => json!({"roots": {}}),
    }
}

/// Whether a client that declared these capabilities can be asked that, in words that its revision has.
pub fn can_answer(revision: Revision, capabilities: &ClientCapabilities, ask: &Ask) -> bool {
    match ask {
        Ask::Form { schema, .. } => {
            capabilities.elicit_form && (revision.elicitation_modes() || older::can_be_a_form(schema))
        }
        Ask::Url { .. } => capabilities.elicit_url,
        Ask::Sample(params) => {
            capabilities.sampling
                && (capabilities.sampling_tools || !wants_tools(params))
                && older::can_be_sampled(revision, params)
        }
        Ask::Roots => capabilities.roots,
    }
}

fn wants_tools(params: &Value) -> bool {
    params.get("tools").is_some() || params.get("toolChoice").is_some()
}

/// Reads what a client declares; members that are no objects declare nothing, nor does what its revision lacks.
pub fn client_capabilities(revision: Revision, declared: &Map<String, Value>) -> ClientCapabilities {
    let object = |name: &str| declared.get(name).and_then(Value::as_object);
    let elicitation = object("elicitation").filter(|_| revision.elicitation());
    let modes = revision.elicitation_modes();
    let has = |mode: &str| elicitation.is_some_and(|modes| modes.get(mode).is_some_and(Value::is_object));
    ClientCapabilities {
        // an empty object means forms: URLs came later
        elicit_form: has("form") || elicitation.is_some_and(|named| !modes || !named.contains_key("url")),
        elicit_url: modes && has("url"),
        sampling: object("sampling").is_some(),
        sampling_tools: revision.sampling_tools()
            && object("sampling").is_some_and(|sampling| sampling.contains_key("tools")),
        roots: object("roots").is_some(),
        extensions: object("extensions").map(|map| map.keys().cloned().collect()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::meta::CUT;
    use super::*;

    fn raw() -> Box<RawValue> {
        RawValue::from_string(String::from(r#"{"name":"n","version":"1"}"#)).unwrap()
    }

    #[test]
    fn an_older_client_sees_neither_types_nor_lists_as_structured_content() {
        let (server, result) = (raw(), ToolResult::structured(json!([1])));
        let text = |revision| {
            serde_json::to_string(&called(Frame { revision, server: &server }, &result, Takes::default()))
                .unwrap()
        };
        assert_eq!(
            text(Revision::V2025_11_25),
            r#"{"content":[{"type":"text","text":"[1]"}],"isError":false}"#
        );
        let newer: Value = serde_json::from_str(&text(Revision::V2026_07_28)).unwrap();
        assert_eq!(newer["resultType"], "complete");
        assert_eq!(newer["structuredContent"], json!([1]));
        assert_eq!(newer["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "n");
    }

    #[test]
    fn a_client_that_takes_data_is_not_told_twice_and_misses_no_word() {
        let server = raw();
        let mut result = ToolResult::structured(json!({"a": [1, 2]}));
        result.content.push(Content::text("etag: \"v1\""));
        let shown = |result: &ToolResult, revision, data, declared| {
            let takes = Takes { data, declared };
            serde_json::to_value(called(Frame { revision, server: &server }, result, takes)).unwrap()
        };
        for revision in [Revision::V2025_06_18, Revision::V2025_11_25, Revision::V2026_07_28] {
            let both = shown(&result, revision, false, false);
            assert_eq!(both["content"][0]["text"], r#"{"a":[1,2]}"#);
            assert_eq!(both["structuredContent"], json!({"a": [1, 2]}));
            let once = shown(&result, revision, true, false);
            assert!(!once["content"].to_string().contains("[1,2]"), "{once}");
            assert_eq!(once["structuredContent"], json!({"a": [1, 2], "notes": ["etag: \"v1\""]}));
            let declared = shown(&result, revision, true, true);
            assert_eq!(declared["structuredContent"], json!({"a": [1, 2]}));
        }
        // data that the revision lacks is in the text, whatever the client takes
        let oldest = shown(&result, Revision::V2025_03_26, true, false);
        assert_eq!(
            (&oldest["content"][0]["text"], &oldest["structuredContent"]),
            (&json!(r#"{"a":[1,2]}"#), &Value::Null)
        );
        let failed = ToolResult { is_error: true, ..result.clone() };
        assert_eq!(shown(&failed, Revision::NEWEST, true, false)["content"][0]["text"], r#"{"a":[1,2]}"#);
        // what was cut because it is long is not sent twice to anybody, unless the tool promised data
        let cut = ToolResult { meta: Some(Map::from_iter([(CUT.to_owned(), json!(true))])), ..result };
        let once = shown(&cut, Revision::NEWEST, false, false);
        assert_eq!(
            (&once["content"][0]["text"], &once["structuredContent"]),
            (&json!(r#"{"a":[1,2]}"#), &Value::Null)
        );
        assert_eq!(shown(&cut, Revision::NEWEST, false, true)["structuredContent"], json!({"a": [1, 2]}));
    }

    #[test]
    fn capabilities_are_what_was_declared_and_no_more() {
        let newest = Revision::NEWEST;
        let read = |value: Value| client_capabilities(newest, value.as_object().unwrap());
        assert!(read(json!({"elicitation": {}})).elicit_form);
        assert!(!read(json!({"elicitation": {}})).elicit_url);
        assert!(!read(json!({"elicitation": {"url": {}}})).elicit_form);
        let both = read(json!({"elicitation": {"form": {}, "url": {}}}));
        assert!(both.elicit_form && both.elicit_url);
        assert!(!read(json!({"sampling": {}})).sampling_tools);
        assert_eq!(read(json!({"sampling": true, "roots": null})), ClientCapabilities::default());
        let ask = Ask::Sample(json!({"tools": []}));
        assert!(!can_answer(newest, &read(json!({"sampling": {}})), &ask));
        let tools = json!({"sampling": {"tools": {}}, "elicitation": {"url": {}}});
        assert!(can_answer(newest, &read(tools.clone()), &ask));
        let older = |revision| client_capabilities(revision, tools.as_object().unwrap());
        let middle = older(Revision::V2025_06_18);
        assert!(middle.elicit_form && !middle.elicit_url && !middle.sampling_tools && middle.sampling);
        let first = older(Revision::V2024_11_05);
        assert!(!first.elicit_form && first.sampling);
    }
}
