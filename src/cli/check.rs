//! `bartizan check`.
//!
//! Owns the findings. The idea: everything that a start would refuse, and everything it would only mention, without
//! serving, and without a network but for the store that instances share, and for the health checks that were asked for.
//!
//! Must not: serve, or call an upstream unasked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::args::Check;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{App, Loader, accesses, place, references, refusals};
use crate::catalog::{Entry, List};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::connectors::manifest::{Access, Way};
use crate::connectors::{FAILURE, unchecked};
use crate::error::{Error, Kind, Result};
use crate::identity::Certificates;
use crate::json::{Map, Value, json};
use crate::pipeline::{Outcome, Reply};
use crate::redaction::Redactor;
use crate::vault::{Keeper, Reference};

/// Tools that are named in one sentence.
const NAMES: usize = 6;

pub(super) async fn run(typed: &Check, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    let config = settings::configuration(&typed.source)?;
    let mut findings: Vec<(bool, String)> = Vec::new();
    for (source, refused) in refusals(&config)? {
        for one in refused {
            findings.push((false, format!("{source}: {} is left out: {}", one.place, one.reason)));
        }
    }
    if !config.practice {
        let (redactor, clock) = (Redactor::new(&config.redaction)?, SystemClock::shared());
        let secrets = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?;
        findings.extend(standbys(&config, &secrets)?);
        let (state, _held) = place(&config)?;
        let secrets = secrets.standing_by(&state)?;
        for (source, access) in accesses(&config)? {
            findings.extend(missing(&access, &secrets).map(|what| (true, format!("{source}: {what}"))));
        }
    }
    let certificate = config.http.probe();
    let holders = Certificates::new(&config.http.certificate, SystemClock::shared()).map(drop);
    let wrong = [certificate, holders].into_iter().filter_map(Result::err);
    findings.extend(wrong.map(|error| (true, error.message().to_owned())));
    let app = settings::app(config, loader).await?;
    if let Some(problem) = app.shared().and_then(|shared| shared.problem()) {
        findings.push((true, String::from(problem.sentence())));
    }
    for entry in app.catalog().now().list(List::Tools) {
        let spec = entry.spec();
        if spec.source != "python"
            && let Some(what) = unchecked(spec)
        {
            findings.push((false, format!("{}: {what}", spec.toolset)));
        }
    }
    findings.extend(paged(app.catalog().now().list(List::Tools)).into_iter().map(|what| (false, what)));
    if typed.health {
        findings.extend(health(&app).await);
    }
    let listed = super::tools::list(&app).await;
    let sets = super::tools::toolsets(&app);
    app.close().await?;
    let tools = listed?.len();

    let wrong = findings.iter().filter(|(fatal, _)| *fatal).count();
    if typed.json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|(fatal, text)| json!({"severity": if *fatal { "error" } else { "note" }, "message": text}))
            .collect();
        screen.json(&json!({"ok": wrong == 0, "tools": tools, "toolsets": sets, "findings": rows}));
    } else {
        for (fatal, text) in &findings {
            let label =
                if *fatal { screen.paint(Tone::Bad, "error") } else { screen.paint(Tone::Note, "note ") };
            screen.line(&format!("{label} {text}"));
        }
        if wrong == 0 {
            screen.line(&screen.paint(Tone::Good, &format!("All is well: {tools} tools would be served.")));
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

/// Second credentials that would not serve.
fn standbys(config: &Config, secrets: &Keeper) -> Result<Vec<(bool, String)>> {
    let used: Vec<Reference> =
        accesses(config)?.iter().flat_map(|(_, access)| access.ways()).flat_map(references).collect();
    let mut found = Vec::new();
    for (name, one) in &config.secrets.standby {
        for (first, second) in &one.replace {
            if let Err(error) = secrets.resolve(second) {
                found.push((true, format!("[secrets.standby.{name}]: {}", error.message())));
            }
            if !used.contains(first) {
                found.push((
                    false,
                    format!("[secrets.standby.{name}]: no connector or document reads {first}."),
                ));
            }
        }
    }
    Ok(found)
}

/// Tries the read that each connector names for it, and says what is wrong with the answer.
async fn health(app: &Arc<App>) -> Vec<(bool, String)> {
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
            Err(error) => (true, format!("failed: {}", error.message().trim_end_matches('.'))),
        };
        found.push((wrong, format!("{}: its health check, {}, {told}.", spec.source, spec.name)));
    }
    if found.is_empty() {
        let what = "No connector names a `health` operation that is offered, so none was tried.";
        found.push((true, String::from(what)));
    }
    found
}

/// What keeps requests from being signed: the first way needs no more than the others, so one that is whole is enough.
fn missing(access: &Access, secrets: &Keeper) -> Option<String> {
    let mut said = Vec::new();
    for way in access.ways() {
        let wanted: &[&Reference] = match way {
            Way::None => &[],
            Way::Bearer { from } | Way::Header { from, .. } => &[from],
            Way::Basic { user, password } => &[user, password],
            Way::OAuth2 { client_id, client_secret, .. } => &[client_id, client_secret],
        };
        let faults: Vec<String> = wanted
            .iter()
            .filter_map(|reference| secrets.resolve(reference).err())
            .map(|error| error.message().trim_end_matches('.').to_owned())
            .collect();
        if faults.is_empty() {
            return None;
        }
        said.push(faults.join("; "));
    }
    if said.is_empty() { None } else { Some(format!("{}.", said.join("; or else: "))) }
}
