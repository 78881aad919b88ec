//! Tokens of upstreams, and logins that an upstream refused: one client for all instances.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bartizan::clock::SystemClock;
use bartizan::error::Kind;
use bartizan::http::oauth::{ClientCredentials, RefreshToken, Style, TokenEndpoint};
use bartizan::http::{Client, Method, Request, Settings};
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use bartizan::state::Shared;
use serde_json::json;

use super::server::{Server, instance, until};
use crate::loopback::{Act, Seen, Upstream, answer};

const SECRET: &str = "canary-secret-of-the-client";
const TOKEN: &str = "canary-token-of-the-upstream";

/// What one instance sends with; each has a fingerprint key of its own.
fn client(upstream: &Upstream, shared: &Arc<Shared>, secret: &str, key: &str) -> Client {
    let endpoint = TokenEndpoint {
        url: upstream.url("/oauth2/v1/token"),
        style: Style::Json,
        scope: None,
        audience: None,
    };
    let id = Arc::new(Secret::new("the-client-id"));
    let made = ClientCredentials::new(
        "widgets",
        endpoint,
        id,
        Arc::new(Secret::new(secret)),
        &upstream.egress(),
        SystemClock::shared(),
    );
    let signing = Arc::new(made.unwrap().counting_in(Some(shared.folder("logins"))));
    let keyed = redaction::Config { fingerprint_key: Some(Secret::new(key)), ..Default::default() };
    let settings = Settings::new("widgets", upstream.base(), &upstream.egress());
    Client::new(settings, signing, Redactor::new(&keyed).unwrap(), SystemClock::shared()).unwrap()
}

async fn two(server: &Server) -> ([Arc<Shared>; 2], [tempfile::TempDir; 2]) {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let shared = [
        instance(&server.config(), folders[0].path()).await,
        instance(&server.config(), folders[1].path()).await,
    ];
    (shared, folders)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_at_a_time_asks_for_a_token_and_the_others_have_it_too() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let refused = Arc::new(AtomicUsize::new(0));
    let (count, accepted) = (Arc::clone(&refused), AtomicUsize::new(0));
    let upstream = Upstream::start(move |seen: &Seen, before| match seen.path() {
        "/oauth2/v1/token" => {
            answer(200, json!({"access_token": format!("{TOKEN}-{before}"), "expires_in": 3600}))
        }
        // the first token is taken back after a while
        _ if seen.header("authorization").is_some_and(|value| value.ends_with("-0"))
            && accepted.fetch_add(1, Ordering::SeqCst) >= 20 =>
        {
            count.fetch_add(1, Ordering::SeqCst);
            answer(401, "{}")
        }
        _ => answer(200, "{}"),
    })
    .await;
    let (shared, _folders) = two(&server).await;
    let clients =
        [0, 1].map(|index| client(&upstream, &shared[index], SECRET, &format!("key {index} of two")));
    let get = || Request::new(Method::GET, upstream.url("/x"));
    let calls = (0..20).map(|index| clients[index % 2].send(get()));
    for done in futures_util::future::join_all(calls).await {
        assert_eq!(done.unwrap().status, 200);
    }
    assert_eq!(upstream.count("/oauth2/v1/token"), 1, "one fetch for both");
    for client in [&clients[0], &clients[1], &clients[0]] {
        assert_eq!(client.send(get()).await.unwrap().status, 200);
    }
    assert_eq!(
        (upstream.count("/oauth2/v1/token"), refused.load(Ordering::SeqCst)),
        (2, 2),
        "one more for both"
    );
    let written = server.written();
    assert!(written.contains("note:token:"), "what was written is looked at");
    for word in [SECRET, TOKEN, "the-client-id"] {
        assert!(!written.contains(word), "{word} lies in the store in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_not_sent_by_one_instance_after_the_other() {
    let Some(server) = Server::start(&[]) else { return };
    let upstream = Upstream::start(|seen: &Seen, _| match seen.path() {
        "/oauth2/v1/token" => answer(400, "{}"),
        _ => Act::Hang,
    })
    .await;
    let (shared, _folders) = two(&server).await;
    for round in 0..6 {
        let index = round % 2;
        // another process each time: what it knows is in the store
        let client = client(&upstream, &shared[index], SECRET, &format!("key {index} of two"));
        let error = client.send(Request::new(Method::GET, upstream.url("/x"))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamRefused, "{error}");
    }
    assert_eq!(upstream.count("/oauth2/v1/token"), 1, "the pause after the first refusal is everybody's");
    // while the store is away nobody knows, and nobody tries
    let mut server = server;
    server.kill();
    until("it is away", || async { shared[0].problem().is_some() }).await;
    let late = client(&upstream, &shared[0], SECRET, "key 0 of two");
    assert_eq!(
        late.send(Request::new(Method::GET, upstream.url("/x"))).await.unwrap_err().kind(),
        Kind::RateLimited
    );
    assert_eq!(upstream.count("/oauth2/v1/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_take_turns_with_a_refresh_token_and_none_is_sent_twice() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    const LINK: &str = "canary-refresh-token-number";
    // the link that is good, the access token that is, and everything that was asked with
    let state = Arc::new(Mutex::new((format!("{LINK}-0"), String::new(), Vec::<String>::new())));
    let shown = Arc::clone(&state);
    let upstream = Upstream::start(move |seen: &Seen, _| {
        let mut state = shown.lock().unwrap();
        if seen.path() != "/oauth2/v1/token" {
            let fits = seen.header("authorization") == Some(&format!("Bearer {}", state.1));
            return answer(if fits { 200 } else { 401 }, "{}");
        }
        let given = seen.json()["refresh_token"].as_str().unwrap_or_default().to_owned();
        state.2.push(given.clone());
        if given != state.0 {
            return answer(400, json!({"error": "invalid_grant"}));
        }
        let number = state.2.len();
        (state.0, state.1) = (format!("{LINK}-{number}"), format!("{TOKEN}-{number}"));
        answer(200, json!({"access_token": state.1, "refresh_token": state.0, "expires_in": 3600}))
    })
    .await;
    let (shared, _folders) = two(&server).await;
    let clients = [0, 1].map(|index| {
        let url = upstream.url("/oauth2/v1/token");
        let endpoint = TokenEndpoint { url, style: Style::Json, scope: None, audience: None };
        let (id, seed) = (Arc::new(Secret::new("the-client-id")), Arc::new(Secret::new(format!("{LINK}-0"))));
        let (egress, clock) = (upstream.egress(), SystemClock::shared());
        let refresh = RefreshToken { token: seed, secret: None, rotates: true };
        let made = ClientCredentials::refreshing("widgets", endpoint, id, refresh, &egress, clock.clone());
        let signing = Arc::new(made.unwrap().counting_in(Some(shared[index].folder("logins"))));
        let keyed = redaction::Config {
            fingerprint_key: Some(Secret::new(format!("key {index}"))),
            ..Default::default()
        };
        let settings = Settings::new("widgets", upstream.base(), &egress);
        Client::new(settings, signing, Redactor::new(&keyed).unwrap(), clock).unwrap()
    });
    for _ in 0..3 {
        // the access token is taken back: whoever notices first refreshes, for all
        state.lock().unwrap().1 = String::from("none");
        let get = || Request::new(Method::GET, upstream.url("/x"));
        let calls = (0..10).map(|index| clients[index % 2].send(get()));
        for done in futures_util::future::join_all(calls).await {
            assert_eq!(done.unwrap().status, 200);
        }
    }
    let asked = state.lock().unwrap().2.clone();
    let expected: Vec<String> = (0..asked.len()).map(|number| format!("{LINK}-{number}")).collect();
    assert_eq!(asked, expected, "each once, in order");
    assert!(asked.len() >= 3);
    let written = server.written();
    assert!(written.contains(":beside"), "the next one is kept there");
    assert!(!written.contains(LINK) && !written.contains(TOKEN), "and not in the clear");
}
