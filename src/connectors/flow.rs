//! What a hand-written flow may use, and how it becomes a tool.
//!
//! Owns [`Recipe`], [`Flow`], [`Upstream`] and [`Arguments`]. The idea: a flow is a plain async function that gets a
//! client bound to its connector's host, credentials and quota, and typed arguments, and nothing else.
//!
//! Must not: know a vendor.

use std::sync::Arc;

use url::Url;

use super::handles::Handles;
use super::manifest::Showing;
use super::response;
use crate::error::{Error, Kind, Result};
use crate::http::{Client, HeaderValue, Method, Request, Response, on_behalf};
use crate::json::{Map, Value, json};
use crate::pipeline::{
    Approved, BoxFuture, Context, Destination, Halt, Reply, Sight, Tool, ToolSpec, choose, offer,
};
use crate::policy::Effect;
use crate::principal::Principal;
use crate::protocol::types::{ToolAnnotations, ToolResult};
use crate::schema::LazySchema;

/// Why a flow ended early.
#[derive(Debug)]
pub enum Stop {
    /// It failed; the sentence is ours.
    Error(Error),
    /// The upstream refused or failed; its words are shown, after redaction.
    Refused(Box<ToolResult>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// What a flow ends with.
pub type Outcome<T = Value> = std::result::Result<T, Stop>;

/// One run of a flow: what it may use.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The way to the upstream.
    pub upstream: &'a Upstream,
    /// The validated arguments.
    pub arguments: Arguments<'a>,
    /// Who calls; handles are bound to it.
    pub principal: &'a Principal,
}

/// A hand-written flow, described.
pub struct Recipe {
    /// Tool name.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// What it does.
    pub description: &'static str,
    /// What it does to the world.
    pub effect: Effect,
    /// The properties of its arguments, as JSON Schema, and which are required.
    pub input: (Value, &'static [&'static str]),
    /// Method and path template, for people.
    pub target: &'static str,
    /// JSON Pointers into the result that are always redacted.
    pub redact: &'static [&'static str],
    /// The flow itself.
    pub run: for<'a> fn(Run<'a>) -> BoxFuture<'a, Outcome>,
}

/// The argument that makes a dry run of a flow that changes something: a flow that has it changes nothing when it is
/// true, and what the API then says is shown to whoever has to agree.
const DRY_RUN: &str = "dry_run";

/// A recipe bound to an upstream: a tool.
pub struct Flow {
    spec: ToolSpec,
    run: for<'a> fn(Run<'a>) -> BoxFuture<'a, Outcome>,
    upstream: Arc<Upstream>,
    dry: Option<Arc<dyn Tool>>,
}

/// A flow that only rehearses: by its author's word, reading.
struct DryRun {
    spec: ToolSpec,
    run: for<'a> fn(Run<'a>) -> BoxFuture<'a, Outcome>,
    upstream: Arc<Upstream>,
}

impl Tool for DryRun {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let arguments = Arguments(call.arguments());
            let run = Run { upstream: &self.upstream, arguments, principal: &context.principal };
            let (status, body) = match (self.run)(run).await {
                Ok(value) => (json!(200), value),
                Err(Stop::Refused(result)) => {
                    let status =
                        result.meta.as_ref().and_then(|meta| meta.get(super::FAILURE)?.get("status"));
                    (status.cloned().unwrap_or_default(), result.structured_content.unwrap_or_default())
                }
                Err(Stop::Error(error)) => return Err(Halt::Error(error)),
            };
            Ok(Reply::Tool(ToolResult::structured(json!({"status": status, "body": body}))))
        })
    }
}

impl Flow {
    /// Binds a recipe to its upstream.
    pub fn new(recipe: Recipe, upstream: Arc<Upstream>) -> Self {
        let mut spec = ToolSpec::new(recipe.name);
        let (properties, required) = recipe.input;
        let mut schema = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        });
        let mut reading = upstream.showing.with(None);
        if recipe.effect == Effect::Read {
            // a flow that is told how many shows a list
            let list = schema["properties"].get("limit").is_some();
            spec.page = list.then(|| offer(&mut schema)).flatten();
            reading.fields = choose(&mut schema);
        }
        spec.reading = Some(reading);
        spec.title = Some(recipe.title.to_owned());
        spec.description = Some(recipe.description.to_owned());
        spec.input = LazySchema::new(schema);
        spec.effect = recipe.effect;
        spec.toolset.clone_from(&upstream.name);
        spec.source.clone_from(&upstream.name);
        spec.target = Some(target(recipe.target, &upstream.base));
        spec.meta = upstream.practice.then(super::practice_mark);
        spec.redact = recipe.redact.iter().map(ToString::to_string).collect();
        spec.annotations = ToolAnnotations {
            title: Some(recipe.title.to_owned()),
            read_only_hint: Some(recipe.effect == Effect::Read),
            destructive_hint: Some(recipe.effect == Effect::Destroy),
            idempotent_hint: (recipe.effect == Effect::Read).then_some(true),
            open_world_hint: Some(true),
        };
        let dry = rehearses(&spec).then(|| {
            let spec = ToolSpec {
                effect: Effect::Read,
                input: spec.input.clone(),
                toolset: spec.toolset.clone(),
                source: spec.source.clone(),
                target: spec.target.clone(),
                redact: spec.redact.clone(),
                meta: spec.meta.clone(),
                ..ToolSpec::new(spec.name.clone())
            };
            Arc::new(DryRun { spec, run: recipe.run, upstream: Arc::clone(&upstream) }) as Arc<dyn Tool>
        });
        Self { spec, run: recipe.run, upstream, dry }
    }
}

/// Whether a flow that changes something can be rehearsed.
fn rehearses(spec: &ToolSpec) -> bool {
    spec.effect != Effect::Read && spec.input.source()["properties"].get(DRY_RUN).is_some()
}

/// `POST /a/b` at `https://host` is `POST https://host/a/b`.
fn target(template: &str, base: &Url) -> String {
    match template.split_once(' ') {
        Some((method, path)) => format!("{method} {}{path}", base.as_str().trim_end_matches('/')),
        None => template.to_owned(),
    }
}

impl Tool for Flow {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn destination(&self) -> BoxFuture<'_, Option<Destination>> {
        Box::pin(async { Some(super::destination(&self.upstream.client).await) })
    }

    fn rehearsal(&self, arguments: &Map<String, Value>) -> Option<Sight> {
        let dry = self.dry.as_ref().filter(|_| arguments.get(DRY_RUN) != Some(&Value::Bool(true)))?;
        let mut arguments = arguments.clone();
        arguments.insert(DRY_RUN.to_owned(), Value::Bool(true));
        Some(Sight { tool: Arc::clone(dry), arguments, proposed: None, replaces: false })
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        let owner = Arc::clone(&context.principal.id);
        Box::pin(on_behalf(owner, async move {
            let arguments = Arguments(call.arguments());
            let run = Run { upstream: &self.upstream, arguments, principal: &context.principal };
            match (self.run)(run).await {
                Ok(value) => Ok(Reply::Tool(ToolResult::structured(value))),
                Err(Stop::Refused(result)) => Ok(Reply::Tool(*result)),
                Err(Stop::Error(error)) => Err(Halt::Error(error)),
            }
        }))
    }
}

/// A client bound to one connector.
pub struct Upstream {
    name: String,
    base: Url,
    client: Client,
    handles: Handles,
    practice: bool,
    showing: Showing,
}

/// One request of a flow.
pub struct Ask<'a> {
    method: Method,
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Value)>,
    safe: bool,
}

impl<'a> Ask<'a> {
    /// A request to the path made of these segments; each is encoded.
    pub fn new(method: Method, path: &'a [&'a str]) -> Self {
        let safe = method.is_safe();
        Self { method, path, query: Vec::new(), body: None, safe }
    }

    /// Adds a query parameter, if there is a value.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(("application/json", body));
        self
    }

    /// Sets a body of that media type.
    #[must_use]
    pub fn body(mut self, media_type: &'static str, body: Value) -> Self {
        self.body = Some((media_type, body));
        self
    }

    /// Says that the request changes nothing although its method could: it may be tried again.
    #[must_use]
    pub fn safe(mut self) -> Self {
        self.safe = true;
        self
    }
}

impl Upstream {
    /// Binds a client to its base address. `handles` seals ids that are secrets.
    pub fn new(name: impl Into<String>, base: Url, client: Client, handles: Handles) -> Self {
        Self { name: name.into(), base, client, handles, practice: false, showing: Showing::default() }
    }

    /// Says whether a stand-in answers.
    #[must_use]
    pub fn practised(mut self, practice: bool) -> Self {
        self.practice = practice;
        self
    }

    /// Says how answers are shown.
    #[must_use]
    pub fn showing(mut self, showing: Showing) -> Self {
        self.showing = showing;
        self
    }

    /// What the operator calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seals and opens ids that are secrets.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Sends a request; an answer of 2xx is its JSON (null if it is empty).
    pub async fn ask(&self, ask: Ask<'_>) -> Outcome {
        let mut request = Request::new(ask.method, self.address(ask.path, &ask.query)?);
        request.idempotent = ask.safe || request.idempotent;
        request.headers.push((::http::header::ACCEPT, HeaderValue::from_static("application/json")));
        if let Some((media_type, body)) = &ask.body {
            request = request.json(media_type, body);
        }
        match self.client.send(request).await {
            Ok(response) => self.read(&response).await,
            Err(error) => Err(Stop::Refused(Box::new(response::unsent(error, &self.name)?))),
        }
    }

    fn address(&self, path: &[&str], query: &[(&'static str, String)]) -> Result<Url> {
        let mut url = self.base.clone();
        let mut count =
            url.path_segments().map_or(0, |known| known.filter(|segment| !segment.is_empty()).count());
        {
            let Ok(mut segments) = url.path_segments_mut() else {
                return Err(Error::new(Kind::Internal, "the base address cannot carry a path"));
            };
            segments.pop_if_empty();
            for segment in path {
                if !is_plain(segment) {
                    let message =
                        "an id in the address is empty, or holds a slash, dots or an escape; give it plainly";
                    return Err(Error::new(Kind::BadArguments, message));
                }
                segments.push(segment);
                count += 1;
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        // what is sent is parsed again: nothing may have become a separator on the way
        let again = Url::parse(url.as_str()).ok().filter(|again| {
            *again == url && again.path_segments().is_some_and(|segments| segments.count() == count)
        });
        again.ok_or_else(|| {
            Error::new(Kind::BadArguments, "the arguments do not make an address; check the ids")
        })
    }

    async fn read(&self, response: &Response) -> Outcome {
        match response.status {
            200..=299 if response.body.is_empty() => Ok(Value::Null),
            200..=299 => Ok(response::read_json(response, &self.name).await?),
            _ => Err(Stop::Refused(Box::new(response::read(response, &self.name, true).await?))),
        }
    }
}

/// A segment that stays one segment, whoever decodes it.
fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment != "."
        && segment != ".."
        && !segment.contains(['/', '\\', '%', '?', '#', '\0'])
        && !segment.chars().any(char::is_control)
}

/// Arguments that have been validated, by name and type.
#[derive(Clone, Copy)]
pub struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    /// Arguments from an object.
    pub fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    /// An argument as it is; null counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    /// A text that must be there.
    pub fn need(&self, name: &'static str) -> Result<&'a str> {
        self.text(name)
            .ok_or_else(|| Error::new(Kind::BadArguments, format!("the argument {name} is needed here")))
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    /// True if it is given and true.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// An object.
    pub fn object(&self, name: &str) -> Option<Self> {
        self.get(name)?.as_object().map(Self)
    }

    /// A copy that can be changed.
    pub fn object_clone(&self) -> Map<String, Value> {
        self.0.clone()
    }

    /// A list; empty if absent.
    pub fn list(&self, name: &str) -> &'a [Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn a_segment_stays_one_segment() {
        for bad in ["", ".", "..", "a/b", "a\\b", "%2e%2e", "a%2fb", "a?b", "a#b", "a\0", "a\n"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(is_plain("3fa85f64-5717-4562-b3fc-2c963f66afa6"));
        assert!(is_plain("a.b..c"));
    }
}
