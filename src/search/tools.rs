//! The three tools a client sees instead of all.
//!
//! Owns [`tools`]. The idea: what they say is short, because it stands in a model's context all the time; what they
//! answer is what their caller may see, judged by the line of the very catalog it was found in.
//!
//! Must not: keep the catalog alive, or call anything.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::{CALL, DESCRIBE, FIND, Index, TOOLSET, brief};
use crate::catalog::{Catalog, List, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::pipeline::{Approved, BoxFuture, Context, Halt, Reply, Tool, ToolSpec, unknown};
use crate::policy::{Effect, is_in};
use crate::protocol::types::{ToolAnnotations, ToolResult};
use crate::schema::LazySchema;

/// Tools that are named unless more are asked for, and at most.
const SHOWN: u64 = 8;
const MOST: u64 = 30;
/// Bytes of a schema that is described.
const SCHEMA: usize = 12 << 10;
/// Bytes of a description in a list.
const LINE: usize = 160;

/// The way to the catalog, which the tools are a part of.
#[derive(Clone, Default)]
pub struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    catalog: OnceLock<Weak<Catalog>>,
    /// Of the catalog's newest version that was asked about.
    index: Mutex<Option<(u64, Arc<Index>)>>,
}

impl Handle {
    /// Says which catalog it is; the first word counts.
    pub fn set(&self, catalog: &Arc<Catalog>) {
        let _ = self.0.catalog.set(Arc::downgrade(catalog));
    }

    fn now(&self) -> Result<Arc<Snapshot>> {
        let catalog = self.0.catalog.get().and_then(Weak::upgrade);
        catalog.map(|catalog| catalog.now()).ok_or_else(|| Error::new(Kind::Internal, "The catalog is gone."))
    }

    fn index(&self, now: &Snapshot) -> Arc<Index> {
        let mut known = self.0.index.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((version, index)) if *version == now.version() => Arc::clone(index),
            _ => {
                let index = Arc::new(Index::new(now.list(List::Tools)));
                *known = Some((now.version(), Arc::clone(&index)));
                index
            }
        }
    }
}

/// The three tools.
pub fn tools(handle: &Handle) -> Vec<Arc<dyn Tool>> {
    let finder = |act: Act, title: &str, description: &str, input: Value| -> Arc<dyn Tool> {
        let spec = ToolSpec {
            title: Some(title.to_owned()),
            description: Some(description.to_owned()),
            input: LazySchema::new(input),
            effect: Effect::Read,
            toolset: TOOLSET.to_owned(),
            annotations: ToolAnnotations {
                read_only_hint: Some(act != Act::Call),
                open_world_hint: Some(act == Act::Call),
                ..ToolAnnotations::default()
            },
            ..ToolSpec::new(act.name())
        };
        Arc::new(Finder { spec, act, handle: handle.clone() })
    };
    vec![
        finder(
            Act::Find,
            "Find tools",
            "Finds tools by what they do. There are many more tools than are listed: search before you say that \
             something cannot be done.",
            json!({
                "type": "object",
                "properties": {
                    "query": {
                        "type": "string", "minLength": 1, "maxLength": 500,
                        "description": "What you want to do, in English words: `list virtual devices`."
                    },
                    "toolset": {"type": "string", "maxLength": 100, "description": "Only tools of this toolset."},
                    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": SHOWN}
                },
                "required": ["query"],
                "additionalProperties": false
            }),
        ),
        finder(
            Act::Describe,
            "Describe a tool",
            "Shows one tool whole: what it does and the schema of its arguments. Use it before the first call.",
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 64, "description": "The name, as find_tools gave it."},
                    "part": {
                        "type": "string", "maxLength": 300,
                        "description": "Only this part of the schema, one that was named as left out."
                    }
                },
                "required": ["name"],
                "additionalProperties": false
            }),
        ),
        finder(
            Act::Call,
            "Call a tool",
            "Calls a tool that find_tools found. The rules of that tool hold: it may be refused, or wait for a \
             person's approval.",
            json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 64, "description": "The tool."},
                    "arguments": {"type": "object", "description": "Its arguments, as describe_tool shows them."}
                },
                "required": ["name"],
                "additionalProperties": false
            }),
        ),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Find,
    Describe,
    Call,
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Find => FIND,
            Self::Describe => DESCRIBE,
            Self::Call => CALL,
        }
    }
}

struct Finder {
    spec: ToolSpec,
    act: Act,
    handle: Handle,
}

impl Tool for Finder {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let now = self.handle.now()?;
            let result = match self.act {
                Act::Find => find(&now, &self.handle.index(&now), call.arguments(), context),
                Act::Describe => describe(&now, call.arguments(), context)?,
                // whoever takes calls has put the real tool in its place before
                Act::Call => return Err(Error::new(Kind::Internal, "This call was not passed on.").into()),
            };
            Ok(Reply::Tool(result))
        })
    }
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

fn find(now: &Snapshot, index: &Index, arguments: &Map<String, Value>, context: &Context) -> ToolResult {
    // an integral float such as 8.0 is an integer to JSON Schema
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the schema says 1 to MOST")]
    let limit = arguments.get("limit").and_then(Value::as_f64).map_or(SHOWN, |limit| limit as u64);
    let limit = usize::try_from(limit.min(MOST)).unwrap_or(1);
    let toolset = text(arguments, "toolset");
    let entries = now.list(List::Tools);
    let mut shown = Vec::new();
    let mut more = 0_usize;
    for hit in index.find(text(arguments, "query").unwrap_or_default()) {
        let Some(spec) = entries.get(hit.place).map(|entry| entry.spec()) else { continue };
        let wanted = spec.toolset != TOOLSET && toolset.is_none_or(|toolset| is_in(&spec.toolset, toolset));
        if !wanted || !now.line().is_some_and(|line| line.visible(&context.principal, spec)) {
            continue;
        }
        if shown.len() >= limit {
            more += 1;
            if more > 200 {
                break;
            }
            continue;
        }
        // what every read has, and no API asks for, is not said of each
        let mut own = spec.input.arguments();
        own.retain(|(name, _)| !spec.is_ours(name));
        shown.push(json!({
            "name": spec.name,
            "does": line(spec),
            "effect": spec.effect.name(),
            "arguments": brief::arguments(&own),
        }));
    }
    if shown.is_empty() {
        return ToolResult::structured(json!({"tools": [], "hint": nothing(now, toolset, context)}));
    }
    ToolResult::structured(if more == 0 {
        json!({"tools": shown})
    } else {
        json!({"tools": shown, "more": more})
    })
}

/// What to try when nothing was found: the toolsets that the caller sees.
fn nothing(now: &Snapshot, toolset: Option<&str>, context: &Context) -> String {
    let mut sets: Vec<&str> = Vec::new();
    for entry in now.list(List::Tools) {
        let spec = entry.spec();
        if sets.len() < 20
            && spec.toolset != TOOLSET
            && !sets.contains(&spec.toolset.as_str())
            && now.line().is_some_and(|line| line.visible(&context.principal, spec))
        {
            sets.push(&spec.toolset);
        }
    }
    let mut hint = String::from("Nothing fits; use other words.");
    if toolset.is_some_and(|toolset| !sets.contains(&toolset)) {
        hint = String::from("There is no such toolset here.");
    }
    if !sets.is_empty() {
        let _ = write!(hint, " The toolsets here: {}.", sets.join(", "));
    }
    hint
}

/// What a tool does, in one line.
fn line(spec: &ToolSpec) -> String {
    let words = spec.description.as_deref().or(spec.title.as_deref()).unwrap_or_default();
    let first = words.lines().next().unwrap_or_default();
    if first.len() <= LINE {
        return first.to_owned();
    }
    let end = first.char_indices().map(|(at, _)| at).take_while(|at| *at <= LINE).last().unwrap_or(0);
    format!("{}…", &first[..end])
}

fn describe(now: &Snapshot, arguments: &Map<String, Value>, context: &Context) -> Result<ToolResult> {
    let name = text(arguments, "name").unwrap_or_default();
    let visible = |spec: &ToolSpec| now.line().is_some_and(|line| line.visible(&context.principal, spec));
    let spec = now
        .tool(name)
        .map(|entry| entry.spec())
        .filter(|spec| visible(spec))
        .ok_or_else(|| unknown("tools/call"))?;
    let schema = &*spec.input.once();
    let (schema, omitted) = match text(arguments, "part") {
        None => brief::brief(schema, SCHEMA),
        Some(part) => {
            let part = part.strip_prefix("#/$defs/").unwrap_or(part);
            brief::part(schema, part, SCHEMA).ok_or_else(|| {
                Error::new(
                    Kind::BadArguments,
                    "The schema of this tool has no such part; name one that describe_tool listed as left out.",
                )
            })?
        }
    };
    let mut said = json!({
        "name": spec.name,
        "description": spec.description,
        "effect": spec.effect.name(),
        "toolset": spec.toolset,
        "inputSchema": schema,
    });
    if let (Value::Object(said), false) = (&mut said, omitted.is_empty()) {
        said.insert(String::from("left_out"), json!(omitted));
    }
    Ok(ToolResult::structured(said))
}
