//! Pages follow each other, within their caps, and nowhere else.

use bartizan::connectors::manifest::Manifest;
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
async fn what_the_caller_asked_for_stays_and_what_it_did_not_ask_for_is_not_asked() {
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let deep = json!({"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}});
    let fixed = json!({"name": "version", "in": "query", "required": true, "schema": {"type": "string", "enum": ["7"]}});
    let document = json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {"/things": {"get": {"operationId": "list",
        "parameters": [query("cursor"), query("status"), query("account"), query("user_id"), deep, fixed]}}}});
    let style = manifest("list", "style = 'link', cursor = 'next', items = 'data', most = 3");
    for (next, sent) in [
        ("?cursor=2", "cursor=2&version=7&status=open&filter[a]=x"),
        ("?cursor=2&account=evil&status=closed&version=8", "cursor=2&status=open&version=7&filter[a]=x"),
        ("?cursor=2&Account=evil&STATUS=closed&filter[b]=y", "cursor=2&version=7&status=open&filter[a]=x"),
        ("?cursor=2&userId=evil&user-ID=evil&USERID=evil", "cursor=2&version=7&status=open&filter[a]=x"),
        // OData, which says everything
        (
            "?$skiptoken=abc&status=open&version=7&filter[a]=x",
            "$skiptoken=abc&status=open&version=7&filter[a]=x",
        ),
    ] {
        let rig = Rig::new(document.clone(), &style, move |_, before| {
            let next = if before == 0 { json!(next) } else { Value::Null };
            answer(200, json!({"data": [before], "next": next}))
        })
        .await;
        rig.call("list", json!({"status": "open", "filter": {"a": "x"}})).await.unwrap();
        let seen = rig.upstream.seen();
        assert!(seen.len() == 2, "{next}: {seen:?}");
        let pairs = |query: &str| {
            let mut pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            pairs.sort();
            pairs
        };
        assert_eq!(pairs(seen[1].target.split_once('?').unwrap().1), pairs(sent), "{next}");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_filters_beside_its_token_gets_the_token_alone() {
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let fixed = json!({"name": "version", "in": "query", "required": true, "schema": {"type": "string", "enum": ["7"]}});
    let needed = json!({"name": "shop", "in": "query", "required": true, "schema": {"type": "string"}});
    let tag = json!({"name": "filter", "in": "query", "style": "deepObject",
        "schema": {"type": "object", "properties": {"tag": {"type": "string"}}}});
    let document = json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {"/things": {"get": {"operationId": "list",
        "parameters": [query("page_info"), query("limit"), query("status"), query("since_id"), tag, fixed, needed]}}}});
    // what was asked for is known to the upstream by its token; beside it, it refuses what could be something else
    let strict = |seen: &Seen, _: usize| {
        let asked = |name: &str| seen.target.contains(&format!("{name}="));
        let (filtered, token) =
            (asked("status") || asked("filter[tag]") || asked("since_id"), asked("page_info"));
        if filtered == token || !asked("version") || !asked("shop") {
            return answer(400, json!({"error": "page_info goes alone"}));
        }
        let at = number(seen, "page_info");
        let said = match at {
            5 => json!({"items": [at]}),
            _ => {
                let next = (at + 1).to_string();
                json!({"items": [at], "next": next, "link": format!("?limit=2&page_info={next}")})
            }
        };
        answer(200, said)
    };
    for (style, alone) in [
        ("cursor = 'next', send = 'page_info', items = 'items', most = 3", true),
        ("style = 'link', cursor = 'link', items = 'items', most = 3", true),
        ("cursor = 'next', send = 'page_info', items = 'items', most = 3", false),
        ("style = 'link', cursor = 'link', items = 'items', most = 3", false),
    ] {
        // a filter that sounds like paging is one, too
        let since = if style.starts_with("cursor") { Some("7") } else { None };
        let pages = manifest("list", &format!("{style}{}", if alone { ", alone = true" } else { "" }));
        let rig = Rig::new(document.clone(), &pages, strict).await;
        let mut asked = json!({"status": "open", "filter": {"tag": "a"}, "limit": "2", "shop": "mine"});
        if let Some(since) = since {
            asked["since_id"] = json!(since);
        }
        let all = rig.call("list", asked).await.unwrap();
        let content = all.structured_content.as_ref().unwrap();
        if !alone {
            assert_eq!(content["items"], json!([0]), "{style}");
            assert!(text(&all).contains("a later page could not be had"), "{}", text(&all));
            continue;
        }
        assert_eq!(content["items"], json!([0, 1, 2]), "{style}: {}", text(&all));
        // the handle goes on in the same way, and only with what it was given for
        let handle = content["next_page"].as_str().unwrap();
        let other = rig.call("list", json!({"page": handle, "status": "closed"})).await;
        assert!(other.is_err_and(|error| error.message().contains("had other arguments")), "{style}");
        let rest = rig.call("list", json!({"page": handle})).await.unwrap();
        assert_eq!(rest.structured_content.unwrap()["items"], json!([3, 4, 5]), "{style}");
        for later in &rig.upstream.seen()[1..] {
            assert!(later.target.contains("limit=2") && later.target.contains("version=7"), "{later:?}");
        }
    }
    for wrong in [
        "style = 'offset', send = 'limit', alone = true",
        "style = 'page', send = 'limit', alone = true",
        "cursor = '/next', send = '/page/cursor', alone = true",
    ] {
        let text = format!("name = 'acme'\n{}", manifest("list", wrong));
        let refused = Manifest::parse(&text, "connector.toml").unwrap_err();
        assert!(refused.message().contains("`alone`"), "{wrong}: {}", refused.message());
    }
}

#[tokio::test]
async fn a_next_page_that_repeats_our_credential_is_not_asked_for() {
    use super::rig::TOKEN;
    let link = manifest("list", "style = 'link', cursor = 'next', items = 'data'");
    let token = manifest("list", "cursor = 'next', send = 'cursor', items = 'data'");
    let spelt: String = TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for (pages, next) in [
        (&link, format!("?cursor={TOKEN}")),
        (&link, format!("?cursor=2&key={TOKEN}")),
        (&link, format!("?cursor=2&key={}%{:02X}", &TOKEN[..TOKEN.len() - 1], TOKEN.bytes().last().unwrap())),
        (&link, format!("?cursor={spelt}")),
        (&token, TOKEN.to_owned()),
        (&token, format!("at {TOKEN} and on")),
    ] {
        let told = next.clone();
        let rig =
            Rig::new(document(), pages, move |_, _| answer(200, json!({"data": [1], "next": told}))).await;
        let all = rig.call("list", json!({})).await.unwrap();
        assert_eq!(rig.upstream.seen().len(), 1, "{next}");
        assert!(text(&all).contains("repeats a credential") && !text(&all).contains(TOKEN), "{}", text(&all));
        assert!(!text(&all).contains("There is more"));
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

/// An upstream whose list goes on for ever.
async fn endless(document: Value, pages: &str) -> Rig {
    Rig::new(document, pages, |seen, _| {
        let at = number(seen, "cursor");
        answer(200, json!({"data": [{"id": at}], "next": (at + 1).to_string()}))
    })
    .await
}

fn handle(result: &bartizan::protocol::types::ToolResult) -> String {
    result.structured_content.as_ref().unwrap()["next_page"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_handle_stands_for_the_arguments_of_its_call() {
    let mut document = document();
    let owner = json!({"name": "owner", "in": "query", "required": true, "schema": {"type": "integer"}});
    document["paths"]["/things"]["get"]["parameters"].as_array_mut().unwrap().push(owner);
    let rig = endless(document, &manifest("list", "cursor = 'next', send = 'cursor', most = 1")).await;
    let spec = rig.tool("list").spec();
    // the API has a `page` of its own
    assert_eq!(spec.page.as_deref(), Some("next_page"));
    // a number in quotes is read as it was meant, before and after
    let first = rig.call("list", json!({"owner": "7", "q": "x"})).await.unwrap();
    let next = handle(&first);
    assert!(first.structured_content.as_ref().unwrap().get("next").is_none(), "one way to go on");
    for arguments in [
        json!({"next_page": next}),
        json!({"next_page": next, "owner": "7"}),
        json!({"next_page": next, "owner": 7, "q": "x", "offset": null}),
    ] {
        let result = rig.call("list", arguments).await.unwrap();
        assert_eq!(result.structured_content.unwrap()["data"], json!([{"id": 1}]));
        let last = rig.upstream.seen().pop().unwrap();
        assert!(last.target.contains("owner=7") && last.target.contains("q=x"), "{}", last.target);
    }
    let before = rig.upstream.seen().len();
    for arguments in [json!({"next_page": next, "owner": 8}), json!({"next_page": next, "offset": 3})] {
        let error = rig.call("list", arguments).await.unwrap_err();
        assert!(error.message().contains("other arguments"), "{}", error.message());
    }
    for wrong in [json!("2"), json!(2), json!(format!("{next}A")), json!(next[..next.len() - 2])] {
        let error = rig.call("list", json!({"next_page": wrong})).await.unwrap_err();
        assert!(error.message().contains("none that was given to you"), "{}", error.message());
    }
    let error = rig.call_as("bert", "list", json!({"next_page": next})).await.unwrap_err();
    assert!(error.message().contains("none that was given to you"));
    // an empty one is none
    let error = rig.call("list", json!({"next_page": ""})).await.unwrap_err();
    assert!(error.message().contains("owner"), "{}", error.message());
    assert_eq!(rig.upstream.seen().len(), before, "no refused call reached it");
}

#[tokio::test]
async fn policy_and_audit_see_what_a_handle_stands_for() {
    let policy = "permit(principal, action, resource) unless { context.arguments has q && context.arguments.q == \"no\" };";
    let policy = bartizan::policy::Policy::from_text("test", policy).unwrap();
    let upstream = crate::loopback::Upstream::start(|seen, _| {
        let at = number(seen, "cursor");
        answer(200, json!({"data": [{"id": at}], "next": (at + 1).to_string()}))
    })
    .await;
    let (base, pages) = (upstream.base(), manifest("list", "cursor = 'next', send = 'cursor', most = 1"));
    let load = || bartizan::connectors::openapi::load(document().to_string().as_bytes(), None).unwrap();
    let open = Rig::at(load(), &pages, upstream.clone(), base.clone());
    let next = handle(&open.call("list", json!({"q": "no"})).await.unwrap());
    let lines = |rig: &Rig| {
        let text = std::fs::read_to_string(&rig.audit).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    open.call("list", json!({"next_page": next})).await.unwrap();
    let digests: Vec<Value> = lines(&open)
        .iter()
        .filter(|line| line["tool"] == "list" && line.get("arguments_digest").is_some())
        .map(|line| line["arguments_digest"].clone())
        .collect();
    assert!(digests.len() >= 2 && digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    // the same keys, another policy
    let parts = super::rig::Parts { policy, ..super::rig::Parts::open() };
    let strict = Rig::made(load(), &pages, upstream, base, parts);
    let error = strict.call("list", json!({"next_page": next})).await.unwrap_err();
    assert_eq!(error.kind(), bartizan::error::Kind::Forbidden);
}

#[tokio::test]
async fn a_handle_works_through_search_and_after_a_restart_with_the_same_key() {
    use bartizan::app::{App, Extra};
    use bartizan::config::Config;
    use bartizan::pipeline::{Outcome, Reply};

    let upstream = crate::loopback::Upstream::start(|seen, _| {
        let at = number(seen, "from");
        let act = answer(200, json!({"data": [{"id": at}]}));
        crate::loopback::with_header(act, "Link", &format!("</things?from={}>; rel=next", at + 1))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), document().to_string()).unwrap();
    let text = format!(
        "state_dir = 'state'\n[offer]\nsearch = 'on'\n[egress]\nallow_private = ['{}']\n\
         [[openapi]]\nfile = 'acme.json'\nname = 'acme'\nbase_url = '{}'\n",
        upstream.address,
        upstream.base()
    );
    let path = folder.path().join("bartizan.toml");
    std::fs::write(&path, text).unwrap();
    let app = async || App::build(Config::load(&path).unwrap(), Extra::default()).await.unwrap();
    let call = async |app: &App, arguments: Value| {
        let arguments = json!({"name": "list", "arguments": arguments}).as_object().unwrap().clone();
        match app.call("call_tool", arguments, &app.context()).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Tool(result) => Ok::<_, bartizan::error::Error>(result),
                other => panic!("a tool's result, not {other:?}"),
            },
            Outcome::Paused(_) => panic!("nothing asks here"),
        }
    };
    let first = app().await;
    let next = handle(&call(&first, json!({"q": "x"})).await.unwrap());
    first.close().await.unwrap();
    let second = app().await;
    let result = call(&second, json!({"next_page": next})).await.unwrap();
    assert_eq!(result.structured_content.unwrap()["data"], json!([{"id": 1}]));
    second.close().await.unwrap();
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "sealing.key" {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let third = app().await;
    let error = call(&third, json!({"next_page": next})).await.unwrap_err();
    assert!(error.message().contains("none that was given to you"), "{}", error.message());
    third.close().await.unwrap();
}
