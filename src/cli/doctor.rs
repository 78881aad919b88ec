//! `bartizan doctor`.
//!
//! Owns how findings are shown. The idea: the worst first, each with what mends it; the exit code says whether something
//! has to be mended.
//!
//! Must not: judge.

use std::path::{Path, PathBuf};

use super::args::DoctorFlags;
use super::operator::Log;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::place;
use crate::clock::SystemClock;
use crate::config::environment;
use crate::doctor::{Patient, Severity, done, examine};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::redaction::Redactor;

/// Variables that other programs take proxies from.
const PROXIES: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

pub(super) fn run(typed: &DoctorFlags, screen: Screen) -> Result<()> {
    let file = typed.state.config.clone().or_else(settings::named);
    let config = settings::file(typed.state.config.as_deref())?;
    let ((state, _held), clock) = (place(&config)?, SystemClock::shared());
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
    let folder: PathBuf = file
        .as_deref()
        .and_then(Path::parent)
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let patient = Patient {
        config: &config,
        file: file.as_deref(),
        state: &state,
        redactor: &redactor,
        clock: &clock,
        folder: &folder,
        proxies: PROXIES.iter().copied().filter(|name| environment(name).is_some()).collect(),
    };
    let report = examine(&patient, typed.fix)?;
    if typed.state.json {
        screen.json(&serde_json::to_value(&report).unwrap_or(Value::Null));
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
