//! Pieces that many arguments and bodies are made of.
//!
//! Owns the small schemas (ids, e-mail lists, paging) and the small bodies (notifications, order, project, JSON Patch).
//! The idea: an argument means the same wherever it appears.
//!
//! Must not: know a single operation.

use crate::connectors::flow::Arguments;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};

/// A UUID in the API's spelling.
const UUID: &str = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$";

/// Objects written next to each other become one; later members win.
pub(super) fn merge(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(members) = part {
            all.extend(members);
        }
    }
    Value::Object(all)
}

pub(super) fn uuid(what: &str) -> Value {
    json!({"type": "string", "pattern": UUID, "description": what})
}

pub(super) fn text(what: &str) -> Value {
    json!({"type": "string", "minLength": 1, "description": what})
}

pub(super) fn choice(what: &str, values: &[&str]) -> Value {
    json!({"type": "string", "enum": values, "description": what})
}

pub(super) fn whole(what: &str, least: i64, most: i64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most, "description": what})
}

pub(super) fn flag(what: &str) -> Value {
    json!({"type": "boolean", "description": what})
}

pub(super) fn metro(what: &str) -> Value {
    json!({"type": "string", "pattern": "^[A-Z]{2}$", "description": what})
}

pub(super) fn emails() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string", "minLength": 3},
        "description": "E-mail addresses that are told about changes"
    })
}

pub(super) fn dry_run() -> Value {
    flag("Only check: nothing is created, changed or billed")
}

pub(super) fn term() -> Value {
    whole("Months the order is committed for", 1, 36)
}

/// The e-mail list as the API's notifications.
pub(super) fn notifications(arguments: Arguments<'_>, kind: &str) -> Option<Value> {
    let emails = arguments.get("notifications")?;
    Some(json!([{"type": kind, "emails": emails}]))
}

/// Order details, if any are given.
pub(super) fn order(arguments: Arguments<'_>) -> Option<Value> {
    let mut order = Map::new();
    for (argument, member) in [
        ("purchase_order_number", "purchaseOrderNumber"),
        ("customer_reference_number", "customerReferenceNumber"),
        ("term_length", "termLength"),
    ] {
        put(&mut order, member, arguments.get(argument).cloned());
    }
    (!order.is_empty()).then_some(Value::Object(order))
}

/// The schema of the arguments that [`order`] reads.
pub(super) fn order_arguments() -> Value {
    json!({
        "purchase_order_number": text("Purchase order number for the bill"),
        "customer_reference_number": text("Your own reference for the order"),
        "term_length": term()
    })
}

pub(super) fn project(arguments: Arguments<'_>) -> Option<Value> {
    arguments.get("project_id").map(|id| json!({"projectId": id}))
}

/// The schema of the argument that [`marketplace`] reads.
pub(super) fn marketplace_argument() -> Value {
    json!({
        "marketplace_subscription": {
            "type": "object", "additionalProperties": false, "required": ["type", "uuid"],
            "description": "Bill it to a marketplace subscription",
            "properties": {
                "type": choice("Marketplace", &[
                    "AWS_MARKETPLACE_SUBSCRIPTION", "GCP_MARKETPLACE_SUBSCRIPTION", "AZURE_MARKETPLACE_SUBSCRIPTION"
                ]),
                "uuid": uuid("The subscription")
            }
        }
    })
}

/// The marketplace subscription that is billed, if one is given.
pub(super) fn marketplace(arguments: Arguments<'_>) -> Option<Value> {
    arguments.get("marketplace_subscription").cloned()
}

/// The schema of what a provider wants to know besides.
pub(super) fn additional_info() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 50,
        "description": "What the provider wants to know besides",
        "items": {
            "type": "object", "additionalProperties": false, "required": ["key", "value"],
            "properties": {"key": {"type": "string"}, "value": {"type": "string"}}
        }
    })
}

/// Sets a member if there is a value.
pub(super) fn put(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value);
    }
}

/// A JSON Patch that replaces what is given; refused if nothing is. An empty path adds members to the whole: the API's
/// way for what has no place before it is given.
pub(super) fn patch(changes: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Result<Value> {
    let changes: Vec<Value> = changes
        .into_iter()
        .filter_map(|(path, value)| {
            let op = if path.is_empty() { "add" } else { "replace" };
            value.map(|value| json!({"op": op, "path": path, "value": value}))
        })
        .collect();
    if changes.is_empty() {
        return Err(Error::new(
            Kind::BadArguments,
            "nothing to change was given; name at least one new value",
        ));
    }
    Ok(Value::Array(changes))
}

/// The media type of a JSON Patch.
pub(super) const JSON_PATCH: &str = "application/json-patch+json";

/// What a deletion answers when the API answers nothing.
pub(super) fn deleted(answer: Value, id: &str) -> Value {
    if answer.is_null() { json!({"deleted": true, "uuid": id}) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::patch;
    use crate::json::json;

    #[test]
    fn an_empty_patch_is_refused() {
        assert!(patch([("/name", None)]).is_err());
        let one = patch([("/name", Some(json!("x"))), ("/bandwidth", None)]).unwrap();
        assert_eq!(one, json!([{"op": "replace", "path": "/name", "value": "x"}]));
    }
}
