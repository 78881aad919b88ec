//! Several messages in one array, over both transports.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bartizan::json::{Value, json};
use bartizan::pipeline::Tool;
use bartizan::protocol::Revision;
use bartizan::server::Config;
use bartizan::transport::Channel;

use crate::scripted::within;
use crate::stage::{self, Hanging};
use crate::support::{Script, able, world, world_with};
use crate::talk::{Place, Talk};

const CHANNELS: [Channel; 2] = [Channel::Stdio, Channel::Http];

/// The revision that has batches.
fn batching() -> Revision {
    *Revision::ALL.iter().find(|revision| revision.batches()).unwrap()
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn call(id: u64, name: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({"name": name, "arguments": arguments}))
}

fn cancel(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
}

fn ids(answers: &Value) -> Vec<u64> {
    let mut ids: Vec<_> = answers.as_array().unwrap().iter().filter_map(|one| one["id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

fn of(answers: &Value, id: u64) -> &Value {
    answers.as_array().unwrap().iter().find(|one| one["id"] == id).expect("an answer under that id")
}

// proves: batch-members
#[tokio::test]
async fn requests_are_answered_in_one_array_and_each_for_itself() {
    let place = Place::of(stage::all()).await;
    for channel in CHANNELS {
        let talk = Talk::open(&place, channel, batching()).await;
        let before = place.world.audited().lines().count();
        let told = talk
            .send(json!([
                call(101, "echo", json!({"text": "one"})),
                {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
                call(102, "echo", json!({"txet": "hunter2"})),
                request(103, "no/such", json!({})),
                {"jsonrpc": "2.0", "id": 104, "method": 7},
                request(105, "ping", json!({})),
                call(106, "failing", json!({})),
                {"jsonrpc": "2.0", "id": 999, "result": {}},
            ]))
            .await;
        assert!(told.is(200));
        assert_eq!(ids(&told.body), [101, 102, 103, 104, 105, 106], "neither notifications nor responses");
        assert_eq!(of(&told.body, 101)["result"]["content"][0]["text"], "one");
        assert_eq!(of(&told.body, 102)["result"]["isError"], true);
        assert_eq!(of(&told.body, 103)["error"]["code"], -32601);
        assert_eq!(of(&told.body, 104)["error"]["code"], -32600);
        assert_eq!(of(&told.body, 106)["result"]["isError"], true);
        assert!(!told.body.to_string().contains("hunter2"));
        let walked = place.world.audited().lines().count() - before;
        assert!(walked >= 6, "each call leaves its intent and its outcome: {walked}");
    }
}

// proves: batch-silent
#[tokio::test]
async fn what_wants_no_answer_gets_none() {
    let place = Place::of(stage::all()).await;
    for channel in CHANNELS {
        let talk = Talk::open(&place, channel, batching()).await;
        let told = talk.send(json!([cancel(999), {"jsonrpc": "2.0", "id": 7, "result": {}}])).await;
        assert!(told.is(202));
        assert_eq!(told.body, Value::Null);
    }
}

// proves: batch-bounded
#[tokio::test]
async fn a_batch_that_is_wrong_as_a_whole_runs_nothing() {
    let config = Config { batch: 3, ..Config::default() };
    let place = Place::around(world_with(stage::all(), "admin", config)).await;
    for channel in CHANNELS {
        let talk = Talk::open(&place, channel, batching()).await;
        let before = place.world.audited();
        for batch in [
            json!([]),
            json!([call(1, "echo", json!({})), call(2, "echo", json!({})), call(1, "echo", json!({}))]),
            (1..=4).map(|id| call(id, "echo", json!({}))).collect(),
        ] {
            let told = talk.send(batch.clone()).await;
            assert!(told.is(400), "{batch}");
            assert_eq!((told.code(), told.body.get("id")), (Some(-32600), None), "{batch}");
        }
        assert_eq!(place.world.audited(), before);
        assert_eq!(ids(&talk.send(json!([call(9, "echo", json!({}))])).await.body), [9]);
    }
}

// proves: batch-no-handshake
#[tokio::test]
async fn a_door_is_not_opened_in_a_batch() {
    let place = Place::of(stage::all()).await;
    for channel in CHANNELS {
        let closed = Talk::closed(&place, channel, batching());
        let greeting = request(1, "initialize", closed.greeting(batching().name()));
        let told = closed.send(json!([greeting, request(2, "tools/list", json!({}))])).await;
        assert!(told.is(400) && told.code().is_some() && told.session.is_none());

        let talk = Talk::open(&place, channel, batching()).await;
        let greeting = request(1, "initialize", talk.greeting(batching().name()));
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": Revision::NEWEST.name(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let newer = request(2, "server/discover", json!({"_meta": meta}));
        let told = talk.send(json!([greeting, newer, [], request(3, "ping", json!({}))])).await;
        assert!(told.session.is_none());
        assert_eq!(of(&told.body, 1)["error"]["code"], -32600);
        assert_eq!(of(&told.body, 2)["error"]["code"], -32600);
        assert!(of(&told.body, 3).get("result").is_some());
        let nested = told.body.as_array().unwrap().iter().find(|one| one.get("id").is_none()).unwrap();
        assert_eq!(nested["error"]["code"], -32600);
    }
}

// proves: batch-stream
#[tokio::test]
async fn questions_and_progress_go_on_the_stream_of_the_batch() {
    let place = Place::of(vec![stage::asking_roots(), stage::reporting()]).await;
    for channel in CHANNELS {
        let talk = Talk::open(&place, channel, batching()).await;
        let mut reporting = call(1, "reporting", json!({}));
        reporting["params"]["_meta"] = json!({"progressToken": "p"});
        let told = talk.send(json!([call(2, "asking_roots", json!({})), reporting])).await;
        assert_eq!(ids(&told.body), [1, 2]);
        assert_eq!(of(&told.body, 2)["result"]["content"][0]["text"], "file:///home");
        assert_eq!(told.asked()[0].0, "roots/list");
        assert_eq!(told.noticed("notifications/progress").len(), 3);
        assert_eq!(told.streamed, channel == Channel::Http);
    }
}

// proves: batch-members
#[tokio::test]
async fn one_member_is_cancelled_and_the_others_are_answered() {
    for channel in CHANNELS {
        let tool = Hanging::new();
        let place = Place::of(vec![tool.clone() as Arc<dyn Tool>, stage::echo()]).await;
        let talk = Talk::open(&place, channel, batching()).await;
        let hanging = |id| call(id, "hanging", json!({}));
        // from within: what stands before it can be taken back
        let told = talk.send(json!([hanging(1), call(2, "echo", json!({})), cancel(1)])).await;
        assert_eq!(ids(&told.body), [2]);
        // from outside, while the batch runs
        let talk = Arc::new(talk);
        let speaking = Arc::clone(&talk);
        let batch = json!([hanging(3), call(4, "echo", json!({})), hanging(5)]);
        let before = tool.started.load(Ordering::SeqCst);
        let started = async || {
            while tool.started.load(Ordering::SeqCst) < before + 2 {
                tokio::task::yield_now().await;
            }
        };
        if channel == Channel::Http {
            let answer = tokio::spawn(async move { speaking.send(batch).await });
            within(started()).await;
            talk.send(cancel(3)).await;
            talk.send(cancel(5)).await;
            assert_eq!(ids(&within(answer).await.unwrap().body), [4]);
        } else {
            talk.start(batch).await;
            within(started()).await;
            // a batch of notifications is not kept waiting behind what runs
            let told = talk.send(json!([cancel(3), cancel(5)])).await;
            let answers =
                if told.body.is_array() { told.body } else { talk.send(json!([cancel(998)])).await.body };
            assert_eq!(ids(&answers), [4]);
        }
    }
}

// proves: batch-members
#[tokio::test]
async fn each_member_has_its_own_deadline() {
    let tool = Hanging::within(Duration::from_millis(50));
    let world = world(vec![tool as Arc<dyn Tool>, stage::echo()]);
    for channel in CHANNELS {
        let client = Script::open(&world, channel, batching(), able()).await;
        let batch = json!([call(101, "hanging", json!({})), call(102, "echo", json!({"text": "quick"}))]);
        let answer = client.send(batch).await;
        let body: Value = serde_json::from_str(&answer.body.unwrap()).unwrap();
        assert_eq!(of(&body, 102)["result"]["content"][0]["text"], "quick");
        let late = of(&body, 101)["result"]["content"].to_string();
        assert!(late.contains("TimedOut"), "{late}");
    }
}
