//! Questions to the client: sealed state in the newer revisions, requests on the stream in the older.

use std::sync::Arc;
use std::time::Duration;

use bartizan::json::{Value, json};
use bartizan::pipeline::{Context, Halt, Reply, Tool, ToolSpec};
use bartizan::policy::{Effect, Filter};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Door;
use bartizan::protocol::types::{Ask, Asks, ToolResult};
use bartizan::server::Config;
use bartizan::transport::{Channel, Delivery, Handler};

use crate::lists::under;
use crate::stage;
use crate::support::{Ground, Heard, Recorder, Script, World, able, newest, settle, world, world_with};

const CHANNELS: [Channel; 2] = [Channel::Stdio, Channel::Http];

fn accept(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

async fn newer(world: &World, channel: Channel) -> Script {
    Script::open(world, channel, newest(Door::Envelope), able()).await
}

async fn again(client: &Script, name: &str, arguments: Value, responses: Value, state: &Value) -> Heard {
    let mut params = json!({"name": name, "arguments": arguments, "inputResponses": responses});
    if !state.is_null() {
        params["requestState"] = state.clone();
    }
    client.ask("tools/call", params).await
}

#[tokio::test]
async fn the_newer_door_asks_in_its_result_and_takes_the_answer_back() {
    let world = world(stage::all());
    for channel in CHANNELS {
        let client = newer(&world, channel).await;
        let asked = client.call("asking", json!({"greeting": "Hi"})).await;
        let result = asked.result();
        assert_eq!(result["resultType"], "input_required");
        assert_eq!(result["inputRequests"]["user_name"]["method"], "elicitation/create");
        assert!(asked.said.is_empty(), "never a request on the stream");
        let state = &result["requestState"];
        let told =
            again(&client, "asking", json!({"greeting": "Hi"}), json!({"user_name": accept("Ann")}), state)
                .await;
        assert_eq!(told.result()["content"][0]["text"], "Hi, Ann!");
        let declined = json!({"user_name": {"action": "decline"}});
        let told = again(&client, "asking", json!({"greeting": "Hi"}), declined, state).await;
        assert_eq!(told.result()["content"][0]["text"], "You would not say.");
    }
}

// proves: state-sealed
#[tokio::test]
async fn a_state_that_is_not_this_calls_is_refused_in_one_sentence() {
    let world = world(stage::all());
    let client = newer(&world, Channel::Http).await;
    let asked = client.call("asking", json!({})).await;
    let state = asked.result()["requestState"].clone();
    let answers = json!({"user_name": accept("Ann")});
    let tampered = json!(format!("{}-TAMPERED", state.as_str().unwrap()));
    let mut sentences = Vec::new();
    let mut refuse = |heard: Heard| {
        assert_eq!(heard.fault(), (400, -32602));
        sentences.push(heard.body["error"].clone());
    };
    refuse(again(&client, "asking", json!({}), answers.clone(), &tampered).await);
    refuse(again(&client, "asking", json!({"greeting": "Hi"}), answers.clone(), &state).await);
    refuse(again(&client, "asking_twice", json!({}), answers.clone(), &state).await);
    refuse(again(&client, "asking", json!({}), answers.clone(), &json!(7)).await);
    let mut other = newer(&world, Channel::Http).await;
    other.principal = Arc::new(Principal::new("key:bob", PrincipalKind::ApiKey));
    refuse(again(&other, "asking", json!({}), answers.clone(), &state).await);
    let elsewhere = Principal { tenant: Some("acme".into()), ..Principal::clone(&client.principal) };
    other.principal = Arc::new(elsewhere);
    refuse(again(&other, "asking", json!({}), answers.clone(), &state).await);
    again(&client, "asking", json!({}), answers.clone(), &state).await.result();
    world.clock.advance(Duration::from_secs(Config::default().state_ttl_seconds));
    refuse(again(&client, "asking", json!({}), answers, &state).await);
    sentences.dedup();
    assert_eq!(sentences.len(), 1);
}

// proves: answers-checked
#[tokio::test]
async fn answers_that_are_wrong_missing_or_too_many() {
    let world = world(stage::all());
    let client = newer(&world, Channel::Http).await;
    let state = client.call("asking", json!({})).await.result()["requestState"].clone();
    let nothing = Value::Null;
    // wrong: refused
    for wrong in [
        json!({"user_name": 12345}),
        json!(null),
        json!([]),
        json!({"user_name": {"action": "perhaps"}}),
        json!({"user_name": {"action": "accept", "content": {"name": 7}}}),
        json!({"user_name": {"action": "accept"}}),
        json!({"user_name": {"roots": []}}),
    ] {
        for state in [&state, &nothing] {
            let heard = again(&client, "asking", json!({}), wrong.clone(), state).await;
            assert_eq!(heard.fault(), (400, -32602), "{wrong}");
        }
    }
    // missing: asked again
    for state in [&state, &nothing] {
        let heard = again(&client, "asking", json!({}), json!({"wrong_key": accept("Ann")}), state).await;
        assert_eq!(heard.result()["resultType"], "input_required");
    }
    // too many: the rest is ignored
    let extra = json!({"user_name": accept("Ann"), "other": {"action": "accept", "content": {"x": 1}}});
    for state in [&state, &nothing] {
        let heard = again(&client, "asking", json!({}), extra.clone(), state).await;
        assert_eq!(heard.result()["content"][0]["text"], "Hello, Ann!");
    }
}

#[tokio::test]
async fn earlier_answers_ride_in_the_state() {
    let world = world(stage::all());
    for channel in CHANNELS {
        let client = newer(&world, channel).await;
        let first = client.call("asking_twice", json!({})).await;
        let second = again(
            &client,
            "asking_twice",
            json!({}),
            json!({"first": accept("A")}),
            &first.result()["requestState"],
        )
        .await;
        assert_eq!(second.result()["resultType"], "input_required");
        assert!(second.result()["inputRequests"].get("first").is_none());
        assert_ne!(second.result()["requestState"], first.result()["requestState"]);
        let done = again(
            &client,
            "asking_twice",
            json!({}),
            json!({"second": accept("B")}),
            &second.result()["requestState"],
        )
        .await;
        assert_eq!(done.result()["content"][0]["text"], "\"A\" \"B\"");
    }
}

#[tokio::test]
async fn nobody_is_asked_what_was_not_declared() {
    let world = world(stage::all());
    for channel in CHANNELS {
        for (declared, missing) in [
            (json!({}), json!({"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}})),
            (json!({"sampling": {}, "elicitation": {}}), json!({"elicitation": {"url": {}}, "roots": {}})),
        ] {
            let mut client = newer(&world, channel).await;
            client.capabilities = declared.clone();
            let heard = client.call("asking_all", json!({})).await;
            assert_eq!(heard.fault(), (400, -32021));
            assert_eq!(heard.body["error"]["data"], json!({"requiredCapabilities": missing}));
            let older = Script::open(&world, channel, newest(Door::Handshake), declared).await;
            let heard = older.call("asking_all", json!({})).await;
            assert_eq!(heard.result()["isError"], true);
            assert!(heard.said.iter().all(|message| message["method"] == Value::Null));
        }
    }
}

/// Answers every request that arrives on an outlet until the work is done.
async fn answering(client: &Script, outlet: &Recorder, answers: &[(&str, Value)]) {
    let mut done = Vec::new();
    for _ in answers {
        let request = outlet
            .find(|message| {
                message["method"].is_string() && message["id"].is_u64() && !done.contains(&message["id"])
            })
            .await;
        done.push(request["id"].clone());
        let mode = request["params"]["mode"].as_str();
        let method = mode.unwrap_or_else(|| request["method"].as_str().unwrap());
        let (_, answer) = answers.iter().find(|(name, _)| *name == method).unwrap();
        let response = json!({"jsonrpc": "2.0", "id": request["id"], "result": answer});
        assert_eq!(client.send(response).await.status, 202);
    }
}

#[tokio::test]
async fn the_older_door_asks_on_the_stream_and_runs_again() {
    let world = world(stage::all());
    for channel in CHANNELS {
        let client = Script::open(&world, channel, newest(Door::Handshake), able()).await;
        let call = client.start("tools/call", json!({"name": "asking_all", "arguments": {}}));
        let outlet = Arc::clone(&call.outlet);
        let message = json!({"role": "assistant", "content": {"type": "text", "text": "Hi"}, "model": "m"});
        answering(
            &client,
            &outlet,
            &[
                ("form", accept("Ann")),
                ("url", json!({"action": "accept"})),
                ("sampling/createMessage", message),
                ("roots/list", json!({"roots": [{"uri": "file:///x"}]})),
            ],
        )
        .await;
        let heard = call.heard().await;
        assert_eq!(heard.result()["content"][0]["text"], "All answered.");
        let call = client.start("tools/call", json!({"name": "asking_twice"}));
        for (key, name) in [("What is the first?", "A"), ("What is the second?", "B")] {
            let request = call.outlet.find(|message| message["params"]["message"] == key).await;
            let response = json!({"jsonrpc": "2.0", "id": request["id"], "result": accept(name)});
            client.send(response).await;
        }
        assert_eq!(call.heard().await.result()["content"][0]["text"], "\"A\" \"B\"");
    }
}

#[tokio::test]
async fn a_refused_or_wrong_answer_ends_the_call() {
    let world = world(stage::all());
    for channel in CHANNELS {
        let client = Script::open(&world, channel, newest(Door::Handshake), able()).await;
        let call = client.start("tools/call", json!({"name": "asking"}));
        let request = call.outlet.method("elicitation/create").await;
        let refusal = json!({"code": -32600, "message": "hunter2"});
        client.send(json!({"jsonrpc": "2.0", "id": request["id"], "error": refusal})).await;
        let heard = call.heard().await;
        assert_eq!(heard.result()["structuredContent"]["error"]["kind"], "Declined");
        assert!(!heard.body.to_string().contains("hunter2"));

        let call = client.start("tools/call", json!({"name": "asking"}));
        let known = request["id"].clone();
        let request = call
            .outlet
            .find(|message| message["method"] == "elicitation/create" && message["id"] != known)
            .await;
        let answer = json!({"action": "accept", "content": {"name": 7}});
        client.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": answer})).await;
        assert_eq!(call.heard().await.fault().1, -32602);
    }
}

#[tokio::test]
async fn a_question_nobody_needs_any_more_is_withdrawn() {
    let world = world(stage::all());
    for channel in CHANNELS {
        let client = Script::open(&world, channel, newest(Door::Handshake), able()).await;
        let call = client.start("tools/call", json!({"name": "asking"}));
        let request = call.outlet.method("elicitation/create").await;
        client.notify("notifications/cancelled", json!({"requestId": call.id})).await;
        let withdrawn = call.outlet.method("notifications/cancelled").await;
        assert_eq!(withdrawn["params"]["requestId"], request["id"]);
        assert_eq!(call.heard().await.answer.body, None, "a cancelled request has no answer");
        // a late answer hits nothing
        client.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": accept("Ann")})).await;
    }
}

#[tokio::test]
async fn nobody_is_asked_for_ever() {
    let world = world_with(stage::all(), "admin", Config { ask_rounds: 2, ..Config::default() });
    let client = Script::open(&world, Channel::Stdio, newest(Door::Handshake), able()).await;
    let call = client.start("tools/call", json!({"name": "asking_forever"}));
    for number in 0..3 {
        let words = format!("What is the q{number}?");
        let request = call.outlet.find(|message| message["params"]["message"] == words.as_str()).await;
        client.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": accept("x")})).await;
    }
    assert_eq!(call.heard().await.result()["isError"], true);
}

// proves: answers-checked
#[tokio::test]
async fn an_answer_from_another_session_does_not_count() {
    let world = world(stage::all());
    let alice = Script::open(&world, Channel::Http, newest(Door::Handshake), able()).await;
    let mallory = Script::open(&world, Channel::Http, newest(Door::Handshake), able()).await;
    let call = alice.start("tools/call", json!({"name": "asking"}));
    let request = call.outlet.method("elicitation/create").await;
    let forged = json!({"jsonrpc": "2.0", "id": request["id"], "result": accept("Mallory")});
    assert_eq!(mallory.send(forged.clone()).await.status, 202, "to no question of its own");
    let mut thief = Script::closed(&world, Channel::Http, alice.revision);
    thief.principal = Arc::new(Principal::new("key:mallory", PrincipalKind::ApiKey));
    thief.session.clone_from(&alice.session);
    assert_eq!(thief.send(forged.clone()).await.status, 404);
    let bare = Script::closed(&world, Channel::Http, alice.revision);
    let delivery = Delivery { body: Ok(forged) };
    let answer = bare
        .server
        .handle(delivery, bare.peer(bare.headers("", &Value::Null)), Arc::<Recorder>::default())
        .await;
    assert_eq!(answer.status, 400);
    settle().await;
    let right = json!({"jsonrpc": "2.0", "id": request["id"], "result": accept("Ann")});
    alice.send(right).await;
    assert_eq!(call.heard().await.result()["content"][0]["text"], "Hello, Ann!");
}

#[tokio::test]
async fn a_bad_state_or_answer_does_not_tell_what_is_hidden() {
    let world = world_with(vec![stage::echo(), stage::writer()], "read-only", Config::default());
    for channel in CHANNELS {
        let client = newer(&world, channel).await;
        for extra in [json!({"requestState": "x"}), json!({"requestState": 7}), json!({"inputResponses": 7})]
        {
            let mut said = Vec::new();
            for name in ["writer", "nothing"] {
                let mut params = json!({"name": name, "arguments": {}});
                params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
                said.push(client.ask("tools/call", params).await.body["error"].clone());
            }
            assert!(said[0].is_object() && said[0] == said[1], "{said:?}");
        }
    }
}

#[tokio::test]
async fn a_state_goes_on_once_where_something_changes_in_whatever_process() {
    let ground = Ground::new();
    let (one, other) = (ground.world(vec![stage::buying()]), ground.world(vec![stage::buying()]));
    let (client, elsewhere) = (newer(&one, Channel::Http).await, newer(&other, Channel::Http).await);
    let asked = async || client.call("buying", json!({})).await.result()["requestState"].clone();
    let yes = || json!({"user_name": accept("Ann")});

    let state = asked().await;
    let told = again(&client, "buying", json!({}), yes(), &state).await;
    assert_eq!(told.result()["content"][0]["text"], "Hello, Ann!");
    let mut sentences =
        vec![again(&client, "buying", json!({}), yes(), &json!("made up")).await.body["error"].clone()];
    for replay in [&client, &elsewhere, &client] {
        let heard = again(replay, "buying", json!({}), yes(), &state).await;
        assert_eq!(heard.fault(), (400, -32602), "a call that changes something ran twice for one question");
        sentences.push(heard.body["error"].clone());
    }
    sentences.dedup();
    assert_eq!(sentences.len(), 1, "in the same words as any other state that is no good");

    // The other process opens what the first one sealed; of many at once one goes on.
    let state = asked().await;
    let all = (0..8).map(|turn| again([&client, &elsewhere][turn % 2], "buying", json!({}), yes(), &state));
    let heard = futures_util::future::join_all(all).await;
    assert_eq!(heard.iter().filter(|heard| heard.body.get("result").is_some()).count(), 1);

    // What has ended is not remembered any longer.
    let kept = || std::fs::read_dir(ground.folder.path().join("state/spent")).unwrap().count();
    assert_eq!(kept(), 2);
    ground.clock.advance(Duration::from_secs(Config::default().state_ttl_seconds));
    let state = asked().await;
    again(&elsewhere, "buying", json!({}), yes(), &state).await.result();
    assert_eq!(kept(), 1);
}

/// A tool that asks before it changes something.
fn changing(description: &str, act: stage::Act) -> Arc<dyn Tool> {
    let spec = ToolSpec {
        effect: Effect::Write,
        description: Some(description.to_owned()),
        ..stage::spec("changing", json!({}))
    };
    stage::played(spec, act)
}

fn once_asked(context: &Context, says: &str) -> Result<Reply, Halt> {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let ask = Ask::Form { message: "Who?".into(), schema };
    if context.answers.to("who", &ask)?.is_none() {
        return Err(Halt::Ask(Asks::from_iter([(String::from("who"), ask)])));
    }
    Ok(Reply::Tool(ToolResult::text(says)))
}

#[tokio::test]
async fn an_answer_is_judged_by_the_rules_and_the_tool_of_when_it_comes() {
    for channel in CHANNELS {
        let world = world(vec![changing("one", |_, context| once_asked(context, "the old one"))]);
        let fresh = |description| changing(description, |_, context| once_asked(context, "the new one"));
        let client = Script::open(&world, channel, newest(Door::Handshake), able()).await;
        let mut known = Vec::new();
        for (policy, next, code) in [
            ("admin", fresh("one"), None),
            ("admin", fresh("another"), Some("Forbidden")),
            ("read-only", fresh("another"), Some("NoSuchTool")),
        ] {
            let call = client.start("tools/call", json!({"name": "changing"}));
            let asked = |message: &Value| {
                message["method"] == "elicitation/create" && !known.contains(&message["id"])
            };
            let request = call.outlet.find(asked).await;
            known.push(request["id"].clone());
            world.catalog.reconfigure(vec![next], under(&world, policy, Filter::default())).unwrap();
            let response = json!({"jsonrpc": "2.0", "id": request["id"], "result": accept("Ann")});
            assert_eq!(client.send(response).await.status, 202);
            let heard = call.heard().await;
            match code {
                None => assert_eq!(heard.result()["content"][0]["text"], "the new one"),
                Some("NoSuchTool") => assert_eq!(heard.fault().1, -32602),
                Some(kind) => assert_eq!(heard.result()["structuredContent"]["error"]["kind"], kind),
            }
        }
    }
}
