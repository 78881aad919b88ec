//! The HTTP endpoint, over real sockets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::clock::SystemClock;
use bartizan::identity::NoAuth;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use bartizan::transport::auth::Authenticator;
use bartizan::transport::http::{Endpoint, bind};
use bartizan::transport::{Config, TurnedAway, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Scripted, within};
use crate::support::shared;

/// What was refused, and the reads that callers were charged for large bodies: a hundred are theirs.
#[derive(Default)]
struct Refusals(Mutex<Vec<String>>, Mutex<u32>, Mutex<Option<TurnedAway>>);

impl Watch for Refusals {
    fn refused(&self, what: &'static str, peer: &str) {
        assert!(peer.starts_with("127.0.0.1:"));
        self.0.lock().unwrap().push(what.into());
    }

    fn turns_away(&self, _principal: &str) -> Option<TurnedAway> {
        *self.2.lock().unwrap()
    }

    fn weighs(&self, _principal: &str, reads: u32) -> Option<Duration> {
        let mut charged = self.1.lock().unwrap();
        *charged += reads;
        (*charged > 100).then_some(Duration::from_secs(7))
    }
}

struct Site {
    address: SocketAddr,
    server: Arc<Scripted>,
    refusals: Arc<Refusals>,
    shutdown: CancellationToken,
    done: JoinHandle<()>,
}

async fn site_with(config: Config, authenticator: Arc<dyn Authenticator>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, refusals) = (Arc::new(Scripted::default()), Arc::new(Refusals::default()));
    let shutdown = CancellationToken::new();
    let endpoint = Endpoint::new(server.clone(), authenticator, config).watched_by(refusals.clone());
    let stop = shutdown.clone();
    let done = tokio::spawn(async move { endpoint.serve(listener, stop).await.unwrap() });
    Site { address, server, refusals, shutdown, done }
}

async fn site(config: Config) -> Site {
    site_with(config, Arc::new(NoAuth::new())).await
}

fn call(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// The head of a POST that is as it should be.
const GOOD: &[(&str, &str)] = &[
    ("Host", "localhost"),
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
    ("Connection", "close"),
];

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// `changes` replace headers of [`GOOD`] of the same name, or are added; an empty value takes one away.
    fn post(path: &str, changes: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let changed = |name: &str| changes.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let mut text = format!("POST {path} HTTP/1.1\r\n");
        let kept = GOOD.iter().filter(|(name, _)| !changed(name));
        for (name, value) in kept.chain(changes.iter().filter(|(_, value)| !value.is_empty())) {
            text += &format!("{name}: {value}\r\n");
        }
        if !changed("Content-Length") && !changed("Transfer-Encoding") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        [text.as_bytes(), b"\r\n", body].concat()
    }

    async fn raw(&self, request: &[u8]) -> Response {
        let mut stream = self.connect().await;
        // A server that refuses early may close before all of it was sent.
        let _ = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = within(stream.read_to_end(&mut bytes)).await;
        Response::parse(&bytes)
    }

    async fn send(&self, changes: &[(&str, &str)], body: &str) -> Response {
        self.raw(&Self::post("/mcp", changes, body.as_bytes())).await
    }

    fn refusals(&self) -> Vec<String> {
        self.refusals.0.lock().unwrap().clone()
    }
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, text: &str) {
    let mut piece = [0; 4096];
    while !seen.contains(text) {
        let read = within(stream.read(&mut piece)).await.unwrap();
        assert!(read > 0, "the stream ended before {text:?}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}

// proves: http-json-or-stream
#[tokio::test]
async fn one_answer_is_one_json_body() {
    let site = site(Config::default()).await;
    let response = site
        .send(&[("Mcp-Method", "echo"), ("Mcp-Param-Region", "eu")], &call("echo", json!({"a": 1})))
        .await;
    assert_eq!(response.status, 200, "{}", response.head);
    assert!(response.head.contains("content-type: application/json"));
    assert!(!response.head.contains("mcp-session-id"));
    assert_eq!(response.json()["result"], json!({"a": 1}));
    let peers = site.server.peers.lock().unwrap();
    assert_eq!(peers[0].headers.method, ["echo"]);
    assert_eq!(peers[0].headers.params, [("region".to_owned(), "eu".to_owned())]);
    assert!(peers[0].gone.is_cancelled(), "the exchange is over");
}

#[tokio::test]
async fn what_the_server_decides_is_passed_on() {
    let site = site(Config::default()).await;
    assert_eq!(site.send(&[], &call("unheard", json!({}))).await.status, 404);
    let accepted = site.send(&[], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#).await;
    assert_eq!((accepted.status, accepted.body.as_str()), (202, ""));
    let opened = site.send(&[], &call("initialize", json!({"protocolVersion": "2025-11-25"}))).await;
    assert!(opened.head.contains("mcp-session-id: session-1"));
    let broken = site.send(&[], "{").await;
    assert_eq!((broken.status, &broken.json()["error"]["code"]), (400, &json!(-32700)));
    let crashed = site.send(&[], &call("panic", json!({}))).await;
    assert_eq!((crashed.status, &crashed.json()["error"]["code"]), (500, &json!(-32603)));
    assert_eq!(site.send(&[], &call("echo", json!({}))).await.status, 200);
}

// proves: http-json-or-stream, stream-not-buffered
#[tokio::test]
async fn the_first_message_turns_the_answer_into_a_stream() {
    let site = site(Config::default()).await;
    let response = site.send(&[], &call("flood", json!({"count": 3}))).await;
    assert!(response.head.contains("content-type: text/event-stream"), "{}", response.head);
    assert!(response.head.contains("x-accel-buffering: no"));
    let events: Vec<Value> = response
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["id"], 1, "the answer is last");
    assert!(response.body.ends_with("\n\n\r\n0\r\n\r\n"), "and nothing follows it");
}

// proves: stream-not-buffered
#[tokio::test]
async fn a_quiet_stream_is_kept_open_with_comments() {
    let site = site(Config { keep_alive: Duration::from_millis(20), ..Config::default() }).await;
    let mut stream = site.connect().await;
    let request = Site::post("/mcp", &[], call("flood", json!({"count": 1, "gated": true})).as_bytes());
    stream.write_all(&request).await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "data: ").await;
    read_until(&mut stream, &mut seen, "\r\n:\n\n").await;
    site.server.gate.happens();
    read_until(&mut stream, &mut seen, r#""done":true"#).await;
}

// proves: closed-stream-cancels
#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let site = site(Config::default()).await;
    for streaming in [false, true] {
        let mut stream = site.connect().await;
        let body = if streaming {
            call("flood", json!({"count": 1, "gated": true}))
        } else {
            call("hang", json!({}))
        };
        stream.write_all(&Site::post("/mcp", &[], body.as_bytes())).await.unwrap();
        site.server.started.seen().await;
        let gone = site.server.peers.lock().unwrap().last().unwrap().gone.clone();
        if streaming {
            read_until(&mut stream, &mut String::new(), "data: ").await;
        }
        assert!(!gone.is_cancelled());
        drop(stream);
        within(gone.cancelled()).await;
    }
    site.server.dropped.seen().await;
}

// proves: http-bounded
#[tokio::test]
async fn a_client_that_stops_reading_costs_a_bounded_amount() {
    let site = site(Config { queue_bytes: 100_000, ..Config::default() }).await;
    let mut stream = site.connect().await;
    let body = call("flood", json!({"count": 10_000, "size": 1000}));
    stream.write_all(&Site::post("/mcp", &[], body.as_bytes())).await.unwrap();
    site.server.started.seen().await;
    let accepted = site.server.accepted.load(std::sync::atomic::Ordering::SeqCst);
    assert!((50..=100).contains(&accepted), "{accepted}");
    read_until(&mut stream, &mut String::new(), r#""done":true"#).await;
}

// proves: origin-checked, host-checked
#[tokio::test]
async fn who_takes_nothing_is_cut_off() {
    let config =
        Config { queue_bytes: 64 << 20, write_timeout: Duration::from_millis(100), ..Config::default() };
    let site = site(config).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(site.address).await.unwrap();
    // more than all buffers of the operating system hold; the handler itself has no end
    let body = call("flood", json!({"count": 32, "size": 1_000_000, "gated": true}));
    stream.write_all(&Site::post("/mcp", &[], body.as_bytes())).await.unwrap();
    site.server.started.seen().await;
    let gone = site.server.peers.lock().unwrap()[0].gone.clone();
    within(gone.cancelled()).await;
    assert_eq!(site.send(&[], &call("echo", json!({}))).await.status, 200);
}

#[tokio::test]
async fn foreign_pages_and_names_are_turned_away_everywhere() {
    let config = Config {
        allowed_origins: vec!["https://app.example".into()],
        allowed_hosts: vec!["mcp.example".into()],
        ..Config::default()
    };
    let site = site(config).await;
    let own = format!("http://localhost:{}", site.address.port());
    let body = call("echo", json!({}));
    for origin in ["https://app.example", own.as_str()] {
        let response = site.send(&[("Origin", origin)], &body).await;
        assert_eq!(response.status, 200, "{origin}");
        assert!(response.head.contains(&format!("access-control-allow-origin: {origin}")));
    }
    for origin in ["https://evil.example", "null", "http://localhost:1", "https://app.example.evil.example"] {
        let response = site.send(&[("Origin", origin)], &body).await;
        assert_eq!((response.status, response.body.as_str()), (403, ""), "{origin}");
        for path in ["/healthz", "/mcp", "/nowhere"] {
            for method in ["GET", "DELETE", "OPTIONS"] {
                let text = format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
                );
                assert_eq!(site.raw(text.as_bytes()).await.status, 403, "{method} {path}");
            }
        }
    }
    let twice = [("Origin", "https://app.example"), ("Origin", "https://app.example")];
    assert_eq!(site.send(&twice, &body).await.status, 403);

    for (host, status) in
        [("mcp.example", 200), ("127.0.0.1:1", 200), ("evil.example", 403), ("localhost.evil", 403)]
    {
        assert_eq!(site.send(&[("Host", host)], &body).await.status, status, "{host}");
    }
    assert_eq!(site.send(&[("Host", "")], &body).await.status, 400);
    assert_eq!(site.send(&[("Host", "localhost"), ("Host", "localhost")], &body).await.status, 400);
    let absolute =
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(site.raw(absolute).await.status, 403);
    let refusals = site.refusals();
    for what in ["Origin not allowed", "more than one Origin", "Host not allowed"] {
        assert!(refusals.iter().any(|seen| seen == what), "{what}");
    }
}

// proves: http-shape
#[tokio::test]
async fn a_request_has_to_look_like_one() {
    let site = site(Config { body_limit: 1000, ..Config::default() }).await;
    let body = call("echo", json!({}));
    let huge = "1".to_owned() + &"0".repeat(30);
    for (changes, status) in [
        (&[("Accept", "application/json")][..], 406),
        (&[("Accept", "text/event-stream")], 406),
        (&[("Accept", "")], 406),
        (&[("Accept", "*/*")], 200),
        (&[("Content-Type", "text/plain")], 415),
        (&[("Content-Type", "")], 415),
        (&[("Content-Type", "application/json; charset=utf-8")], 200),
        (&[("Content-Encoding", "gzip")], 415),
        (&[("Content-Length", "1000000000")], 413),
    ] {
        let response = site.send(changes, &body).await;
        assert_eq!(response.status, status, "{changes:?}");
    }
    assert_eq!(site.send(&[("Content-Length", &huge)], &body).await.status, 400);
    let chunked = format!("1f4\r\n{}\r\n", "x".repeat(500)).repeat(3) + "0\r\n\r\n";
    let response = site.send(&[("Transfer-Encoding", "chunked")], &chunked).await;
    assert_eq!(response.status, 413, "a body without a length is counted while it is read");

    for (request, status) in [
        ("PUT /mcp", 405),
        ("GET /mcp", 406),
        ("DELETE /mcp", 405),
        ("GET /", 404),
        ("POST /healthz", 405),
        ("GET /healthz", 200),
        ("GET /healthz?access_token=x", 400),
        ("DELETE /mcp?api%5Fkey=x", 400),
    ] {
        let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let response = site.raw(text.as_bytes()).await;
        assert_eq!(response.status, status, "{request}");
        assert_eq!(response.head.contains("allow: "), status == 405, "{request}");
    }
    assert!(site.server.peers.lock().unwrap().len() == 2, "nothing refused has reached the server");
}

// proves: http-bounded
#[tokio::test]
async fn heads_are_bounded() {
    let site = site(Config { header_count: 20, header_bytes: 4000, ..Config::default() }).await;
    let many: Vec<String> = (0..30).map(|number| format!("X-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(site.send(&many, "").await.status, 431);
    assert_eq!(site.send(&[("X-Long", &"x".repeat(5000))], "").await.status, 431);
    assert_eq!(site.raw(b"POST /mcp\r\n\r\n").await.status, 400);
    // told once the connection has ended, which is after its answer
    within(async {
        while site.refusals().len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(site.refusals(), ["unreadable or oversized head"; 3]);
}

// proves: http-bounded
#[tokio::test]
async fn who_dawdles_is_cut_off() {
    let quick = Duration::from_millis(500);
    let site = site(Config { header_timeout: quick, body_timeout: quick, ..Config::default() }).await;
    let response = site.send(&[("Content-Length", "1000")], "{").await;
    assert_eq!((response.status, response.body.as_str()), (408, "body came too slowly"));
    let mut stream = site.connect().await;
    stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(site.send(&[], &call("echo", json!({}))).await.status, 200);
}

// proves: http-bounded
#[tokio::test]
async fn connections_are_bounded() {
    let site = site(Config { connections: 1, ..Config::default() }).await;
    let first = site.connect().await;
    let health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut second = Box::pin(site.raw(health));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err(),
        "it waits its turn"
    );
    drop(first);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn a_stranger_makes_room_and_who_was_let_in_stays() {
    let site = site(Config { connections: 2, ..Config::default() }).await;
    let (mut known, mut stranger) = (site.connect().await, site.connect().await);
    let kept = Site::post("/mcp", &[("Connection", "keep-alive")], call("echo", json!({"a": 1})).as_bytes());
    known.write_all(&kept).await.unwrap();
    read_until(&mut known, &mut String::new(), r#"{"a":1}"#).await;
    // whoever shows no key is a stranger, however often it asks how the server is
    stranger.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    read_until(&mut stranger, &mut String::new(), "ok\n").await;
    assert_eq!(within(site.send(&[], &call("echo", json!({})))).await.status, 200);
    assert_eq!(within(stranger.read(&mut [0; 10])).await.unwrap_or(0), 0, "it was sent away");
    known.write_all(&kept).await.unwrap();
    read_until(&mut known, &mut String::new(), r#"{"a":1}"#).await;
}

#[tokio::test]
async fn bodies_of_all_callers_share_one_room_and_each_has_at_most_half() {
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let [alice, bob, carol] = ["alice", "bob", "carol"]
        .map(|name| format!("Bearer {}", keys.mint(&Grant::named(name)).unwrap().key.expose()));
    let site =
        site_with(Config { held_bytes: 400_000, body_limit: 150_000, ..Config::default() }, keys).await;
    let large = |method| call(method, json!({"text": "x".repeat(140_000)}));
    let post = |key: &str, body: &str| Site::post("/mcp", &[("Authorization", key)], body.as_bytes());
    // all of it but its end: it is waited for, and counted
    let begun = post(&alice, &large("echo"));
    let (begun, end) = begun.split_at(begun.len() - 1);
    let mut first = site.connect().await;
    first.write_all(begun).await.unwrap();
    // the second finds no room, once the first has its place
    let refused = within(async {
        loop {
            let answer = site.raw(&post(&alice, &large("echo"))).await;
            // both are read at once: the first may be the one that finds no room
            if !matches!(first.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                first = site.connect().await;
                first.write_all(begun).await.unwrap();
            // reads come back a hundred a second, however often this asks
            } else if answer.status != 200 && answer.status != 429 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!((refused.status, refused.body.as_str()), (503, "no room for the body"));
    assert!(refused.head.contains("retry-after: 1") && refused.head.contains("connection: close"));
    assert_eq!(
        site.raw(&post(&alice, &call("echo", json!({})))).await.status,
        200,
        "a small one always fits"
    );
    // a body that is all there keeps its place until it is answered
    let mut second = site.connect().await;
    second.write_all(&post(&bob, &large("gated"))).await.unwrap();
    site.server.started.seen().await;
    assert_eq!(site.raw(&post(&bob, &large("echo"))).await.status, 503);
    assert_eq!(site.raw(&post(&carol, &large("echo"))).await.status, 503, "280,000 of 400,000 are taken");
    site.server.gate.happens();
    read_until(&mut second, &mut String::new(), "result").await;
    assert_eq!(within(site.raw(&post(&carol, &large("echo")))).await.status, 200);
    first.write_all(end).await.unwrap();
    read_until(&mut first, &mut String::new(), "200 OK").await;
    assert_eq!(within(site.raw(&post(&alice, &large("echo")))).await.status, 200);
}

#[tokio::test]
async fn a_large_body_is_charged_before_it_is_parsed_whatever_it_says() {
    let site = site(Config::default()).await;
    let text = "x".repeat(3 << 20);
    for body in [call("echo", json!({"small": true})), "no json".into()] {
        site.send(&[], &body).await;
    }
    assert_eq!(*site.refusals.1.lock().unwrap(), 0);
    assert_eq!(site.send(&[], &call("echo", json!({"text": text}))).await.json()["result"]["text"], text);
    assert_eq!(*site.refusals.1.lock().unwrap(), 48, "one for each 64 KiB");
    let broken = site.send(&[], &format!("[\"{text}\"")).await;
    assert_eq!(broken.json()["error"]["code"], -32700);
    let told =
        json!({"jsonrpc": "2.0", "method": "notifications/told", "params": {"text": text}}).to_string();
    let refused = site.send(&[], &told).await;
    assert_eq!((refused.status, refused.body.as_str()), (429, "too many large bodies"));
    assert!(refused.head.contains("retry-after: 7"), "{}", refused.head);
    assert_eq!(site.server.noticed.count(), 0);
}

// proves: http-authenticated
#[tokio::test]
async fn only_keys_open_the_door_and_guessing_is_slowed_down() {
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let key = keys.mint(&Grant::named("ci")).unwrap().key;
    let site = site_with(Config { failures_per_minute: 3, ..Config::default() }, keys).await;
    let good = format!("Bearer {}", key.expose());
    let body = call("who", json!({}));

    let missing = site.send(&[], &body).await;
    assert_eq!(missing.status, 401);
    assert!(missing.head.contains("www-authenticate: bearer"));
    assert_eq!(site.send(&[("Authorization", &good)], &body).await.json()["result"], "key:ci");
    for _ in 0..3 {
        let refused = site.send(&[("Authorization", "Bearer bz_guess_guess")], &body).await;
        assert_eq!(refused.status, 401);
        assert!(refused.head.contains("invalid_token"));
    }
    let slowed = site.send(&[("Authorization", "Bearer bz_guess_guess")], &body).await;
    assert_eq!(slowed.status, 429);
    assert!(slowed.head.contains("retry-after: "));
    // A guesser does not shut out who shares its address.
    assert_eq!(site.send(&[("Authorization", &good)], &body).await.json()["result"], "key:ci");
    assert_eq!(site.server.peers.lock().unwrap().len(), 2);
    assert_eq!(
        site.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.status,
        200
    );
    assert!(site.refusals().iter().any(|what| what == "unknown key"));
    for header in ["Bearer bz_guess_guess", &good] {
        assert!(!site.refusals().iter().any(|what| what.contains(header)));
    }
}

#[tokio::test]
async fn the_older_door_may_listen_and_close() {
    let site = site(Config::default()).await;
    let head = "Host: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\n";
    let refused = site.raw(format!("GET /mcp HTTP/1.1\r\n{head}\r\n").as_bytes()).await;
    assert_eq!(refused.status, 405);
    let mut stream = site.connect().await;
    stream
        .write_all(format!("GET /mcp HTTP/1.1\r\n{head}Mcp-Session-Id: s\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "list_changed").await;
    drop(stream);
    site.server.started.seen().await;
    site.server.dropped.seen().await;
    let closed =
        site.raw(format!("DELETE /mcp HTTP/1.1\r\n{head}Mcp-Session-Id: s\r\n\r\n").as_bytes()).await;
    assert_eq!(closed.status, 204);
    site.server.closed.seen().await;
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_waits_for_nobody_for_ever() {
    let site = site(Config { drain: Duration::from_secs(1), ..Config::default() }).await;
    let mut patient = site.connect().await;
    patient.write_all(&Site::post("/mcp", &[], call("gated", json!({"a": 1})).as_bytes())).await.unwrap();
    site.server.started.seen().await;
    let mut stuck = site.connect().await;
    stuck.write_all(&Site::post("/mcp", &[], call("hang", json!({})).as_bytes())).await.unwrap();
    site.server.started.seen().await;
    let mut idle = site.connect().await;
    site.shutdown.cancel();
    site.server.gate.happens();
    let mut bytes = Vec::new();
    within(patient.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(Response::parse(&bytes).json()["result"], json!({"a": 1}));
    within(site.done).await.unwrap();
    site.server.dropped.seen().await;
    let mut rest = Vec::new();
    let _ = within(idle.read_to_end(&mut rest)).await;
    assert!(TcpStream::connect(site.address).await.is_err());
}

// proves: listen-safely
#[tokio::test]
async fn addresses_that_must_not_be_opened_are_not() {
    let config = |listen: &str, plain| Config {
        listen: Some(listen.into()),
        insecure_plaintext: plain,
        ..Config::default()
    };
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    for (config, open, said) in [
        (config(&busy, false), false, "another program uses that port"),
        (config("0.0.0.0:0", true), true, "Without authentication"),
        (config("0.0.0.0:0", false), false, "insecure_plaintext"),
        (config("nonsense", false), false, "HOST:PORT"),
    ] {
        let error = bind(&config, open).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
    assert!(bind(&config("127.0.0.1:0", false), true).await.is_ok());
    assert!(bind(&config("0.0.0.0:0", true), false).await.is_ok());
    let everywhere = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let endpoint = Endpoint::new(Arc::new(Scripted::default()), Arc::new(NoAuth::new()), config("", true));
    assert!(
        endpoint.serve(everywhere, CancellationToken::new()).await.is_err(),
        "nor when it is open already"
    );
}

// proves: json-bounded
#[tokio::test]
async fn the_public_json_suite_behaves_through_the_endpoint() {
    let Some(archive) = shared("corpora/jsontestsuite.tar.gz") else { return };
    let folder = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    let site = site(Config::default()).await;
    let (mut accepted, mut duplicates, mut rejected) = (0, 0, 0);
    for entry in std::fs::read_dir(folder.path().join("test_parsing")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let response = site.raw(&Site::post("/mcp", &[], &std::fs::read(&path).unwrap())).await;
        let code = response.json()["error"]["code"].as_i64();
        match name.split('_').next().unwrap() {
            "y" if name.contains("duplicated_key") => {
                duplicates += 1;
                assert_eq!(code, Some(-32700), "{name}");
            }
            "y" => {
                accepted += 1;
                assert_eq!(code, Some(-32600), "{name}");
            }
            "n" => {
                rejected += 1;
                assert_eq!(code, Some(-32700), "{name}");
            }
            _ => assert!(matches!(code, Some(-32700 | -32600)), "{name}"),
        }
    }
    assert_eq!((accepted, duplicates, rejected), (93, 2, 188));
    assert_eq!(site.send(&[], &call("echo", json!({}))).await.status, 200);
}

#[tokio::test]
async fn who_has_nothing_left_is_told_so_in_headers_before_anything_is_read() {
    let site = site(Config::default()).await;
    let body = call("who", json!({}));
    assert_eq!(site.send(&[], &body).await.status, 200);
    let away = TurnedAway {
        why: "nothing is left",
        after: Duration::from_millis(6_200),
        quota: Some(("daily", 5000, 86_400)),
    };
    *site.refusals.2.lock().unwrap() = Some(away);
    let told = site.send(&[], "no JSON at all").await;
    assert_eq!(told.status, 429);
    for header in [
        "retry-after: 7",
        "ratelimit: \"daily\";r=0;t=7",
        "ratelimit-policy: \"daily\";q=5000;w=86400",
        "x-ratelimit-limit: 5000",
        "x-ratelimit-remaining: 0",
        "x-ratelimit-reset: 7",
    ] {
        assert!(told.head.contains(header), "{header} in {}", told.head);
    }
    *site.refusals.2.lock().unwrap() = Some(TurnedAway { quota: None, ..away });
    let told = site.send(&[], &body).await;
    assert!(told.status == 429 && !told.head.contains("ratelimit"), "{}", told.head);
    *site.refusals.2.lock().unwrap() = None;
    assert_eq!(site.send(&[], &body).await.status, 200);
}
