//! What is sent, and what an answer becomes.

use bartizan::error::Kind;
use bartizan::json::{Value, json};
use bartizan::policy::Effect;

use super::rig::{Rig, TOKEN, text};
use crate::loopback::{Act, answer, with_header};

fn document() -> Value {
    let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}});
    let form = json!({"type": "object", "properties": {"note": {"type": "string"},
        "file": {"type": "string", "format": "binary"}}});
    json!({"openapi": "3.0.3", "info": {"title": "Acme", "version": "1"}, "servers": [{"url": "https://acme.example/v1"}],
    "paths": {
        "/widgets": {
            "get": {"operationId": "listWidgets", "parameters": [
                {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
                {"name": "X-Trace", "in": "header", "schema": {"type": "string"}}],
                "responses": {"200": {"description": "ok", "content": {"application/json": {}}}}},
            "post": {"operationId": "createWidget", "requestBody": {"required": true, "content": {"application/json": {"schema":
                {"type": "object", "required": ["name", "id"], "properties": {"name": {"type": "string"},
                "id": {"type": "string", "readOnly": true}}, "additionalProperties": false}}}}}},
        "/widgets/{id}": {"parameters": [id],
            "get": {"operationId": "getWidget", "responses": {"200": {"description": "ok", "content": {"application/json": {}}}}},
            "patch": {"operationId": "patchWidget", "requestBody": {"content": {"application/json-patch+json":
                {"schema": {"type": "array", "items": {"type": "object"}}}}}},
            "delete": {"operationId": "deleteWidget"}},
        "/widgets/{id}/picture": {"parameters": [id],
            "get": {"operationId": "getPicture", "responses": {"200": {"description": "ok", "content": {"image/png": {}}}}},
            "put": {"operationId": "setPicture", "requestBody": {"content": {"multipart/form-data": {"schema": form}}}}},
        "/login": {"post": {"operationId": "logIn", "requestBody": {"content": {"application/x-www-form-urlencoded":
            {"schema": {"type": "object", "properties": {"user": {"type": "string"}}}}}}}}
    }})
}

#[tokio::test]
async fn each_kind_of_request_arrives_as_the_document_describes_it() {
    let rig = Rig::new(document(), "", |_, _| answer(200, json!({"ok": true}))).await;
    for (tool, arguments, method, target, content_type, body) in [
        (
            "list_widgets",
            json!({"tag": ["a b", "c&d"], "filter": {"x": {"y": 1}}}),
            "GET",
            "/v1/widgets?tag=a%20b&tag=c%26d&filter%5Bx%5D%5By%5D=1",
            None,
            "",
        ),
        ("get_widget", json!({"id": "ä 1"}), "GET", "/v1/widgets/%C3%A4%201", None, ""),
        (
            "create_widget",
            json!({"body": {"name": "n"}}),
            "POST",
            "/v1/widgets",
            Some("application/json"),
            r#"{"name":"n"}"#,
        ),
        (
            "patch_widget",
            json!({"id": "1", "body": [{"op": "remove", "path": "/a"}]}),
            "PATCH",
            "/v1/widgets/1",
            Some("application/json-patch+json"),
            r#"[{"op":"remove","path":"/a"}]"#,
        ),
        ("delete_widget", json!({"id": "1"}), "DELETE", "/v1/widgets/1", None, ""),
        (
            "log_in",
            json!({"body": {"user": "a b&c"}}),
            "POST",
            "/v1/login",
            Some("application/x-www-form-urlencoded"),
            "user=a+b%26c",
        ),
    ] {
        let before = rig.upstream.seen().len();
        rig.call(tool, arguments).await.unwrap();
        let seen = &rig.upstream.seen()[before];
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target));
        assert_eq!(seen.header("content-type"), content_type, "{tool}");
        assert_eq!(String::from_utf8_lossy(&seen.body), body, "{tool}");
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert!(seen.header("accept").is_some_and(|accept| accept.starts_with("application/json")));
    }
    rig.call("set_picture", json!({"id": "1", "body": {"note": "n", "file": "aGk="}})).await.unwrap();
    let seen = rig.upstream.seen().pop().unwrap();
    assert!(seen.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    assert!(body.contains("name=\"note\"\r\n\r\nn\r\n"), "{body}");
    assert!(
        body.contains(
            "name=\"file\"; filename=\"file\"\r\ncontent-type: application/octet-stream\r\n\r\nhi\r\n"
        ),
        "{body}"
    );
}

#[tokio::test]
async fn arguments_that_lead_elsewhere_never_leave() {
    let rig = Rig::new(document(), "", |_, _| answer(200, json!({}))).await;
    for (at, id) in [
        "..",
        ".",
        "",
        "%2e%2e",
        "%2E%2E",
        "%252e%252e",
        "a/b",
        "a%2fb",
        "a%2Fb",
        "a\\b",
        "a%5Cb",
        "../../x",
        "..%2f..",
        "a\nb",
        "a\u{0}b",
        "..;x",
        " .. ",
    ]
    .into_iter()
    .enumerate()
    {
        for tool in ["get_widget", "get_picture"] {
            let error = rig.call_as(&format!("p{at}"), tool, json!({"id": id})).await.unwrap_err();
            assert_eq!(error.kind(), Kind::BadArguments, "{id}");
        }
    }
    for arguments in [
        json!({"X-Trace": "a\r\nX-Other: b"}),
        json!({"X-Trace": true}),
        json!({"other": 1}),
        json!({"tag": {"x": 1}}),
    ] {
        let error = rig.call("list_widgets", arguments).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments);
    }
    let error = rig.call("create_widget", json!({"body": {"name": "n", "id": "mine"}})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadArguments);
    assert_eq!(rig.upstream.seen().len(), 0);
}

#[tokio::test]
async fn every_answer_becomes_one_clear_thing() {
    let rig = Rig::new(document(), "", |seen, _| match seen.path().rsplit('/').next().unwrap_or_default() {
        "json" => answer(200, json!({"a": [1]})),
        "empty" => answer(204, ""),
        "missing" => answer(404, json!({"message": "no such widget"})),
        "page" => with_header(
            answer(500, "<html><h1>Oops</h1><script>x()</script></html>"),
            "content-type",
            "text/html",
        ),
        "broken" => answer(200, "{\"a\": "),
        "moved" => with_header(answer(302, ""), "location", "http://169.254.169.254/latest/meta-data"),
        "busy" => with_header(answer(429, json!({})), "retry-after", "7"),
        "busier" => with_header(answer(429, json!({})), "retry-after", "3600"),
        "echo" => answer(200, json!({"seen": seen.header("authorization")})),
        "reset" => Act::RawThenClose(String::from("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{")),
        "picture" => with_header(answer(200, "PNG"), "content-type", "image/png"),
        other => panic!("{other}"),
    })
    .await;
    let get = async |id: &str| rig.call("get_widget", json!({"id": id})).await;

    assert_eq!(get("json").await.unwrap().structured_content, Some(json!({"a": [1]})));
    assert!(text(&get("empty").await.unwrap()).contains("204"));
    let missing = get("missing").await.unwrap();
    assert!(missing.is_error && text(&missing).starts_with("acme has no such thing (HTTP 404)."));
    assert!(text(&missing).contains("no such widget"));
    let failure = &missing.meta.as_ref().unwrap()[bartizan::connectors::FAILURE];
    assert_eq!((failure["kind"].as_str(), failure["status"].as_u64()), (Some("UpstreamRefused"), Some(404)));
    let page = get("page").await.unwrap();
    assert!(page.is_error && text(&page).contains("Oops") && !text(&page).contains("x()"));
    let broken = get("broken").await.unwrap_err();
    assert_eq!(broken.kind(), Kind::UpstreamFailed);
    assert!(broken.message().contains("not valid JSON"), "{broken}");
    let moved = get("moved").await.unwrap_err();
    assert!(moved.kind() == Kind::UpstreamFailed && !moved.message().contains("169.254"), "{moved}");
    let busy = get("busy").await.unwrap();
    assert!(busy.is_error && text(&busy).contains("Try again in 7 seconds."), "{}", text(&busy));
    let reset = get("reset").await.unwrap_err();
    assert_eq!(reset.kind(), Kind::UpstreamFailed);
    let echo = get("echo").await.unwrap();
    assert!(!serde_json::to_string(&echo).unwrap().contains(TOKEN));
    let picture = rig.call("get_picture", json!({"id": "1"})).await.unwrap();
    assert_eq!(serde_json::to_value(&picture.content[0]).unwrap()["mimeType"], "image/png");
    // A refused request and one that is not even sent are told alike: a result that says to retry, and when.
    let busier = get("busier").await.unwrap();
    let unsent = get("json").await.unwrap();
    for told in [&busier, &unsent] {
        assert!(told.is_error && text(told).contains("Try again in "), "{}", text(told));
        let failure = &told.meta.as_ref().unwrap()[bartizan::connectors::FAILURE];
        assert_eq!(failure["kind"], "RateLimited");
        assert!(failure["retry_after_seconds"].as_f64().unwrap() > 3000.0, "{failure}");
    }
    assert!(text(&unsent).contains("was not sent"));
    // Nothing was followed.
    assert_eq!(rig.upstream.count("/latest/meta-data"), 0);
}

#[tokio::test]
async fn tools_say_what_they_are() {
    let manifest = "prefix = 'acme_'\n[[operation]]\nid = 'createWidget'\neffect = 'destroy'\ntool = 'make'\n\
                    toolset = 'making'\nredact = ['/secret']\nscopes = ['maker']\n\
                    [[operation]]\nid = 'logIn'\nhidden = true";
    let rig = Rig::new(document(), manifest, |_, _| answer(200, json!({"secret": "s", "name": "n"}))).await;
    let names: Vec<&str> = rig.connector.tools().iter().map(|tool| tool.spec().name.as_str()).collect();
    assert_eq!(
        names,
        [
            "acme_list_widgets",
            "make",
            "acme_get_widget",
            "acme_delete_widget",
            "acme_patch_widget",
            "acme_get_picture",
            "acme_set_picture"
        ]
    );
    let make = rig.tool("make").spec();
    assert_eq!(
        (make.effect, make.toolset.as_str(), make.source.as_str()),
        (Effect::Destroy, "making", "openapi")
    );
    assert_eq!(make.target.as_deref(), Some(format!("POST {}v1/widgets", rig.upstream.base()).as_str()));
    let get = rig.tool("acme_get_widget").spec();
    assert_eq!((get.effect, get.annotations.read_only_hint), (Effect::Read, Some(true)));
    let mut input = Value::clone(get.input.source());
    assert!(input["properties"].as_object_mut().unwrap().remove("fields").is_some());
    assert_eq!(
        input,
        json!({"type": "object", "properties": {"id": {"type": "string"}},
        "additionalProperties": false, "required": ["id"]})
    );
    assert!(get.output.is_none());
}

#[tokio::test]
async fn a_header_that_signs_is_no_argument() {
    let mut document = document();
    document["paths"]["/widgets"]["get"]["parameters"] = json!([
        {"name": "X-Api-Key", "in": "header", "required": true, "schema": {"type": "string"}},
        {"name": "Authorization", "in": "header", "required": true, "schema": {"type": "string"}},
        {"name": "Host", "in": "header", "schema": {"type": "string"}}]);
    let rig = Rig::new(
        document,
        "[credentials]\nkind = 'header'\nname = 'x-api-key'\nfrom = 'env:NOWHERE'",
        |_, _| answer(200, json!([])),
    )
    .await;
    let spec = rig.tool("list_widgets").spec();
    let names: Vec<&String> = spec.input.source()["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["page", "fields"]);
    let error = rig.call("list_widgets", json!({"X-Api-Key": "mine"})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadArguments);
}
