//! A server that does what a test tells it to, and counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::json::{Value, json};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::transport::{Answer, BoxFuture, Channel, Delivery, Handler, Outlet, Peer};
use tokio::sync::{Semaphore, oneshot};

/// Something that happens, and can be waited for.
pub(crate) struct Event(Semaphore);

impl Default for Event {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Event {
    pub(crate) fn happens(&self) {
        self.0.add_permits(1);
    }

    /// Waits for one more of it, with a deadline.
    pub(crate) async fn seen(&self) {
        within(self.0.acquire()).await.unwrap().forget();
    }

    /// Waits for one more of it for as long as that takes: for a server, whose test has the deadline.
    pub(crate) async fn comes(&self) {
        self.0.acquire().await.unwrap().forget();
    }

    pub(crate) fn count(&self) -> usize {
        self.0.available_permits()
    }
}

/// No wait is longer than this, which a busy machine needs.
pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing happened in time")
}

pub(crate) fn local() -> Arc<Principal> {
    Arc::new(Principal::new("local:test", PrincipalKind::Local))
}

#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) started: Event,
    pub(crate) dropped: Event,
    pub(crate) closed: Event,
    pub(crate) noticed: Event,
    pub(crate) gate: Event,
    pub(crate) accepted: AtomicUsize,
    pub(crate) peers: Mutex<Vec<Peer>>,
    waiting: Mutex<HashMap<String, oneshot::Sender<Value>>>,
}

/// Says when it is dropped.
struct Dropped<'a>(&'a Event);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.happens();
    }
}

fn ok(id: &Value, result: Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    Answer { status: 200, body: Some(body), ..Answer::default() }
}

fn error(id: &Value, status: u16, code: i64) -> Answer {
    let error = json!({"code": code, "message": "scripted", "data": {"status": status}});
    let body = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
    Answer { status, body: Some(body), ..Answer::default() }
}

fn notice(outlet: &Arc<dyn Outlet>, method: &str, params: Value) -> bool {
    outlet.send(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string())
}

impl Scripted {
    async fn respond(&self, delivery: Delivery, peer: Peer, outlet: Arc<dyn Outlet>) -> Answer {
        let message = match delivery.body {
            Ok(message) => message,
            Err(refusal) => return error(&Value::Null, 400, i64::from(refusal.kind().code())),
        };
        let id = message.get("id").cloned().unwrap_or_default();
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            let answered =
                id.as_str().and_then(|id| self.waiting.lock().unwrap().remove(id)).map(|to| to.send(message));
            return match answered {
                Some(_) => Answer { status: 202, ..Answer::default() },
                None => error(&Value::Null, 400, -32600),
            };
        };
        if id.is_null() {
            self.noticed.happens();
            return Answer { status: 202, ..Answer::default() };
        }
        let params = message.get("params").cloned().unwrap_or_default();
        self.peers.lock().unwrap().push(peer.clone());
        match method {
            "echo" => ok(&id, params),
            "who" => ok(&id, json!(&*peer.principal.id)),
            "panic" => panic!("scripted"),
            "gated" => {
                self.started.happens();
                self.gate.comes().await;
                ok(&id, params)
            }
            "hang" => {
                let _dropped = Dropped(&self.dropped);
                self.started.happens();
                std::future::pending().await
            }
            // Sends `count` messages of `size` bytes, then answers; `gated` waits in between.
            "flood" => {
                let text = "x".repeat(usize::try_from(params["size"].as_u64().unwrap_or(1)).unwrap());
                for number in 0..params["count"].as_u64().unwrap() {
                    if notice(&outlet, "notifications/message", json!({"n": number, "text": text})) {
                        self.accepted.fetch_add(1, Ordering::SeqCst);
                    }
                }
                self.started.happens();
                if params["gated"] == true {
                    self.gate.comes().await;
                }
                ok(&id, json!({"done": true}))
            }
            "initialize" => {
                let result = json!({"protocolVersion": params["protocolVersion"], "capabilities": {}, "serverInfo": {}});
                let session = (peer.channel == Channel::Http).then(|| String::from("session-1"));
                Answer { session, ..ok(&id, result) }
            }
            "server/discover" => {
                ok(&id, json!({"resultType": "complete", "supportedVersions": ["2026-07-28"]}))
            }
            "tools/list" => ok(&id, page(&params)),
            "tools/call" => self.call(&id, &params, &peer, &outlet).await,
            _ => error(&id, 404, -32601),
        }
    }

    async fn call(&self, id: &Value, params: &Value, peer: &Peer, outlet: &Arc<dyn Outlet>) -> Answer {
        let own = &params["_meta"];
        let modern = own.get("io.modelcontextprotocol/protocolVersion").is_some();
        let question = json!({"method": "elicitation/create", "params": {"message": "Really?"}});
        match params["name"].as_str().unwrap() {
            "progress" => {
                for step in 1..=3 {
                    let token = own["progressToken"].clone();
                    notice(
                        outlet,
                        "notifications/progress",
                        json!({"progressToken": token, "progress": step}),
                    );
                }
                notice(outlet, "notifications/message", json!({"level": "info", "data": "half way"}));
                ok(id, json!({"content": []}))
            }
            "ask" if modern => {
                if params.get("inputResponses").is_none() {
                    let result = json!({
                        "resultType": "input_required", "inputRequests": {"q": question}, "requestState": "sealed"
                    });
                    return ok(id, result);
                }
                ok(id, json!({"answers": params["inputResponses"], "state": params["requestState"]}))
            }
            "ask" => {
                let (answer, answered) = oneshot::channel();
                self.waiting.lock().unwrap().insert("ask-1".into(), answer);
                let mut request = question;
                request["jsonrpc"] = json!("2.0");
                request["id"] = json!("ask-1");
                assert!(outlet.send(request.to_string()));
                let answer = within(answered).await.unwrap();
                ok(id, json!({"answers": {"q": answer["result"]}}))
            }
            "hang" => {
                let _dropped = Dropped(&self.dropped);
                self.started.happens();
                std::future::pending().await
            }
            "marked" => {
                let wanted = params["arguments"]["region"].as_str().map(|region| ("region", region));
                let given = peer.headers.params.first().map(|(name, value)| (name.as_str(), value.as_str()));
                if wanted == given { ok(id, json!({"content": []})) } else { error(id, 400, -32020) }
            }
            _ => error(id, 400, -32602),
        }
    }
}

fn page(params: &Value) -> Value {
    let tool = |name: &str, properties: Value| json!({"name": name, "inputSchema": {"type": "object", "properties": properties}});
    if params["cursor"] == "two" {
        return json!({"tools": [tool("marked", json!({"region": {"type": "string", "x-mcp-header": "Region"}}))]});
    }
    let broken = tool("broken", json!({"a": {"type": "array", "items": {"x-mcp-header": "A"}}}));
    json!({"tools": [tool("ask", json!({})), broken], "nextCursor": "two"})
}

impl Handler for Scripted {
    fn handle(&self, delivery: Delivery, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, Answer> {
        Box::pin(self.respond(delivery, peer, outlet))
    }

    fn listen(&self, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, Result<(), Answer>> {
        Box::pin(async move {
            if peer.headers.session.is_none() {
                return Err(Answer { status: 405, ..Answer::default() });
            }
            let _dropped = Dropped(&self.dropped);
            self.started.happens();
            notice(&outlet, "notifications/tools/list_changed", json!({}));
            self.gate.comes().await;
            Ok(())
        })
    }

    fn close(&self, peer: Peer) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            self.closed.happens();
            let status = if peer.headers.session.is_some() { 204 } else { 405 };
            Answer { status, ..Answer::default() }
        })
    }
}
