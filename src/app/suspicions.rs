//! What the configured documents say that sounds as if it were meant for a model.
//!
//! Owns [`suspicions`]: the texts of documents and of connectors' own descriptions, each with the tool it is part of. The
//! idea: a person reads what sounds like an order before it stands in a model's context; what another source's tool is
//! called has no business in a description either.
//!
//! Must not: repeat a text.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::App;
use crate::catalog::List;
use crate::config::Config;
use crate::connectors::manifest::Manifest;
use crate::connectors::{document_at, document_path, openapi, suspects_at, tool_name};
use crate::error::Result;
use crate::json::Value;
use crate::pipeline::ToolSpec;

/// A text that should be read by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The connector or document.
    pub source: String,
    /// The tool whose description it is; none for what several may share.
    pub tool: Option<String>,
    /// Where it is.
    pub place: String,
    /// What it sounds like.
    pub labels: Vec<&'static str>,
}

/// Everything in the configured documents and connectors that sounds like more than a description.
pub fn suspicions(config: &Config) -> Result<Vec<Suspicion>> {
    let mut out = Vec::new();
    for entry in &config.connector {
        let Some(folder) = &entry.path else { continue };
        let manifest = Manifest::read(folder)?;
        let overlays: Vec<PathBuf> = manifest.overlays.iter().map(|name| folder.join(name)).collect();
        of_document(&document_path(folder, &manifest)?, &overlays, &manifest, &mut out)?;
        for operation in &manifest.operations {
            let said = [("title", &operation.title), ("description", &operation.description)];
            for (what, text) in said {
                let labels = text.as_deref().map(openapi::labels).unwrap_or_default();
                if !labels.is_empty() {
                    out.push(Suspicion {
                        source: manifest.name.clone(),
                        tool: operation.tool.clone(),
                        place: format!("{what} in connector.toml"),
                        labels,
                    });
                }
            }
        }
    }
    for entry in &config.openapi {
        of_document(&entry.file, &entry.overlays, &Manifest::default(), &mut out)?;
    }
    Ok(out)
}

fn of_document(
    file: &Path,
    overlays: &[PathBuf],
    manifest: &Manifest,
    out: &mut Vec<Suspicion>,
) -> Result<()> {
    let found = suspects_at(file, overlays)?;
    if found.is_empty() {
        return Ok(());
    }
    let document = document_at(file, overlays)?;
    let source = if manifest.name.is_empty() { document.title.clone() } else { manifest.name.clone() };
    let tools: HashMap<(&str, &str), String> = document
        .operations
        .iter()
        .map(|it| ((it.method.as_str(), it.path.as_str()), tool_name(it, manifest)))
        .collect();
    out.extend(found.into_iter().map(|suspect| {
        let tool = suspect.operation.as_ref().and_then(|(method, key)| {
            let path = key.split('?').next().unwrap_or_default();
            tools.get(&(method.as_str(), path)).cloned()
        });
        Suspicion { source: source.clone(), tool, place: suspect.place, labels: suspect.labels }
    }));
    Ok(())
}

impl App {
    /// Tools whose texts name a tool of another source.
    pub fn cross_mentions(&self) -> Vec<Suspicion> {
        let now = self.catalog().now();
        let specs: Vec<&ToolSpec> = now.list(List::Tools).iter().map(|entry| entry.spec()).collect();
        // A word alone, such as `echo`, is no mention.
        let names: BTreeMap<&str, (&str, &str)> = specs
            .iter()
            .filter(|spec| spec.name.contains(['_', '-']))
            .map(|spec| (spec.name.as_str(), origin(spec)))
            .collect();
        let mut out = Vec::new();
        for spec in specs.iter().filter(|spec| spec.source != "python" && spec.source != "builtin") {
            let mut mentions = |text: &str, place: &str| {
                let word = |c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c));
                let other = |word: &str| {
                    names.get(word.trim_matches('.')).is_some_and(|whose| *whose != origin(spec))
                };
                if text.split(word).any(other) {
                    out.push(Suspicion {
                        source: spec.toolset.clone(),
                        tool: Some(spec.name.clone()),
                        place: place.to_owned(),
                        labels: vec!["other-tool"],
                    });
                }
            };
            mentions(spec.description.as_deref().unwrap_or_default(), "its description");
            described(spec.input.source(), 0, &mut |text| mentions(text, "the description of its arguments"));
        }
        out.dedup();
        out
    }
}

/// Where a tool comes from: a connector may have several toolsets, and all documents are `openapi`.
fn origin(spec: &ToolSpec) -> (&str, &str) {
    (&spec.source, if spec.source == "openapi" { &spec.toolset } else { "" })
}

fn described(value: &Value, depth: usize, each: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) if depth < 120 => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => each(text),
                    member => described(member, depth + 1, each),
                }
            }
        }
        Value::Array(items) if depth < 120 => items.iter().for_each(|item| described(item, depth + 1, each)),
        _ => {}
    }
}
