//! Which tools somebody has looked at and approved.
//!
//! Owns `bartizan.lock`: reading, comparing and writing it. The idea: a document or a connector that changes under our
//! hands changes what a model is told and what a call does; so what was approved is written down by digest beside the
//! configuration, where whoever publishes the document does not write, and from then on nothing else is served, until a
//! person approves it again. Where the file is, it counts for every connector and document.
//!
//! Must not: approve anything by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::App;
use super::sources::{Brought, Sources};
use crate::config::{Config, ConnectorEntry, OpenApiEntry};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, digest, json};
use crate::ownership::{self, Care, Flaw};
use crate::pipeline::ToolSpec;

/// What the lock says of a tool and of a source; another number, where that is more or less than before.
const VERSION: u8 = 2;
/// Names of tools in one sentence.
const MOST: usize = 6;
const HEAD: &str = "# The tools that somebody has looked at and approved. `bartizan check --pin` writes this file; while it is here,\n\
                    # bartizan serves exactly these, and refuses to start where one has changed. Keep it under version control.\n";

/// `bartizan.lock`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: u8,
    #[serde(default)]
    source: BTreeMap<String, Entry>,
}

/// One connector or document: where it leads, and its tools, each as its effect and the digest of its definition.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The digest of the rest.
    manifest: String,
    /// Where requests and credentials go, and what they are signed with, as far as the connector's own folder says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    origin: BTreeMap<String, String>,
    tools: BTreeMap<String, String>,
    /// Whether toolsets that nobody asked for were left out: then a tool that is not there is not gone.
    #[serde(skip)]
    partly: bool,
}

impl Entry {
    fn digest(&self) -> String {
        digest(&json!([self.origin, self.tools])).hex()
    }
}

/// Where a configuration's lock is, and whether there has to be one.
#[derive(Debug)]
pub struct Pins {
    file: Option<PathBuf>,
    needed: bool,
}

/// How one source stands to what was approved.
#[derive(Debug)]
pub struct Standing {
    /// What the lock calls it.
    pub source: String,
    /// The digest of all its definitions.
    pub manifest: String,
    /// What is not as it was approved; none where nothing differs, or nothing was ever approved.
    pub change: Option<String>,
}

impl Pins {
    /// Has a configuration refuse nothing that has changed, so that it can be looked at.
    pub fn aside(config: &mut Config) -> Self {
        config.looks = true;
        Self { file: config.lock.clone(), needed: config.pinned }
    }

    /// How everything that was made stands; writes nothing.
    pub async fn compare(&self, app: &App) -> Result<Vec<Standing>> {
        let lock = lock(self.file.as_deref(), self.needed)?;
        Ok(standings(lock.as_ref(), &entries(&app.made().await)?))
    }

    /// Approves everything that was made. What is returned says where that is written.
    pub async fn approve(&self, app: &App) -> Result<PathBuf> {
        let bad = |what: &'static str| Err(Error::new(Kind::BadConfig, what));
        let Some(file) = &self.file else {
            return bad(
                "--pin needs a configuration file (--config FILE): bartizan.lock is kept beside it, where whoever \
                 publishes the API document does not write.",
            );
        };
        if !app.stands().is_empty() {
            return bad("--pin approves what is really served; leave practice mode out.");
        }
        let source = entries(&app.made().await)?;
        if source.is_empty() {
            return bad("There is nothing to pin: the configuration names no connector and no API document.");
        }
        write(file, &Lock { version: VERSION, source })?;
        Ok(file.clone())
    }
}

/// Refuses what is not as it was approved.
pub(super) fn enforce(config: &Config, made: &Sources) -> Result<()> {
    if config.practice || config.looks {
        return Ok(());
    }
    let Some(lock) = lock(config.lock.as_deref(), config.pinned)? else { return Ok(()) };
    let standings = standings(Some(&lock), &entries(&made.lists())?);
    match standings.into_iter().find_map(|standing| standing.change) {
        Some(change) => Err(Error::new(Kind::BadConfig, change)),
        None => Ok(()),
    }
}

/// What the lock calls a connector: its name in the configuration, else where it is from there.
pub(super) fn connector(entry: &ConnectorEntry, config: &Config) -> String {
    match &entry.path {
        Some(path) if entry.name.is_empty() => place(path, config),
        _ => entry.name.clone(),
    }
}

/// What the lock calls a document. Never what the document calls itself.
pub(super) fn document(entry: &OpenApiEntry, config: &Config) -> String {
    entry.name.clone().unwrap_or_else(|| place(&entry.file, config))
}

fn place(path: &Path, config: &Config) -> String {
    let folder = config.lock.as_deref().and_then(Path::parent);
    let inside = folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path);
    inside.to_string_lossy().into_owned()
}

fn entries(made: &[Brought]) -> Result<BTreeMap<String, Entry>> {
    let mut out = BTreeMap::new();
    for Brought { source, partly, origin, tools } in made {
        let tools: BTreeMap<String, String> = tools
            .iter()
            .map(|tool| tool.spec())
            .map(|spec| (spec.name.clone(), format!("{} {}", spec.effect.name(), definition(spec))))
            .collect();
        let mut entry = Entry { manifest: String::new(), origin: origin.clone(), tools, partly: *partly };
        entry.manifest = entry.digest();
        if out.insert(source.clone(), entry).is_some() {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "Two connectors or documents are called {source}; give each a `name` of its own to pin them."
                ),
            ));
        }
    }
    Ok(out)
}

/// The digest of what a model is told of a tool and of what a call sends, wherever the API is.
fn definition(spec: &ToolSpec) -> String {
    let target = spec.target.as_deref().map(|target| {
        let (method, address) = target.split_once(' ').unwrap_or(("", target));
        let path = address.split_once("://").map_or(address, |(_, rest)| rest);
        format!("{method} {}", path.split_once('/').map_or("", |(_, path)| path))
    });
    digest(&json!({
        "name": spec.name, "title": spec.title, "description": spec.description, "input": **spec.input.source(),
        "output": spec.output.as_ref().map(|schema| Value::clone(schema.source())), "effect": spec.effect,
        "toolset": spec.toolset, "scopes": spec.scopes, "redact": spec.redact, "target": target,
        "permissions": spec.permissions, "hints": spec.annotations, "wire": spec.wire.map(|wire| wire.hex())
    }))
    .hex()
}

fn lock(file: Option<&Path>, needed: bool) -> Result<Option<Lock>> {
    match file.map(read).transpose()?.flatten() {
        None if needed => Err(missing()),
        lock => Ok(lock),
    }
}

fn standings(lock: Option<&Lock>, made: &BTreeMap<String, Entry>) -> Vec<Standing> {
    let one = |(source, now): (&String, &Entry)| {
        let change = lock.and_then(|lock| match lock.source.get(source) {
            Some(approved) => difference(approved, now),
            None => Some(String::from("it has never been approved")),
        });
        let change = change.map(|what| {
            format!(
                "{source} is not what bartizan.lock approves: {what}. See what it is with `bartizan check`, and approve \
                 it with `bartizan check --pin`."
            )
        });
        Standing { source: source.clone(), manifest: now.manifest.clone(), change }
    };
    made.iter().map(one).collect()
}

fn missing() -> Error {
    Error::new(
        Kind::BadConfig,
        "`pinned = true` asks for a bartizan.lock beside the configuration file, and there is none; look at the tools \
         with `bartizan check`, and approve them with `bartizan check --pin`.",
    )
}

/// What differs: where it leads, by what connector.toml calls it, and by the names of tools.
fn difference(approved: &Entry, now: &Entry) -> Option<String> {
    let (origins, partly) = ((&approved.origin, &now.origin), now.partly);
    let leads = origins.0.keys().chain(origins.1.keys()).collect::<BTreeSet<&String>>().into_iter();
    let elsewhere = leads.filter(|key| origins.0.get(*key) != origins.1.get(*key)).cloned().collect();
    let (approved, now) = (&approved.tools, &now.tools);
    let effect = |said: &str| said.split(' ').next().unwrap_or_default().to_owned();
    let mut effects = Vec::new();
    let mut changed = Vec::new();
    for (name, said) in now {
        match approved.get(name) {
            Some(before) if effect(before) != effect(said) => {
                effects.push(format!("{name} ({}, now {})", effect(before), effect(said)));
            }
            Some(before) if before != said => changed.push(name.clone()),
            _ => {}
        }
    }
    let only = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> Vec<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let parts = [
        ("where requests and credentials go", elsewhere),
        ("another effect", effects),
        ("added", only(now, approved)),
        ("removed", if partly { Vec::new() } else { only(approved, now) }),
        ("changed", changed),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", listed(&names)))
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn read(file: &Path) -> Result<Option<Lock>> {
    let bad = |what: &str| Error::new(Kind::BadConfig, format!("{} {what}.", file.display()));
    let opened = match ownership::open(file, Care::Trusted) {
        Ok(opened) => opened,
        Err(Flaw::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(Flaw::Io(error)) => return Err(bad("cannot be read").with_source(error)),
        Err(Flaw::Said(said)) => {
            return Err(bad(&format!("{said}; who can change it decides what is served")));
        }
    };
    let text = std::io::read_to_string(opened).map_err(|error| bad("cannot be read").with_source(error))?;
    let broken = "is no lock that `bartizan check --pin` wrote; have it written anew";
    let lock: Lock = toml::from_str(&text).map_err(|_| bad(broken))?;
    if lock.version == 1 {
        return Err(bad(
            "was written by an earlier bartizan, which compared less of a tool than what is sent and where; look at the \
             tools with `bartizan check`, and approve them with `bartizan check --pin`",
        ));
    }
    if lock.version != VERSION || !lock.source.values().all(|entry| entry.digest() == entry.manifest) {
        return Err(bad(broken));
    }
    Ok(Some(lock))
}

/// All of it or nothing: a reader never sees a half.
fn write(file: &Path, lock: &Lock) -> Result<()> {
    let bad = |error: std::io::Error| {
        Error::new(Kind::BadConfig, format!("{} cannot be written.", file.display())).with_source(error)
    };
    let text = toml::to_string(lock).map_err(|error| {
        Error::new(Kind::Internal, "The lock cannot be written as text.").with_source(error)
    })?;
    let fresh = file.with_extension("lock.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    let mut opened = options.open(&fresh).map_err(bad)?;
    opened.write_all(format!("{HEAD}{text}").as_bytes()).map_err(bad)?;
    opened.sync_all().map_err(bad)?;
    std::fs::rename(&fresh, file).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_with_effects_first() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, said)| ((*name).to_owned(), (*said).to_owned())).collect()
        };
        let entry = |origin: &[(&str, &str)], tools, partly| Entry {
            manifest: String::new(),
            origin: map(origin),
            tools,
            partly,
        };
        let before = map(&[("a", "read 1"), ("b", "read 2"), ("c", "write 3")]);
        let approved = entry(&[("base", "https://a"), ("hosts", "a")], before, false);
        assert_eq!(difference(&approved, &approved), None);
        let origin = &[("base", "https://a"), ("hosts", "a")];
        let part = entry(origin, map(&[("a", "read 1")]), true);
        assert_eq!(difference(&approved, &part), None, "the rest was not asked for");
        let now = map(&[("a", "destroy 9"), ("b", "read 8"), ("d", "read 4")]);
        assert_eq!(
            difference(&approved, &entry(&[("base", "https://b"), ("credentials", "x")], now, false))
                .unwrap(),
            "where requests and credentials go: base, credentials, hosts; another effect: a (read, now destroy); \
             added: d; removed: c; changed: b"
        );
        let many: BTreeMap<String, String> = (0..20).map(|at| (format!("t{at:02}"), String::new())).collect();
        let many = difference(&entry(&[], map(&[]), false), &entry(&[], many, false)).unwrap();
        assert!(many.ends_with("t05 and 14 more"));
    }
}
