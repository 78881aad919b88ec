//! HTTP/2 on the same port, draining behind a balancer, and compressed answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bartizan::clock::SystemClock;
use bartizan::identity::NoAuth;
use bartizan::identity::keys::KeyStore;
use bartizan::json::{Value, json};
use bartizan::transport::Config;
use bartizan::transport::auth::Authenticator;
use bartizan::transport::http::Endpoint;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Scripted, within};
use crate::streams::{Stream, status};

struct Site {
    address: SocketAddr,
    server: Arc<Scripted>,
    shutdown: CancellationToken,
    done: JoinHandle<()>,
}

async fn site(config: Config) -> Site {
    site_with(config, Arc::new(NoAuth::new())).await
}

async fn site_with(config: Config, authenticator: Arc<dyn Authenticator>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, shutdown) = (Arc::new(Scripted::default()), CancellationToken::new());
    let endpoint = Endpoint::new(server.clone(), authenticator, config);
    let stop = shutdown.clone();
    let done = tokio::spawn(async move { endpoint.serve(listener, stop).await.unwrap() });
    Site { address, server, shutdown, done }
}

struct Client {
    sender: SendRequest<Full<Bytes>>,
    ended: JoinHandle<()>,
}

fn call(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn request(changes: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post("http://localhost/mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::from(body.to_owned()))
        .unwrap();
    for (name, value) in changes {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

impl Client {
    async fn open(address: SocketAddr) -> Self {
        Self::with_window(address, 1 << 20).await
    }

    /// `window` is how many bytes of an answer may be sent before some were taken.
    async fn with_window(address: SocketAddr, window: u32) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        let ended = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, ended }
    }

    fn start(&self, request: Request<Full<Bytes>>) -> JoinHandle<hyper::Result<Response<Incoming>>> {
        let mut sender = self.sender.clone();
        tokio::spawn(async move {
            sender.ready().await?;
            sender.send_request(request).await
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        within(self.start(request)).await.unwrap().unwrap()
    }

    async fn post(&self, changes: &[(&str, &str)], body: &str) -> (StatusCode, Bytes) {
        read(self.send(request(changes, body)).await).await
    }
}

async fn read(response: Response<Incoming>) -> (StatusCode, Bytes) {
    let status = response.status();
    (status, within(response.into_body().collect()).await.unwrap().to_bytes())
}

#[tokio::test]
async fn one_connection_carries_many_exchanges_and_streams() {
    let site = site(Config::default()).await;
    let client = Client::open(site.address).await;
    let calls: Vec<_> =
        (0..50).map(|number| client.start(request(&[], &call("echo", json!({"n": number}))))).collect();
    for (number, call) in calls.into_iter().enumerate() {
        let (status, body) = read(within(call).await.unwrap().unwrap()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["result"]["n"]), (StatusCode::OK, &json!(number)));
    }
    let stream = client.send(request(&[], &call("flood", json!({"count": 3})))).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    let events = read(stream).await.1;
    assert_eq!(String::from_utf8_lossy(&events).matches("data: ").count(), 4);
    site.server.started.seen().await;
    // who lets go of one exchange cancels that one
    let hanging = client.start(request(&[], &call("hang", json!({}))));
    site.server.started.seen().await;
    hanging.abort();
    site.server.dropped.seen().await;
    assert_eq!(client.post(&[], &call("echo", json!({}))).await.0, StatusCode::OK);
    // and HTTP/1.1 is spoken on the same port
    let older = Stream::open(site.address, "GET /healthz HTTP/1.1\r\n", "").await.end().await;
    assert_eq!(status(&older), 200);
}

#[tokio::test]
async fn the_same_rules_hold() {
    let config = Config { body_limit: 1000, header_bytes: 4000, ..Config::default() };
    let site = site(config).await;
    let client = Client::open(site.address).await;
    let echo = call("echo", json!({}));
    let long = "x".repeat(8000);
    for (changes, expected) in [
        (&[("origin", "https://evil.example")][..], 403),
        (&[("host", "evil.example")][..], 403),
        (&[("content-type", "text/plain")][..], 415),
        (&[("accept", "text/html")][..], 406),
        (&[("x-long", long.as_str())][..], 431),
    ] {
        assert_eq!(client.post(changes, &echo).await.0.as_u16(), expected);
    }
    assert_eq!(client.post(&[], &call("echo", json!({"long": "x".repeat(2000)}))).await.0.as_u16(), 413);
    let mut elsewhere = request(&[], &echo);
    *elsewhere.uri_mut() = "http://evil.example/mcp".parse().unwrap();
    assert_eq!(client.send(elsewhere).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(client.post(&[], &echo).await.0, StatusCode::OK, "and the connection goes on");
}

#[tokio::test]
async fn exchanges_at_once_are_bounded_and_resets_buy_nothing() {
    let site = site(Config { http2_streams: 2, ..Config::default() }).await;
    let client = Client::open(site.address).await;
    // what the server allows is known once it has answered
    client.post(&[], &call("echo", json!({}))).await;
    let gated: Vec<_> = (0..3).map(|_| client.start(request(&[], &call("gated", json!({}))))).collect();
    site.server.started.seen().await;
    site.server.started.seen().await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.server.started.count(), 0, "the third waits");
    (0..3).for_each(|_| site.server.gate.happens());
    for call in gated {
        assert_eq!(within(call).await.unwrap().unwrap().status(), StatusCode::OK);
    }
    // streams opened and reset as fast as they go: whatever began is cancelled, and nobody else notices
    let flood = Client::open(site.address).await;
    for _ in 0..2000 {
        let one = flood.start(request(&[], &call("hang", json!({}))));
        tokio::task::yield_now().await;
        one.abort();
    }
    drop(flood);
    assert_eq!(client.post(&[], &call("echo", json!({}))).await.0, StatusCode::OK);
    let peers: Vec<_> = site.server.peers.lock().unwrap().iter().map(|peer| peer.gone.clone()).collect();
    for gone in peers {
        within(gone.cancelled()).await;
    }
}

#[tokio::test]
async fn who_says_nothing_and_who_says_half_are_cut_off() {
    let site = site(Config { header_timeout: Duration::from_millis(500), ..Config::default() }).await;
    for half in ["", "PRI", "PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    let idle = Client::open(site.address).await;
    assert_eq!(idle.post(&[], &call("echo", json!({}))).await.0, StatusCode::OK);
    within(idle.ended).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_and_so_does_a_connection_of_nothing_else() {
    let quick = Duration::from_millis(500);
    let config = Config { write_timeout: quick, header_timeout: quick, ..Config::default() };
    let site = site_with(config, KeyStore::in_memory(SystemClock::shared()).unwrap()).await;
    // no window at all, and no key: the socket takes every byte, the refusal has nowhere to go
    let client = Client::with_window(site.address, 0).await;
    let refused = client.send(request(&[], &call("echo", json!({})))).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(within(refused.into_body().collect()).await.is_err(), "the exchange was reset");
    within(client.ended).await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_one_stream_loses_that_one_only() {
    // long enough that a busy machine, which lets this thread wait, is not taken for a client that does not read
    let config = Config {
        write_timeout: Duration::from_secs(3),
        keep_alive: Duration::from_millis(50),
        queue_bytes: 64 << 20,
        ..Config::default()
    };
    let site = site(config).await;
    let client = Client::with_window(site.address, 20_000).await;
    // little is said on this one, and it is read
    let mut quiet =
        client.send(request(&[], &call("flood", json!({"count": 1, "gated": true})))).await.into_body();
    site.server.started.seen().await;
    let mut ignored = Vec::new();
    for size in [10_000, 200_000] {
        let params = json!({"count": 20, "size": size, "gated": true});
        ignored.push(client.send(request(&[], &call("flood", params))).await);
        site.server.started.seen().await;
    }
    let peers: Vec<_> = site.server.peers.lock().unwrap().iter().map(|peer| peer.gone.clone()).collect();
    for gone in &peers[1..] {
        within(gone.cancelled()).await;
    }
    for response in ignored {
        assert!(within(response.into_body().collect()).await.is_err());
    }
    for _ in 0..20 {
        assert!(within(quiet.frame()).await.unwrap().is_ok());
    }
    assert!(!peers[0].is_cancelled());
    let text = "x".repeat(300_000);
    let (status, body) = client.post(&[], &call("echo", json!({"text": text}))).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["result"]["text"], text.as_str(), "in pieces, and whole");
}

#[tokio::test]
async fn a_server_that_stops_says_so_first_and_finishes_what_runs() {
    let site = site(Config { drain_delay: Duration::from_secs(3), ..Config::default() }).await;
    let get = async |path: &str| {
        Stream::open(site.address, &format!("GET {path} HTTP/1.1\r\n"), "").await.end().await
    };
    assert_eq!(status(&get("/readyz").await), 200);
    let client = Client::open(site.address).await;
    let running = client.start(request(&[], &call("gated", json!({"kept": true}))));
    site.server.started.seen().await;
    let mut kept = TcpStream::connect(site.address).await.unwrap();
    site.shutdown.cancel();
    within(async {
        while status(&get("/readyz").await) == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let not_ready = get("/readyz").await;
    assert_eq!(status(&not_ready), 503, "{not_ready}");
    assert_eq!(status(&get("/healthz").await), 200);
    // a connection that would be kept is told not to be
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    within(kept.read_to_string(&mut text)).await.unwrap();
    assert!(text.to_lowercase().contains("connection: close"), "{text}");
    // GOAWAY: nothing new on it, and what runs is answered
    site.server.gate.happens();
    let (status, body) = read(within(running).await.unwrap().unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&body).contains("kept"));
    within(client.ended).await.unwrap();
    within(site.done).await.unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn large_answers_are_compressed_where_that_was_asked_for_on_both_sides() {
    let text = "so many words ".repeat(2000);
    let body = call("echo", json!({"text": text}));
    for from in [0, 10_000] {
        let site = site(Config { compress_from: from, ..Config::default() }).await;
        let client = Client::open(site.address).await;
        let asked = async |coding: &str, body: &str| {
            let response = client.send(request(&[("accept-encoding", coding)], body)).await;
            let header =
                |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let (coding, vary) = (header("content-encoding"), header("vary"));
            (coding, vary, read(response).await.1)
        };
        let (coding, vary, bytes) = asked("gzip, br", &body).await;
        if from == 0 {
            assert_eq!((coding, vary), (None, None), "off unless it is switched on");
            continue;
        }
        assert_eq!((coding.as_deref(), vary.as_deref()), (Some("gzip"), Some("accept-encoding")));
        assert!(bytes.len() < 2000, "{}", bytes.len());
        let mut plain = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&plain).unwrap()["result"]["text"], text.as_str());
        for refused in ["gzip;q=0", "br", "identity"] {
            let (coding, vary, bytes) = asked(refused, &body).await;
            assert_eq!((coding, vary.as_deref()), (None, Some("accept-encoding")), "{refused}");
            assert!(bytes.len() > text.len());
        }
        assert_eq!(asked("gzip", &call("echo", json!({}))).await.0, None, "too small to be worth it");
        let stream = asked("gzip", &call("flood", json!({"count": 30, "size": 1000}))).await;
        assert_eq!(stream.0, None, "never a stream");
    }
}
