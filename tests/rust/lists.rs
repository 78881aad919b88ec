//! Lists that change while clients look at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bartizan::catalog::List;
use bartizan::json::{Value, json};
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{self, Approved, BoxFuture, Context, Halt, Reply, Rules, Tool, ToolSpec};
use bartizan::policy::{self, Effect, Filter, Policy};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::types::ToolResult;
use bartizan::protocol::{Door, Revision};
use bartizan::redaction::{self, Redactor};
use bartizan::server::Config;
use bartizan::transport::Channel;
use tokio::sync::Notify;

use crate::stage;
use crate::support::{PATIENCE, Recorder, Script, World, able, matrix, newest, settle, world, world_with};

fn names(result: &Value, member: &str) -> Vec<String> {
    let entries = result[member].as_array().unwrap();
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// What a client of any revision listens to for changes of lists.
async fn ear(client: &Script) -> Arc<Recorder> {
    if client.revision.door() == Door::Envelope {
        let wanted =
            json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
        let stream = client.start("subscriptions/listen", json!({"notifications": wanted}));
        stream.outlet.method("notifications/subscriptions/acknowledged").await;
        return Arc::clone(&stream.outlet);
    }
    if client.channel == Channel::Stdio {
        return Arc::clone(&client.wire);
    }
    let (heard, _, _) = client.listen();
    settle().await;
    heard
}

fn count(heard: &Recorder, method: &str) -> usize {
    heard.said().iter().filter(|message| message["method"] == method).count()
}

/// The same world under another policy.
pub(crate) fn under(world: &World, policy: &str, filter: Filter) -> Arc<pipeline::Line> {
    let rules = Rules {
        limiter: Arc::new(Limiter::new(&limits::Config::default(), world.clock.clone())),
        policy: Arc::new(Policy::load(&policy::Config::of(policy)).unwrap()),
        filter,
        redactor: Redactor::new(&redaction::Config::default()).unwrap(),
        config: pipeline::Config::default(),
    };
    Arc::new(world.catalog.now().line().unwrap().renewed(rules))
}

// proves: lists-told
#[tokio::test]
async fn everybody_who_asked_hears_of_each_list_that_changes() {
    for (channel, revision) in matrix() {
        let world = world(stage::all());
        let client = Script::open(&world, channel, revision, able()).await;
        let heard = ear(&client).await;
        let (tools, prompts, resources) = (
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
        );
        world.catalog.add(vec![stage::writer()]).unwrap();
        heard.method(tools).await;
        assert_eq!((count(&heard, prompts), count(&heard, resources)), (0, 0), "{channel:?} {revision}");
        assert!(world.catalog.remove(List::Prompts, "greeting"));
        heard.method(prompts).await;
        assert!(world.catalog.remove(List::Templates, "page"));
        heard.method(resources).await;
        assert_eq!(count(&heard, tools), 1);
        let listed = client.ask("tools/list", json!({})).await;
        assert!(names(listed.result(), "tools").contains(&String::from("writer")));
    }
}

#[tokio::test]
async fn a_list_that_becomes_empty_stays_a_list() {
    for (channel, revision) in matrix() {
        let world = world(stage::all());
        let client = Script::open(&world, channel, revision, able()).await;
        assert!(world.catalog.remove(List::Prompts, "greeting"));
        let empty = client.ask("prompts/list", json!({})).await;
        assert_eq!(empty.result()["prompts"], json!([]), "{channel:?} {revision}");
        let gone = client.ask("prompts/get", json!({"name": "greeting"})).await;
        assert_eq!(gone.fault().1, -32602, "it was a prompt, and is none any more");
    }
}

/// A tool that ends when it is told to.
struct Held {
    spec: ToolSpec,
    started: Notify,
    go: Notify,
    left: AtomicBool,
}

impl Held {
    fn new() -> Arc<Self> {
        let spec = ToolSpec { effect: Effect::Read, ..ToolSpec::new("held") };
        Arc::new(Self { spec, started: Notify::new(), go: Notify::new(), left: AtomicBool::new(false) })
    }
}

impl Tool for Held {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, _: &'a Approved, _: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            self.started.notify_one();
            self.go.notified().await;
            self.left.store(true, Ordering::SeqCst);
            Ok(Reply::Tool(ToolResult::text("late, and whole")))
        })
    }
}

#[tokio::test]
async fn a_call_of_a_removed_tool_finishes_and_the_next_one_finds_none() {
    for (channel, revision) in matrix() {
        let world = world(stage::all());
        let held = Held::new();
        world.catalog.add(vec![held.clone() as Arc<dyn Tool>]).unwrap();
        let client = Script::open(&world, channel, revision, able()).await;
        let running = client.start("tools/call", json!({"name": "held", "arguments": {}}));
        tokio::time::timeout(PATIENCE, held.started.notified()).await.unwrap();
        assert!(world.catalog.remove(List::Tools, "held"));
        assert_eq!(client.call("held", json!({})).await.fault().1, -32602);
        held.go.notify_one();
        let done = running.heard().await;
        assert_eq!(done.result()["content"][0]["text"], "late, and whole", "{channel:?} {revision}");
        assert!(held.left.load(Ordering::SeqCst));
    }
}

// proves: cursor-for-its-list
#[tokio::test]
async fn a_cursor_holds_only_for_the_list_it_was_given_for() {
    let config = Config { page_size: 2, ..Config::default() };
    for (channel, revision) in matrix() {
        let world = world_with(stage::all(), "admin", config.clone());
        let client = Script::open(&world, channel, revision, able()).await;
        let cursor = async || client.ask("tools/list", json!({})).await.result()["nextCursor"].clone();
        let first = cursor().await;
        // another list has changed: what this one shows has not
        assert!(world.catalog.remove(List::Prompts, "greeting"));
        let next = client.ask("tools/list", json!({"cursor": first})).await;
        assert_eq!(names(next.result(), "tools"), ["lister", "failing"]);
        // what is not seen does not count: the second page would be the same
        let hidden =
            under(&world, "admin", Filter { without: ["writer".into()].into(), ..Filter::default() });
        world.catalog.govern(hidden);
        world.catalog.add(vec![stage::writer()]).unwrap();
        client.ask("tools/list", json!({"cursor": first})).await.result();
        // now it would not be the list that was begun
        assert!(world.catalog.remove(List::Tools, "echo"));
        let stale = client.ask("tools/list", json!({"cursor": first})).await;
        assert_eq!(stale.fault().1, -32602);
        assert!(
            stale.body["error"]["message"].as_str().unwrap().contains("list has changed"),
            "{}",
            stale.body
        );
        let again = cursor().await;
        let next = client.ask("tools/list", json!({"cursor": again})).await;
        assert_eq!(names(next.result(), "tools"), ["failing", "asking"]);
    }
}

#[tokio::test]
async fn what_somebody_sees_is_remembered_and_never_told_to_another() {
    let tools: Vec<Arc<dyn Tool>> = vec![stage::echo(), stage::writer()];
    let world = world(tools);
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let mut reader = Script::closed(&world, Channel::Http, newest(Door::Envelope));
    // the very same id, whose key grants less
    let mut less = Principal::new("key:alice", PrincipalKind::ApiKey);
    less.scopes = ["read".to_owned()].into();
    reader.principal = Arc::new(less);
    for _ in 0..3 {
        let all = client.ask("tools/list", json!({})).await;
        assert_eq!(names(all.result(), "tools"), ["echo", "writer"]);
        let some = reader.ask("tools/list", json!({})).await;
        assert_eq!(names(some.result(), "tools"), ["echo"]);
    }
    // other rules, another list: at once
    world
        .catalog
        .reconfigure(vec![stage::echo(), stage::writer()], under(&world, "read-only", Filter::default()))
        .unwrap();
    let some = client.ask("tools/list", json!({})).await;
    assert_eq!(names(some.result(), "tools"), ["echo"]);
    assert_eq!(client.call("writer", json!({})).await.fault().1, -32602);
}

#[tokio::test]
async fn new_rules_are_a_change_of_every_list_they_may_shape() {
    let world = world(stage::all());
    let client = Script::open(&world, Channel::Stdio, newest(Door::Handshake), able()).await;
    let heard = ear(&client).await;
    let before = world.catalog.now();
    world.catalog.reconfigure(stage::all(), under(&world, "admin", Filter::default())).unwrap();
    assert_eq!(heard.said().len(), 0, "nothing looks different");
    assert!(world.catalog.now().version() > before.version());
    world.catalog.reconfigure(stage::all(), under(&world, "read-only", Filter::default())).unwrap();
    for list in ["tools", "prompts", "resources"] {
        let method = format!("notifications/{list}/list_changed");
        assert_eq!(count(&heard, &method), 1, "{method}");
    }
    // what was added at run time survives, and what configuration has no more is gone
    world.catalog.add(vec![Held::new() as Arc<dyn Tool>]).unwrap();
    world.catalog.reconfigure(vec![stage::echo()], under(&world, "admin", Filter::default())).unwrap();
    let listed = client.ask("tools/list", json!({})).await;
    assert_eq!(names(listed.result(), "tools"), ["echo", "held"]);
    // a clash refuses the whole
    let clash: Vec<Arc<dyn Tool>> = vec![stage::writer(), Held::new()];
    assert!(world.catalog.reconfigure(clash, under(&world, "read-only", Filter::default())).is_err());
    let listed = client.ask("tools/list", json!({})).await;
    assert_eq!(names(listed.result(), "tools"), ["echo", "held"]);
}

// proves: lists-told
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_stay_whole_while_threads_add_and_remove() {
    let config = Config { page_size: 3, ..Config::default() };
    let world = world_with(stage::all(), "admin", config);
    let client = Script::open(&world, Channel::Stdio, Revision::NEWEST, able()).await;
    let fixed = stage::all().iter().filter(|tool| tool.spec().family == pipeline::Family::Tool).count();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let (catalog, stop) = (Arc::clone(&world.catalog), Arc::clone(&stop));
            std::thread::spawn(move || {
                let name = format!("passing_{number}");
                let spec = || ToolSpec { effect: Effect::Read, ..ToolSpec::new(name.as_str()) };
                while !stop.load(Ordering::SeqCst) {
                    let one =
                        Held { spec: spec(), started: Notify::new(), go: Notify::new(), left: false.into() };
                    catalog.add(vec![Arc::new(one) as Arc<dyn Tool>]).unwrap();
                    assert!(catalog.remove(List::Tools, &name));
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..200 {
        let (mut seen, mut params) = (Vec::new(), json!({}));
        loop {
            let heard = client.ask("tools/list", params).await;
            if heard.body.get("error").is_some() {
                refused += 1;
                break;
            }
            seen.extend(names(heard.result(), "tools"));
            let Some(cursor) = heard.result().get("nextCursor") else {
                let passing = seen.iter().filter(|name| name.starts_with("passing_")).count();
                assert_eq!(seen.len() - passing, fixed, "{seen:?}");
                whole += 1;
                break;
            };
            params = json!({"cursor": cursor});
        }
    }
    stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(whole + refused, 200);
}

#[tokio::test]
async fn who_may_see_a_resource_no_more_hears_of_it_no_more() {
    for (channel, revision) in matrix() {
        let notes = || vec![stage::note("note://today", "today"), stage::note("note://later", "later")];
        let world = world(notes());
        let client = Script::open(&world, channel, revision, able()).await;
        let heard = if revision.door() == Door::Envelope {
            let wanted = json!({"resourceSubscriptions": ["note://today", "note://later"]});
            let stream = client.start("subscriptions/listen", json!({"notifications": wanted}));
            stream.outlet.method("notifications/subscriptions/acknowledged").await;
            Arc::clone(&stream.outlet)
        } else {
            for uri in ["note://today", "note://later"] {
                client.ask("resources/subscribe", json!({"uri": uri})).await.result();
            }
            ear(&client).await
        };
        let updated = |uri: &'static str| {
            move |message: &Value| {
                message["method"] == "notifications/resources/updated" && message["params"]["uri"] == uri
            }
        };
        world.server.resource_updated("note://today");
        heard.find(updated("note://today")).await;
        let filter = Filter { without: [String::from("today")].into(), ..Filter::default() };
        world.catalog.reconfigure(notes(), under(&world, "admin", filter)).unwrap();
        world.server.resource_updated("note://today");
        world.server.resource_updated("note://later");
        heard.find(updated("note://later")).await;
        let told = heard.said().into_iter().filter(|message| updated("note://today")(message)).count();
        assert_eq!(told, 1, "{channel:?} {revision}");
    }
}
