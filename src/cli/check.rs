//! `bartizan check`.
//!
//! Owns the findings. The idea: everything that a start would refuse, and everything it would only mention, without
//! serving, and without a network but for the store that instances share.
//!
//! Must not: serve, or call an upstream.

use super::args::Check;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{Loader, accesses, refusals};
use crate::catalog::List;
use crate::clock::SystemClock;
use crate::connectors::manifest::{Access, Way};
use crate::connectors::unchecked;
use crate::error::{Error, Kind, Result};
use crate::identity::Certificates;
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::vault::{Keeper, Reference};

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
    let listed = super::tools::list(&app).await;
    app.close().await?;
    let tools = listed?.len();

    let wrong = findings.iter().filter(|(fatal, _)| *fatal).count();
    if typed.json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|(fatal, text)| json!({"severity": if *fatal { "error" } else { "note" }, "message": text}))
            .collect();
        screen.json(&json!({"ok": wrong == 0, "tools": tools, "findings": rows}));
    } else {
        for (fatal, text) in &findings {
            let label =
                if *fatal { screen.paint(Tone::Bad, "error") } else { screen.paint(Tone::Note, "note ") };
            screen.line(&format!("{label} {text}"));
        }
        if wrong == 0 {
            screen.line(&screen.paint(Tone::Good, &format!("All is well: {tools} tools would be served.")));
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    let what = if wrong == 1 { "One thing is" } else { "Several things are" };
    Err(Error::new(Kind::BadConfig, format!("{what} wrong; mend what is marked `error` above.")))
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
