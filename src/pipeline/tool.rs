//! What can be called.
//!
//! Owns the [`Tool`] port and its [`ToolSpec`]. The idea: an OpenAPI operation, a hand-written flow, a Python
//! function, a resource and a prompt are all the same to the line.
//!
//! Must not: run anything; only `execute.rs` calls [`Tool::call`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::approvals::Destination;
use crate::json::{Digest, Map, Value, digest, json};
use crate::policy::{Effect, Input, Resource};
use crate::protocol::types::{Annotations, Icon, PromptArgument, ToolAnnotations};
use crate::schema::LazySchema;

use super::select::Pattern;
use super::{Approved, BoxFuture, Context, Halt, Reply};

/// Which protocol list something belongs to.
#[derive(Debug, Clone, PartialEq)]
pub enum Family {
    /// `tools/list`, `tools/call`.
    Tool,
    /// `resources/list`, `resources/read`; the address is exact.
    Resource {
        /// The address.
        uri: String,
        /// Media type of the contents.
        mime_type: Option<String>,
        /// Bytes, if known.
        size: Option<u64>,
    },
    /// `resources/templates/list`; arguments are the template's variables (RFC 6570, level 1).
    Template {
        /// The address with `{variables}`.
        uri_template: String,
        /// Media type of the contents.
        mime_type: Option<String>,
    },
    /// `prompts/list`, `prompts/get`.
    Prompt {
        /// The arguments, in order.
        arguments: Vec<PromptArgument>,
    },
}

impl Family {
    /// The lower-case name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource { .. } => "resource",
            Self::Template { .. } => "template",
            Self::Prompt { .. } => "prompt",
        }
    }
}

/// How a call becomes a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tasking {
    /// Clients that do not support tasks are refused; else they wait for the result.
    pub required: bool,
    /// The tool says itself when: what it asks before is asked in the request.
    pub late: bool,
}

/// How results of an upstream are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The argument that says which parts of a result are wanted, where there is one.
    pub fields: Option<String>,
    /// What is left out unless it is asked for.
    pub noise: Vec<Pattern>,
    /// Whether members that say nothing are left out: null, and empty texts, lists and objects.
    pub prune: bool,
    /// Bytes that are shown at once, where it is not as many as `[calls] shown_bytes` says.
    pub max_bytes: Option<usize>,
}

/// Everything known about something that can be called.
#[derive(Debug)]
pub struct ToolSpec {
    /// Unique name within its family: at most 64 characters of `A-Z a-z 0-9 _ - .`.
    pub name: String,
    /// Which list it is in.
    pub family: Family,
    /// Name for people.
    pub title: Option<String>,
    /// What it does, cleaned.
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the arguments; always an object that refuses unknown ones.
    pub input: LazySchema,
    /// JSON Schema of the structured result.
    pub output: Option<LazySchema>,
    /// What it does to the world.
    pub effect: Effect,
    /// The toolset it is switched on with: a connector's name, or what the author chose.
    pub toolset: String,
    /// Where it comes from: `equinix`, `openapi`, `python`, `builtin`.
    pub source: String,
    /// Scopes a principal needs beyond those of the effect.
    pub scopes: BTreeSet<String>,
    /// Longest time it may take; the line caps it.
    pub timeout: Option<Duration>,
    /// Whether a call may outlive its request, for clients that support tasks.
    pub task: Option<Tasking>,
    /// Hints for clients of tools.
    pub annotations: ToolAnnotations,
    /// Hints for clients of resources.
    pub resource_annotations: Option<Annotations>,
    /// Pictures.
    pub icons: Vec<Icon>,
    /// Extension data, shown as `_meta`.
    pub meta: Option<Map<String, Value>>,
    /// For an upstream operation: method and address template, for people (`DELETE https://api.x/v1/widgets/{id}`).
    pub target: Option<String>,
    /// JSON Pointers into the structured result that are always redacted.
    pub redact: Vec<String>,
    /// For an upstream operation: the digest of how its requests are made, which its arguments do not show.
    pub wire: Option<Digest>,
    /// The argument that takes back the handle of a next page, where results may go on ([`super::offer`] adds it).
    pub page: Option<String>,
    /// What the upstream's credential has to be allowed: any one of these sets; empty where nobody says.
    pub permissions: Vec<BTreeSet<String>>,
    /// Whether it is the read without arguments that shows whether its upstream can be reached.
    pub probe: bool,
    /// How its results are shown, where they come from an upstream.
    pub reading: Option<Reading>,
}

impl ToolSpec {
    /// A tool of that name whose effect is write, without arguments.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            family: Family::Tool,
            title: None,
            description: None,
            input: LazySchema::empty_object(),
            output: None,
            effect: Effect::Write,
            toolset: String::from("default"),
            source: String::from("builtin"),
            scopes: BTreeSet::new(),
            timeout: None,
            task: None,
            annotations: ToolAnnotations::default(),
            resource_annotations: None,
            icons: Vec::new(),
            meta: None,
            target: None,
            redact: Vec::new(),
            wire: None,
            page: None,
            permissions: Vec::new(),
            probe: false,
            reading: None,
        }
    }

    /// Whether an argument is for the line, not for what is called: which parts of a result are wanted, where it goes on.
    pub fn is_ours(&self, argument: &str) -> bool {
        let fields = self.reading.as_ref().and_then(|reading| reading.fields.as_deref());
        fields == Some(argument) || self.page.as_deref() == Some(argument)
    }

    /// What policies see of it.
    pub fn resource(&self) -> Resource<'_> {
        Resource {
            name: &self.name,
            family: self.family.name(),
            effect: self.effect,
            toolset: &self.toolset,
            source: &self.source,
            target: self.target.as_deref(),
            scopes: &self.scopes,
            input: &self.input,
        }
    }

    /// The digest of the definition: what an approval is bound to, and what shows that a tool has changed.
    pub fn fingerprint(&self) -> Digest {
        let (address, arguments) = match &self.family {
            Family::Tool => (None, None),
            Family::Resource { uri, .. } => (Some(uri), None),
            Family::Template { uri_template, .. } => (Some(uri_template), None),
            Family::Prompt { arguments } => (None, Some(arguments)),
        };
        digest(&json!({
            "name": self.name, "family": self.family.name(), "address": address, "arguments": arguments,
            "description": self.description, "input": *self.input.once(),
            "output": self.output.as_ref().map(|schema| Value::clone(&schema.once())), "effect": self.effect,
            "toolset": self.toolset, "source": self.source, "scopes": self.scopes, "target": self.target,
            "redact": self.redact, "wire": self.wire.map(|wire| wire.hex())
        }))
    }
}

impl Input for LazySchema {
    fn kept(&self) -> &Value {
        self.source()
    }

    fn once(&self) -> Arc<Value> {
        Self::once(self)
    }
}

/// The read that shows what a call would change.
pub struct Sight {
    /// What reads. It answers with `{"status": …, "etag": … or null, "body": …}` as structured content.
    pub tool: Arc<dyn Tool>,
    /// Its arguments.
    pub arguments: Map<String, Value>,
    /// What the call would put there: an object of members, or the steps of a JSON Patch.
    pub proposed: Option<Value>,
    /// Whether that takes the place of everything that is there.
    pub replaces: bool,
}

/// Something that can be called.
pub trait Tool: Send + Sync + 'static {
    /// What is known about it.
    fn spec(&self) -> &ToolSpec;

    /// Runs it. Only the line can: nobody else can make an [`Approved`].
    ///
    /// Dropping the future cancels the call: upstream requests are aborted, Python coroutines cancelled.
    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>>;

    /// Where its requests go and with which credential: an approval holds for that one alone. None where it sends none.
    fn destination(&self) -> BoxFuture<'_, Option<Destination>> {
        Box::pin(async { None })
    }

    /// The read that shows what a call with these arguments would change; none unless overridden.
    fn sight(&self, _arguments: &Map<String, Value>) -> Option<Sight> {
        None
    }

    /// The same call as a dry run, which changes nothing: a tool of its own whose effect is reading, and which answers as
    /// the read of a [`Sight`] does. None unless overridden.
    fn rehearsal(&self, _arguments: &Map<String, Value>) -> Option<Sight> {
        None
    }

    /// The request that a call with these arguments would send, for people: method and address, not yet redacted.
    fn request_line(&self, _arguments: &Map<String, Value>) -> Option<String> {
        None
    }

    /// How its upstream leads from one page of a list to the next, in a word; none where it does not, or nobody knows.
    fn pages(&self) -> Option<&'static str> {
        None
    }

    /// Suggestions for an argument of a prompt or a template (`completion/complete`); none unless overridden.
    /// `known` holds the arguments already chosen.
    fn complete<'a>(
        &'a self,
        _call: &'a Approved,
        _context: &'a Context,
    ) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async { Ok(Reply::Completion(crate::protocol::types::Completion::default())) })
    }
}
