//! `bartizan check`.
//!
//! Owns the findings. The idea: everything that a start would refuse, and everything it would only mention, without
//! serving, and without a network but for the store that instances share, and for the health checks that were asked for.
//!
//! Must not: serve, or call an upstream unasked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Check;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{
    App, Loader, Pins, Standing, Suspicion, accesses, place, references, refusals, suspicions, unaccepted,
    unsigned,
};
use crate::approvals::Approvals;
use crate::catalog::{Entry, List};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::connectors::manifest::Access;
use crate::connectors::{FAILURE, impossible, unchecked};
use crate::error::{Error, Kind, Result};
use crate::identity::Certificates;
use crate::json::{Map, Value, json};
use crate::pipeline::{Outcome, Reply};
use crate::policy::Effect;
use crate::redaction::Redactor;
use crate::vault::{Keeper, Reference};

/// Tools that are named in one sentence.
const NAMES: usize = 6;

/// One thing that somebody should know.
struct Finding {
    fatal: bool,
    text: String,
    /// For scripts, what the sentence is about.
    about: Map<String, Value>,
}

impl Finding {
    fn new(fatal: bool, text: impl Into<String>) -> Self {
        Self { fatal, text: text.into(), about: Map::new() }
    }

    fn row(&self) -> Value {
        let severity = if self.fatal { "error" } else { "note" };
        let mut row = json!({"severity": severity, "message": self.text});
        row.as_object_mut().into_iter().for_each(|row| row.extend(self.about.clone()));
        row
    }
}

pub(super) async fn run(typed: &Check, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    let mut config = settings::configuration(&typed.source)?;
    let pins = Pins::aside(&mut config);
    let mut findings: Vec<Finding> = Vec::new();
    for (source, refused) in refusals(&config)? {
        for one in refused {
            findings
                .push(Finding::new(false, format!("{source}: {} is left out: {}", one.place, one.reason)));
        }
    }
    if !config.practice {
        let (redactor, clock) = (Redactor::new(&config.redaction)?, SystemClock::shared());
        let secrets = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?;
        findings.extend(standbys(&config, &secrets)?);
        let (state, _held) = place(&config)?;
        let secrets = secrets.standing_by(&state)?;
        for (source, access) in accesses(&config)? {
            let missing = missing(&access, &secrets);
            findings.extend(missing.map(|what| Finding::new(true, format!("{source}: {what}"))));
        }
        findings.extend(unsigned(&config)?.into_iter().map(|source| {
            let what = "requests go out unsigned, because connector.toml has no [credentials]; if that is meant, say \
                        kind = \"none\" there";
            Finding::new(false, format!("{source}: {what}."))
        }));
    }
    let (state, _held) = place(&config)?;
    let approvals = Approvals::open(&config.approvals, state.path(), SystemClock::shared())?;
    let accepted = unaccepted(&config, &state, &approvals);
    let tries = typed.health && accepted.is_ok();
    findings.extend(accepted.err().map(|error| Finding::new(true, error.message())));
    let certificate = config.http.probe();
    let holders = Certificates::new(&config.http.certificate, SystemClock::shared()).map(drop);
    let wrong = [certificate, holders].into_iter().filter_map(Result::err);
    findings.extend(wrong.map(|error| Finding::new(true, error.message())));
    let suspicions = suspicions(&config)?;
    let app = settings::app(config, loader).await?;
    if let Some(problem) = app.shared().and_then(|shared| shared.problem()) {
        findings.push(Finding::new(true, problem.sentence()));
    }
    for entry in app.catalog().now().list(List::Tools) {
        let spec = entry.spec();
        if spec.source != "python" {
            let input = spec.input.once();
            let said = [unchecked(&spec.name, &input), impossible(&spec.name, &input)];
            let finding = |what| Finding::new(false, format!("{}: {what}", spec.toolset));
            findings.extend(said.into_iter().flatten().map(finding));
        }
    }
    findings.extend(
        paged(app.catalog().now().list(List::Tools)).into_iter().map(|what| Finding::new(false, what)),
    );
    findings.extend(hidden(&app).into_iter().map(|what| Finding::new(false, what)));
    if tries {
        findings.extend(health(&app).await);
    }
    findings.extend(suspicions.iter().chain(&app.cross_mentions()).map(suspicious));
    let pinned = standing(&pins, &app, typed.pin, &mut findings).await;
    let listed = super::tools::list(&app).await;
    let sets = super::tools::toolsets(&app);
    app.close().await?;
    let (tools, (file, standings)) = (listed?.len(), pinned?);

    let wrong = findings.iter().filter(|finding| finding.fatal).count();
    if typed.json {
        let rows: Vec<Value> = findings.iter().map(Finding::row).collect();
        let hashes: Map<String, Value> =
            standings.iter().map(|one| (one.source.clone(), json!(one.manifest))).collect();
        let mut report = json!({"ok": wrong == 0, "tools": tools, "toolsets": sets, "findings": rows, "manifests": hashes});
        if let Some(file) = &file {
            report["pinned"] = json!(file.display().to_string());
        }
        screen.json(&report);
    } else {
        for finding in &findings {
            let label = if finding.fatal {
                screen.paint(Tone::Bad, "error")
            } else {
                screen.paint(Tone::Note, "note ")
            };
            screen.line(&format!("{label} {}", finding.text));
        }
        if let Some(file) = &file {
            let sources: Vec<&str> = standings.iter().map(|one| one.source.as_str()).collect();
            screen.line(&format!("Approved in {}: {}.", file.display(), sources.join(", ")));
        }
        if wrong == 0 {
            let word = if tools == 1 { "tool" } else { "tools" };
            screen.line(&screen.paint(Tone::Good, &format!("All is well: {tools} {word} would be served.")));
            super::tools::tell_toolsets(&sets, screen);
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    let what = if wrong == 1 { "One thing is" } else { "Several things are" };
    Err(Error::new(Kind::BadConfig, format!("{what} wrong; mend what is marked `error` above.")))
}

/// How the lists of each toolset go on, one sentence for each.
fn paged(tools: &[Arc<Entry>]) -> Vec<String> {
    let mut found: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for entry in tools {
        let spec = entry.spec();
        if let Some(word) = entry.tool().pages() {
            found.entry((&spec.toolset, word)).or_default().push(&spec.name);
        }
    }
    let told = found.into_iter().map(|((toolset, word), names)| {
        let (shown, more) = (names.len().min(NAMES), names.len().saturating_sub(NAMES));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{toolset}: lists that go on page by page ({word}): {}{more}.", names[..shown].join(", "))
    });
    told.collect()
}

/// Where read-only hides all that a source has: one sentence for each.
fn hidden(app: &App) -> Vec<String> {
    let config = app.config();
    let instead = if config.offer.read_only {
        "leave --read-only out (and `read_only` under [offer])"
    } else if config.policy.set == "read-only" && config.policy.files.is_empty() {
        "`--policy standard` offers them, and asks a person first"
    } else {
        return Vec::new();
    };
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for entry in app.catalog().now().list(List::Tools) {
        let spec = entry.spec();
        let whose = if spec.source == "openapi" { &spec.toolset } else { &spec.source };
        let (reads, others) = counts.entry(whose.clone()).or_default();
        *if spec.effect == Effect::Read { reads } else { others } += 1;
    }
    let told = counts.into_iter().filter(|(_, (reads, _))| *reads == 0).map(|(whose, (_, others))| {
        let tools =
            if others == 1 { "its only tool, which changes" } else { "all of its tools, which change" };
        format!("{whose}: read-only hides {tools} something ({others}); {instead}.")
    });
    told.collect()
}

/// Second credentials that would not serve.
fn standbys(config: &Config, secrets: &Keeper) -> Result<Vec<Finding>> {
    let used: Vec<Reference> =
        accesses(config)?.iter().flat_map(|(_, access)| access.ways()).flat_map(references).collect();
    let mut found = Vec::new();
    for (name, one) in &config.secrets.standby {
        for (first, second) in &one.replace {
            if let Err(error) = secrets.resolve(second) {
                found.push(Finding::new(true, format!("[secrets.standby.{name}]: {}", error.message())));
            }
            if !used.contains(first) {
                found.push(Finding::new(
                    false,
                    format!("[secrets.standby.{name}]: no connector or document reads {first}."),
                ));
            }
        }
    }
    Ok(found)
}

/// Tries the read that each connector names for it, and says what is wrong with the answer.
async fn health(app: &Arc<App>) -> Vec<Finding> {
    let mut found = Vec::new();
    let now = app.catalog().now();
    for entry in now.list(List::Tools).iter().filter(|entry| entry.spec().probe) {
        let spec = entry.spec();
        let (wrong, told) = match app.call(&spec.name, Map::new(), &app.context()).await {
            Ok(Outcome::Done(redacted)) => match redacted.into_reply() {
                Reply::Tool(result) if result.is_error => {
                    let meta = result.meta.as_ref().and_then(|meta| meta.get(FAILURE));
                    let status = meta.and_then(|it| it["status"].as_u64());
                    let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
                    (true, format!("failed{status}; `bartizan call {}` shows what it said", spec.name))
                }
                _ => (false, String::from("answered")),
            },
            Ok(Outcome::Paused(_)) => (true, String::from("asks a person first")),
            Err(error) if error.kind() == Kind::NoSuchTool => (
                true,
                String::from("is not offered by these settings (toolsets, policy), so it was not tried"),
            ),
            Err(error) => (true, format!("failed: {}", error.message().trim_end_matches('.'))),
        };
        found.push(Finding::new(wrong, format!("{}: its health check, {}, {told}.", spec.source, spec.name)));
    }
    if found.is_empty() {
        let what = "No connector names a `health` operation that is offered, so none was tried.";
        found.push(Finding::new(true, what));
    }
    found
}

/// How everything stands to what was approved; with `approve`, all of it is afterwards.
async fn standing(
    pins: &Pins,
    app: &App,
    approve: bool,
    findings: &mut Vec<Finding>,
) -> Result<(Option<PathBuf>, Vec<Standing>)> {
    let file = if approve { Some(pins.approve(app).await?) } else { None };
    // What is out of practice mode is not compared: its addresses and words are a stand-in's.
    if !app.stands().is_empty() {
        return Ok((file, Vec::new()));
    }
    match pins.compare(app).await {
        Ok(standings) => {
            let changed = standings.iter().filter_map(|one| one.change.as_ref());
            findings.extend(changed.map(|change| Finding::new(true, change.as_str())));
            Ok((file, standings))
        }
        Err(error) => {
            findings.push(Finding::new(true, error.message()));
            Ok((file, Vec::new()))
        }
    }
}

/// What sounds as if it were meant for a model, without its words.
fn suspicious(one: &Suspicion) -> Finding {
    let tool = one.tool.as_ref().map(|tool| format!(" ({tool})")).unwrap_or_default();
    let (source, place, labels) = (&one.source, &one.place, one.labels.join(", "));
    let text = format!(
        "{source}: {place}{tool} sounds as if it were meant for a model ({labels}); read it before you serve it."
    );
    let about = json!({"source": source, "tool": one.tool, "where": place, "labels": one.labels});
    Finding { fatal: false, text, about: about.as_object().cloned().unwrap_or_default() }
}

/// What keeps requests from being signed: the first way needs no more than the others, so one that is whole is enough.
fn missing(access: &Access, secrets: &Keeper) -> Option<String> {
    let mut said = Vec::new();
    for way in access.ways() {
        let faults: Vec<String> = way
            .references()
            .into_iter()
            .filter_map(|(reference, what)| secrets.resolve_as(reference, what).err())
            .map(|error| error.message().trim_end_matches('.').to_owned())
            .collect();
        if faults.is_empty() {
            return None;
        }
        said.push(faults.join("; "));
    }
    if said.is_empty() { None } else { Some(format!("{}.", said.join("; or else: "))) }
}
