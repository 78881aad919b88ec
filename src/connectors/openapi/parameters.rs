//! Parameters of an operation.
//!
//! Owns [`Reader`], which reads what stands around a schema: parameters here, bodies and answers in `bodies.rs`. The
//! idea: path item and operation level are merged by place and name; what a request must never let a caller choose
//! (credentials, media types, framing) is left out.
//!
//! Must not: decide how a value is written on the wire (`request/` does).

use super::convert::{Direction, Schemas};
use super::keywords::flag;
use super::refs::{Reason, Sources, Spot};
use super::words::{clean, is_hidden};
use crate::connectors::Shape;
use crate::connectors::document::{Parameter, Place, Style};
use crate::json::{Map, Value, json};

/// Parameters of one operation.
const PARAMETERS: usize = 1_000;

/// Headers that belong to us, to the credentials, or to the connection; and those that make another method, address or
/// host of a request than the one its effect was judged by.
const OURS: [&str; 26] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// What frameworks take another method from, as query parameter or field of a form.
const OVERRIDES: [&str; 7] = [
    "_method",
    "__method",
    "http_method",
    "method_override",
    "x_http_method",
    "x_http_method_override",
    "x_method_override",
];

/// Whether a parameter of that name can make another method of a request.
pub(in crate::connectors) fn overrides(name: &str) -> bool {
    OVERRIDES.contains(&name.to_ascii_lowercase().replace('-', "_").as_str())
}

/// The version of OpenAPI, as far as it changes how a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 2.0.
    Two,
    /// 3.0.
    Three,
    /// 3.1 and later.
    Modern,
}

/// Reads the parts of operations.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) schemas: Schemas<'a>,
    pub(super) version: Version,
    /// 2.0: what the whole document consumes and produces.
    pub(super) consumes: Vec<String>,
    pub(super) produces: Vec<String>,
}

/// Parameters as the document has them, merged.
#[derive(Default)]
pub(super) struct Raw<'a> {
    pub(super) parameters: Vec<(Place, Spot<'a>)>,
    /// 2.0: `in: body`.
    pub(super) body: Option<Spot<'a>>,
    /// 2.0: `in: formData`.
    pub(super) form: Vec<Spot<'a>>,
    /// What would have made another method of the request, and whether the document insists on it.
    pub(super) overriding: Vec<(&'a str, bool)>,
}

impl<'a> Reader<'a> {
    /// The parameters of a path item and an operation; the operation's override.
    pub(super) fn merged(&self, path_item: Spot<'a>, operation: Spot<'a>) -> Result<Raw<'a>, Reason> {
        let mut raw = Raw::default();
        for level in [path_item, operation] {
            let Some(Value::Array(list)) = level.value.get("parameters") else { continue };
            for value in list {
                let spot = self.sources.resolve(Spot { file: level.file, value })?;
                self.add(spot, &mut raw);
                if raw.parameters.len() + raw.form.len() > PARAMETERS {
                    return Err(format!("It has more than {PARAMETERS} parameters."));
                }
            }
        }
        Ok(raw)
    }

    fn add(&self, spot: Spot<'a>, raw: &mut Raw<'a>) {
        let name = text(spot.value, "name");
        if matches!(text(spot.value, "in"), "query" | "header") && overrides(name) {
            raw.overriding.push((name, spot.value.get("required") == Some(&Value::Bool(true))));
            return;
        }
        let place = match text(spot.value, "in") {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" if is_ours(name) => return,
            "header" => Place::Header,
            "cookie" => Place::Cookie,
            "body" if self.version == Version::Two => {
                raw.body = Some(spot);
                return;
            }
            "formData" if self.version == Version::Two => {
                raw.form.retain(|other| text(other.value, "name") != name);
                raw.form.push(spot);
                return;
            }
            _ => return,
        };
        let same = |(other, at): &(Place, Spot<'a>)| *other == place && text(at.value, "name") == name;
        match raw.parameters.iter_mut().find(|other| same(other)) {
            Some(other) => other.1 = spot,
            None => raw.parameters.push((place, spot)),
        }
    }

    /// One parameter.
    pub(super) fn parameter(&mut self, place: Place, spot: Spot<'a>) -> Result<Parameter, Reason> {
        let object = spot.value.as_object().ok_or("One of its parameters is no object.")?;
        let name = text(spot.value, "name");
        if name.is_empty() || name.len() > 200 || name.chars().any(|c| is_hidden(c) || c == '\n') {
            return Err(String::from("One of its parameters has no usable name."));
        }
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if matches!(place, Place::Header | Place::Cookie) && !name.chars().all(token) {
            return Err(String::from("One of its header parameters has a name that no header can have."));
        }
        let content = object.get("content").and_then(Value::as_object).and_then(|map| map.iter().next());
        let (schema, content_type) = match content {
            Some((media, content)) => (self.under(spot.file, content, "schema")?, Some(media.clone())),
            None if self.version == Version::Two => (self.schemas.shape(spot, Direction::Request)?, None),
            None => (self.under(spot.file, spot.value, "schema")?, None),
        };
        let schema = if self.version == Version::Two { undescribed(schema) } else { schema };
        let (style, explode) = match self.version {
            Version::Two => collection(text(spot.value, "collectionFormat"), place),
            _ => style(object, place),
        };
        Ok(Parameter {
            name: name.to_owned(),
            argument: String::new(),
            place,
            required: place == Place::Path || object.get("required") == Some(&Value::Bool(true)),
            description: object.get("description").and_then(Value::as_str).and_then(|text| clean(text, 300)),
            schema: if place == Place::Query && flag(object, "allowEmptyValue") {
                schema.or_empty()
            } else {
                schema
            },
            fixed: None,
            style,
            explode,
            allow_reserved: place == Place::Query && object.get("allowReserved") == Some(&Value::Bool(true)),
            content_type,
        })
    }

    /// The schema under a key; anything when there is none.
    pub(super) fn under(&mut self, file: usize, value: &'a Value, key: &str) -> Result<Shape, Reason> {
        match value.get(key) {
            Some(schema) => self.schemas.shape(Spot { file, value: schema }, Direction::Request),
            None => Ok(Schemas::plain(json!({}))),
        }
    }
}

/// In 2.0 the parameter is its own schema; its description is the parameter's, not said twice.
fn undescribed(shape: Shape) -> Shape {
    let mut value = shape.root().clone();
    let Value::Object(object) = &mut value else { return shape };
    if object.shift_remove("description").is_none() || !shape.part().refs.is_empty() {
        return shape;
    }
    Shape::of(value)
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_ours(header: &str) -> bool {
    OURS.contains(&header.to_ascii_lowercase().replace('_', "-").as_str())
}

fn style(object: &Map<String, Value>, place: Place) -> (Style, bool) {
    let named = object.get("style").and_then(Value::as_str).and_then(style_of);
    let style = match (place, named) {
        (Place::Path, Some(style @ (Style::Label | Style::Matrix))) => style,
        (Place::Path | Place::Header, _) => Style::Simple,
        (Place::Query, Some(style @ (Style::SpaceDelimited | Style::PipeDelimited | Style::DeepObject))) => {
            style
        }
        (Place::Query | Place::Cookie, _) => Style::Form,
    };
    let explode = object.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form);
    (style, explode || style == Style::DeepObject)
}

/// A style by its name.
pub(super) fn style_of(name: &str) -> Option<Style> {
    Some(match name {
        "simple" => Style::Simple,
        "label" => Style::Label,
        "matrix" => Style::Matrix,
        "form" => Style::Form,
        "spaceDelimited" => Style::SpaceDelimited,
        "pipeDelimited" => Style::PipeDelimited,
        "deepObject" => Style::DeepObject,
        _ => return None,
    })
}

/// 2.0's `collectionFormat`.
pub(super) fn collection(format: &str, place: Place) -> (Style, bool) {
    match (format, place) {
        ("multi", Place::Query | Place::Cookie) => (Style::Form, true),
        ("ssv", _) => (Style::SpaceDelimited, false),
        ("tsv", _) => (Style::TabDelimited, false),
        ("pipes", _) => (Style::PipeDelimited, false),
        (_, Place::Path | Place::Header) => (Style::Simple, false),
        _ => (Style::Form, false),
    }
}
