//! Long answers: what is shown of them, and the way to the rest.

use bartizan::connectors::manifest::Manifest;
use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::protocol::types::{Content, ToolResult};

use super::rig::{Rig, text};
use crate::loopback::{Act, answer};

const MARK: &str = "[redacted:cut]";
const ASKED: &str = "only what was asked for";

fn document() -> Value {
    let read = |id: &str, more: Value| {
        let mut operation = json!({"operationId": id, "responses": {"200": {"description": "all", "content":
            {"application/json": {"schema": {"type": "object", "required": ["data", "total"], "properties": {
                "total": {"type": "integer"},
                "data": {"type": "array", "items": {"type": "object", "required": ["id", "name", "note"],
                    "additionalProperties": false, "properties": {
                    "id": {"type": "integer"}, "name": {"type": "string"}, "note": {"type": "string"}}}}}}}}}}});
        operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        operation
    };
    json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {
        "/things": {"get": read("list", json!({})), "post": {"operationId": "create", "requestBody": {"content":
            {"application/json": {"schema": {"type": "object"}}}}}},
        "/declared": {"get": read("declared", json!({}))},
        "/file": {"get": {"operationId": "file", "responses": {"200": {"description": "bytes", "content":
            {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}}}},
        "/clash": {"get": read("clash", json!({"parameters": [
            {"name": "fields", "in": "query", "schema": {"type": "string"}}]}))}}})
}

/// A megabyte of things.
fn things() -> Vec<Value> {
    (0..5_000_u32)
        .map(|id| json!({"id": id, "name": format!("thing “{id}”"), "note": "漢é🦀\n\"".repeat(14)}))
        .collect()
}

fn link(result: &ToolResult) -> Option<&str> {
    result.content.iter().find_map(|block| match block {
        Content::ResourceLink { uri, .. } => Some(uri.as_str()),
        _ => None,
    })
}

fn payload(result: &ToolResult) -> usize {
    let Some(Content::Text { text, .. }) = result.content.first() else { panic!("a text comes first") };
    text.len()
}

async fn rig(manifest: &str, body: Value) -> Rig {
    Rig::new(document(), manifest, move |_, _| answer(200, body.clone())).await
}

#[tokio::test]
async fn a_long_list_comes_in_whole_items_and_every_one_of_them_once() {
    let few = things()[..400].to_vec();
    for (all, first) in [(things(), json!({"fields": ["data.id"]})), (few, json!({}))] {
        let rig = rig("", json!({"data": all, "total": 5_000})).await;
        let (mut arguments, mut seen, mut calls) = (first, Vec::new(), 0);
        loop {
            let piece = rig.call("list", arguments).await.unwrap();
            calls += 1;
            assert!(payload(&piece) <= 16_000, "{} bytes", payload(&piece));
            let shown = piece.structured_content.unwrap();
            seen.extend(shown["data"].as_array().unwrap().iter().map(|item| item["id"].clone()));
            let Some(next) = shown["next_page"].as_str() else { break };
            assert!(shown[MARK].as_str().unwrap().contains(" items"), "{}", shown[MARK]);
            arguments = json!({ "page": next });
        }
        assert!(calls > 3, "{calls} calls");
        assert_eq!(seen, all.iter().map(|item| item["id"].clone()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_megabyte_is_sixteen_kilobytes_at_most() {
    let body = json!({"data": things(), "total": 5_000});
    assert!(body.to_string().len() > 1_000_000);
    let cut = rig("", body).await.call("list", json!({})).await.unwrap();
    let texts: usize = cut
        .content
        .iter()
        .map(|block| match block {
            Content::Text { text, .. } => text.len(),
            other => serde_json::to_string(other).unwrap().len(),
        })
        .sum();
    assert!(texts <= 16_000, "{texts} bytes in all");
}

#[tokio::test]
async fn the_whole_of_what_was_cut_is_read_by_its_caller_and_by_nobody_else() {
    let body = json!({"data": things(), "total": 5_000, "password": "hunter2hunter2"});
    let rig = rig("", body.clone()).await;
    let cut = rig.call("list", json!({})).await.unwrap();
    let uri = link(&cut).unwrap().to_owned();
    let (mut next, mut all) = (Some(uri.clone()), String::new());
    while let Some(part) = next {
        let read = rig.read("anna", &part).await.unwrap();
        let meta = read.meta.unwrap();
        assert_eq!(meta["bartizan/untrusted"]["source"], "openapi");
        next = meta["bartizan/part"]["next"].as_str().map(String::from);
        all.push_str(&read.text.unwrap());
    }
    let whole: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(whole["data"], body["data"]);
    assert!(!all.contains("hunter2"), "what is kept is redacted");
    let foreign = rig.read("bert", &uri).await.unwrap_err();
    let unknown = rig.read("bert", "bartizan://results/AAAAAAAAAAAAAAAAAAAAAA").await.unwrap_err();
    assert_eq!((foreign.kind(), foreign.message()), (Kind::NoSuchResource, unknown.message()));
}

#[tokio::test]
async fn fields_choose_after_redaction_and_never_reach_the_upstream() {
    let rig =
        rig("", json!({"data": [{"id": 1, "name": "a", "password": "hunter2hunter2"}], "total": 1})).await;
    let some = rig.call("list", json!({"fields": ["data.name", "data.password"]})).await.unwrap();
    let shown = some.structured_content.as_ref().unwrap();
    assert_eq!(shown["data"][0]["name"], "a");
    assert!(shown["data"][0]["password"].as_str().unwrap().starts_with("[redacted:"));
    assert!(shown.get("total").is_none() && !text(&some).contains("hunter2"));
    assert_eq!(text(&some), shown.to_string());
    // one name instead of a list is understood
    let one = rig.call("list", json!({"fields": "total"})).await.unwrap();
    assert_eq!(one.structured_content.unwrap(), json!({"total": 1, MARK: ASKED}));
    let wrong = rig.call("list", json!({"fields": ["data.nmae"]})).await.unwrap();
    assert!(wrong.is_error && text(&wrong).contains("data.name") && !text(&wrong).contains("nmae"));
    assert!(rig.upstream.seen().iter().all(|seen| seen.target == "/things"), "{:?}", rig.upstream.seen());
}

#[tokio::test]
async fn an_argument_of_the_api_keeps_its_name() {
    let rig = rig("", json!({"data": [{"id": 1, "name": "a"}]})).await;
    let some = rig.call("clash", json!({"fields": "x,y", "select": ["data.id"]})).await.unwrap();
    assert_eq!(some.structured_content.unwrap(), json!({"data": [{"id": 1}], MARK: ASKED}));
    assert_eq!(rig.upstream.seen()[0].target, "/clash?fields=x%2Cy");
    let write = rig.tool("create").spec().input.source().clone();
    assert!(write["properties"].get("fields").is_none(), "only what reads has it");
}

#[tokio::test]
async fn a_declared_result_is_asked_for_by_its_schema_and_fits_it_still() {
    let manifest = "[[operation]]\nid = 'declared'\noutput = true";
    let rig = rig(manifest, json!({"data": things(), "total": 5_000})).await;
    let refused = rig.call("declared", json!({"fields": ["data.nmae"]})).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::BadArguments);
    assert!(refused.message().contains("data.name") && !refused.message().contains("nmae"));
    assert!(rig.upstream.seen().is_empty(), "nothing is asked for a field that is not there");
    for arguments in [json!({"fields": ["data.id"]}), json!({})] {
        let some = rig.call("declared", arguments).await.unwrap();
        let shown = some.structured_content.expect("it fits the schema");
        assert!(rig.tool("declared").spec().output.as_ref().unwrap().compiled().unwrap().fits(&shown));
        assert!(!some.meta.unwrap().contains_key("bartizan/outputMismatch"));
    }
}

#[tokio::test]
async fn a_connector_says_how_much_and_what_is_noise() {
    let manifest = "[response]\nmax_bytes = 4000\ndrop = ['**.href', '_links']\nprune = true\n\
                    [[operation]]\nid = 'clash'\nresponse = { max_bytes = 9000, drop = ['data.note'], prune = false }";
    let body = json!({"data": things(), "href": "x", "_links": {"self": "y"}, "none": null});
    let rig = rig(manifest, body).await;
    let less = rig.call("list", json!({})).await.unwrap();
    let more = rig.call("clash", json!({})).await.unwrap();
    assert!((2_000..=4_000).contains(&payload(&less)), "{}", payload(&less));
    assert!((4_500..=9_000).contains(&payload(&more)), "{}", payload(&more));
    let (less, more) = (less.structured_content.unwrap(), more.structured_content.unwrap());
    assert!(less.get("href").is_none() && less.get("_links").is_none() && less.get("none").is_none());
    assert!(less["data"][0].get("note").is_some());
    assert!(more.get("href").is_none() && more["data"][0].get("note").is_none());
    assert_eq!(more["none"], Value::Null);
    let refusal = |text: &str| Manifest::parse(&format!("name = 'x'\n{text}"), "connector.toml").unwrap_err();
    assert!(refusal("[response]\ndorp = []").message().contains("`drop`"));
    assert!(refusal("[response]\ndrop = ['a.**']").message().contains("`drop`"));
    assert!(refusal("[response]\nmax_bytes = 10").message().contains("2000"));
    assert!(refusal("[[operation]]\nid = 'a'\nresponse = { max = 1 }").message().contains("`max_bytes`"));
}

#[tokio::test]
async fn what_was_cut_cannot_be_sent_back_whole() {
    let rig = rig("", json!({"data": things(), "total": 5_000})).await;
    let cut = rig.call("list", json!({})).await.unwrap().structured_content.unwrap();
    let refused = rig.call("create", json!({ "body": cut })).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::BadArguments);
    assert_eq!(rig.upstream.seen().len(), 1);
}

#[tokio::test]
async fn no_part_of_a_list_and_nothing_that_was_slimmed_is_sent_back_as_the_whole() {
    let slim = "[[operation]]\nid = 'clash'\nresponse = { drop = ['data.note'] }";
    for all in [json!({"data": things()[..400], "total": 400}), json!(things()[..400])] {
        let rig = rig(slim, all.clone()).await;
        let (mut arguments, mut parts) = (json!({}), Vec::new());
        loop {
            let result = rig.call("list", arguments).await.unwrap();
            parts.push(result.structured_content.unwrap());
            let Some(next) = result.meta.and_then(|meta| meta.get("bartizan/next").cloned()) else { break };
            arguments = json!({next["argument"].as_str().unwrap(): next["handle"]});
        }
        assert!(parts.len() > 3, "{}", parts.len());
        let last = parts.last().unwrap();
        let said = last.get(MARK).or_else(|| last.as_array()?.last()).unwrap().as_str().unwrap();
        assert!(said.contains("items ") && said.ends_with(" to 400; the last"), "{said}");
        let field = if all.is_array() { "id" } else { "data.id" };
        for (tool, arguments) in [("list", json!({"fields": [field]})), ("clash", json!({}))] {
            parts.push(rig.call(tool, arguments).await.unwrap().structured_content.unwrap());
        }
        let before = rig.upstream.seen().len();
        for part in parts {
            let refused = rig.call("create", json!({"body": {"all": part}})).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::BadArguments);
        }
        assert_eq!(rig.upstream.seen().len(), before, "nothing of it went out");
        rig.call("create", json!({"body": {"all": all}})).await.unwrap();
    }
}

#[tokio::test]
async fn a_handle_of_a_next_page_goes_nowhere_else() {
    let rig = rig("", json!({"data": things(), "total": 5_000})).await;
    let next = rig.call("list", json!({})).await.unwrap().structured_content.unwrap()["next_page"].clone();
    let words = format!("see {}", next.as_str().unwrap());
    for body in [json!({"cursor": next}), json!({"a": [{"b": words}]}), json!({words.clone(): 1})] {
        let refused = rig.call("create", json!({ "body": body })).await.unwrap_err();
        assert!(refused.message().contains("handle of a next page"), "{}", refused.message());
    }
    assert_eq!(rig.upstream.seen().len(), 1);
    rig.call("list", json!({"page": next})).await.unwrap();
}

#[tokio::test]
async fn a_long_thing_loses_its_largest_parts_and_says_how_to_ask_for_them() {
    let members: Map<String, Value> = (0..40)
        .map(|at| (format!("member{at}"), json!("x".repeat(if at % 2 == 0 { 20 } else { 20_000 }))))
        .collect();
    let rig = rig("", json!({"thing": members, "total": 1})).await;
    let cut = rig.call("list", json!({})).await.unwrap();
    assert!(payload(&cut) <= 16_000);
    let shown = cut.structured_content.unwrap();
    assert_eq!(shown["thing"]["member0"], "x".repeat(20));
    assert!(shown["thing"]["member1"].as_str().unwrap().contains(MARK));
    let one = rig.call("list", json!({"fields": ["thing.member2", "total"]})).await.unwrap();
    let part = json!({"thing": {"member2": "x".repeat(20)}, "total": 1, MARK: ASKED});
    assert_eq!(one.structured_content.unwrap(), part);
}

#[tokio::test]
async fn texts_and_bytes_lead_to_their_whole_too() {
    let lines: String = (0..60_000).map(|line| format!("line {line} é\n")).collect();
    let sent = lines.clone();
    let rig = Rig::new(document(), "", move |_, before| {
        let (media, body) = match before {
            0 => ("text/plain", sent.clone()),
            1 => ("application/pdf", "\u{7}".repeat(300_000)),
            _ => ("image/png", "\u{8}".repeat(300_000)),
        };
        Act::Answer { status: 200, headers: vec![("content-type".into(), media.into())], body }
    })
    .await;
    let cut = rig.call("list", json!({})).await.unwrap();
    assert!(
        payload(&cut) <= 16_000 && text(&cut).starts_with("line 0 é\nline 1") && text(&cut).contains(MARK)
    );
    let (mut next, mut all) = (link(&cut).map(String::from), String::new());
    while let Some(part) = next {
        let read = rig.read("anna", &part).await.unwrap();
        next = read.meta.unwrap()["bartizan/part"]["next"].as_str().map(String::from);
        all.push_str(&read.text.unwrap());
    }
    assert_eq!(all, lines);
    let bytes = rig.call("file", json!({})).await.unwrap();
    assert!(text(&bytes).contains(MARK));
    let read = rig.read("anna", link(&bytes).unwrap()).await.unwrap();
    assert_eq!((read.mime_type.as_deref(), read.text), (Some("application/pdf"), None));
    assert!(read.blob.unwrap().starts_with("BwcHBwcH"));
    let picture = rig.call("file", json!({})).await.unwrap();
    assert!(matches!(&picture.content[0], Content::Image { data, .. } if data.len() == 400_000));
}
