//! A parsed API document: operations, and what was refused.
//!
//! Owns [`Document`], [`Operation`] and their parts. The idea: whatever the version (2.0, 3.0, 3.1), afterwards there
//! is one shape; every schema is a [`Shape`], which becomes self-contained JSON Schema 2020-12 when somebody asks
//! for it (`$ref` only to its own `$defs`).
//!
//! Must not: read documents (`openapi/` does) or send requests.

use indexmap::IndexMap;
use serde::Serialize;

use super::shape::Shape;
use crate::json::Value;
use crate::policy::Effect;

/// An API document, read.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// `info.title`, cleaned.
    pub title: String,
    /// `info.version`.
    pub version: String,
    /// Base addresses the document names. Information only: a document never chooses where requests go.
    pub servers: Vec<String>,
    /// Path prefix of the first server (`/v1`), which an operation's path is appended to when the configured base
    /// address has no path of its own; empty or `/…` without a slash at its end.
    pub base_path: String,
    /// Operations in document order.
    pub operations: Vec<Operation>,
    /// What could not be used, and why.
    pub refused: Vec<Refusal>,
}

/// Something that was refused; never fatal for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where: `GET /widgets/{id}`.
    pub place: String,
    /// Why, one sentence of ours.
    pub reason: String,
}

/// One operation.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    /// `operationId`, or what was made up for it; unique.
    pub id: String,
    /// Legal, unique, stable tool name of at most 64 characters.
    pub tool: String,
    /// Upper-case HTTP method.
    pub method: String,
    /// Path template as in the document, beginning with `/`; query strings in the key are moved to parameters.
    pub path: String,
    /// Short description, cleaned.
    pub summary: Option<String>,
    /// Long description, cleaned and shortened.
    pub description: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Parameters, in order.
    pub parameters: Vec<Parameter>,
    /// Body.
    pub body: Option<BodySpec>,
    /// Answers by status (`200`, `4XX`, `default`).
    pub responses: IndexMap<String, ResponseSpec>,
    /// From method, path and id.
    pub effect: Effect,
    /// Whether the document marks it as deprecated.
    pub deprecated: bool,
    /// What a credential needs for it, as far as `security` says: any one of these lists of scopes or roles.
    pub permissions: Vec<Vec<String>>,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "the names are OpenAPI's")]
pub enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

/// How a parameter's arrays and objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs, reason = "the names are OpenAPI's")]
pub enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
    /// Swagger 2.0 `collectionFormat: tsv`.
    TabDelimited,
}

/// One parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Name on the wire.
    pub name: String,
    /// Name among the tool's arguments; unique within the operation.
    pub argument: String,
    /// Where it goes.
    pub place: Place,
    /// Whether it must be given.
    pub required: bool,
    /// What it is, cleaned.
    pub description: Option<String>,
    /// Its schema; [`Shape::value`] makes it self-contained.
    pub schema: Shape,
    /// A value that is always sent and is no argument: `?api-version=1` in a path key.
    pub fixed: Option<String>,
    /// How arrays and objects are written.
    pub style: Style,
    /// Whether each item becomes a parameter of its own.
    pub explode: bool,
    /// Whether reserved characters stay as they are (query only).
    pub allow_reserved: bool,
    /// For `content` parameters: the media type the value is serialised to (JSON).
    pub content_type: Option<String>,
}

/// A request body.
#[derive(Debug, Clone)]
pub struct BodySpec {
    /// Whether it must be given.
    pub required: bool,
    /// What it is, cleaned.
    pub description: Option<String>,
    /// Media type that is sent: JSON if offered, else `multipart/form-data`, else
    /// `application/x-www-form-urlencoded`, else the first.
    pub media_type: String,
    /// Its schema; [`Shape::value`] makes it self-contained.
    pub schema: Shape,
    /// Whether the whole body is bytes: its argument is base64.
    pub binary: bool,
    /// Every media type the document offers.
    pub offered: Vec<String>,
    /// Per property of form bodies: how it is written (`encoding`).
    pub encoding: IndexMap<String, Encoding>,
    /// Name among the tool's arguments (`body` unless a parameter has that name).
    pub argument: String,
}

/// How one property of a form body is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Media type of the part.
    pub content_type: Option<String>,
    /// How arrays and objects are written, where the document says so (form-urlencoded).
    pub style: Option<Style>,
    /// Whether each item becomes a field of its own.
    pub explode: Option<bool>,
    /// Whether reserved characters stay as they are (form-urlencoded).
    pub allow_reserved: bool,
    /// Whether it is bytes: the argument is base64.
    pub binary: bool,
}

impl Encoding {
    /// Whether the document says how lists and objects are written; else a list is repeated and an object is JSON.
    pub fn is_styled(&self) -> bool {
        self.style.is_some() || self.explode.is_some() || self.allow_reserved
    }
}

/// One answer of an operation.
#[derive(Debug, Clone, Default)]
pub struct ResponseSpec {
    /// What it means, cleaned.
    pub description: Option<String>,
    /// Media type, if there is a body.
    pub media_type: Option<String>,
    /// Its schema; [`Shape::value`] makes it self-contained.
    pub schema: Option<Shape>,
    /// An example body.
    pub example: Option<Value>,
}
