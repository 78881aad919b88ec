//! Lists: their order, their pages, and answers that are made once.
//!
//! Owns the four list methods. The idea: how an entry looks is written once for each revision; what a principal sees is
//! found once for each state of the catalog and its rules; a page is written once for all who see the same. After that
//! a list is a lookup. A cursor is sealed, tells nothing, and holds only for the very list it was given for: the pages
//! of two lists are never mixed.
//!
//! Must not: decide what is visible; the line does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::dispatch::Visit;
use super::session::lock;
use super::{Server, faults};
use crate::catalog::{Entry, List, Snapshot};
use crate::error::Result;
use crate::json::{Map, Value, json};
use crate::pipeline::{Family, ToolSpec};
use crate::principal::Principal;
use crate::protocol::Revision;
use crate::protocol::message;
use crate::protocol::meta::ResultMeta;
use crate::protocol::shape;
use crate::protocol::types::{Annotations, Icon, PromptArgument, ToolAnnotations};
use crate::schema::LazySchema;
use crate::search;

/// Pages that are kept ready; beyond that they are made again.
const READY: usize = 128;
/// Principals whose views are remembered; beyond that they are found again.
const VIEWERS: usize = 4096;
const BINDING: &[u8] = b"cursor ";

/// What somebody sees of a list.
struct View {
    number: u64,
    entries: Vec<Arc<Entry>>,
    marks: [OnceLock<Mark>; Revision::ALL.len()],
}

/// Stands for everything a list shows.
type Mark = [u8; 16];

impl View {
    fn mark(&self, revision: Revision) -> &Mark {
        self.marks[revision.index()].get_or_init(|| {
            let mut hash = Sha256::new();
            for entry in &self.entries {
                let text = entry.shown(revision, |spec| shown(spec, revision));
                hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                hash.update(text);
            }
            let mut mark = Mark::default();
            mark.copy_from_slice(&hash.finalize()[..size_of::<Mark>()]);
            mark
        })
    }
}

/// Somebody's views of the four lists.
struct Viewer {
    principal: Arc<Principal>,
    views: [Option<Arc<View>>; 4],
}

#[derive(Default)]
struct Known {
    /// Of the catalog; what was found under another is out of date.
    version: u64,
    next: u64,
    viewers: HashMap<Arc<str>, Vec<Viewer>>,
    views: HashMap<(List, Vec<u64>), Arc<View>>,
    ready: HashMap<(u64, Revision, usize), Arc<str>>,
}

/// What is known about lists: it goes with every change of the catalog or its rules.
#[derive(Default)]
pub(super) struct Pages(Mutex<Known>);

impl Known {
    fn view(&self, list: List, principal: &Arc<Principal>) -> Option<Arc<View>> {
        let alike =
            |viewer: &&Viewer| Arc::ptr_eq(&viewer.principal, principal) || viewer.principal == *principal;
        self.viewers.get(&principal.id)?.iter().find(alike)?.views[list as usize].clone()
    }

    /// Remembers a view; who sees the same as another shares it.
    fn remember(&mut self, list: List, principal: &Arc<Principal>, seen: Vec<u64>, fresh: View) -> Arc<View> {
        let view = Arc::clone(self.views.entry((list, seen)).or_insert_with(|| Arc::new(fresh)));
        if self.viewers.len() >= VIEWERS {
            self.viewers.clear();
        }
        let alike = self.viewers.entry(Arc::clone(&principal.id)).or_default();
        if let Some(viewer) = alike.iter_mut().find(|viewer| viewer.principal == *principal) {
            viewer.views[list as usize] = Some(Arc::clone(&view));
            return view;
        }
        // one id with several faces: what its key grants has changed
        if alike.len() >= 4 {
            alike.clear();
        }
        let mut viewer = Viewer { principal: Arc::clone(principal), views: Default::default() };
        viewer.views[list as usize] = Some(Arc::clone(&view));
        alike.push(viewer);
        view
    }
}

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
        let now = self.catalog.now();
        let view = self.view(list, &visit.principal, &now);
        let from = match params.get("cursor") {
            None => 0,
            Some(cursor) => self.place(list, cursor, &view, visit.revision)?,
        };
        let key = (view.number, visit.revision, from);
        if let Some(ready) = lock(&self.pages.0).ready.get(&key) {
            return Ok(message::prepared(&visit.id, ready));
        }
        let text: Arc<str> = self.page(list, &view, visit.revision, from)?.into();
        let answer = message::prepared(&visit.id, &text);
        let mut known = lock(&self.pages.0);
        if known.version == now.version() {
            if known.ready.len() >= READY {
                known.ready.clear();
            }
            known.ready.insert(key, text);
        }
        Ok(answer)
    }

    /// What that principal sees of a list.
    fn view(&self, list: List, principal: &Arc<Principal>, now: &Snapshot) -> Arc<View> {
        {
            let mut known = lock(&self.pages.0);
            if known.version < now.version() {
                *known = Known { version: now.version(), next: known.next, ..Known::default() };
            }
            if known.version == now.version()
                && let Some(view) = known.view(list, principal)
            {
                return view;
            }
        }
        let line = self.line(now);
        let all = now.list(list);
        let mut seen = vec![0_u64; all.len().div_ceil(64)];
        let mut entries = Vec::new();
        for (index, entry) in all.iter().enumerate() {
            if line.visible(principal, entry.spec()) {
                seen[index / 64] |= 1 << (index % 64);
                entries.push(Arc::clone(entry));
            }
        }
        if list == List::Tools {
            search::shorten(line.offer(), &mut entries);
        }
        let mut known = lock(&self.pages.0);
        known.next += 1;
        let fresh = View { number: known.next, entries, marks: Default::default() };
        if known.version == now.version() {
            known.remember(list, principal, seen, fresh)
        } else {
            Arc::new(fresh)
        }
    }

    fn page(&self, list: List, view: &View, revision: Revision, from: usize) -> Result<String> {
        let rest = view.entries.get(from..).unwrap_or_default();
        let some = &rest[..rest.len().min(self.config.page_size.max(1))];
        let mut out = String::from("{");
        if revision.result_type() {
            out.push_str(r#""resultType":"complete","#);
        }
        out.push('"');
        out.push_str(member(list));
        out.push_str("\":[");
        for (index, entry) in some.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(entry.shown(revision, |spec| shown(spec, revision)));
        }
        out.push(']');
        if some.len() < rest.len() {
            let place = u64::try_from(from + some.len()).unwrap_or(u64::MAX).to_be_bytes();
            let cursor = [&view.mark(revision)[..], &place].concat();
            out.push_str(r#","nextCursor":""#);
            out.push_str(&self.keys.seal(&cursor, &bound(list))?);
            out.push('"');
        }
        if revision.cache_hints() {
            // what is visible depends on who asks
            out.push_str(r#","cacheScope":"private","ttlMs":"#);
            out.push_str(&self.config.list_ttl_ms.to_string());
        }
        if revision.result_type() {
            let meta = ResultMeta { own: None, server: Some(&self.info) };
            out.push_str(r#","_meta":"#);
            out.push_str(&serde_json::to_string(&meta).unwrap_or_default());
        }
        out.push('}');
        Ok(out)
    }

    /// Where a cursor of ours points to, if the list is still the one it was given for.
    fn place(&self, list: List, cursor: &Value, view: &View, revision: Revision) -> Result<usize> {
        let opened = cursor.as_str().and_then(|cursor| self.keys.open(cursor, &bound(list)));
        let read = opened.as_deref().and_then(|bytes| {
            let (mark, place) = bytes.split_at_checked(size_of::<Mark>())?;
            Some((mark, usize::try_from(u64::from_be_bytes(place.try_into().ok()?)).ok()?))
        });
        match read {
            None => Err(faults::bad_params("This cursor is not valid; list again from the start.")),
            Some((mark, place)) if mark == view.mark(revision) => Ok(place),
            Some(_) => Err(faults::bad_params(
                "The list has changed since this cursor was given; list again from the start.",
            )),
        }
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

/// What was offered once is offered for good: a client that was told so gets an empty list, not an unknown method.
fn has(now: &Snapshot, list: List) -> bool {
    now.ever(list)
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
    // of a tool that is listed only its text is kept
    let (input, output) = (spec.input.once(), spec.output.as_ref().map(LazySchema::once));
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
            shown.input_schema = Some(shape::input_schema(revision, &input));
            shown.output_schema = output.as_ref().and_then(|schema| shape::output_schema(revision, schema));
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
