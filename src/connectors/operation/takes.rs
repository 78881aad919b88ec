//! What an operation takes.
//!
//! Owns [`input`]. The idea: the names of the arguments are known at once, their schema is put together of the document's
//! shared parts when somebody looks at it; of thousands of tools few are.
//!
//! Must not: give a schema that cannot be checked.

use std::sync::Arc;

use crate::connectors::document::Operation;
use crate::connectors::loose::settle;
use crate::connectors::shape::{Shape, definitions};
use crate::json::{Map, Value, json};
use crate::schema::{LazySchema, Maker, Schema};

struct Takes {
    operation: Arc<Operation>,
    /// Bytes of `$defs`.
    budget: usize,
    /// Arguments of ours, behind those of the operation.
    more: Vec<(String, Value)>,
}

impl Maker for Takes {
    fn make(&self) -> Value {
        let mut schema = made(&self.operation, self.budget);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.extend(self.more.iter().cloned());
        }
        schema
    }

    fn arguments(&self) -> Vec<(String, bool)> {
        let more = self.more.iter().map(|(name, _)| (name.clone(), false));
        own(&self.operation).map(|(name, needed)| (name.to_owned(), needed)).chain(more).collect()
    }
}

/// The schema of the arguments, made when it is needed. What the sketch has beside the operation's own is added.
pub(super) fn input(operation: Arc<Operation>, budget: usize, sketch: Value) -> LazySchema {
    let known = own(&operation).count();
    let properties = match sketch {
        Value::Object(mut sketch) => sketch.shift_remove("properties"),
        _ => None,
    };
    let more = match properties {
        Some(Value::Object(properties)) => properties.into_iter().skip(known).collect(),
        _ => Vec::new(),
    };
    LazySchema::made(Takes { operation, budget, more })
}

/// A schema that says no more than what the arguments are called.
pub(super) fn sketch(operation: &Operation) -> Value {
    let properties: Map<String, Value> =
        own(operation).map(|(name, _)| (name.to_owned(), Value::Bool(true))).collect();
    json!({"type": "object", "properties": properties})
}

/// The operation's own arguments, and which must be given.
fn own(operation: &Operation) -> impl Iterator<Item = (&str, bool)> {
    let parameters = operation.parameters.iter().filter(|it| it.fixed.is_none());
    let body = operation.body.iter().map(|it| (it.argument.as_str(), it.required));
    parameters.map(|it| (it.argument.as_str(), it.required)).chain(body)
}

/// The schemas of its arguments.
pub(super) fn shapes(operation: &Operation) -> impl Iterator<Item = &Shape> {
    operation.parameters.iter().map(|it| &it.schema).chain(operation.body.iter().map(|it| &it.schema))
}

/// The same, to be packed.
pub(super) fn shapes_mut(operation: &mut Operation) -> impl Iterator<Item = &mut Shape> {
    let body = operation.body.iter_mut().map(|it| &mut it.schema);
    operation.parameters.iter_mut().map(|it| &mut it.schema).chain(body)
}

/// The schema of the arguments: parameters in order, then the body.
fn made(operation: &Operation, budget: usize) -> Value {
    let strict = assemble(operation, &Shape::whole, budget);
    if Schema::vet(&strict).is_ok() {
        return strict;
    }
    // A part that cannot be checked here is the upstream's to check (and `unchecked` says so); the rest is checked.
    let usable = |shape: &Shape| Schema::vet(&shape.value_within(budget)).is_ok();
    let partly =
        assemble(operation, &|shape: &Shape| if usable(shape) { shape.whole() } else { json!({}) }, budget);
    if Schema::vet(&partly).is_ok() { partly } else { assemble(operation, &|_| json!({}), 0) }
}

fn assemble(operation: &Operation, root: &dyn Fn(&Shape) -> Value, budget: usize) -> Value {
    let (defs, loose) = definitions(shapes(operation), budget);
    let root = |shape: &Shape| {
        let mut schema = root(shape);
        settle(&mut schema, &|name| loose.contains(name));
        schema
    };
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    for parameter in operation.parameters.iter().filter(|it| it.fixed.is_none()) {
        let property = described(root(&parameter.schema), parameter.description.as_deref());
        properties.insert(parameter.argument.clone(), property);
        if parameter.required {
            required.push(&parameter.argument);
        }
    }
    if let Some(body) = &operation.body {
        let bytes = body.binary.then_some("The bytes, as base64.");
        let text = body.description.as_deref().or(bytes);
        properties.insert(body.argument.clone(), described(root(&body.schema), text));
        if body.required {
            required.push(&body.argument);
        }
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if budget > 0 && !defs.is_empty() {
        schema["$defs"] = Value::Object(defs);
    }
    schema
}

/// The schema with a description, if it has none of its own.
fn described(mut schema: Value, text: Option<&str>) -> Value {
    if let (Value::Object(object), Some(text)) = (&mut schema, text) {
        object.insert(String::from("description"), json!(text));
    }
    schema
}
