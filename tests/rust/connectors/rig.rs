//! A document as tools on a line that allows everything, in front of a scripted upstream.

use std::sync::Arc;

use bartizan::approvals::{self, Approvals};
use bartizan::audit::Audit;
use bartizan::clock::SystemClock;
use bartizan::connectors::document::Document;
use bartizan::connectors::handles::Handles;
use bartizan::connectors::manifest::Manifest;
use bartizan::connectors::{Connector, Instead, Surroundings, openapi};
use bartizan::error::Error;
use bartizan::http::Credentials;
use bartizan::http::credentials::Header;
use bartizan::json::Value;
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{Context, Line, LineParts, Outcome, Proposed, Reply, Tool, kept};
use bartizan::policy::{Filter, Policy};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Revision;
use bartizan::protocol::types::{Content, ResourceContents, ToolResult};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::state::KeyRing;

use crate::loopback::{Act, Seen, Upstream};

pub(crate) const TOKEN: &str = "a-token-that-nobody-may-see-4711";

pub(crate) fn surroundings(egress: bartizan::http::Config) -> Surroundings {
    Surroundings {
        secrets: Default::default(),
        logins: None,
        egress,
        redactor: Redactor::new(&redaction::Config::default()).unwrap(),
        clock: SystemClock::shared(),
        handles: Handles::new([7; 32]),
    }
}

pub(crate) struct Rig {
    pub(crate) upstream: Upstream,
    pub(crate) connector: Connector,
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) audit: std::path::PathBuf,
    line: Line,
    pub(crate) folder: tempfile::TempDir,
}

/// What a rig is made of, beside the document.
pub(crate) struct Parts {
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) policy: Policy,
    pub(crate) approvals: approvals::Config,
    pub(crate) redactor: Redactor,
    pub(crate) limits: limits::Config,
    /// How often a request is tried again.
    pub(crate) retries: u32,
    /// Bytes of an answer.
    pub(crate) body_limit: u64,
}

impl Parts {
    /// Everything is allowed.
    pub(crate) fn open() -> Self {
        Self {
            credentials: Arc::new(Header::bearer(Arc::new(Secret::new(TOKEN)))),
            policy: Policy::from_text("test", "permit(principal, action, resource);").unwrap(),
            approvals: approvals::Config::default(),
            redactor: Redactor::new(&redaction::Config::default()).unwrap(),
            limits: limits::Config::default(),
            retries: 0,
            body_limit: bartizan::http::Config::default().body_limit,
        }
    }
}

impl Rig {
    pub(crate) async fn new(
        document: Value,
        manifest: &str,
        script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        Self::of(document, manifest, script).await
    }

    pub(crate) async fn of(
        document: Document,
        manifest: &str,
        script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::start(script).await;
        let base = upstream.base();
        Self::at(document, manifest, upstream, base)
    }

    /// In front of something else that answers at `base`; the upstream then hears nothing.
    pub(crate) fn at(document: Document, manifest: &str, upstream: Upstream, base: url::Url) -> Self {
        Self::made(document, manifest, upstream, base, Parts::open())
    }

    pub(crate) fn made(
        document: Document,
        manifest: &str,
        upstream: Upstream,
        base: url::Url,
        parts: Parts,
    ) -> Self {
        let address = format!("{}:{}", base.host_str().unwrap(), base.port().unwrap());
        let mut egress = upstream.egress().allowing(address);
        (egress.retries, egress.body_limit) = (parts.retries, parts.body_limit);
        let around = Surroundings { redactor: parts.redactor, ..surroundings(egress) };
        let instead =
            Instead { base: Some(base), credentials: Some(parts.credentials), ..Instead::default() };
        let manifest = Manifest::parse(&format!("name = 'acme'\n{manifest}"), "connector.toml").unwrap();
        let connector = Connector::new(&manifest, document, "openapi", &around, instead).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let audit = bartizan::audit::Config { state: folder.path().to_owned(), ..Default::default() };
        let approvals =
            Approvals::open(&parts.approvals, &folder.path().join("state"), around.clock.clone()).unwrap();
        let line = Line::new(LineParts {
            profile: "production",
            audit: Audit::open(&audit, around.redactor.clone(), around.clock.clone()).unwrap(),
            limiter: Arc::new(Limiter::new(&parts.limits, around.clock.clone())),
            policy: Arc::new(parts.policy),
            filter: Filter::default(),
            guards: Vec::new(),
            redactor: around.redactor,
            approvals: Some(Arc::clone(&approvals)),
            clock: around.clock,
            config: bartizan::pipeline::Config::default(),
        });
        let line = line.sealing_with(KeyRing::new(&[[7; 32]]).unwrap());
        // something reads what is kept, as in a whole server
        let _reader = line.kept().reader();
        Self { upstream, connector, approvals, audit: audit.file(), line, folder }
    }

    /// Reads what was kept of a result.
    pub(crate) async fn read(&self, who: &str, uri: &str) -> Result<ResourceContents, Error> {
        self.read_by(Arc::new(Principal::new(who, PrincipalKind::Process)), uri).await
    }

    pub(crate) async fn read_by(&self, who: Arc<Principal>, uri: &str) -> Result<ResourceContents, Error> {
        let context = Context::new(Revision::NEWEST, who, "memory");
        let id = uri.strip_prefix(kept::ADDRESS).unwrap();
        let arguments = bartizan::json::json!({ "id": id }).as_object().unwrap().clone();
        let call = Proposed { tool: self.line.kept().reader(), arguments, method: "resources/read" };
        match self.line.run(call, &context).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Resource(mut all) => Ok(all.remove(0)),
                other => panic!("a resource, not {other:?}"),
            },
            Outcome::Paused(_) => panic!("nothing asks here"),
        }
    }

    pub(crate) fn tool(&self, name: &str) -> &Arc<dyn Tool> {
        let found = self.connector.tools().iter().find(|tool| tool.spec().name == name);
        found.unwrap_or_else(|| panic!("{name} is a tool"))
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
        self.call_as("anna", tool, arguments).await
    }

    /// Calls as somebody whose allowance nobody else uses up.
    pub(crate) async fn call_as(&self, who: &str, tool: &str, arguments: Value) -> Result<ToolResult, Error> {
        self.call_by(Arc::new(Principal::new(who, PrincipalKind::Process)), tool, arguments).await
    }

    pub(crate) async fn call_by(
        &self,
        who: Arc<Principal>,
        tool: &str,
        arguments: Value,
    ) -> Result<ToolResult, Error> {
        let context = Context::new(Revision::NEWEST, who, "memory");
        let arguments = arguments.as_object().unwrap().clone();
        let call = Proposed { tool: Arc::clone(self.tool(tool)), arguments, method: "tools/call" };
        match self.line.run(call, &context).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Tool(result) => Ok(result),
                other => panic!("a tool's result, not {other:?}"),
            },
            Outcome::Paused(_) => panic!("nothing asks here"),
        }
    }
}

pub(crate) fn text(result: &ToolResult) -> String {
    let texts = result.content.iter().filter_map(|content| match content {
        Content::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}
