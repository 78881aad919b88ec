//! A document -> a connector's folder.
//!
//! Owns [`Import`]. The idea: a document says a lot that a person would otherwise write into `connector.toml`; what is
//! certain becomes a setting, what is likely a remark, and what is dangerous is said aloud. Where requests go and how they
//! are signed is never taken from a document.
//!
//! Must not: write a file (the command does), or make anything weaker than the document alone would be.

mod access;
mod dangers;
mod groups;
mod members;
mod noise;
mod paging;
mod report;
mod secrets;
mod signed;
mod write;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use url::Url;

pub use dangers::Why;
pub use report::{Answers, Danger, Effects, Group, Noise, Paged, Quota, Redacted, Report, Unmapped};

use self::noise::Gather;
use super::document::{Document, Operation};
use super::manifest::{Manifest, Override};
use super::openapi::{self, Facts, is_json};
use super::request::Base;
use super::{name_of, read_with};
use crate::error::{Error, Kind, Result};
use crate::policy::Effect;
use crate::redaction::{Config, Redactor};

/// Operations that are named where none can be used.
const REASONS: usize = 20;
/// Media types that are told apart.
const MEDIA: usize = 200;

/// What the person who imports says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What to call the connector; made of the document's title unless given.
    pub name: Option<String>,
    /// Where requests go.
    pub base: Option<Url>,
    /// Whether `base` may be plain HTTP beyond this machine.
    pub plain_http: bool,
    /// Overlays to apply first.
    pub overlays: Vec<PathBuf>,
}

/// A connector's folder, not yet written.
#[derive(Debug, Clone)]
pub struct Import {
    /// The manifest that [`Import::text`] says.
    pub manifest: Manifest,
    /// `connector.toml`.
    pub text: String,
    /// Files to copy: from where, and to where beneath the folder.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// What was found.
    pub report: Report,
}

impl Import {
    /// Reads a document and says what its connector would be.
    pub fn of(path: &Path, options: &Options) -> Result<Self> {
        let (document, facts) = read_with(path, &options.overlays, openapi::survey)?;
        if document.operations.is_empty() {
            return Err(bad(&unusable(&document)));
        }
        let (files, manifest) = folder(path, &facts, named(path, &document, options)?, &options.overlays);
        let (noise, report) = (Gather::new(&document.operations), Report::default());
        let draft = Draft { document: &document, facts: &facts, manifest, report, noise };
        draft.finish(files)
    }
}

/// Says why nothing of a document can be used.
fn unusable(document: &Document) -> String {
    let mut said = String::from("No operation of the document can be used.");
    for one in document.refused.iter().take(REASONS) {
        let _ = write!(said, "\n  {}: {}", one.place, one.reason);
    }
    if let Some(more) = document.refused.len().checked_sub(REASONS).filter(|more| *more > 0) {
        let _ = write!(said, "\n  and {more} more");
    }
    said
}

fn bad(what: &str) -> Error {
    Error::new(Kind::BadConfig, what.to_owned())
}

/// The manifest as far as the person says it.
fn named(path: &Path, document: &Document, options: &Options) -> Result<Manifest> {
    let legal = |name: &str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let name = match &options.name {
        Some(name) if legal(name) => name.clone(),
        Some(_) => return Err(bad("--name must be 1 to 32 of the characters A-Z a-z 0-9 _ -.")),
        None => {
            let title = if document.title.is_empty() {
                path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
            } else {
                document.title.clone()
            };
            name_of(&title)
        }
    };
    if super::BUILT_IN.iter().any(|known| known.name == name) {
        return Err(bad("A built-in connector has that name; choose another with --name."));
    }
    if super::is_own_source(&name) || super::is_own_toolset(&name) {
        return Err(bad("bartizan itself uses that name; choose another with --name."));
    }
    if let Some(base) = &options.base {
        if let Some(flaw) = Base::flaw(base) {
            return Err(bad(&format!("--base-url {flaw}.")));
        }
        let plain = base.scheme() == "http" && !access::is_loopback(base) && !options.plain_http;
        if plain {
            return Err(bad(
                "--base-url is plain HTTP, over which anybody on the way reads and changes what is sent; give the https \
                 address, or say --plain-http if there is none.",
            ));
        }
    }
    Ok(Manifest {
        name,
        title: (!document.title.is_empty()).then(|| document.title.clone()),
        base: options.base.clone(),
        overlays: options.overlays.iter().map(|overlay| file_name(overlay, "overlay.yaml")).collect(),
        ..Manifest::default()
    })
}

/// A file's own name, if a manifest may name it so.
fn file_name(path: &Path, otherwise: &str) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let legal = !name.starts_with('.')
        && name.len() <= 100
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if legal && !name.is_empty() { name } else { otherwise.to_owned() }
}

/// What is copied to where, and the document's name among it.
fn folder(
    path: &Path,
    facts: &Facts,
    mut manifest: Manifest,
    overlays: &[PathBuf],
) -> (Vec<(PathBuf, PathBuf)>, Manifest) {
    let json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    // What refers back to the document knows it by its own name.
    let name = file_name(path, if json { "openapi.json" } else { "openapi.yaml" });
    let beside = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut files = vec![(path.to_path_buf(), PathBuf::from(&name))];
    files.extend(facts.files.iter().map(|file| (beside.join(file), file.clone())));
    files.extend(overlays.iter().cloned().zip(manifest.overlays.iter().map(PathBuf::from)));
    manifest.document = Some(name);
    (files, manifest)
}

/// A manifest in the making.
struct Draft<'a> {
    document: &'a Document,
    facts: &'a Facts,
    manifest: Manifest,
    report: Report,
    noise: Gather<'a>,
}

impl<'a> Draft<'a> {
    fn finish(mut self, files: Vec<(PathBuf, PathBuf)>) -> Result<Import> {
        self.manifest.toolsets = groups::groups(&self.document.operations, self.facts);
        let redactor = Redactor::new(&Config::default())?;
        let mut remarks = HashMap::new();
        let document = self.document;
        for operation in &document.operations {
            let (own, lines) = self.opinion(operation, &redactor);
            if own != (Override { id: operation.id.clone(), ..Override::default() }) || !lines.is_empty() {
                remarks.insert(operation.id.clone(), lines);
                self.manifest.operations.push(own);
            }
        }
        self.manifest.health = health(&self.document.operations).map(|operation| operation.id.clone());
        let answers = self.noise.answers();
        self.report.answers.json = answers.0;
        self.report.noise = std::mem::take(&mut self.noise).proposals();
        let noise = self.report.noise.clone();
        let dropped = noise.iter().filter(|one| one.left_out).map(|one| one.drop.clone());
        self.manifest.response.drop = dropped.collect();
        let (quota, why) = access::quota(self.facts);
        self.manifest.quota = Some(quota);
        let hosts = access::hosts(&self.document.servers);
        let proposals = access::proposals(&self.manifest.name, self.facts);
        let text = write::text(
            &self.manifest,
            &write::Remarks {
                top: self.top(),
                hosts: &hosts,
                quota: why.clone(),
                proposals: &proposals,
                noise: &noise,
                answers,
                operations: remarks,
            },
        );
        self.report(&proposals, why);
        // What is written has to say what is meant, whatever the document's words are.
        let read = Manifest::parse(&text, "connector.toml")?;
        if read != self.manifest {
            return Err(Error::new(
                Kind::Internal,
                "The manifest that was made of the document does not say what was meant, so it is not written.",
            ));
        }
        check_names(&files)?;
        Ok(Import { manifest: self.manifest, text, files, report: self.report })
    }

    /// What is special about an operation, and what is said of that.
    fn opinion(&mut self, operation: &'a Operation, redactor: &Redactor) -> (Override, Vec<String>) {
        let mut own = Override { id: operation.id.clone(), ..Override::default() };
        let (mut lines, mut looks) = (Vec::new(), false);
        let line = format!("{} {}", operation.method, operation.path);
        let judged = dangers::judge(operation);
        let effect = judged.effect.unwrap_or(operation.effect);
        self.report.effects.count(effect);
        if !judged.why.is_empty() {
            let says: Vec<&str> = judged.why.iter().map(|why| why.says()).collect();
            lines.push(format!("{line}: {}", says.join("; ")));
            looks = judged.why.contains(&Why::WordsSayLess);
            own.effect = (effect != Effect::Read && !looks).then_some(effect);
            self.report.dangers.push(Danger {
                operation: operation.id.clone(),
                tool: operation.tool.clone(),
                method: operation.method.clone(),
                path: operation.path.clone(),
                effect,
                why: judged.why,
            });
        }
        let success = operation.responses.iter().find(|(status, _)| status.starts_with('2'));
        let Some((_, success)) = success.filter(|(_, answer)| answer.media_type.is_some()) else {
            let empty =
                success.is_some_and(|(status, answer)| status == "204" || answer.description.is_some());
            self.report.answers.unsaid += usize::from(!empty);
            return (own, lines);
        };
        if !success.media_type.as_deref().is_some_and(is_json) {
            self.report.answers.other += 1;
            let known = &mut self.report.answers.media;
            let media = success.media_type.as_deref().and_then(|media| openapi::line(media, 60));
            if let Some(media) = media.filter(|it| known.len() < MEDIA || known.contains_key(it)) {
                *known.entry(media).or_insert(0) += 1;
            }
            return (own, lines);
        }
        let Some(schema) = &success.schema else {
            self.report.answers.unsaid += 1;
            return (own, lines);
        };
        let linked = self.facts.linked.contains(&(operation.method.clone(), operation.path.clone()));
        let pages = paging::pages(operation, linked, looks).filter(|_| looks || effect == Effect::Read);
        if let Some(pages) = pages.as_ref().filter(|_| looks) {
            // what may change something is not asked again and again
            lines.push(format!("and then also: pages = {}", write::inline(pages)));
        } else if let Some(pages) = pages {
            let style = write::style(pages.style).to_owned();
            self.report.pages.push(Paged { operation: operation.id.clone(), style });
            own.pages = Some(pages);
        }
        self.noise.look(operation, schema, own.pages.is_some());
        own.redact = secrets::pointers(schema, redactor);
        if !own.redact.is_empty() {
            let pointers = own.redact.clone();
            self.report.redacted.push(Redacted { operation: operation.id.clone(), pointers });
        }
        (own, lines)
    }

    fn top(&self) -> Vec<String> {
        let Document { title, version, operations, .. } = self.document;
        let title = if title.is_empty() { "an API document" } else { title };
        vec![
            format!("{}: made by `bartizan import` of {title} {version}", self.manifest.name)
                .trim_end()
                .to_owned(),
            format!("({} operations). Read it, mend what is wrong, and check it with", operations.len()),
            String::from("`bartizan check --connector FOLDER`; every key is in docs/connectors.md."),
        ]
    }

    fn report(&mut self, proposals: &[access::Proposal], why: String) {
        let manifest = &self.manifest;
        let quota = manifest.quota.map_or_else(Quota::default, |pace| Quota {
            per_minute: pace.per_minute,
            burst: pace.burst,
            why,
        });
        let report = &mut self.report;
        report.quota = quota;
        report.name.clone_from(&manifest.name);
        report.title.clone_from(&self.document.title);
        report.version.clone_from(&self.document.version);
        report.operations = self.document.operations.len();
        report.credentials = proposals.iter().map(|one| one.says.clone()).collect();
        report.named.clone_from(&self.document.servers);
        report.base = manifest.base.as_ref().map(|base| base.as_str().to_owned());
        report.health.clone_from(&manifest.health);
        report.unmapped = self.document.refused.iter().map(Unmapped::from).collect();
        let effects: HashMap<&str, Effect> =
            manifest.operations.iter().filter_map(|one| Some((one.id.as_str(), one.effect?))).collect();
        let mut groups: Vec<Group> = manifest
            .toolset_names()
            .zip(&manifest.toolsets)
            .map(|(name, set)| Group { name, default: set.default, ..Group::default() })
            .collect();
        if groups.is_empty() {
            groups.push(Group { name: manifest.name.clone(), default: true, ..Group::default() });
        }
        for operation in &self.document.operations {
            let at = manifest.toolsets.iter().position(|set| set.holds(operation)).unwrap_or(0);
            if let Some(group) = groups.get_mut(at) {
                group.tools += 1;
                group.effects.count(effects.get(operation.id.as_str()).copied().unwrap_or(operation.effect));
            }
        }
        report.toolsets = groups;
    }
}

/// Two files of one name would overwrite each other, and nothing may overwrite the manifest.
fn check_names(files: &[(PathBuf, PathBuf)]) -> Result<()> {
    let mut seen = std::collections::HashSet::from([PathBuf::from("connector.toml")]);
    if files.iter().all(|(_, to)| seen.insert(to.clone())) {
        return Ok(());
    }
    Err(bad(
        "Two of the files would have the same name in the folder (or that of connector.toml); rename one of them.",
    ))
}

/// The read that tells most about whether an API can be reached, and asks for least.
fn health(operations: &[Operation]) -> Option<&Operation> {
    let asks = |one: &Operation| {
        one.parameters.iter().any(|it| it.required && it.fixed.is_none())
            || one.body.as_ref().is_some_and(|body| body.required)
    };
    let fits = operations.iter().filter(|one| {
        one.method == "GET"
            && one.effect == Effect::Read
            && !one.deprecated
            && !asks(one)
            && dangers::judge(one).why.is_empty()
    });
    let rank = |one: &&Operation| {
        let words = openapi::words_of(&format!("{} {}", one.id, one.path));
        let named = ["health", "healthz", "ping", "status", "version", "me", "whoami", "self"];
        let place =
            named.iter().position(|name| words.iter().any(|word| word == name)).unwrap_or(named.len());
        let json = one.responses.iter().any(|(status, answer)| {
            status.starts_with('2') && answer.media_type.as_deref().is_some_and(is_json)
        });
        (!json, place, one.path.matches('/').count(), one.parameters.len(), one.path.len())
    };
    fits.min_by_key(rank)
}

#[cfg(test)]
mod tests;
