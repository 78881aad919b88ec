//! What walks the line, and what comes out of it.
//!
//! Owns [`Proposed`], [`Context`], [`Outcome`], [`Question`]. The idea: a question to a person is a return value; the
//! core never waits for one.
//!
//! Must not: know how a question is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::json::{Map, Value};
use crate::policy::Effect;
use crate::principal::Principal;
use crate::protocol::Revision;
use crate::protocol::types::{
    Asks, ClientCapabilities, Completion, LogLevel, PromptResult, ResourceContents, ToolResult,
};
use crate::telemetry::TraceContext;

use super::{BoxFuture, Tool};

/// A call nobody has looked at yet.
pub struct Proposed {
    /// What is called.
    pub tool: Arc<dyn Tool>,
    /// The arguments, as parsed. For `completion/complete`: `{"argument": {"name", "value"}, "known": {NAME: TEXT}}`,
    /// where `known` holds the arguments that were chosen before.
    pub arguments: Map<String, Value>,
    /// The protocol method, such as `tools/call`.
    pub method: &'static str,
}

/// What a tool, resource, prompt or completion answered, not yet redacted.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A tool's result; a failed one too.
    Tool(ToolResult),
    /// A resource's contents.
    Resource(Vec<ResourceContents>),
    /// A prompt.
    Prompt(PromptResult),
    /// Suggestions.
    Completion(Completion),
}

/// Why a tool stopped without a reply.
#[derive(Debug)]
pub enum Halt {
    /// It failed.
    Error(Error),
    /// It asks first; it is started afresh when the answers are there.
    Ask(Asks),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Who speaks the protocol on the other side, by its own account: shown and logged, never trusted.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it says it can do.
    pub capabilities: ClientCapabilities,
}

/// Answers that came with the request.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// By the key of the question: the client's result object (`ElicitResult` and so on).
    pub responses: BTreeMap<String, Value>,
    /// What the server kept for itself in a sealed `requestState`, already opened and checked.
    pub state: Option<Value>,
}

/// Hears what a tool says on the way. The server decides whether this client may hear it.
pub trait Voice: Send + Sync {
    /// Progress: a rising number, its end if known, a message.
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>);
    /// A log message; `data` is any JSON.
    fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value);
    /// Lets the client close its connection and come back for the rest, where the protocol has that; else nothing.
    fn pause(&self) {}
}

/// Lets a call outlive its request.
pub trait Detach: Send + Sync {
    /// From here on the call is a task; said again, it does nothing. When this returns the task is durable.
    fn detach(&self) -> BoxFuture<'_, Result<()>>;
}

/// A voice that nobody hears.
#[derive(Debug)]
pub struct Silence;

impl Voice for Silence {
    fn progress(&self, _progress: f64, _total: Option<f64>, _message: Option<&str>) {}
    fn log(&self, _level: LogLevel, _logger: Option<&str>, _data: &Value) {}
}

/// Everything about a request that is not its arguments.
#[derive(Clone)]
pub struct Context {
    /// The revision in use.
    pub revision: Revision,
    /// Who calls.
    pub principal: Arc<Principal>,
    /// With what program.
    pub client: Arc<Client>,
    /// `stdio`, `http` or `memory`.
    pub transport: &'static str,
    /// The trace that the transport was told, where `_meta` names none.
    pub traceparent: Option<Arc<str>>,
    /// The address the caller speaks from, where it has one.
    pub address: Option<std::net::IpAddr>,
    /// The JSON-RPC id, as JSON text; for logs and audit.
    pub request_id: String,
    /// Answers to earlier questions.
    pub answers: Answers,
    /// Fires when the caller cancels or goes away.
    pub cancel: CancellationToken,
    /// Where progress and log messages go. What is said here is redacted by the line's wrapper before it is heard.
    pub voice: Arc<dyn Voice>,
    /// The request's `_meta`.
    pub meta: Option<Arc<Map<String, Value>>>,
    /// Set by the line when it runs a tool: the effect that tool declares. A call made from inside the tool keeps
    /// this context (or copies this field), and is refused when it wants more.
    pub within: Option<Effect>,
    /// How the call becomes a task, where the client supports that.
    pub detach: Option<Arc<dyn Detach>>,
}

impl Context {
    /// A context without client, answers, progress and meta: what a call from this process itself has.
    pub fn new(revision: Revision, principal: Arc<Principal>, transport: &'static str) -> Self {
        Self {
            revision,
            principal,
            client: Arc::new(Client::default()),
            transport,
            address: None,
            traceparent: None,
            request_id: String::new(),
            answers: Answers::default(),
            cancel: CancellationToken::new(),
            voice: Arc::new(Silence),
            meta: None,
            within: None,
            detach: None,
        }
    }
}

impl Context {
    /// The trace that the caller named.
    pub fn parent(&self) -> Option<TraceContext> {
        let named = self.meta.as_ref().and_then(|meta| meta.get("traceparent")?.as_str());
        named.or(self.traceparent.as_deref()).and_then(TraceContext::parse)
    }
}

/// A question to the client's user, a model, or the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is asked; already redacted.
    pub asks: Asks,
    /// What the server must remember until the answers come; sealed before it leaves.
    pub state: Option<Value>,
}

/// How a call ended, if it did not fail.
pub enum Outcome {
    /// With a reply that is fit to leave.
    Done(super::Redacted),
    /// With a question.
    Paused(Question),
}
