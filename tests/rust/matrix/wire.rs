//! Doors, methods, faults, sessions, batches.

use std::sync::atomic::Ordering;

use bartizan::json::{Value, json};
use bartizan::protocol::{Door, Revision};
use bartizan::transport::Channel;

use super::{Case, Check, table};
use crate::scripted::within;
use crate::stage;
use crate::support::settle;
use crate::talk::Told;

pub(super) const TABLE: &[(&str, Check)] = table! {
    "handshake" => handshake,
    "handshake-fallback" => fallback,
    "handshake-once" => once,
    "handshake-checked" => checked,
    "discover" => discover,
    "revision-error" => revision_error,
    "envelope-needed" => envelope_needed,
    "ping" => ping,
    "ping-early" => early,
    "set-level" => set_level,
    "set-level-checked" => set_level_checked,
    "subscribe" => subscribe,
    "subscribe-checked" => subscribe_checked,
    "listen" => listen,
    "unknown-method" => unknown_method,
    "unknown-method-404" => unknown_method_404,
    "unknown-tool" => unknown_tool,
    "unknown-prompt" => unknown_prompt,
    "prompt-arguments" => prompt_arguments,
    "resource-not-found-32002" => not_found_older,
    "resource-not-found-32602" => not_found_newer,
    "bad-cursor" => bad_cursor,
    "ids" => ids,
    "ids-not-null" => ids_not_null,
    "one-id-once" => one_id_once,
    "notification-silent" => notification_silent,
    "notification-unknown" => notification_unknown,
    "batch" => batch,
    "batch-refused" => batch_refused,
    "cancelled-by-notice" => cancelled_by_notice,
    "session" => session,
    "session-needed" => session_needed,
    "session-unknown" => session_unknown,
    "session-deleted" => session_deleted,
    "get-stream" => get_stream,
    "get-refused" => get_refused,
    "revision-header-forgotten" => header_forgotten,
    "revision-header-checked" => header_checked,
    "standard-headers" => standard_headers,
    "list-changed" => list_changed,
};

/// A door that opens on a revision that is asked for.
async fn handshake(case: &Case) -> bool {
    let talk = case.closed();
    let told = talk.ask("initialize", talk.greeting(case.revision.name())).await;
    if case.revision.door() == Door::Envelope {
        assert_eq!(told.code(), Some(-32601));
        assert!(told.is(404));
        return false;
    }
    let result = told.result();
    assert!(result["serverInfo"]["name"].is_string() && result["capabilities"].is_object());
    assert_eq!(result["instructions"], "Be kind.");
    result["protocolVersion"] == case.revision.name()
}

async fn fallback(case: &Case) -> bool {
    let talk = case.closed();
    let told = talk.ask("initialize", talk.greeting("1999-01-01")).await;
    told.body["result"]["protocolVersion"] == Revision::NEWEST_HANDSHAKE.name()
}

async fn once(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk.ask("initialize", talk.greeting(case.revision.name())).await;
    told.code() == Some(-32600)
}

async fn checked(case: &Case) -> bool {
    let talk = case.closed();
    let mut all = true;
    for member in ["protocolVersion", "capabilities", "clientInfo"] {
        let mut greeting = talk.greeting(case.revision.name());
        greeting.as_object_mut().unwrap().remove(member);
        let told = talk.ask("initialize", greeting).await;
        assert!(told.body.get("result").is_none() && told.session.is_none());
        all &= told.code() == Some(-32602);
    }
    all
}

async fn discover(case: &Case) -> bool {
    let told = case.open().await.ask("server/discover", json!({})).await;
    let Some(result) = told.body.get("result") else {
        assert_eq!(told.code(), Some(-32601));
        return false;
    };
    assert!(result["supportedVersions"].as_array().unwrap().contains(&json!(case.revision.name())));
    result["capabilities"].is_object()
}

async fn revision_error(case: &Case) -> bool {
    let talk = case.open().await;
    let mut request = talk.request("tools/list", json!({}));
    let version = "io.modelcontextprotocol/protocolVersion";
    if case.revision.door() == Door::Envelope {
        request["params"]["_meta"][version] = "1999-01-01".into();
    } else {
        request = talk.request("initialize", talk.greeting("1999-01-01"));
    }
    let mut headers = talk.headers(&request);
    headers.iter_mut().filter(|(name, _)| *name == "mcp-protocol-version").for_each(|(_, value)| {
        "1999-01-01".clone_into(value);
    });
    let told = talk.send_with(request, headers).await;
    if told.code() != Some(-32022) {
        return false;
    }
    let data = &told.body["error"]["data"];
    assert!(told.is(400) && data["requested"] == "1999-01-01");
    assert_eq!(data["supported"].as_array().unwrap().len(), Revision::ALL.len());
    true
}

async fn envelope_needed(case: &Case) -> bool {
    let talk = case.open().await;
    let mut request = talk.request("tools/list", json!({}));
    request["params"].as_object_mut().unwrap().remove("_meta");
    let told = talk.send(request).await;
    if told.body.get("result").is_some() {
        return false;
    }
    assert!(told.is(400));
    told.code() == Some(-32602)
}

async fn exists(case: &Case, method: &str, params: Value) -> bool {
    let told = case.open().await.ask(method, params).await;
    if told.code() == Some(-32601) {
        return false;
    }
    told.result();
    true
}

async fn ping(case: &Case) -> bool {
    exists(case, "ping", json!({})).await
}

async fn early(case: &Case) -> bool {
    if case.channel == Channel::Http {
        // without a session there is nobody to ping
        return case.revision.door() == Door::Handshake;
    }
    case.closed().ask("ping", json!({})).await.body.get("result").is_some()
}

async fn set_level(case: &Case) -> bool {
    exists(case, "logging/setLevel", json!({"level": "error"})).await
}

async fn set_level_checked(case: &Case) -> bool {
    case.open().await.ask("logging/setLevel", json!({"level": "loud"})).await.code() == Some(-32602)
}

async fn subscribe(case: &Case) -> bool {
    let there = exists(case, "resources/subscribe", json!({"uri": "note://today"})).await;
    assert_eq!(there, exists(case, "resources/unsubscribe", json!({"uri": "note://today"})).await);
    there
}

async fn subscribe_checked(case: &Case) -> bool {
    let told = case.open().await.ask("resources/subscribe", json!({"uri": "note://none"})).await;
    told.code() == Some(-32002)
}

async fn listen(case: &Case) -> bool {
    // without what it needs it ends at once
    match case.open().await.ask("subscriptions/listen", json!({})).await.code() {
        Some(-32602) => true,
        Some(-32601) => false,
        other => panic!("neither there nor not: {other:?}"),
    }
}

async fn unknown_method(case: &Case) -> bool {
    let told = case.open().await.ask("no/such", json!({})).await;
    told.code() == Some(-32601) && told.body["id"].is_u64()
}

async fn unknown_method_404(case: &Case) -> bool {
    case.open().await.ask("no/such", json!({})).await.status == 404
}

async fn unknown_tool(case: &Case) -> bool {
    let told = case.open().await.call("nobody", json!({})).await;
    assert!(!told.body.to_string().contains("nobody"));
    told.code() == Some(-32602)
}

async fn unknown_prompt(case: &Case) -> bool {
    case.open().await.ask("prompts/get", json!({"name": "nobody"})).await.code() == Some(-32602)
}

async fn prompt_arguments(case: &Case) -> bool {
    case.open().await.ask("prompts/get", json!({"name": "greeting"})).await.code() == Some(-32602)
}

async fn missing_resource(case: &Case) -> Told {
    let told = case.open().await.ask("resources/read", json!({"uri": "note://none"})).await;
    assert_eq!(told.body["error"]["data"]["uri"], "note://none");
    told
}

async fn not_found_older(case: &Case) -> bool {
    missing_resource(case).await.code() == Some(-32002)
}

async fn not_found_newer(case: &Case) -> bool {
    missing_resource(case).await.code() == Some(-32602)
}

async fn bad_cursor(case: &Case) -> bool {
    case.open().await.ask("tools/list", json!({"cursor": "made up"})).await.code() == Some(-32602)
}

async fn ids(case: &Case) -> bool {
    let talk = case.open().await;
    for id in [json!("a text"), json!(4_503_599_627_370_496_u64), json!(0), json!(-7)] {
        let mut request = talk.request("tools/list", json!({}));
        request["id"] = id.clone();
        assert_eq!(talk.send(request).await.body["id"], id);
    }
    true
}

async fn ids_not_null(case: &Case) -> bool {
    let talk = case.open().await;
    let mut request = talk.request("tools/list", json!({}));
    request["id"] = Value::Null;
    if case.channel == Channel::Stdio {
        talk.start(request).await;
        let told = talk.send(json!([])).await;
        return told.code() == Some(-32600);
    }
    let told = talk.send(request).await;
    assert!(told.is(400));
    told.code() == Some(-32600)
}

async fn begun(case: &Case, before: usize) {
    within(async {
        while case.hanging.started.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn one_id_once(case: &Case) -> bool {
    let talk = case.open().await;
    let before = case.hanging.started.load(Ordering::SeqCst);
    let call = talk.request("tools/call", json!({"name": "hanging", "arguments": {}}));
    let running = talk.start(call.clone()).await;
    begun(case, before).await;
    let mut twin = talk.request("tools/list", json!({}));
    twin["id"] = call["id"].clone();
    let told = talk.send(twin).await;
    let refused = told.code() == Some(-32600);
    drop(running.inspect(tokio::task::JoinHandle::abort));
    refused
}

async fn notification_silent(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk
        .send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}))
        .await;
    told.is(202) && told.body.is_null() && told.said.is_empty()
}

async fn notification_unknown(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk.send(json!({"jsonrpc": "2.0", "method": "notifications/nobody/knows"})).await;
    told.is(202) && told.body.is_null()
}

async fn batch(case: &Case) -> bool {
    let talk = case.open().await;
    let pair = json!([talk.request("ping", json!({})), talk.request("tools/list", json!({}))]);
    let told = talk.send(pair).await;
    told.body.as_array().is_some_and(|answers| answers.len() == 2 && told.is(200))
}

async fn batch_refused(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk.send(json!([talk.request("tools/list", json!({}))])).await;
    // where they are known, one that is empty is refused
    let told = if told.body.is_array() { talk.send(json!([])).await } else { told };
    told.code() == Some(-32600) && told.is(400)
}

async fn cancelled_by_notice(case: &Case) -> bool {
    let talk = case.open().await;
    let (before, dropped) =
        (case.hanging.started.load(Ordering::SeqCst), case.hanging.dropped.load(Ordering::SeqCst));
    let call = talk.request("tools/call", json!({"name": "hanging", "arguments": {}}));
    let running = talk.start(call.clone()).await;
    begun(case, before).await;
    let params = json!({"requestId": call["id"]});
    talk.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})).await;
    let gone = || case.hanging.dropped.load(Ordering::SeqCst) > dropped;
    let by_notice = if case.channel == Channel::Http && case.revision.door() == Door::Envelope {
        settle().await;
        gone()
    } else {
        true
    };
    if !by_notice {
        // there, closing the stream is what cancels
        drop(running.inspect(tokio::task::JoinHandle::abort));
    }
    within(async {
        while !gone() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    by_notice
}

async fn session(case: &Case) -> bool {
    let talk = case.open().await;
    let Some(session) = &talk.session else {
        let request = talk.request("tools/list", json!({}));
        let mut headers = talk.headers(&request);
        headers.push(("mcp-session-id", "made-up".into()));
        let told = talk.send_with(request, headers).await;
        told.result();
        assert_eq!(told.session, None, "never echoed");
        return false;
    };
    let other = case.open().await.session.unwrap();
    assert!(session.len() >= 22 && session.bytes().all(|byte| byte.is_ascii_graphic()) && *session != other);
    true
}

async fn session_needed(case: &Case) -> bool {
    let talk = case.open().await;
    let request = talk.request("tools/list", json!({}));
    let headers = talk.headers(&request).into_iter().filter(|(name, _)| *name != "mcp-session-id").collect();
    let told = talk.send_with(request, headers).await;
    assert_eq!(told.body["id"], 2);
    told.status == 400
}

async fn session_unknown(case: &Case) -> bool {
    let mut talk = case.open().await;
    talk.session = Some("made-up".into());
    talk.ask("tools/list", json!({})).await.status == 404
}

async fn session_deleted(case: &Case) -> bool {
    let talk = case.open().await;
    let headers = || talk.headers(&Value::Null);
    let told = talk.http("DELETE", headers()).await;
    if told.status == 405 {
        return false;
    }
    assert_eq!(talk.ask("tools/list", json!({})).await.status, 404);
    assert_eq!(talk.http("DELETE", headers()).await.status, 404);
    told.status == 204
}

async fn get_stream(case: &Case) -> bool {
    let talk = case.open().await;
    let told = talk.http("GET", talk.headers(&Value::Null)).await;
    told.status == 200 && told.streamed
}

async fn get_refused(case: &Case) -> bool {
    let talk = case.open().await;
    talk.http("GET", talk.headers(&Value::Null)).await.status == 405
}

async fn with_revision(case: &Case, given: Option<&str>) -> Told {
    let talk = case.open().await;
    let request = talk.request("tools/list", json!({}));
    let mut headers: Vec<_> =
        talk.headers(&request).into_iter().filter(|(name, _)| *name != "mcp-protocol-version").collect();
    headers.extend(given.map(|given| ("mcp-protocol-version", given.to_owned())));
    talk.send_with(request, headers).await
}

async fn header_forgotten(case: &Case) -> bool {
    let told = with_revision(case, None).await;
    assert!(told.status == 200 || (told.status, told.code()) == (400, Some(-32020)));
    told.status == 200
}

async fn header_checked(case: &Case) -> bool {
    let other = Revision::ALL.iter().find(|other| **other != case.revision).unwrap();
    assert_eq!(with_revision(case, Some(other.name())).await.status, 400);
    let told = with_revision(case, Some("1999-01-01")).await;
    assert!(!told.body.to_string().contains("-32022"));
    told.status == 400
}

async fn standard_headers(case: &Case) -> bool {
    let talk = case.open().await;
    let request = talk.request("tools/call", json!({"name": "echo", "arguments": {}}));
    let mut refused = 0;
    for (name, value) in [("mcp-method", "tools/list"), ("mcp-name", "lister")] {
        let mut headers = talk.headers(&request);
        headers.retain(|(known, _)| *known != name);
        let missing = talk.send_with(request.clone(), headers.clone()).await;
        headers.push((name, value.into()));
        let lying = talk.send_with(request.clone(), headers).await;
        for told in [missing, lying] {
            refused += usize::from((told.status, told.code()) == (400, Some(-32020)));
        }
    }
    assert!(refused == 0 || refused == 4);
    refused == 4
}

async fn list_changed(case: &Case) -> bool {
    let talk = case.open().await;
    if case.channel == Channel::Stdio && case.revision.door() == Door::Handshake {
        case.place.world.catalog.add(vec![stage::writer()]).unwrap();
        assert!(case.place.world.catalog.remove(bartizan::catalog::List::Tools, "writer"));
        talk.overhear("notifications/tools/list_changed").await;
        return true;
    }
    case.place.world.catalog.add(vec![stage::writer()]).unwrap();
    assert!(case.place.world.catalog.remove(bartizan::catalog::List::Tools, "writer"));
    // who did not ask hears nothing
    let told = talk.ask("tools/list", json!({})).await;
    !told.said.is_empty()
}
