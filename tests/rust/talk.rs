//! A client of any revision over the real transports, that says exactly what a test tells it to.
//!
//! Owns [`Place`], a server on a pipe and a loopback port, and [`Talk`], one conversation with it. The idea: the same
//! words go over both transports; whatever comes back, answer, notification or question, is checked against the
//! protocol's own schema before a test sees it; questions are answered as a willing client would.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::identity::NoAuth;
use bartizan::json::{Value, json};
use bartizan::pipeline::Tool;
use bartizan::protocol::{Door, Revision};
use bartizan::transport::http::Endpoint;
use bartizan::transport::{Channel, Config, stdio};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::scripted::{local, within};
use crate::support::{World, able, check_answer, check_message, world};

/// A server that can be reached both ways.
pub struct Place {
    pub world: World,
    address: SocketAddr,
    http: reqwest::Client,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl Place {
    pub async fn of(tools: Vec<Arc<dyn Tool>>) -> Self {
        Self::around(world(tools)).await
    }

    pub async fn around(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let endpoint = Endpoint::new(world.server.clone(), Arc::new(NoAuth::new()), Config::default());
        tokio::spawn(endpoint.serve(listener, stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { world, address, http, _stops: stop.clone().drop_guard(), stop }
    }

    fn pipe(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(256 << 10);
        let (handler, stop) = (self.world.server.clone(), self.stop.clone());
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(theirs);
            let settings =
                stdio::Settings { drain: Duration::from_millis(100), ..stdio::Settings::default() };
            stdio::serve(reader, writer, handler, &settings, stop, local()).await.unwrap();
        });
        ours
    }
}

/// What came of something that was said.
#[derive(Debug)]
pub struct Told {
    /// The HTTP status; 0 on a pipe, which has none.
    pub status: u16,
    /// The answer, or the array of answers; null if there was none.
    pub body: Value,
    /// What was said before the answer: notifications and questions.
    pub said: Vec<Value>,
    /// The session that was opened.
    pub session: Option<String>,
    /// Whether it came as an event stream.
    pub streamed: bool,
}

impl Told {
    /// The result, which has to be there.
    pub fn result(&self) -> &Value {
        assert!(self.body.get("result").is_some(), "no result: {}", self.body);
        &self.body["result"]
    }

    /// The code of the error; nothing if there is none.
    pub fn code(&self) -> Option<i64> {
        self.body["error"]["code"].as_i64()
    }

    /// Whether the status is that, where there is one.
    pub fn is(&self, status: u16) -> bool {
        self.status == 0 || self.status == status
    }

    /// What the server asked of the client, whichever way: method and parameters.
    pub fn asked(&self) -> Vec<(String, Value)> {
        let inside =
            self.body["result"]["inputRequests"].as_object().into_iter().flatten().map(|(_, one)| one);
        let on_the_way = self.said.iter().filter(|one| one.get("id").is_some());
        inside
            .chain(on_the_way)
            .map(|one| (one["method"].as_str().unwrap().to_owned(), one["params"].clone()))
            .collect()
    }

    /// The parameters of every notification of that method.
    pub fn noticed(&self, method: &str) -> Vec<&Value> {
        self.said.iter().filter(|one| one["method"] == method).map(|one| &one["params"]).collect()
    }
}

struct Pipe {
    input: AsyncMutex<WriteHalf<DuplexStream>>,
    heard: Mutex<Vec<Value>>,
    more: Notify,
}

/// One conversation.
pub struct Talk {
    revision: Revision,
    pub session: Option<String>,
    pub opened: Value,
    capabilities: Value,
    address: SocketAddr,
    http: reqwest::Client,
    pipe: Option<Arc<Pipe>>,
    next: AtomicU64,
    methods: Mutex<HashMap<String, String>>,
}

/// What a willing client answers.
pub fn answer(method: &str, params: &Value) -> Value {
    match method {
        "elicitation/create" if params["mode"] == "url" => json!({"action": "accept"}),
        "elicitation/create" if params["requestedSchema"]["properties"].get("names").is_some() => {
            json!({"action": "accept", "content": {"names": ["Ann"]}})
        }
        "elicitation/create" => json!({"action": "accept", "content": {"name": "Ann"}}),
        "sampling/createMessage" => json!({
            "role": "assistant", "content": {"type": "text", "text": "Hi."}, "model": "m", "stopReason": "endTurn",
        }),
        "roots/list" => json!({"roots": [{"uri": "file:///home"}]}),
        other => panic!("nobody answers {other}"),
    }
}

fn reply(question: &Value) -> Value {
    let result = answer(question["method"].as_str().unwrap(), &question["params"]);
    json!({"jsonrpc": "2.0", "id": question["id"], "result": result})
}

fn is_question(message: &Value) -> bool {
    message.get("method").is_some() && message.get("id").is_some()
}

impl Talk {
    /// A conversation in that revision, its door open.
    pub async fn open(place: &Place, channel: Channel, revision: Revision) -> Self {
        Self::able(place, channel, revision, able()).await
    }

    /// The same, of a client with these capabilities.
    pub async fn able(place: &Place, channel: Channel, revision: Revision, capabilities: Value) -> Self {
        let mut talk = Self::closed(place, channel, revision);
        talk.capabilities = capabilities;
        if revision.door() == Door::Handshake {
            let told = talk.ask("initialize", talk.greeting(revision.name())).await;
            assert_eq!(told.result()["protocolVersion"], revision.name());
            talk.session.clone_from(&told.session);
            talk.opened = told.result().clone();
            talk.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        } else {
            talk.opened = talk.ask("server/discover", json!({})).await.result().clone();
        }
        talk
    }

    /// A conversation in which nothing was said yet.
    pub fn closed(place: &Place, channel: Channel, revision: Revision) -> Self {
        let pipe = (channel == Channel::Stdio).then(|| {
            let (read, write) = tokio::io::split(place.pipe());
            let input = AsyncMutex::new(write);
            let pipe = Arc::new(Pipe { input, heard: Mutex::default(), more: Notify::new() });
            let hearing = Arc::downgrade(&pipe);
            tokio::spawn(async move {
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).expect("every line is one message");
                    let Some(pipe) = hearing.upgrade() else { return };
                    let answer = is_question(&message).then(|| reply(&message));
                    pipe.heard.lock().unwrap().push(message);
                    pipe.more.notify_waiters();
                    if let Some(answer) = answer {
                        let line = format!("{answer}\n");
                        pipe.input.lock().await.write_all(line.as_bytes()).await.unwrap();
                    }
                }
            });
            pipe
        });
        Self {
            revision,
            session: None,
            opened: Value::Null,
            capabilities: able(),
            address: place.address,
            http: place.http.clone(),
            pipe,
            next: AtomicU64::new(1),
            methods: Mutex::default(),
        }
    }

    /// The parameters of `initialize`.
    pub fn greeting(&self, version: &str) -> Value {
        let info = json!({"name": "talk", "version": "0"});
        json!({"protocolVersion": version, "capabilities": self.capabilities, "clientInfo": info})
    }

    /// A request as this revision words it.
    pub fn request(&self, method: &str, mut params: Value) -> Value {
        if self.revision.door() == Door::Envelope {
            let own = params["_meta"].take();
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.revision.name(),
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            });
            if let Value::Object(own) = own {
                params["_meta"].as_object_mut().unwrap().extend(own);
            }
        }
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// A request and what came of it.
    pub async fn ask(&self, method: &str, params: Value) -> Told {
        self.send(self.request(method, params)).await
    }

    /// A tool call and what came of it.
    pub async fn call(&self, name: &str, arguments: Value) -> Told {
        self.ask("tools/call", json!({"name": name, "arguments": arguments})).await
    }

    /// The headers that go with something.
    pub fn headers(&self, value: &Value) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(session) = &self.session {
            headers.push(("mcp-session-id", session.clone()));
        }
        if self.revision.revision_header() && (self.session.is_some() || self.revision.standard_headers()) {
            headers.push(("mcp-protocol-version", self.revision.name().to_owned()));
        }
        if self.revision.standard_headers() {
            let method = value["method"].as_str().unwrap_or_default();
            headers.push(("mcp-method", method.to_owned()));
            let name = match method {
                "tools/call" | "prompts/get" => value["params"]["name"].as_str(),
                "resources/read" => value["params"]["uri"].as_str(),
                _ => None,
            };
            headers.extend(name.map(|name| ("mcp-name", name.to_owned())));
        }
        headers
    }

    /// Says anything, and waits for what comes of it.
    pub async fn send(&self, value: Value) -> Told {
        let headers = self.headers(&value);
        self.send_with(value, headers).await
    }

    /// The same, with exactly these headers over HTTP.
    pub async fn send_with(&self, value: Value, headers: Vec<(&'static str, String)>) -> Told {
        self.remember(&value);
        let told = match &self.pipe {
            Some(pipe) => within(self.over_pipe(pipe, value)).await,
            None => within(self.over_http(reqwest::Method::POST, Some(value), headers)).await,
        };
        self.check(&told);
        told
    }

    /// Another method of HTTP, without a body.
    pub async fn http(&self, method: &str, headers: Vec<(&'static str, String)>) -> Told {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        within(self.over_http(method, None, headers)).await
    }

    /// Starts something and does not wait: over a pipe nothing more; over HTTP the open response, which ends when it is
    /// dropped.
    pub async fn start(&self, value: Value) -> Option<tokio::task::JoinHandle<()>> {
        self.remember(&value);
        match &self.pipe {
            Some(pipe) => {
                say(pipe, &value).await;
                None
            }
            None => {
                let request = self.post(reqwest::Method::POST, Some(&value), self.headers(&value));
                Some(tokio::spawn(async move {
                    let _ = request.send().await.unwrap().bytes().await;
                }))
            }
        }
    }

    /// Waits for a message on the pipe that nothing was sent for.
    pub async fn overhear(&self, method: &str) -> Value {
        let pipe = self.pipe.as_ref().expect("only a pipe can be overheard");
        within(async {
            loop {
                let more = pipe.more.notified();
                let found = pipe.heard.lock().unwrap().iter().find(|one| one["method"] == method).cloned();
                if let Some(found) = found {
                    check_message(self.revision, &found);
                    return found;
                }
                more.await;
            }
        })
        .await
    }

    fn remember(&self, value: &Value) {
        let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut methods = self.methods.lock().unwrap();
        for one in all {
            if let (Some(id), Some(method)) = (one.get("id"), one["method"].as_str()) {
                methods.insert(id.to_string(), method.to_owned());
            }
        }
    }

    fn check(&self, told: &Told) {
        for message in &told.said {
            check_message(self.revision, message);
        }
        let all = told.body.as_array().map_or(std::slice::from_ref(&told.body), Vec::as_slice);
        let methods = self.methods.lock().unwrap();
        for one in all {
            check_answer(self.revision, methods.get(&one["id"].to_string()).map_or("", String::as_str), one);
        }
    }

    async fn over_pipe(&self, pipe: &Pipe, value: Value) -> Told {
        let wants = value.is_array() || (value.get("id").is_some() && value.get("method").is_some());
        // what wants no answer is followed by something that does, so that silence can be told
        let fence = json!({"jsonrpc": "2.0", "id": "fence", "method": "ping"});
        say(pipe, &value).await;
        let waiting = if value.is_array() { Value::Null } else { value["id"].clone() };
        let silent = value.is_array() && !value.as_array().unwrap().is_empty() && {
            value
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one.is_object() && one.get("method").is_none() | one.get("id").is_none())
        };
        if !wants || silent {
            say(pipe, &fence).await;
        }
        let is_answer = |one: &Value| {
            one.is_array()
                || (one.get("method").is_none() && one["id"] == waiting && one["id"] != "fence")
                || (one.get("error").is_some() && one.get("id").is_none())
        };
        loop {
            let more = pipe.more.notified();
            {
                let mut heard = pipe.heard.lock().unwrap();
                let end = heard.iter().position(|one| is_answer(one) || one["id"] == "fence");
                if let Some(end) = end {
                    let mut said: Vec<_> = heard.drain(..=end).collect();
                    let body = said.pop().filter(|one| one["id"] != "fence").unwrap_or_default();
                    return Told { status: 0, body, said, session: None, streamed: false };
                }
            }
            more.await;
        }
    }

    fn post(
        &self,
        method: reqwest::Method,
        body: Option<&Value>,
        headers: Vec<(&'static str, String)>,
    ) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(method, format!("http://{}/mcp", self.address))
            .header("accept", "application/json, text/event-stream");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    async fn over_http(
        &self,
        method: reqwest::Method,
        body: Option<Value>,
        headers: Vec<(&'static str, String)>,
    ) -> Told {
        let get = method == reqwest::Method::GET;
        let mut response = self.post(method, body.as_ref(), headers).send().await.unwrap();
        let status = response.status().as_u16();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let session = header("mcp-session-id");
        let streamed = header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        if streamed && get {
            return Told { status, body: Value::Null, said: Vec::new(), session, streamed };
        }
        if !streamed {
            let text = response.text().await.unwrap();
            let body = serde_json::from_str(&text).unwrap_or_default();
            return Told { status, body, said: Vec::new(), session, streamed };
        }
        let (mut text, mut said) = (String::new(), Vec::new());
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let data: String = event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if data.trim().is_empty() {
                    continue;
                }
                let message: Value = serde_json::from_str(&data).expect("every event is one message");
                if is_question(&message) {
                    let answer = reply(&message);
                    let sent = self.post(reqwest::Method::POST, Some(&answer), self.headers(&answer));
                    assert_eq!(sent.send().await.unwrap().status(), 202);
                }
                said.push(message);
            }
        }
        let answers = said.last().is_some_and(|one| one.is_array() || one.get("method").is_none());
        let body = if answers { said.pop().unwrap_or_default() } else { Value::Null };
        Told { status, body, said, session, streamed }
    }
}

async fn say(pipe: &Pipe, value: &Value) {
    pipe.input.lock().await.write_all(format!("{value}\n").as_bytes()).await.unwrap();
}
