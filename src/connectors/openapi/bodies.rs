//! Bodies and answers of an operation.
//!
//! Owns the choice of a media type. The idea: JSON is sent where it is offered, else a form, else text or bytes; what
//! stands around a body (headers, links, callbacks) is not read.
//!
//! Must not: refuse an operation for an answer that cannot be described.

use indexmap::IndexMap;

use super::convert::{Direction, Schemas};
use super::keywords::{flag, is_bytes};
use super::parameters::{Raw, Reader, Version, collection, style_of, text};
use super::refs::{Reason, Spot};
use super::words::{clean, line};
use crate::connectors::document::{BodySpec, Encoding, Place, ResponseSpec};
use crate::json::{Map, Value, json};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

/// Whether a media type is JSON: `application/json`, `text/json`, `…+json`.
pub(in crate::connectors) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Which of several media types is used.
fn preferred(offered: &[String]) -> Option<&String> {
    let find = |wanted: &dyn Fn(&str) -> bool| offered.iter().find(|media| wanted(&essence(media)));
    find(&|media| media == JSON)
        .or_else(|| find(&|media| is_json(media)))
        .or_else(|| find(&|media| media == MULTIPART))
        .or_else(|| find(&|media| media == FORM))
        .or_else(|| find(&|media| !media.starts_with("multipart/")))
}

/// A media type that can be sent as it stands.
fn legal(media_type: &str) -> bool {
    media_type.len() < 120
        && media_type.contains('/')
        && media_type.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b',')
}

impl<'a> Reader<'a> {
    /// The body of an operation of 3.x.
    pub(super) fn body(&mut self, operation: Spot<'a>) -> Result<Option<BodySpec>, Reason> {
        let Some(value) = operation.value.get("requestBody") else { return Ok(None) };
        let spot = self.sources.resolve(Spot { file: operation.file, value })?;
        let content = spot.value.get("content").and_then(Value::as_object);
        // What has no media type is no body.
        let Some(content) = content.filter(|content| !content.is_empty()) else { return Ok(None) };
        let ranged = |media: &String| {
            if media == "*/*" || media == "application/*" { JSON.into() } else { media.clone() }
        };
        let offered: Vec<String> = content.keys().map(ranged).filter(|media| legal(media)).collect();
        let Some(media_type) = preferred(&offered).cloned() else {
            return Err(String::from("Its body is of a media type that cannot be sent."));
        };
        let entry = content.iter().find(|(media, _)| ranged(media) == media_type).map(|(_, entry)| entry);
        let entry = Spot { file: spot.file, value: entry.unwrap_or(&Value::Null) };
        let mut body = BodySpec {
            required: spot.value.get("required") == Some(&Value::Bool(true)),
            description: spot
                .value
                .get("description")
                .and_then(Value::as_str)
                .and_then(|text| clean(text, 300)),
            schema: Schemas::plain(json!({})),
            binary: false,
            offered,
            encoding: IndexMap::new(),
            argument: String::from("body"),
            media_type,
        };
        let kind = essence(&body.media_type);
        if is_json(&kind) {
            body.schema = self.under(entry.file, entry.value, "schema")?;
        } else if kind == MULTIPART || kind == FORM {
            body.schema = self.under(entry.file, entry.value, "schema")?;
            self.encodings(entry, &mut body.encoding)?;
        } else {
            raw(&mut body, &kind);
        }
        Ok(Some(body))
    }

    fn encodings(&mut self, entry: Spot<'a>, out: &mut IndexMap<String, Encoding>) -> Result<(), Reason> {
        let schema = entry.value.get("schema").unwrap_or(&Value::Null);
        let schema = self.sources.resolve(Spot { file: entry.file, value: schema })?;
        self.binaries(schema, 4, out)?;
        let Some(Value::Object(list)) = entry.value.get("encoding") else { return Ok(()) };
        for (name, hints) in list {
            let hint = out.entry(name.clone()).or_default();
            hint.content_type = hints
                .get("contentType")
                .and_then(Value::as_str)
                .and_then(|types| {
                    types.split(',').map(str::trim).find(|one| legal(one) && !one.contains('*'))
                })
                .map(str::to_owned);
            hint.style = style_of(text(hints, "style"));
            hint.explode = hints.get("explode").and_then(Value::as_bool);
            hint.allow_reserved = hints.get("allowReserved") == Some(&Value::Bool(true));
        }
        Ok(())
    }

    /// Which properties of a form are bytes.
    fn binaries(
        &self,
        schema: Spot<'a>,
        levels: usize,
        out: &mut IndexMap<String, Encoding>,
    ) -> Result<(), Reason> {
        let bytes = |spot: Spot<'a>| -> Result<bool, Reason> {
            let spot = self.sources.resolve(spot)?;
            let items = spot.value.get("items").map(|value| Spot { file: spot.file, value });
            let items = items.map(|items| self.sources.resolve(items)).transpose()?;
            let is = |value: &Value| value.as_object().is_some_and(is_bytes);
            Ok(is(spot.value) || items.is_some_and(|items| is(items.value)))
        };
        if let Some(Value::Object(properties)) = schema.value.get("properties") {
            for (name, value) in properties {
                if bytes(Spot { file: schema.file, value })? {
                    out.entry(name.clone()).or_default().binary = true;
                }
            }
        }
        if let (Some(Value::Array(branches)), Some(levels)) =
            (schema.value.get("allOf"), levels.checked_sub(1))
        {
            for value in branches.iter().take(20) {
                let branch = self.sources.resolve(Spot { file: schema.file, value })?;
                self.binaries(branch, levels, out)?;
            }
        }
        Ok(())
    }

    /// The body of an operation of 2.0: one parameter, or a form of several.
    pub(super) fn older_body(
        &mut self,
        operation: Spot<'a>,
        raw_parameters: &Raw<'a>,
    ) -> Result<Option<BodySpec>, Reason> {
        let own = strings(operation.value.get("consumes"));
        let consumes = if own.is_empty() { self.consumes.clone() } else { own };
        let mut offered: Vec<String> = consumes.into_iter().filter(|media| legal(media)).collect();
        let empty = BodySpec {
            required: false,
            description: None,
            media_type: String::new(),
            schema: Schemas::plain(json!({})),
            binary: false,
            offered: Vec::new(),
            encoding: IndexMap::new(),
            argument: String::from("body"),
        };
        if let Some(spot) = raw_parameters.body {
            offered.retain(|media| essence(media) != FORM && essence(media) != MULTIPART);
            let mut body = BodySpec {
                required: spot.value.get("required") == Some(&Value::Bool(true)),
                description: spot
                    .value
                    .get("description")
                    .and_then(Value::as_str)
                    .and_then(|it| clean(it, 300)),
                media_type: preferred(&offered).cloned().unwrap_or_else(|| JSON.into()),
                schema: self.under(spot.file, spot.value, "schema")?,
                offered,
                ..empty
            };
            let kind = essence(&body.media_type);
            if !is_json(&kind) {
                raw(&mut body, &kind);
            }
            return Ok(Some(body));
        }
        if raw_parameters.form.is_empty() {
            return Ok(None);
        }
        let file = raw_parameters.form.iter().any(|spot| text(spot.value, "type") == "file");
        let multipart = file || !offered.iter().any(|media| essence(media) == FORM);
        let multipart = multipart && (file || offered.iter().any(|media| essence(media) == MULTIPART));
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let mut encoding = IndexMap::new();
        for spot in &raw_parameters.form {
            let name = text(spot.value, "name");
            let shape = self.schemas.shape(*spot, Direction::Request)?;
            properties.insert(name.to_owned(), shape.root().clone());
            if flag(spot.value.as_object().unwrap_or(&Map::new()), "required") {
                required.push(json!(name));
            }
            let (style, explode) = collection(text(spot.value, "collectionFormat"), Place::Query);
            let binary = text(spot.value, "type") == "file";
            let hints =
                Encoding { style: Some(style), explode: Some(explode), binary, ..Encoding::default() };
            encoding.insert(name.to_owned(), hints);
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = Value::Array(required.clone());
        }
        Ok(Some(BodySpec {
            required: !required.is_empty(),
            media_type: String::from(if multipart { MULTIPART } else { FORM }),
            schema: Schemas::plain(schema),
            offered,
            encoding,
            ..empty
        }))
    }

    /// The answers of an operation, and why some of them have no schema.
    pub(super) fn responses(
        &mut self,
        operation: Spot<'a>,
    ) -> (IndexMap<String, ResponseSpec>, Vec<(String, Reason)>) {
        let mut out = IndexMap::new();
        let mut reasons = Vec::new();
        let list = operation.value.get("responses").and_then(Value::as_object);
        for (status, value) in list.into_iter().flatten().take(100) {
            let known = status == "default"
                || (status.len() == 3 && status.starts_with(|c: char| ('1'..='5').contains(&c)));
            if !known || status.starts_with("x-") {
                continue;
            }
            let spec = self
                .sources
                .resolve(Spot { file: operation.file, value })
                .and_then(|spot| self.response(operation, spot));
            let spec = spec.unwrap_or_else(|reason| {
                reasons.push((status.clone(), reason));
                ResponseSpec::default()
            });
            out.insert(status.to_ascii_uppercase().replace("DEFAULT", "default"), spec);
        }
        (out, reasons)
    }

    fn response(&mut self, operation: Spot<'a>, spot: Spot<'a>) -> Result<ResponseSpec, Reason> {
        let mut spec = ResponseSpec {
            description: spot
                .value
                .get("description")
                .and_then(Value::as_str)
                .and_then(|text| line(text, 200)),
            ..ResponseSpec::default()
        };
        let schema;
        if self.version == Version::Two {
            let own = strings(operation.value.get("produces"));
            let produces = if own.is_empty() { self.produces.clone() } else { own };
            schema = spot.value.get("schema");
            // Who produces CSV does so where no schema says what is in it, too.
            let said = preferred(&produces).or(produces.first()).cloned();
            spec.media_type = match schema {
                Some(_) => said.or_else(|| Some(JSON.into())),
                None => said.filter(|media| !is_json(media)),
            };
            spec.example = spot
                .value
                .get("examples")
                .and_then(|list| {
                    list.get(spec.media_type.as_deref().unwrap_or(JSON)).or_else(|| list.get(JSON))
                })
                .cloned();
        } else {
            let content = spot.value.get("content").and_then(Value::as_object);
            let offered: Vec<String> =
                content.map(|content| content.keys().cloned().collect()).unwrap_or_default();
            let Some(media) = preferred(&offered).or(offered.first()) else { return Ok(spec) };
            let entry = content.and_then(|content| content.get(media)).unwrap_or(&Value::Null);
            schema = entry.get("schema");
            spec.example = self.example(Spot { file: spot.file, value: entry });
            spec.media_type = Some(if media == "*/*" { JSON.into() } else { media.clone() });
        }
        spec.schema = schema
            .map(|value| self.schemas.shape(Spot { file: spot.file, value }, Direction::Response))
            .transpose()?;
        Ok(spec)
    }

    fn example(&self, entry: Spot<'a>) -> Option<Value> {
        if let Some(example) = entry.value.get("example") {
            return Some(example.clone());
        }
        let (_, first) = entry.value.get("examples")?.as_object()?.iter().next()?;
        let spot = self.sources.resolve(Spot { file: entry.file, value: first }).ok()?;
        spot.value.get("value").cloned()
    }
}

/// A body that is neither JSON nor a form: text, or bytes as base64.
fn raw(body: &mut BodySpec, kind: &str) {
    let is_text = kind.starts_with("text/")
        || kind.ends_with("/xml")
        || kind.ends_with("+xml")
        || kind.contains("yaml");
    body.binary = !is_text;
    body.schema = Schemas::plain(if is_text {
        json!({"type": "string"})
    } else {
        json!({"type": "string", "contentEncoding": "base64"})
    });
}

pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
