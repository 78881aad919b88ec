//! Answers that are not what the document describes: taken as they came, and told.

use bartizan::json::{Value, json};

use super::rig::Rig;
use crate::loopback::answer;

fn document() -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/w/{id}": {"get": {
        "operationId": "getWidget", "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
        "responses": {"200": {"description": "fine", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Widget"}}}}}}}},
        "components": {"schemas": {"Widget": {"type": "object", "required": ["id", "parts"], "properties": {
            "id": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}}},
            "Part": {"type": "object", "required": ["size"], "properties": {"size": {"type": ["integer", "null"]}}}}}})
}

#[tokio::test]
async fn an_answer_that_departs_from_its_schema_is_passed_on_and_says_so() {
    let rig = Rig::new(document(), "", |seen, _| match seen.target.rsplit('/').next() {
        Some("good") => answer(200, json!({"id": "x", "parts": [{"size": 1}, {"size": null, "more": 1}]})),
        Some("other") => answer(202, json!({"state": "queued"})),
        Some("list") => answer(200, json!([1, 2])),
        _ => answer(200, json!({"id": 4711, "parts": [{"size": "large"}, {}]})),
    })
    .await;
    let told = |result: &bartizan::protocol::types::ToolResult| {
        result.meta.as_ref().and_then(|meta| meta.get("bartizan/departure")).cloned().unwrap_or_default()
    };
    let good = rig.call("get_widget", json!({"id": "good"})).await.unwrap();
    assert_eq!(told(&good), Value::Null);
    let odd = rig.call("get_widget", json!({"id": "odd"})).await.unwrap();
    assert!(!odd.is_error);
    assert_eq!(odd.structured_content, Some(json!({"id": 4711, "parts": [{"size": "large"}, {}]})));
    assert_eq!(
        told(&odd),
        json!([
            "/id should be string, not integer",
            "/parts/0/size should be null or integer, not string",
            "/parts/1 has no size"
        ])
    );
    let other = rig.call("get_widget", json!({"id": "other"})).await.unwrap();
    assert_eq!(told(&other), json!(["HTTP 202 is no answer that the document describes"]));
    let list = rig.call("get_widget", json!({"id": "list"})).await.unwrap();
    assert_eq!(told(&list), json!(["the answer should be object, not array"]));
    assert_eq!(list.structured_content, Some(json!([1, 2])));
}
