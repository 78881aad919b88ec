//! A method finds its handler; what can be called goes to the line.
//!
//! Owns [`Visit`] and the methods that call something. The idea: both doors hand in the same visit; arguments move
//! from the message to the tool, and the answer is written from the typed result in one go.
//!
//! Must not: run anything but through the line.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::again::again;
use super::asks::Call;
use super::listing::{has_completions, has_prompts, has_resources};
use super::session::Conversation;
use super::tasks::{Inline, Job, Link, Tasks, Telling};
use super::voice::{Hushed, Speaker};
use super::{Server, faults, headers};
use crate::catalog::{Entry, List};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::pipeline::{
    Answers, BoxFuture, Client, Context, Line, Outcome, Proposed, Reply, Tasking, Tool, ToolSpec, Voice,
    is_charged, kept, unknown,
};
use crate::principal::Principal;
use crate::protocol::message::{self, Id};
use crate::protocol::shape::{self, Completed, Freshness, Nothing, Takes};
use crate::protocol::types::{ClientCapabilities, LogLevel};
use crate::protocol::{Door, Method, Revision};
use crate::search;
use crate::transport::auth::Right;
use crate::transport::{HeaderFacts, Outlet};

/// A request inside, whichever door it came by.
pub(super) struct Visit {
    pub(super) id: Id,
    pub(super) revision: Revision,
    pub(super) principal: Arc<Principal>,
    /// What it was let in by.
    pub(super) right: Option<Right>,
    pub(super) client: Arc<Client>,
    pub(super) transport: &'static str,
    pub(super) address: Option<std::net::IpAddr>,
    pub(super) traceparent: Option<Arc<str>>,
    pub(super) level: Option<LogLevel>,
    pub(super) progress: Option<Id>,
    pub(super) meta: Option<Arc<Map<String, Value>>>,
    /// Present where headers have to agree with the body.
    pub(super) headers: Option<Arc<HeaderFacts>>,
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) cancel: CancellationToken,
    /// The stdio connection, whichever door.
    pub(super) connection: Option<Arc<Conversation>>,
    /// The conversation of the older door.
    pub(super) session: Option<Arc<Conversation>>,
}

impl Visit {
    /// Whether there is anything this client can be asked.
    fn can_be_asked(&self) -> bool {
        let ClientCapabilities { elicit_form, elicit_url, sampling, roots, .. } = self.client.capabilities;
        elicit_form || elicit_url || sampling || roots
    }

    /// Who says what happens on the way, if the client wants to hear it.
    fn speaker(&self) -> Option<Arc<Speaker>> {
        (self.progress.is_some() || self.level.is_some()).then(|| Arc::new(Speaker::new(self)))
    }

    fn context(&self, answers: Answers, voice: Arc<dyn Voice>) -> Context {
        let mut context = Context::new(self.revision, Arc::clone(&self.principal), self.transport);
        context.client = Arc::clone(&self.client);
        context.address = self.address;
        context.traceparent.clone_from(&self.traceparent);
        context.request_id = self.id.json();
        context.answers = answers;
        context.cancel = self.cancel.clone();
        context.voice = voice;
        context.meta.clone_from(&self.meta);
        context
    }
}

/// What came of a call.
enum Walked {
    Reply(Reply),
    /// The whole answer: a question, or a task.
    Answer(String),
}

fn text(params: &mut Map<String, Value>, name: &'static str, missing: &'static str) -> Result<String> {
    match params.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(faults::bad_params(missing)),
    }
}

fn arguments(params: &mut Map<String, Value>) -> Result<Map<String, Value>> {
    match params.remove("arguments") {
        None => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments),
        Some(_) => Err(faults::bad_params("`arguments` has to be an object.")),
    }
}

/// What the line does not count because nothing is called, and costs all the same.
const fn is_metered(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsList
            | Method::ResourcesList
            | Method::TemplatesList
            | Method::PromptsList
            | Method::Listen
            | Method::Subscribe
    )
}

/// What does not walk the line and ends with a freeze of everything all the same. What is called is refused by the
/// line, which writes it down; and everybody may say hello, or take something back.
const fn is_stopped(method: Method) -> bool {
    matches!(method, Method::TaskGet | Method::TaskUpdate)
}

/// A reply of another family: a fault of whoever made it.
fn odd_reply() -> Error {
    Error::new(Kind::Internal, "What was called answered with something else than it promised.")
}

impl Server {
    /// Answers a request: the whole JSON-RPC text, or why not.
    pub(super) async fn dispatch(
        &self,
        method: Method,
        visit: &Visit,
        mut params: Map<String, Value>,
    ) -> Result<String> {
        let nothing = || {
            message::result(&visit.id, shape::complete(self.frame(visit.revision), Nothing {}, None, None))
        };
        if is_metered(method) || is_stopped(method) {
            self.line(&self.catalog.now()).thawed(false)?;
        }
        if is_metered(method) {
            let now = self.catalog.now();
            self.line(&now).limiter().take(&visit.principal.id, "read", 1).await?;
        }
        match method {
            Method::ToolsCall => self.call_tool(visit, params).await,
            Method::ToolsList => self.list(List::Tools, visit, &params),
            Method::ResourcesList => self.offered(has_resources)?.list(List::Resources, visit, &params),
            Method::TemplatesList => self.offered(has_resources)?.list(List::Templates, visit, &params),
            Method::PromptsList => self.offered(has_prompts)?.list(List::Prompts, visit, &params),
            Method::ResourcesRead => {
                Box::pin(self.offered(has_resources)?.read_resource(visit, &mut params)).await
            }
            Method::PromptsGet => Box::pin(self.offered(has_prompts)?.get_prompt(visit, &mut params)).await,
            Method::Complete => Box::pin(self.offered(has_completions)?.complete(visit, &mut params)).await,
            Method::Listen => Box::pin(self.listen_stream(visit, &params)).await,
            Method::Discover => Ok(self.discover(&visit.id, self.frame(visit.revision))),
            Method::Ping => Ok(nothing()),
            Method::SetLevel => {
                let talk = visit.session.as_deref().ok_or_else(no_method)?;
                Self::set_level(talk, &params).map(|()| nothing())
            }
            Method::Subscribe => self.offered(has_resources)?.subscribe(visit, &params).map(|()| nothing()),
            Method::Unsubscribe => {
                self.offered(has_resources)?;
                Self::unsubscribe(visit, &params).map(|()| nothing())
            }
            Method::TaskGet | Method::TaskUpdate | Method::TaskCancel => {
                Box::pin(self.task(method, visit, &mut params)).await
            }
            // only the door itself can do that
            Method::Initialize => Err(no_method()),
        }
    }

    /// This server, if it offers such things at all: what is not advertised is not a method either.
    fn offered(&self, has: fn(&crate::catalog::Snapshot) -> bool) -> Result<&Self> {
        if has(&self.catalog.now()) { Ok(self) } else { Err(no_method()) }
    }

    async fn call_tool(&self, visit: &Visit, mut params: Map<String, Value>) -> Result<String> {
        let mut name = text(&mut params, "name", "`tools/call` needs `name`, a string.")?;
        let now = self.catalog.now();
        let method = Method::ToolsCall.name();
        let mut entry = now.tool(&name);
        let mut arguments = match arguments(&mut params) {
            Ok(arguments) => arguments,
            Err(error) => return Err(self.unheard(visit, method, entry, error).await),
        };
        // another way to write a call: from here on it is the call it stands for
        let passed_on = entry.is_some_and(|entry| search::is_call(entry.spec()));
        if passed_on {
            (name, arguments) = match search::inner(arguments) {
                Ok(inner) => inner,
                Err(error) => {
                    let error = self.unheard(visit, method, entry, error).await;
                    return self.answered(visit, Err(error), false);
                }
            };
            entry = now.tool(&name);
        }
        let Some(entry) = entry else {
            let error = self.unheard(visit, method, None, unknown(method)).await;
            return if passed_on { self.answered(visit, Err(error), false) } else { Err(error) };
        };
        self.reaches(visit, method, &now, entry).await?;
        if let Some(facts) = &visit.headers
            && !passed_on
            && !entry.mirrors().is_empty()
        {
            // what is hidden must not show through its headers
            if self.line(&now).hides(&visit.principal, entry.spec()) {
                return Err(unknown(method));
            }
            if let Err(error) = headers::params(facts, entry.mirrors(), &arguments) {
                return Err(self.unheard(visit, method, Some(entry), error).await);
            }
        }
        let answers = self
            .incoming(visit, entry.spec().effect, (method, &name), &mut params, &arguments)
            .await
            .map_err(|error| self.unless_hidden(visit, entry.spec(), method, error))?;
        let walked = if let Some(tasks) = self.tasks_for(visit) {
            Box::pin(self.walk_apart(visit, tasks, (entry.tool(), &name), arguments, answers)).await
        } else if let (Some(Tasking { required: true, .. }), Some(error)) =
            (entry.spec().task, self.needs_tasks())
        {
            Err(self.unless_hidden(visit, entry.spec(), method, error))
        } else {
            self.walk(visit, (self.line(&now), entry.tool()), (method, &name), arguments, answers).await
        };
        self.answered(visit, walked, entry.spec().output.is_some())
    }

    /// The answer to `tools/call`.
    fn answered(&self, visit: &Visit, walked: Result<Walked>, declared: bool) -> Result<String> {
        let takes = Takes { data: self.config.takes_data(&visit.client), declared };
        match walked {
            Ok(Walked::Reply(Reply::Tool(result))) => {
                Ok(message::result(&visit.id, shape::called(self.frame(visit.revision), &result, takes)))
            }
            Ok(Walked::Answer(answer)) => Ok(answer),
            Ok(Walked::Reply(Reply::Resource(_) | Reply::Prompt(_) | Reply::Completion(_))) => {
                Err(odd_reply())
            }
            Err(error) if error.kind() == Kind::Cancelled && visit.cancel.is_cancelled() => Err(error),
            Err(error) if visit.revision.tool_result(error.kind()) => {
                let result = faults::tool_result(&error);
                Ok(message::result(&visit.id, shape::called(self.frame(visit.revision), &result, takes)))
            }
            Err(error) => Err(error),
        }
    }

    async fn read_resource(&self, visit: &Visit, params: &mut Map<String, Value>) -> Result<String> {
        let uri = text(params, "uri", "`resources/read` needs `uri`, a string.")?;
        let now = self.catalog.now();
        let method = Method::ResourcesRead.name();
        let Some((entry, arguments)) = now.resource(&uri) else {
            return Err(self.unheard(visit, method, None, self.no_such_resource(&uri)).await);
        };
        self.reaches(visit, method, &now, entry).await?;
        let effect = entry.spec().effect;
        let answers =
            self.incoming(visit, effect, (method, &uri), params, &arguments).await.map_err(|error| {
                let hidden = self.line(&now).hides(&visit.principal, entry.spec());
                if hidden { self.no_such_resource(&uri) } else { error }
            })?;
        match self.walk(visit, (self.line(&now), entry.tool()), (method, &uri), arguments, answers).await {
            Ok(Walked::Reply(Reply::Resource(contents))) => {
                let body = shape::contents(self.frame(visit.revision), &contents);
                let fresh = Freshness { ttl_ms: self.config.resource_ttl_ms, cache_scope: "private" };
                let result = shape::complete(self.frame(visit.revision), body, Some(fresh), None);
                Ok(message::result(&visit.id, result))
            }
            Ok(Walked::Answer(answer)) => Ok(answer),
            Ok(Walked::Reply(Reply::Tool(_) | Reply::Prompt(_) | Reply::Completion(_))) => Err(odd_reply()),
            // hidden, or gone by its own account: both are missing
            Err(error) if matches!(error.kind(), Kind::NoSuchTool | Kind::NoSuchResource) => {
                let missing = self.no_such_resource(&uri);
                Err(if is_charged(&error) { missing.with_source(error) } else { missing })
            }
            Err(error) => Err(error),
        }
    }

    async fn get_prompt(&self, visit: &Visit, params: &mut Map<String, Value>) -> Result<String> {
        let name = text(params, "name", "`prompts/get` needs `name`, a string.")?;
        let now = self.catalog.now();
        let method = Method::PromptsGet.name();
        let entry = now.prompt(&name);
        let strings = |given: Map<String, Value>| {
            let fine = given.values().all(Value::is_string);
            fine.then_some(given).ok_or_else(|| faults::bad_params("The arguments of a prompt are strings."))
        };
        let arguments = match arguments(params).and_then(strings) {
            Ok(arguments) => arguments,
            Err(error) => return Err(self.unheard(visit, method, entry, error).await),
        };
        let Some(entry) = entry else { return Err(self.unheard(visit, method, None, unknown(method)).await) };
        self.reaches(visit, method, &now, entry).await?;
        let answers = self
            .incoming(visit, entry.spec().effect, (method, &name), params, &arguments)
            .await
            .map_err(|error| self.unless_hidden(visit, entry.spec(), method, error))?;
        match self.walk(visit, (self.line(&now), entry.tool()), (method, &name), arguments, answers).await? {
            Walked::Reply(Reply::Prompt(prompt)) => {
                let body = shape::prompted(self.frame(visit.revision), &prompt);
                Ok(message::result(&visit.id, shape::complete(self.frame(visit.revision), body, None, None)))
            }
            Walked::Answer(answer) => Ok(answer),
            Walked::Reply(Reply::Tool(_) | Reply::Resource(_) | Reply::Completion(_)) => Err(odd_reply()),
        }
    }

    async fn complete(&self, visit: &Visit, params: &mut Map<String, Value>) -> Result<String> {
        let reference = params.remove("ref").unwrap_or_default();
        let part = |name: &str| reference.get(name).and_then(Value::as_str);
        let now = self.catalog.now();
        let method = Method::Complete.name();
        let entry = match (part("type"), part("name"), part("uri")) {
            (Some("ref/prompt"), Some(name), _) => now.prompt(name).ok_or_else(|| unknown(method))?,
            (Some("ref/resource"), _, Some(uri)) => {
                let by_address = || now.resource(uri).map(|(entry, _)| entry);
                now.template(uri).or_else(by_address).ok_or_else(|| unknown(method))?
            }
            _ => return Err(faults::bad_params("`ref` has to name a prompt or the address of a resource.")),
        };
        let argument = params.remove("argument").unwrap_or_default();
        let known = params
            .remove("context")
            .filter(|_| visit.revision.completion_context())
            .and_then(|mut context| context.get_mut("arguments").map(Value::take));
        let strings =
            |value: &Value| value.as_object().is_some_and(|known| known.values().all(Value::is_string));
        let (Some(Value::String(_)), Some(Value::String(_))) = (argument.get("name"), argument.get("value"))
        else {
            let error = faults::bad_params("`argument` needs `name` and `value`, both strings.");
            return Err(self.unless_hidden(visit, entry.spec(), method, error));
        };
        if !known.as_ref().is_none_or(strings) {
            let error = faults::bad_params("`context.arguments` has to be an object of strings.");
            return Err(self.unless_hidden(visit, entry.spec(), method, error));
        }
        let mut arguments = Map::new();
        arguments.insert(String::from("argument"), argument);
        arguments.insert(String::from("known"), known.unwrap_or_else(|| json!({})));
        let context = visit.context(Answers::default(), Arc::clone(&self.silence));
        let call = Proposed { tool: Arc::clone(entry.tool()), arguments, method };
        let outcome = tokio::select! {
            biased;
            outcome = self.line(&now).complete(call, &context) => outcome?,
            () = visit.cancel.cancelled() => return Err(faults::cancelled()),
        };
        let reply = match outcome {
            Outcome::Done(redacted) => redacted.into_reply(),
            Outcome::Paused(_) => return Err(odd_reply()),
        };
        let Reply::Completion(mut completion) = reply else { return Err(odd_reply()) };
        if completion.values.len() > 100 {
            completion.total.get_or_insert(completion.values.len() as u64);
            completion.has_more = Some(true);
            completion.values.truncate(100);
        }
        let body = Completed { completion: &completion };
        Ok(message::result(&visit.id, shape::complete(self.frame(visit.revision), body, None, None)))
    }

    /// Walks the line in a way that the walk can outlive this request.
    async fn walk_apart(
        &self,
        visit: &Visit,
        tasks: &Arc<Tasks>,
        (tool, name): (&Arc<dyn Tool>, &str),
        arguments: Map<String, Value>,
        answers: Answers,
    ) -> Result<Walked> {
        let (link, mut made) = Link::new(tasks, visit);
        let speaker = visit.speaker();
        let _hushed = speaker.clone().map(Hushed);
        let context = visit.context(answers, Arc::new(Telling { speaker, link: Arc::clone(&link) }));
        let again = visit.can_be_asked().then(|| arguments.clone());
        let job = Job { link: Arc::clone(&link), tool: Arc::clone(tool), arguments, context };
        let mut job: BoxFuture<'static, Inline> = Box::pin(job.run());
        let frame = self.frame(visit.revision);
        let ended = tokio::select! {
            biased;
            Ok(record) = &mut made => {
                if visit.cancel.is_cancelled() {
                    return Err(faults::cancelled());
                }
                let created = link.created(&visit.id, &record, frame);
                tokio::spawn(job);
                return Ok(Walked::Answer(created));
            }
            ended = &mut job => ended,
            () = visit.cancel.cancelled() => return Err(faults::cancelled()),
        };
        match ended {
            Inline::Done(reply) => reply.map(Walked::Reply),
            Inline::Asked(question, earlier) => {
                let call =
                    Call { method: Method::ToolsCall.name(), name, arguments: &again.unwrap_or_default() };
                self.pause(visit, &call, question, earlier).map(Walked::Answer)
            }
            Inline::Task => {
                let record = made.try_recv().map_err(|_| odd_reply())?;
                Ok(Walked::Answer(link.created(&visit.id, &record, frame)))
            }
        }
    }

    /// Walks the line, as often as questions make it.
    async fn walk(
        &self,
        visit: &Visit,
        (line, tool): (&Arc<Line>, &Arc<dyn Tool>),
        (method, name): (&'static str, &str),
        arguments: Map<String, Value>,
        mut answers: Answers,
    ) -> Result<Walked> {
        let speaker = visit.speaker();
        let _hushed = speaker.clone().map(Hushed);
        let voice: Arc<dyn Voice> = match speaker {
            Some(speaker) => speaker,
            None => Arc::clone(&self.silence),
        };
        let mut next = Some(arguments);
        let (mut line, mut tool) = (Arc::clone(line), Arc::clone(tool));
        for round in 0..=self.config.ask_rounds {
            let Some(arguments) = next.take() else { break };
            if round > 0 {
                // somebody took their time to answer: what was allowed then need not be now
                let now = self.catalog.now();
                line = Arc::clone(self.line(&now));
                tool = match again(&now, (method, name), &tool) {
                    Ok(tool) => tool,
                    Err(error) => return Err(self.unheard(visit, method, None, error).await),
                };
            }
            // a copy is worth it only where the line may have to be walked again
            let kept = visit.can_be_asked().then(|| arguments.clone());
            let earlier = answers.responses.clone();
            let context = visit.context(std::mem::take(&mut answers), Arc::clone(&voice));
            let call = Proposed { tool: Arc::clone(&tool), arguments, method };
            let outcome = tokio::select! {
                biased;
                outcome = line.run(call, &context) => outcome?,
                () = visit.cancel.cancelled() => return Err(faults::cancelled()),
            };
            let question = match outcome {
                Outcome::Done(redacted) => return Ok(Walked::Reply(redacted.into_reply())),
                Outcome::Paused(question) => question,
            };
            let kept = kept.unwrap_or_default();
            if visit.revision.door() == Door::Envelope {
                let call = Call { method, name, arguments: &kept };
                return self.pause(visit, &call, question, earlier).map(Walked::Answer);
            }
            let mut responses = earlier;
            responses.extend(Box::pin(self.converse(visit, &question.asks)).await?);
            answers = Answers { responses, state: question.state };
            next = Some(kept);
        }
        Err(Error::new(Kind::ToolFailed, "The call asked more often than a call may; it was given up."))
    }

    /// What was wrong before the line was reached; what is hidden is not told apart from what is not there by it.
    fn unless_hidden(&self, visit: &Visit, spec: &ToolSpec, method: &str, error: Error) -> Error {
        let now = self.catalog.now();
        if self.line(&now).hides(&visit.principal, spec) { unknown(method) } else { error }
    }

    /// What ended before the line was reached, written down by it.
    pub(super) async fn unheard(
        &self,
        visit: &Visit,
        method: &'static str,
        entry: Option<&Arc<Entry>>,
        error: Error,
    ) -> Error {
        let now = self.catalog.now();
        let context = visit.context(Answers::default(), Arc::clone(&self.silence));
        let known = entry.map(|entry| entry.spec().name.as_str());
        self.line(&now).unheard(method, known, &context, error).await
    }

    /// No resource there, with the address as the specification wants it.
    pub(super) fn no_such_resource(&self, uri: &str) -> Error {
        let error = if uri.starts_with(kept::ADDRESS) {
            Error::new(
                Kind::NoSuchResource,
                "No result is kept at this address for you: it was kept for some minutes only, or is somebody else's. \
                 Call the tool again.",
            )
        } else {
            unknown(Method::ResourcesRead.name())
        };
        if uri.len() > 2048 {
            return error;
        }
        error.with_detail(json!({"uri": self.line(&self.catalog.now()).redactor().text(uri)}))
    }
}

/// The revision in use has no such method, or this server does not offer it.
pub(super) fn no_method() -> Error {
    Error::new(Kind::NoSuchMethod, "This protocol revision, or this server, has no such method.")
}
