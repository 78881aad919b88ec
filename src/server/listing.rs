//! Lists: their order, their pages, and answers that are made once.
//!
//! Owns the four list methods. The idea: how an entry looks is written once for each revision; a page is written once
//! for each set of visible entries, and after that a list is a lookup. Cursors are sealed, so they tell nothing and
//! can only come from here.
//!
//! Must not: decide what is visible; the line does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::dispatch::Visit;
use super::session::lock;
use super::{Server, faults};
use crate::catalog::{List, Snapshot};
use crate::error::Result;
use crate::json::{Map, Value, json};
use crate::pipeline::{Family, ToolSpec};
use crate::protocol::Revision;
use crate::protocol::message;
use crate::protocol::meta::ResultMeta;
use crate::protocol::shape;
use crate::protocol::types::{Annotations, Icon, PromptArgument, ToolAnnotations};

/// Pages that are kept ready; beyond that they are made again.
const READY: usize = 128;
const BINDING: &[u8] = b"cursor ";

#[derive(PartialEq, Eq, Hash)]
struct Page {
    version: u64,
    list: List,
    revision: Revision,
    after: u64,
    visible: Vec<u64>,
}

/// The pages that are ready.
#[derive(Default)]
pub(super) struct Pages(Mutex<HashMap<Page, Arc<str>>>);

const fn member(list: List) -> &'static str {
    match list {
        List::Tools => "tools",
        List::Resources => "resources",
        List::Templates => "resourceTemplates",
        List::Prompts => "prompts",
    }
}

impl Server {
    /// Answers a list method.
    pub(super) fn list(&self, list: List, visit: &Visit, params: &Map<String, Value>) -> Result<String> {
        let after = match params.get("cursor") {
            None => 0,
            Some(cursor) => cursor
                .as_str()
                .and_then(|cursor| self.place(list, cursor))
                .ok_or_else(|| faults::bad_params("This cursor is not valid; list again from the start."))?,
        };
        let now = self.catalog.now();
        let entries = now.list(list);
        let mut visible = vec![0_u64; entries.len().div_ceil(64)];
        for (index, entry) in entries.iter().enumerate() {
            if self.line.visible(&visit.principal, entry.spec()) {
                visible[index / 64] |= 1 << (index % 64);
            }
        }
        let page = Page { version: now.version(), list, revision: visit.revision, after, visible };
        if let Some(ready) = lock(&self.pages.0).get(&page) {
            return Ok(message::prepared(&visit.id, ready));
        }
        let text: Arc<str> = self.page(&page, &now)?.into();
        let answer = message::prepared(&visit.id, &text);
        let mut ready = lock(&self.pages.0);
        if ready.len() >= READY {
            ready.clear();
        }
        ready.insert(page, text);
        Ok(answer)
    }

    fn page(&self, page: &Page, now: &Snapshot) -> Result<String> {
        let seen = |index: usize| page.visible[index / 64] >> (index % 64) & 1 == 1;
        let mut entries = now
            .list(page.list)
            .iter()
            .enumerate()
            .filter(|(index, entry)| seen(*index) && entry.order() > page.after)
            .map(|(_, entry)| entry);
        let mut out = String::from("{");
        if page.revision.result_type() {
            out.push_str(r#""resultType":"complete","#);
        }
        out.push('"');
        out.push_str(member(page.list));
        out.push_str("\":[");
        let mut last = None;
        for entry in entries.by_ref().take(self.config.page_size.max(1)) {
            if last.is_some() {
                out.push(',');
            }
            out.push_str(entry.shown(page.revision, |spec| shown(spec, page.revision)));
            last = Some(entry.order());
        }
        out.push(']');
        if let (Some(last), Some(_)) = (last, entries.next()) {
            out.push_str(r#","nextCursor":""#);
            out.push_str(&self.keys.seal(&last.to_be_bytes(), &bound(page.list))?);
            out.push('"');
        }
        if page.revision.cache_hints() {
            // what is visible depends on who asks
            out.push_str(r#","cacheScope":"private","ttlMs":"#);
            out.push_str(&self.config.list_ttl_ms.to_string());
        }
        if page.revision.result_type() {
            let meta = ResultMeta { own: None, server: Some(&self.info) };
            out.push_str(r#","_meta":"#);
            out.push_str(&serde_json::to_string(&meta).unwrap_or_default());
        }
        out.push('}');
        Ok(out)
    }

    /// What a cursor of ours stands for.
    fn place(&self, list: List, cursor: &str) -> Option<u64> {
        let bytes = self.keys.open(cursor, &bound(list))?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }

    /// What this server can do: only what it can do now.
    pub(super) fn capabilities(&self, revision: Revision) -> Value {
        let now = self.catalog.now();
        let mut capabilities = json!({"logging": {}, "tools": {"listChanged": true}});
        if has_resources(&now) {
            capabilities["resources"] = json!({"subscribe": true, "listChanged": true});
        }
        if has(&now, List::Prompts) {
            capabilities["prompts"] = json!({"listChanged": true});
        }
        if has_completions(&now) && revision.completions_capability() {
            capabilities["completions"] = json!({});
        }
        capabilities
    }
}

fn has(now: &Snapshot, list: List) -> bool {
    !now.list(list).is_empty()
}

/// Whether resources are offered at all.
pub(super) fn has_resources(now: &Snapshot) -> bool {
    has(now, List::Resources) || has(now, List::Templates)
}

/// Whether prompts are offered at all.
pub(super) fn has_prompts(now: &Snapshot) -> bool {
    has(now, List::Prompts)
}

/// Whether there is something to complete.
pub(super) fn has_completions(now: &Snapshot) -> bool {
    has(now, List::Prompts) || has(now, List::Templates)
}

fn bound(list: List) -> Vec<u8> {
    [BINDING, member(list).as_bytes()].concat()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Cow<'a, [PromptArgument]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Hints<'a>>,
    #[serde(skip_serializing_if = "<[Icon]>::is_empty")]
    icons: &'a [Icon],
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Hints<'a> {
    Tool(&'a ToolAnnotations),
    Resource(Annotations),
}

/// How an entry looks in a list of that revision.
fn shown(spec: &ToolSpec, revision: Revision) -> String {
    let mut shown = Shown {
        name: &spec.name,
        title: spec.title.as_deref().filter(|_| revision.titles()),
        uri: None,
        uri_template: None,
        description: spec.description.as_deref(),
        mime_type: None,
        size: None,
        arguments: None,
        input_schema: None,
        output_schema: None,
        annotations: spec
            .resource_annotations
            .as_ref()
            .and_then(|hints| shape::annotations(revision, hints))
            .map(Hints::Resource),
        icons: if revision.icons() { &spec.icons } else { &[] },
        meta: spec.meta.as_ref().filter(|_| revision.inner_meta()),
    };
    match &spec.family {
        Family::Tool => {
            shown.input_schema = Some(shape::input_schema(revision, spec.input.source()));
            let output = spec.output.as_ref();
            shown.output_schema = output.and_then(|schema| shape::output_schema(revision, schema.source()));
            let hints = &spec.annotations;
            let any = revision.tool_annotations() && *hints != ToolAnnotations::default();
            shown.annotations = any.then_some(Hints::Tool(hints));
        }
        Family::Resource { uri, mime_type, size } => {
            shown.uri = Some(uri);
            shown.mime_type = mime_type.as_deref();
            shown.size = *size;
        }
        Family::Template { uri_template, mime_type } => {
            shown.uri_template = Some(uri_template);
            shown.mime_type = mime_type.as_deref();
        }
        Family::Prompt { arguments } => {
            shown.arguments = Some(shape::prompt_arguments(revision, arguments));
            shown.annotations = None;
        }
    }
    serde_json::to_string(&shown).unwrap_or_default()
}
