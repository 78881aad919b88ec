//! The small client, through both doors, over streams and over HTTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan::client::{CallOptions, Client, Error, Options, RpcError};
use bartizan::identity::NoAuth;
use bartizan::json::{Value, json};
use bartizan::protocol::Revision;
use bartizan::transport::{Config, http, stdio};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Scripted, local, within};

struct Pair {
    client: Client,
    server: Arc<Scripted>,
    heard: Arc<Mutex<Vec<Value>>>,
    shutdown: CancellationToken,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn options(revision: Revision, heard: &Arc<Mutex<Vec<Value>>>) -> Options {
    let heard = heard.clone();
    Options {
        revision,
        answers: Some(Arc::new(|method, params| {
            Box::pin(async move {
                assert_eq!((method.as_str(), &params["message"]), ("elicitation/create", &json!("Really?")));
                Ok::<Value, RpcError>(json!({"action": "accept", "content": {"yes": true}}))
            })
        })),
        notices: Some(Arc::new(move |notice| heard.lock().unwrap().push(notice))),
        ..Options::default()
    }
}

async fn over_streams(revision: Revision) -> Pair {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = Arc::new(Scripted::default());
    let shutdown = CancellationToken::new();
    let (handler, stop) = (server.clone(), shutdown.clone());
    tokio::spawn(async move {
        let (reader, writer) = tokio::io::split(theirs);
        let settings = stdio::Settings { drain: Duration::from_millis(100), ..stdio::Settings::default() };
        stdio::serve(reader, writer, handler, &settings, stop, local()).await.unwrap();
    });
    let heard = Arc::default();
    let (reader, writer) = tokio::io::split(ours);
    let client = within(Client::over(reader, writer, options(revision, &heard))).await.unwrap();
    Pair { client, server, heard, shutdown }
}

async fn over_http(revision: Revision) -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = Arc::new(Scripted::default());
    let shutdown = CancellationToken::new();
    tokio::spawn(http::serve(
        listener,
        server.clone(),
        Arc::new(NoAuth::new()),
        Config::default(),
        shutdown.clone(),
    ));
    let heard = Arc::default();
    let client = within(Client::http(&url, options(revision, &heard))).await.unwrap();
    Pair { client, server, heard, shutdown }
}

async fn every_pair() -> Vec<(String, Pair)> {
    let mut pairs = Vec::new();
    for revision in Revision::ALL {
        pairs.push((format!("{revision} over streams"), over_streams(*revision).await));
        pairs.push((format!("{revision} over HTTP"), over_http(*revision).await));
    }
    pairs
}

#[tokio::test]
async fn lists_are_followed_to_their_end() {
    for (name, pair) in every_pair().await {
        let tools = within(pair.client.list_tools()).await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["ask", "marked"], "{name}: and tools with broken marks are left out");
        assert!(pair.client.server().is_object());
    }
}

#[tokio::test]
async fn progress_and_notices_are_heard_before_the_result() {
    for (name, pair) in every_pair().await {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let heard = steps.clone();
        let options = CallOptions {
            progress: Some(Arc::new(move |params| heard.lock().unwrap().push(params["progress"].clone()))),
            ..CallOptions::default()
        };
        within(pair.client.call_tool("progress", json!({}), &options)).await.unwrap();
        assert_eq!(*steps.lock().unwrap(), [1, 2, 3], "{name}");
        let notices = pair.heard.lock().unwrap();
        assert!(notices.iter().any(|notice| notice["params"]["data"] == "half way"), "{name}");
    }
}

#[tokio::test]
async fn questions_are_answered_in_the_way_of_each_door() {
    for (name, pair) in every_pair().await {
        let result = within(pair.client.call_tool("ask", json!({}), &CallOptions::default())).await.unwrap();
        assert_eq!(result["answers"]["q"]["content"]["yes"], true, "{name}");
        if result.get("state").is_some() {
            assert_eq!(result["state"], "sealed", "{name}");
        }
    }
}

#[tokio::test]
async fn errors_of_the_server_are_told_from_those_of_the_wire() {
    for (name, pair) in every_pair().await {
        let error =
            within(pair.client.call_tool("unknown", json!({}), &CallOptions::default())).await.unwrap_err();
        let Error::Rpc(error) = error else { panic!("{name}: {error}") };
        assert_eq!((error.code, error.data), (-32602, Some(json!({"status": 400}))), "{name}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        Client::http(&format!("http://{nobody}/mcp"), Options::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)));
    assert!(Client::http("https://example.com/mcp", Options::default()).await.is_err());
}

#[tokio::test]
async fn a_cancelled_or_late_call_is_taken_back() {
    for (name, pair) in every_pair().await {
        let handshake = !name.starts_with("2026-07-28");
        if handshake && name.ends_with("HTTP") {
            // the standing stream has begun, and what begins from here on is a call
            pair.server.started.seen().await;
        }
        let cancel = CancellationToken::new();
        let options = CallOptions { cancel: Some(cancel.clone()), ..CallOptions::default() };
        let (result, ()) = tokio::join!(pair.client.call_tool("hang", json!({}), &options), async {
            pair.server.started.seen().await;
            cancel.cancel();
        });
        assert!(matches!(result, Err(Error::Cancelled)), "{name}");
        // On a busy machine a call can be late before the server has begun with it.
        for patience in [300, 3_000, 30_000] {
            let timeout = Some(Duration::from_millis(patience));
            let late = CallOptions { timeout, ..CallOptions::default() };
            let result = pair.client.call_tool("hang", json!({}), &late).await;
            assert!(matches!(result, Err(Error::TimedOut)), "{name}");
            if tokio::time::timeout(Duration::from_secs(2), pair.server.started.comes()).await.is_ok() {
                break;
            }
        }
        if name.ends_with("HTTP") {
            // Each closed its exchange, which cancels.
            pair.server.dropped.seen().await;
            pair.server.dropped.seen().await;
        }
        if name != "2026-07-28 over HTTP" {
            // Each was told of in words, too; a handshake ends with a notice.
            for _ in 0..2 + usize::from(handshake) {
                pair.server.noticed.seen().await;
            }
        }
    }
}

#[tokio::test]
async fn parameters_that_travel_as_headers_are_found_out() {
    let pair = over_http(Revision::NEWEST).await;
    let result =
        within(pair.client.call_tool("marked", json!({"region": "eu"}), &CallOptions::default())).await;
    assert!(result.is_ok(), "{result:?}");
    let peers = pair.server.peers.lock().unwrap();
    let last = &peers.last().unwrap().headers;
    assert_eq!(
        (&last.method[..], &last.name[..]),
        (&["tools/call".to_owned()][..], &["marked".to_owned()][..])
    );
    assert_eq!(last.revision, ["2026-07-28"]);
    assert!(last.session.is_none());
}

#[tokio::test]
async fn a_session_is_kept_listened_to_and_closed() {
    let pair = over_http(Revision::NEWEST_HANDSHAKE).await;
    within(pair.client.call_tool("ask", json!({}), &CallOptions::default())).await.unwrap();
    {
        let peers = pair.server.peers.lock().unwrap();
        let last = &peers.last().unwrap().headers;
        assert_eq!(
            (last.session.as_deref(), &last.revision[..]),
            (Some("session-1"), &["2025-11-25".to_owned()][..])
        );
    }
    pair.server.started.seen().await;
    pair.client.close().await;
    pair.server.closed.seen().await;
    pair.server.dropped.seen().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_process_is_talked_to_and_ends_with_the_conversation() {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stdio::serve_the_real_standard_streams", "--ignored", "--nocapture"]);
    command.stderr(std::process::Stdio::null());
    let client = within(Client::spawn(command, Options::default())).await.unwrap();
    assert_eq!(within(client.list_tools()).await.unwrap().len(), 2);
    within(client.close()).await;
    assert!(matches!(client.ping().await, Err(Error::Gone)));
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_nobody_waiting() {
    for revision in Revision::ALL {
        let pair = over_streams(*revision).await;
        let options = CallOptions::default();
        let (result, ()) = tokio::join!(pair.client.call_tool("hang", json!({}), &options), async {
            pair.server.started.seen().await;
            pair.shutdown.cancel();
        });
        assert!(matches!(result, Err(Error::Gone)), "{revision}");
        let result = pair.client.call_tool("ask", json!({}), &options).await;
        assert!(matches!(result, Err(Error::Gone)), "{revision}");
    }
}
