//! What Python says of a tool, as a [`ToolSpec`]; and its questions.
//!
//! Owns [`Described`]. The idea: Python hands over plain data in the protocol's own words, and serde reads it.
//!
//! Must not: fill in defaults that Python did not give; only the hints about an effect follow from the effect.

use std::collections::BTreeSet;
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;

use super::convert;
use crate::json::{Map, Value};
use crate::pipeline::{Family, Tasking, ToolSpec};
use crate::policy::Effect;
use crate::protocol::types::{Ask, Asks, Icon, PromptArgument};
use crate::schema::LazySchema;

/// What a record of `bartizan.tool` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    family: String,
    name: String,
    title: Option<String>,
    description: Option<String>,
    input: Value,
    output: Option<Value>,
    effect: String,
    toolset: String,
    #[serde(default)]
    scopes: BTreeSet<String>,
    timeout: Option<f64>,
    task: Option<SaidTask>,
    annotations: Option<Value>,
    #[serde(default)]
    icons: Vec<Icon>,
    meta: Option<Map<String, Value>>,
    #[serde(default)]
    redact: Vec<String>,
    uri: Option<String>,
    mime_type: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    arguments: Vec<PromptArgument>,
}

/// What a `bartizan.Task` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SaidTask {
    required: bool,
    late: bool,
}

/// Reads a specification.
pub(super) fn read(data: &Bound<'_, PyAny>) -> PyResult<ToolSpec> {
    let said: Described = convert::typed(data)?;
    let bad = |what: &'static str| PyTypeError::new_err(what);
    let mut spec = ToolSpec::new(said.name);
    let uri = said.uri.unwrap_or_default();
    spec.family = match said.family.as_str() {
        "tool" => Family::Tool,
        "resource" => Family::Resource { uri, mime_type: said.mime_type, size: said.size },
        "template" => Family::Template { uri_template: uri, mime_type: said.mime_type },
        "prompt" => Family::Prompt { arguments: said.arguments },
        _ => return Err(bad("an unknown family")),
    };
    spec.effect = match said.effect.as_str() {
        "read" => Effect::Read,
        "write" => Effect::Write,
        "destroy" => Effect::Destroy,
        _ => return Err(bad("an unknown effect")),
    };
    if let Some(hints) = said.annotations {
        let shape = |_| bad("annotations that the protocol does not know");
        if spec.family == Family::Tool {
            spec.annotations = serde_json::from_value(hints).map_err(shape)?;
        } else {
            spec.resource_annotations = Some(serde_json::from_value(hints).map_err(shape)?);
        }
    }
    if spec.family == Family::Tool {
        let hints = &mut spec.annotations;
        hints.read_only_hint = hints.read_only_hint.or(Some(spec.effect == Effect::Read));
        if spec.effect != Effect::Read {
            hints.destructive_hint = hints.destructive_hint.or(Some(spec.effect == Effect::Destroy));
        }
    }
    spec.timeout = match said.timeout {
        None => None,
        Some(seconds) => {
            Some(Duration::try_from_secs_f64(seconds).map_err(|_| bad("an impossible timeout"))?)
        }
    };
    spec.task = said.task.map(|task| Tasking { required: task.required, late: task.late });
    spec.title = said.title;
    spec.description = said.description;
    spec.input = LazySchema::new(said.input);
    spec.output = said.output.map(LazySchema::new);
    spec.toolset = said.toolset;
    spec.source = String::from("python");
    spec.scopes = said.scopes;
    spec.icons = said.icons;
    spec.meta = said.meta;
    spec.redact = said.redact;
    Ok(spec)
}

/// Reads the questions of an `Asked`.
pub(super) fn asks(raised: &Bound<'_, PyAny>) -> PyResult<Asks> {
    let mut asks = Asks::new();
    for (key, item) in raised.getattr("asks")?.cast::<PyDict>()?.iter() {
        asks.insert(key.extract()?, ask(&item)?);
    }
    Ok(asks)
}

/// Reads one question.
pub(super) fn ask(data: &Bound<'_, PyAny>) -> PyResult<Ask> {
    #[derive(Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Wire {
        Form { message: String, schema: Value },
        Url { message: String, url: String },
        Sample { params: Value },
        Roots,
    }
    Ok(match convert::typed(data)? {
        Wire::Form { message, schema } => Ask::Form { message, schema },
        Wire::Url { message, url } => Ask::Url { message, url },
        Wire::Sample { params } => Ask::Sample(params),
        Wire::Roots => Ask::Roots,
    })
}
