//! Path items -> operations.
//!
//! Owns the walk over `paths`. The idea: an operation that cannot be read is refused by name and the walk goes on;
//! query strings in a path key become parameters that are always sent.
//!
//! Must not: name tools (`names.rs` does, when all operations are known).

use std::collections::HashSet;

use super::convert::Schemas;
use super::effect::effect;
use super::names;
use super::parameters::{Raw, Reader, Version, overrides, text};
use super::refs::{Reason, Spot};
use super::words::{clean, line, quoted};
use crate::connectors::Shape;
use crate::connectors::document::{BodySpec, Operation, Parameter, Place, Refusal, Style};
use crate::json::{Value, json};
use crate::policy::Effect;

pub(super) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
/// Operations of one document.
const OPERATIONS: usize = 50_000;

/// What the walk found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) operations: Vec<Operation>,
    pub(super) refused: Vec<Refusal>,
}

/// Walks over every operation.
pub(super) fn walk(reader: &mut Reader<'_>, found: &mut Found) {
    let Some(Value::Object(paths)) = reader.sources.root().get("paths") else { return };
    for (key, value) in paths {
        if key.starts_with("x-") {
            continue;
        }
        let item = match reader.sources.resolve(Spot { file: 0, value }) {
            Ok(item) => item,
            Err(reason) => {
                found.refused.push(Refusal { place: quoted(key), reason });
                continue;
            }
        };
        for method in METHODS {
            let Some(value) = item.value.get(method) else { continue };
            let place = format!("{} {}", method.to_ascii_uppercase(), quoted(key));
            if found.operations.len() >= OPERATIONS {
                let reason = format!("The document has more than {OPERATIONS} operations.");
                found.refused.push(Refusal { place, reason });
                return;
            }
            let spot = Spot { file: item.file, value };
            match operation(reader, method, key, item, spot) {
                Ok((operation, notes)) => {
                    found.operations.push(operation);
                    for (part, reason) in notes {
                        found.refused.push(Refusal { place: format!("{place} ({part})"), reason });
                    }
                }
                Err(reason) => found.refused.push(Refusal { place, reason }),
            }
        }
    }
}

type Notes = Vec<(String, Reason)>;

fn operation<'a>(
    reader: &mut Reader<'a>,
    method: &str,
    key: &str,
    item: Spot<'a>,
    spot: Spot<'a>,
) -> Result<(Operation, Notes), Reason> {
    let spot = reader.sources.resolve(spot)?;
    if !spot.value.is_object() {
        return Err(String::from("It is not described by an object."));
    }
    let method = method.to_ascii_uppercase();
    // What is behind `#` never goes over the wire; documents tell operations of one address apart by it.
    let (key, fragment) = key.split_once('#').unwrap_or((key, ""));
    let (path, query) = split(key)?;
    let raw = reader.merged(item, spot)?;
    let mut notes = overriding(&raw)?;
    let mut parameters = parameters(reader, &path, &raw)?;
    fixed(&query, &mut parameters)?;
    // Path parameters first, in the order of the path; then as the document has them.
    let order = variables(&path);
    parameters.sort_by_key(|parameter| match parameter.place {
        Place::Path => order.iter().position(|name| *name == parameter.name).unwrap_or(usize::MAX - 1),
        _ => usize::MAX,
    });
    let argument = names::arguments(&mut parameters);
    let mut body = match reader.version {
        Version::Two => reader.older_body(spot, &raw)?,
        _ => reader.body(spot)?,
    };
    if let Some(body) = &mut body {
        body.argument = argument;
    }
    let (responses, answers) = reader.responses(spot);
    notes.extend(answers.into_iter().map(|(status, why)| (format!("answer {}", quoted(&status)), why)));
    let id = line(text(spot.value, "operationId"), 200);
    let id = id.unwrap_or_else(|| names::made_up(&method, &format!("{path} {fragment}")));
    let tags = spot.value.get("tags").and_then(Value::as_array);
    let security = spot.value.get("security").or_else(|| reader.sources.root().get("security"));
    let operation = Operation {
        effect: effect(&method, &path, fragment, &id, &parameters),
        id,
        tool: String::new(),
        summary: line(text(spot.value, "summary"), 200),
        description: clean(text(spot.value, "description"), 800),
        tags: tags.into_iter().flatten().take(20).filter_map(|tag| line(tag.as_str()?, 60)).collect(),
        parameters,
        body,
        responses,
        deprecated: spot.value.get("deprecated") == Some(&Value::Bool(true)),
        permissions: permissions(security),
        method,
        path,
    };
    Ok((operation, notes))
}

/// The scopes and roles of each alternative; one that names none says nothing of what a token needs.
fn permissions(security: Option<&Value>) -> Vec<Vec<String>> {
    let alternatives = security.and_then(Value::as_array).into_iter().flatten().take(8);
    let names = |one: &Value| -> Vec<String> {
        let all = one.as_object().into_iter().flat_map(|schemes| schemes.values());
        all.filter_map(Value::as_array)
            .flatten()
            .take(20)
            .filter_map(|name| line(name.as_str()?, 120))
            .collect()
    };
    alternatives.map(names).filter(|names| !names.is_empty()).collect()
}

/// Parameters that would make another method of the request than the one its effect was judged by are left out.
fn overriding(raw: &Raw<'_>) -> Result<Notes, Reason> {
    let reason = "It would make another method of the request than the one that its effect was judged by.";
    if raw.overriding.iter().any(|(_, required)| *required) {
        return Err(format!("It needs a parameter that is left out: {}", reason.to_lowercase()));
    }
    Ok(raw
        .overriding
        .iter()
        .map(|(name, _)| (format!("parameter {}", quoted(name)), reason.to_owned()))
        .collect())
}

/// Whether the path itself, or a field of a form, names another method: then it can be any.
fn pretends(operation: &Operation) -> bool {
    let field = |body: &BodySpec| {
        let schema = body.schema.value_within(64 << 10);
        let at = |one: &Value| {
            let to = one["$ref"].as_str().and_then(|to| schema.pointer(to.strip_prefix('#')?));
            to.unwrap_or(one)["properties"]
                .as_object()
                .is_some_and(|known| known.keys().any(|name| overrides(name)))
        };
        let whole =
            schema["$ref"].as_str().and_then(|to| schema.pointer(to.strip_prefix('#')?)).unwrap_or(&schema);
        let branches = ["allOf", "anyOf", "oneOf"].iter().filter_map(|of| whole[*of].as_array()).flatten();
        at(&schema) || branches.into_iter().any(at)
    };
    operation.parameters.iter().any(|it| it.place == Place::Query && overrides(&it.name))
        || operation.body.as_ref().is_some_and(|body| body.media_type.contains("form") && field(body))
}

fn parameters<'a>(reader: &mut Reader<'a>, path: &str, raw: &Raw<'a>) -> Result<Vec<Parameter>, Reason> {
    let variables = variables(path);
    let mut out: Vec<Parameter> = Vec::new();
    for (place, spot) in &raw.parameters {
        // A path parameter that the path does not have would go nowhere.
        let name = text(spot.value, "name");
        if *place == Place::Path && !variables.contains(&name) {
            continue;
        }
        // Swagger 2.0 has no cookies, and headers that are never wanted need no reader.
        match reader.parameter(*place, *spot) {
            Ok(mut parameter) => {
                parameter.fixed = sole(&parameter);
                out.push(parameter);
            }
            Err(reason)
                if spot.value.get("required") == Some(&Value::Bool(true)) || *place == Place::Path =>
            {
                return Err(reason);
            }
            Err(reason) if reason.contains("refers") => return Err(reason),
            Err(_) => {}
        }
    }
    for name in variables {
        if !out.iter().any(|parameter| parameter.place == Place::Path && parameter.name == name) {
            out.push(plain(name, Place::Path, Style::Simple, Schemas::plain(json!({"type": "string"}))));
        }
    }
    Ok(out)
}

/// The one text that a parameter which must be given can have: nobody needs to be asked for it.
fn sole(parameter: &Parameter) -> Option<String> {
    let Some(Value::Array(members)) = parameter.schema.root().get("enum") else { return None };
    let [Value::String(only)] = members.as_slice() else { return None };
    let sendable = !only.is_empty() && only.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let asked = parameter.required && parameter.place != Place::Path && parameter.content_type.is_none();
    (sendable && asked).then(|| only.clone())
}

fn plain(name: &str, place: Place, style: Style, schema: Shape) -> Parameter {
    Parameter {
        name: name.to_owned(),
        argument: String::new(),
        place,
        required: true,
        description: None,
        schema,
        fixed: None,
        style,
        explode: place == Place::Query,
        allow_reserved: false,
        content_type: None,
    }
}

/// Adds what a path key says after `?`.
fn fixed(query: &str, parameters: &mut Vec<Parameter>) -> Result<(), Reason> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (name, value) = (decode(name), decode(value));
        if let Some(variable) = value.strip_prefix('{').and_then(|value| value.strip_suffix('}')) {
            // `?version={v}`: the declared parameter goes under the name before the `=`.
            let taken = parameters.iter().any(|it| it.name == name && it.place == Place::Query);
            let declared = parameters
                .iter_mut()
                .find(|it| it.name == variable && it.place != Place::Header && it.fixed.is_none());
            match declared {
                Some(parameter) => {
                    parameter.name = name;
                    parameter.place = Place::Query;
                    parameter.style = Style::Form;
                    parameter.required = true;
                }
                None if taken => {}
                None => {
                    let schema = Schemas::plain(json!({"type": "string"}));
                    parameters.push(plain(&name, Place::Query, Style::Form, schema));
                }
            }
        } else if name.contains(['{', '}']) || value.contains(['{', '}']) {
            return Err(String::from("Its path has a query with a template that cannot be read."));
        } else {
            parameters.retain(|it| !(it.name == name && it.place == Place::Query));
            let schema = Schemas::plain(json!({"type": "string", "const": value}));
            let mut parameter = plain(&name, Place::Query, Style::Form, schema);
            parameter.fixed = Some(value);
            parameters.push(parameter);
        }
    }
    Ok(())
}

/// Path and query of a path key.
fn split(key: &str) -> Result<(String, String), Reason> {
    if key.len() > 2_000 {
        return Err(String::from("Its path is longer than 2000 characters."));
    }
    if key.contains('\\') || key.chars().any(super::words::is_hidden) {
        return Err(String::from("Its path has characters that no path can have."));
    }
    let (path, query) = key.split_once('?').unwrap_or((key, ""));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    for part in path.split('/').skip(1) {
        let decoded = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        let strays = part.matches('{').count() != part.matches('}').count()
            || ["{}", "{{", "}}"].iter().any(|odd| part.contains(odd));
        if decoded == "." || decoded == ".." || decoded.contains('/') || strays {
            return Err(String::from("Its path has a segment that leads elsewhere, or is no template."));
        }
    }
    Ok((path, query.to_owned()))
}

/// The names in braces.
fn variables(path: &str) -> Vec<&str> {
    let mut seen = HashSet::new();
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .filter(|name| seen.insert(*name))
        .collect()
}

/// Takes away what turned out unusable: answers lose their schema, the rest loses the operation.
pub(super) fn settle(
    mut operation: Operation,
    unusable: &[Option<Reason>],
    refused: &mut Vec<Refusal>,
) -> Result<Operation, Refusal> {
    let place = format!("{} {}", operation.method, quoted(&operation.path));
    let reason = |shape: &Shape| {
        shape.part().refs.iter().find_map(|id| unusable.get(*id as usize).and_then(Option::as_ref)).cloned()
    };
    let shapes =
        operation.parameters.iter().map(|it| &it.schema).chain(operation.body.iter().map(|it| &it.schema));
    if let Some(reason) = shapes.into_iter().find_map(reason) {
        return Err(Refusal { place, reason });
    }
    if pretends(&operation) {
        operation.effect = Effect::Destroy;
    }
    for (status, response) in &mut operation.responses {
        if let Some(reason) = response.schema.as_ref().and_then(reason) {
            response.schema = None;
            refused.push(Refusal { place: format!("{place} (answer {})", quoted(status)), reason });
        }
    }
    Ok(operation)
}
