//! A line to test with: every engine real, a clock that is wound by hand, tools that do what a test says.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bartizan::approvals::{self, Approvals};
use bartizan::audit::{self, Audit};
use bartizan::clock::{ManualClock, SharedClock};
use bartizan::error::{Error, Result};
use bartizan::json::{Map, Value, json};
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{
    self, Approved, BoxFuture, Context, Guard, Halt, Line, LineParts, Outcome, Proposed, Reply, Tool,
    ToolSpec,
};
use bartizan::policy::{Config as PolicyConfig, Effect, Filter, Policy};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Revision;
use bartizan::protocol::types::{Content, ToolResult};
use bartizan::redaction::{self, Redactor};
use bartizan::schema::LazySchema;

type Body = dyn for<'a> Fn(&'a Approved, &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> + Send + Sync;

/// A tool that does what a test says, and counts how often it was run.
pub(crate) struct Fake {
    pub(crate) spec: ToolSpec,
    body: Box<Body>,
    pub(crate) runs: AtomicUsize,
}

impl Fake {
    pub(crate) fn new(
        spec: ToolSpec,
        body: impl for<'a> Fn(&'a Approved, &'a Context) -> BoxFuture<'a, Result<Reply, Halt>>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { spec, body: Box::new(body), runs: AtomicUsize::new(0) })
    }

    /// A tool that says `done`.
    pub(crate) fn plain(spec: ToolSpec) -> Arc<Self> {
        Self::new(spec, |_, _| Box::pin(async { Ok(Reply::Tool(ToolResult::text("done"))) }))
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Tool for Fake {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.body)(call, context)
    }
}

/// A tool spec of that effect with an optional text `name` and an optional integer `size`.
pub(crate) fn spec(name: &str, effect: Effect) -> ToolSpec {
    ToolSpec {
        effect,
        input: LazySchema::new(json!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
            "additionalProperties": false
        })),
        ..ToolSpec::new(name)
    }
}

pub(crate) struct Setup {
    pub(crate) line: Arc<Line>,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) redactor: Redactor,
    pub(crate) audit: PathBuf,
    _folder: Arc<tempfile::TempDir>,
}

pub(crate) struct Options {
    pub(crate) policy: Policy,
    pub(crate) filter: Filter,
    pub(crate) guards: Vec<Arc<dyn Guard>>,
    pub(crate) config: pipeline::Config,
    pub(crate) limits: limits::Config,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Options {
    pub(crate) fn new(policy: &str) -> Self {
        Self::with(Policy::load(&PolicyConfig::of(policy)).unwrap())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        Self {
            policy,
            filter: Filter::default(),
            guards: Vec::new(),
            config: pipeline::Config::default(),
            limits: limits::Config {
                write: limits::Quota::new(6000, 1000),
                destroy: limits::Quota::new(6000, 1000),
                ..limits::Config::default()
            },
            folder: Arc::new(tempfile::tempdir().unwrap()),
            clock: ManualClock::at(Duration::from_hours(500_000)),
        }
    }

    pub(crate) fn build(self) -> Setup {
        let state = self.folder.path().join("state");
        let clock: SharedClock = self.clock.clone();
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let approvals = Approvals::open(&approvals::Config::default(), &state, Arc::clone(&clock)).unwrap();
        crate::support::somebody(&state);
        let config = audit::Config { state: state.clone(), ..audit::Config::default() };
        let audit = Audit::open(&config, redactor.clone(), Arc::clone(&clock)).unwrap();
        let file = audit.path().to_path_buf();
        let line = Line::new(LineParts {
            profile: "production",
            audit,
            limiter: Arc::new(Limiter::new(&self.limits, Arc::clone(&clock))),
            policy: Arc::new(self.policy),
            filter: self.filter,
            guards: self.guards,
            redactor: redactor.clone(),
            approvals: Some(Arc::clone(&approvals)),
            clock,
            config: self.config,
        });
        Setup { line: Arc::new(line), approvals, redactor, audit: file, _folder: self.folder }
    }
}

impl Setup {
    pub(crate) async fn call(
        &self,
        tool: &Arc<Fake>,
        arguments: Value,
        context: &Context,
    ) -> Result<Outcome> {
        self.line.run(proposed(tool, arguments), context).await
    }

    pub(crate) async fn text(
        &self,
        tool: &Arc<Fake>,
        arguments: Value,
        context: &Context,
    ) -> Result<String, Error> {
        self.call(tool, arguments, context).await.map(|outcome| words(&result(outcome)))
    }

    /// The audit lines of calls: for each call the intent and, once it is written, the outcome.
    pub(crate) fn lines(&self) -> Vec<Value> {
        std::fs::read_to_string(&self.audit)
            .unwrap_or_default()
            .lines()
            .map(|line| serde_json::from_str(line).expect("an audit line is JSON"))
            .collect()
    }
}

pub(crate) fn proposed(tool: &Arc<Fake>, arguments: Value) -> Proposed {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Proposed { tool: Arc::clone(tool) as Arc<dyn Tool>, arguments, method: "tools/call" }
}

pub(crate) fn principal(id: &str) -> Principal {
    Principal::new(id, PrincipalKind::ApiKey)
}

pub(crate) fn context(principal: Principal) -> Context {
    Context::new(Revision::NEWEST, Arc::new(principal), "memory")
}

pub(crate) fn result(outcome: Outcome) -> ToolResult {
    match outcome {
        Outcome::Done(done) => match done.into_reply() {
            Reply::Tool(result) => result,
            other => panic!("another kind of reply: {other:?}"),
        },
        Outcome::Paused(question) => panic!("a question came instead: {question:?}"),
    }
}

pub(crate) fn words(result: &ToolResult) -> String {
    result
        .content
        .iter()
        .map(|content| match content {
            Content::Text { text, .. } => text.as_str(),
            other => panic!("no text: {other:?}"),
        })
        .collect()
}

pub(crate) fn none() -> Map<String, Value> {
    Map::new()
}
