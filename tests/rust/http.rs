//! The way out, against loopback servers: where requests go, how they are signed, how often they are tried.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::error::Kind;
use bartizan::http::credentials::{Basic, FirstReady, Header, Open};
use bartizan::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use bartizan::http::{
    Body, Client, Config, Credentials, HeaderName, HeaderValue, Method, Pace, Part, Request, Settings,
};
use bartizan::redaction::Redactor;
use bartizan::secret::Secret;
use bartizan::vault::Reference;
use serde_json::json;
use url::Url;

use crate::loopback::{Act, Seen, Upstream, answer, soon, with_header};

fn redactor() -> Redactor {
    Redactor::new(&bartizan::redaction::Config::default()).unwrap()
}

fn client_with(upstream: &Upstream, egress: &Config, credentials: Arc<dyn Credentials>) -> Client {
    let settings = Settings::new("widgets", upstream.base(), egress);
    Client::new(settings, credentials, redactor(), SystemClock::shared()).unwrap()
}

fn client(upstream: &Upstream) -> Client {
    client_with(upstream, &upstream.egress(), Arc::new(Open))
}

fn get(url: Url) -> Request {
    Request::new(Method::GET, url)
}

fn secret(text: &str) -> Arc<Secret> {
    Arc::new(Secret::new(text))
}

/// Everything that could be shown of an error, now or through `{:?}`.
fn shown(error: &bartizan::error::Error) -> String {
    format!("{error} {error:?} {:?}", error.detail())
}

// ---- where requests go

#[tokio::test]
async fn a_request_to_another_host_is_not_sent() {
    let (own, other) =
        (Upstream::start(|_, _| answer(200, "{}")).await, Upstream::start(|_, _| answer(200, "{}")).await);
    let egress = own.egress().allowing(other.address.to_string());
    let client = client_with(&own, &egress, Arc::new(Header::bearer(secret("tok-of-the-owner-1234"))));
    let port = own.address.port();
    for elsewhere in [
        other.url("/x"),
        Url::parse(&format!("https://127.0.0.1:{port}/x")).unwrap(),
        Url::parse(&format!("http://localhost:{port}/x")).unwrap(),
        Url::parse(&format!("http://me@127.0.0.1:{port}/x")).unwrap(),
        Url::parse("http://169.254.169.254/latest/meta-data/").unwrap(),
    ] {
        let error = client.send(get(elsewhere)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Forbidden);
    }
    assert!(own.seen().is_empty() && other.seen().is_empty());
    assert_eq!(client.send(get(own.url("/x"))).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_private_base_address_is_refused_unless_it_is_listed() {
    for base in [
        "https://127.0.0.1:9",
        "https://10.0.0.1",
        "https://[::1]:9",
        "https://[::ffff:10.0.0.1]",
        "https://169.254.169.254",
        "https://[64:ff9b::a00:1]",
        "http://api.example.com",
        "http://127.0.0.1:9",
    ] {
        let settings = Settings::new("widgets", Url::parse(base).unwrap(), &Config::default());
        let error = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap_err();
        assert_eq!(error.kind(), Kind::BadConfig, "{base}");
    }
}

#[tokio::test]
async fn a_host_outside_of_the_connectors_list_is_refused() {
    let mut settings =
        Settings::new("widgets", Url::parse("https://api.example.org/v1").unwrap(), &Config::default());
    settings.hosts = vec![String::from("api.example.com")];
    let build = |settings| Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared());
    assert_eq!(build(settings.clone()).unwrap_err().kind(), Kind::BadConfig);
    settings.hosts.push(String::from("API.example.org"));
    assert!(build(settings).is_ok());
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused_unless_it_is_listed() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let port = upstream.address.port();
    let base = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    let settings = Settings::new("widgets", base.clone(), &Config::default());
    let client = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap();
    let error = client.send(get(base)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    assert!(upstream.seen().is_empty());

    let base = Url::parse(&format!("http://localhost:{port}/")).unwrap();
    let egress = Config::default().allowing(format!("localhost:{port}"));
    let settings = Settings::new("widgets", base.clone(), &egress);
    let client = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap();
    assert_eq!(client.send(get(base)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let upstream = Upstream::start(move |seen, _| match seen.path() {
        "/away" => with_header(answer(302, ""), "location", metadata),
        "/near" => with_header(answer(307, ""), "location", "/target"),
        _ => answer(200, "{}"),
    })
    .await;
    let client =
        client_with(&upstream, &upstream.egress(), Arc::new(Header::bearer(secret("tok-of-the-owner-1234"))));
    let response = client.send(get(upstream.url("/away"))).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(client.send(get(upstream.url("/near"))).await.unwrap().status, 307);
    assert_eq!(upstream.count("/target"), 0);
    assert_eq!(upstream.seen().len(), 2);
}

// ---- signing

#[tokio::test]
async fn each_kind_of_credential_signs_as_it_should() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let ways: Vec<Arc<dyn Credentials>> = vec![
        Arc::new(Open),
        Arc::new(Header::bearer(secret("tok-1"))),
        Arc::new(Header::named(HeaderName::from_static("x-api-key"), secret("key-1"))),
        Arc::new(Basic::new(secret("Aladdin"), secret("open sesame"))),
    ];
    for way in ways {
        client_with(&upstream, &upstream.egress(), way).send(get(upstream.url("/"))).await.unwrap();
    }
    let seen = upstream.seen();
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[1].header("authorization"), Some("Bearer tok-1"));
    assert_eq!(seen[2].header("x-api-key"), Some("key-1"));
    assert_eq!(seen[3].header("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
}

#[tokio::test]
async fn a_missing_credential_fails_the_call_and_says_what_to_set() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let reference = Reference::parse("env:BARTIZAN_TEST_NOT_SET").unwrap();
    let lone =
        client_with(&upstream, &upstream.egress(), Arc::new(Header::bearer(Arc::new(reference.clone()))));
    let error = lone.send(get(upstream.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ToolFailed);
    assert!(error.message().contains("BARTIZAN_TEST_NOT_SET"), "{error}");

    let none =
        FirstReady::new(vec![Arc::new(Header::bearer(Arc::new(reference.clone())))], "set this or that");
    let error = client_with(&upstream, &upstream.egress(), Arc::new(none))
        .send(get(upstream.url("/")))
        .await
        .unwrap_err();
    assert!(
        error.message().starts_with("set this or that: set the environment variable BARTIZAN_TEST_NOT_SET")
    );

    let ways: Vec<Arc<dyn Credentials>> =
        vec![Arc::new(Header::bearer(Arc::new(reference))), Arc::new(Header::bearer(secret("second")))];
    let client = client_with(&upstream, &upstream.egress(), Arc::new(FirstReady::new(ways, "none")));
    client.send(get(upstream.url("/"))).await.unwrap();
    assert_eq!(upstream.seen()[0].header("authorization"), Some("Bearer second"));
}

#[tokio::test]
async fn headers_of_the_connection_cannot_be_set_and_credentials_win() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let client = client_with(&upstream, &upstream.egress(), Arc::new(Header::bearer(secret("tok-1"))));
    for name in ["host", "content-length", "transfer-encoding", "connection", "proxy-authorization"] {
        let mut request = get(upstream.url("/"));
        request.headers.push((HeaderName::from_static(name), HeaderValue::from_static("1")));
        assert_eq!(client.send(request).await.unwrap_err().kind(), Kind::BadArguments, "{name}");
    }
    let mut request = get(upstream.url("/"));
    request
        .headers
        .push((HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer forged")));
    client.send(request).await.unwrap();
    let all: Vec<_> =
        upstream.seen()[0].headers.iter().filter(|(name, _)| name == "authorization").cloned().collect();
    assert_eq!(all, [(String::from("authorization"), String::from("Bearer tok-1"))]);
}

#[tokio::test]
async fn a_multipart_body_arrives_in_parts() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let part = |name: &str, bytes: &'static [u8]| Part {
        name: name.to_owned(),
        file_name: None,
        content_type: None,
        bytes: bytes::Bytes::from_static(bytes),
    };
    let mut request = Request::new(Method::POST, upstream.url("/"));
    request.body = Body::Multipart(vec![part("a", b"1"), part("b", b"\x00\xff")]);
    client(&upstream).send(request).await.unwrap();
    let seen = &upstream.seen()[0];
    let boundary =
        seen.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
    assert!(seen.body.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()));
    assert!(seen.body.windows(4).any(|window| window == b"\x00\xff\r\n"));
}

// ---- OAuth

fn oauth(upstream: &Upstream, style: Style, clock: SharedClock) -> Arc<ClientCredentials> {
    let url = upstream.url("/oauth2/v1/token");
    let endpoint = TokenEndpoint { url, style, scope: None, audience: None };
    let made = ClientCredentials::new(
        "widgets",
        endpoint,
        secret("the-id"),
        secret("the-secret-of-the-client"),
        &upstream.egress(),
        clock,
    );
    Arc::new(made.unwrap())
}

fn token(number: usize) -> Act {
    answer(
        200,
        json!({"access_token": format!("token-{number}"), "token_timeout": "3599", "token_type": "Bearer"}),
    )
}

fn vendor(tokens: &Arc<AtomicUsize>) -> impl Fn(&Seen, usize) -> Act + Send + Sync + 'static {
    let tokens = Arc::clone(tokens);
    move |seen, _| match seen.path() {
        "/oauth2/v1/token" => token(tokens.fetch_add(1, Ordering::SeqCst)),
        _ => answer(200, "{}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_parallel_calls_fetch_one_token_and_one_more_a_minute_before_it_ends() {
    let upstream = Upstream::start(vendor(&Arc::default())).await;
    let clock = ManualClock::at(Duration::from_secs(1_000_000));
    let credentials = oauth(&upstream, Style::Json, clock.clone());
    let settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    let client = Client::new(settings, credentials, redactor(), clock.clone()).unwrap();
    let round = async || {
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let (client, url) = (client.clone(), upstream.url("/x"));
                tokio::spawn(async move { client.send(get(url)).await.map(|response| response.status) })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), 200);
        }
    };
    round().await;
    assert_eq!(upstream.count("/oauth2/v1/token"), 1);
    clock.advance(Duration::from_secs(3599 - 61));
    round().await;
    assert_eq!(upstream.count("/oauth2/v1/token"), 1);
    clock.advance(Duration::from_secs(2));
    round().await;
    assert_eq!(upstream.count("/oauth2/v1/token"), 2);
    assert_eq!(upstream.count("/x"), 300);
    let seen = upstream.seen();
    let asked = seen.iter().find(|seen| seen.path() == "/oauth2/v1/token").unwrap();
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("authorization"), None);
    let expected = json!({
        "grant_type": "client_credentials", "client_id": "the-id", "client_secret": "the-secret-of-the-client"
    });
    assert_eq!(asked.json(), expected);
    for call in seen.iter().filter(|seen| seen.path() == "/x") {
        assert!(call.header("authorization").unwrap().starts_with("Bearer token-"));
        let text = format!("{call:?}");
        assert!(
            !text.contains("the-secret-of-the-client"),
            "the client secret goes to the token endpoint only"
        );
    }
}

#[tokio::test]
async fn the_standard_forms_are_spoken_too() {
    let upstream = Upstream::start(vendor(&Arc::default())).await;
    for style in [Style::Basic, Style::Form] {
        let credentials = oauth(&upstream, style, SystemClock::shared());
        client_with(&upstream, &upstream.egress(), credentials).send(get(upstream.url("/x"))).await.unwrap();
    }
    let seen = upstream.seen();
    assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen[0].header("authorization"), Some("Basic dGhlLWlkOnRoZS1zZWNyZXQtb2YtdGhlLWNsaWVudA=="));
    assert_eq!(seen[0].body, b"grant_type=client_credentials");
    assert_eq!(seen[2].header("authorization"), None);
    let form = b"grant_type=client_credentials&client_id=the-id&client_secret=the-secret-of-the-client";
    assert_eq!(seen[2].body, form);
}

#[tokio::test]
async fn a_401_renews_the_token_once_and_tries_once_more() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tokens);
    let upstream = Upstream::start(move |seen, _| match (seen.path(), seen.header("authorization")) {
        ("/oauth2/v1/token", _) => token(counted.fetch_add(1, Ordering::SeqCst)),
        ("/stale", Some("Bearer token-0")) | ("/never", _) => answer(401, "{}"),
        _ => answer(200, "{}"),
    })
    .await;
    let client =
        client_with(&upstream, &upstream.egress(), oauth(&upstream, Style::Json, SystemClock::shared()));
    let stale = Request::new(Method::POST, upstream.url("/stale")).json("application/json", &json!({"a": 1}));
    assert_eq!(client.send(stale).await.unwrap().status, 200);
    assert_eq!((upstream.count("/stale"), tokens.load(Ordering::SeqCst)), (2, 2));
    assert_eq!(client.send(get(upstream.url("/never"))).await.unwrap().status, 401);
    assert_eq!((upstream.count("/never"), tokens.load(Ordering::SeqCst)), (2, 3), "once, not in a loop");
}

#[tokio::test]
async fn a_refused_login_is_not_repeated_until_the_account_is_locked() {
    let upstream = Upstream::start(|seen, _| match seen.path() {
        "/oauth2/v1/token" => answer(400, json!({"error_message": "the-secret-of-the-client is wrong"})),
        _ => answer(200, "{}"),
    })
    .await;
    let clock = ManualClock::at(Duration::from_secs(1_000_000));
    let credentials = oauth(&upstream, Style::Json, clock.clone());
    let settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    let client = Client::new(settings, credentials, redactor(), clock.clone()).unwrap();
    let storm = async || {
        let calls = (0..50).map(|_| client.send(get(upstream.url("/x"))));
        for done in futures_util::future::join_all(calls).await {
            let error = done.unwrap_err();
            assert_eq!(error.kind(), Kind::UpstreamRefused, "{error}");
            assert!(!shown(&error).contains("is wrong") && !shown(&error).contains("the-secret"), "{error}");
        }
        // a later call, still inside the pause
        let error = client.send(get(upstream.url("/x"))).await.unwrap_err();
        assert!(
            error.message().contains("400") || error.message().contains("refused this client secret"),
            "{error}"
        );
    };
    let tries = || upstream.count("/oauth2/v1/token");
    storm().await;
    assert_eq!(tries(), 1);
    clock.advance(Duration::from_secs(6));
    storm().await;
    assert_eq!(tries(), 2);
    clock.advance(Duration::from_secs(11));
    storm().await;
    assert_eq!(tries(), 3);
    clock.advance(Duration::from_secs(600));
    storm().await;
    assert_eq!(tries(), 3, "three in a row, then a long pause");
    clock.advance(Duration::from_secs(1800));
    storm().await;
    assert_eq!(tries(), 4);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(86_400));
        storm().await;
    }
    assert_eq!(tries(), 4, "the same secret is never sent a fifth time");
    assert_eq!(upstream.count("/x"), 0);
}

#[tokio::test]
async fn a_broken_token_endpoint_is_left_alone_for_a_while() {
    let upstream = Upstream::start(|_, _| answer(200, "<html>not a token</html>")).await;
    let clock = ManualClock::at(Duration::from_secs(1_000_000));
    let credentials = oauth(&upstream, Style::Json, clock.clone());
    let client = client_with(&upstream, &upstream.egress(), credentials);
    for _ in 0..5 {
        let error = client.send(get(upstream.url("/x"))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamFailed);
    }
    assert_eq!(upstream.count("/oauth2/v1/token"), 1);
    clock.advance(Duration::from_secs(3));
    client.send(get(upstream.url("/x"))).await.unwrap_err();
    assert_eq!(upstream.count("/oauth2/v1/token"), 2);
}

/// A thread pool that is gone, with all that ran on it, when it is dropped.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_token_fetch_that_dies_with_its_runtime_costs_the_next_call_nothing() {
    let outside = runtime();
    let upstream = outside.block_on(Upstream::start(|seen, before| match (seen.path(), before) {
        ("/oauth2/v1/token", 0) => Act::Hang,
        ("/oauth2/v1/token", _) => token(before),
        _ => answer(200, "{}"),
    }));
    let client =
        client_with(&upstream, &upstream.egress(), oauth(&upstream, Style::Json, SystemClock::shared()));
    let first = runtime();
    let (call, url) = (client.clone(), upstream.url("/x"));
    first.spawn(async move { call.send(get(url)).await.map(|_| ()) });
    outside.block_on(soon(upstream.arrived.notified()));
    first.shutdown_background();
    outside.block_on(soon(upstream.left.notified()));
    let second = runtime();
    let response = second.block_on(soon(client.send(get(upstream.url("/x"))))).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!((upstream.count("/oauth2/v1/token"), upstream.count("/x")), (2, 1));
}

#[tokio::test]
async fn a_caller_who_gives_up_leaves_the_token_to_those_who_wait() {
    let released = Arc::new(std::sync::Barrier::new(2));
    let gate = Arc::clone(&released);
    let upstream = Upstream::start(move |seen, before| {
        if seen.path() == "/oauth2/v1/token" {
            gate.wait();
            return token(before);
        }
        answer(200, "{}")
    })
    .await;
    let client =
        client_with(&upstream, &upstream.egress(), oauth(&upstream, Style::Json, SystemClock::shared()));
    let mut calls: Vec<_> = (0..5)
        .map(|_| {
            let (client, url) = (client.clone(), upstream.url("/x"));
            tokio::spawn(async move { client.send(get(url)).await.map(|response| response.status) })
        })
        .collect();
    tokio::task::yield_now().await;
    calls.remove(0).abort();
    tokio::task::spawn_blocking(move || released.wait()).await.unwrap();
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap(), 200);
    }
    assert_eq!((upstream.count("/oauth2/v1/token"), upstream.count("/x")), (1, 4));
}

#[tokio::test]
async fn a_token_answer_that_breaks_off_is_asked_for_again_after_a_pause() {
    let half = "HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"access_token\": \"half-a-to";
    let upstream = Upstream::start(move |seen, before| match (seen.path(), before) {
        ("/oauth2/v1/token", 0) => Act::RawThenClose(half.to_owned()),
        ("/oauth2/v1/token", _) => token(before),
        _ => answer(200, "{}"),
    })
    .await;
    let clock = ManualClock::at(Duration::from_secs(1_000_000));
    let client = client_with(&upstream, &upstream.egress(), oauth(&upstream, Style::Json, clock.clone()));
    let error = soon(client.send(get(upstream.url("/x")))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamFailed);
    assert!(!shown(&error).contains("half-a-to"), "{error}");
    let error = soon(client.send(get(upstream.url("/x")))).await.unwrap_err();
    assert!(error.retry_after().is_some() && upstream.seen().len() == 1, "{error}");
    clock.advance(Duration::from_secs(3));
    assert_eq!(soon(client.send(get(upstream.url("/x")))).await.unwrap().status, 200);
    assert_eq!((upstream.count("/oauth2/v1/token"), upstream.count("/x")), (2, 1));
}

#[tokio::test]
async fn a_redirect_of_the_token_endpoint_leads_the_secret_nowhere() {
    let other = Upstream::start(|_, _| token(0)).await;
    let location = other.url("/token").to_string();
    let upstream = Upstream::start(move |_, _| with_header(answer(307, ""), "location", &location)).await;
    let credentials = oauth(&upstream, Style::Json, SystemClock::shared());
    let egress = upstream.egress().allowing(other.address.to_string());
    client_with(&upstream, &egress, credentials).send(get(upstream.url("/x"))).await.unwrap_err();
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn secrets_and_tokens_are_taught_to_the_redactor() {
    let upstream = Upstream::start(|seen, _| match seen.path() {
        "/oauth2/v1/token" => {
            answer(200, json!({"access_token": "an-access-token-of-length", "expires_in": 600}))
        }
        _ => answer(200, "{}"),
    })
    .await;
    let redactor = redactor();
    let settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    let credentials = oauth(&upstream, Style::Json, SystemClock::shared());
    let client = Client::new(settings, credentials, redactor.clone(), SystemClock::shared()).unwrap();
    client.send(get(upstream.url("/x"))).await.unwrap();
    let text = redactor.text("echo an-access-token-of-length and the-secret-of-the-client").into_owned();
    assert!(!text.contains("an-access-token") && !text.contains("the-secret-of"), "{text}");
}

#[tokio::test]
async fn refused_logins_count_for_every_process_until_one_succeeds_or_the_file_is_removed() {
    let right = Arc::new(AtomicUsize::new(0));
    let now_right = Arc::clone(&right);
    let upstream = Upstream::start(move |seen, _| match seen.path() {
        "/oauth2/v1/token" if now_right.load(Ordering::SeqCst) == 1 => {
            answer(200, json!({"access_token": "an-access-token-of-length", "expires_in": 600}))
        }
        "/oauth2/v1/token" => answer(401, "{}"),
        _ => answer(200, "{}"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let keyed = bartizan::redaction::Config {
        fingerprint_key: Some(Secret::new("the key of this installation")),
        ..Default::default()
    };
    let clock = ManualClock::at(Duration::from_secs(1_000_000));
    // A shell that calls in a loop: every call is a process of its own.
    let process = async |secret: &str| {
        let endpoint = TokenEndpoint {
            url: upstream.url("/oauth2/v1/token"),
            style: Style::Json,
            scope: None,
            audience: None,
        };
        let id = Arc::new(Secret::new("the-client-id"));
        let secret = Arc::new(Secret::new(secret));
        let state = bartizan::state::StateDir::open(folder.path().join("state")).unwrap();
        let made = ClientCredentials::new("widgets", endpoint, id, secret, &upstream.egress(), clock.clone())
            .unwrap();
        let settings = Settings::new("widgets", upstream.base(), &upstream.egress());
        let signing = Arc::new(made.counting_in(Some(state.into())));
        let client = Client::new(settings, signing, Redactor::new(&keyed).unwrap(), clock.clone()).unwrap();
        client.send(get(upstream.url("/x"))).await.map(|response| response.status)
    };
    let tries = || upstream.count("/oauth2/v1/token");
    for minute in 1..=200_u64 {
        let calls = (0..5).map(|_| process("the-wrong-secret-of-the-client"));
        for done in futures_util::future::join_all(calls).await {
            assert_eq!(done.unwrap_err().kind(), Kind::UpstreamRefused);
        }
        assert!(tries() <= 4, "{} tries after {minute} minutes", tries());
        clock.advance(Duration::from_secs(60));
    }
    assert_eq!(tries(), 4);
    let error = process("the-wrong-secret-of-the-client").await.unwrap_err();
    let file = std::fs::read_dir(folder.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .unwrap();
    assert!(error.message().contains(&format!("remove {}", file.display())), "{error}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("client") && !file.display().to_string().contains("client"), "{text}");

    // Another secret is tried, and one that is refused pauses everybody; the operator can end that.
    assert_eq!(process("another-wrong-secret-of-it").await.unwrap_err().kind(), Kind::UpstreamRefused);
    right.store(1, Ordering::SeqCst);
    let paused = process("the-right-secret-of-the-client").await.unwrap_err();
    assert!(paused.retry_after().is_some(), "{paused}");
    assert_eq!(tries(), 5);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(process("the-right-secret-of-the-client").await.unwrap(), 200);
    assert!(!file.exists(), "nothing is held against it");
}

// ---- trying again

#[tokio::test]
async fn only_what_is_safe_is_tried_again() {
    let upstream = Upstream::start(|seen, before| match (seen.path(), before) {
        ("/later", _) => with_header(answer(503, ""), "retry-after", "0"),
        ("/busy", 0) => with_header(answer(429, ""), "retry-after", "0"),
        ("/down", _) => answer(502, ""),
        ("/broken", _) => answer(500, "<html>"),
        ("/reset", _) => Act::RawThenClose(String::new()),
        ("/half", _) => {
            Act::RawThenClose(String::from("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"a\""))
        }
        _ => answer(200, "{}"),
    })
    .await;
    let fresh = async |method: Method, path: &str| {
        let before = upstream.count(path);
        let done = client(&upstream).send(Request::new(method, upstream.url(path))).await;
        (done, upstream.count(path) - before)
    };
    let (done, tries) = fresh(Method::GET, "/down").await;
    assert_eq!((done.unwrap().status, tries), (502, 3));
    let (done, tries) = fresh(Method::POST, "/down").await;
    assert_eq!((done.unwrap().status, tries), (502, 1), "a POST may have been done");
    let (done, tries) = fresh(Method::POST, "/later").await;
    assert_eq!((done.unwrap().status, tries), (503, 1), "a POST may have been done, whatever is asked for");
    let (done, tries) = fresh(Method::GET, "/later").await;
    assert_eq!((done.unwrap().status, tries), (503, 3));
    let (done, tries) = fresh(Method::GET, "/broken").await;
    assert_eq!((done.unwrap().status, tries), (500, 1));
    let (done, tries) = fresh(Method::POST, "/reset").await;
    assert_eq!((done.unwrap_err().kind(), tries), (Kind::UpstreamFailed, 1));
    let (done, tries) = fresh(Method::GET, "/reset").await;
    assert_eq!((done.unwrap_err().kind(), tries), (Kind::UpstreamFailed, 3));
    let (done, tries) = fresh(Method::GET, "/half").await;
    assert_eq!((done.unwrap_err().kind(), tries), (Kind::UpstreamFailed, 3));
    let (done, tries) = fresh(Method::PATCH, "/half").await;
    assert_eq!((done.unwrap_err().kind(), tries), (Kind::UpstreamFailed, 1));
}

#[tokio::test]
async fn retry_after_is_honoured_within_the_deadline_and_paces_the_others() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let upstream =
        Upstream::start(move |seen, _| match (seen.path(), counted.fetch_add(1, Ordering::SeqCst)) {
            ("/soon", 0) => with_header(answer(429, ""), "retry-after", "0"),
            ("/long", _) => with_header(answer(429, ""), "retry-after", "3600"),
            _ => answer(200, "{}"),
        })
        .await;
    let client = client(&upstream);
    let response = client.send(Request::new(Method::POST, upstream.url("/soon"))).await.unwrap();
    assert_eq!((response.status, response.tries), (200, 2));
    let response = client.send(get(upstream.url("/long"))).await.unwrap();
    assert_eq!((response.status, response.tries), (429, 1), "an hour does not fit");
    assert_eq!(response.retry_after, Some(Duration::from_secs(3600)));
    let error = client.send(get(upstream.url("/other"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited);
    assert!(error.retry_after().unwrap() > Duration::from_secs(3590));
    assert_eq!(upstream.count("/other"), 0, "the upstream asked for peace");
}

#[tokio::test]
async fn a_connectors_quota_is_kept() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let mut settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    settings.pace = Some(Pace { per_minute: 1, burst: 2 });
    settings.timeout = Some(Duration::from_secs(5));
    let client = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap();
    for _ in 0..2 {
        assert_eq!(client.send(get(upstream.url("/"))).await.unwrap().status, 200);
    }
    let error = client.clone().send(get(upstream.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_typed_failure_without_the_librarys_words() {
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let egress = Config::default().allowing(address.to_string());
    let base = Url::parse(&format!("http://{address}/hidden-path?key=hidden")).unwrap();
    let client = Client::new(
        Settings::new("widgets", base.clone(), &egress),
        Arc::new(Open),
        redactor(),
        SystemClock::shared(),
    );
    let error = client.unwrap().send(Request::new(Method::POST, base)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamFailed);
    assert_eq!(error.message(), "widgets could not be reached");
    assert!(!shown(&error).contains("hidden"));
    drop(upstream);
}

// ---- limits of size and time

#[tokio::test]
async fn a_body_beyond_the_cap_is_cut_off() {
    let upstream = Upstream::start(|seen, _| match seen.path() {
        "/endless" => Act::Endless,
        "/claims" => Act::RawThenHang(String::from("HTTP/1.1 200 X\r\ncontent-length: 1073741824\r\n\r\n")),
        _ => answer(200, "x".repeat(1000)),
    })
    .await;
    let mut settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    settings.body_limit = Some(1000);
    let client = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap();
    assert_eq!(client.send(get(upstream.url("/fits"))).await.unwrap().body.len(), 1000);
    for path in ["/endless", "/claims"] {
        let error = soon(client.send(get(upstream.url(path)))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamFailed);
        assert!(error.message().contains("1000 bytes"), "{error}");
        assert_eq!(upstream.count(path), 1, "not tried again");
        soon(upstream.left.notified()).await;
    }
}

#[tokio::test]
async fn a_slow_answer_runs_into_its_deadline_and_the_upstream_sees_us_leave() {
    let head = "HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nslow";
    let upstream = Upstream::start(move |seen, _| match seen.path() {
        "/head" => Act::Hang,
        _ => Act::RawThenHang(head.to_owned()),
    })
    .await;
    for path in ["/head", "/body"] {
        let mut request = Request::new(Method::POST, upstream.url(path));
        request.timeout = Some(Duration::from_millis(1500));
        let error = soon(client(&upstream).send(request)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TimedOut);
        assert!(error.message().contains("widgets did not answer within 1.5 seconds"), "{error}");
        soon(upstream.left.notified()).await;
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_given_up_by_the_read_timeout() {
    let upstream = Upstream::start(|_, _| Act::Hang).await;
    let egress = Config { read_timeout: 1.5, ..upstream.egress() };
    let client = client_with(&upstream, &egress, Arc::new(Open));
    let error = soon(client.send(Request::new(Method::POST, upstream.url("/")))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
    assert_eq!(upstream.seen().len(), 1, "a POST that may have arrived is not sent again");
}

#[tokio::test]
async fn dropping_the_call_aborts_the_request() {
    let upstream = Upstream::start(|_, _| Act::Hang).await;
    let (client, url) = (client(&upstream), upstream.url("/"));
    let call = tokio::spawn(async move { client.send(get(url)).await.map(|_| ()) });
    soon(upstream.arrived.notified()).await;
    call.abort();
    soon(upstream.left.notified()).await;
}

#[tokio::test]
async fn a_nonsensical_configuration_is_refused() {
    let base = Url::parse("https://api.example.com").unwrap();
    for egress in [
        Config { timeout: 0.0, ..Config::default() },
        Config { read_timeout: f64::NAN, ..Config::default() },
        Config { connect_timeout: -1.0, ..Config::default() },
        Config { proxy: Some(String::from("not a proxy")), ..Config::default() },
        Config { proxy: Some(String::from("http://user:hunter2@127.0.0.1:9")), ..Config::default() },
        // The proxy would resolve the name, and nobody said that it may.
        Config { proxy: Some(String::from("http://127.0.0.1:9")), ..Config::default() },
        Config { ca_file: Some("/does/not/exist.pem".into()), ..Config::default() },
        Config { allow_private: vec![String::from("https://x")], ..Config::default() },
    ] {
        let made = Client::new(
            Settings::new("widgets", base.clone(), &egress),
            Arc::new(Open),
            redactor(),
            SystemClock::shared(),
        );
        assert_eq!(made.unwrap_err().kind(), Kind::BadConfig);
    }
}

#[tokio::test]
async fn the_configured_proxy_is_used_and_its_exceptions_are_kept() {
    let proxy = Upstream::start(|_, _| answer(200, "\"from the proxy\"")).await;
    let upstream = Upstream::start(|_, _| answer(200, "{}")).await;
    let mut egress = upstream.egress();
    egress.proxy = Some(proxy.base().to_string());
    let response =
        client_with(&upstream, &egress, Arc::new(Open)).send(get(upstream.url("/x"))).await.unwrap();
    assert_eq!(&response.body[..], b"\"from the proxy\"");
    assert_eq!(proxy.seen()[0].target, upstream.url("/x").to_string());
    // A name is the proxy's to resolve, once that was said.
    let named = Url::parse("http://widgets.example:81/x").unwrap();
    let egress_named = Config { proxy_resolves: true, ..egress.clone().allowing("widgets.example:81") };
    let client = Client::new(
        Settings::new("widgets", named.clone(), &egress_named),
        Arc::new(Open),
        redactor(),
        SystemClock::shared(),
    );
    assert_eq!(client.unwrap().send(get(named.clone())).await.unwrap().status, 200);
    assert_eq!(proxy.seen()[1].target, named.to_string());
    egress.no_proxy = vec![String::from("127.0.0.1")];
    let response =
        client_with(&upstream, &egress, Arc::new(Open)).send(get(upstream.url("/x"))).await.unwrap();
    assert_eq!(&response.body[..], b"{}");
}

/// Answers every request on its connection; what each connection was asked for.
fn lasting() -> (std::net::SocketAddr, Arc<Mutex<Vec<Vec<String>>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::<Vec<String>>::new())));
    let all = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            all.lock().unwrap().push(Vec::new());
            let all = Arc::clone(&all);
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    if let Some(rest) = line.strip_prefix("GET ") {
                        all.lock().unwrap()[number].push(rest.split(' ').next().unwrap().to_owned());
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    if line.is_empty() && stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

#[test]
fn each_thread_that_serves_keeps_connections_of_its_own() {
    let (address, asked) = lasting();
    let base: Url = format!("http://{address}/").parse().unwrap();
    let egress = Config { allow_private: vec![address.to_string()], ..Config::default() };
    let settings = Settings::new("widgets", base.clone(), &egress);
    let client = Client::new(settings, Arc::new(Open), redactor(), SystemClock::shared()).unwrap();
    let threads = 2;
    // none ends before all have asked, so that each has a number of its own
    let together = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        for path in ["/one", "/two"] {
            let (client, base, together) = (&client, &base, &together);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut done = Vec::new();
                for _ in 0..30 {
                    let asked = client.send(Request::new(Method::GET, base.join(path).unwrap()));
                    // judged at the end: who fails earlier would let the other wait
                    done.push(runtime.block_on(asked).map(|response| response.status).ok());
                    together.wait();
                }
                assert_eq!(done, [Some(200); 30]);
            });
        }
    });
    let seen = asked.lock().unwrap();
    for connection in &*seen {
        assert!(connection.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    }
    assert!(seen.len() < 30, "connections are used again: {}", seen.len());
}
