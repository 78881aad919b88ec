//! Pages follow each other, within their caps, and nowhere else.

use bartizan::json::{Value, json};

use super::rig::{Rig, text};
use crate::loopback::{Seen, answer};

fn document() -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {
        "/things": {"get": {"operationId": "list", "parameters": [
            {"name": "cursor", "in": "query", "schema": {"type": "string"}},
            {"name": "offset", "in": "query", "schema": {"type": "integer"}},
            {"name": "page", "in": "query", "schema": {"type": "integer"}},
            {"name": "q", "in": "query", "schema": {"type": "string"}}]}},
        "/things/search": {"post": {"operationId": "search", "requestBody": {"content": {"application/json":
            {"schema": {"type": "object"}}}}}}}})
}

fn manifest(id: &str, pages: &str) -> String {
    format!("[[operation]]\nid = '{id}'\neffect = 'read'\npages = {{ {pages} }}")
}

/// The value of a query parameter, as a number.
fn number(seen: &Seen, name: &str) -> usize {
    let query = seen.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_token_is_sent_until_there_is_none() {
    let pages = manifest("list", "cursor = 'next', send = 'cursor'");
    let rig = Rig::new(document(), &pages, |seen, _| {
        let at = number(seen, "cursor");
        let next = if at < 4 { json!((at + 1).to_string()) } else { Value::Null };
        answer(200, json!({"items": [at * 2, at * 2 + 1], "next": next, "kind": "list"}))
    })
    .await;
    let all = rig.call("list", json!({"q": "x"})).await.unwrap();
    let expected = json!({"items": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "next": null, "kind": "list"});
    assert_eq!(all.structured_content, Some(expected));
    assert!(rig.upstream.seen().iter().all(|seen| seen.target.contains("q=x")));
    assert_eq!(rig.upstream.seen().len(), 5);
}

#[tokio::test]
async fn a_link_is_followed_on_the_same_path_only() {
    for (link, pages) in [
        ("/things?offset=2", 2),
        ("?offset=2", 2),
        ("http://169.254.169.254/things?offset=2", 1),
        ("//evil.example/things?offset=2", 1),
        ("/admin?offset=2", 1),
        ("/things/../admin?offset=2", 1),
        ("/things", 1),
    ] {
        let style = manifest("list", "style = 'link', cursor = '/meta/next', items = '/data'");
        let rig = Rig::new(document(), &style, move |_, before| {
            let next = if before == 0 { json!(link) } else { Value::Null };
            answer(200, json!({"data": [before], "meta": {"next": next}, "other": []}))
        })
        .await;
        let all = rig.call("list", json!({})).await.unwrap();
        assert_eq!(all.structured_content.unwrap()["data"].as_array().unwrap().len(), pages, "{link}");
        assert_eq!(rig.upstream.seen().len(), pages);
        assert!(rig.upstream.seen().iter().all(|seen| seen.path() == "/things"));
    }
}

#[tokio::test]
async fn an_offset_goes_into_the_body_of_a_search() {
    let pages =
        manifest("search", "style = 'offset', cursor = '/page/total', send = '/page/offset', items = 'data'");
    let rig = Rig::new(document(), &pages, |seen, _| {
        let offset = seen.json()["page"]["offset"].as_u64().unwrap_or(0);
        let data: Vec<u64> = (offset..(offset + 3).min(7)).collect();
        answer(200, json!({"data": data, "page": {"total": 7, "offset": offset}}))
    })
    .await;
    let body = json!({"filter": {"a": 1}, "page": {"limit": 3}});
    let all = rig.call("search", json!({"body": body})).await.unwrap();
    assert_eq!(all.structured_content.unwrap()["data"], json!([0, 1, 2, 3, 4, 5, 6]));
    let last = rig.upstream.seen().pop().unwrap().json();
    assert_eq!(last, json!({"filter": {"a": 1}, "page": {"limit": 3, "offset": 6}}));
}

#[tokio::test]
async fn what_never_ends_is_cut_and_says_so() {
    let pages = manifest("list", "style = 'page', send = 'page', items = 'data', limit = 50, most = 4");
    let rig =
        Rig::new(document(), &pages, |seen, _| answer(200, json!({"data": [number(seen, "page")]}))).await;
    let all = rig.call("list", json!({})).await.unwrap();
    assert_eq!(all.structured_content.as_ref().unwrap()["data"], json!([0, 2, 3, 4]));
    assert!(text(&all).contains("There is more"));
    let same = manifest("list", "cursor = 'next', send = 'cursor', items = 'data', most = 100");
    let rig = Rig::new(document(), &same, |_, _| answer(200, json!({"data": [1], "next": "same"}))).await;
    rig.call("list", json!({})).await.unwrap();
    assert_eq!(rig.upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_later_page_that_fails_leaves_what_was_had() {
    let pages = manifest("list", "cursor = 'next', send = 'cursor', items = 'data'");
    let rig = Rig::new(document(), &pages, |_, before| match before {
        0 => answer(200, json!({"data": [1], "next": "a"})),
        _ => answer(503, json!({"why": "tired"})),
    })
    .await;
    let all = rig.call("list", json!({})).await.unwrap();
    assert_eq!(all.structured_content.as_ref().unwrap()["data"], json!([1]));
    assert!(text(&all).contains("not whole") && text(&all).contains("HTTP 503"));
}
