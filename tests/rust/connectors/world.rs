//! Documents as the world writes them, at their worst: nothing panics or hangs, whatever cannot be used has a named
//! reason, and one bad operation never loses the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bartizan::connectors::document::Document;
use bartizan::connectors::manifest::Manifest;
use bartizan::connectors::openapi::load;
use bartizan::connectors::{Connector, Instead};
use bartizan::json::{Map, Value, json};
use bartizan::schema::Schema;
use proptest::prelude::*;
use url::Url;

use super::rig::surroundings;

fn read(document: &Value) -> Document {
    load(document.to_string().as_bytes(), None).unwrap()
}

/// Every tool by its name, with the digest of its definition.
fn tools(document: Document) -> BTreeMap<String, String> {
    let manifest = Manifest::parse("name = 'acme'", "connector.toml").unwrap();
    let base = Url::parse("https://api.example").unwrap();
    let instead = Instead { base: Some(base), ..Instead::default() };
    let around = surroundings(bartizan::http::Config::default());
    let connector = Connector::new(&manifest, document, "openapi", &around, instead).unwrap();
    let specs = connector.tools().iter().map(|tool| tool.spec());
    specs.map(|spec| (spec.name.clone(), spec.fingerprint().hex())).collect()
}

/// What every document owes: legal and unique names, reasons in sentences, schemas that stand alone and compile.
fn sound(document: &Document) {
    let names: BTreeSet<&str> = document.operations.iter().map(|it| it.tool.as_str()).collect();
    let ids: BTreeSet<&str> = document.operations.iter().map(|it| it.id.as_str()).collect();
    assert_eq!((names.len(), ids.len()), (document.operations.len(), document.operations.len()));
    for name in names {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        assert!((1..=64).contains(&name.len()) && name.chars().all(legal), "{name}");
    }
    for refusal in &document.refused {
        assert!(!refusal.place.is_empty() && refusal.reason.ends_with('.'), "{refusal:?}");
        assert!(!refusal.reason.chars().any(|c| c.is_control() || c == '\u{202e}'), "{refusal:?}");
    }
    for operation in &document.operations {
        let mut arguments: Vec<&str> = operation.parameters.iter().map(|it| it.argument.as_str()).collect();
        arguments.extend(operation.body.iter().map(|it| it.argument.as_str()));
        assert_eq!(arguments.iter().collect::<BTreeSet<_>>().len(), arguments.len(), "{arguments:?}");
        let shapes = operation
            .parameters
            .iter()
            .map(|it| &it.schema)
            .chain(operation.body.iter().map(|it| &it.schema));
        for shape in shapes {
            Schema::vet(&shape.value()).unwrap();
        }
    }
}

#[test]
fn ids_may_be_missing_double_endless_or_illegal() {
    let long = "get_the_thing_with_a_name_that_no_client_takes_".repeat(20);
    let ids = [
        json!(null),
        json!(""),
        json!("same"),
        json!("same"),
        json!("SAME"),
        json!(long.clone() + "a"),
        json!(long + "b"),
        json!("get things / by {id}"),
        json!("日本語"),
        json!("\u{202e}evil\u{0}"),
        json!(7),
        json!(["a"]),
        json!({"a": 1}),
        json!("__proto__"),
        json!("a.b.c"),
        json!("-"),
        json!("tools/call"),
    ];
    let mut paths = Map::new();
    for (at, id) in ids.iter().enumerate() {
        let mut operation = json!({"responses": {"200": {"description": "fine"}}});
        if !id.is_null() {
            operation["operationId"] = id.clone();
        }
        paths.insert(format!("/things/{at}"), json!({"get": operation, "post": operation}));
    }
    let document = read(&json!({"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": paths}));
    assert_eq!((document.operations.len(), document.refused.len()), (ids.len() * 2, 0));
    sound(&document);
}

#[test]
fn path_keys_hold_queries_and_functions() {
    let fine = json!({"get": {"responses": {"200": {"description": "fine"}}}});
    let keys = [
        "/x?action=start",
        "/x?action=stop",
        "/x?version={v}&fixed=1",
        "/f(a={a},b='{b}')",
        "/users({id})/messages('{key}')/$count",
        "/delta(token='{token}')",
        "/a/{id}:cancel",
        "/a/{id}.json",
        "/{a}-{b}/{c}..{d}",
        "/{id}",
        "relative/path",
        "/",
        "/trailing/",
        "/ä/ö",
        "/with space/{x}",
        "/{a}{b}",
        "/%7Btilde%7D",
        "/#/fragment",
        "//double",
        "/../up",
        "/{open",
        "/close}",
        "/{}",
        "/{{x}}",
        "/a?b={c",
        "/\u{202e}/x",
    ];
    let paths: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), fine.clone())).collect();
    let document = read(&json!({"openapi": "3.1.0", "info": {}, "paths": paths}));
    sound(&document);
    let refused: BTreeSet<&str> = document.refused.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(document.operations.len() + refused.len(), keys.len());
    assert_eq!(document.operations.len(), 19, "{refused:?}");
    let odata = document.operations.iter().find(|it| it.path.starts_with("/f(")).unwrap();
    let names: Vec<&str> = odata.parameters.iter().map(|it| it.argument.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    // and both of the same path are tools
    assert_eq!(document.operations.iter().filter(|it| it.path == "/x").count(), 3);
}

#[test]
fn operations_of_one_address_are_told_apart_by_what_is_never_sent() {
    let operation = |target: &str| {
        json!({"post": {"parameters": [{"name": "X-Target", "in": "header", "required": true,
        "schema": {"type": "string", "enum": [target]}}, {"name": "Version", "in": "query", "required": true,
        "schema": {"type": "string", "enum": ["2013-04-01"]}}, {"name": "kind", "in": "query", "schema": {"enum": ["a"]}}]}})
    };
    let paths = json!({"/#X-Target=Mail.List": operation("Mail.List"), "/#X-Target=Mail.Delete": operation("Mail.Delete"),
        "/a#b": {"get": {}}, "/a#c": {"get": {}}, "/a": {"get": {}}});
    let document = read(&json!({"openapi": "3.0.0", "info": {}, "paths": paths}));
    sound(&document);
    let names: Vec<&str> = document.operations.iter().map(|it| it.tool.as_str()).collect();
    assert_eq!(
        names,
        ["post_x_target_mail_list", "post_x_target_mail_delete", "get_a_b", "get_a_c", "get_a"]
    );
    let list = &document.operations[0];
    assert_eq!((list.path.as_str(), list.effect), ("/", bartizan::policy::Effect::Write));
    let fixed: Vec<Option<&str>> = list.parameters.iter().map(|it| it.fixed.as_deref()).collect();
    assert_eq!(fixed, [Some("Mail.List"), Some("2013-04-01"), None]);
    assert_eq!(document.operations[1].effect, bartizan::policy::Effect::Destroy);
}

#[test]
fn references_lead_anywhere_inside_of_the_document() {
    let document = read(&json!({"openapi": "3.0.0", "info": {}, "paths": {
        "/a": {"get": {"parameters": [{"name": "q", "in": "query", "schema": {"type": "integer"}}],
            "responses": {"200": {"description": "fine", "content": {"application/json": {"schema":
                {"type": "object", "properties": {"next": {"$ref": "#/paths/~1a/get/responses/200/content/application~1json/schema"}}}}}}}}},
        "/b": {"get": {"parameters": [{"$ref": "#/paths/~1a/get/parameters/0"}]}},
        "/c": {"post": {"requestBody": {"content": {"application/json": {"schema":
            {"$ref": "#/paths/~1a/get/responses/200/content/application~1json/schema"}}}}}},
        "/d": {"$ref": "#/paths/~1a"},
        "/e": {"get": {"parameters": [{"$ref": "#/paths/~1e/get/parameters/0"}]}},
        "/f": {"get": {"parameters": [{"$ref": "#/paths/~1nowhere"}]}},
        "/g": {"$ref": "#/paths/~1g"}}}));
    sound(&document);
    assert_eq!(document.operations.len(), 4, "{:?}", document.refused);
    assert_eq!(document.refused.len(), 3);
    let body = document.operations.iter().find(|it| it.path == "/c").unwrap().body.as_ref().unwrap();
    Schema::compile(&body.schema.value()).unwrap().check(&json!({"next": {"next": {}}})).unwrap();
}

#[test]
fn yaml_has_scalars_that_are_none_elsewhere() {
    let text = "openapi: 3.0.0\ninfo: {title: =, version: 1.0}\npaths:\n  /a:\n    get:\n      operationId: list\n      \
                parameters:\n      - {name: op, in: query, schema: {type: string, enum: [=, <, '>', !!str =, yes, 0o7], default: =}}\n      \
                - {name: when, in: query, schema: {type: string, example: 2001-01-01, default: ~}}\n      \
                responses:\n        200: {description: =}\n        default: {description: no}\n";
    let document = load(text.as_bytes(), None).unwrap();
    sound(&document);
    let operation = &document.operations[0];
    let schema = operation.parameters[0].schema.value();
    assert_eq!((&schema["enum"][0], &schema["default"]), (&json!("="), &json!("=")));
    assert_eq!(operation.responses.keys().collect::<Vec<_>>(), ["200", "default"]);
}

#[test]
fn a_document_without_components_and_one_with_1700_schemas_that_all_know_each_other() {
    let bare = read(
        &json!({"swagger": "2.0", "info": {}, "paths": {"/a": {"get": {}, "x-more": 1, "parameters": []}}}),
    );
    assert_eq!(bare.operations.len(), 1);
    sound(&bare);
    let begun = Instant::now();
    let count = 1_700;
    let name = |at: usize| format!("#/components/schemas/Schema{}", at % count);
    let schemas: Map<String, Value> = (0..count)
        .map(|at| {
            let schema = json!({"type": "object", "required": ["id"], "properties": {
                "id": {"type": "string"}, "next": {"$ref": name(at + 1)}, "far": {"$ref": name(at * 7 + 3)},
                "all": {"type": "array", "items": {"$ref": name(at + 400)}}}});
            (format!("Schema{at}"), schema)
        })
        .collect();
    let paths: Map<String, Value> = (0..60)
        .map(|at| {
            let body = json!({"content": {"application/json": {"schema": {"$ref": name(at * 5)}}}});
            (format!("/things{at}"), json!({"post": {"requestBody": body, "responses": {"200": body}}}))
        })
        .collect();
    let document =
        read(&json!({"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas}}));
    assert_eq!((document.operations.len(), document.refused.len()), (60, 0));
    assert_eq!(tools(document).len(), 60);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn schemas_may_contain_themselves_in_every_way() {
    let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let mut deep = json!({"type": "string"});
    for _ in 0..25 {
        deep = json!({"type": "object", "properties": {"inner": deep}});
    }
    let schemas = json!({
        "Own": {"type": "object", "properties": {"own": schema("Own")}, "required": ["own"]},
        "Only": schema("Only"), "Ping": {"allOf": [schema("Pong")]}, "Pong": {"allOf": [schema("Ping"), {"type": "object"}]},
        "Not": {"not": schema("Not")}, "Map": {"additionalProperties": schema("Map")}, "List": {"type": "array", "items": schema("List")},
        "One": {"oneOf": [schema("One"), {"type": "null"}]}, "If": {"if": schema("If"), "then": schema("If")},
        "Deep": deep, "Names": {"propertyNames": schema("Names")}, "Odd": "text", "Null": null, "Bool": false, "Array": [schema("Own")],
    });
    let names: Vec<String> = schemas.as_object().unwrap().keys().cloned().collect();
    let paths: Map<String, Value> = names
        .iter()
        .map(|name| {
            let content = json!({"application/json": {"schema": schema(name)}});
            let operation =
                json!({"requestBody": {"content": content}, "responses": {"200": {"content": content}}});
            (format!("/{name}"), json!({"post": operation}))
        })
        .collect();
    let document =
        read(&json!({"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas}}));
    sound(&document);
    let refused: Vec<&str> = document.refused.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(document.operations.len(), names.len() - 1, "{refused:?}");
    for operation in &document.operations {
        let checked = Schema::compile(&operation.body.as_ref().unwrap().schema.value());
        let _ = checked.map(|schema| schema.check(&json!({"own": {"own": {}}, "inner": [[]]})));
    }
}

#[test]
fn one_bad_operation_of_each_kind_loses_nothing_else() {
    let fine = json!({"responses": {"200": {"description": "fine"}}});
    let mut paths = Map::new();
    for at in 0..500 {
        paths.insert(format!("/fine/{at}"), json!({"get": fine, "put": fine}));
    }
    let many: Vec<Value> = (0..1_400).map(|at| json!({"name": format!("p{at}"), "in": "query"})).collect();
    let mut deep = json!({});
    for _ in 0..45 {
        deep = json!({"properties": {"x": deep}});
    }
    let reference = |to: &str| json!({"parameters": [{"name": "q", "in": "query", "schema": {"$ref": to}}]});
    let bad = [
        json!("text"),
        json!(7),
        json!([]),
        json!(null),
        json!(true),
        reference("#/nowhere"),
        reference("https://evil.example/x"),
        reference("../../../etc/passwd"),
        reference("file:///etc/passwd"),
        reference("#/%zz"),
        reference(""),
        json!({"parameters": [{"$ref": 7}, 7, null, "x", {"in": "query"}, {"name": "", "in": "path", "required": true}]}),
        json!({"parameters": {"name": "q"}}),
        json!({"parameters": many}),
        json!({"parameters": [{"name": "q\u{202e}", "in": "query", "required": true}]}),
        json!({"parameters": [{"name": "a b", "in": "header", "required": true}]}),
        json!({"requestBody": {"content": {"multipart/mixed": {}, "": {}}}}),
        json!({"requestBody": []}),
        json!({"requestBody": {"content": {"application/json": {"schema": deep}}}}),
        json!({"responses": {"200": {"$ref": "#/nowhere"}, "2000": 1, "x": [], "default": {"content": {"a/b": 7}}}}),
        json!({"responses": [], "tags": [1, {}], "operationId": {}, "summary": [], "description": 7, "deprecated": "yes"}),
        json!({"parameters": [{"name": "q", "in": "query", "schema": {"type": [[]], "enum": {}, "pattern": "((((", "properties": 7}}]}),
    ];
    for (at, operation) in bad.iter().enumerate() {
        paths.insert(format!("/bad/{at}"), json!({"post": operation}));
    }
    paths.insert("/odd".into(), json!("text"));
    paths.insert("/odder".into(), json!({"$ref": "#/nowhere"}));
    paths.insert("/oddest".into(), json!(null));
    let document = read(
        &json!({"openapi": "3.0.0", "info": 7, "servers": 7, "tags": {}, "components": [], "paths": paths}),
    );
    sound(&document);
    let fine = document.operations.iter().filter(|it| it.path.starts_with("/fine/")).count();
    assert_eq!(fine, 1_000);
    let all: BTreeSet<&str> = document
        .operations
        .iter()
        .map(|it| it.path.as_str())
        .chain(document.refused.iter().filter_map(|it| it.place.split(' ').nth(1)))
        .collect();
    for (at, operation) in bad.iter().enumerate() {
        assert!(all.contains(format!("/bad/{at}").as_str()), "{operation} is neither a tool nor named");
    }
}

#[cfg(unix)]
#[test]
fn files_of_a_document_stay_beneath_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("api");
    std::fs::create_dir_all(inside.join("models/deep")).unwrap();
    let write = |name: &str, value: Value| std::fs::write(inside.join(name), value.to_string()).unwrap();
    write(
        "models/pet.json",
        json!({"type": "object", "properties": {"owner": {"$ref": "deep/owner.json#/Owner"},
        "self": {"$ref": "pet.json"}}}),
    );
    write(
        "models/deep/owner.json",
        json!({"Owner": {"properties": {"pets": {"items": {"$ref": "../pet.json"}},
        "root": {"$ref": "../../openapi.json#/components/schemas/Root"}}}}),
    );
    write(
        "path.json",
        json!({"get": {"operationId": "fromFile", "parameters": [{"$ref": "parameters.json#/limit"}]}}),
    );
    write(
        "parameters.json",
        json!({"limit": {"name": "limit", "in": "query", "schema": {"type": "integer"}}}),
    );
    std::fs::write(folder.path().join("secret.json"), "{\"password\": \"hunter2\"}").unwrap();
    std::os::unix::fs::symlink("../secret.json", inside.join("link.json")).unwrap();
    std::os::unix::fs::symlink("/", inside.join("root")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", inside.join("zero.json")).unwrap();
    write("big.json", json!({"a": "x".repeat(1_000)}));
    let outside = [
        "../secret.json",
        "/etc/passwd",
        "link.json",
        "root/etc/passwd",
        "zero.json",
        "models/../../secret.json",
        "%2e%2e/secret.json",
        "..\\secret.json",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "//host/x",
        "~/x",
        "models",
        "models/",
        "nothing.json",
        "c:/x",
        "models/%00",
    ];
    let body = |to: &str| json!({"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": to}}}}}});
    let mut paths: Map<String, Value> =
        outside.iter().enumerate().map(|(at, to)| (format!("/out/{at}"), body(to))).collect();
    paths.insert("/in".into(), body("models/pet.json"));
    paths.insert("/dot".into(), body("./models/../models/./pet.json"));
    paths.insert("/file".into(), json!({"$ref": "path.json"}));
    let document = json!({"openapi": "3.0.3", "info": {}, "paths": paths, "components": {"schemas": {"Root": {"type": "string"}}}});
    write("openapi.json", document.clone());
    let read = load(document.to_string().as_bytes(), Some(&inside)).unwrap();
    sound(&read);
    assert_eq!(read.operations.len(), 3, "{:?}", read.refused);
    assert_eq!(read.refused.len(), outside.len());
    assert!(read.refused.iter().all(|it| !it.reason.contains("hunter2")));
    let schema =
        read.operations.iter().find(|it| it.path == "/in").unwrap().body.as_ref().unwrap().schema.value();
    let checked = Schema::compile(&schema).unwrap();
    checked.check(&json!({"owner": {"pets": [{"owner": {"root": "x"}}]}})).unwrap();
    assert!(checked.check(&json!({"owner": {"pets": [{"owner": {"root": 7}}]}})).is_err());
}

/// The same members in another order, at the places whose order means nothing.
fn shuffled(document: &Value, seed: u64) -> Value {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut document = document.clone();
    for pointer in ["/paths", "/components/schemas", "/components/parameters", "/definitions"] {
        if let Some(Value::Object(members)) = document.pointer_mut(pointer) {
            let mut list: Vec<(String, Value)> = std::mem::take(members).into_iter().collect();
            list.sort_by_cached_key(|_| next());
            members.extend(list);
        }
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_order_of_a_document_changes_no_name_and_no_definition(
        edges in prop::collection::vec((0_usize..24, 0_usize..24, 0_u8..6), 0..90),
        uses in prop::collection::vec((0_usize..24, 0_u8..4), 1..30),
        seed in any::<u64>(),
    ) {
        let to = |at: usize| json!({"$ref": format!("#/components/schemas/Part{at}")});
        let mut schemas: Map<String, Value> = (0..24)
            .map(|at| (format!("Part{at}"), json!({"type": "object", "description": "long ".repeat(60), "properties": {}})))
            .collect();
        for (from, other, kind) in edges {
            let part = &mut schemas[&format!("Part{from}")];
            match kind {
                0 => part["properties"][format!("p{other}")] = to(other),
                1 => part["properties"][format!("l{other}")] = json!({"type": "array", "items": to(other)}),
                2 => part["allOf"] = json!([to(other)]),
                3 => part["anyOf"] = json!([to(other), {"type": "string"}]),
                4 => part["additionalProperties"] = to(other),
                _ => part["properties"]["same"] = json!({"$ref": format!("#/components/schemas/Part{other}/properties")}),
            }
        }
        let paths: Map<String, Value> = uses
            .iter()
            .enumerate()
            .map(|(at, (part, id))| {
                let mut operation = json!({"requestBody": {"content": {"application/json": {"schema": to(*part)}}},
                    "parameters": [{"name": "q", "in": "query", "schema": {"$ref": "#/paths/~1t0/post/requestBody/content/application~1json/schema"}}]});
                if *id > 0 {
                    operation["operationId"] = json!(["", "same", "Same", "getThing"][usize::from(*id)]);
                }
                (format!("/t{at}"), json!({"post": operation, "get": {"operationId": format!("get{at}")}}))
            })
            .collect();
        let document = json!({"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas}});
        let (one, other) = (tools(read(&document)), tools(read(&shuffled(&document, seed))));
        prop_assert_eq!(one.len(), uses.len() * 2);
        prop_assert_eq!(one, other);
    }
}

#[test]
fn the_order_of_vendors_documents_means_nothing() {
    let Some(shared) = super::documents::shared() else { return };
    for name in ["akamai/papi-v1.reassembled.json", "akamai/appsec-v1.reassembled.json", "akamai/cps-v2.json"]
    {
        let bytes = super::documents::contents(&shared.join("specs").join(name));
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let one = tools(read(&document));
        for seed in [3, 77] {
            assert_eq!(one, tools(read(&shuffled(&document, seed))), "{name}");
        }
    }
}
