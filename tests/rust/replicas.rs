//! Several instances that serve the same clients.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bartizan::app::{App, Extra};
use bartizan::config::Config;
use bartizan::error::Error;
use bartizan::json::{Value, json};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Revision;
use bartizan::transport::{Channel, Delivery, HeaderFacts, Peer};
use tokio_util::sync::CancellationToken;

use crate::stage;
use crate::support::Recorder;

fn key(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    format!("file:{}", path.display())
}

async fn instance(folder: &Path, name: &str, keys: &[&String]) -> Result<Arc<App>, Error> {
    let mut config = Config::parse("", "bartizan.toml").unwrap();
    config.state_dir = Some(folder.join(name));
    config.server.sealing_keys = keys.iter().map(|key| (*key).clone()).collect();
    let tools = vec![stage::asking(), stage::echo()];
    App::build(config, Extra { tools, ..Extra::default() }).await
}

/// Calls the tool that asks, at one instance; `state` is what another one gave.
async fn ask(app: &App, state: Option<&Value>) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    let mut params = json!({"name": "asking", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": Revision::NEWEST.name(),
        "io.modelcontextprotocol/clientInfo": {"name": "replicas", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }});
    if let Some(state) = state {
        params["requestState"] = state.clone();
        params["inputResponses"] = json!({"user_name": {"action": "accept", "content": {"name": "Ann"}}});
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let peer = Peer {
        principal: Arc::new(Principal::new("key:alice", PrincipalKind::ApiKey)),
        channel: Channel::Stdio,
        address: None,
        connection: NEXT.fetch_add(1, Ordering::SeqCst),
        headers: Arc::new(HeaderFacts::default()),
        gone: CancellationToken::new(),
        right: None,
    };
    let outlet: Arc<Recorder> = Arc::default();
    let answer = app.handler().handle(Delivery { body: Ok(message) }, peer, outlet).await;
    serde_json::from_str(&answer.body.unwrap()).unwrap()
}

async fn state_of(app: &App) -> Value {
    let asked = ask(app, None).await;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    asked["result"]["requestState"].clone()
}

fn greets(answer: &Value) -> bool {
    answer["result"]["content"][0]["text"] == "Hello, Ann!"
}

#[tokio::test]
async fn what_one_instance_asked_another_takes_the_answer_to() {
    let folder = tempfile::tempdir().unwrap();
    let old = key(folder.path(), "old", &"ab".repeat(32));
    let new = key(folder.path(), "new", "ZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVmZGVhZGJlZWY=\n");
    let one = instance(folder.path(), "one", &[&old]).await.unwrap();
    let two = instance(folder.path(), "two", &[&old, &new]).await.unwrap();
    let asked = state_of(&one).await;
    assert!(greets(&ask(&two, Some(&asked)).await), "round robin");
    // the new key comes first: what it seals opens where it is known, and what the old one sealed still does
    let three = instance(folder.path(), "three", &[&new, &old]).await.unwrap();
    let newer = state_of(&three).await;
    assert!(greets(&ask(&two, Some(&newer)).await));
    assert!(greets(&ask(&three, Some(&asked)).await));
    // the old one is gone
    let four = instance(folder.path(), "four", &[&new]).await.unwrap();
    assert!(greets(&ask(&four, Some(&newer)).await));
    assert_eq!(ask(&four, Some(&asked)).await["error"]["code"], -32602);
    assert_eq!(ask(&one, Some(&newer)).await["error"]["code"], -32602, "it does not know the new one yet");
    for app in [one, two, three, four] {
        app.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_foreign_key_and_a_bad_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = instance(folder.path(), "own", &[]).await.unwrap();
    let foreign = instance(folder.path(), "foreign", &[]).await.unwrap();
    let asked = state_of(&own).await;
    assert!(greets(&ask(&own, Some(&asked)).await));
    let refused = ask(&foreign, Some(&asked)).await;
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let short = key(folder.path(), "short", "hunter2hunter2");
    let literal = String::from("hunter2hunter2hunter2hunter2hunter2hunter2");
    let missing = format!("file:{}", folder.path().join("missing").display());
    for bad in [&short, &literal, &missing] {
        let error = instance(folder.path(), "bad", &[bad]).await.map(|_| ()).unwrap_err();
        assert!(error.message().contains("`sealing_keys`"), "{error}");
        assert!(!error.message().contains("hunter2"), "{error}");
    }
    own.close().await.unwrap();
    foreign.close().await.unwrap();
}
