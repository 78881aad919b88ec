//! Vendors' whole documents, as tools on the line, against the practice upstream: every operation can be called.

use std::path::Path;

use bartizan::connectors::document::Document;
use bartizan::connectors::openapi::load;
use bartizan::error::Kind;
use bartizan::json::{Digest, Map, Value, json};
use bartizan::pipeline::ToolSpec;
use bartizan::practice::{Auth, Options, serve};

use super::documents::{contents, shared};
use super::rig::{Rig, text};
use crate::loopback::{Upstream, answer};

/// A document, or of a large one the operations of which the digest of the id ends so that about one in `share` is
/// taken: always the same ones, chosen by nobody.
fn document(shared: &Path, file: &str, share: u8) -> Document {
    let mut document = load(&contents(&shared.join("specs").join(file)), None).unwrap();
    document.operations.retain(|it| Digest::of(it.id.as_bytes()).0[31].is_multiple_of(share));
    document
}

/// Calls every tool of a document with the stand-in's sample arguments.
async fn every_tool_of(file: &str, share: u8) {
    let Some(shared) = shared() else { return };
    let document = document(&shared, file, share);
    let operations: Vec<(String, String)> =
        document.operations.iter().map(|it| (it.id.clone(), it.tool.clone())).collect();
    let practice = serve(document.clone(), Options { auth: Auth::Open, ..Options::default() }).await.unwrap();
    let silent = Upstream::start(|_, _| answer(500, "nobody asks here")).await;
    let base = url::Url::parse(&practice.url()).unwrap();
    let rig = Rig::at(document, "", silent, base);
    let mut wrong = Vec::new();
    for (at, (id, tool)) in operations.iter().enumerate() {
        let arguments = practice.sample_arguments(id).unwrap();
        match rig.call_as(&format!("p{at}"), tool, Value::Object(arguments.clone())).await {
            Err(error) if IMPOSSIBLE.contains(&tool.as_str()) => assert_eq!(error.kind(), Kind::BadArguments),
            Ok(result) if !result.is_error => {}
            Ok(result) => wrong.push(format!("{id} {arguments:?}\n    {}", text(&result))),
            Err(error) => wrong.push(format!("{id} {arguments:?}\n    {error:?}")),
        }
    }
    practice.shutdown().await;
    println!("{file}: {} of {} tools answered", operations.len() - wrong.len(), operations.len());
    assert!(wrong.is_empty(), "{file}: {} of {}\n{}", wrong.len(), operations.len(), wrong.join("\n"));
}

/// Documents all tools of which are called.
const DOCUMENTS: [&str; 13] = [
    "equinix/fabricv4.patched.yaml",
    "equinix/accesstokenv1.fetched.yaml",
    "akamai/appsec-v1.reassembled.json",
    "akamai/ccu-v3.json",
    "akamai/network-lists-v2.json",
    "akamai/edgeworkers-v1.json",
    "akamai/contract-api-v1.json",
    "akamai/reporting-api-v1.json",
    "akamai/siem-v1.json",
    "akamai/cps-v2.json",
    "akamai/config-dns-v2.json",
    "akamai/identity-management-v3.json",
    "akamai/papi-v1.reassembled.json",
];

/// Tools that nobody can call: their document wants an object that is one of several strings.
const IMPOSSIBLE: [&str; 2] = ["put_policy_rapid_rule_action", "put_policy_rapid_rules_action"];

#[tokio::test]
async fn every_tool_of_the_vendors_documents_can_be_called() {
    for file in DOCUMENTS {
        every_tool_of(file, 1).await;
    }
}

/// Something that an argument's schema refuses however it is read.
fn wrong(tool: &ToolSpec, good: &Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    let schema = tool.input.compiled().unwrap();
    let odd = [
        json!({"\u{1}": [[]]}),
        json!([[{"\u{1}": {}}]]),
        json!(true),
        json!(-1.5e300),
        json!("\u{1}\u{2}"),
        json!(null),
    ];
    odd.into_iter().find_map(|odd| {
        let mut bad = good.clone();
        bad.insert(name.to_owned(), odd);
        let value = Value::Object(bad.clone());
        (!schema.fits(&value) && schema.coerce(&value).is_none()).then_some(bad)
    })
}

/// Calls every tool of a document with each of its arguments made wrong, left out, and with one too many.
async fn no_wrong_call_leaves(file: &str, share: u8) -> (usize, usize) {
    let Some(shared) = shared() else { return (0, 0) };
    let document = document(&shared, file, share);
    let operations: Vec<(String, String)> =
        document.operations.iter().map(|it| (it.id.clone(), it.tool.clone())).collect();
    let practice = serve(document.clone(), Options { auth: Auth::Open, ..Options::default() }).await.unwrap();
    let rig = Rig::of(document, "", |_, _| answer(500, "nobody asks here")).await;
    let (mut refused, mut any) = (0, 0);
    for (at, (id, tool)) in operations.iter().enumerate() {
        let good = practice.sample_arguments(id).unwrap();
        let spec = rig.tool(tool).spec();
        let mut calls = Vec::new();
        for name in good.keys() {
            match wrong(spec, &good, name) {
                Some(bad) => calls.push(bad),
                None => any += 1,
            }
        }
        let required = spec.input.source().get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let mut bad = good.clone();
            bad.remove(name);
            calls.push(bad);
        }
        let mut bad = good.clone();
        bad.insert(String::from("nobody-knows-this"), json!(1));
        calls.push(bad);
        for (number, bad) in calls.into_iter().enumerate() {
            let who = format!("p{at}-{number}");
            let error = rig.call_as(&who, tool, Value::Object(bad.clone())).await.unwrap_err();
            assert_eq!(error.kind(), Kind::BadArguments, "{id} {bad:?} {error:?}");
            refused += 1;
        }
    }
    practice.shutdown().await;
    assert!(rig.upstream.seen().is_empty(), "{file}: a wrong call was sent");
    (refused, any)
}

#[tokio::test]
async fn no_wrong_call_of_any_tool_reaches_the_upstream() {
    let (mut refused, mut any) = (0, 0);
    for file in DOCUMENTS {
        let (these, those) = no_wrong_call_leaves(file, 1).await;
        (refused, any) = (refused + these, any + those);
    }
    println!("{refused} wrong calls were refused; {any} arguments accept anything");
    assert!(shared().is_none() || refused > 1_000 && any * 20 < refused, "{refused} {any}");
}

/// A list of things, with these query parameters and these members beside the list.
fn listed(parameters: &[(&str, &str)], list: &str, beside: &Value) -> Value {
    let text = json!({"type": "string"});
    let thing =
        json!({"type": "object", "required": ["id", "name"], "properties": {"id": text, "name": text}});
    let answer = if list.is_empty() {
        json!({"type": "array", "items": thing})
    } else {
        let mut members = beside.as_object().unwrap().clone();
        members.insert(list.to_owned(), json!({"type": "array", "items": thing}));
        json!({"type": "object", "required": [list], "properties": members})
    };
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|(name, kind)| {
            let first = if *name == "page" { json!(1) } else { Value::Null };
            let mut schema = json!({"type": kind, "default": first});
            if first.is_null() {
                schema.as_object_mut().unwrap().shift_remove("default");
            }
            json!({"name": name, "in": "query", "schema": schema})
        })
        .collect();
    let content =
        |schema: Value| json!({"description": "ok", "content": {"application/json": {"schema": schema}}});
    json!({"openapi": "3.0.3", "info": {"title": "Acme", "version": "1"}, "paths": {
        "/things": {
            "get": {"operationId": "list", "parameters": parameters, "responses": {"200": content(answer)}},
            "post": {"operationId": "add", "requestBody": {"content": {"application/json": {"schema": thing}}},
                "responses": {"201": content(thing.clone())}}},
        "/things/{id}": {"get": {"operationId": "one", "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": text}],
            "responses": {"200": content(thing.clone())}}}}})
}

#[tokio::test]
async fn every_kind_of_paging_is_played_and_walked_to_the_end() {
    let (words, number, yes) =
        (json!({"type": "string"}), json!({"type": "integer"}), json!({"type": "boolean"}));
    let token = json!({"meta": {"type": "object", "properties": {"next_cursor": words}}});
    let href = json!({"_links": {"type": "object", "properties": {"next": {"type": "object", "properties": {"href": words}}}}});
    let kinds: &[(&str, &[(&str, &str)], &str, Value)] = &[
        (
            "token",
            &[("page_token", "string"), ("page_size", "integer")],
            "things",
            json!({"next_page_token": words}),
        ),
        ("token", &[("cursor", "string"), ("limit", "integer")], "data", token),
        ("link", &[], "value", json!({"@odata.nextLink": words})),
        ("link", &[("offset", "integer")], "items", json!({"next": {"type": "string", "format": "uri"}})),
        ("link", &[("page", "integer"), ("per_page", "integer")], "items", href),
        ("offset", &[("offset", "integer"), ("limit", "integer")], "items", json!({"total": number})),
        ("offset", &[("$skip", "integer"), ("$top", "integer")], "value", json!({"@odata.count": number})),
        ("page", &[("page", "integer"), ("per_page", "integer")], "items", json!({"total_pages": number})),
        ("last", &[("starting_after", "string"), ("limit", "integer")], "data", json!({"has_more": yes})),
        ("", &[("page", "integer")], "", json!({})),
        ("", &[], "", json!({})),
    ];
    for (word, parameters, list, beside) in kinds {
        let document = listed(parameters, list, beside);
        let document = load(document.to_string().as_bytes(), None).unwrap();
        let options = Options { auth: Auth::Open, seeds: 5, page_size: 2, ..Options::default() };
        let practice = serve(document.clone(), options).await.unwrap();
        let silent = Upstream::start(|_, _| answer(500, "nobody asks here")).await;
        let rig = Rig::at(document, "", silent, url::Url::parse(&practice.url()).unwrap());
        assert_eq!(rig.tool("list").pages().unwrap_or_default(), *word, "{parameters:?} {beside}");
        let (mut arguments, mut ids, mut calls) = (json!({}), Vec::new(), 0);
        loop {
            let result = rig.call("list", arguments).await.unwrap();
            assert!(!result.is_error, "{word} {parameters:?}: {}", text(&result));
            let structured = result.structured_content.unwrap();
            let items = structured.pointer(&if list.is_empty() { String::new() } else { format!("/{list}") });
            ids.extend(
                items
                    .unwrap()
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|it| Some(it.get("id")?.as_str().unwrap().to_owned())),
            );
            calls += 1;
            let Some(next) = result.meta.and_then(|meta| meta.get("bartizan/next").cloned()) else { break };
            assert!(calls < 10, "{word} {parameters:?} ends");
            arguments = json!({next["argument"].as_str().unwrap(): next["handle"]});
        }
        let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), unique.len()), (5, 5), "{word} {parameters:?} {beside}: {ids:?}");
        assert!((3..=4).contains(&calls), "{word}: {calls}");
        assert!(practice.misfits().is_empty(), "{word}: {:?}", practice.misfits());
        practice.shutdown().await;
    }
}

#[tokio::test]
async fn a_search_whose_body_takes_the_token_is_played_too() {
    let mut document = listed(&[], "things", &json!({}));
    let words = json!({"type": "string"});
    let thing = json!({"type": "object", "required": ["id"], "properties": {"id": words, "name": words}});
    let asked = json!({"type": "object", "properties": {"cursor": words, "limit": {"type": "integer"}}});
    let answer_of = json!({"type": "object", "required": ["data"], "properties": {
        "data": {"type": "array", "items": thing}, "next_cursor": words}});
    document["paths"]["/things/search"] = json!({"post": {"operationId": "search",
        "requestBody": {"required": true, "content": {"application/json": {"schema": asked}}},
        "responses": {"200": {"description": "ok", "content": {"application/json": {"schema": answer_of}}}}}});
    let document = load(document.to_string().as_bytes(), None).unwrap();
    let options = Options { auth: Auth::Open, seeds: 5, ..Options::default() };
    let practice = serve(document.clone(), options).await.unwrap();
    let silent = Upstream::start(|_, _| answer(500, "nobody asks here")).await;
    let manifest = "[[operation]]\nid = 'search'\neffect = 'read'\n\
                    pages = { cursor = 'next_cursor', send = '/cursor', limit = 4 }";
    let rig = Rig::at(document, manifest, silent, url::Url::parse(&practice.url()).unwrap());
    let first = rig.call("search", json!({"body": {"limit": 2}})).await.unwrap();
    let had = first.structured_content.as_ref().unwrap()["data"].as_array().unwrap().clone();
    let next = first.structured_content.unwrap()["next_page"].clone();
    let rest = rig.call("search", json!({"page": next})).await.unwrap().structured_content.unwrap();
    let ids: std::collections::BTreeSet<String> = had
        .iter()
        .chain(rest["data"].as_array().unwrap())
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((had.len(), ids.len()), (4, 5));
    assert!(rest.get("next_page").is_none());
    practice.shutdown().await;
}

/// The largest documents, and of how many of their tools one is called, so that it ends in time; `nox -s tools` calls
/// every one.
const LARGE: [(&str, u8); 6] = [
    ("msgraph/v1.0.deviceappmanagement.json.gz", 1),
    ("msgraph/v1.0.devicemanagement.json.gz", 16),
    ("msgraph/v1.0.groups.json.gz", 16),
    ("msgraph/v1.0.identity.governance.json.gz", 16),
    ("msgraph/v1.0.identity.signins.json.gz", 16),
    ("msgraph/v1.0.users.json.gz", 16),
];

fn large() -> impl Iterator<Item = (&'static str, u8)> {
    let whole = std::env::var_os("BARTIZAN_EVERY_TOOL").is_some();
    LARGE.into_iter().map(move |(file, share)| (file, if whole { 1 } else { share }))
}

#[tokio::test]
async fn tools_of_the_largest_documents_can_be_called() {
    for (file, share) in large() {
        every_tool_of(file, share).await;
    }
}

#[tokio::test]
async fn no_wrong_call_of_tools_of_the_largest_documents_reaches_the_upstream() {
    let began = std::time::Instant::now();
    let (mut refused, mut any) = (0, 0);
    for (file, share) in large() {
        let (these, those) = no_wrong_call_leaves(file, share).await;
        (refused, any) = (refused + these, any + those);
    }
    println!("{refused} wrong calls were refused in {:?}; {any} arguments accept anything", began.elapsed());
    assert!(shared().is_none() || refused > 1_000 && any * 20 < refused, "{refused} {any}");
}
