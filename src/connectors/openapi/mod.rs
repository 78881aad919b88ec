//! An OpenAPI document (2.0, 3.0, 3.1) -> operations.
//!
//! Owns [`load`]. The idea: the document is read once; each operation stands or falls alone, and what falls is named
//! with its reason; schemas are shared and cycles survive as `$defs`.
//!
//! Must not: fetch anything, or believe what a document says of hosts.

mod bodies;
mod convert;
mod cycles;
mod effect;
mod facts;
mod keywords;
mod names;
mod overlay;
mod parameters;
mod paths;
mod read;
mod refs;
mod suspects;
mod words;

use std::path::Path;

pub(super) use bodies::is_json;
pub(super) use effect::{LOOKING, words as words_of};
pub(super) use facts::{Facts, Scheme, SchemeKind};
pub use overlay::Overlay;
pub(super) use parameters::overrides;
pub use suspects::{Suspect, labels};

use self::bodies::strings;
use self::convert::Schemas;
use self::parameters::{Reader, Version, text};
use self::paths::Found;
use self::refs::Sources;
use super::document::{Document, Operation, Refusal};
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// What is said of a pattern that is not matched here.
pub(super) const UNCHECKED_PATTERN: &str = "(The upstream also checks a pattern that is not checked here.)";

/// Reads a document. With a folder, references to files beneath it are followed.
///
/// What cannot be used is in [`Document::refused`]; the error is for what is no OpenAPI document at all.
pub fn load(bytes: &[u8], folder: Option<&Path>) -> Result<Document> {
    load_overlaid(bytes, folder, &[])
}

/// The same, with overlays applied first, in their order.
pub fn load_overlaid(bytes: &[u8], folder: Option<&Path>, overlays: &[Overlay]) -> Result<Document> {
    let (sources, version, unapplied) = open(bytes, folder, overlays)?;
    let mut document = document(&sources, version);
    document.refused.splice(0..0, unapplied);
    Ok(document)
}

/// The same, with what a connector's manifest is made of beside the operations.
pub(super) fn survey(bytes: &[u8], folder: Option<&Path>, overlays: &[Overlay]) -> Result<(Document, Facts)> {
    let (sources, version, unapplied) = open(bytes, folder, overlays)?;
    let mut document = document(&sources, version);
    document.refused.splice(0..0, unapplied);
    let facts = Facts::of(&sources);
    Ok((document, facts))
}

fn open(
    bytes: &[u8],
    folder: Option<&Path>,
    overlays: &[Overlay],
) -> Result<(Sources, Version, Vec<Refusal>)> {
    let mut value = read::read(bytes, "The API document")?;
    let mut budget = overlay::Budget::default();
    let unapplied = overlays.iter().flat_map(|overlay| overlay.apply(&mut value, &mut budget)).collect();
    let version = version(&value)?;
    if !value.get("paths").is_some_and(Value::is_object) {
        return Err(Error::new(
            Kind::BadConfig,
            "The API document has no paths, so there is nothing to call; give an OpenAPI document with operations.",
        ));
    }
    Ok((Sources::gather(value, folder), version, unapplied))
}

/// Words of a document on one line, cleaned and shortened.
pub(super) fn line(text: &str, limit: usize) -> Option<String> {
    words::line(text, limit)
}

/// Whether a character shows nothing, or changes how others are shown.
pub(super) fn is_hidden(character: char) -> bool {
    words::is_hidden(character)
}

/// What a document, with overlays applied, says that sounds as if it were meant for a model.
pub fn suspects(bytes: &[u8], folder: Option<&Path>, overlays: &[Overlay]) -> Result<Vec<Suspect>> {
    let (sources, ..) = open(bytes, folder, overlays)?;
    Ok(suspects::suspects(&sources))
}

/// Text of a web page without its markup, shortened.
pub(super) fn plain_text(text: &str, limit: usize) -> Option<String> {
    words::clean(text, limit)
}

fn document(sources: &Sources, version: Version) -> Document {
    let root = sources.root();
    let mut reader = Reader {
        sources,
        schemas: Schemas::new(sources, version == Version::Modern),
        version,
        consumes: strings(root.get("consumes")),
        produces: strings(root.get("produces")),
    };
    let mut found = Found::default();
    paths::walk(&mut reader, &mut found);
    let unusable = reader.schemas.finish();
    let mut refused = found.refused;
    let mut operations: Vec<Operation> = Vec::with_capacity(found.operations.len());
    for operation in found.operations {
        match paths::settle(operation, &unusable, &mut refused) {
            Ok(operation) => operations.push(operation),
            Err(refusal) => refused.push(refusal),
        }
    }
    names::tools(&mut operations);
    let info = root.get("info").unwrap_or(&Value::Null);
    let servers = servers(root, version);
    Document {
        title: words::line(text(info, "title"), 120).unwrap_or_default(),
        version: match info.get("version") {
            Some(Value::String(version)) => words::line(version, 40).unwrap_or_default(),
            Some(Value::Number(version)) => version.to_string(),
            _ => String::new(),
        },
        base_path: servers.first().map(|server| base_path(server)).unwrap_or_default(),
        servers,
        operations,
        refused,
    }
}

fn version(document: &Value) -> Result<Version> {
    let bad = |what: &'static str| Err(Error::new(Kind::BadConfig, what));
    let said = |key: &str| match document.get(key) {
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    match (said("openapi"), said("swagger")) {
        (Some(version), _) if version.starts_with("3.0") => Ok(Version::Three),
        (Some(version), _) if version.starts_with("3.1") || version.starts_with("3.2") => Ok(Version::Modern),
        (None, Some(version)) if version == "2" || version.starts_with("2.") => Ok(Version::Two),
        (None, None) => bad(
            "This is not an OpenAPI document: it has neither `openapi: 3.x` nor `swagger: 2.0`; give the API's own document.",
        ),
        _ => {
            bad("The API document says a version of OpenAPI other than 2.0, 3.0 or 3.1; only those are read.")
        }
    }
}

fn servers(root: &Value, version: Version) -> Vec<String> {
    if version == Version::Two {
        let (host, base) = (text(root, "host"), text(root, "basePath"));
        if host.is_empty() && base.is_empty() {
            return Vec::new();
        }
        let schemes = strings(root.get("schemes"));
        let scheme =
            schemes.iter().find(|it| *it == "https").or(schemes.first()).map_or("https", String::as_str);
        let host = if host.is_empty() { "localhost" } else { host };
        let base = base.trim_matches('/');
        return words::line(&format!("{scheme}://{host}/{base}"), 300).into_iter().collect();
    }
    let list = root.get("servers").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .take(20)
        .filter_map(|server| {
            let mut url = text(server, "url").to_owned();
            let variables = server.get("variables").and_then(Value::as_object);
            for (name, variable) in variables.into_iter().flatten().take(20) {
                url = url.replace(&format!("{{{name}}}"), text(variable, "default"));
            }
            words::line(&url, 300)
        })
        .collect()
}

/// The path of a server's address, if it can be used as a prefix.
fn base_path(server: &str) -> String {
    let after = server.split_once("://").map_or(server, |(_, rest)| rest);
    let path = if server.contains("://") || server.starts_with("//") {
        after.trim_start_matches('/').split_once('/').map_or("", |(_, path)| path)
    } else {
        after
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:@!$&'()*+,;=".contains(&byte))
    };
    if path.is_empty() || !path.split('/').all(plain) { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests;
