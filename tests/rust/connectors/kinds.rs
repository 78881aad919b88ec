//! Every way in which an upstream leads on: each is played by an upstream that knows nothing of ours.

use bartizan::connectors::manifest::PageStyle;
use bartizan::connectors::{infer_pages, openapi};
use bartizan::json::{Value, json};
use bartizan::protocol::types::ToolResult;

use super::rig::{Rig, text};
use crate::loopback::{Act, Seen, answer, with_header};

const ALL: usize = 23;
const PAGE: usize = 4;

fn document() -> Value {
    let query = |name: &str, kind: &str| json!({"name": name, "in": "query", "schema": {"type": kind}});
    json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {
        "/things": {"get": {"operationId": "list", "parameters": [
            query("cursor", "string"), query("offset", "integer"), query("number", "integer"), query("q", "string"),
            query("starting_after", "string"),
            {"name": "X-Cursor", "in": "header", "schema": {"type": "string"}}]}},
        "/things/search": {"post": {"operationId": "search", "requestBody": {"content": {"application/json":
            {"schema": {"type": "object"}}}}}}}})
}

/// One way to lead on.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    tool: &'static str,
    pages: &'static str,
    items: &'static str,
    /// Where a request begins.
    begins: fn(&Seen) -> usize,
    /// The answer with the items `from..to` of a list that has `ALL`; `next` says whether there are more.
    answers: fn(&Seen, (usize, usize), bool) -> Act,
}

fn query(seen: &Seen, name: &str) -> Option<String> {
    let (_, query) = seen.target.split_once('?')?;
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let mut found = pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    let value = found.next();
    assert!(found.next().is_none(), "{name} is sent once");
    value
}

fn at(text: Option<String>) -> usize {
    text.map_or(0, |text| text.trim_start_matches("at-").parse().expect("a place of this upstream"))
}

fn things((from, to): (usize, usize)) -> Value {
    json!((from..to).map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>())
}

fn token(next: bool, to: usize) -> Value {
    if next { json!(format!("at-{to}")) } else { Value::Null }
}

const KINDS: &[Kind] = &[
    Kind {
        name: "a token in the body, sent in the query",
        tool: "list",
        pages: "cursor = '/meta/next', send = 'cursor', items = 'data'",
        items: "/data",
        begins: |seen| at(query(seen, "cursor")),
        answers: |_, page, next| {
            answer(200, json!({"data": things(page), "meta": {"next": token(next, page.1)}}))
        },
    },
    Kind {
        name: "a token in a header, sent in a header",
        tool: "list",
        pages: "header = 'X-Next', send = 'X-Cursor'",
        items: "/data",
        begins: |seen| at(seen.header("x-cursor").map(str::to_owned)),
        answers: |_, page, next| {
            let act = answer(200, json!({"data": things(page)}));
            if next { with_header(act, "X-Next", &format!("at-{}", page.1)) } else { act }
        },
    },
    Kind {
        name: "an offset with a total",
        tool: "list",
        pages: "style = 'offset', send = 'offset', total = 'total'",
        items: "/items",
        begins: |seen| at(query(seen, "offset")),
        answers: |_, page, _| answer(200, json!({"items": things(page), "total": ALL})),
    },
    Kind {
        name: "an offset until a page is empty",
        tool: "list",
        pages: "style = 'offset', send = 'offset'",
        items: "",
        begins: |seen| at(query(seen, "offset")),
        answers: |_, page, _| answer(200, things(page)),
    },
    Kind {
        name: "the number of a page, of so many",
        tool: "list",
        pages: "style = 'page', send = 'number', cursor = 'pages'",
        items: "/items",
        begins: |seen| {
            query(seen, "number").map_or(0, |number| (number.parse::<usize>().unwrap() - 1) * PAGE)
        },
        answers: |_, page, _| answer(200, json!({"items": things(page), "pages": ALL.div_ceil(PAGE)})),
    },
    Kind {
        name: "the number of a page that begins with 0, until one is empty",
        tool: "list",
        pages: "style = 'page', send = 'number', first = 0",
        items: "/items",
        begins: |seen| at(query(seen, "number")) * PAGE,
        answers: |_, page, _| answer(200, json!({"items": things(page)})),
    },
    Kind {
        name: "a Link header",
        tool: "list",
        pages: "style = 'link_header'",
        items: "",
        begins: |seen| at(query(seen, "from")),
        answers: |seen, page, next| {
            let host = seen.header("host").unwrap();
            let link = format!(
                "<http://{host}/things>; rel=\"first\", <http://{host}/things?from=at-{}&q=%2C>; rel=\"next last\"",
                page.1
            );
            let act = answer(200, things(page));
            if next { with_header(act, "Link", &link) } else { act }
        },
    },
    Kind {
        name: "a relative address in the body",
        tool: "list",
        pages: "style = 'link', cursor = '/_links/next/href', items = '/_embedded/things'",
        items: "/_embedded/things",
        begins: |seen| at(query(seen, "from")),
        answers: |_, page, next| {
            let links =
                if next { json!({"next": {"href": format!("?from=at-{}", page.1)}}) } else { json!({}) };
            answer(200, json!({"_embedded": {"things": things(page)}, "_links": links}))
        },
    },
    Kind {
        name: "OData",
        tool: "list",
        pages: "style = 'link', cursor = '@odata.nextLink', items = 'value'",
        items: "/value",
        begins: |seen| at(query(seen, "$skiptoken")),
        answers: |seen, page, next| {
            let mut body = json!({"@odata.context": "x", "value": things(page)});
            if next {
                let host = seen.header("host").unwrap();
                body["@odata.nextLink"] =
                    json!(format!("http://{host}/things?$top=4&$skiptoken=at-{}", page.1));
            }
            answer(200, body)
        },
    },
    Kind {
        name: "a token in the body of a search",
        tool: "search",
        pages: "cursor = 'next', send = '/page/cursor', items = 'hits'",
        items: "/hits",
        begins: |seen| at(seen.json()["page"]["cursor"].as_str().map(str::to_owned)),
        answers: |_, page, next| answer(200, json!({"hits": things(page), "next": token(next, page.1)})),
    },
    Kind {
        name: "a key of several parts in the body of a search",
        tool: "search",
        pages: "cursor = 'LastEvaluatedKey', send = '/ExclusiveStartKey', items = 'Items'",
        items: "/Items",
        begins: |seen| {
            seen.json()["ExclusiveStartKey"]["sort"].as_u64().map_or(0, |at| usize::try_from(at).unwrap())
        },
        answers: |_, page, next| {
            let mut body = json!({"Items": things(page)});
            if next {
                body["LastEvaluatedKey"] = json!({"hash": "a", "sort": page.1});
            }
            answer(200, body)
        },
    },
    Kind {
        name: "the last item, while there is more",
        tool: "list",
        pages: "style = 'last', send = 'starting_after', more = 'has_more'",
        items: "/data",
        begins: |seen| query(seen, "starting_after").map_or(0, |id| id.parse::<usize>().unwrap() + 1),
        answers: |_, page, next| answer(200, json!({"data": things(page), "has_more": next})),
    },
];

/// An upstream of that kind, with something else in the place of one answer.
async fn rig(kind: Kind, caps: &str, fault: Option<(usize, Act)>) -> Rig {
    let manifest =
        format!("[[operation]]\nid = '{}'\neffect = 'read'\npages = {{ {}{caps} }}", kind.tool, kind.pages);
    Rig::new(document(), &manifest, move |seen, before| {
        if let Some((_, act)) = fault.as_ref().filter(|(at, _)| *at == before) {
            return act.clone();
        }
        let from = (kind.begins)(seen).min(ALL);
        let to = (from + PAGE).min(ALL);
        (kind.answers)(seen, (from, to), to < ALL)
    })
    .await
}

fn ids(result: &ToolResult, items: &str) -> Vec<usize> {
    let list = result.structured_content.as_ref().unwrap().pointer(items).and_then(Value::as_array);
    let items = list.expect("a list").iter().filter(|item| item.is_object());
    items.map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// The handle of a result and the argument that takes it.
fn next(result: &ToolResult) -> Option<(String, String)> {
    let next = result.meta.as_ref()?.get("bartizan/next")?;
    let (argument, handle) = (next["argument"].as_str().unwrap(), next["handle"].as_str().unwrap());
    let said = text(result);
    assert!(said.contains("There is more") && said.contains(argument) && said.contains(handle), "{said}");
    Some((argument.to_owned(), handle.to_owned()))
}

/// Goes on until there is no more; the items of each call.
async fn walk(rig: &Rig, kind: Kind, arguments: Value) -> Vec<Vec<usize>> {
    let mut calls = Vec::new();
    let mut result = rig.call(kind.tool, arguments).await.unwrap();
    loop {
        calls.push(ids(&result, kind.items));
        let Some((argument, handle)) = next(&result) else { return calls };
        assert!(calls.len() < 40, "{}: it ends", kind.name);
        result = rig.call(kind.tool, json!({argument: handle})).await.unwrap();
        assert!(!result.is_error, "{}: {}", kind.name, text(&result));
    }
}

fn given(kind: Kind) -> Value {
    if kind.tool == "search" { json!({"body": {"filter": {"a": 1}}}) } else { json!({"q": ","}) }
}

#[tokio::test]
async fn every_kind_brings_each_item_once_and_no_more_at_a_time_than_it_may() {
    for kind in KINDS {
        let rig = rig(*kind, ", limit = 10", None).await;
        let calls = walk(&rig, *kind, given(*kind)).await;
        assert_eq!(calls.concat(), (0..ALL).collect::<Vec<_>>(), "{}", kind.name);
        assert!(calls.iter().all(|call| call.len() <= 10) && calls.len() >= 3, "{}: {calls:?}", kind.name);
        for seen in rig.upstream.seen() {
            let asked = if kind.tool == "search" {
                seen.json()["filter"]["a"] == 1
            } else {
                // also where the upstream's address does not say it
                query(&seen, "q").is_some_and(|q| q == ",")
            };
            assert!(asked && seen.path().starts_with("/things"), "{}: {seen:?}", kind.name);
        }
    }
}

#[tokio::test]
async fn a_page_that_is_longer_than_a_call_may_be_is_gone_on_with_in_its_middle() {
    for kind in KINDS {
        let rig = rig(*kind, ", limit = 3", None).await;
        let calls = walk(&rig, *kind, given(*kind)).await;
        assert_eq!(calls.concat(), (0..ALL).collect::<Vec<_>>(), "{}", kind.name);
        assert!(calls.iter().all(|call| call.len() <= 3), "{}: {calls:?}", kind.name);
    }
}

#[tokio::test]
async fn what_was_had_before_a_failure_is_kept_and_the_rest_can_be_had_later() {
    let tired = answer(500, json!({"why": "tired"}));
    let often = with_header(answer(429, json!({"why": "too often"})), "Retry-After", "0");
    let broken = answer(200, "{\"data\": [");
    for (fault, said) in [(tired, "HTTP 500"), (often, "HTTP 429"), (broken, "not valid JSON")] {
        for kind in KINDS {
            let rig = rig(*kind, "", Some((2, fault.clone()))).await;
            let first = rig.call(kind.tool, given(*kind)).await.unwrap();
            let words = text(&first);
            assert!(words.contains("not whole") && words.contains(said), "{}: {words}", kind.name);
            let mut all = ids(&first, kind.items);
            assert_eq!(all, (0..2 * PAGE).collect::<Vec<_>>(), "{}", kind.name);
            let (argument, handle) = next(&first).expect("a handle");
            all.extend(walk(&rig, *kind, json!({argument: handle})).await.concat());
            assert_eq!(all, (0..ALL).collect::<Vec<_>>(), "{}", kind.name);
        }
    }
}

#[tokio::test]
async fn a_list_that_runs_in_circles_ends_within_a_call_and_over_several() {
    for kind in KINDS {
        for caps in ["", ", most = 1"] {
            let manifest = format!(
                "[[operation]]\nid = '{}'\neffect = 'read'\npages = {{ {}{caps} }}",
                kind.tool, kind.pages
            );
            let kind = *kind;
            // after the third page comes the first again; where numbers are sent, every page is the first
            let rig = Rig::new(document(), &manifest, move |seen, _| {
                let from = (kind.begins)(seen) % (3 * PAGE);
                let to = if from == 2 * PAGE { 0 } else { from + PAGE };
                let page =
                    if kind.pages.contains("offset") || kind.pages.contains("'page'") { 0 } else { from };
                match (kind.answers)(seen, (page, page + PAGE), true) {
                    Act::Answer { status, headers, body } => {
                        let circle = |text: &str| {
                            let id = |at: usize| format!("\"id\":\"{at}\"");
                            let round = text.replace(&format!("at-{}", page + PAGE), &format!("at-{to}"));
                            let round = round
                                .replace(&format!("\"sort\":{}", page + PAGE), &format!("\"sort\":{to}"));
                            // the last item's id leads back too
                            if to == 0 { round.replace(&id(page + PAGE - 1), &id(99)) } else { round }
                        };
                        let headers =
                            headers.iter().map(|(name, value)| (name.clone(), circle(value))).collect();
                        Act::Answer { status, headers, body: circle(&body) }
                    }
                    other => other,
                }
            })
            .await;
            let mut result = rig.call(kind.tool, given(kind)).await.unwrap();
            let mut calls = 1;
            while let Some((argument, handle)) = next(&result) {
                result = rig.call(kind.tool, json!({argument: handle})).await.unwrap();
                calls += 1;
                assert!(calls < 30, "{}: it ends", kind.name);
            }
            assert!(rig.upstream.seen().len() < 40, "{}: {}", kind.name, rig.upstream.seen().len());
        }
    }
}

#[tokio::test]
async fn a_poisoned_next_address_is_refused_and_said() {
    for (kind, poison) in KINDS.iter().filter(|kind| kind.pages.contains("link")).flat_map(|kind| {
        let evil = [
            "http://169.254.169.254/things?from=at-4",
            "//evil.example/things?from=at-4",
            "/admin?from=at-4",
            "/things/../admin?from=at-4",
            "/things%2f..%2fadmin?from=at-4",
            "http://user@HOST/things?from=at-4",
            "http://HOST:1/things?from=at-4",
            "file:///things?from=at-4",
        ];
        evil.map(|evil| (*kind, evil))
    }) {
        let manifest = format!("[[operation]]\nid = 'list'\npages = {{ {} }}", kind.pages);
        let rig = Rig::new(document(), &manifest, move |seen, _| {
            let poison = poison.replace("HOST", seen.header("host").unwrap());
            match (kind.answers)(seen, (0, PAGE), true) {
                Act::Answer { status, headers, body } => {
                    let headers = headers
                        .into_iter()
                        .map(|(name, value)| match name.as_str() {
                            "Link" => (name, format!("<{poison}>; rel=next")),
                            _ => (name, value),
                        })
                        .collect();
                    let mut body: Value = serde_json::from_str(&body).unwrap();
                    for place in ["/@odata.nextLink", "/_links/next/href"] {
                        if let Some(next) = body.pointer_mut(place) {
                            *next = json!(poison);
                        }
                    }
                    Act::Answer { status, headers, body: body.to_string() }
                }
                other => other,
            }
        })
        .await;
        let result = rig.call("list", json!({})).await.unwrap();
        assert_eq!(ids(&result, kind.items).len(), PAGE, "{}", kind.name);
        assert!(
            text(&result).contains("not at the address of this operation"),
            "{poison}: {}",
            text(&result)
        );
        assert!(next(&result).is_none(), "{poison}");
        assert!(!text(&result).contains("evil.example"), "{}", text(&result));
        assert_eq!(rig.upstream.seen().len(), 1, "{poison}");
    }
}

#[tokio::test]
async fn what_the_caller_asked_for_stays_as_it_was_asked_whatever_a_next_address_says() {
    let manifest = "[[operation]]\nid = 'list'\npages = { style = 'link', cursor = 'next' }";
    let rig = Rig::new(document(), manifest, |_, before| {
        let next = if before == 0 { json!("/things?q=other&q=more&cursor=b&extra=1") } else { Value::Null };
        answer(200, json!({"data": [{"id": before}], "next": next}))
    })
    .await;
    rig.call("list", json!({"q": "mine", "cursor": "a"})).await.unwrap();
    let seen = rig.upstream.seen();
    assert_eq!(seen[1].target, "/things?q=mine&cursor=b&extra=1");
}

#[tokio::test]
async fn a_bare_document_is_enough_where_it_shows_its_pages() {
    let text = json!({"type": "string"});
    let list = json!({"type": "array", "items": {"type": "object"}});
    let document = json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {
        "/things": {"get": {"operationId": "list",
            "parameters": [{"name": "page_token", "in": "query", "schema": text},
                {"name": "owner", "in": "query", "required": true, "schema": text}],
            "responses": {"200": {"description": "ok", "content": {"application/json": {"schema":
                {"type": "object", "properties": {"things": list, "next_page_token": text}}}}}}}},
        "/plain": {"get": {"operationId": "plain", "responses": {"200": {"description": "ok", "content":
            {"application/json": {"schema": list}}}}}},
        "/one": {"get": {"operationId": "one", "responses": {"200": {"description": "ok", "content":
            {"application/json": {"schema": {"type": "object", "properties": {"name": text}}}}}}}}}});
    let rig = Rig::new(document, "", |seen, _| {
        let from = at(query(seen, "page_token").or_else(|| query(seen, "from")));
        let (to, more) = ((from + PAGE).min(ALL), from + PAGE < ALL);
        if seen.path() == "/things" {
            assert_eq!(query(seen, "owner").as_deref(), Some("me"));
            return answer(200, json!({"things": things((from, to)), "next_page_token": token(more, to)}));
        }
        let act = answer(200, things((from, to)));
        if more { with_header(act, "Link", &format!("</plain?from=at-{to}>; rel=next")) } else { act }
    })
    .await;
    assert_eq!(rig.tool("one").spec().page, None, "one thing does not go on");
    for (tool, items, arguments) in [("list", "/things", json!({"owner": "me"})), ("plain", "", json!({}))] {
        let kind = Kind { name: "bare", tool, items, ..KINDS[0] };
        let calls = walk(&rig, kind, arguments).await;
        assert_eq!(calls.concat(), (0..ALL).collect::<Vec<_>>(), "{tool}");
        assert!(calls.iter().all(|call| call.len() <= PAGE), "one page a call");
    }
}

#[tokio::test]
async fn vendors_documents_show_how_their_lists_go_on() {
    let Some(shared) = super::documents::shared() else { return };
    for (file, id, style, send, cursor) in [
        ("equinix/fabricv4.patched.yaml", "GET /fabric/v4/agents", PageStyle::Offset, Some("offset"), None),
        ("msgraph/v1.0.groups.json.gz", "GET /groups", PageStyle::Link, None, Some("/@odata.nextLink")),
        ("akamai/config-dns-v2.json", "GET /zones", PageStyle::Page, Some("page"), None),
    ] {
        let bytes = super::documents::contents(&shared.join("specs").join(file));
        let document = openapi::load(&bytes, None).unwrap();
        let mut found = std::collections::BTreeMap::new();
        for operation in &document.operations {
            if let Some(pages) = infer_pages(operation) {
                *found.entry(format!("{:?}", pages.style)).or_insert(0) += 1;
                assert_eq!(operation.method, "GET");
            }
        }
        println!("{file}: {found:?} of {}", document.operations.len());
        let place =
            |it: &&bartizan::connectors::document::Operation| format!("{} {}", it.method, it.path) == id;
        let operation = document.operations.iter().find(place).expect(id);
        let pages = infer_pages(operation).expect(id);
        assert_eq!(
            (pages.style, pages.send.as_deref(), pages.cursor.as_deref()),
            (style, send, cursor),
            "{id}"
        );
    }
}
