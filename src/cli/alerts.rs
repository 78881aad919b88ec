//! `bartizan alerts`.
//!
//! Owns trying the way to whoever is told, and playing the log back. The idea: an alert that nobody gets is found out
//! before it matters.
//!
//! Must not: raise an alert.

use clap::{Args, Subcommand};

use super::args::StateFlags;
use super::screen::{Screen, Tone};
use super::settings;
use crate::alerts::{self, Detectors};
use crate::audit;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::relay::Means;
use crate::state::StateDir;
use crate::vault::Keeper;

const AFTER: &str = "\
Examples:
  bartizan alerts test                  does everybody in [[alerts.to]] get a message?
  bartizan alerts replay --since 7d     what would have been told in the last week?";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Alerts {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(subcommand)]
    pub(crate) action: AlertAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertAction {
    /// Send a test message to every destination; fails if one of them does not take it.
    Test,
    /// Let the detectors look at the audit log again, and print what they find; nobody is told.
    Replay {
        /// Print only what was found from this time on: 2026-11-22, or an age such as 24h; what is before is learnt from.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
}

pub(super) async fn run(typed: &Alerts, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    match &typed.action {
        AlertAction::Test => test(&config, typed.state.json, screen).await,
        AlertAction::Replay { since } => replay(config, since.as_deref(), typed.state.json, screen),
    }
}

async fn test(config: &Config, as_json: bool, screen: Screen) -> Result<()> {
    if config.alerts.to.is_empty() {
        return Err(Error::new(
            Kind::BadConfig,
            "Nobody is told: the configuration has no [[alerts.to]]. See \"Alerts\" in docs/audit.md.",
        ));
    }
    let redactor = Redactor::new(&config.redaction)?;
    let clock = SystemClock::shared();
    let state = StateDir::open(config.state_folder()?)?;
    let secrets = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?.standing_by(&state)?;
    let means = Means { egress: config.egress.clone(), redactor, clock, secrets };
    let results = alerts::test(&config.alerts, &means).await;
    let failed = results.iter().filter(|(_, done)| done.is_err()).count();
    if as_json {
        let shown: Vec<Value> = results
            .iter()
            .map(|(name, done)| {
                json!({"kind": name, "ok": done.is_ok(), "reason": done.as_ref().err().map(Error::message)})
            })
            .collect();
        screen.json(&json!({ "destinations": shown }));
    } else {
        for (name, done) in &results {
            let said = match done {
                Ok(()) => screen.paint(Tone::Good, &format!("{name}: sent")),
                Err(error) => screen.paint(Tone::Bad, &format!("{name}: {}", error.message())),
            };
            screen.line(&said);
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(
        Kind::UpstreamFailed,
        format!("{failed} of {} destinations did not take it.", results.len()),
    ))
}

fn replay(mut config: Config, since: Option<&str>, as_json: bool, screen: Screen) -> Result<()> {
    config.audit.state = config.state_folder()?;
    let now = SystemClock::shared().wall();
    let since = since.map(|since| audit::moment(since, now)).transpose()?;
    let mut detectors = Detectors::new(&config.alerts)?;
    let mut count = 0;
    audit::query(&config.audit.file(), &audit::Filter::default(), |line| {
        for alert in detectors.see(&line.to_string()) {
            if since.as_deref().is_some_and(|since| alert.time.as_str() < since) {
                continue;
            }
            count += 1;
            if as_json {
                screen.json(&alert.json());
            } else {
                screen.line(&format!("{}  {:<22} {}", alert.time, alert.detector, alert.sentence()));
            }
        }
        true
    })?;
    if !as_json {
        screen.note(&format!("{count} alerts"));
    }
    Ok(())
}
