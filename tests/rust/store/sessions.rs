//! Sessions of the older revisions that a balancer sends now here, now there.

use bartizan::clock::SystemClock;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::instances::{copy_keys, settings};
use super::server::{Server, until};
use crate::doors::{Started, started_in, whole};
use crate::loopback::soon;

const REVISION: &str = "2025-11-25";

/// Sends one request of an older revision: the status, the session it opened, and the last message.
async fn send(
    server: &Started,
    key: &str,
    (method, session): (&str, Option<&str>),
    body: Option<Value>,
) -> (u16, Option<String>, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let session = session
        .map(|id| format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: {REVISION}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "{method} /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{session}Accept: application/json, \
         text/event-stream\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let named = |line: &str| line.to_ascii_lowercase().starts_with("mcp-session-id: ");
    let opened =
        text.lines().find(|line| named(line)).map(|line| line["mcp-session-id: ".len()..].trim().to_owned());
    let last = text.lines().rev().find_map(|line| {
        serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok().filter(Value::is_object)
    });
    (status, opened, last.unwrap_or_default())
}

fn message(id: u32, method: &str, params: Value) -> Option<Value> {
    Some(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_one_instance_opened_is_used_and_ended_on_another() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let common = tempfile::tempdir().unwrap();
    let text = settings(&server, common.path(), "");
    let first = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(first.path().join("state")).unwrap();
    let keys = KeyStore::open(state.path(), SystemClock::shared()).unwrap();
    let [mine, other] = ["mine", "other"]
        .map(|name| keys.mint(&Grant { scopes: ["read".to_owned()].into(), ..Grant::named(name) }).unwrap());
    let one = started_in(first, &text).await;
    let second = tempfile::tempdir().unwrap();
    copy_keys(&one.folder.path().join("state"), &second.path().join("state"));
    let two = started_in(second, &text).await;
    let (mine, other) = (mine.key.expose(), other.key.expose());
    let hello = message(
        1,
        "initialize",
        json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "canary-client", "version": "1"}}),
    );
    let (status, session, _) = send(&one, mine, ("POST", None), hello).await;
    let session = session.unwrap();
    assert_eq!(status, 200);
    let used = async |server: &Started, key: &str| {
        let (status, _, body) =
            send(server, key, ("POST", Some(&session)), message(2, "tools/list", json!({}))).await;
        (status, body["result"]["tools"].is_array())
    };
    assert_eq!(used(&two, mine).await, (200, true), "the other instance knows it");
    assert_eq!(used(&one, mine).await, (200, true));
    for server in [&one, &two] {
        assert_eq!(used(server, other).await.0, 404, "for anybody else there is none");
    }
    let ready = Some(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert_eq!(send(&two, mine, ("POST", Some(&session)), ready).await.0, 202);
    // the store forgets, and whoever has the session tells it again
    server.tell(&["FLUSHALL"]);
    until("it is told again", || async {
        // quotas begin empty then, so what is asked for may have to wait
        assert_eq!(used(&two, mine).await.0, 200);
        server.tell(&["KEYS", "*"]).contains("note:session:")
    })
    .await;
    // a stream of another instance cannot be picked up, and says so
    let mut stream = TcpStream::connect(two.address).await.unwrap();
    let request = format!(
        "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {mine}\r\nMcp-Session-Id: {session}\r\n\
         Last-Event-ID: 00000000000000aa-1\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    let (status, _, body) = soon(whole(&mut stream, &request)).await.unwrap();
    assert!(status == 400 && body.contains("can be picked up"), "{status} {body}");
    assert_eq!(send(&two, mine, ("DELETE", Some(&session)), None).await.0, 204);
    until("it has ended on the first, too", || async { used(&one, mine).await.0 == 404 }).await;
    assert_eq!(used(&two, mine).await.0, 404);
    let left = "return redis.call('PTTL', redis.call('KEYS', '*note:session:*')[1])";
    let left: u64 = server.tell(&["EVAL", left, "0"]).trim().parse().unwrap();
    assert!(left > 29 * 60 * 1000, "its end is known for as long as it may lie idle somewhere: {left}");
    let written = server.written();
    for word in [session.as_str(), "canary-client", mine, "key:mine"] {
        assert!(!written.contains(word), "{word} lies in the store in the clear");
    }
    two.ended().await;
    one.ended().await;
}
