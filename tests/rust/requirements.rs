//! What the product has to do, and which test proves it.
//!
//! Owns the reader of `tests/requirements.toml`. The idea: a requirement has an id, a sentence and a source; a test
//! names in a comment what it proves; what nobody proves, and what nobody required, fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use crate::matrix;

/// One behaviour.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Short, in lower case.
    pub id: String,
    /// The behaviour, in a sentence.
    pub says: String,
    /// A section of the specification, the house, or an issue.
    pub source: String,
    /// The first revision that has it.
    pub since: Option<String>,
    /// The last.
    pub until: Option<String>,
    /// The one transport that has it.
    pub over: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    requirement: Vec<Requirement>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every requirement.
pub fn requirements() -> &'static [Requirement] {
    static READ: OnceLock<Vec<Requirement>> = OnceLock::new();
    READ.get_or_init(|| {
        let text = fs::read_to_string(root().join("tests/requirements.toml")).unwrap();
        toml::from_str::<Document>(&text).unwrap().requirement
    })
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            found.push(path);
        }
    }
}

/// Which files say that they prove what.
fn claims() -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    for folder in ["src", "tests/rust", "tests/python"] {
        sources(&root().join(folder), &mut files);
    }
    let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let line = line.trim_start();
            let claim = line.strip_prefix("// proves: ").or_else(|| line.strip_prefix("# proves: "));
            for id in claim.into_iter().flat_map(|claim| claim.split(", ")) {
                claims.entry(id.trim().to_owned()).or_default().push(file.display().to_string());
            }
        }
    }
    claims
}

#[test]
fn every_requirement_is_proved_and_every_proof_is_required() {
    let mut required = BTreeSet::new();
    for requirement in requirements() {
        let id = requirement.id.as_str();
        assert!(required.insert(id), "{id} is there twice");
        assert!(
            id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{id} is no id"
        );
        assert!(requirement.says.ends_with('.') && requirement.says.len() > 20, "{id} is no sentence");
        assert!(!requirement.source.is_empty(), "{id} has no source");
        let over = requirement.over.as_deref();
        assert!(over.is_none_or(|over| ["stdio", "http"].contains(&over)), "{id}: {over:?} is no transport");
    }
    let claims = claims();
    let unknown: Vec<_> = claims.iter().filter(|(id, _)| !required.contains(id.as_str())).collect();
    assert!(unknown.is_empty(), "proved, but not in requirements.toml: {unknown:?}");
    let driven = matrix::proved();
    let unproved: Vec<_> =
        required.iter().filter(|id| !claims.contains_key(**id) && !driven.contains(**id)).collect();
    assert!(unproved.is_empty(), "in requirements.toml, but no test proves it: {unproved:?}");
}
