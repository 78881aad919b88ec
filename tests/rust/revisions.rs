//! What every revision promises, over each transport: lists, calls, faults, resources, prompts, completion.

use bartizan::error::Error;
use bartizan::error::Kind;
use bartizan::json::{Value, json};
use bartizan::protocol::{Door, Revision};
use bartizan::server::Config;
use bartizan::transport::{Channel, Delivery, Handler, HeaderFacts};

use crate::stage;
use crate::support::{Recorder, Script, able, matrix, newest, settle, world, world_with};

fn is_newer(revision: Revision) -> bool {
    revision.door() == Door::Envelope
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_client_of_any_revision_lists_and_calls() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let listed = client.ask("tools/list", json!({})).await;
        let tools = &listed.result()["tools"];
        assert_eq!(names(tools)[..3], ["echo", "routed", "lister"], "registration order");
        assert_eq!(tools, &client.ask("tools/list", json!({})).await.result()["tools"]);
        let called = client.call("echo", json!({"text": "hi"})).await;
        assert_eq!(called.answer.status, 200);
        assert_eq!(called.result()["content"][0]["text"], "hi");
        assert_eq!(called.result().get("resultType").is_some(), is_newer(revision));
        let server = &called.result()["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server.is_object(), is_newer(revision));
        let failed = client.call("failing", json!({})).await;
        assert_eq!(failed.result()["isError"], true);
    }
}

#[tokio::test]
async fn what_an_older_revision_cannot_say_is_left_out() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let listed = client.ask("tools/list", json!({})).await;
        let lister = &listed.result()["tools"][2];
        assert_eq!(lister.get("outputSchema").is_some(), is_newer(revision));
        let called = client.call("lister", json!({})).await;
        assert_eq!(called.result().get("structuredContent").is_some(), is_newer(revision));
        assert_eq!(called.result()["content"][0]["text"], "[1,2]");
        for method in ["tools/list", "resources/list", "resources/templates/list", "prompts/list"] {
            let listed = client.ask(method, json!({})).await;
            assert_eq!(listed.result().get("ttlMs").is_some(), is_newer(revision), "{method}");
            if is_newer(revision) {
                assert_eq!(listed.result()["cacheScope"], "private", "the list depends on the caller");
            }
        }
    }
}

#[tokio::test]
async fn faults_have_the_code_and_status_of_their_revision() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let newer = is_newer(revision);
        let status = |newer_status: u16| if newer { newer_status } else { 200 };
        for (method, params, code, expected) in [
            ("no/such", json!({}), -32601, status(404)),
            ("tools/call", json!({"name": "nobody"}), -32602, status(400)),
            ("tools/call", json!({"name": "echo", "arguments": 7}), -32602, status(400)),
            ("prompts/get", json!({"name": "nobody"}), -32602, status(400)),
            ("prompts/get", json!({"name": "greeting", "arguments": {"who": 7}}), -32602, status(400)),
            (
                "resources/read",
                json!({"uri": "note://none"}),
                if newer { -32602 } else { -32002 },
                status(400),
            ),
            ("tools/list", json!({"cursor": "x"}), -32602, status(400)),
            ("tools/list", json!({"cursor": 1}), -32602, status(400)),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "nobody"},
                "argument": {"name": "a", "value": ""}}),
                -32602,
                status(400),
            ),
        ] {
            let heard = client.ask(method, params.clone()).await;
            assert_eq!(heard.fault(), (expected, code), "{revision} {method} {params}");
        }
        // a model can mend arguments: they come back as a result
        let heard = client.call("echo", json!({"text": [7]})).await;
        assert_eq!(heard.result()["isError"], true);
        let said = if revision.structured_content() {
            heard.result()["structuredContent"].clone()
        } else {
            serde_json::from_str(heard.result()["content"][1]["text"].as_str().unwrap()).unwrap()
        };
        assert_eq!(said["error"]["kind"], "BadArguments");
        let heard = client.call("echo", json!({"txet": "hunter2"})).await;
        assert!(!heard.answer.body.unwrap().contains("hunter2"));
        // a prompt has no such result
        let heard = client.ask("prompts/get", json!({"name": "greeting"})).await;
        assert_eq!(heard.fault().1, -32602);
        let uri = "note://none";
        let heard = client.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(heard.body["error"]["data"]["uri"], uri);
    }
}

#[tokio::test]
async fn methods_end_and_begin_with_their_revisions() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        for (method, params, older) in [
            ("ping", json!({}), true),
            ("logging/setLevel", json!({"level": "error"}), true),
            ("resources/subscribe", json!({"uri": "note://today"}), true),
            ("resources/unsubscribe", json!({"uri": "note://today"}), true),
            ("server/discover", json!({}), false),
        ] {
            let heard = client.ask(method, params).await;
            if older == is_newer(revision) {
                assert_eq!(heard.fault(), (if is_newer(revision) { 404 } else { 200 }, -32601), "{method}");
            } else {
                heard.result();
            }
        }
    }
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    assert_eq!(client.ask("initialize", json!({})).await.fault(), (404, -32601));
}

// proves: envelope-order
#[tokio::test]
async fn an_envelope_is_read_in_its_order() {
    let world = world(stage::all());
    let revision = newest(Door::Envelope);
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    for channel in [Channel::Http, Channel::Stdio] {
        let client = Script::closed(&world, channel, revision);
        let headers = || client.headers("server/discover", &Value::Null);
        let discover = async |params: Value, headers: HeaderFacts| {
            client.raw("server/discover", params, headers).heard().await.fault()
        };
        let whole = client.dressed(json!({}));
        let without = |key: &str| {
            let mut params = whole.clone();
            params["_meta"].as_object_mut().unwrap().remove(key);
            params
        };
        assert_eq!(discover(json!({}), headers()).await, (400, -32602));
        assert_eq!(discover(without(version), headers()).await, (400, -32602));
        assert_eq!(discover(without(capabilities), headers()).await, (400, -32602));
        let silent = without("io.modelcontextprotocol/clientInfo");
        client.raw("server/discover", silent, headers()).heard().await.result();
        let mut level = whole.clone();
        level["_meta"]["io.modelcontextprotocol/logLevel"] = "loud".into();
        assert_eq!(discover(level, headers()).await, (400, -32602));

        let mut unknown = whole.clone();
        unknown["_meta"][version] = "v999.0.0".into();
        let future = HeaderFacts { revision: vec!["v999.0.0".into()], ..headers() };
        let heard = client.raw("server/discover", unknown.clone(), future).heard().await;
        assert_eq!(heard.fault(), (400, -32022));
        assert_eq!(heard.body["error"]["data"]["requested"], "v999.0.0");
        let discovered = client.ask("server/discover", json!({})).await;
        let supported = &discovered.result()["supportedVersions"];
        assert_eq!(heard.body["error"]["data"]["supported"], *supported);
        assert_eq!(supported[0], revision.name());
        let mut older = whole.clone();
        let handshake = newest(Door::Handshake);
        older["_meta"][version] = handshake.name().into();
        let past = HeaderFacts { revision: vec![handshake.name().into()], ..headers() };
        assert_eq!(discover(older, past).await, (400, -32022));
        if channel == Channel::Http {
            assert_eq!(discover(unknown, headers()).await, (400, -32020), "headers come first");
            assert_eq!(discover(whole.clone(), HeaderFacts::default()).await, (400, -32020));
            let lying = HeaderFacts { method: vec!["tools/list".into()], ..headers() };
            assert_eq!(discover(whole.clone(), lying).await, (400, -32020));
            let twice = HeaderFacts { method: vec!["server/discover".into(); 2], ..headers() };
            assert_eq!(discover(whole.clone(), twice).await, (400, -32020));
        }
    }
}

// proves: header-parameters
#[tokio::test]
async fn names_and_parameters_in_headers_agree_with_the_body() {
    let world = world(stage::all());
    let client = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let params = json!({"name": "routed", "arguments": {"region": "Hello"}});
    let with = async |region: &[&str], name: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let facts = HeaderFacts {
            params: own(region).into_iter().map(|value| ("region".to_owned(), value)).collect(),
            name: own(name),
            ..client.headers("tools/call", &params)
        };
        client.raw("tools/call", client.dressed(params.clone()), facts).heard().await
    };
    with(&["Hello"], &["routed"]).await.result();
    with(&["=?base64?SGVsbG8=?="], &["  routed  "]).await.result();
    for (region, name) in [
        (&[][..], &["routed"][..]),
        (&["Hallo"][..], &["routed"][..]),
        (&["=?base64?SGVsbG8?="][..], &["routed"][..]),
        (&["=?base64?SGVs!!!bG8=?="][..], &["routed"][..]),
        (&["Hello", "Hello"][..], &["routed"][..]),
        (&["Hello"][..], &[][..]),
        (&["Hello"][..], &["echo"][..]),
        (&["Hello"][..], &["routed", "routed"][..]),
    ] {
        assert_eq!(with(region, name).await.fault(), (400, -32020), "{region:?} {name:?}");
    }
    // a literal that only has half of the sentinel
    let half = json!({"name": "routed", "arguments": {"region": "=?base64?SGVsbG8="}});
    let facts = HeaderFacts {
        params: vec![("region".into(), "=?base64?SGVsbG8=".into())],
        ..client.headers("tools/call", &half)
    };
    client.raw("tools/call", client.dressed(half), facts).heard().await.result();
}

// proves: message-shape
#[tokio::test]
async fn what_is_no_message_is_told_so_under_its_id() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        for (value, id) in [
            (json!([]), Value::Null),
            (json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]), Value::Null),
            (json!(7), Value::Null),
            (json!({"jsonrpc": "2.0", "id": {}, "method": "ping"}), Value::Null),
            (json!({"jsonrpc": "2.0", "id": 9}), json!(9)),
            (json!({"jsonrpc": "2.0", "id": "nine", "method": 1}), json!("nine")),
        ] {
            if value.get(0).is_some() && revision.batches() {
                continue;
            }
            let answer = client.send(value).await;
            let body: Value = serde_json::from_str(&answer.body.unwrap()).unwrap();
            assert_eq!((answer.status, body["error"]["code"].as_i64()), (400, Some(-32600)), "{body}");
            assert_eq!(body["id"], id);
            assert!(id != Value::Null || body.get("id").is_none(), "an id that is not there is not null");
        }
        let broken = Delivery { body: Err(Error::new(Kind::BadJson, "Not JSON.")) };
        let peer = client.peer(HeaderFacts::default());
        let answer = client.server.handle(broken, peer, std::sync::Arc::new(Recorder::default())).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.unwrap().contains("-32700"));
    }
}

#[tokio::test]
async fn without_a_door_a_request_is_told_what_is_missing() {
    let world = world(stage::all());
    let revision = newest(Door::Handshake);
    for channel in [Channel::Stdio, Channel::Http] {
        let client = Script::closed(&world, channel, revision);
        let heard = client.raw("tools/list", json!({}), HeaderFacts::default()).heard().await;
        assert_eq!(heard.fault(), (400, -32602));
        assert_eq!(heard.body["id"], 1);
        assert!(heard.body["error"]["message"].as_str().unwrap().contains("initialize"));
    }
    let early = Script::closed(&world, Channel::Stdio, revision);
    early.raw("ping", json!({}), HeaderFacts::default()).heard().await.result();
}

// proves: pages-whole
#[tokio::test]
async fn pages_hold_everything_once_and_cursors_come_only_from_here() {
    let config = Config { page_size: 2, ..Config::default() };
    let world = world_with(stage::all(), "admin", config);
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let mut seen = Vec::new();
        let mut params = json!({});
        let mut last = Value::Null;
        loop {
            let heard = client.ask("tools/list", params).await;
            let result = heard.result();
            seen.extend(names(&result["tools"]).into_iter().map(str::to_owned));
            let Some(cursor) = result.get("nextCursor") else { break };
            last = cursor.clone();
            params = json!({"cursor": cursor});
        }
        assert_eq!(
            seen,
            [
                "echo",
                "routed",
                "lister",
                "failing",
                "asking",
                "asking_twice",
                "asking_all",
                "asking_forever",
                "reporting"
            ]
        );
        assert_eq!(client.ask("prompts/list", json!({"cursor": last})).await.fault().1, -32602);
        assert_eq!(client.ask("tools/list", json!({"cursor": ""})).await.fault().1, -32602);
        // a cursor is for the list it was given for, and no other
        world.catalog.add(vec![stage::writer()]).unwrap();
        assert_eq!(client.ask("tools/list", json!({"cursor": last})).await.fault().1, -32602);
        assert!(world.catalog.remove(bartizan::catalog::List::Tools, "writer"));
    }
}

// proves: hidden-is-unknown
#[tokio::test]
async fn what_policy_hides_is_unknown_everywhere() {
    let mut tools = stage::all();
    tools.push(stage::writer());
    let world = world_with(tools, "read-only", Config::default());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let listed = client.ask("tools/list", json!({})).await;
        assert!(!names(&listed.result()["tools"]).contains(&"writer"));
        let left = || ["read", "write", "destroy"].map(|class| world.limiter.left("key:alice", class));
        let before = left();
        let hidden = client.call("writer", json!({})).await;
        let between = left();
        let unknown = client.call("nobody", json!({})).await;
        let cost = |from: [u32; 3], to: [u32; 3]| [from[0] - to[0], from[1] - to[1], from[2] - to[2]];
        assert_eq!(cost(before, between), [1, 0, 0]);
        assert_eq!(cost(between, left()), [1, 0, 0], "both cost the same");
        assert_eq!(hidden.fault(), unknown.fault());
        assert_eq!(hidden.body["error"], unknown.body["error"], "the same words");
    }
}

#[tokio::test]
async fn resources_are_read_by_address_and_by_template() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let read = async |uri: &str| client.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(read("note://today").await.result()["contents"][0]["text"], "Hey.");
        let page = read("page://dune%21/12").await;
        assert_eq!(page.result()["contents"][0], json!({"uri": "page://dune!/12", "blob": "AAEC"}));
        if is_newer(revision) {
            assert_eq!(page.result()["cacheScope"], "private");
            assert!(page.result()["ttlMs"].is_u64());
        }
        for missing in ["page://dune", "page://../12", "page://%2e%2e/12", "page://dune/12/13"] {
            assert_eq!(read(missing).await.fault().1, if is_newer(revision) { -32602 } else { -32002 });
        }
        assert_eq!(read("page://dune/twelve").await.fault().1, -32602);
        let listed = client.ask("resources/list", json!({})).await;
        assert_eq!(listed.result()["resources"][0]["mimeType"], "text/plain");
        let listed = client.ask("resources/templates/list", json!({})).await;
        assert_eq!(listed.result()["resourceTemplates"][0]["uriTemplate"], "page://{book}/{number}");
    }
}

#[tokio::test]
async fn prompts_are_got_and_completed() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let got = client.ask("prompts/get", json!({"name": "greeting", "arguments": {"who": "Ann"}})).await;
        assert_eq!(got.result()["messages"][0]["content"]["text"], "Greet Ann.");
        let listed = client.ask("prompts/list", json!({})).await;
        assert_eq!(listed.result()["prompts"][0]["arguments"][0], json!({"name": "who", "required": true}));
        let complete = async |reference: Value| {
            let argument = json!({"name": "who", "value": "A"});
            let context = json!({"arguments": {"city": "Rome"}});
            client
                .ask(
                    "completion/complete",
                    json!({"ref": reference, "argument": argument, "context": context}),
                )
                .await
        };
        let heard = complete(json!({"type": "ref/prompt", "name": "greeting"})).await;
        let completion = &heard.result()["completion"];
        let city = if revision.completion_context() { "Rome" } else { "nowhere" };
        assert_eq!(completion["values"][0], format!("A0 {city}"));
        assert_eq!(completion["values"].as_array().unwrap().len(), 100, "never more");
        assert_eq!((&completion["total"], &completion["hasMore"]), (&json!(150), &json!(true)));
        complete(json!({"type": "ref/resource", "uri": "page://{book}/{number}"})).await.result();
        assert_eq!(complete(json!({"type": "ref/other"})).await.fault().1, -32602);
    }
}

// proves: offered-only
#[tokio::test]
async fn only_what_is_offered_is_advertised_and_answered() {
    let world = world(vec![stage::echo()]);
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        for method in ["resources/list", "resources/templates/list", "prompts/list"] {
            assert_eq!(client.ask(method, json!({})).await.fault().1, -32601, "{method}");
        }
    }
    let newer = Script::open(&world, Channel::Http, newest(Door::Envelope), able()).await;
    let mut capabilities = newer.ask("server/discover", json!({})).await.result()["capabilities"].clone();
    let extensions = capabilities.as_object_mut().unwrap().remove("extensions");
    assert_eq!(
        extensions,
        Some(json!({"io.modelcontextprotocol/tasks": {}})),
        "of the newest revision alone"
    );
    assert_eq!(capabilities, json!({"logging": {}, "tools": {"listChanged": true}}));
    let older = Script::closed(&world, Channel::Http, newest(Door::Handshake));
    let opened = older.initialize(older.revision.name()).await;
    assert_eq!(opened.result()["capabilities"], capabilities);
    assert_eq!(opened.result()["instructions"], "Be kind.");
    assert_eq!(opened.result()["serverInfo"]["name"], "test-server");
}

// proves: last-words
#[tokio::test]
async fn progress_and_logs_are_heard_as_asked_and_end_with_the_answer() {
    let world = world(stage::all());
    for (channel, revision) in matrix() {
        let client = Script::open(&world, channel, revision, able()).await;
        let level = "io.modelcontextprotocol/logLevel";
        let meta = if is_newer(revision) {
            json!({"progressToken": "p", level: "info"})
        } else {
            json!({"progressToken": "p"})
        };
        let heard = client.ask("tools/call", json!({"name": "reporting", "_meta": meta})).await;
        settle().await;
        let said = if channel == Channel::Stdio { client.wire.said() } else { heard.said };
        let progress: Vec<_> = said.iter().filter_map(|one| one["params"]["progress"].as_f64()).collect();
        assert_eq!(progress, [0.0, 50.0, 100.0]);
        assert!(
            said.iter()
                .filter(|one| one["method"] == "notifications/progress")
                .all(|one| one["params"]["progressToken"] == "p")
        );
        let (words, logs): (Vec<_>, Vec<_>) = said
            .iter()
            .filter(|one| one["method"] == "notifications/message")
            .partition(|one| one["params"]["logger"] == "progress");
        assert_eq!(words.len(), if revision.progress_words() { 0 } else { 3 }, "words find another way");
        assert!(words.iter().all(|one| one["params"]["data"] == "on the way"));
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0]["params"], json!({"level": "warning", "logger": "tests", "data": {"loud": true}}));

        let quiet = Script::open(&world, channel, revision, able()).await;
        if !is_newer(revision) {
            quiet.ask("logging/setLevel", json!({"level": "critical"})).await.result();
            assert_eq!(quiet.ask("logging/setLevel", json!({"level": "loud"})).await.fault().1, -32602);
        }
        let heard = quiet.call("reporting", json!({})).await;
        assert_eq!(heard.said, Vec::<Value>::new(), "neither was asked for");
        let bad = json!({"name": "reporting", "_meta": {"progressToken": [1]}});
        assert_eq!(quiet.ask("tools/call", bad).await.fault().1, -32602);
    }
}

// proves: refusals-audited
#[tokio::test]
async fn what_cannot_begin_leaves_an_intent_and_an_outcome_without_its_words() {
    for (channel, revision) in matrix() {
        let world = world(stage::all());
        let client = Script::open(&world, channel, revision, able()).await;
        client.call("hunter2", json!({})).await.fault();
        let audited = world.audited();
        let lines: Vec<Value> = audited.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let about = |kind: &str, tool: &str| {
            lines
                .iter()
                .filter(|line| line["kind"] == kind && line["tool"] == tool)
                .cloned()
                .collect::<Vec<_>>()
        };
        let (intents, outcomes) = (about("intent", "unknown"), about("outcome", "unknown"));
        assert_eq!((intents.len(), outcomes.len()), (1, 1), "{audited}");
        assert_eq!(intents[0]["id"], outcomes[0]["id"]);
        assert_eq!(outcomes[0]["result"], "NoSuchTool");
        assert!(intents[0]["principal"] == "key:alice" && intents[0]["method"] == "tools/call");
        assert!(!audited.contains("hunter2"));
        client.ask("tools/call", json!({"name": "echo", "arguments": ["hunter2"]})).await.fault();
        let audited = world.audited();
        let last: Value = serde_json::from_str(audited.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["kind"], &last["tool"], &last["result"]),
            (&json!("outcome"), &json!("echo"), &json!("BadParams"))
        );
        assert!(!audited.contains("hunter2"));
        let before = audited.lines().count();
        client.call("echo", json!({})).await.result();
        assert!(world.audited().lines().count() >= before + 2, "an intent and an outcome");
    }
}
