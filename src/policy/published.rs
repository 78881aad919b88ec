//! The schema that people validate their policies with.
//!
//! Owns [`cedar`] and [`text`]: the entities, the actions and, for the tools that are loaded, the type of each one's
//! arguments. The idea: what a policy may name is written down in Cedar's own language, so that any editor that knows
//! Cedar completes and checks it; our own check at the start is stricter and needs no file.
//!
//! Must not: be what decides.

use serde_json::{Map, json};

use super::Resource;
use super::reads::{Kind, Reads};
use super::shape::Members;
use crate::error::{self, Error, Result};
use crate::json::Value;

/// The attributes of a principal, each with whether it is always there.
pub(super) const PRINCIPAL: &[(&str, bool)] = &[
    ("id", true),
    ("kind", true),
    ("scopes", true),
    ("roles", true),
    ("owner", false),
    ("tenant", false),
    ("issuer", false),
    ("bearer", false),
];

/// The attributes of a tool, each with whether it is always there.
pub(super) const TOOL: &[(&str, bool)] = &[
    ("name", true),
    ("family", true),
    ("effect", true),
    ("toolset", true),
    ("source", true),
    ("target", false),
];

/// The schema in Cedar's JSON form, with these as the arguments that policies may read.
pub(super) fn base(arguments: &Value) -> Value {
    let shape = |attributes: &[(&str, bool)]| -> Value {
        let all: Map<String, Value> = attributes
            .iter()
            .map(|(name, required)| {
                let mut kind = match *name {
                    "scopes" | "roles" => json!({"type": "Set", "element": {"type": "String"}}),
                    _ => json!({"type": "String"}),
                };
                kind["required"] = Value::Bool(*required);
                ((*name).to_owned(), kind)
            })
            .collect();
        json!({"type": "Record", "attributes": all})
    };
    let applies = json!({
        "principalTypes": ["Principal"],
        "resourceTypes": ["Tool"],
        "context": {"type": "Record", "attributes": {
            "arguments": arguments, "profile": {"type": "String", "required": true}
        }}
    });
    json!({"": {
        "entityTypes": {
            "Role": {},
            "Tenant": {},
            "Toolset": {},
            "Connector": {},
            "Principal": {"memberOfTypes": ["Role", "Tenant"], "shape": shape(PRINCIPAL)},
            "Tool": {"memberOfTypes": ["Toolset", "Connector"], "shape": shape(TOOL)}
        },
        "actions": {"call": {"appliesTo": applies}, "callUnattended": {"appliesTo": applies}}
    }})
}

/// The schema for these tools. `reads` is what the policies that hold read, so that the schema agrees with them about
/// what a tool alone leaves open.
pub(super) fn cedar<'a>(reads: &Reads, tools: impl Iterator<Item = Resource<'a>>) -> Value {
    let mut all = Members::default();
    let mut types = Map::new();
    for tool in tools {
        let members = Members::of(&tool.input.once());
        let mut own = members.cedar(true, &mut Vec::new(), &|_| None);
        own["annotations"] = json!({"doc": format!("{} {} of toolset {}, effect {}", tool.family, tool.name, tool.toolset, tool.effect.name())});
        types.insert(identifier(tool.name), own);
        all.join(&members);
    }
    let mut arguments = all.cedar(false, &mut Vec::new(), &|path| {
        reads.paths.get(path).filter(|kind| **kind != Kind::Present).cloned()
    });
    // what policies read of tools that take anything
    merge(&mut arguments, &reads.schema());
    let mut schema = base(&arguments);
    if !types.is_empty() {
        schema["Arguments"] = json!({"commonTypes": types, "entityTypes": {}, "actions": {}});
    }
    schema
}

/// The same in Cedar's own language.
pub(super) fn text(schema: Value) -> Result<String> {
    let broken = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(error::Kind::Internal, "The schema of policies cannot be written out.").with_source(cause)
    };
    let fragment =
        cedar_policy::SchemaFragment::from_json_value(schema).map_err(|cause| broken(Box::new(cause)))?;
    let text = fragment.to_cedarschema().map_err(|cause| broken(Box::new(cause)))?;
    // nothing here is called like a type of the language, so none has to be told from one
    Ok(text.replace("__cedar::", ""))
}

/// A tool's name as a name of a Cedar type.
fn identifier(name: &str) -> String {
    let plain: String =
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    // words of the language, and names that begin with a digit, are none
    let taken = matches!(
        plain.as_str(),
        "true"
            | "false"
            | "if"
            | "then"
            | "else"
            | "in"
            | "is"
            | "like"
            | "has"
            | "__cedar"
            | "Bool"
            | "Boolean"
            | "Entity"
            | "Extension"
            | "Long"
            | "Record"
            | "Set"
            | "String"
            | "ipaddr"
            | "decimal"
            | "datetime"
            | "duration"
    );
    if taken || plain.starts_with(|first: char| first.is_ascii_digit()) {
        format!("tool_{plain}")
    } else {
        plain
    }
}

/// Adds attributes that are not there yet.
fn merge(into: &mut Value, from: &Value) {
    let Some(from) = from["attributes"].as_object() else { return };
    for (name, kind) in from {
        let known = &mut into["attributes"][name.as_str()];
        if known.is_null() {
            *known = kind.clone();
        } else if known["type"] == "Record" && kind["type"] == "Record" {
            merge(known, kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Effect, Policy};
    use std::collections::BTreeSet;

    #[test]
    fn the_schema_is_one_and_validates_what_the_start_accepts() {
        let (one, other) = (
            json!({
                "type": "object", "required": ["size"], "additionalProperties": false,
                "properties": {
                    "size": {"type": "integer"}, "price": {"type": "number"}, "odd-name": {"type": "string"}, "mixed": {},
                    "tags": {"type": "array", "items": {"type": "string"}}, "address": {"type": "string"},
                    "order": {"type": "object", "properties": {"term": {"type": "integer"}}, "required": ["term"]}
                }
            }),
            json!({"type": "object", "properties": {"size": {"type": "string"}, "zone": {"type": "boolean"}}}),
        );
        let scopes = BTreeSet::new();
        let tool = |name: &'static str, input| Resource {
            name,
            family: "tool",
            effect: Effect::Write,
            toolset: "metal",
            source: "equinix",
            target: None,
            scopes: &scopes,
            input,
        };
        let text_of = |policy: &Policy| {
            policy.schema_text(&mut [tool("servers.create", &one), tool("in", &other)].into_iter()).unwrap()
        };
        let policy = r#"
            permit (principal in Tenant::"acme", action == Action::"call", resource in Connector::"equinix")
            when { context.profile == "staging" && principal.scopes.contains("x") };
            forbid (principal in Role::"ops", action, resource in Toolset::"metal")
            when { context.arguments has address && context.arguments.address.isInRange(ip("10.0.0.0/8")) }
            unless { context.arguments has order && context.arguments.order has term && context.arguments.order.term < 3 };
        "#;
        let loaded = Policy::from_text("own.cedar", policy).unwrap();
        let text = text_of(&loaded);
        for line in ["address\"?: ipaddr", "tags\"?: Set<String>", "size\": Long", "price\"?: decimal"] {
            assert!(text.replace('"', "").contains(&line.replace('"', "")), "{line} in {text}");
        }
        assert!(text.contains("servers_create") && text.contains("tool_in"), "{text}");
        let (schema, _) = cedar_policy::Schema::from_cedarschema_str(&text).unwrap();
        let set: cedar_policy::PolicySet = policy.parse().unwrap();
        let result =
            cedar_policy::Validator::new(schema).validate(&set, cedar_policy::ValidationMode::Strict);
        assert!(
            result.validation_passed(),
            "{:?}",
            result.validation_errors().map(ToString::to_string).collect::<Vec<_>>()
        );
    }
}
