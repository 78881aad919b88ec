//! `bartizan audit`.
//!
//! Owns reading the log. The idea: `verify` says what is proved, what is not, and names the first line that does not
//! fit; scripts read `--json` and the exit code.
//!
//! Must not: write to the log.

use std::path::PathBuf;

use super::args::{Audit, AuditAction};
use super::screen::{Screen, Tone};
use super::settings;
use crate::audit;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};

pub(super) fn run(typed: &Audit, screen: Screen) -> Result<()> {
    let path = match &typed.file {
        Some(path) => path.clone(),
        None => {
            let mut config = settings::file(typed.state.config.as_deref())?;
            config.audit.state = config.state_folder()?;
            config.audit.file()
        }
    };
    match &typed.action {
        AuditAction::Verify { head } => verify(&path, head.as_deref(), typed.state.json, screen),
        AuditAction::Tail { lines } => print(audit::tail(&path, *lines)?, typed.state.json, screen),
        AuditAction::Query { principal, tool, outcome, since } => {
            let wanted = audit::Query {
                principal: principal.clone(),
                tool: tool.clone(),
                outcome: outcome.clone(),
                since: since.clone(),
            };
            print(audit::query(&path, &wanted)?, typed.state.json, screen)
        }
    }
}

fn verify(path: &PathBuf, head: Option<&str>, as_json: bool, screen: Screen) -> Result<()> {
    let report = audit::verify(path, head)?;
    if as_json {
        screen.json(&serde_json::to_value(&report).unwrap_or(Value::Null));
    } else {
        screen.line(&report.to_string());
    }
    if report.is_whole() {
        if !as_json {
            screen.note(&screen.paint(Tone::Plain, "Keep the head hash elsewhere: with --head it proves that nothing was cut off."));
        }
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "The audit log is not whole; what is above says where, and what may still be trusted."))
}

fn print(lines: Vec<Value>, as_json: bool, screen: Screen) -> Result<()> {
    if as_json {
        screen.json(&json!({"lines": lines}));
        return Ok(());
    }
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        screen.line(&format!(
            "{}  {:<8} {:<16} {:<28} {}",
            text("time"),
            text("phase"),
            text("principal"),
            text("tool"),
            text("result")
        ));
    }
    Ok(())
}
