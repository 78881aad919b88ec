//! Sessions, cancelling, streams that listen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bartizan::catalog::List;
use bartizan::json::{Value, json};
use bartizan::pipeline::Tool;
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Door;
use bartizan::server::Config;
use bartizan::transport::{Channel, HeaderFacts};

use crate::stage::{self, Hanging};
use crate::support::{Script, Underway, able, matrix, newest, settle, world, world_with};

const CHANNELS: [Channel; 2] = [Channel::Stdio, Channel::Http];

#[tokio::test]
async fn a_version_is_agreed_on_and_a_bad_handshake_is_not() {
    let world = world(stage::all());
    let handshake = newest(Door::Handshake);
    for channel in CHANNELS {
        for asked in ["1999-01-01", newest(Door::Envelope).name(), handshake.name()] {
            let client = Script::closed(&world, channel, handshake);
            assert_eq!(client.initialize(asked).await.result()["protocolVersion"], handshake.name());
        }
        let client = Script::closed(&world, channel, handshake);
        let info = json!({"name": "n", "version": "1"});
        for params in [
            json!({}),
            json!({"capabilities": {}, "clientInfo": info}),
            json!({"protocolVersion": "x", "clientInfo": info}),
            json!({"protocolVersion": "x", "capabilities": {}}),
            json!({"protocolVersion": "x", "capabilities": {}, "clientInfo": {"name": 7, "version": "1"}}),
        ] {
            let heard = client.raw("initialize", params, HeaderFacts::default()).heard().await;
            assert_eq!(heard.fault().1, -32602);
            assert_eq!(heard.answer.session, None);
        }
        client.initialize(handshake.name()).await.result();
        if channel == Channel::Stdio {
            assert_eq!(client.initialize(handshake.name()).await.fault().1, -32600);
        }
    }
}

// proves: session-owned
#[tokio::test]
async fn a_session_ends_expires_and_is_its_owners() {
    let world = world(stage::all());
    let handshake = newest(Door::Handshake);
    let client = Script::open(&world, Channel::Http, handshake, able()).await;
    let session = client.session.clone().unwrap();
    assert!(session.len() >= 22 && session.bytes().all(|byte| byte.is_ascii_graphic()));

    let mut thief = Script::closed(&world, Channel::Http, handshake);
    thief.principal = Arc::new(Principal::new("key:mallory", PrincipalKind::ApiKey));
    thief.session = Some(session.clone());
    assert_eq!(thief.ask("tools/list", json!({})).await.answer.status, 404);
    assert_eq!(thief.close().await.status, 404);
    assert!(thief.listen().1.await.unwrap().is_err());

    let odd = |versions: &[&str]| HeaderFacts {
        session: Some(session.clone()),
        revision: versions.iter().map(ToString::to_string).collect(),
        ..HeaderFacts::default()
    };
    let with = async |versions: &[&str]| {
        client.raw("tools/list", json!({}), odd(versions)).heard().await.answer.status
    };
    assert_eq!(with(&[]).await, 200, "the session knows its revision");
    assert_eq!(with(&["1999-01-01"]).await, 400);
    assert_eq!(with(&[handshake.name(), handshake.name()]).await, 400);

    world.clock.advance(Duration::from_secs(Config::default().session_idle_seconds - 1));
    client.ask("tools/list", json!({})).await.result();
    assert_eq!(client.close().await.status, 204);
    assert_eq!(client.ask("tools/list", json!({})).await.answer.status, 404);
    assert_eq!(client.close().await.status, 404);

    let idle = Script::open(&world, Channel::Http, handshake, able()).await;
    world.clock.advance(Duration::from_secs(Config::default().session_idle_seconds));
    let heard = idle.ask("tools/list", json!({})).await;
    assert_eq!(heard.answer.status, 404);
    assert_eq!(heard.body["id"], 2, "under the request's id");
}

// proves: no-session-in-the-newest
#[tokio::test]
async fn sessions_are_for_the_older_door_only() {
    let world = world(stage::all());
    let mut client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    assert_eq!(client.close().await.status, 405);
    assert_eq!(client.listen().1.await.unwrap().unwrap_err().status, 405);
    client.session = Some("made-up".into());
    let heard = client.ask("tools/list", json!({})).await;
    heard.result();
    assert_eq!(heard.answer.session, None);
    assert_eq!(client.close().await.status, 405);
    assert_eq!(client.notify("notifications/cancelled", json!({"requestId": 1})).await.status, 202);
}

// proves: session-owned
#[tokio::test]
async fn one_caller_cannot_take_all_sessions() {
    let config = Config { sessions: 4, sessions_each: 3, ..Config::default() };
    let world = world_with(stage::all(), "admin", config);
    let handshake = newest(Door::Handshake);
    for _ in 0..8 {
        Script::open(&world, Channel::Http, handshake, able()).await;
    }
    let mut other = Script::closed(&world, Channel::Http, handshake);
    other.principal = Arc::new(Principal::new("key:bob", PrincipalKind::ApiKey));
    other.initialize(handshake.name()).await.result();
    assert_eq!(other.initialize(handshake.name()).await.answer.status, 503);
}

/// A hanging call that has begun.
async fn hanging(client: &Script, tool: &Hanging) -> Underway {
    let before = tool.started.load(Ordering::SeqCst);
    let call = client.start("tools/call", json!({"name": "hanging", "arguments": {}}));
    tokio::time::timeout(crate::support::PATIENCE, async {
        while tool.started.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the tool never started");
    call
}

// proves: closed-stream-cancels, cancelled-unanswered
#[tokio::test]
async fn a_cancelled_call_is_dropped_and_has_no_answer() {
    for (channel, revision) in matrix() {
        let tool = Hanging::new();
        let world = world(vec![tool.clone() as Arc<dyn Tool>]);
        let client = Script::open(&world, channel, revision, able()).await;
        let call = hanging(&client, &tool).await;
        if channel == Channel::Http && revision.door() == Door::Envelope {
            call.gone.cancel();
        } else {
            client.notify("notifications/cancelled", json!({"requestId": 999})).await;
            settle().await;
            assert_eq!(tool.dropped.load(Ordering::SeqCst), 0, "somebody else's id");
            client.notify("notifications/cancelled", json!({"requestId": call.id})).await;
        }
        let heard = call.heard().await;
        assert_eq!(heard.answer.body, None);
        assert_eq!(tool.dropped.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_session_that_is_ended_ends_its_calls() {
    let tool = Hanging::new();
    let world = world(vec![tool.clone() as Arc<dyn Tool>]);
    let client = Script::open(&world, Channel::Http, newest(Door::Handshake), able()).await;
    let call = hanging(&client, &tool).await;
    assert_eq!(client.close().await.status, 204);
    assert_eq!(call.heard().await.answer.body, None);
}

#[tokio::test]
async fn an_id_runs_once_at_a_time() {
    let tool = Hanging::new();
    let world = world(vec![tool.clone() as Arc<dyn Tool>]);
    for revision in [newest(Door::Handshake), newest(Door::Envelope)] {
        let client = Script::open(&world, Channel::Stdio, revision, able()).await;
        let call = hanging(&client, &tool).await;
        let twin = json!({"jsonrpc": "2.0", "id": call.id, "method": "tools/list", "params": client.dressed(json!({}))});
        assert_eq!(client.send(twin.clone()).await.status, 400);
        client.notify("notifications/cancelled", json!({"requestId": call.id})).await;
        call.heard().await;
        assert_eq!(client.send(twin).await.status, 200);
    }
}

#[tokio::test]
async fn one_connection_may_use_both_doors() {
    let world = world(stage::all());
    let mut client = Script::open(&world, Channel::Stdio, newest(Door::Handshake), able()).await;
    client.call("echo", json!({"text": "older"})).await.result();
    client.revision = newest(Door::Envelope);
    assert_eq!(client.call("echo", json!({})).await.result()["resultType"], "complete");
    client.ask("server/discover", json!({})).await.result();
    client.revision = newest(Door::Handshake);
    client.ask("ping", json!({})).await.result();
}

// proves: listen-only-what-was-asked
#[tokio::test]
async fn a_listen_stream_hears_what_it_asked_for_and_only_that() {
    for channel in CHANNELS {
        let world = world(stage::all());
        let client = Script::open(&world, channel, newest(Door::Envelope), able()).await;
        let wanted = json!({
            "toolsListChanged": true, "promptsListChanged": false,
            "resourceSubscriptions": ["note://today", "note://none"]
        });
        let stream = client.start("subscriptions/listen", json!({"notifications": wanted}));
        let first = stream.outlet.find(|_| true).await;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(
            first["params"]["notifications"],
            json!({"toolsListChanged": true, "resourceSubscriptions": ["note://today"]})
        );
        assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], stream.id);

        let rest: Vec<Arc<dyn Tool>> = vec![stage::note("note://new", "new"), stage::writer()];
        world.catalog.add(rest).unwrap();
        world.server.resource_updated("note://new");
        world.server.resource_updated("note://today");
        assert!(world.catalog.remove(List::Tools, "writer"));
        let updated = stream.outlet.method("notifications/resources/updated").await;
        assert_eq!(updated["params"]["uri"], "note://today");
        let methods = |said: &[Value]| -> Vec<String> {
            said.iter().filter_map(|one| one["method"].as_str().map(str::to_owned)).collect()
        };
        let said = stream.outlet.said();
        assert_eq!(
            methods(&said)[1..],
            [
                "notifications/tools/list_changed",
                "notifications/resources/updated",
                "notifications/tools/list_changed"
            ]
        );
        assert!(
            said.iter()
                .all(|one| one["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == stream.id)
        );
        world.server.stop();
        let (id, ended) = (stream.id, stream.heard().await);
        assert_eq!(ended.result()["_meta"]["io.modelcontextprotocol/subscriptionId"], id);
        assert_eq!(ended.result()["resultType"], "complete");
        assert_eq!(methods(&ended.said).last().unwrap(), "notifications/cancelled");
    }
}

#[tokio::test]
async fn a_listen_stream_ends_when_its_client_says_so_goes_or_lags() {
    let world = world_with(stage::all(), "admin", Config { subscriptions_each: 2, ..Config::default() });
    for channel in CHANNELS {
        let client = Script::open(&world, channel, newest(Door::Envelope), able()).await;
        let params = || json!({"notifications": {"toolsListChanged": true}});
        let open = async || {
            let stream = client.start("subscriptions/listen", params());
            let id = json!(stream.id);
            stream
                .outlet
                .find(|one| one["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == id)
                .await;
            stream
        };
        let (one, two) = (open().await, open().await);
        let third = client.ask("subscriptions/listen", params()).await;
        assert_eq!(third.body["error"]["data"]["kind"], "RateLimited");
        if channel == Channel::Stdio {
            client.notify("notifications/cancelled", json!({"requestId": one.id})).await;
        } else {
            one.gone.cancel();
        }
        assert_eq!(one.heard().await.answer.body, None);
        two.outlet.fill();
        world.catalog.add(vec![stage::writer()]).unwrap();
        assert!(world.catalog.remove(List::Tools, "writer"));
        two.heard().await.result();
        let bad = client.ask("subscriptions/listen", json!({"notifications": {"toolsListChanged": 1}})).await;
        assert_eq!(bad.fault(), (400, -32602));
        assert_eq!(client.ask("subscriptions/listen", json!({})).await.fault(), (400, -32602));
    }
    // the end of a connection ends its streams in order
    let client = Script::open(&world, Channel::Stdio, newest(Door::Envelope), able()).await;
    let stream = client.start("subscriptions/listen", json!({"notifications": {}}));
    stream.outlet.method("notifications/subscriptions/acknowledged").await;
    client.close().await;
    stream.heard().await.result();
}

#[tokio::test]
async fn the_older_door_hears_changes_on_its_connection_or_its_get_stream() {
    for channel in CHANNELS {
        let world = world(stage::all());
        let client = Script::open(&world, channel, newest(Door::Handshake), able()).await;
        assert_eq!(client.ask("resources/subscribe", json!({"uri": "note://none"})).await.fault().1, -32002);
        client.ask("resources/subscribe", json!({"uri": "note://today"})).await.result();
        let (heard, listening) = if channel == Channel::Http {
            let (former, replaced, _) = client.listen();
            settle().await;
            let (heard, listening, gone) = client.listen();
            assert!(replaced.await.unwrap().is_ok(), "the newest stream is the one");
            assert!(former.said().is_empty());
            (heard, Some((listening, gone)))
        } else {
            (Arc::clone(&client.wire), None)
        };
        settle().await;
        world.catalog.add(vec![stage::writer()]).unwrap();
        world.server.resource_updated("note://today");
        let updated = heard.method("notifications/resources/updated").await;
        assert_eq!(updated["params"], json!({"uri": "note://today"}));
        heard.method("notifications/tools/list_changed").await;
        client.ask("resources/unsubscribe", json!({"uri": "note://today"})).await.result();
        let before = heard.said().len();
        world.server.resource_updated("note://today");
        assert_eq!(heard.said().len(), before);
        if let Some((listening, gone)) = listening {
            gone.cancel();
            assert!(listening.await.unwrap().is_ok());
        }
    }
}

// proves: ready-first
#[tokio::test]
async fn nobody_hears_anything_before_it_is_ready() {
    let world = world(stage::all());
    let client = Script::closed(&world, Channel::Stdio, newest(Door::Handshake));
    client.initialize(client.revision.name()).await.result();
    world.catalog.add(vec![stage::writer()]).unwrap();
    assert!(client.wire.said().is_empty());
    client.notify("notifications/initialized", json!({})).await;
    assert!(world.catalog.remove(List::Tools, "writer"));
    client.wire.method("notifications/tools/list_changed").await;
}
