//! A server with test tools, and a scripted peer of either door over either transport.
//!
//! The peer checks every message it is sent against the protocol's own JSON Schema where that is at hand
//! (`BARTIZAN_SHARED`, or `shared` beside the project).

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bartizan::approvals::{self, Approvals};
use bartizan::audit::{self, Audit};
use bartizan::catalog::Catalog;
use bartizan::clock::ManualClock;
use bartizan::freeze::Freeze;
use bartizan::json::{Value, json};
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{self, Line, LineParts, Tool};
use bartizan::policy::{self, Filter, Policy};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::types::{Icon, Implementation};
use bartizan::protocol::{Door, Revision};
use bartizan::redaction::{self, Redactor};
use bartizan::server::{Config, KeyRing, Server, ServerParts, Spent};
use bartizan::state::StateDir;
use bartizan::tasks;
use bartizan::transport::auth::Right;
use bartizan::transport::{Answer, Channel, Delivery, Handler, HeaderFacts, Outlet, Peer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that has to happen; a busy machine needs it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Of what is promised within a second: whether it was. A machine that is busy gets three tries in all, and no more.
pub fn in_time(tries: &mut Vec<Duration>, took: Duration) -> bool {
    tries.push(took);
    let kept = took < Duration::from_secs(1);
    assert!(kept || tries.len() < 3, "never within a second: {tries:?}");
    kept
}

/// A server and what it stands on.
pub struct World {
    pub server: Arc<Server>,
    pub catalog: Arc<Catalog>,
    pub clock: Arc<ManualClock>,
    pub approvals: Option<Arc<Approvals>>,
    pub limiter: Arc<Limiter>,
    pub freeze: Arc<Freeze>,
    folder: Arc<tempfile::TempDir>,
}

impl World {
    /// The audit as it is in the file.
    pub fn audited(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap_or_default()
    }

    /// Where the state directory is.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// What a server stands on; several may stand on one.
pub struct Ground {
    pub policy: &'static str,
    pub server: Config,
    pub calls: pipeline::Config,
    pub tasks: Option<tasks::Config>,
    pub approvals: bool,
    pub folder: Arc<tempfile::TempDir>,
    pub clock: Arc<ManualClock>,
}

impl Ground {
    /// Allows everything, with tasks and without approvals.
    pub fn new() -> Self {
        Self {
            policy: "admin",
            server: Config::default(),
            calls: pipeline::Config::default(),
            tasks: Some(tasks::Config::default()),
            approvals: false,
            folder: Arc::new(tempfile::tempdir().unwrap()),
            clock: ManualClock::at(Duration::from_secs(1_800_000_000)),
        }
    }

    /// A server on it.
    pub fn world(&self, tools: Vec<Arc<dyn Tool>>) -> World {
        let (folder, clock) = (Arc::clone(&self.folder), Arc::clone(&self.clock));
        let state = folder.path().join("state");
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let settings =
            audit::Config { path: Some(folder.path().join("audit.jsonl")), ..audit::Config::default() };
        let approvals = self
            .approvals
            .then(|| Approvals::open(&approvals::Config::default(), &state, clock.clone()).unwrap());
        if self.approvals {
            somebody(&state);
        }
        let limiter = Arc::new(Limiter::new(&limits::Config::default(), clock.clone()));
        let known = Approvals::open(&approvals::Config::default(), &state, clock.clone()).unwrap();
        let freeze = Freeze::open(&state, known, clock.clone()).unwrap();
        let line = Line::new(LineParts {
            profile: "production",
            audit: Audit::open(&settings, redactor.clone(), clock.clone()).unwrap(),
            limiter: Arc::clone(&limiter),
            policy: Arc::new(Policy::load(&policy::Config::of(self.policy)).unwrap()),
            filter: Filter::default(),
            guards: Vec::new(),
            redactor,
            approvals: approvals.clone(),
            clock: clock.clone(),
            config: self.calls.clone(),
        })
        .frozen_by(freeze.clone());
        let catalog = Arc::new(Catalog::build(tools).unwrap());
        let implementation = Implementation {
            name: "test-server".into(),
            title: Some("Test server".into()),
            version: "1.2.3".into(),
            description: Some("For tests.".into()),
            website_url: Some("https://example.com".into()),
            icons: vec![Icon {
                src: "https://example.com/icon.png".into(),
                mime_type: None,
                sizes: Vec::new(),
                theme: None,
            }],
        };
        let tasks =
            self.tasks.as_ref().map(|config| tasks::Store::open(config, &state, clock.clone()).unwrap());
        let server = Server::new(ServerParts {
            line: Arc::new(line),
            catalog: Arc::clone(&catalog),
            implementation,
            instructions: Some("Be kind.".into()),
            keys: KeyRing::new(&[[7; 32]]).unwrap(),
            spent: Spent::open(&StateDir::open(&state).unwrap()).unwrap(),
            roll: None,
            tasks,
            clock: clock.clone(),
            config: self.server.clone(),
        })
        .unwrap();
        World { server, catalog, clock, approvals, limiter, freeze, folder }
    }
}

/// A server that allows everything, with these tools.
pub fn world(tools: Vec<Arc<dyn Tool>>) -> World {
    world_with(tools, "admin", Config::default())
}

/// A server with this policy and these settings.
pub fn world_with(tools: Vec<Arc<dyn Tool>>, policy: &'static str, config: Config) -> World {
    Ground { policy, server: config, ..Ground::new() }.world(tools)
}

/// What a peer was sent.
#[derive(Default)]
pub struct Recorder {
    said: Mutex<Vec<Value>>,
    more: Notify,
    full: std::sync::atomic::AtomicBool,
}

impl Outlet for Recorder {
    fn send(&self, message: String) -> bool {
        if self.full.load(Ordering::SeqCst) {
            return false;
        }
        self.said.lock().unwrap().push(serde_json::from_str(&message).unwrap());
        self.more.notify_waiters();
        true
    }
}

impl Recorder {
    /// Everything so far.
    pub fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    /// From here on nobody reads.
    pub fn fill(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    /// Waits for a message.
    pub async fn find(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let more = self.more.notified();
                if let Some(found) = self.said().into_iter().find(&wanted) {
                    return found;
                }
                more.await;
            }
        })
        .await
        .expect("the message never came")
    }

    /// Waits for a message of that method.
    pub async fn method(&self, method: &str) -> Value {
        self.find(|message| message["method"] == method).await
    }
}

/// Every revision over every transport.
pub fn matrix() -> Vec<(Channel, Revision)> {
    let mut all = Vec::new();
    for channel in [Channel::Stdio, Channel::Http] {
        all.extend(Revision::ALL.iter().map(|revision| (channel, *revision)));
    }
    all
}

/// The newest revision of a door.
pub fn newest(door: Door) -> Revision {
    *Revision::ALL.iter().rev().find(|revision| revision.door() == door).unwrap()
}

/// Everything a client can declare.
pub fn able() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}})
}

/// What came of a request.
pub struct Heard {
    pub answer: Answer,
    pub body: Value,
    pub said: Vec<Value>,
}

impl Heard {
    /// The result, which has to be there.
    pub fn result(&self) -> &Value {
        assert!(self.body.get("result").is_some(), "no result: {}", self.body);
        &self.body["result"]
    }

    /// Status and code of the error, which has to be there.
    pub fn fault(&self) -> (u16, i64) {
        (
            self.answer.status,
            self.body["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.body)),
        )
    }
}

/// A request under way.
pub struct Underway {
    pub id: u64,
    pub outlet: Arc<Recorder>,
    pub gone: CancellationToken,
    method: String,
    revision: Revision,
    work: JoinHandle<Answer>,
}

impl Underway {
    /// Waits for the answer.
    pub async fn heard(self) -> Heard {
        let answer = tokio::time::timeout(PATIENCE, self.work).await.expect("no answer came").unwrap();
        let body = answer.body.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let said = self.outlet.said();
        for message in
            said.iter().filter(|message| message["id"] != Value::Null || message["method"] != Value::Null)
        {
            check_message(self.revision, message);
        }
        check_answer(self.revision, &self.method, &body);
        Heard { answer, body, said }
    }
}

static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// A client.
pub struct Script {
    pub server: Arc<Server>,
    pub revision: Revision,
    pub channel: Channel,
    pub principal: Arc<Principal>,
    /// What it was let in by.
    pub right: Option<Right>,
    pub capabilities: Value,
    pub session: Option<String>,
    connection: u64,
    next: AtomicU64,
    /// What a stdio connection is sent; every request shares it.
    pub wire: Arc<Recorder>,
    gone: CancellationToken,
}

impl Script {
    /// A client that has opened the door of its revision.
    pub async fn open(world: &World, channel: Channel, revision: Revision, capabilities: Value) -> Self {
        let mut script = Self::closed(world, channel, revision);
        script.capabilities = capabilities;
        if revision.door() == Door::Handshake {
            let answer = script.initialize(revision.name()).await;
            assert_eq!(answer.result()["protocolVersion"], revision.name());
            script.session.clone_from(&answer.answer.session);
            assert_eq!(script.session.is_some(), channel == Channel::Http);
            assert_eq!(script.notify("notifications/initialized", json!({})).await.status, 202);
        }
        script
    }

    /// A client that has said nothing yet.
    pub fn closed(world: &World, channel: Channel, revision: Revision) -> Self {
        Self {
            server: Arc::clone(&world.server),
            revision,
            channel,
            principal: Arc::new(Principal::new("key:alice", PrincipalKind::ApiKey)),
            right: None,
            capabilities: able(),
            session: None,
            connection: CONNECTIONS.fetch_add(1, Ordering::SeqCst),
            next: AtomicU64::new(1),
            wire: Arc::default(),
            gone: CancellationToken::new(),
        }
    }

    pub async fn initialize(&self, version: &str) -> Heard {
        let params = json!({
            "protocolVersion": version,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "script", "version": "0"},
        });
        self.raw("initialize", params, HeaderFacts::default()).heard().await
    }

    /// The headers that go with a request.
    pub fn headers(&self, method: &str, params: &Value) -> HeaderFacts {
        let mut facts = HeaderFacts { session: self.session.clone(), ..HeaderFacts::default() };
        if self.channel == Channel::Http {
            facts.revision = vec![self.revision.name().to_owned()];
            if self.revision.standard_headers() {
                facts.method = vec![method.to_owned()];
                let name = match method {
                    "tools/call" | "prompts/get" => params["name"].as_str(),
                    "resources/read" => params["uri"].as_str(),
                    "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
                    _ => None,
                };
                facts.name = name.map(str::to_owned).into_iter().collect();
            }
        }
        facts
    }

    pub fn peer(&self, headers: HeaderFacts) -> Peer {
        let stdio = self.channel == Channel::Stdio;
        Peer {
            principal: Arc::clone(&self.principal),
            channel: self.channel,
            address: None,
            connection: if stdio { self.connection } else { CONNECTIONS.fetch_add(1, Ordering::SeqCst) },
            headers: Arc::new(if stdio { HeaderFacts::default() } else { headers }),
            gone: if stdio { self.gone.clone() } else { CancellationToken::new() },
            right: self.right.clone(),
        }
    }

    /// The parameters as this revision sends them.
    pub fn dressed(&self, mut params: Value) -> Value {
        if self.revision.door() == Door::Envelope {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision.name(),
                "io.modelcontextprotocol/clientInfo": {"name": "script", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            });
            let slot = &mut params["_meta"];
            let own = slot.take();
            *slot = meta;
            if let Value::Object(own) = own {
                slot.as_object_mut().unwrap().extend(own);
            }
        }
        params
    }

    /// Starts a request.
    pub fn start(&self, method: &str, params: Value) -> Underway {
        let headers = self.headers(method, &params);
        self.raw(method, self.dressed(params), headers)
    }

    /// Starts a request exactly so.
    pub fn raw(&self, method: &str, params: Value, headers: HeaderFacts) -> Underway {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let peer = self.peer(headers);
        let outlet = if self.channel == Channel::Stdio { Arc::clone(&self.wire) } else { Arc::default() };
        let gone = peer.gone.clone();
        let (server, out) = (Arc::clone(&self.server), Arc::clone(&outlet));
        let work =
            tokio::spawn(async move { server.handle(Delivery { body: Ok(message) }, peer, out).await });
        Underway { id, outlet, gone, method: method.to_owned(), revision: self.revision, work }
    }

    /// A request and its answer.
    pub async fn ask(&self, method: &str, params: Value) -> Heard {
        self.start(method, params).heard().await
    }

    /// A tool call and its answer.
    pub async fn call(&self, name: &str, arguments: Value) -> Heard {
        self.ask("tools/call", json!({"name": name, "arguments": arguments})).await
    }

    /// Sends any value.
    pub async fn send(&self, value: Value) -> Answer {
        let headers = self.headers(value["method"].as_str().unwrap_or_default(), &value["params"]);
        let out: Arc<Recorder> = Arc::default();
        self.server.handle(Delivery { body: Ok(value) }, self.peer(headers), out).await
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: Value) -> Answer {
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params})).await
    }

    /// Opens the GET stream.
    pub fn listen(&self) -> (Arc<Recorder>, JoinHandle<Result<(), Answer>>, CancellationToken) {
        let out: Arc<Recorder> = Arc::default();
        let peer = self.peer(self.headers("", &Value::Null));
        let gone = peer.gone.clone();
        let (server, heard) = (Arc::clone(&self.server), Arc::clone(&out));
        (heard, tokio::spawn(async move { server.listen(peer, out).await }), gone)
    }

    /// DELETE, or the end of the connection.
    pub async fn close(&self) -> Answer {
        self.server.close(self.peer(self.headers("", &Value::Null))).await
    }
}

/// Lets tasks that are ready run, so that what must not happen had its chance.
pub async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Says which test is skipped, and why.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    say(&format!("skipped {}: {why}", thread.name().unwrap_or("a test")));
}

/// Prints a line past the capture that swallows what a passing test prints.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Where material lies that tests may use and the project does not hold.
fn beside(path: &str) -> PathBuf {
    let folder = std::env::var_os("BARTIZAN_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")), PathBuf::from);
    folder.join(path)
}

/// A file or folder of it; a test that gets none is skipped, and a line says so.
pub fn shared(path: &str) -> Option<PathBuf> {
    let found = beside(path);
    if !found.exists() {
        skipped(&format!("there is no {path} in ../shared or the folder that BARTIZAN_SHARED names"));
        return None;
    }
    Some(found)
}

fn definitions(revision: Revision) -> Option<Arc<Value>> {
    type Read = HashMap<&'static str, Option<Arc<Value>>>;
    static READ: OnceLock<Mutex<Read>> = OnceLock::new();
    let mut read = READ.get_or_init(Mutex::default).lock().unwrap();
    read.entry(revision.name())
        .or_insert_with(|| {
            let path = beside("schema").join(revision.name()).join("schema.json");
            let Ok(text) = std::fs::read_to_string(&path) else {
                say(&format!("messages of {revision} are not checked: the protocol's schema is not at hand"));
                return None;
            };
            serde_json::from_str(&text).ok().map(Arc::new)
        })
        .clone()
}

/// Whether the protocol's schema has such a definition; true where it is not at hand.
fn has_definition(revision: Revision, definition: &str) -> bool {
    definitions(revision).is_none_or(|schema| {
        ["$defs", "definitions"].iter().any(|place| schema[place].get(definition).is_some())
    })
}

/// Checks a value against a definition of the protocol.
pub fn conforms(revision: Revision, definition: &str, value: &Value) {
    type Compiled = HashMap<(&'static str, String), Arc<jsonschema::Validator>>;
    static COMPILED: OnceLock<Mutex<Compiled>> = OnceLock::new();
    let Some(schema) = definitions(revision) else { return };
    let key = (revision.name(), definition.to_owned());
    let compiled = COMPILED.get_or_init(Mutex::default);
    let known = compiled.lock().unwrap().get(&key).cloned();
    let validator = known.unwrap_or_else(|| {
        let place = if schema.get("$defs").is_some() { "$defs" } else { "definitions" };
        assert!(schema[place].get(definition).is_some(), "{revision} has no {definition}");
        let mut schema = Value::clone(&schema);
        schema["$ref"] = format!("#/{place}/{definition}").into();
        let validator = Arc::new(jsonschema::validator_for(&schema).unwrap());
        compiled.lock().unwrap().insert(key, Arc::clone(&validator));
        validator
    });
    let problems: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "not a {definition} of {revision}: {problems:?}\n{value}");
}

pub fn check_message(revision: Revision, message: &Value) {
    let definition = match message["method"].as_str().unwrap_or_default() {
        "notifications/progress" => "ProgressNotification",
        "notifications/message" => "LoggingMessageNotification",
        "notifications/cancelled" => "CancelledNotification",
        "notifications/resources/updated" => "ResourceUpdatedNotification",
        "notifications/resources/list_changed" => "ResourceListChangedNotification",
        "notifications/tools/list_changed" => "ToolListChangedNotification",
        "notifications/prompts/list_changed" => "PromptListChangedNotification",
        "notifications/subscriptions/acknowledged" => "SubscriptionsAcknowledgedNotification",
        // an extension's: its own tests look at what is in it
        "notifications/tasks" => "JSONRPCNotification",
        "elicitation/create" => "ElicitRequest",
        "sampling/createMessage" => "CreateMessageRequest",
        "roots/list" => "ListRootsRequest",
        other => panic!("an unknown message was sent: {other}"),
    };
    let kind = if message.get("id").is_some() { "JSONRPCRequest" } else { "JSONRPCNotification" };
    conforms(revision, kind, message);
    conforms(revision, definition, message);
}

pub fn check_answer(revision: Revision, method: &str, body: &Value) {
    if body.is_null() {
        return;
    }
    // the older revisions have other names for the two
    let named = |newer: &'static str, older: &'static str| {
        if has_definition(revision, newer) { newer } else { older }
    };
    if body.get("error").is_some() {
        let mut body = body.clone();
        if body.get("id").is_none() && !has_definition(revision, "JSONRPCErrorResponse") {
            // whose request has no readable id: the transport allows it, the schema of the time forgot it
            body["id"] = "unreadable".into();
        }
        return conforms(revision, named("JSONRPCErrorResponse", "JSONRPCError"), &body);
    }
    conforms(revision, named("JSONRPCResultResponse", "JSONRPCResponse"), body);
    let result = &body["result"];
    let definition = match method {
        _ if result["resultType"] == "input_required" => "InputRequiredResult",
        _ if result["resultType"] == "task" => "Result",
        "initialize" => "InitializeResult",
        "server/discover" => "DiscoverResult",
        "tools/list" => "ListToolsResult",
        "tools/call" => "CallToolResult",
        "resources/list" => "ListResourcesResult",
        "resources/templates/list" => "ListResourceTemplatesResult",
        "resources/read" => "ReadResourceResult",
        "prompts/list" => "ListPromptsResult",
        "prompts/get" => "GetPromptResult",
        "completion/complete" => "CompleteResult",
        "subscriptions/listen" => "SubscriptionsListenResult",
        _ => "EmptyResult",
    };
    conforms(revision, definition, result);
}

/// Somebody to ask: an operator that nobody has the key of.
pub fn somebody(state: &std::path::Path) {
    std::fs::write(state.join("operators/somebody.pub"), "{}").unwrap();
}
