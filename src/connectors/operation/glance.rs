//! The read of what a write would change.
//!
//! Owns [`Glance`]. The idea: where a document has a GET on the very path that a PUT, PATCH or DELETE changes, that GET
//! with the same path arguments shows what a person is about to agree to; its entity tag then goes along as `If-Match`,
//! so that the upstream itself refuses when somebody was faster.
//!
//! Must not: guess; a GET that needs an argument which the write does not have shows nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::Call;
use crate::connectors::document::{Operation, Place};
use crate::connectors::response;
use crate::error::{Error, Kind, Result};
use crate::http::{HeaderName, HeaderValue, Request, on_behalf};
use crate::json::{Map, Value, json};
use crate::pipeline::{Approved, BoxFuture, Context, Halt, Reply, Sight, Tool, ToolSpec};
use crate::policy::Effect;
use crate::protocol::types::ToolResult;

/// Which read shows what an operation would change, and how its arguments come from that operation's.
pub(super) struct Glance {
    read: Arc<Read>,
    /// Argument of the read, argument of the write.
    arguments: Vec<(String, String)>,
    body: Option<String>,
    replaces: bool,
}

impl Glance {
    pub(super) fn sight(&self, given: &Map<String, Value>) -> Sight {
        let mut arguments = Map::new();
        for (read, write) in &self.arguments {
            if let Some(value) = given.get(write) {
                arguments.insert(read.clone(), value.clone());
            }
        }
        let proposed = self.body.as_ref().and_then(|body| given.get(body)).cloned();
        let tool = Arc::clone(&self.read) as Arc<dyn Tool>;
        Sight { tool, arguments, proposed, replaces: self.replaces }
    }
}

/// A GET that answers with what came, for the line alone.
struct Read(Arc<Call>);

impl Read {
    async fn run(&self, arguments: &Map<String, Value>) -> Result<ToolResult> {
        let response = self.0.client.send(self.0.plan.request(arguments)?).await?;
        let tag = response.headers.get("etag").and_then(|tag| tag.to_str().ok());
        let body = if (200..300).contains(&response.status) && !response.body.is_empty() {
            response::read_json(&response, self.0.client.name())
                .await
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&response.body).into_owned()))
        } else {
            Value::Null
        };
        Ok(ToolResult::structured(json!({"status": response.status, "etag": tag, "body": body})))
    }
}

impl Tool for Read {
    fn spec(&self) -> &ToolSpec {
        &self.0.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        let owner = Arc::clone(&context.principal.id);
        Box::pin(on_behalf(owner, async move { Ok(Reply::Tool(self.run(call.arguments()).await?)) }))
    }
}

/// The call itself with the argument set that makes it a dry run: by our opinion of the API, reading.
struct DryRun {
    call: std::sync::Weak<Call>,
    spec: ToolSpec,
}

impl Tool for DryRun {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, _context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let gone = || Error::new(Kind::ToolFailed, "The operation is not offered any more.");
            let own = self.call.upgrade().ok_or_else(gone)?;
            Ok(Reply::Tool(Read(own).run(call.arguments()).await?))
        })
    }
}

/// Tells a call which argument makes a dry run of it, where our opinion names one.
pub(super) fn rehearsed(call: Arc<Call>, argument: Option<&str>) -> Result<Arc<Call>> {
    let Some(argument) = argument else { return Ok(call) };
    let known =
        call.plan.operation().parameters.iter().any(|it| it.fixed.is_none() && it.argument == argument);
    if !known || call.spec.effect == Effect::Read {
        return Err(Error::new(
            Kind::BadConfig,
            "`dry_run` has to name an argument of an operation that changes something",
        ));
    }
    let spec = ToolSpec {
        effect: Effect::Read,
        input: call.spec.input.clone(),
        source: call.spec.source.clone(),
        toolset: call.spec.toolset.clone(),
        target: call.spec.target.clone(),
        redact: call.spec.redact.clone(),
        wire: call.spec.wire,
        scopes: call.spec.scopes.clone(),
        ..ToolSpec::new(call.spec.name.clone())
    };
    let dry = DryRun { call: Arc::downgrade(&call), spec };
    let _ = call.dry_run.set((argument.to_owned(), Arc::new(dry)));
    Ok(call)
}

/// The dry run of a call with these arguments.
pub(super) fn rehearsal(tool: &Arc<dyn Tool>, argument: &str, given: &Map<String, Value>) -> Sight {
    let mut arguments = given.clone();
    arguments.insert(argument.to_owned(), Value::Bool(true));
    Sight { tool: Arc::clone(tool), arguments, proposed: None, replaces: false }
}

/// Tells every write of a read on the same path.
pub(super) fn pair(calls: &[Arc<Call>]) {
    let is_read =
        |call: &&Arc<Call>| call.spec.effect == Effect::Read && call.plan.operation().method == "GET";
    let reads: HashMap<&str, &Arc<Call>> =
        calls.iter().filter(is_read).map(|call| (call.plan.operation().path.as_str(), call)).collect();
    for call in calls {
        let write = call.plan.operation();
        if !matches!(write.method.as_str(), "PUT" | "PATCH" | "DELETE") {
            continue;
        }
        let Some(read) = reads.get(write.path.as_str()) else { continue };
        let Some(arguments) = arguments(read.plan.operation(), write) else { continue };
        // Set once, here.
        let _ = call.glance.set(Glance {
            read: Arc::new(Read(Arc::clone(read))),
            arguments,
            body: write.body.as_ref().map(|body| body.argument.clone()),
            replaces: write.method == "PUT",
        });
    }
}

/// How the arguments of a read come from those of a write; none if one that it needs does not.
fn arguments(read: &Operation, write: &Operation) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for parameter in read.parameters.iter().filter(|it| it.fixed.is_none()) {
        // A condition on the write is none on the read.
        if parameter.place == Place::Header && parameter.name.to_ascii_lowercase().starts_with("if-") {
            continue;
        }
        let same = write
            .parameters
            .iter()
            .find(|it| it.fixed.is_none() && it.place == parameter.place && it.name == parameter.name);
        match same {
            Some(same) => pairs.push((parameter.argument.clone(), same.argument.clone())),
            None if parameter.required => return None,
            None => {}
        }
    }
    Some(pairs)
}

/// Makes a request conditional on what was shown. A weak tag is no condition (RFC 9110, 13.1.1), and a condition that
/// the caller set stays.
pub(super) fn condition(request: &mut Request, tag: &str) {
    let name = HeaderName::from_static("if-match");
    if tag.starts_with("W/") || request.headers.iter().any(|(known, _)| *known == name) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(tag) {
        request.headers.push((name, value));
    }
}
