//! Streams of the older door over real sockets: broken off, picked up, closed on purpose, and let go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bartizan::clock::SystemClock;
use bartizan::identity::NoAuth;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use bartizan::pipeline::{Approved, BoxFuture, Context, Halt, Reply, Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::protocol::Revision;
use bartizan::protocol::types::{LogLevel, ToolResult};
use bartizan::schema::LazySchema;
use bartizan::server::{Config, Held};
use bartizan::transport::Channel;
use bartizan::transport::auth::Authenticator;
use bartizan::transport::http::Endpoint;
use bartizan::transport::{self};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::scripted::{Event, within};
use crate::stage;
use crate::support::{Script, World, in_time, world_with};

/// Says `first`, waits for the gate, says `second`, answers. `pause` lets the client go after `first`.
pub(crate) struct Relay {
    spec: ToolSpec,
    pub(crate) started: Event,
    pub(crate) gate: Event,
    pub(crate) dropped: Arc<AtomicUsize>,
}

impl Relay {
    pub(crate) fn new() -> Arc<Self> {
        let pause = json!({"type": "object", "properties": {"pause": {"type": "boolean"}}});
        let spec = ToolSpec { effect: Effect::Read, input: LazySchema::new(pause), ..ToolSpec::new("relay") };
        Arc::new(Self { spec, started: Event::default(), gate: Event::default(), dropped: Arc::default() })
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Tool for Relay {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let _dropped = Dropped(Arc::clone(&self.dropped));
            if call.arguments().get("pause") == Some(&json!(true)) {
                context.voice.pause();
            } else {
                context.voice.log(LogLevel::Error, None, &json!("first"));
            }
            self.started.happens();
            self.gate.seen().await;
            context.voice.log(LogLevel::Error, None, &json!("second"));
            Ok(Reply::Tool(ToolResult::text("answered")))
        })
    }
}

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) world: World,
    pub(crate) relay: Arc<Relay>,
    pub(crate) shutdown: CancellationToken,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn site_with(config: Config, http: transport::Config, who: Arc<dyn Authenticator>) -> Site {
    let relay = Relay::new();
    let mut tools = stage::all();
    tools.push(relay.clone());
    let world = world_with(tools, "admin", config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let endpoint = Endpoint::new(world.server.clone(), who, http);
    tokio::spawn(endpoint.serve(listener, shutdown.clone()));
    Site { address, world, relay, shutdown }
}

async fn site(config: Config) -> Site {
    site_with(config, transport::Config::default(), Arc::new(NoAuth::new())).await
}

/// One request on a connection of its own, and what has come of it.
pub(crate) struct Stream {
    socket: TcpStream,
    pub(crate) seen: String,
}

impl Stream {
    pub(crate) async fn open(address: SocketAddr, head: &str, body: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{head}Host: localhost\r\n{length}Connection: close\r\n\r\n{body}");
        socket.write_all(text.as_bytes()).await.unwrap();
        Self { socket, seen: String::new() }
    }

    pub(crate) async fn until(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !self.seen.contains(text) {
            let read = within(self.socket.read(&mut piece)).await.unwrap();
            assert!(read > 0, "the stream ended before {text:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }

    /// Everything there is.
    pub(crate) async fn end(mut self) -> String {
        let mut rest = Vec::new();
        let _ = within(self.socket.read_to_end(&mut rest)).await;
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        self.seen
    }
}

pub(crate) fn status(text: &str) -> u16 {
    text.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {text}")).parse().unwrap()
}

/// The ids of the events, in order.
fn ids(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

/// The messages, in order.
fn messages(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}

struct Client {
    address: SocketAddr,
    session: String,
    key: String,
}

fn hello() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": Revision::NEWEST_HANDSHAKE.name(), "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"}
    }})
}

impl Client {
    async fn open(site: &Site) -> Self {
        Self::with_key(site, "").await
    }

    async fn with_key(site: &Site, key: &str) -> Self {
        let mut client = Self { address: site.address, session: String::new(), key: key.into() };
        let answer = client.send("POST", "", &hello().to_string()).await.end().await;
        let line = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        client.session = line.expect("a session").to_owned();
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        assert_eq!(status(&client.send("POST", "", &ready).await.end().await), 202);
        client
    }

    async fn send(&self, method: &str, more: &str, body: &str) -> Stream {
        let session = match self.session.as_str() {
            "" => String::new(),
            session => format!("Mcp-Session-Id: {session}\r\n"),
        };
        let key = match self.key.as_str() {
            "" => String::new(),
            key => format!("Authorization: Bearer {key}\r\n"),
        };
        let head = format!(
            "{method} /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\n\
             Content-Type: application/json\r\n{session}{key}{more}"
        );
        Stream::open(self.address, &head, body).await
    }

    async fn post(&self, method: &str, params: Value) -> Stream {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        self.send("POST", "", &body).await
    }

    async fn relay(&self, pause: bool) -> Stream {
        self.post("tools/call", json!({"name": "relay", "arguments": {"pause": pause}})).await
    }

    async fn resume(&self, id: &str) -> Stream {
        self.send("GET", &format!("Last-Event-ID: {id}\r\n"), "").await
    }
}

// proves: stream-resumed
#[tokio::test]
async fn a_stream_that_broke_off_is_picked_up_where_it_was_and_the_call_went_on() {
    let site = site(Config::default()).await;
    let client = Client::open(&site).await;
    let mut first = client.relay(false).await;
    first.until("\"first\"").await;
    let seen = ids(&first.seen);
    assert_eq!(seen.len(), 2, "an id to come back with, then the message: {}", first.seen);
    assert!(first.seen.contains("x-accel-buffering: no"));
    drop(first);
    site.relay.gate.happens();
    let rest = client.resume(&seen[1]).await.end().await;
    assert_eq!(status(&rest), 200);
    assert!(rest.contains("content-type: text/event-stream"), "{rest}");
    let heard = messages(&rest);
    assert_eq!(heard[0]["params"]["data"], "second");
    assert_eq!((&heard[1]["id"], heard.len()), (&json!(7), 2), "{rest}");
    // and from the very beginning, as often as it takes
    let again = messages(&client.resume(&seen[0]).await.end().await);
    assert_eq!(again.len(), 3);
    assert_eq!(again[2]["result"]["content"][0]["text"], "answered");
}

// proves: stream-polled
#[tokio::test]
async fn a_client_is_sent_away_and_comes_back_for_the_answer() {
    let site = site(Config { retry_ms: 250, ..Config::default() }).await;
    let client = Client::open(&site).await;
    let sent_away = client.relay(true).await.end().await;
    let body = sent_away.split_once("\r\n\r\n").unwrap().1;
    assert!(body.contains("retry: 250\n") && messages(body).is_empty(), "{sent_away}");
    let id = &ids(&sent_away)[0];
    let mut back = client.resume(id).await;
    back.until(":\n\n").await;
    site.relay.gate.happens();
    let rest = back.end().await;
    let heard = messages(&rest);
    assert_eq!((heard.len(), &heard[1]["id"]), (2, &json!(7)), "{rest}");
    assert_eq!(ids(&rest).len(), 2, "what is said later can be picked up as well");
}

#[tokio::test]
async fn an_answer_in_one_piece_costs_nothing_and_has_no_id() {
    let site = site(Config::default()).await;
    let client = Client::open(&site).await;
    let params = json!({"name": "echo", "arguments": {"text": "x"}});
    let answer = client.post("tools/call", params).await.end().await;
    assert!(answer.contains("content-type: application/json"), "{answer}");
    assert_eq!(site.world.server.held().bytes, 0);
}

// proves: stream-ids-owned
#[tokio::test]
async fn an_id_of_another_session_and_a_made_up_one_are_refused_alike() {
    let site = site(Config::default()).await;
    let (alice, bob) = (Client::open(&site).await, Client::open(&site).await);
    let mut stream = alice.relay(false).await;
    stream.until("\"first\"").await;
    let id = ids(&stream.seen)[0].clone();
    let foreign = bob.resume(&id).await.end().await;
    let made_up = bob.resume("0123456789abcdef-1").await.end().await;
    let garbage = bob.resume("../../etc/passwd").await.end().await;
    let twice = bob.send("GET", &format!("Last-Event-ID: {id}\r\nLast-Event-ID: {id}\r\n"), "").await;
    for answer in [&foreign, &made_up, &garbage, &twice.end().await] {
        assert_eq!(status(answer), 400, "{answer}");
        assert!(messages(answer).is_empty());
    }
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&foreign), body(&made_up));
    // the newer door knows neither sessions nor ids
    let newer = format!("Last-Event-ID: {id}\r\nMCP-Protocol-Version: {}\r\n", Revision::NEWEST.name());
    assert_eq!(status(&alice.send("GET", &newer, "").await.end().await), 405);
    site.relay.gate.happens();
    assert_eq!(messages(&stream.end().await).len(), 3, "its own stream was not touched");
}

#[tokio::test]
async fn a_session_of_another_key_is_unknown_whatever_is_asked_of_it() {
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let (alice, bob) = (keys.mint(&Grant::named("alice")).unwrap(), keys.mint(&Grant::named("bob")).unwrap());
    let site = site_with(Config::default(), transport::Config::default(), keys).await;
    let mut client = Client::with_key(&site, alice.key.expose()).await;
    let mut stream = client.relay(false).await;
    stream.until("\"first\"").await;
    let id = ids(&stream.seen)[0].clone();
    client.key = bob.key.expose().into();
    for answer in [
        client.resume(&id).await.end().await,
        client.send("GET", "", "").await.end().await,
        client.send("DELETE", "", "").await.end().await,
        client.post("tools/list", json!({})).await.end().await,
    ] {
        assert_eq!(status(&answer), 404, "{answer}");
    }
    site.relay.gate.happens();
    assert_eq!(messages(&stream.end().await).len(), 3);
}

#[tokio::test]
async fn the_standing_stream_is_picked_up_as_well() {
    let site = site(Config::default()).await;
    let client = Client::open(&site).await;
    let mut listening = client.send("GET", "", "").await;
    listening.until("data: \n\n").await;
    let id = ids(&listening.seen)[0].clone();
    drop(listening);
    site.world.catalog.add(vec![stage::writer()]).unwrap();
    let mut back = client.resume(&id).await;
    back.until("notifications/tools/list_changed").await;
    assert!(site.world.catalog.remove(bartizan::catalog::List::Tools, "writer"));
    let mut newest = client.send("GET", "", "").await;
    newest.until("data: \n\n").await;
    assert_eq!(messages(&back.end().await).len(), 2, "a newer stream ends the former in order");
    assert!(messages(&newest.seen).is_empty(), "a new beginning repeats nothing");
    let deleted = client.send("DELETE", "", "").await.end().await;
    assert_eq!(status(&deleted), 204);
    newest.end().await;
    assert_eq!(status(&client.resume(&id).await.end().await), 404);
}

#[tokio::test]
async fn who_never_comes_back_is_cancelled_and_so_is_who_ended_the_session() {
    for ends in [false, true] {
        let seconds = if ends { 3600 } else { 0 };
        let site = site(Config { resume_seconds: seconds, ..Config::default() }).await;
        let client = Client::open(&site).await;
        let mut stream = client.relay(false).await;
        stream.until("\"first\"").await;
        drop(stream);
        if ends {
            assert_eq!(status(&client.send("DELETE", "", "").await.end().await), 204);
        }
        within(async {
            while site.relay.dropped.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if ends {
            let Held { sessions, bytes, .. } = site.world.server.held();
            assert_eq!((sessions, bytes), (0, 0));
        }
    }
}

#[tokio::test]
async fn where_nothing_is_kept_a_lost_stream_is_a_cancelled_call() {
    let site = site(Config { replay_events: 0, ..Config::default() }).await;
    let client = Client::open(&site).await;
    let mut stream = client.relay(false).await;
    stream.until("\"first\"").await;
    assert!(ids(&stream.seen).is_empty());
    drop(stream);
    within(async {
        while site.relay.dropped.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(status(&client.resume("0123456789abcdef-1").await.end().await), 400);
}

// proves: sessions-leave-nothing
#[tokio::test]
async fn ten_thousand_sessions_come_and_go_and_nothing_stays() {
    let site = site(Config::default()).await;
    let server = &site.world.server;
    let one = server.held();
    let closed = || Script::closed(&site.world, Channel::Http, Revision::NEWEST_HANDSHAKE);
    for round in 0..10_000 {
        let mut client = closed();
        client.session = client.send(hello()).await.session;
        assert!(server.held().sessions <= 513, "one caller has at most its share");
        if round % 2 == 0 {
            assert_eq!(client.close().await.status, 204);
        }
    }
    assert!(server.held().sessions <= 512);
    site.world.clock.advance(Duration::from_secs(Config::default().session_idle_seconds));
    // any use of any session is enough to let the idle ones go
    let mut last = closed();
    last.session = Some("nobody's".into());
    assert_eq!(last.ask("tools/list", json!({})).await.answer.status, 404);
    assert_eq!(server.held(), one);
}

/// Opens a stream of each kind with a key: a call that is under way, the standing one, a subscription.
async fn streams_of(site: &Site, key: &str) -> Vec<Stream> {
    let client = Client::with_key(site, key).await;
    let mut call = client.relay(false).await;
    call.until("\"first\"").await;
    let mut standing = client.send("GET", "", "").await;
    standing.until("data: \n\n").await;
    let newest = Revision::NEWEST.name();
    let listen = json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {
        "notifications": {"toolsListChanged": true},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": newest,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    }});
    let stateless = Client { session: String::new(), ..client };
    let more = format!("MCP-Protocol-Version: {newest}\r\nMcp-Method: subscriptions/listen\r\n");
    let mut subscription = stateless.send("POST", &more, &listen.to_string()).await;
    subscription.until("notifications/subscriptions/acknowledged").await;
    vec![call, standing, subscription]
}

#[tokio::test]
async fn open_streams_end_when_their_key_is_taken_back_or_runs_out() {
    let folder = tempfile::tempdir().unwrap();
    let clock = bartizan::clock::ManualClock::at(Duration::from_secs(1_000_000));
    let keys = KeyStore::open(folder.path(), clock.clone()).unwrap();
    let ends = Grant { expires: Some(Duration::from_secs(1_000_060)), ..Grant::named("ends") };
    let ends = keys.mint(&ends).unwrap();
    let kept = keys.mint(&Grant::named("kept")).unwrap();
    let site = site_with(Config::default(), transport::Config::default(), keys.clone()).await;
    let of_ends = streams_of(&site, ends.key.expose()).await;
    let mut of_kept = streams_of(&site, kept.key.expose()).await;
    let other = KeyStore::open(folder.path(), SystemClock::shared()).unwrap();
    let mut tries = Vec::new();
    loop {
        let before = tries.len();
        let lost = keys.mint(&Grant::named("lost")).unwrap();
        let of_lost = streams_of(&site, lost.key.expose()).await;
        assert_eq!(site.relay.dropped.load(Ordering::SeqCst), before);
        // another process takes the key back
        assert!(other.revoke(&lost.id).unwrap());
        let revoked = std::time::Instant::now();
        for stream in of_lost {
            let text = stream.end().await;
            assert!(!text.contains("answered"), "{text}");
        }
        let kept = in_time(&mut tries, revoked.elapsed());
        within(async {
            while site.relay.dropped.load(Ordering::SeqCst) <= before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let dropped = site.relay.dropped.load(Ordering::SeqCst);
        assert_eq!(dropped, before + 1, "its call is cancelled; the others' go on");
        if kept {
            break;
        }
    }

    clock.advance(Duration::from_mins(1));
    for stream in of_ends {
        stream.end().await;
    }
    for _ in 0..3 {
        site.relay.gate.happens();
    }
    of_kept[0].until("answered").await;
    site.world.catalog.add(vec![stage::writer()]).unwrap();
    of_kept[1].until("tools/list_changed").await;
    of_kept[2].until("tools/list_changed").await;
}

#[test]
fn one_name_is_not_given_to_two_tenants() {
    let folder = tempfile::tempdir().unwrap();
    let clock = bartizan::clock::ManualClock::at(Duration::from_secs(1_000_000));
    let of = |tenant: Option<&str>| Grant { tenant: tenant.map(String::from), ..Grant::named("ci") };
    let stores = [KeyStore::open(folder.path(), clock.clone()), KeyStore::in_memory(clock)];
    for store in stores.map(Result::unwrap) {
        let first = store.mint(&of(Some("acme"))).unwrap();
        store.mint(&of(Some("acme"))).unwrap();
        for other in [None, Some("globex")] {
            let refused = store.mint(&of(other)).map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), bartizan::error::Kind::BadConfig);
        }
        assert_eq!(store.list().len(), 2);
        assert!(store.revoke(&first.id).unwrap());
        assert!(store.mint(&of(None)).is_err(), "the other key of that name is still there");
    }
}
