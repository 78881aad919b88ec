//! Arguments that HTTP headers repeat (`x-mcp-header`).
//!
//! Owns [`Mirror`]. The idea: the rules of the specification are checked when a tool is registered, so that a request
//! only has to compare.
//!
//! Must not: see a request.

use crate::json::Value;

/// One annotated argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// What follows `Mcp-Param-`, in lower case.
    pub header: String,
    /// The chain of property names that leads to the argument.
    pub path: Vec<String>,
}

const ANNOTATION: &str = "x-mcp-header";
/// Keywords whose values are data, not schemas.
const DATA: &[&str] = &["default", "examples", "example", "const", "enum"];

/// The annotated arguments of an input schema, or what is wrong with one.
pub(super) fn collect(input: &Value) -> Result<Vec<Mirror>, &'static str> {
    let mut found = Vec::new();
    if input.get(ANNOTATION).is_some() {
        return Err("has `x-mcp-header` on the whole schema; it belongs on a property");
    }
    walk(input, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn walk(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Mirror>) -> Result<(), &'static str> {
    let Some(keywords) = schema.as_object() else { return Ok(()) };
    for (keyword, value) in keywords {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name.clone());
                    if let Some(annotation) = property.get(ANNOTATION) {
                        let header = header_name(annotation)?;
                        if !matches!(
                            property.get("type").and_then(Value::as_str),
                            Some("string" | "integer" | "boolean")
                        ) {
                            return Err(
                                "has `x-mcp-header` on a property that is no string, integer or boolean",
                            );
                        }
                        if found.iter().any(|other| other.header == header) {
                            return Err("uses one `x-mcp-header` for two properties");
                        }
                        found.push(Mirror { header, path: path.clone() });
                    }
                    walk(property, path, found)?;
                    path.pop();
                }
            }
            (ANNOTATION, _) => {}
            (data, _) if DATA.contains(&data) => {}
            _ if annotated(value) => {
                return Err("has `x-mcp-header` where no chain of `properties` leads to it");
            }
            _ => {}
        }
    }
    Ok(())
}

fn annotated(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| key == ANNOTATION || annotated(value)),
        Value::Array(items) => items.iter().any(annotated),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn header_name(annotation: &Value) -> Result<String, &'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match annotation.as_str() {
        Some(name) if !name.is_empty() && name.bytes().all(token) => Ok(name.to_ascii_lowercase()),
        _ => Err("has an `x-mcp-header` that is no header name"),
    }
}
