//! The tools that tests call: one that echoes, one that asks, one that reports, one that hangs, and so on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bartizan::error::{Error, Kind};
use bartizan::json::{Value, json};
use bartizan::pipeline::{Approved, BoxFuture, Context, Family, Halt, Reply, Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::protocol::types::{
    Ask, Asks, Completion, Content, LogLevel, PromptArgument, PromptMessage, PromptResult, ResourceContents,
    ToolResult,
};
use bartizan::schema::LazySchema;

pub type Act = fn(&Approved, &Context) -> Result<Reply, Halt>;

/// A tool that is a function.
pub struct Played {
    spec: ToolSpec,
    act: Act,
}

impl Tool for Played {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move { (self.act)(call, context) })
    }

    fn complete<'a>(&'a self, call: &'a Approved, _: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let arguments = call.arguments();
            let start = arguments["argument"]["value"].as_str().unwrap_or_default();
            let known = arguments["known"]["city"].as_str().unwrap_or("nowhere");
            let values = (0..150).map(|number| format!("{start}{number} {known}")).collect();
            Ok(Reply::Completion(Completion { values, ..Completion::default() }))
        })
    }
}

pub fn spec(name: &str, properties: Value) -> ToolSpec {
    ToolSpec {
        description: Some(format!("The {name} of the tests.")),
        effect: Effect::Read,
        input: LazySchema::new(
            json!({"type": "object", "properties": properties, "additionalProperties": false}),
        ),
        ..ToolSpec::new(name)
    }
}

pub fn played(spec: ToolSpec, act: Act) -> Arc<dyn Tool> {
    Arc::new(Played { spec, act })
}

pub fn text(words: impl Into<String>) -> Result<Reply, Halt> {
    Ok(Reply::Tool(ToolResult::text(words)))
}

pub fn echo() -> Arc<dyn Tool> {
    played(spec("echo", json!({"text": {"type": "string"}})), |call, _| {
        text(call.arguments().get("text").and_then(Value::as_str).unwrap_or_default())
    })
}

/// A tool whose argument is repeated in a header.
pub fn routed() -> Arc<dyn Tool> {
    let region = json!({"region": {"type": "string", "x-mcp-header": "Region"}});
    played(spec("routed", region), |_, _| text("routed"))
}

/// A tool that writes.
pub fn writer() -> Arc<dyn Tool> {
    played(ToolSpec { effect: Effect::Destroy, ..spec("writer", json!({})) }, |_, _| text("written"))
}

/// A tool whose structured result is a list.
pub fn lister() -> Arc<dyn Tool> {
    let output = Some(LazySchema::new(json!({"type": "array", "items": {"type": "integer"}})));
    played(ToolSpec { output, ..spec("lister", json!({})) }, |_, _| {
        Ok(Reply::Tool(ToolResult::structured(json!([1, 2]))))
    })
}

pub fn failing() -> Arc<dyn Tool> {
    played(spec("failing", json!({})), |_, _| Ok(Reply::Tool(ToolResult::failure("It did not work."))))
}

fn name_question(key: &str) -> (String, Ask) {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    (key.to_owned(), Ask::Form { message: format!("What is the {key}?"), schema })
}

fn answer<'a>(context: &'a Context, (key, ask): &(String, Ask)) -> Result<Option<&'a Value>, Halt> {
    Ok(context.answers.to(key, ask)?)
}

/// A tool that asks for a name.
pub fn asking() -> Arc<dyn Tool> {
    asking_as("asking", Effect::Read)
}

/// The same, where something changes.
pub fn buying() -> Arc<dyn Tool> {
    asking_as("buying", Effect::Write)
}

fn asking_as(name: &str, effect: Effect) -> Arc<dyn Tool> {
    let spec = ToolSpec { effect, ..spec(name, json!({"greeting": {"type": "string"}})) };
    played(spec, |call, context| {
        let question = name_question("user_name");
        match answer(context, &question)? {
            None => Err(Halt::Ask(Asks::from_iter([question]))),
            Some(answer) if answer["action"] == "accept" => {
                let greeting = call.arguments().get("greeting").and_then(Value::as_str).unwrap_or("Hello");
                text(format!("{greeting}, {}!", answer["content"]["name"].as_str().unwrap_or_default()))
            }
            Some(_) => text("You would not say."),
        }
    })
}

/// A tool that asks twice, one after the other, and needs both.
pub fn asking_twice() -> Arc<dyn Tool> {
    played(spec("asking_twice", json!({})), |_, context| {
        let (first, second) = (name_question("first"), name_question("second"));
        let Some(one) = answer(context, &first)? else { return Err(Halt::Ask(Asks::from_iter([first]))) };
        let Some(two) = answer(context, &second)? else { return Err(Halt::Ask(Asks::from_iter([second]))) };
        text(format!("{} {}", one["content"]["name"], two["content"]["name"]))
    })
}

/// A tool that asks a person, a model and the client at once.
pub fn asking_all() -> Arc<dyn Tool> {
    played(spec("asking_all", json!({})), |_, context| {
        let sample = json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": "Greet."}}], "maxTokens": 50
        });
        let asks = Asks::from_iter([
            name_question("user_name"),
            ("page".into(), Ask::Url { message: "Sign in.".into(), url: "https://example.com/in".into() }),
            ("greeting".into(), Ask::Sample(sample)),
            ("client_roots".into(), Ask::Roots),
        ]);
        for (key, ask) in &asks {
            if context.answers.to(key, ask)?.is_none() {
                return Err(Halt::Ask(asks));
            }
        }
        text("All answered.")
    })
}

/// A tool that asks where the client works, and says it.
pub fn asking_roots() -> Arc<dyn Tool> {
    played(spec("asking_roots", json!({})), |_, context| {
        let question = (String::from("roots"), Ask::Roots);
        match answer(context, &question)? {
            None => Err(Halt::Ask(Asks::from_iter([question]))),
            Some(answer) => text(answer["roots"][0]["uri"].as_str().unwrap_or_default()),
        }
    })
}

/// A tool that never has enough.
pub fn asking_forever() -> Arc<dyn Tool> {
    played(spec("asking_forever", json!({})), |_, context| {
        let key = format!("q{}", context.answers.responses.len());
        Err(Halt::Ask(Asks::from_iter([name_question(&key)])))
    })
}

/// A tool that reports progress and writes a log; some of it after its answer.
pub fn reporting() -> Arc<dyn Tool> {
    played(spec("reporting", json!({})), |_, context| {
        for step in [0.0, 50.0, 50.0, 100.0] {
            context.voice.progress(step, Some(100.0), Some("on the way"));
        }
        context.voice.log(LogLevel::Debug, None, &json!("quiet"));
        context.voice.log(LogLevel::Warning, Some("tests"), &json!({"loud": true}));
        let voice = Arc::clone(&context.voice);
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            voice.progress(200.0, None, Some("too late"));
            voice.log(LogLevel::Emergency, None, &json!("too late"));
        });
        text("Reported.")
    })
}

/// A tool that hangs until it is dropped, and counts both.
pub struct Hanging {
    spec: ToolSpec,
    pub started: Arc<AtomicUsize>,
    pub dropped: Arc<AtomicUsize>,
}

impl Hanging {
    pub fn new() -> Arc<Self> {
        Self::of(spec("hanging", json!({})))
    }

    /// One that is given up after that time.
    pub fn within(timeout: Duration) -> Arc<Self> {
        Self::of(ToolSpec { timeout: Some(timeout), ..spec("hanging", json!({})) })
    }

    fn of(spec: ToolSpec) -> Arc<Self> {
        Arc::new(Self { spec, started: Arc::default(), dropped: Arc::default() })
    }
}

struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Tool for Hanging {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, _: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let _count = Count(Arc::clone(&self.dropped));
            self.started.fetch_add(1, Ordering::SeqCst);
            context.voice.log(LogLevel::Emergency, None, &json!("started"));
            std::future::pending::<()>().await;
            Err(Error::new(Kind::Internal, "Pending is over.").into())
        })
    }
}

pub fn note(uri: &str, name: &str) -> Arc<dyn Tool> {
    let family = Family::Resource { uri: uri.into(), mime_type: Some("text/plain".into()), size: Some(4) };
    played(ToolSpec { family, ..spec(name, json!({})) }, |_, _| {
        let contents = ResourceContents {
            uri: "note://today".into(),
            mime_type: Some("text/plain".into()),
            text: Some("Hey.".into()),
            blob: None,
            meta: None,
        };
        Ok(Reply::Resource(vec![contents]))
    })
}

pub fn page() -> Arc<dyn Tool> {
    let family = Family::Template { uri_template: "page://{book}/{number}".into(), mime_type: None };
    let properties = json!({"book": {"type": "string"}, "number": {"type": "string", "pattern": "^[0-9]+$"}});
    played(ToolSpec { family, ..spec("page", properties) }, |call, _| {
        let (book, number) = (&call.arguments()["book"], &call.arguments()["number"]);
        let contents = ResourceContents {
            uri: format!("page://{}/{}", book.as_str().unwrap(), number.as_str().unwrap()),
            mime_type: None,
            text: None,
            blob: Some("AAEC".into()),
            meta: None,
        };
        Ok(Reply::Resource(vec![contents]))
    })
}

pub fn greeting() -> Arc<dyn Tool> {
    let argument =
        |name: &str, required| PromptArgument { name: name.into(), title: None, description: None, required };
    let family = Family::Prompt { arguments: vec![argument("who", true), argument("city", false)] };
    let input = LazySchema::new(json!({
        "type": "object",
        "properties": {"who": {"type": "string"}, "city": {"type": "string"}},
        "required": ["who"],
        "additionalProperties": false,
    }));
    played(ToolSpec { family, input, ..spec("greeting", json!({})) }, |call, _| {
        let words = format!("Greet {}.", call.arguments()["who"].as_str().unwrap());
        let message = PromptMessage { role: "user".into(), content: Content::text(words) };
        Ok(Reply::Prompt(PromptResult { description: None, messages: vec![message] }))
    })
}

/// One of each.
pub fn all() -> Vec<Arc<dyn Tool>> {
    vec![
        echo(),
        routed(),
        lister(),
        failing(),
        asking(),
        asking_twice(),
        asking_all(),
        asking_forever(),
        reporting(),
        note("note://today", "today"),
        page(),
        greeting(),
    ]
}
