//! `bartizan audit`.
//!
//! Owns reading the log. The idea: `verify` says what is proved, what is not, and names the first line that does not
//! fit; scripts read `--json` and the exit code.
//!
//! Must not: write to the log.

use std::path::Path;

use super::args::{Audit, AuditAction};
use super::screen::{Screen, Tone};
use super::settings;
use crate::audit;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

pub(super) fn run(typed: &Audit, screen: Screen) -> Result<()> {
    let path = if let Some(path) = &typed.file {
        path.clone()
    } else {
        let mut config = settings::file(typed.state.config.as_deref())?;
        config.audit.state = config.state_folder()?;
        config.audit.file()
    };
    let as_json = typed.state.json;
    match &typed.action {
        AuditAction::Verify { head } => return verify(&path, head.as_deref(), as_json, screen),
        AuditAction::Tail { lines } => {
            for line in audit::tail(&path, *lines, &audit::Filter::default())? {
                print(&line, as_json, screen);
            }
        }
        AuditAction::Query { principal, tool, outcome, since } => {
            let wanted = audit::Filter {
                principal: principal.clone(),
                tool: tool.clone(),
                result: outcome.clone(),
                since: since.clone(),
                ..audit::Filter::default()
            };
            audit::query(&path, &wanted, |line| {
                print(&line, as_json, screen);
                true
            })?;
        }
    }
    Ok(())
}

fn verify(path: &Path, head: Option<&str>, as_json: bool, screen: Screen) -> Result<()> {
    let report = audit::verify(path, head)?;
    if as_json {
        screen.json(&serde_json::to_value(&report).unwrap_or(Value::Null));
    } else {
        for remark in &report.unproven {
            screen.line(&screen.paint(Tone::Note, &format!("not proven: {remark}")));
        }
        if report.is_good() {
            screen.line(&screen.paint(
                Tone::Good,
                &format!(
                    "whole: {} lines in {}, {} calls, {} signed checkpoints",
                    report.lines,
                    if report.files == 1 {
                        String::from("1 file")
                    } else {
                        format!("{} files", report.files)
                    },
                    report.calls,
                    report.checkpoints
                ),
            ));
            screen.line(&format!("head  {}", report.head));
        }
    }
    match &report.fault {
        None => Ok(()),
        Some(fault) => Err(Error::new(
            Kind::Internal,
            format!("{} The lines before are as they were written.", fault.message),
        )),
    }
}

fn print(line: &Value, as_json: bool, screen: Screen) {
    if as_json {
        screen.json(line);
        return;
    }
    let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
    screen.line(&format!(
        "{}  {:<8} {:<16} {:<28} {}",
        text("time"),
        text("kind"),
        text("principal"),
        text("tool"),
        text("result")
    ));
}
