//! `bartizan doctor`.
//!
//! Owns how findings are shown. The idea: the worst first, each with what mends it; the exit code says whether something
//! has to be mended.
//!
//! Must not: judge.

use std::path::Path;

use super::args::DoctorFlags;
use super::operator::Log;
use super::screen::{Screen, Tone};
use super::{block_on, settings};
use crate::app::{Reach, place, reaches};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, environment};
use crate::doctor::{Patient, Report, Severity, done, examine, threshold};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::state::StateDir;

/// Variables that other programs take proxies from.
const PROXIES: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

pub(super) fn run(typed: &DoctorFlags, screen: Screen) -> Result<()> {
    let file = typed.state.config.clone().or_else(settings::named);
    let config = settings::file(typed.state.config.as_deref())?;
    let folder = config.state_folder().ok();
    let found = folder.and_then(|folder| threshold(&folder, typed.fix));
    let (placed, clock) = (place(&config), SystemClock::shared());
    let (state, _held) = match placed {
        Ok(placed) => placed,
        Err(why) if typed.done.is_none() => {
            return tell(&Report::outside(found, &why), typed.state.json, screen);
        }
        Err(why) => return Err(why),
    };
    if let Some(name) = &typed.done {
        let duty =
            Log::open(config)?.act("duty done", &json!({"duty": name}), || done(&state, &clock, name))?;
        if typed.state.json {
            screen.json(&json!({"done": duty.name, "due_in_days": duty.days}));
        } else {
            screen.line(&format!("{} is done; it is due again in {} days.", duty.name, duty.days));
        }
        return Ok(());
    }
    let redactor = Redactor::new(&config.redaction)?;
    let report = examined(&config, file.as_deref(), (&state, &redactor, &clock), (typed.login, typed.fix))?;
    tell(&report.and(found), typed.state.json, screen)
}

fn tell(report: &Report, as_json: bool, screen: Screen) -> Result<()> {
    if as_json {
        screen.json(&serde_json::to_value(report).unwrap_or(Value::Null));
    } else {
        for one in &report.findings {
            let (tone, label) = match one.severity {
                _ if one.mended => (Tone::Good, "mended "),
                Severity::Good => (Tone::Good, "good   "),
                Severity::Note => (Tone::Note, "note   "),
                Severity::Warning => (Tone::Strong, "warning"),
                Severity::Error => (Tone::Bad, "error  "),
            };
            screen.line(&format!("{} {:<12} {}", screen.paint(tone, label), one.area, one.what));
            if let Some(mend) = one.mend.as_deref().filter(|_| !one.mended) {
                screen.line(&screen.paint(Tone::Note, &format!("{:>20} {mend}", "->")));
            }
        }
        screen.line(&screen.paint(Tone::Strong, &format!("score {} of 100", report.score)));
    }
    if report.has_errors() {
        return Err(Error::new(Kind::BadConfig, "Something has to be mended; see `error` above."));
    }
    Ok(())
}

/// What the doctor finds. With `login` token endpoints are asked; with `mend` modes are mended.
pub(super) fn examined(
    config: &Config,
    file: Option<&Path>,
    (state, redactor, clock): (&StateDir, &Redactor, &SharedClock),
    (login, mend): (bool, bool),
) -> Result<Report> {
    // a look that cannot be had keeps no other from being had
    let reaches = block_on(reaches(config, login, (redactor, clock, state)))
        .unwrap_or_else(|error| vec![(String::from("sources"), Reach::Unread(error.message().to_owned()))]);
    let folder = file.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    let patient = Patient {
        config,
        file,
        state,
        redactor,
        clock,
        folder: folder.unwrap_or(Path::new(".")),
        proxies: PROXIES.iter().copied().filter(|name| environment(name).is_some()).collect(),
        reaches,
    };
    examine(&patient, mend)
}
