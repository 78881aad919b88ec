//! What the folder promises, from its outside.

use super::*;
use crate::connectors::document::{Place, Style};
use crate::json::json;
use crate::policy::Effect;

fn loaded(document: &Value) -> Document {
    load(document.to_string().as_bytes(), None).unwrap()
}

fn with(operation: &Value, components: &Value) -> Document {
    loaded(&json!({"openapi": "3.0.3", "info": {"title": "T", "version": "1"},
        "servers": [{"url": "https://{where}/v{n}/", "variables": {"where": {"default": "a.example"}, "n": {"default": "2"}}}],
        "paths": {"/widgets/{id}": {"post": operation}}, "components": {"schemas": components}}))
}

#[test]
fn what_is_no_document_is_one_sentence() {
    for text in [
        "",
        "hello",
        "[]",
        "{}",
        "a: 1",
        "openapi: 4.0.0\npaths: {}",
        "openapi: 3.0.0",
        "openapi: 3.0.0\npaths: []",
    ] {
        let error = load(text.as_bytes(), None).unwrap_err();
        assert_eq!(error.kind(), Kind::BadConfig);
        assert!(error.message().ends_with('.'), "{error}");
    }
}

#[test]
fn references_that_lead_nowhere_or_elsewhere_refuse_their_operation_only() {
    for reference in
        ["#/components/schemas/No", "http://evil.example/x.yaml#/a", "../x.yaml", "other.yaml#/x"]
    {
        let document = loaded(&json!({"openapi": "3.0.0", "info": {}, "paths": {
            "/good": {"get": {"responses": {"200": {"description": "ok",
                "content": {"application/json": {"schema": {"$ref": reference}}}}}}},
            "/bad": {"get": {"parameters": [{"name": "q", "in": "query", "schema": {"$ref": reference}}]}},
            "/deep": {"post": {"requestBody": {"content": {"application/json": {"schema":
                {"$ref": "#/components/schemas/A"}}}}}},
            "/item": {"$ref": reference},
        }, "components": {"schemas": {"A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}},
            "B": {"items": {"$ref": reference}}}}}));
        let names: Vec<&str> = document.operations.iter().map(|it| it.tool.as_str()).collect();
        assert_eq!(names, ["get_good"]);
        assert!(document.operations[0].responses["200"].schema.is_none());
        let mut places: Vec<&str> = document.refused.iter().map(|it| it.place.as_str()).collect();
        places.sort_unstable();
        assert_eq!(
            places,
            ["/item", "GET /bad", "GET /good (answer 200)", "POST /deep"].map(String::from).as_slice()
        );
    }
}

#[test]
fn cycles_survive_as_defs() {
    let document = with(
        &json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}}),
        &json!({"Node": {"type": "object", "properties": {"children": {"type": "array",
            "items": {"$ref": "#/components/schemas/Node"}}, "id": {"type": "string", "readOnly": true}},
            "required": ["id", "children"]},
            "Unused": {"type": "string"}}),
    );
    let schema = document.operations[0].body.as_ref().unwrap().schema.value();
    assert_eq!(
        schema,
        json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            "required": ["children"]}}})
    );
}

#[test]
fn schemas_that_contain_themselves_in_place_are_opened() {
    let document = with(
        &json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}),
        &json!({"Pet": {"oneOf": [{"$ref": "#/components/schemas/Cat"}]},
            "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object"}]},
            "Own": {"$ref": "#/components/schemas/Own"}}),
    );
    let schema = document.operations[0].body.as_ref().unwrap().schema.value();
    assert_eq!(schema["$defs"]["Cat"], json!({"allOf": [{}, {"type": "object"}]}));
}

#[test]
fn names_that_only_branches_declare_are_not_refused_beside_them() {
    let branch = |name: &str| json!({"properties": {name: {"type": "string"}}, "required": [name]});
    let document = with(
        &json!({"requestBody": {"required": true, "content": {"application/json": {"schema":
            {"type": "object", "additionalProperties": false, "oneOf": [branch("a"), branch("b")]}}}}}),
        &json!({}),
    );
    let schema = document.operations[0].body.as_ref().unwrap().schema.value();
    assert_eq!(schema["unevaluatedProperties"], false);
    let schema = crate::schema::Schema::compile(&schema).unwrap();
    assert!(schema.check(&json!({"a": "x"})).is_ok());
    for wrong in [json!({}), json!({"a": "x", "c": 1}), json!({"a": "x", "b": "y"})] {
        assert!(schema.check(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn parameters_of_both_levels_are_merged_and_named() {
    let document = loaded(&json!({"openapi": "3.1.0", "info": {"title": "T"}, "paths": {
        "/a/{id}/f(x={x},y='{y}')?fixed=1&v={ver}": {
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
                {"name": "q", "in": "query", "schema": {"type": "string"}},
                {"name": "ver", "in": "query", "schema": {"type": "string"}},
                {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                {"name": "X-HTTP-Method-Override", "in": "header", "schema": {"type": "string"}}],
            "get": {"parameters": [{"name": "q", "in": "query", "style": "pipeDelimited", "schema": {"type": "array"}},
                {"name": "id", "in": "query", "schema": {"type": "string"}},
                {"name": "o", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                {"name": "gone", "in": "path", "schema": {}}]}}}}));
    let operation = &document.operations[0];
    assert_eq!(operation.path, "/a/{id}/f(x={x},y='{y}')");
    let got: Vec<(&str, &str, Place, Style)> = operation
        .parameters
        .iter()
        .map(|it| (it.name.as_str(), it.argument.as_str(), it.place, it.style))
        .collect();
    assert_eq!(
        got,
        [
            ("id", "id", Place::Path, Style::Simple),
            ("x", "x", Place::Path, Style::Simple),
            ("y", "y", Place::Path, Style::Simple),
            ("q", "q", Place::Query, Style::PipeDelimited),
            ("v", "v", Place::Query, Style::Form),
            ("id", "id_query", Place::Query, Style::Form),
            ("o", "o", Place::Query, Style::Form),
            ("fixed", "fixed", Place::Query, Style::Form),
        ]
    );
    assert_eq!(operation.parameters[7].fixed.as_deref(), Some("1"));
}

#[test]
fn what_would_make_another_method_of_a_request_is_left_out_or_destroys() {
    let parameter = |place: &str, name: &str, required: bool| json!({"name": name, "in": place, "required": required, "schema": {"type": "string"}});
    let form = json!({"application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/F"}}});
    let document = loaded(&json!({"openapi": "3.1.0", "info": {"title": "T"}, "paths": {
        "/read": {"get": {"parameters": [
            parameter("query", "_method", false), parameter("header", "X-Method-Override", false)]}},
        "/needs": {"get": {"parameters": [parameter("query", "X-HTTP-Method-Override", true)]}},
        "/fixed?_method=DELETE": {"get": {}},
        "/form": {"post": {"requestBody": {"content": form}}},
        "/method": {"get": {"parameters": [parameter("query", "method", false)]}}
    }, "components": {"schemas": {"F": {"type": "object", "properties": {"_method": {"type": "string"}}}}}}));
    let effects: Vec<(&str, Effect, usize)> =
        document.operations.iter().map(|it| (it.path.as_str(), it.effect, it.parameters.len())).collect();
    assert_eq!(
        effects,
        [
            ("/read", Effect::Read, 0),
            ("/fixed", Effect::Destroy, 1),
            ("/form", Effect::Destroy, 0),
            ("/method", Effect::Read, 1)
        ]
    );
    let refused: Vec<&str> = document.refused.iter().map(|it| it.place.as_str()).collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].contains("_method") && refused[1].contains("X-Method-Override"), "{refused:?}");
    assert!(refused[2].contains("GET /needs"), "{refused:?}");
}

#[test]
fn version_two_is_read() {
    let document = loaded(
        &json!({"swagger": "2.0", "info": {"title": "Old", "version": 1.0}, "host": "api.example",
        "basePath": "/v1/", "schemes": ["http", "https"], "consumes": ["application/json"], "paths": {
        "/a": {"get": {"operationId": "listA", "parameters": [
            {"name": "ids", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"},
            {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "pipes",
                "description": "Which."}],
            "responses": {"200": {"description": "ok", "schema": {"$ref": "#/definitions/A"},
                "examples": {"application/json": {"x": 1}}}}},
          "post": {"parameters": [{"name": "a", "in": "body", "required": true, "schema": {"$ref": "#/definitions/A"}}]},
          "put": {"consumes": ["multipart/form-data"], "parameters": [
            {"name": "file", "in": "formData", "type": "file", "required": true},
            {"name": "note", "in": "formData", "type": "string"}]}}},
        "definitions": {"A": {"type": "object", "properties": {"x": {"type": "integer", "x-nullable": true}}}}}),
    );
    assert_eq!(
        (document.servers[0].as_str(), document.base_path.as_str()),
        ("https://api.example/v1", "/v1")
    );
    assert_eq!(document.version, "1.0");
    let [list, put, post] = &document.operations[..] else { panic!("{:?}", document.refused) };
    assert!(list.parameters[0].explode && list.parameters[1].style == Style::PipeDelimited);
    assert_eq!(list.parameters[1].schema.value(), json!({"type": "array", "items": {"type": "string"}}));
    assert_eq!(list.responses["200"].example, Some(json!({"x": 1})));
    assert_eq!(
        post.body.as_ref().unwrap().schema.value()["$defs"]["A"]["properties"]["x"]["type"],
        json!(["integer", "null"])
    );
    let form = put.body.as_ref().unwrap();
    assert_eq!(form.media_type, "multipart/form-data");
    assert!(form.encoding["file"].binary && form.required);
    assert_eq!(form.schema.value()["required"], json!(["file"]));
}

#[test]
fn a_pattern_that_takes_exponential_time_costs_the_pattern_only() {
    let document = with(
        &json!({"parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "pattern": "^(?=a)b$"}},
            {"name": "r", "in": "query", "schema": {"type": "string", "pattern": "^[a-z]+$"}}]}),
        &json!({}),
    );
    let operation = &document.operations[0];
    let schema = operation.parameters[1].schema.value();
    assert!(schema.get("pattern").is_none() && schema["description"].as_str().unwrap().contains("pattern"));
    assert_eq!(operation.parameters[2].schema.value()["pattern"], "^[a-z]+$");
    assert_eq!(document.base_path, "/v2");
    assert_eq!(operation.effect, Effect::Write);
}

#[test]
fn bodies_choose_what_can_be_sent() {
    for (offered, chosen) in [
        (json!({"text/xml": {}, "application/json": {}}), "application/json"),
        (json!({"application/xml": {}, "application/merge-patch+json": {}}), "application/merge-patch+json"),
        (json!({"application/x-www-form-urlencoded": {}, "multipart/form-data": {}}), "multipart/form-data"),
        (json!({"application/octet-stream": {}}), "application/octet-stream"),
        (json!({"*/*": {}}), "application/json"),
    ] {
        let document = with(&json!({"requestBody": {"content": offered}}), &json!({}));
        assert_eq!(document.operations[0].body.as_ref().unwrap().media_type, chosen);
    }
}

#[test]
fn files_beneath_the_folder_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(
        folder.path().join("sub/a.yaml"),
        "A:\n  type: object\n  properties:\n    b: {$ref: '../b.json#/B'}\n    self: {$ref: '#/A'}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("b.json"), r#"{"B": {"type": "string"}}"#).unwrap();
    let document = json!({"openapi": "3.0.0", "info": {}, "paths": {"/a": {"post": {"requestBody": {"content":
        {"application/json": {"schema": {"$ref": "sub/a.yaml#/A"}}}}}},
        "/b": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "../../etc/passwd"}}}}}}}});
    let loaded = load(document.to_string().as_bytes(), Some(folder.path())).unwrap();
    assert_eq!(loaded.operations.len(), 1, "{:?}", loaded.refused);
    let schema = loaded.operations[0].body.as_ref().unwrap().schema.value();
    let own = schema["$ref"].as_str().unwrap();
    let at = |reference: &str| schema.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    let properties = &at(own)["properties"];
    assert_eq!(at(properties["b"]["$ref"].as_str().unwrap()), &json!({"type": "string"}));
    assert_eq!(properties["self"], json!({"$ref": own}));
    assert!(loaded.refused[0].reason.contains("outside"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    #[test]
    fn no_document_makes_it_panic(at in 0_usize..2_000, with in ".{0,12}", cut in 0_usize..40) {
        let mut text = json!({"openapi": "3.0.0", "info": {"title": "x"}, "paths": {"/a/{b}": {"get": {
            "operationId": "x", "parameters": [{"name": "b", "in": "path", "required": true, "schema": {"$ref": "#/components/schemas/A"}},
            {"name": "q", "in": "query", "style": "deepObject", "schema": {"type": "object"}}],
            "requestBody": {"content": {"multipart/form-data": {"schema": {"allOf": [{"$ref": "#/components/schemas/A"}]}, "encoding": {"x": {"contentType": "a/b"}}}}},
            "responses": {"200": {"description": "x", "content": {"application/json": {"schema": {"$ref": "#/paths/~1a~1{b}/get"}}}}}}}},
            "components": {"schemas": {"A": {"properties": {"a": {"$ref": "#/components/schemas/A"}}, "pattern": "^a", "required": ["a"], "nullable": true}}}}).to_string();
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        text.replace_range(start..end, &with);
        if let Ok(document) = load(text.as_bytes(), None) {
            for operation in &document.operations {
                for parameter in &operation.parameters { parameter.schema.value(); }
                for response in operation.responses.values() { let _ = response.schema.as_ref().map(crate::connectors::Shape::value); }
            }
        }
    }
}

#[test]
fn a_document_may_be_as_large_as_the_largest_apis() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = crate::json::Map::new();
    for number in 0..12_000_u32 {
        let schema = if number < 400 {
            std::fs::write(folder.path().join(format!("s{number}.json")), r#"{"type": "integer"}"#).unwrap();
            json!({"$ref": format!("s{number}.json")})
        } else {
            json!({"type": "integer"})
        };
        let parameter = json!([{"name": "n", "in": "query", "schema": schema}]);
        let get = json!({"parameters": parameter, "responses": {"200": {"description": "fine"}}});
        paths.insert(format!("/things/{number}"), json!({"get": get}));
    }
    let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths});
    let read = load(document.to_string().as_bytes(), Some(folder.path())).unwrap();
    assert_eq!((read.operations.len(), read.refused), (12_000, Vec::new()));
    let first = read.operations.iter().find(|it| it.path == "/things/3").unwrap();
    let schema = first.parameters[0].schema.value();
    let name = schema["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap();
    assert_eq!(schema["$defs"][name]["type"], "integer");
}
