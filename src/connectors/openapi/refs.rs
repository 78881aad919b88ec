//! Where a `$ref` leads.
//!
//! Owns [`Sources`]: the document, and the files beneath its folder that it refers to. The idea: everything that can
//! be referred to is read before anything is resolved; addresses elsewhere, paths out of the folder and what does not
//! exist are reasons to refuse one operation, in a sentence.
//!
//! Must not: touch the network, or open a file outside of the folder.

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::read;
use super::words::quoted;
use crate::json::Value;

/// Why something cannot be used: a sentence of ours.
pub(super) type Reason = String;

/// Files that one document may consist of, and their bytes together.
const FILES: usize = 8192;
const BYTES: u64 = 64 << 20;
/// References from one to the next.
const CHAIN: usize = 32;

/// The documents that references can lead into.
pub(super) struct Sources {
    files: Vec<File>,
    /// By the path relative to the folder.
    known: HashMap<PathBuf, Result<usize, Reason>>,
}

struct File {
    /// Relative to the folder; empty for the document itself.
    path: PathBuf,
    value: Value,
    /// Whether a reference into it was resolved.
    used: Cell<bool>,
}

/// A place in one of the sources.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) file: usize,
    pub(super) value: &'a Value,
}

/// A spot and the pointer that leads to it.
pub(super) struct Target<'a> {
    pub(super) spot: Spot<'a>,
    pub(super) pointer: String,
}

impl Sources {
    /// The document and, if there is a folder, what it refers to beneath it.
    pub(super) fn gather(document: Value, folder: Option<&Path>) -> Self {
        let mut sources = Self {
            files: vec![File { path: PathBuf::new(), value: document, used: Cell::new(true) }],
            known: HashMap::new(),
        };
        let Some(folder) = folder.and_then(|folder| folder.canonicalize().ok()) else { return sources };
        let mut bytes = BYTES;
        let mut next = 0;
        while next < sources.files.len() {
            let mut found = Vec::new();
            file_references(&sources.files[next].value, &mut found);
            let base = sources.files[next].path.clone();
            for reference in found {
                let Some(path) = relative(&base, &reference) else { continue };
                if sources.known.contains_key(&path) {
                    continue;
                }
                let read = if sources.files.len() >= FILES {
                    Err(format!("It refers to more than {FILES} other files."))
                } else {
                    open(&folder, &path, &mut bytes)
                };
                let entry = read.map(|value| {
                    sources.files.push(File { path: path.clone(), value, used: Cell::new(false) });
                    sources.files.len() - 1
                });
                sources.known.insert(path, entry);
            }
            next += 1;
        }
        sources
    }

    /// The document itself.
    pub(super) fn root(&self) -> &Value {
        &self.files[0].value
    }

    /// The files beneath the folder that something was made of by now, relative to it.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().skip(1).filter(|file| file.used.get()).map(|file| file.path.as_path())
    }

    /// Every file, the document itself first.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.files.iter().map(|file| &file.value)
    }

    /// Where a file is, relative to the folder; empty for the document itself.
    pub(super) fn path(&self, file: usize) -> &Path {
        self.files.get(file).map_or(Path::new(""), |file| &file.path)
    }

    /// What one reference leads to.
    pub(super) fn target(&self, file: usize, reference: &str) -> Result<Target<'_>, Reason> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if address.is_empty() { file } else { self.file(file, address, reference)? };
        let pointer = percent_decode_str(fragment).decode_utf8_lossy().into_owned();
        let missing = || format!("It refers to {}, which does not exist.", quoted(reference));
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(missing());
        }
        let source = self.files.get(file).ok_or_else(missing)?;
        let value = source.value.pointer(&pointer).ok_or_else(missing)?;
        source.used.set(true);
        Ok(Target { spot: Spot { file, value }, pointer })
    }

    /// Follows `$ref` until something else is there.
    pub(super) fn resolve<'a>(&'a self, spot: Spot<'a>) -> Result<Spot<'a>, Reason> {
        let mut spot = spot;
        for _ in 0..CHAIN {
            match spot.value.get("$ref") {
                Some(Value::String(reference)) => spot = self.target(spot.file, reference)?.spot,
                _ => return Ok(spot),
            }
        }
        Err(String::from("It refers to itself and to nothing else."))
    }

    fn file(&self, from: usize, address: &str, reference: &str) -> Result<usize, Reason> {
        let name = quoted(reference);
        if address.contains("://") || address.starts_with("//") {
            return Err(format!(
                "It refers to another address ({name}), and nothing is fetched for a document."
            ));
        }
        let Some(path) = relative(self.path(from), address) else {
            return Err(format!(
                "It refers to a hidden file, or to one outside of the document's folder ({name})."
            ));
        };
        match self.known.get(&path) {
            Some(Ok(file)) => Ok(*file),
            Some(Err(reason)) => Err(format!("It refers to {name}. {reason}")),
            None => Err(format!(
                "It refers to another file ({name}); this document was given without its folder."
            )),
        }
    }
}

/// Every `$ref` into a file.
fn file_references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                let address = reference.split('#').next().unwrap_or_default();
                if !address.is_empty() && !address.contains("://") && !address.starts_with("//") {
                    out.push(address.to_owned());
                }
            }
            for item in object.values() {
                file_references(item, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                file_references(item, out);
            }
        }
        _ => {}
    }
}

/// The path of `reference`, found in the file `base`, relative to the folder; `None` when it leads out of it, or to what
/// is hidden: nobody publishes a part of an API there, but credentials are kept there.
fn relative(base: &Path, reference: &str) -> Option<PathBuf> {
    let decoded = percent_decode_str(reference).decode_utf8().ok()?;
    let plain = !decoded.starts_with(['/', '\\', '~']) && !decoded.contains(['\\', ':', '\0']);
    let mut path = base.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in decoded.split('/').filter(|_| plain) {
        match part {
            "" | "." => {}
            ".." => {
                if !path.pop() {
                    return None;
                }
            }
            hidden if hidden.starts_with('.') => return None,
            part => path.push(part),
        }
    }
    plain.then_some(path)
}

/// Reads one file beneath the folder; links that lead out of it are refused.
fn open(folder: &Path, path: &Path, left: &mut u64) -> Result<Value, Reason> {
    let missing = || String::from("That file cannot be read.");
    let real = folder.join(path).canonicalize().map_err(|_| missing())?;
    let Ok(inside) = real.strip_prefix(folder) else {
        return Err(String::from("That file is outside of the document's folder."));
    };
    if inside.iter().any(|part| part.to_string_lossy().starts_with('.')) {
        return Err(String::from("That file is hidden."));
    }
    let about = real.metadata().map_err(|_| missing())?;
    if !about.is_file() {
        return Err(missing());
    }
    *left =
        left.checked_sub(about.len()).ok_or("The files of this document are together larger than 64 MiB.")?;
    let bytes = std::fs::read(&real).map_err(|_| missing())?;
    read::read(&bytes, "That file").map_err(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_stay_beneath_the_folder() {
        let at = |base: &str, reference: &str| relative(Path::new(base), reference);
        assert_eq!(at("", "a.yaml"), Some(PathBuf::from("a.yaml")));
        assert_eq!(at("sub/x.yaml", "../a.yaml"), Some(PathBuf::from("a.yaml")));
        for out in [
            "../a.yaml",
            "/etc/passwd",
            "sub/../../a",
            "%2e%2e/a",
            "C:/x",
            "~/x",
            "a\\..\\b",
            ".env",
            "a/.git/x",
            "%2eenv",
            "./.x/a.json",
        ] {
            assert_eq!(at("", out), None, "{out}");
        }
    }

    #[test]
    fn chains_are_followed_and_circles_are_refused() {
        let document = json!({"a": {"$ref": "#/b~1c"}, "b/c": {"$ref": "#/d"}, "d": 1, "x": {"$ref": "#/x"}});
        let sources = Sources::gather(document, None);
        let at = |name: &str| Spot { file: 0, value: &sources.root()[name] };
        assert_eq!(sources.resolve(at("a")).map(|spot| spot.value.clone()), Ok(json!(1)));
        assert!(sources.resolve(at("x")).is_err_and(|reason| reason.contains("itself")));
        for (reference, word) in [
            ("http://evil.example/x.yaml#/a", "fetched"),
            ("//evil.example/x", "fetched"),
            ("file:///etc/passwd", "fetched"),
            ("../x.yaml#/a", "outside"),
            ("x.yaml", "without its folder"),
            ("#/nowhere", "does not exist"),
            ("#nowhere", "does not exist"),
        ] {
            let reason = sources.target(0, reference).err().unwrap_or_default();
            assert!(reason.contains(word), "{reference}: {reason}");
        }
    }
}
