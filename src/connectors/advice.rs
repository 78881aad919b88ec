//! What a model can do about a failure.
//!
//! Owns [`point`]. The idea: vendors name the field that they refuse in many ways; what they name is looked for among the
//! operation's own parameters and the body that was sent or is described, and what is found there is said in the spelling
//! of the tool's arguments. Where a write may have been carried out although it failed, that is said too.
//!
//! Must not: say a name that only the upstream knows.

use super::document::{Operation, Place};
use super::response::FAILURE;
use crate::http::Response;
use crate::json::{Map, Value, json};
use crate::limits::room::LARGE;
use crate::protocol::types::{Content, ToolResult};

/// Names that are said at most.
const MOST: usize = 8;
/// Fields that are looked at, at most.
const LOOKED_AT: usize = 200;
/// How deep an answer or a schema is looked into.
const DEEPEST: usize = 12;

/// Keys whose value names a field, in small letters without signs.
const NAMING: &[&str] = &[
    "argument",
    "attribute",
    "datapath",
    "errorlocation",
    "field",
    "fieldname",
    "fieldpath",
    "instancelocation",
    "jsonpath",
    "loc",
    "location",
    "name",
    "param",
    "parameter",
    "parametername",
    "path",
    "pointer",
    "property",
    "propertyname",
    "propertypath",
    "target",
];
/// Keys whose members are fields.
const HOLDING: &[&str] = &[
    "details",
    "errors",
    "fielderrors",
    "fields",
    "invalidfields",
    "invalidparams",
    "messages",
    "modelstate",
    "validationerrors",
    "violations",
];

/// What was called.
pub(super) struct Called<'a> {
    pub(super) operation: &'a Operation,
    /// The schema of the tool's arguments.
    pub(super) input: &'a Value,
    pub(super) arguments: &'a Map<String, Value>,
    /// Whether it may be sent twice.
    pub(super) idempotent: bool,
}

/// Adds to a failed result what to change, or what to look at before it is tried again.
pub(super) fn point(result: &mut ToolResult, response: &Response, called: &Called<'_>) {
    if response.status >= 500 {
        if !called.idempotent {
            say(result, UNKNOWN);
        }
        return;
    }
    let names = match response.status {
        // complaints about arguments are short
        _ if response.body.len() >= LARGE => Vec::new(),
        400 | 402 | 405..=409 | 411..=428 => match serde_json::from_slice::<Value>(&response.body) {
            Ok(answer) => complaints(&answer, called),
            Err(_) => Vec::new(),
        },
        404 | 410 => path_arguments(called),
        _ => Vec::new(),
    };
    if names.is_empty() {
        return;
    }
    let one = if names.len() == 1 { "this argument" } else { "these arguments" };
    say(result, &format!("Look at {one}: {}.", names.join(", ")));
    for failure in
        [result.structured_content.as_mut(), result.meta.as_mut().and_then(|meta| meta.get_mut(FAILURE))]
    {
        if let Some(Value::Object(failure)) = failure {
            failure.insert(String::from("arguments"), json!(names));
        }
    }
}

/// What is said where a failure leaves open what happened.
const UNKNOWN: &str = "Whether it was carried out is not known: look before you send it again.";

/// Adds a sentence to our own words, which come first.
fn say(result: &mut ToolResult, sentence: &str) {
    if let Some(Content::Text { text, .. }) = result.content.first_mut() {
        text.push(' ');
        text.push_str(sentence);
    }
}

/// The arguments that make the path: what is not there was named by them.
fn path_arguments(called: &Called<'_>) -> Vec<String> {
    let parameters = called.operation.parameters.iter();
    let own = parameters.filter(|it| it.place == Place::Path && it.fixed.is_none());
    own.map(|it| it.argument.clone()).filter(|name| is_plain(name)).take(MOST).collect()
}

/// The arguments that an answer complains about, in its order.
fn complaints(answer: &Value, called: &Called<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    if let Value::Object(object) = answer {
        // {"size": ["must be positive"]}
        let all_lists = |value: &Value| {
            value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_string))
        };
        fields.extend(object.iter().filter(|(_, value)| all_lists(value)).map(|(name, _)| split(name)));
    }
    collect(answer, &mut fields, 0);
    let mut names: Vec<String> = Vec::new();
    for field in fields {
        if let Some(name) = called.name(&field).filter(|name| is_plain(name))
            && !names.contains(&name)
        {
            names.push(name);
        }
        if names.len() == MOST {
            break;
        }
    }
    names
}

/// Every field that an answer names.
fn collect(value: &Value, fields: &mut Vec<Vec<String>>, depth: usize) {
    if depth > DEEPEST || fields.len() >= LOOKED_AT {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields, depth + 1)),
        Value::Object(object) => {
            for (key, value) in object {
                let key = plain(key);
                if NAMING.contains(&key.as_str()) {
                    match value {
                        Value::String(text) => fields.push(split(text)),
                        // one path, in pieces
                        Value::Array(items) if items.iter().all(|item| item.is_string() || item.is_u64()) => {
                            fields.push(items.iter().flat_map(|item| split(&word(item))).collect());
                        }
                        _ => {}
                    }
                }
                if HOLDING.contains(&key.as_str()) {
                    match value {
                        Value::Object(members) => fields.extend(members.keys().map(|name| split(name))),
                        Value::Array(items) => {
                            fields.extend(items.iter().filter_map(Value::as_str).map(split));
                        }
                        _ => {}
                    }
                }
                collect(value, fields, depth + 1);
            }
        }
        _ => {}
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `$.body.owner[0].email`, `#/owner/0/email`, `owner.0.email` -> its names.
fn split(path: &str) -> Vec<String> {
    if path.len() > 300 {
        return Vec::new();
    }
    let parts = path.split(['.', '/', '[', ']', '#', '$', '\'', '"']);
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// In small letters without signs: `ownerId`, `owner_id` and `Owner-ID` are one name.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether a name is one that can be said.
fn is_plain(name: &str) -> bool {
    name.len() <= 120 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$@[]".contains(&byte))
}

impl Called<'_> {
    /// The argument that a field is, or a place in one. Words before it that mean nothing here are passed over.
    fn name(&self, field: &[String]) -> Option<String> {
        (0..field.len().min(DEEPEST)).find_map(|start| self.name_from(&field[start..]))
    }

    fn name_from(&self, field: &[String]) -> Option<String> {
        let first = plain(field.first()?);
        let body = self.operation.body.as_ref();
        if let Some(body) = body
            && (first == "body" || first == plain(&body.argument))
        {
            let inside = self.inside(&body.argument, &field[1..]);
            return inside.or_else(|| (field.len() == 1).then(|| body.argument.clone()));
        }
        let mut own = self.operation.parameters.iter().filter(|it| it.fixed.is_none());
        // `page[size]` is one name, although it looks like two
        let whole: String = field.iter().map(|part| plain(part)).collect();
        let is_it = |name: &str| [&first, &whole].contains(&&plain(name));
        if let Some(parameter) = own.find(|it| is_it(&it.name) || is_it(&it.argument)) {
            return Some(parameter.argument.clone());
        }
        body.and_then(|body| self.inside(&body.argument, field))
    }

    /// A place in the body, as far as it is known.
    fn inside(&self, argument: &str, path: &[String]) -> Option<String> {
        let mut schema = self.input.get("properties").and_then(|all| all.get(argument));
        let mut value = self.arguments.get(argument);
        let (mut said, mut found) = (argument.to_owned(), false);
        let mut rest = path;
        while let Some(name) = rest.first() {
            if let Ok(index) = name.parse::<usize>() {
                value = value.and_then(|value| value.get(index));
                schema = schema.and_then(|schema| self.items(schema, 0));
                if found && (value.is_some() || schema.is_some()) {
                    said = format!("{said}[{index}]");
                }
                rest = &rest[1..];
                continue;
            }
            // `@odata.type` is one name, although it looks like two
            let step = (1..=rest.len().min(3)).find_map(|width| {
                let wanted: String = rest[..width].iter().map(|part| plain(part)).collect();
                let sent = value
                    .and_then(Value::as_object)
                    .and_then(|object| object.iter().find(|(known, _)| plain(known) == wanted));
                let described = schema.and_then(|schema| self.property(schema, &wanted, 0));
                let known = sent.map(|(known, _)| known.as_str()).or(described.map(|(known, _)| known))?;
                let next = (sent.map(|(_, value)| value), described.map(|(_, schema)| schema));
                Some((known, next, width))
            });
            let Some((known, next, width)) = step else { break };
            said = format!("{said}.{known}");
            found = true;
            (value, schema) = next;
            rest = &rest[width..];
        }
        found.then_some(said)
    }

    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/$defs/"));
        name.and_then(|name| self.input.get("$defs")?.get(name)).unwrap_or(schema)
    }

    fn property<'s>(&'s self, schema: &'s Value, wanted: &str, depth: usize) -> Option<(&'s str, &'s Value)> {
        if depth > DEEPEST {
            return None;
        }
        let schema = self.resolve(schema);
        let own = schema.get("properties").and_then(Value::as_object);
        let own = own.and_then(|own| own.iter().find(|(name, _)| plain(name) == wanted));
        own.map(|(name, schema)| (name.as_str(), schema)).or_else(|| {
            let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array());
            parts.flatten().take(50).find_map(|part| self.property(part, wanted, depth + 1))
        })
    }

    fn items<'s>(&'s self, schema: &'s Value, depth: usize) -> Option<&'s Value> {
        if depth > DEEPEST {
            return None;
        }
        let schema = self.resolve(schema);
        schema.get("items").or_else(|| {
            let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array());
            parts.flatten().take(50).find_map(|part| self.items(part, depth + 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::document::{BodySpec, Parameter, Style};
    use crate::connectors::shape::Shape;

    fn parameter(name: &str, argument: &str, place: Place) -> Parameter {
        Parameter {
            name: name.to_owned(),
            argument: argument.to_owned(),
            place,
            required: true,
            description: None,
            schema: Shape::of(Value::Null),
            fixed: None,
            style: Style::Simple,
            explode: false,
            allow_reserved: false,
            content_type: None,
        }
    }

    fn operation() -> Operation {
        Operation {
            method: String::from("POST"),
            parameters: vec![
                parameter("widgetId", "widget_id", Place::Path),
                parameter("page[size]", "page_size", Place::Query),
            ],
            body: Some(BodySpec {
                required: true,
                description: None,
                media_type: String::from("application/json"),
                schema: Shape::of(Value::Null),
                binary: false,
                offered: Vec::new(),
                encoding: indexmap::IndexMap::new(),
                argument: String::from("body"),
            }),
            ..Operation::default()
        }
    }

    fn names(answer: &Value) -> Vec<String> {
        let input = json!({
            "properties": {"widget_id": {}, "page_size": {}, "body": {"$ref": "#/$defs/W"}},
            "$defs": {"W": {"properties": {"size": {}, "owner": {"$ref": "#/$defs/O"}, "tags": {"items": {"$ref": "#/$defs/T"}}}},
                      "O": {"allOf": [{"properties": {"email": {}}}]}, "T": {"properties": {"key": {}}}},
        });
        let arguments = json!({"body": {"extra": {"deep": 1}, "@odata.type": "x"}});
        let called = Called {
            operation: &operation(),
            input: &input,
            arguments: arguments.as_object().unwrap(),
            idempotent: false,
        };
        complaints(answer, &called)
    }

    #[test]
    fn a_field_is_found_however_a_vendor_names_it() {
        for (answer, expected) in [
            (json!({"errors": [{"field": "size", "message": "too big"}]}), "body.size"),
            (json!({"errors": {"size": ["too big"]}}), "body.size"),
            (json!({"size": ["too big"]}), "body.size"),
            (json!({"detail": [{"loc": ["body", "owner", "email"], "msg": "x"}]}), "body.owner.email"),
            (json!({"detail": [{"loc": ["path", "widgetId"], "msg": "x"}]}), "widget_id"),
            (json!({"errors": [{"source": {"pointer": "/data/attributes/size"}}]}), "body.size"),
            (json!({"errors": [{"source": {"parameter": "page[size]"}}]}), "page_size"),
            (json!({"invalid-params": [{"name": "Widget-ID", "reason": "x"}]}), "widget_id"),
            (json!({"error": {"details": [{"target": "owner.Email"}]}}), "body.owner.email"),
            (
                json!({"error": {"details": [{"fieldViolations": [{"field": "owner.email"}]}]}}),
                "body.owner.email",
            ),
            (
                json!([{"errorCode": "x", "additionalInfo": [{"property": "/tags/0/key"}]}]),
                "body.tags[0].key",
            ),
            (json!({"errors": [{"errorLocation": "#/body/tags/3/key"}]}), "body.tags[3].key"),
            (json!({"ModelState": {"model.Size": ["x"]}}), "body.size"),
            (json!({"errors": [{"path": "$.extra.deep"}]}), "body.extra.deep"),
            (json!({"errors": [{"loc": ["body"]}]}), "body"),
            (json!({"errors": [{"pointer": "#/@odata.type"}]}), "body.@odata.type"),
        ] {
            assert_eq!(names(&answer), [expected], "{answer}");
        }
    }

    #[test]
    fn what_only_the_upstream_knows_is_not_said() {
        for answer in [
            json!({"errors": [{"field": "hunter2"}], "message": "hunter2"}),
            json!({"field": 7, "errors": null, "loc": [{"size": 1}]}),
            json!("size"),
            json!({"errors": [{"field": "size".repeat(100)}]}),
        ] {
            assert!(names(&answer).is_empty(), "{answer}");
        }
        let many: Vec<Value> = (0..1000).map(|number| json!({"field": format!("f{number}")})).collect();
        assert!(names(&json!({"errors": many})).is_empty());
        let mut deep = json!({"field": "size"});
        for _ in 0..100 {
            deep = json!({"errors": deep});
        }
        assert!(names(&deep).is_empty());
    }
}
