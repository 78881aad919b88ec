//! One operation of a document as a tool.
//!
//! Owns [`Call`]. The idea: the document says what there is, the manifest what we make of it; a call is request, way
//! out, answer, and pages where the manifest says there are any.
//!
//! Must not: sign, retry or pace (`http/` does), or redact (the line does).

mod glance;
mod takes;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use self::glance::Glance;

use super::advice::{Called, point};
use super::document::{Document, Operation, Parameter, Place, Refusal, ResponseSpec};
use super::loose::any_of;
use super::manifest::{Override, Showing};
use super::openapi::is_json;
use super::outline::Outline;
use super::pages::{At, Follow, Page, gather, infer};
use super::request::{Base, Plan};
use super::response;
use super::shape::{pack, weight};
use crate::error::{Error, Kind, Result};
use crate::http::query::is_alike;
use crate::http::{Client, HeaderName, HeaderValue, Request, Response, on_behalf};
use crate::json::{Map, Value, json};
use crate::limits::room;
use crate::pipeline::{
    Approved, BoxFuture, Context, DEPARTURE, Destination, Halt, Reply, Sight, Tool, ToolSpec, Trail, choose,
    offer,
};
use crate::policy::Effect;
use crate::protocol::types::{Content, ToolAnnotations, ToolResult};
use crate::schema::{LazySchema, Schema};

/// `$defs` of one tool, in bytes: a list of tools must stay something a client can read.
const SCHEMA: usize = 24 << 10;
/// All of them together; beyond it, tools get [`LEAN`] each, and what does not fit is the upstream's to check.
const SCHEMAS: usize = 32 << 20;
const LEAN: usize = 1 << 10;
const DESCRIPTION: usize = 1_200;

/// What every operation of a connector shares.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) base: Arc<Base>,
    pub(super) client: Client,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that signing sets, lower case: no argument.
    pub(super) reserved: Vec<String>,
    /// Parameters of the query that signing sets: no argument.
    pub(super) reserved_queries: Vec<String>,
    pub(super) prefix: String,
    /// The operation that shows whether the upstream can be reached.
    pub(super) health: Option<String>,
    /// How answers are shown.
    pub(super) showing: Showing,
    /// Whether a stand-in answers.
    pub(super) practice: bool,
    /// What the credential has to be allowed, where nothing says it of the operation.
    pub(super) permissions: Vec<String>,
}

/// An operation that can be called.
pub(super) struct Call {
    spec: ToolSpec,
    plan: Plan,
    client: Client,
    /// How its list goes on, if its answer may be one.
    follow: Option<Follow>,
    expects_json: bool,
    /// By status, what an answer should look like, in the order of the document.
    answers: Answers,
    /// Whether an answer has departed from it before.
    departed: AtomicBool,
    /// Set once every operation is known: the read of what this one would change.
    glance: OnceLock<Glance>,
    /// The argument that makes a dry run of it, and what runs that.
    dry_run: OnceLock<(String, Arc<dyn Tool>)>,
}

type Answers = Vec<(Box<str>, Option<Outline>)>;

/// An operation on its way to become a tool: what the document's schemas are needed for has been found.
struct Prepared {
    operation: Operation,
    spec: ToolSpec,
    /// What its arguments are called, with those that we add.
    sketch: Value,
    budget: usize,
    follow: Option<Follow>,
    expects_json: bool,
    answers: Answers,
    idempotent: Option<bool>,
    dry_run: Option<String>,
    /// How answers are shown, as it was said.
    showing: Value,
}

impl Prepared {
    fn new(
        mut operation: Operation,
        opinion: Option<&Override>,
        shared: &Shared,
        budget: usize,
    ) -> Result<Self> {
        let reserved = |it: &Parameter| match it.place {
            Place::Header => shared.reserved.iter().any(|own| is_alike(own, &it.name)),
            Place::Query => shared.reserved_queries.iter().any(|own| is_alike(own, &it.name)),
            Place::Path | Place::Cookie => false,
        };
        operation.parameters.retain(|it| !reserved(it));
        let mut follow = follow(&operation, opinion)?;
        let (spec, sketch) = spec(&operation, opinion, shared, follow.is_some());
        if let Some(follow) = &mut follow {
            follow.whole = spec.output.is_some();
        }
        let success = operation.responses.iter().find(|(status, _)| status.starts_with('2'));
        let expects_json =
            success.and_then(|(_, response)| response.media_type.as_deref()).is_none_or(is_json);
        let outline = |(status, response): (&String, &ResponseSpec)| {
            let shape = response.schema.as_ref().filter(|_| status.starts_with('2') || status == "default");
            (status.as_str().into(), shape.and_then(Outline::of))
        };
        let answers = operation.responses.iter().map(outline).collect();
        // Answers and words are not needed any more.
        for response in operation.responses.values_mut() {
            (response.schema, response.example, response.description) = (None, None, None);
        }
        (operation.summary, operation.description, operation.tags) = (None, None, Vec::new());
        let idempotent = opinion.and_then(|opinion| opinion.idempotent);
        let dry_run = opinion.and_then(|opinion| opinion.dry_run.clone());
        let showing = json!([shared.showing, opinion.map(|opinion| &opinion.response)]);
        Ok(Self {
            operation,
            spec,
            sketch,
            budget,
            follow,
            expects_json,
            answers,
            idempotent,
            dry_run,
            showing,
        })
    }

    fn call(self, shared: &Shared) -> Result<Arc<Call>> {
        let Self { operation, mut spec, sketch, budget, follow, expects_json, answers, .. } = self;
        let (idempotent, dry_run) = (self.idempotent, self.dry_run);
        let operation = Arc::new(operation);
        spec.input = takes::input(Arc::clone(&operation), budget, sketch);
        let mut plan = Plan::new(operation, Arc::clone(&shared.base), shared.headers.clone())?;
        plan.idempotent = idempotent.unwrap_or(plan.idempotent || spec.effect == Effect::Read);
        plan.signed.clone_from(&shared.reserved_queries);
        let pages = follow.as_ref().map(Follow::wire);
        spec.wire = Some(plan.wire(&json!([pages, dry_run, self.showing, expects_json, spec.probe])));
        let (client, glance, rehearsal) = (shared.client.clone(), OnceLock::new(), OnceLock::new());
        let departed = AtomicBool::new(false);
        let call =
            Call { spec, plan, client, follow, expects_json, answers, departed, glance, dry_run: rehearsal };
        glance::rehearsed(Arc::new(call), dry_run.as_deref())
    }
}

impl Call {
    /// Notes where a good answer is not what the document describes; it is taken all the same.
    fn compare(&self, status: u16, result: &mut ToolResult) {
        if result.is_error || !(200..300).contains(&status) || self.answers.is_empty() {
            return;
        }
        let (exact, range) = (status.to_string(), format!("{}XX", status / 100));
        let known = [exact.as_str(), &range, "default"]
            .iter()
            .find_map(|wanted| self.answers.iter().find(|(status, _)| **status == **wanted));
        let departures = match (known, &result.structured_content) {
            (None, _) => vec![format!("HTTP {status} is no answer that the document describes")],
            (Some((_, Some(outline))), Some(value)) => outline.departures(value),
            (Some((_, Some(_))), None) if self.expects_json => vec![String::from("the answer is no JSON")],
            _ => return,
        };
        if departures.is_empty() {
            return;
        }
        if !self.departed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                upstream = self.client.name(),
                tool = self.spec.name,
                first = departures.first().map(String::as_str),
                "an upstream's answer is not what its document describes; it is used as it came, and this is said once"
            );
        }
        result.meta.get_or_insert_default().insert(DEPARTURE.to_owned(), json!(departures));
    }

    async fn run(&self, call: &Approved) -> Result<(ToolResult, Option<Trail>)> {
        let (arguments, at) = (call.arguments(), At::read(call.begins_at())?);
        let mut request = match &self.follow {
            Some(follow) => follow.request(&self.plan, arguments, &at)?,
            None => self.plan.request(arguments)?,
        };
        if let Some(tag) = call.shown_tag() {
            glance::condition(&mut request, tag);
        }
        let (began, first) = (Instant::now(), request.clone());
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return Ok((response::unsent(error, self.client.name())?, None)),
        };
        if self.is_gone(&response) {
            let done = "Done: it is gone. The answer to the first request was lost on the way.";
            return Ok((ToolResult::text(done), None));
        }
        let mut result = response::read(&response, self.client.name(), self.expects_json).await?;
        self.compare(response.status, &mut result);
        if result.is_error {
            let called = Called {
                operation: self.plan.operation(),
                input: self.spec.input.source(),
                arguments,
                idempotent: self.plan.idempotent,
            };
            point(&mut result, &response, &called);
        }
        let (Some(follow), false, Some(value)) =
            (&self.follow, result.is_error, &mut result.structured_content)
        else {
            return Ok((result, None));
        };
        let page = Page { value: std::mem::take(value), headers: response.headers, body: response.body };
        let mut gathered = gather((&self.client, &self.plan, follow), call, at, (began, first, page)).await;
        if gathered.changed
            && let Some(text) = result.content.first_mut()
        {
            let value = std::mem::take(&mut gathered.value);
            let written = room::work(gathered.bytes, move || (value.to_string(), value));
            let (words, value) = written.await?;
            (*text, gathered.value) = (Content::text(words), value);
        }
        result.structured_content = Some(gathered.value);
        result.content.extend(gathered.said);
        Ok((result, gathered.trail))
    }

    /// Whether a DELETE was done by a try whose answer was lost.
    fn is_gone(&self, response: &Response) -> bool {
        response.lost && matches!(response.status, 404 | 410) && self.plan.operation().method == "DELETE"
    }
}

/// How the list of an operation goes on: as the manifest says, else as the document shows, else as a `Link` header may
/// say. Nothing where the answer is no list, or where asking again could change something.
fn follow(operation: &Operation, opinion: Option<&Override>) -> Result<Option<Follow>> {
    let effect = opinion.and_then(|it| it.effect).unwrap_or(operation.effect);
    if let Some(pages) = opinion.and_then(|opinion| opinion.pages.as_ref()) {
        return Follow::new(pages, operation).map(Some);
    }
    if effect != Effect::Read {
        return Ok(None);
    }
    if let Some(pages) = infer::infer(operation) {
        return Follow::new(&pages, operation).map(Some);
    }
    Ok(infer::may_go_on(operation).then(Follow::header))
}

impl Tool for Call {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        let owner = Arc::clone(&context.principal.id);
        Box::pin(on_behalf(owner, async move {
            let (result, trail) = self.run(call).await?;
            if let Some(trail) = trail {
                call.goes_on(trail);
            }
            Ok(Reply::Tool(result))
        }))
    }

    fn destination(&self) -> BoxFuture<'_, Option<Destination>> {
        Box::pin(async { Some(super::destination(&self.client).await) })
    }

    fn sight(&self, arguments: &Map<String, Value>) -> Option<Sight> {
        self.glance.get().map(|glance| glance.sight(arguments))
    }

    fn rehearsal(&self, arguments: &Map<String, Value>) -> Option<Sight> {
        let name = self.dry_run.get().filter(|(name, _)| arguments.get(name) != Some(&Value::Bool(true)));
        name.map(|(name, tool)| glance::rehearsal(tool, name, arguments))
    }

    fn pages(&self) -> Option<&'static str> {
        self.follow.as_ref()?.word()
    }

    fn request_line(&self, arguments: &Map<String, Value>) -> Option<String> {
        let request = self.plan.request(arguments).ok()?;
        Some(format!("{} {}", request.method, request.url))
    }
}

/// Every operation as a tool, in the document's order; and why some are none. Those without an opinion are left out.
pub(super) fn tools(
    document: Document,
    opinion: &dyn Fn(&Operation) -> Option<Override>,
    shared: &Shared,
) -> (Vec<Arc<dyn Tool>>, Vec<Refusal>) {
    let mut prepared: Vec<(usize, Prepared)> = Vec::with_capacity(document.operations.len());
    let mut refused = Vec::new();
    let mut spent = 0;
    let place = |operation: &Operation| format!("{} {}", operation.method, operation.path);
    // By name: who gets how much of the space for schemas must not depend on the order of the document.
    let mut operations: Vec<(usize, Operation)> = document.operations.into_iter().enumerate().collect();
    operations.sort_by(|(_, one), (_, other)| one.tool.cmp(&other.tool));
    for (at, operation) in operations {
        let Some(opinion) = opinion(&operation) else { continue };
        let place = place(&operation);
        let budget = if spent < SCHEMAS { SCHEMA } else { LEAN };
        match Prepared::new(operation, Some(&opinion), shared, budget) {
            Ok(one) => {
                spent += weight(takes::shapes(&one.operation), budget);
                prepared.push((at, one));
            }
            Err(error) => refused.push((at, Refusal { place, reason: error.message().to_owned() })),
        }
    }
    prepared.sort_by_key(|(at, _)| *at);
    pack(prepared.iter_mut().flat_map(|(_, one)| takes::shapes_mut(&mut one.operation)).collect());
    let mut calls: Vec<Arc<Call>> = Vec::with_capacity(prepared.len());
    for (at, one) in prepared {
        let place = place(&one.operation);
        match one.call(shared) {
            Ok(call) => calls.push(call),
            Err(error) => refused.push((at, Refusal { place, reason: error.message().to_owned() })),
        }
    }
    refused.sort_by_key(|(at, _)| *at);
    let refused = refused.into_iter().map(|(_, refusal)| refusal).collect();
    glance::pair(&calls);
    (calls.into_iter().map(|call| call as Arc<dyn Tool>).collect(), refused)
}

/// What is known of the tool, but for its arguments; of those there is a sketch.
fn spec(
    operation: &Operation,
    opinion: Option<&Override>,
    shared: &Shared,
    goes_on: bool,
) -> (ToolSpec, Value) {
    let own = |text: fn(&Override) -> Option<&String>| opinion.and_then(text).cloned();
    let name = name(operation, opinion, &shared.prefix);
    let mut spec = ToolSpec::new(name);
    spec.title = own(|it| it.title.as_ref()).or_else(|| operation.summary.clone());
    spec.description = own(|it| it.description.as_ref()).or_else(|| Some(description(operation)));
    spec.effect = opinion.and_then(|it| it.effect).unwrap_or(operation.effect);
    spec.toolset = own(|it| it.toolset.as_ref()).unwrap_or_else(|| shared.name.clone());
    spec.source.clone_from(&shared.source);
    spec.scopes = opinion.map(|it| it.scopes.iter().cloned().collect()).unwrap_or_default();
    spec.probe = spec.effect == Effect::Read && shared.health.as_ref() == Some(&operation.id);
    spec.redact = opinion.map(|it| it.redact.clone()).unwrap_or_default();
    spec.permissions = permissions(operation, opinion, shared);
    spec.target = Some(shared.base.target(&operation.method, &operation.path));
    spec.meta = shared.practice.then(super::practice_mark);
    let mut arguments = takes::sketch(operation);
    let mut reading = shared.showing.with(opinion.map(|it| &it.response));
    spec.page = goes_on.then(|| offer(&mut arguments)).flatten();
    reading.fields = (spec.effect == Effect::Read).then(|| choose(&mut arguments)).flatten();
    spec.reading = Some(reading);
    if opinion.is_some_and(|it| it.output) {
        spec.output = output(operation);
    }
    let idempotent = matches!(operation.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS");
    spec.annotations = ToolAnnotations {
        title: spec.title.clone(),
        read_only_hint: Some(spec.effect == Effect::Read),
        destructive_hint: Some(spec.effect == Effect::Destroy),
        idempotent_hint: Some(opinion.and_then(|it| it.idempotent).unwrap_or(idempotent)),
        open_world_hint: Some(true),
    };
    (spec, arguments)
}

/// Our word of it, else the document's, else that of the whole connector.
fn permissions(operation: &Operation, opinion: Option<&Override>, shared: &Shared) -> Vec<BTreeSet<String>> {
    let set = |names: &Vec<String>| names.iter().cloned().collect::<BTreeSet<String>>();
    match opinion.map(|it| &it.permissions).filter(|names| !names.is_empty()) {
        Some(names) => vec![set(names)],
        None if operation.permissions.is_empty() && !shared.permissions.is_empty() => {
            vec![set(&shared.permissions)]
        }
        None => operation.permissions.iter().map(set).collect(),
    }
}

/// The request of an operation that only reads and needs no argument: it tells whether a credential is accepted.
pub(super) fn health(operation: &Operation, opinion: Option<&Override>, shared: &Shared) -> Result<Request> {
    let effect = opinion.and_then(|it| it.effect).unwrap_or(operation.effect);
    let needs = operation.parameters.iter().any(|it| it.required && it.fixed.is_none())
        || operation.body.as_ref().is_some_and(|body| body.required);
    if needs || effect != Effect::Read || !matches!(operation.method.as_str(), "GET" | "HEAD") {
        return Err(Error::new(
            Kind::BadConfig,
            format!(
                "{}: `health` has to name an operation that only reads (GET) and needs no argument.",
                shared.name
            ),
        ));
    }
    let plan = Plan::new(Arc::new(operation.clone()), Arc::clone(&shared.base), shared.headers.clone())?;
    plan.request(&Map::new())
}

/// What an operation is called as a tool.
pub(super) fn name(operation: &Operation, opinion: Option<&Override>, prefix: &str) -> String {
    opinion.and_then(|it| it.tool.clone()).unwrap_or_else(|| prefixed(prefix, &operation.tool))
}

fn prefixed(prefix: &str, tool: &str) -> String {
    let whole = format!("{prefix}{tool}");
    if whole.len() <= 64 {
        return whole;
    }
    // The hash keeps what is cut apart.
    let hash = crate::json::Digest::of(tool.as_bytes()).hex();
    format!("{}_{}", &whole[..whole.floor_char_boundary(55)], &hash[..8])
}

fn description(operation: &Operation) -> String {
    let mut text = operation.summary.clone().unwrap_or_default();
    if let Some(long) =
        operation.description.as_ref().filter(|long| !long.starts_with(&text) || text.is_empty())
    {
        if !text.is_empty() {
            text.push_str(if text.ends_with(['.', '!', '?']) { " " } else { ". " });
        }
        text.push_str(long);
    } else if let Some(long) = &operation.description {
        text.clone_from(long);
    }
    if text.is_empty() {
        text = format!("{} {}", operation.method, operation.path);
    }
    if operation.deprecated {
        text.insert_str(0, "Deprecated. ");
    }
    if text.len() > DESCRIPTION {
        text.truncate(text.floor_char_boundary(DESCRIPTION));
    }
    text
}

fn output(operation: &Operation) -> Option<LazySchema> {
    let (_, response) = operation.responses.iter().find(|(status, _)| status.starts_with('2'))?;
    let schema = response.schema.as_ref()?.value_within(SCHEMA);
    let object = schema.get("type") == Some(&json!("object")) || schema.get("$ref").is_some();
    if !object || Schema::vet(&schema).is_err() {
        return None;
    }
    let mut schema = schema;
    loosen(&mut schema);
    schema["type"] = json!("object");
    Some(LazySchema::new(schema))
}

/// A result of which only a part was asked for, or is shown, fits too: nothing has to be there.
fn loosen(schema: &mut Value) {
    match schema {
        Value::Array(ways) => ways.iter_mut().for_each(loosen),
        Value::Object(keywords) => {
            for keyword in ["required", "minItems", "minProperties", "dependentRequired"] {
                if !keywords.get(keyword).is_some_and(Value::is_object) || keyword == "dependentRequired" {
                    keywords.shift_remove(keyword);
                }
            }
            for keyword in ["additionalProperties", "unevaluatedProperties"] {
                if keywords.get(keyword) == Some(&Value::Bool(false)) {
                    keywords.shift_remove(keyword);
                }
            }
            // what fits more must not make the whole fit less
            for keyword in ["not", "if", "then", "else", "contains", "minContains", "maxContains"] {
                keywords.shift_remove(keyword);
            }
            any_of(keywords);
            for (keyword, inner) in keywords.iter_mut() {
                match (keyword.as_str(), inner) {
                    // names of members are no keywords
                    ("properties" | "patternProperties" | "$defs", Value::Object(members)) => {
                        members.values_mut().for_each(loosen);
                    }
                    ("items" | "additionalProperties" | "allOf" | "anyOf" | "prefixItems", inner) => {
                        loosen(inner);
                    }
                    _ => {}
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
