//! The switch: what it stops, how fast, for whom, and who may turn it back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bartizan::app::{App, Extra};
use bartizan::approvals::{self, Approvals, Decision, Operator, Status};
use bartizan::clock::{ManualClock, SystemClock};
use bartizan::config::Config;
use bartizan::error::Kind;
use bartizan::freeze::{EVERY, Extent, Freeze, Notice, Sheet};
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::{Outcome, Tool, ToolSpec};
use bartizan::policy::Effect;
use bartizan::protocol::{Door, Revision};
use bartizan::secret::Secret;
use bartizan::transport::Channel;

use crate::stage::{self, Hanging, played, spec, text};
use crate::support::{Ground, PATIENCE, Script, World, able, in_time, matrix, newest, world};

const PASSPHRASE: &str = "correct horse battery";

/// The same state directory, as another process sees it.
fn beside(world: &World) -> (Arc<Approvals>, Arc<Freeze>) {
    let clock = world.clock.clone();
    let approvals = Approvals::open(&approvals::Config::default(), &world.state(), clock.clone()).unwrap();
    let freeze = Freeze::open(&world.state(), approvals.clone(), clock).unwrap();
    (approvals, freeze)
}

fn enrolled(approvals: &Approvals, name: &str) -> Operator {
    let passphrase = Secret::new(PASSPHRASE);
    approvals.enrol(name, &passphrase, None).unwrap();
    approvals.operator(name, None, &passphrase).unwrap()
}

fn kind(heard: &crate::support::Heard) -> Value {
    match heard.body.get("result") {
        // the oldest revisions have words only
        Some(result)
            if result["content"][0]["text"].as_str().is_some_and(|text| text.contains("has frozen")) =>
        {
            json!("Frozen")
        }
        Some(result) => result["structuredContent"]["error"]["kind"].clone(),
        None => heard.body["error"]["data"]["kind"].clone(),
    }
}

fn writer() -> Arc<dyn Tool> {
    played(ToolSpec { effect: Effect::Write, ..spec("writer", json!({})) }, |_, _| text("written"))
}

/// What a second or so does to a server: it looks at the file.
fn passes(world: &World) {
    world.clock.advance(EVERY);
    world.freeze.extent();
}

async fn eventually(what: impl Fn() -> bool) {
    let looking = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it never came to that");
}

#[tokio::test]
async fn what_one_process_freezes_stops_in_another_and_an_operator_starts_it_again() {
    let world = world(vec![stage::echo(), writer()]);
    let (approvals, other) = beside(&world);
    let alice = enrolled(&approvals, "alice");
    for (channel, revision) in matrix() {
        world.clock.advance(Duration::from_secs(10));
        let client = Script::open(&world, channel, revision, able()).await;
        assert_eq!(client.call("writer", json!({})).await.result()["content"][0]["text"], "written");

        other.freeze(Extent::Writes, "alice", Some(String::from("odd orders"))).unwrap();
        passes(&world);
        let refused = client.call("writer", json!({})).await;
        assert_eq!(kind(&refused), "Frozen", "{revision} over {channel:?}");
        assert!(!refused.body.to_string().contains("odd orders"), "the reason is for operators");
        assert_eq!(client.call("echo", json!({"text": "read"})).await.result()["content"][0]["text"], "read");

        other.freeze(Extent::All, "alice", None).unwrap();
        passes(&world);
        assert_eq!(kind(&client.call("echo", json!({"text": "x"})).await), "Frozen");
        let list = client.ask("tools/list", json!({})).await;
        let code = list.body["error"]["code"].as_i64().unwrap();
        assert!(!(-32999..=-32000).contains(&code) && kind(&list) == "Frozen", "{}", list.body);

        other.lift(&alice).unwrap();
        passes(&world);
        assert_eq!(client.call("writer", json!({})).await.result()["content"][0]["text"], "written");
    }
    assert!(world.audited().contains("\"result\":\"Frozen\""));
}

#[tokio::test]
async fn what_runs_when_it_is_frozen_is_stopped() {
    let hanging = Hanging::new();
    let world = world(vec![hanging.clone()]);
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let call = client.start("tools/call", json!({"name": "hanging", "arguments": {}}));
    eventually(|| hanging.started.load(Ordering::SeqCst) == 1).await;
    world.freeze.freeze(Extent::Writes, "alice", None).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(hanging.dropped.load(Ordering::SeqCst), 0, "it reads");
    world.freeze.freeze(Extent::All, "alice", None).unwrap();
    assert_eq!(kind(&call.heard().await), "Frozen");
    assert_eq!(hanging.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn open_streams_end_when_everything_is_frozen() {
    let world = world(stage::all());
    let newer = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let stream = newer.start("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    stream.outlet.method("notifications/subscriptions/acknowledged").await;
    let older = Script::open(&world, Channel::Http, newest(Door::Handshake), able()).await;
    let (_, listening, _) = older.listen();
    tokio::task::yield_now().await;
    world.freeze.freeze(Extent::Writes, "alice", None).unwrap();
    tokio::task::yield_now().await;
    assert!(!listening.is_finished());
    world.freeze.freeze(Extent::All, "alice", None).unwrap();
    stream.heard().await;
    tokio::time::timeout(PATIENCE, listening).await.expect("it stayed open").unwrap().unwrap();
    eventually(|| world.server.held().subscriptions == 0).await;
}

#[tokio::test]
async fn a_batch_and_a_resumed_call_are_no_way_round() {
    let world = world(vec![stage::echo(), writer(), stage::buying()]);
    let batching = *Revision::ALL.iter().find(|revision| revision.batches()).unwrap();
    let older = Script::open(&world, Channel::Stdio, batching, able()).await;
    let newer = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let asked = newer.call("buying", json!({})).await;
    let state = asked.result()["requestState"].clone();

    world.freeze.freeze(Extent::Writes, "alice", None).unwrap();
    let call = |id: u64, name: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {}}});
    let answer = older.send(json!([call(1, "writer"), call(2, "echo"), call(3, "writer")])).await;
    let answers: Value = serde_json::from_str(answer.body.as_deref().unwrap()).unwrap();
    for one in answers.as_array().unwrap() {
        assert_eq!(one["result"]["isError"].as_bool().unwrap_or_default(), one["id"] != 2, "{one}");
    }
    let answers = json!({"user_name": {"action": "accept", "content": {"name": "Ann"}}});
    let params = json!({"name": "buying", "arguments": {}, "inputResponses": answers, "requestState": state});
    let resumed = newer.ask("tools/call", params).await;
    assert_eq!(kind(&resumed), "Frozen", "{}", resumed.body);
}

/// A tool that writes and asks for approval under the standard policy.
fn office() -> (Ground, World) {
    let ground = Ground { policy: "standard", approvals: true, ..Ground::new() };
    let writer =
        played(ToolSpec { effect: Effect::Write, ..spec("order", json!({})) }, |_, _| text("ordered"));
    let world = ground.world(vec![writer]);
    (ground, world)
}

fn approve(world: &World, operator: &Operator) {
    let approvals = world.approvals.as_ref().unwrap();
    let open = approvals.list().unwrap().into_iter().find(|one| one.status == Status::Pending).unwrap();
    let shown = approvals.show(&open.record.id).unwrap();
    approvals.decide(&shown, Decision::Approve, operator).unwrap();
}

#[tokio::test]
async fn an_approved_call_does_not_run_while_frozen_and_its_grant_is_not_lost() {
    let (_ground, world) = office();
    let alice = enrolled(world.approvals.as_ref().unwrap(), "olga");
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    assert_eq!(kind(&client.call("order", json!({})).await), "NeedsApproval");
    approve(&world, &alice);
    world.freeze.freeze(Extent::Writes, "alice", None).unwrap();
    assert_eq!(kind(&client.call("order", json!({})).await), "Frozen");
    world.freeze.lift(&alice).unwrap();
    assert_eq!(client.call("order", json!({})).await.result()["content"][0]["text"], "ordered");
}

#[tokio::test]
async fn a_task_that_waits_is_dropped_and_none_can_begin() {
    let (_ground, world) = office();
    let alice = enrolled(world.approvals.as_ref().unwrap(), "olga");
    let mut able = able();
    able["extensions"] = json!({"io.modelcontextprotocol/tasks": {}});
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able).await;
    let waiting = client.call("order", json!({})).await;
    let id = waiting.result()["taskId"].as_str().unwrap().to_owned();
    world.freeze.freeze(Extent::Writes, "alice", None).unwrap();
    let looking = async {
        loop {
            let task = client.ask("tasks/get", json!({"taskId": id})).await.result().clone();
            if task["status"] != "working" {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let task = tokio::time::timeout(PATIENCE, looking).await.expect("it goes on waiting");
    assert_eq!(task["result"]["structuredContent"]["error"]["kind"], "Frozen", "{task}");
    // agreeing now brings nothing back
    approve(&world, &alice);
    assert_eq!(kind(&client.call("order", json!({})).await), "Frozen");
    world.freeze.freeze(Extent::All, "alice", None).unwrap();
    let refused = client.ask("tasks/get", json!({"taskId": id})).await;
    assert_eq!(kind(&refused), "Frozen");
}

#[test]
fn only_an_enrolled_operators_signature_about_this_freeze_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let state = folder.path().join("state");
    let approvals = Approvals::open(&approvals::Config::default(), &state, clock.clone()).unwrap();
    let freeze = Freeze::open(&state, approvals.clone(), clock.clone()).unwrap();
    let alice = enrolled(&approvals, "alice");
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("state");
    let other = Approvals::open(&approvals::Config::default(), &other, clock.clone()).unwrap();
    let stranger = enrolled(&other, "alice");
    let file = state.join("freeze.json");
    let held = |what: &str| {
        freeze.refresh();
        assert_eq!(freeze.extent(), Extent::All, "{what}");
    };
    assert_eq!(freeze.lift(&alice).unwrap_err().kind(), Kind::BadConfig, "nothing is frozen");
    let notice = freeze.freeze(Extent::All, "bob", None).unwrap();

    assert_eq!(freeze.lift(&stranger).unwrap_err().kind(), Kind::Forbidden);
    held("a stranger of the same name");
    std::fs::remove_file(&file).unwrap();
    held("the file is gone");
    let forged = Sheet::lifted(notice.clone(), 1, &stranger);
    std::fs::write(&file, forged.bytes().unwrap()).unwrap();
    held("a lift that nobody proves");
    let fresh = Freeze::open(&state, approvals.clone(), clock.clone()).unwrap();
    assert_eq!(fresh.extent(), Extent::All, "nor for a new process");
    let another = Notice::new(Extent::Writes, notice.at - 5, "bob", None);
    std::fs::write(&file, Sheet::lifted(another.clone(), 2, &alice).bytes().unwrap()).unwrap();
    held("the end of an earlier freeze");
    std::fs::write(&file, Sheet::frozen(another).bytes().unwrap()).unwrap();
    held("a narrower freeze");
    let mut widened = serde_json::to_value(Sheet::lifted(notice.clone(), 3, &alice)).unwrap();
    widened["lift"]["at"] = json!(4);
    std::fs::write(&file, widened.to_string()).unwrap();
    held("a lift that was edited");
    std::fs::write(&file, "{").unwrap();
    held("a damaged file");
    let fresh = Freeze::open(&state, approvals.clone(), clock.clone()).unwrap();
    assert_eq!(fresh.extent(), Extent::All, "nor for a new process");
    assert!(freeze.freeze(Extent::Writes, "bob", None).is_err(), "less than holds");
    freeze.lift(&alice).unwrap();
    assert_eq!(freeze.extent(), Extent::Nothing);
    // an old freeze that comes back late is no news, whoever tells it
    assert!(!freeze.hear(Sheet::frozen(notice)).unwrap());
    assert_eq!(freeze.extent(), Extent::Nothing);
}

#[test]
fn a_file_that_was_removed_or_put_back_from_before_ends_no_freeze_for_later_processes() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let state = folder.path().join("state");
    let approvals = Approvals::open(&approvals::Config::default(), &state, clock.clone()).unwrap();
    let alice = enrolled(&approvals, "alice");
    let open = || Freeze::open(&state, approvals.clone(), clock.clone()).unwrap();
    let (file, copy) = (state.join("freeze.json"), state.join("freeze.kept.json"));
    open().freeze(Extent::Writes, "bob", None).unwrap();
    clock.advance(Duration::from_secs(1));
    open().lift(&alice).unwrap();
    let lifted = std::fs::read(&file).unwrap();
    assert_eq!(open().extent(), Extent::Nothing);
    clock.advance(Duration::from_secs(1));
    open().freeze(Extent::Writes, "bob", None).unwrap();
    for path in [&file, &copy] {
        std::fs::remove_file(path).unwrap();
        assert_eq!(open().extent(), Extent::Writes, "{} has gone", path.display());
        assert!(path.exists(), "and is put back");
        std::fs::write(path, &lifted).unwrap();
        assert_eq!(open().extent(), Extent::Writes, "the end of an earlier freeze");
        let whole = std::fs::read(if path == &file { &copy } else { &file }).unwrap();
        std::fs::write(path, "{").unwrap();
        assert_eq!(open().extent(), Extent::All, "where one of them cannot be read, nothing runs");
        std::fs::write(path, &whole).unwrap();
        assert_eq!(open().extent(), Extent::Writes);
    }
    open().lift(&alice).unwrap();
    for path in [&file, &copy] {
        std::fs::remove_file(path).unwrap();
        assert_eq!(open().extent(), Extent::Nothing, "what was lifted stays lifted");
    }
}

#[test]
fn instances_that_hear_the_same_in_any_order_agree() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let config = approvals::Config { operators: Some(keys), ..approvals::Config::default() };
    let open = |name: &str| {
        let state = folder.path().join(name);
        let approvals = Approvals::open(&config, &state, clock.clone()).unwrap();
        (approvals.clone(), Freeze::open(&state, approvals, clock.clone()).unwrap())
    };
    let (approvals, one) = open("one");
    let alice = enrolled(&approvals, "alice");
    let mut sheets = Vec::new();
    for extent in [Extent::Writes, Extent::All] {
        one.freeze(extent, "alice", None).unwrap();
        sheets.push(one.sheet().unwrap());
    }
    clock.advance(Duration::from_secs(1));
    one.lift(&alice).unwrap();
    sheets.push(one.sheet().unwrap());
    for (name, order) in [("a", [0, 1, 2]), ("b", [1, 2, 0]), ("c", [2, 1, 0]), ("d", [2, 0, 1])] {
        let (_, freeze) = open(name);
        for index in order {
            freeze.hear(sheets[index].clone()).unwrap();
        }
        assert_eq!(freeze.extent(), Extent::Nothing, "{order:?}");
    }
}

#[tokio::test]
async fn a_whole_server_stops_within_a_second_by_itself() {
    let mut tries = Vec::new();
    while !in_time(&mut tries, stops_by_itself().await) {}
}

/// How long it took.
async fn stops_by_itself() -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let hanging = Hanging::new();
    let text = "state_dir = 'state'\npolicy = { set = 'admin' }\ndiagnostics = true";
    let mut config = Config::parse(text, "bartizan.toml").unwrap();
    config.state_dir = Some(folder.path().join("state"));
    let app = App::build(config, Extra { tools: vec![hanging.clone()], ..Extra::default() }).await.unwrap();
    let running = {
        let app = app.clone();
        tokio::spawn(async move { app.call("hanging", Map::new(), &app.context()).await.map(|_| ()) })
    };
    eventually(|| hanging.started.load(Ordering::SeqCst) == 1).await;
    // another process
    let state = folder.path().join("state");
    let clock = SystemClock::shared();
    let approvals = Approvals::open(&approvals::Config::default(), &state, clock.clone()).unwrap();
    let began = std::time::Instant::now();
    Freeze::open(&state, approvals, clock).unwrap().freeze(Extent::All, "alice", None).unwrap();
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("it goes on").unwrap();
    assert_eq!(ended.unwrap_err().kind(), Kind::Frozen);
    let took = began.elapsed();
    let outcome: Result<Outcome, _> = app.call("whoami", Map::new(), &app.context()).await;
    assert_eq!(outcome.err().unwrap().kind(), Kind::Frozen);
    let path = app.audit().path().to_path_buf();
    eventually(|| std::fs::read_to_string(&path).unwrap().contains("frozen here")).await;
    app.close().await.unwrap();
    took
}
