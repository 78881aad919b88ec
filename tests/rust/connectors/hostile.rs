//! Documents that mean harm, or are simply broken: what is good in them still works.

use std::time::Instant;

use bartizan::connectors::manifest::Access;
use bartizan::connectors::openapi::load;
use bartizan::connectors::{Connector, Instead};
use bartizan::error::Kind;
use bartizan::json::json;
use bartizan::schema::Schema;
use url::Url;

use super::rig::{Rig, surroundings};
use crate::loopback::answer;

#[tokio::test]
async fn what_is_good_in_a_broken_document_is_served() {
    let document = json!({"openapi": "3.0.0", "info": {"title": "X\u{202e}\u{1b}[31m<b>y</b>"},
        "servers": [{"url": "https://evil.example/v7"}], "paths": {
        "/good/{id}": {"servers": [{"url": "https://evil.example"}], "get": {"operationId": "good",
            "servers": [{"url": "http://169.254.169.254"}],
            "summary": "Gets\u{200b} it [here](javascript:alert(1))<script>steal()</script>",
            "parameters": [{"name": "id", "in": "path", "required": true,
                "schema": {"type": "string", "pattern": "^(?!x)[a-z]+$", "description": "An\u{202e} id"}}]}},
        "/dangling": {"get": {"operationId": "dangling", "parameters": [{"$ref": "#/components/parameters/No"}]}},
        "/remote": {"post": {"operationId": "remote", "requestBody": {"$ref": "https://evil.example/x.yaml"}}},
        "/double/a": {"get": {"operationId": "double"}},
        "/double/b": {"get": {"operationId": "double"}},
        "/loop": {"post": {"operationId": "loop", "requestBody": {"content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/Loop"}}}}}},
        "/tree": {"post": {"operationId": "tree", "requestBody": {"content": {"application/json":
            {"schema": {"$ref": "#/components/schemas/Tree"}}}}}},
        "/../up": {"get": {"operationId": "up"}},
        "/odd": "not an object", "/odder": {"get": [], "post": null}},
        "components": {"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"},
            "Tree": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}}}});
    let rig = Rig::new(document, "", |_, _| answer(200, json!({}))).await;
    let names: Vec<&str> = rig.connector.tools().iter().map(|tool| tool.spec().name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"good") && names.contains(&"tree"));
    assert!(names.iter().filter(|name| name.starts_with("double_")).count() == 2);
    let mut refused: Vec<&str> = rig.connector.refused().iter().map(|it| it.place.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        ["GET /../up", "GET /dangling", "GET /odder", "POST /loop", "POST /odder", "POST /remote"]
    );

    let spec = rig.tool("good").spec();
    assert_eq!(spec.description.as_deref(), Some("Gets it here)"));
    let shown = spec.input.source().to_string();
    assert!(!shown.contains('\u{202e}') && !shown.contains("?!"), "{shown}");
    rig.call("good", json!({"id": "abc"})).await.unwrap();
    assert_eq!(rig.upstream.seen()[0].target, "/v7/good/abc");

    rig.call("tree", json!({"body": {"name": "a", "children": [{"name": "b"}]}})).await.unwrap();
    let error = rig.call("tree", json!({"body": {"name": "a", "children": [{}]}})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadArguments);
}

#[test]
fn documents_that_grow_are_bounded() {
    let chain = |count: usize, kind: &str| {
        let mut schemas = serde_json::Map::new();
        for at in 0..count {
            let to = |at: usize| json!({"$ref": format!("#/components/schemas/S{at}")});
            let next = to((at + 1) % count);
            let name = format!("p{at}");
            let schema = match kind {
                "four" if at + 1 == count => json!({"type": "object", "required": ["id"]}),
                "four" => json!({"allOf": [next, next, next, next]}),
                "all" => {
                    json!({"allOf": (0..count).map(to).collect::<Vec<_>>(), "properties": {name: {"type": "string"}}})
                }
                "chain" => json!({"properties": {"n": next}}),
                "place" => json!({"allOf": [next, {"type": "object"}]}),
                _ => json!({"allOf": [next, next, next], "properties": {"a": next, "b": next}}),
            };
            schemas.insert(format!("S{at}"), schema);
        }
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}});
        json!({"openapi": "3.0.0", "info": {}, "components": {"schemas": schemas}, "paths": {"/a": {"post": {
            "requestBody": {"content": content}, "responses": {"200": {"description": "", "content": content}}}}}})
    };
    let kinds = [(5_000, "chain"), (5_000, "place"), (500, "both"), (30, "both"), (40, "four"), (60, "all")];
    for (count, kind) in kinds {
        let start = Instant::now();
        let document = load(chain(count, kind).to_string().as_bytes(), None).unwrap();
        let base = Url::parse("https://api.example").unwrap();
        let connector = Connector::from_document(
            document,
            base,
            Access::None,
            &surroundings(Default::default()),
            Instead::default(),
        )
        .unwrap();
        let [tool] = connector.tools() else { panic!("one tool") };
        let size = tool.spec().input.source().to_string().len();
        let schema = tool.spec().input.compiled().unwrap();
        let _ = schema.fits(&json!({"body": {"n": {"n": {"n": {}}}, "a": {"a": {"b": {}}}}}));
        println!("{count} {kind}: {size} bytes, {:?}", start.elapsed());
        assert!(size < 64 << 10);
    }
    let deep = format!("{}1{}", "{\"openapi\":\"3.0.0\",\"paths\":{\"a\":".repeat(60), "}}".repeat(60));
    assert_eq!(load(deep.as_bytes(), None).unwrap_err().kind(), Kind::BadConfig);
}

#[test]
fn where_an_api_is_must_be_said_and_is_checked() {
    let document = json!({"swagger": "2.0", "info": {"title": "Old One!"}, "host": "evil.example", "basePath": "/v1",
        "paths": {"/a": {"get": {"operationId": "a"}}}});
    let document = load(document.to_string().as_bytes(), None).unwrap();
    let around = surroundings(Default::default());
    let build = |base: &str| {
        let base = Url::parse(base).unwrap();
        Connector::from_document(document.clone(), base, Access::None, &around, Instead::default())
    };
    let connector = build("https://api.example").unwrap();
    assert_eq!(connector.name(), "old-one");
    assert_eq!(connector.tools()[0].spec().target.as_deref(), Some("GET https://api.example/v1/a"));
    for base in ["ftp://api.example", "https://u:p@api.example", "https://api.example/?a=b", "file:///etc"] {
        let error = build(base).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::BadConfig, "{base}");
    }
}

#[test]
fn a_folder_is_a_connector() {
    let folder = tempfile::tempdir().unwrap();
    let around = surroundings(Default::default());
    let build = || Connector::from_folder(folder.path(), &around, Instead::default());
    assert!(build().is_err_and(|error| error.message().contains("connector.toml")));
    let manifest =
        "name = 'mine'\nbase = 'https://mine.example/api'\n[[operation]]\nid = 'list'\ntool = 'all'\n";
    std::fs::write(folder.path().join("connector.toml"), manifest).unwrap();
    assert!(build().is_err_and(|error| error.message().contains("openapi.yaml")));
    let document = "openapi: 3.0.0\ninfo: {title: x, version: 1}\npaths:\n  /x: {$ref: 'paths.yaml#/x'}\n";
    std::fs::write(folder.path().join("openapi.yaml"), document).unwrap();
    std::fs::write(folder.path().join("paths.yaml"), "x:\n  get: {operationId: list}\n").unwrap();
    let connector = build().unwrap();
    assert_eq!(connector.tools()[0].spec().name, "all");
    assert_eq!(connector.tools()[0].spec().toolset, "mine");
    std::fs::write(folder.path().join("connector.toml"), manifest.replace("'list'", "'lost'")).unwrap();
    assert!(build().is_err_and(|error| error.message().contains("lost")));
}

#[test]
fn every_schema_of_the_vendors_documents_can_be_used() {
    let Some(shared) = super::documents::shared() else { return };
    for file in [
        "equinix/fabricv4.patched.yaml",
        "akamai/papi-v1.reassembled.json",
        "akamai/appsec-v1.reassembled.json",
        "msgraph/v1.0.devicemanagement.json.gz",
    ] {
        let bytes = super::documents::contents(&shared.join("specs").join(file));
        let document = load(&bytes, None).unwrap();
        let count = document.operations.len();
        let base = Url::parse("https://api.example").unwrap();
        let start = Instant::now();
        let connector = Connector::from_document(
            document,
            base,
            Access::None,
            &surroundings(Default::default()),
            Instead::default(),
        )
        .unwrap();
        let built = start.elapsed();
        assert_eq!(connector.tools().len(), count, "{:?}", connector.refused());
        let start = Instant::now();
        let (mut size, mut largest, mut loose) = (0, 0, 0);
        for tool in connector.tools() {
            let spec = tool.spec();
            let source = spec.input.source();
            Schema::compile(source).unwrap_or_else(|error| panic!("{}: {error}", spec.name));
            let bytes = source.to_string().len() + spec.description.as_ref().map_or(0, String::len);
            (size, largest) = (size + bytes, largest.max(bytes));
            loose += usize::from(source["properties"]["body"] == json!({}));
        }
        println!(
            "{file}: {count} tools built in {built:?}, {} KiB in all (largest {} KiB, {loose} unchecked bodies), compiled in {:?}",
            size >> 10,
            largest >> 10,
            start.elapsed()
        );
    }
}
