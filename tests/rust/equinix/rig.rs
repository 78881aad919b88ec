//! The connector on a line that allows everything, in front of any upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan::audit::Audit;
use bartizan::clock::SystemClock;
use bartizan::connectors::handles::Handles;
use bartizan::connectors::{Connector, Instead, Surroundings};
use bartizan::error::Error;
use bartizan::http::credentials::Header;
use bartizan::http::{Config, Credentials};
use bartizan::json::Value;
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{Context, Line, LineParts, Outcome, Proposed, Reply, Tool};
use bartizan::policy::{Filter, Policy};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Revision;
use bartizan::protocol::types::ToolResult;
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;

use crate::loopback::{Act, Seen, Upstream, answer};

/// Tools, and the line they are called through.
pub(crate) struct Tools {
    pub(crate) all: BTreeMap<String, Arc<dyn Tool>>,
    line: Line,
    folder: tempfile::TempDir,
}

/// Tools in front of a scripted upstream.
pub(crate) struct Rig {
    pub(crate) upstream: Upstream,
    pub(crate) tools: Tools,
}

impl Tools {
    /// The whole connector, bound to an upstream.
    pub(crate) fn at(base: &url::Url, egress: &Config, credentials: Option<Arc<dyn Credentials>>) -> Self {
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let clock = SystemClock::shared();
        let surroundings = Surroundings {
            secrets: Default::default(),
            logins: None,
            egress: egress.clone(),
            redactor: redactor.clone(),
            clock: clock.clone(),
            handles: Handles::new([3; 32]),
        };
        let instead = Instead { base: Some(base.clone()), credentials, ..Instead::default() };
        let connector = Connector::built_in("equinix", &surroundings, instead).unwrap();
        assert!(connector.refused().is_empty(), "{:?}", connector.refused());
        let all = connector.tools().iter().map(|tool| (tool.spec().name.clone(), Arc::clone(tool))).collect();
        let folder = tempfile::tempdir().unwrap();
        let audit = bartizan::audit::Config { state: folder.path().to_owned(), ..Default::default() };
        // a test calls more often than people do
        let mut quotas = limits::Config::default();
        (quotas.write, quotas.destroy) = (quotas.read, quotas.read);
        let line = Line::new(LineParts {
            profile: "production",
            audit: Audit::open(&audit, redactor.clone(), clock.clone()).unwrap(),
            limiter: Arc::new(Limiter::new(&quotas, clock.clone())),
            policy: Arc::new(Policy::from_text("test", "permit(principal, action, resource);").unwrap()),
            filter: Filter::default(),
            guards: Vec::new(),
            redactor,
            approvals: None,
            clock,
            config: bartizan::pipeline::Config::default(),
        });
        Self { all, line, folder }
    }

    pub(crate) async fn call_as(&self, who: &str, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
        let principal = Arc::new(Principal::new(who, PrincipalKind::Process));
        let context = Context::new(Revision::NEWEST, principal, "memory");
        let tool = self.all.get(tool).unwrap_or_else(|| panic!("{tool} is a tool"));
        let arguments = arguments.as_object().unwrap().clone();
        let call = Proposed { tool: Arc::clone(tool), arguments, method: "tools/call" };
        match self.line.run(call, &context).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Tool(result) => Ok(result),
                other => panic!("a tool's result, not {other:?}"),
            },
            Outcome::Paused(_) => panic!("nothing asks here"),
        }
    }
}

impl Rig {
    pub(crate) async fn new(script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        let upstream = Upstream::start(script).await;
        let mut egress = upstream.egress();
        egress.retries = 0;
        let token = Header::bearer(Arc::new(Secret::new("the-static-token-of-equinix")));
        let tools = Tools::at(&upstream.base(), &egress, Some(Arc::new(token)));
        Self { upstream, tools }
    }

    /// An upstream that answers every request with this.
    pub(crate) async fn answering(body: Value) -> Self {
        Self::new(move |_, _| answer(200, body.clone())).await
    }

    pub(crate) async fn call_as(&self, who: &str, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
        self.tools.call_as(who, tool, arguments).await
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
        self.tools.call_as("anna", tool, arguments).await
    }

    /// What the audit says so far.
    pub(crate) fn audit(&self) -> String {
        std::fs::read_to_string(self.tools.folder.path().join("audit.jsonl")).unwrap()
    }

    /// The handle under which a token that was received is shown.
    pub(crate) async fn handle_of(&self, token: &str) -> String {
        let shown = self
            .call("get_service_token", serde_json::json!({"service_token": token, "fields": ["href"]}))
            .await
            .unwrap();
        let text = shown.structured_content.unwrap()["href"].as_str().unwrap().to_owned();
        text.rsplit('/').next().unwrap().to_owned()
    }

    /// Calls, and shows what was sent: method, address and body.
    pub(crate) async fn sent(&self, tool: &str, arguments: Value) -> (String, String, Value) {
        let before = self.upstream.seen().len();
        self.call(tool, arguments).await.unwrap();
        let seen = self.upstream.seen()[before].clone();
        let body = if seen.body.is_empty() { Value::Null } else { seen.json() };
        (seen.method, seen.target, body)
    }
}
