//! A small MCP client.
//!
//! Owns [`Client`]: it opens a conversation, calls methods, answers what the server asks and follows pages. The idea:
//! one loop for both doors; how a message travels is a [`Link`]'s business, over HTTP or any pair of
//! streams. Used by the demo, `bartizan call`, the Python test client and tests.
//!
//! Must not: apply a policy, or interpret results beyond what the protocol demands.

mod ears;
mod error;
mod headers;
mod http;
mod link;
mod lists;
mod pipe;
mod sse;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::protocol::{Door, Revision, meta};
use crate::secret::Secret;

pub use error::{Error, Result, RpcError};

use ears::Ears;
use headers::Head;
use link::Link;

/// Answers a question of the server: the method (`elicitation/create`, `sampling/createMessage`, `roots/list`) and its
/// parameters in, the result out. An error is passed on to the server where the revision can say so.
pub type Answers = Arc<dyn Fn(String, Value) -> BoxFuture<'static, Result<Value, RpcError>> + Send + Sync>;

/// Hears parameters of a progress notification.
pub type Progress = Arc<dyn Fn(Value) + Send + Sync>;

/// Hears every other notification, whole.
pub type Notices = Arc<dyn Fn(Value) + Send + Sync>;

/// How a client behaves.
#[derive(Clone)]
pub struct Options {
    /// The revision to speak.
    pub revision: Revision,
    /// The client's name, as the server hears it.
    pub name: String,
    /// The client's version, as the server hears it.
    pub version: String,
    /// The API key (HTTP).
    pub key: Option<Secret>,
    /// What this client says it can do; by default what `answers` can answer.
    pub capabilities: Option<Value>,
    /// Answers the server's questions.
    pub answers: Option<Answers>,
    /// Hears notifications other than progress.
    pub notices: Option<Notices>,
    /// The least severe log message wanted, such as `info`; nothing means none.
    pub log_level: Option<String>,
    /// How long a request may take.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            revision: Revision::NEWEST,
            name: "bartizan-client".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            key: None,
            capabilities: None,
            answers: None,
            notices: None,
            log_level: None,
            timeout: Duration::from_mins(1),
        }
    }
}

impl Options {
    fn capabilities(&self) -> Value {
        match (&self.capabilities, &self.answers) {
            (Some(declared), _) => declared.clone(),
            (None, Some(_)) => json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}),
            (None, None) => json!({}),
        }
    }
}

/// How one request behaves.
#[derive(Clone, Default)]
pub struct CallOptions {
    /// Hears its progress.
    pub progress: Option<Progress>,
    /// Cancels it.
    pub cancel: Option<CancellationToken>,
    /// How long it may take; by default what the client's options say.
    pub timeout: Option<Duration>,
}

/// How often a server may ask before one request is given up.
const MAX_ROUNDS: usize = 32;

/// A conversation with a server.
pub struct Client {
    link: Arc<dyn Link>,
    ears: Arc<Ears>,
    options: Options,
    next: AtomicU64,
    server: Mutex<Arc<Value>>,
    marked: headers::Marked,
}

impl Client {
    /// Opens a conversation over HTTP (`http://HOST:PORT/mcp`).
    pub async fn http(url: &str, options: Options) -> Result<Self> {
        let ears = Ears::new(&options);
        let link = http::HttpLink::to(url, &options, ears.clone())?;
        Self::open(link, ears, options).await
    }

    /// Opens a conversation over a pair of streams.
    pub async fn over<R, W>(reader: R, writer: W, options: Options) -> Result<Self>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let ears = Ears::new(&options);
        let link = pipe::PipeLink::over(reader, writer, ears.clone(), None);
        Self::open(link, ears, options).await
    }

    /// Starts a command and talks to its standard input and output; the child ends with the client.
    pub async fn spawn(command: tokio::process::Command, options: Options) -> Result<Self> {
        let ears = Ears::new(&options);
        let link = pipe::PipeLink::spawn(command, ears.clone())?;
        Self::open(link, ears, options).await
    }

    async fn open(link: Arc<dyn Link>, ears: Arc<Ears>, options: Options) -> Result<Self> {
        let server = Mutex::default();
        let client =
            Self { link, ears, options, next: AtomicU64::new(1), server, marked: headers::Marked::default() };
        let opened = match client.options.revision.door() {
            Door::Envelope => client.request("server/discover", json!({}), &CallOptions::default()).await?,
            Door::Handshake => client.shake_hands().await?,
        };
        *client.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(opened);
        Ok(client)
    }

    async fn shake_hands(&self) -> Result<Value> {
        let params = json!({
            "protocolVersion": self.options.revision.name(),
            "capabilities": self.options.capabilities(),
            "clientInfo": {"name": self.options.name, "version": self.options.version},
        });
        let opened = self.request("initialize", params, &CallOptions::default()).await?;
        if opened["protocolVersion"] != self.options.revision.name() {
            return Err(Error::Malformed("the server chose a revision that was not asked for"));
        }
        self.link.opened(self.options.revision);
        self.notify("notifications/initialized", json!({})).await?;
        if let Some(level) = &self.options.log_level {
            self.request("logging/setLevel", json!({"level": level}), &CallOptions::default()).await?;
        }
        Ok(opened)
    }

    /// What the server said of itself: the result of `server/discover` or `initialize`.
    pub fn server(&self) -> Arc<Value> {
        self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The revision in use.
    pub fn revision(&self) -> Revision {
        self.options.revision
    }

    /// Asks whether the server is there.
    pub async fn ping(&self) -> Result<()> {
        let method = match self.options.revision.door() {
            Door::Envelope => "server/discover",
            Door::Handshake => "ping",
        };
        self.request(method, json!({}), &CallOptions::default()).await.map(drop)
    }

    /// Calls a tool: its whole result.
    pub async fn call_tool(&self, name: &str, arguments: Value, options: &CallOptions) -> Result<Value> {
        let params = json!({"name": name, "arguments": arguments});
        match self.request("tools/call", params.clone(), options).await {
            // The tool wants headers that were not known: look at its schema and try again, once.
            Err(Error::Rpc(error)) if error.is_header_mismatch() && !self.marked.knows(name) => {
                self.list_tools().await?;
                self.request("tools/call", params, options).await
            }
            other => other,
        }
    }

    /// Sends a request and answers what the server asks on the way.
    pub async fn request(&self, method: &str, params: Value, options: &CallOptions) -> Result<Value> {
        let timeout = options.timeout.unwrap_or(self.options.timeout);
        let work = self.converse(method, params, options);
        tokio::time::timeout(timeout, work).await.map_err(|_| Error::TimedOut)?
    }

    async fn converse(&self, method: &str, params: Value, options: &CallOptions) -> Result<Value> {
        let Value::Object(params) = params else {
            return Err(Error::Malformed("parameters must be an object"));
        };
        let mut answers: Option<(Map<String, Value>, Option<Value>)> = None;
        for _ in 0..MAX_ROUNDS {
            let mut params = params.clone();
            if let Some((responses, state)) = answers.take() {
                params.insert("inputResponses".into(), Value::Object(responses));
                if let Some(state) = state {
                    params.insert("requestState".into(), state);
                }
            }
            let result = self.exchange(method, params, options).await?;
            let asked =
                self.options.revision.door() == Door::Envelope && result["resultType"] == "input_required";
            if !asked {
                return Ok(result);
            }
            answers =
                Some((self.answer(&result["inputRequests"]).await?, result.get("requestState").cloned()));
        }
        Err(Error::Malformed("the server asked too often"))
    }

    async fn answer(&self, asked: &Value) -> Result<Map<String, Value>> {
        let mut responses = Map::new();
        for (key, request) in asked.as_object().into_iter().flatten() {
            let method = request["method"].as_str().unwrap_or_default();
            let answer =
                self.ears.answer(method, request.get("params").cloned().unwrap_or(Value::Null)).await;
            responses.insert(key.clone(), answer.map_err(Error::Rpc)?);
        }
        Ok(responses)
    }

    async fn exchange(
        &self,
        method: &str,
        mut params: Map<String, Value>,
        options: &CallOptions,
    ) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let heard = options.progress.clone().map(|progress| self.ears.hear_progress(id, progress));
        self.add_meta(&mut params, heard.is_some().then_some(id));
        let head = self.head(method, &params);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut cancelling = Cancelling { client: self, id, armed: method != "initialize" };
        let exchange = self.link.exchange(id, message, head);
        let answered = match &options.cancel {
            None => exchange.await,
            Some(cancel) => tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::Cancelled),
                answered = exchange => answered,
            },
        };
        cancelling.armed &= matches!(answered, Err(Error::Cancelled));
        drop(cancelling);
        let mut response = answered?;
        if let Some(error) = response.get("error") {
            return Err(Error::Rpc(RpcError::from_value(error)));
        }
        response.get_mut("result").map(Value::take).ok_or(Error::Malformed("an answer without a result"))
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: Value) -> Result<()> {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let head = Head { method: method.to_owned(), ..Head::default() };
        self.link.notify(message, head).await
    }

    fn add_meta(&self, params: &mut Map<String, Value>, progress: Option<u64>) {
        let mut own = match params.remove("_meta") {
            Some(Value::Object(own)) => own,
            _ => Map::new(),
        };
        if let Some(token) = progress {
            own.insert(meta::PROGRESS_TOKEN.into(), token.into());
        }
        if self.options.revision.door() == Door::Envelope {
            let mut set = |key: &str, value: Value| {
                own.entry(key).or_insert(value);
            };
            set(meta::PROTOCOL_VERSION, self.options.revision.name().into());
            set(meta::CLIENT_INFO, json!({"name": self.options.name, "version": self.options.version}));
            set(meta::CLIENT_CAPABILITIES, self.options.capabilities());
            if let Some(level) = &self.options.log_level {
                set(meta::LOG_LEVEL, level.as_str().into());
            }
        }
        if !own.is_empty() {
            params.insert("_meta".into(), Value::Object(own));
        }
    }

    fn head(&self, method: &str, params: &Map<String, Value>) -> Head {
        if self.options.revision.door() == Door::Handshake {
            return Head::default();
        }
        let named = match method {
            "tools/call" | "prompts/get" => params.get("name"),
            "resources/read" => params.get("uri"),
            _ => None,
        };
        let parameters = match (method, named.and_then(Value::as_str)) {
            ("tools/call", Some(name)) => {
                self.marked.values(name, params.get("arguments").unwrap_or(&Value::Null))
            }
            _ => Vec::new(),
        };
        Head {
            revision: Some(self.options.revision.name()),
            method: method.to_owned(),
            name: named.and_then(Value::as_str).map(headers::encode),
            parameters,
        }
    }

    /// Ends the conversation in the open: a session is deleted, streams are closed.
    pub async fn close(&self) {
        self.link.close().await;
    }
}

/// Tells the server that nobody waits any more, if a request is dropped before its answer.
struct Cancelling<'a> {
    client: &'a Client,
    id: u64,
    armed: bool,
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        if self.armed {
            let message = json!({
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": self.id},
            });
            self.client.link.cancel(message, self.client.options.revision.door());
        }
    }
}
