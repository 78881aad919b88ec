//! How much an upstream sees: never more than it says, nothing while it is given up, and what is told of that.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bartizan::app::{App, Extra};
use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::error::Kind;
use bartizan::http::credentials::Open;
use bartizan::http::{Client, Config, Method, Request, Settings, Watch};
use bartizan::json::Map;
use bartizan::redaction::Redactor;

use crate::loopback::{Upstream, answer, with_header};

const S: Duration = Duration::from_secs(1);

fn client(upstream: &Upstream, egress: &Config, clock: SharedClock) -> Client {
    let redactor = Redactor::new(&bartizan::redaction::Config::default()).unwrap();
    Client::new(Settings::new("widgets", upstream.base(), egress), Arc::new(Open), redactor, clock).unwrap()
}

fn get(upstream: &Upstream) -> Request {
    Request::new(Method::GET, upstream.url("/x"))
}

/// What was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Watch for Told {
    fn opened(&self, upstream: &str, _: &str, pause: Duration) {
        self.0.lock().unwrap().push(format!("{upstream} opened {}", pause.as_secs()));
    }

    fn closed(&self, upstream: &str, _: &str) {
        self.0.lock().unwrap().push(format!("{upstream} closed"));
    }

    fn limited(&self, upstream: &str, _: &str, count: u32, _: Duration) {
        self.0.lock().unwrap().push(format!("{upstream} limited {count}"));
    }
}

#[tokio::test]
async fn an_upstream_never_sees_more_than_it_announces() {
    const LIMIT: usize = 4;
    for headers in ["draft", "three", "older"] {
        let (start, counts) = (Instant::now(), Arc::new(Mutex::new(Vec::<usize>::new())));
        let counted = Arc::clone(&counts);
        let upstream = Upstream::start(move |_, _| {
            let window = usize::try_from(start.elapsed().as_secs()).unwrap();
            let mut counts = counted.lock().unwrap();
            let windows = counts.len().max(window + 1);
            counts.resize(windows, 0);
            counts[window] += 1;
            let left = LIMIT.saturating_sub(counts[window]);
            match headers {
                "draft" => with_header(
                    with_header(answer(200, "{}"), "ratelimit", &format!("\"d\";r={left};t=1")),
                    "ratelimit-policy",
                    &format!("\"d\";q={LIMIT};w=1"),
                ),
                "three" => with_header(
                    with_header(
                        with_header(answer(200, "{}"), "ratelimit-limit", &LIMIT.to_string()),
                        "ratelimit-remaining",
                        &left.to_string(),
                    ),
                    "ratelimit-reset",
                    "1",
                ),
                _ => with_header(
                    with_header(answer(200, "{}"), "x-ratelimit-remaining", &left.to_string()),
                    "x-ratelimit-reset",
                    "1",
                ),
            }
        })
        .await;
        let client = client(&upstream, &upstream.egress(), SystemClock::shared());
        let all: Vec<_> = (0..2 * LIMIT).map(|_| client.send(get(&upstream))).collect();
        for done in futures_util::future::join_all(all).await {
            assert_eq!(done.unwrap().status, 200);
        }
        let counts = counts.lock().unwrap().clone();
        assert_eq!(counts.iter().sum::<usize>(), 2 * LIMIT);
        assert!(counts.iter().all(|count| *count <= LIMIT), "{headers}: {counts:?}");
    }
}

#[tokio::test]
async fn connectors_that_share_a_host_and_a_credential_share_its_limit() {
    let upstream = Upstream::start(|_, _| {
        with_header(with_header(answer(200, "{}"), "x-ratelimit-remaining", "0"), "x-ratelimit-reset", "3600")
    })
    .await;
    let egress = upstream.egress();
    let (one, other) = (
        client(&upstream, &egress, SystemClock::shared()),
        client(&upstream, &egress, SystemClock::shared()),
    );
    assert_eq!(one.send(get(&upstream)).await.unwrap().status, 200);
    let refused = other.send(get(&upstream)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::RateLimited);
    assert!(refused.retry_after().unwrap() > S * 3000);
    assert_eq!(upstream.seen().len(), 1);
    let states = egress.traffic.states();
    assert_eq!((states.len(), states[0].sent, states[0].refused), (1, 1, 1));
}

#[tokio::test]
async fn a_failing_upstream_is_left_alone_probed_once_and_used_again() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let upstream =
        Upstream::start(move |_, _| answer(if is_down.load(Ordering::SeqCst) { 503 } else { 200 }, "{}"))
            .await;
    let egress = Config { retries: 0, circuit_failures: 3, circuit_seconds: 30.0, ..upstream.egress() };
    let told = Arc::new(Told::default());
    let watch: Arc<dyn Watch> = told.clone();
    egress.traffic.watched_by(&watch);
    let clock = ManualClock::at(S * 1_000_000);
    let client = client(&upstream, &egress, clock.clone());
    for _ in 0..3 {
        assert_eq!(client.send(get(&upstream)).await.unwrap().status, 503);
    }
    for _ in 0..5 {
        let shut = client.send(get(&upstream)).await.unwrap_err();
        assert_eq!((shut.kind(), shut.retry_after()), (Kind::UpstreamFailed, Some(S * 30)));
    }
    assert_eq!((upstream.seen().len(), egress.traffic.states()[0].circuit), (3, "open"));

    clock.advance(S * 30);
    assert_eq!(client.send(get(&upstream)).await.unwrap().status, 503, "the probe");
    assert_eq!(client.send(get(&upstream)).await.unwrap_err().retry_after(), Some(S * 60));
    down.store(false, Ordering::SeqCst);
    clock.advance(S * 60);
    for _ in 0..3 {
        assert_eq!(client.send(get(&upstream)).await.unwrap().status, 200);
    }
    assert_eq!(upstream.seen().len(), 7);
    assert_eq!(*told.0.lock().unwrap(), ["widgets opened 30", "widgets opened 60", "widgets closed"]);
}

#[tokio::test]
async fn retries_never_multiply_an_outage() {
    let upstream = Upstream::start(|_, _| answer(503, "{}")).await;
    let egress = Config { circuit_failures: 0, ..upstream.egress() };
    let client = client(&upstream, &egress, SystemClock::shared());
    let all: Vec<_> = (0..60).map(|_| client.send(get(&upstream))).collect();
    futures_util::future::join_all(all).await;
    let seen = upstream.seen().len();
    assert!(seen <= 60 + 10 + 6, "{seen} tries of 60 requests");
    assert_eq!(egress.traffic.states()[0].retries, u64::try_from(seen - 60).unwrap());
}

#[tokio::test]
async fn many_answers_of_429_are_told_once() {
    let upstream = Upstream::start(|_, _| with_header(answer(429, ""), "retry-after", "0")).await;
    let egress = Config { retries: 0, too_many_alert: 3, ..upstream.egress() };
    let told = Arc::new(Told::default());
    let watch: Arc<dyn Watch> = told.clone();
    egress.traffic.watched_by(&watch);
    let client = client(&upstream, &egress, SystemClock::shared());
    for _ in 0..5 {
        assert_eq!(client.send(get(&upstream)).await.unwrap().status, 429);
    }
    assert_eq!(*told.0.lock().unwrap(), ["widgets limited 3"]);
    assert_eq!(egress.traffic.states()[0].limited, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_is_in_the_audit_and_outlives_a_reload() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let upstream = Upstream::start(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        answer(503, "{}")
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let document = r#"{"openapi": "3.1.0", "info": {"title": "acme", "version": "1"}, "paths": {"/widgets": {"get":
        {"operationId": "listWidgets", "responses": {"200": {"description": "fine"}}}}}}"#;
    std::fs::write(folder.path().join("acme.json"), document).unwrap();
    let text = |per_minute: u32| {
        format!(
            "state_dir = 'state'\n[egress]\nallow_private = ['{}']\nretries = 0\ncircuit_failures = 2\nper_minute = {per_minute}\n\
             [[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{}'",
            upstream.address, upstream.address
        )
    };
    let path = folder.path().join("bartizan.toml");
    let load = |per_minute| {
        std::fs::write(&path, text(per_minute)).unwrap();
        bartizan::config::Config::load(&path).unwrap()
    };
    let app = App::build(load(600), Extra::default()).await.unwrap();
    let tool = {
        let now = app.catalog().now();
        now.list(bartizan::catalog::List::Tools)[0].spec().name.clone()
    };
    let call = async || match app.call(&tool, Map::new(), &app.context()).await {
        Ok(bartizan::pipeline::Outcome::Done(done)) => format!("{:?}", done.into_reply()),
        Ok(bartizan::pipeline::Outcome::Paused(_)) => panic!("nothing is asked"),
        Err(error) => format!("{error}, wait {:?}", error.retry_after()),
    };
    for _ in 0..2 {
        call().await;
    }
    let shut = call().await;
    assert!(shut.contains("failed too often") && shut.contains("wait Some("), "{shut}");
    app.reload(Ok(load(601))).await.unwrap();
    assert!(call().await.contains("failed too often"), "a reload makes nothing well");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(app.traffic().states()[0].circuit, "open");
    let log = app.audit().path().to_path_buf();
    app.close().await.unwrap();
    let audit = std::fs::read_to_string(log).unwrap();
    let opened: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["event"] == "circuit opened")
        .collect();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["detail"]["upstream"], "acme");
}
