//! A small document for the practice upstream, and a plain way to call its operations.

use bartizan::connectors::Shape;
use bartizan::connectors::document::{BodySpec, Document, Operation, Parameter, Place, ResponseSpec, Style};
use bartizan::policy::Effect;
use bartizan::practice::Practice;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

fn parameter(name: &str, place: Place, required: bool, schema: Value) -> Parameter {
    Parameter {
        name: name.into(),
        argument: name.into(),
        place,
        required,
        description: None,
        schema: Shape::of(schema),
        fixed: None,
        style: if place == Place::Query { Style::Form } else { Style::Simple },
        explode: place == Place::Query,
        allow_reserved: false,
        content_type: None,
    }
}

fn query(name: &str, required: bool, schema: Value) -> Parameter {
    parameter(name, Place::Query, required, schema)
}

fn answer(schema: Value) -> ResponseSpec {
    ResponseSpec {
        description: None,
        media_type: Some("application/json".into()),
        schema: Some(Shape::of(schema)),
        example: None,
    }
}

/// `METHOD /path`, its query parameters, its body (media type and schema), its good answers.
fn operation(
    id: &str,
    line: &str,
    mut parameters: Vec<Parameter>,
    body: Option<(&str, Value)>,
    answers: &[(&str, Value)],
) -> Operation {
    let (method, path) = line.split_once(' ').unwrap();
    for segment in path.split('/').filter(|segment| segment.starts_with('{')) {
        let name = segment.trim_matches(['{', '}']);
        parameters.push(parameter(name, Place::Path, true, json!({"type": "string"})));
    }
    let mut responses: IndexMap<String, ResponseSpec> =
        answers.iter().map(|(status, schema)| ((*status).to_owned(), answer(schema.clone()))).collect();
    responses.insert("400".into(), answer(errors()));
    Operation {
        id: id.into(),
        tool: id.into(),
        method: method.into(),
        path: path.into(),
        summary: None,
        description: None,
        tags: Vec::new(),
        parameters,
        body: body.map(|(media_type, schema)| BodySpec {
            required: true,
            description: None,
            media_type: media_type.into(),
            schema: Shape::of(schema),
            binary: false,
            offered: vec![media_type.into()],
            encoding: IndexMap::new(),
            argument: "body".into(),
        }),
        responses,
        effect: Effect::Write,
        permissions: Vec::new(),
        deprecated: false,
    }
}

fn errors() -> Value {
    json!({"type": "array", "items": {"type": "object", "properties": {
        "errorCode": {"type": "string", "pattern": "^EQ-\\d{7}$"}, "errorMessage": {"type": "string"}
    }}})
}

fn port() -> Value {
    json!({
        "type": "object", "required": ["uuid", "state", "location"], "additionalProperties": false,
        "properties": {
            "href": {"type": "string", "format": "uri", "readOnly": true},
            "uuid": {"type": "string", "format": "uuid"},
            "name": {"type": "string"},
            "description": {"type": "string"},
            "state": {"type": "string", "enum": ["PENDING", "PROVISIONED", "DEPROVISIONED"]},
            "bandwidth": {"type": "integer", "minimum": 0, "maximum": 100_000},
            "location": {"type": "object", "required": ["metroCode"], "properties": {
                "metroCode": {"type": "string", "pattern": "^[A-Z]{2}$"}, "ibx": {"type": "string"}
            }}
        }
    })
}

fn connection(own: bool) -> Value {
    let mut properties = json!({
        "name": {"type": "string", "maxLength": 24},
        "bandwidth": {"type": "integer", "minimum": 0, "maximum": 100_000},
        "side": {"oneOf": [
            {"type": "object", "required": ["port"], "properties": {"port": {"type": "string"}}, "additionalProperties": false},
            {"type": "object", "required": ["router"], "properties": {"router": {"type": "string"}}, "additionalProperties": false}
        ]},
        "notifications": {"type": "array", "items": {"type": "string", "format": "email"}}
    });
    let mut required = vec!["name", "bandwidth", "side", "notifications"];
    if own {
        properties["uuid"] = json!({"type": "string"});
        properties["state"] = json!({"$ref": "#/$defs/State"});
        properties["related"] = json!({"type": "array", "items": {"$ref": "#/$defs/Related"}});
        required = vec!["uuid", "name", "state", "side"];
    }
    json!({
        "type": "object", "required": required, "properties": properties,
        "$defs": {
            "State": {"enum": ["DRAFT", "ACTIVE", "DEPROVISIONING"]},
            "Related": {"type": "object", "properties": {"again": {"$ref": "#/$defs/Related"}, "id": {"type": "integer"}}}
        }
    })
}

fn list(name: &str, mut item: Value) -> Value {
    let defs = item.as_object_mut().unwrap().remove("$defs").unwrap_or_else(|| json!({}));
    json!({
        "type": "object", "required": [name],
        "properties": {
            name: {"type": "array", "items": item},
            "pagination": {"type": "object", "required": ["limit", "total"], "properties": {
                "offset": {"type": "integer"}, "limit": {"type": "integer"}, "total": {"type": "integer"},
                "next": {"type": "string"}, "previous": {"type": "string"}
            }}
        },
        "$defs": defs
    })
}

/// A document in the style of a network vendor.
pub(crate) fn document() -> Document {
    let note = json!({"type": "object", "required": ["id", "text"], "properties": {
        "id": {"type": "integer", "minimum": 1}, "text": {"type": "string", "minLength": 2}
    }});
    let mut notes = list("items", note.clone());
    notes["properties"].as_object_mut().unwrap().remove("pagination");
    let event = json!({"type": "object", "required": ["at"], "properties": {
        "at": {"type": "string", "format": "date-time"}, "kind": {"enum": ["UP", "DOWN"]}
    }});
    let events = json!({"type": "object", "properties": {
        "entries": {"type": "array", "items": event}, "nextPageToken": {"type": "string"}
    }});
    let patch = json!({"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["op", "path"], "properties": {
            "op": {"enum": ["add", "replace", "remove"]}, "path": {"type": "string"}, "value": {}
        }
    }});
    let search = json!({"type": "object", "properties": {
        "filter": {"type": "object"}, "pagination": {"type": "object"}, "sort": {"type": "array"}
    }});
    let paged = || {
        vec![
            query("offset", false, json!({"type": "integer", "minimum": 0})),
            query("limit", false, json!({"type": "integer", "minimum": 1})),
        ]
    };
    let dry = || vec![query("dryRun", false, json!({"type": "boolean"}))];
    let tokens = vec![
        query("maxResults", false, json!({"type": "integer"})),
        query("pageToken", false, json!({"type": "string"})),
    ];
    let stats = json!({"type": "object", "required": ["startDateTime", "max"], "properties": {
        "startDateTime": {"type": "string", "format": "date-time"}, "max": {"type": "number", "exclusiveMinimum": 0}
    }});
    let when = vec![query("startDateTime", true, json!({"type": "string", "format": "date-time"}))];
    let mut ports = paged();
    ports.push(query("name", false, json!({"type": "string"})));
    let metro = json!({"type": "object", "required": ["code"], "properties": {
        "code": {"type": "string"}, "name": {"type": "string"}
    }});
    let labels = json!({"type": "array", "items": {"type": "string"}});
    let steps = json!({"type": "array", "items": {
        "type": "object", "required": ["op", "path"], "properties": {"op": {"type": "string"}, "path": {"type": "string"}}
    }});
    let act = json!({"type": "object", "required": ["type"], "properties": {
        "type": {"enum": ["CONNECTION_CREATION_REJECTION", "CONNECTION_DELETION_ACCEPTANCE", "RESEND_NOTIFICATION"]}
    }});
    let operations = vec![
        operation(
            "actOnConnection",
            "POST /v4/connections/{id}/actions",
            dry(),
            Some(("application/json", act.clone())),
            &[("202", act)],
        ),
        operation("getLabels", "GET /v4/connections/{id}/labels", vec![], None, &[("200", labels.clone())]),
        operation(
            "putLabels",
            "PUT /v4/connections/{id}/labels",
            vec![],
            Some(("application/json", labels.clone())),
            &[("200", labels)],
        ),
        operation("getPlan", "GET /v4/plans/{id}", vec![], None, &[("200", steps.clone())]),
        operation(
            "putPlan",
            "PUT /v4/plans/{id}",
            vec![],
            Some(("application/json", steps.clone())),
            &[("200", steps)],
        ),
        operation("getPorts", "GET /v4/ports", ports, None, &[("200", list("data", port()))]),
        operation("getPort", "GET /v4/ports/{portId}", vec![], None, &[("200", port())]),
        operation("getMetro", "GET /v4/metros/{metroCode}", vec![], None, &[("200", metro)]),
        operation(
            "searchConnections",
            "POST /v4/connections/search",
            vec![],
            Some(("application/json", search)),
            &[("200", list("data", connection(true)))],
        ),
        operation(
            "createConnection",
            "POST /v4/connections",
            dry(),
            Some(("application/json", connection(false))),
            &[("200", connection(true)), ("201", connection(true))],
        ),
        operation("getConnection", "GET /v4/connections/{id}", vec![], None, &[("200", connection(true))]),
        operation(
            "patchConnection",
            "PATCH /v4/connections/{id}",
            dry(),
            Some(("application/json-patch+json", patch)),
            &[("200", connection(true))],
        ),
        operation(
            "putConnection",
            "PUT /v4/connections/{id}",
            vec![],
            Some(("application/json", connection(false))),
            &[("200", connection(true))],
        ),
        operation("listNotes", "GET /v4/connections/{id}/notes", vec![], None, &[("200", notes)]),
        operation(
            "createNote",
            "POST /v4/connections/{id}/notes",
            vec![],
            Some((
                "application/json",
                json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}),
            )),
            &[("201", note.clone())],
        ),
        operation("getNote", "GET /v4/connections/{id}/notes/{noteId}", vec![], None, &[("200", note)]),
        operation(
            "deleteConnection",
            "DELETE /v4/connections/{id}",
            vec![],
            None,
            &[("200", connection(true))],
        ),
        operation("listEvents", "GET /v4/events", tokens, None, &[("200", events)]),
        operation("getStats", "GET /v4/stats", when, None, &[("200", stats)]),
    ];
    Document { title: "Practice test".into(), version: "1".into(), operations, ..Document::default() }
}

/// Calls an operation with arguments, without the connector's help: status and text.
pub(crate) async fn call(
    http: &reqwest::Client,
    practice: &Practice,
    operation: &Operation,
    arguments: &Map<String, Value>,
) -> (u16, String) {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut path = operation.path.clone();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let mut headers = Vec::new();
    for parameter in &operation.parameters {
        if let Some(fixed) = &parameter.fixed {
            query.append_pair(&parameter.name, fixed);
            continue;
        }
        let Some(value) = arguments.get(&parameter.argument) else { continue };
        match parameter.place {
            Place::Path => path = path.replace(&format!("{{{}}}", parameter.name), &plain(value)),
            Place::Query => {
                let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                for value in values {
                    query.append_pair(&parameter.name, &plain(&value));
                }
            }
            Place::Header => headers.push((parameter.name.clone(), plain(value))),
            Place::Cookie => {}
        }
    }
    let query = query.finish();
    let address = format!("{}{path}{}{query}", practice.url(), if query.is_empty() { "" } else { "?" });
    let mut request = http.request(operation.method.parse().unwrap(), address);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(body) = &operation.body
        && let Some(value) = arguments.get(&body.argument)
    {
        request = request.header("content-type", &body.media_type).body(value.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
