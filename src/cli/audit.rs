//! `bartizan audit`.
//!
//! Owns reading the log. The idea: `verify` says what is proved, what is not, and names the first line that does not
//! fit; scripts read `--json` and the exit code.
//!
//! Must not: write to the log.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::audit_args::{Audit, AuditAction, ExportForm, Period, Wanted};
use super::screen::{Screen, Tone};
use super::{block_on, settings, unless_stopped};
use crate::audit::{self, Filter, Form, Known, Row, Summary};
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// How often what comes is looked for.
const LOOK: Duration = Duration::from_millis(200);

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
        AuditAction::Verify { head, anchor, part } => {
            let anchors = anchor.as_deref().map(audit::Anchors::read).transpose()?;
            let known = Known { head: head.as_deref(), part: *part, anchors: anchors.as_ref() };
            return verify(&path, known, as_json, screen);
        }
        AuditAction::Tail { lines, follow } => {
            // opened first, so that nothing falls between what was and what comes
            let mut more = if *follow { Some(audit::Follow::from_end(&path)?) } else { None };
            for line in audit::tail(&path, *lines, &Filter::default())? {
                print(&line, as_json, screen);
            }
            if let Some(more) = &mut more {
                block_on(unless_stopped(watch(more, as_json, screen)))?;
            }
        }
        AuditAction::Query(wanted) => {
            audit::query(&path, &filter(wanted)?, |line| {
                print(&line, as_json, screen);
                true
            })?;
        }
        AuditAction::Report(period) => {
            let (since, until) = times(period)?;
            let summary = audit::summarize(&path, &Filter { since, until, ..Filter::default() })?;
            if as_json {
                screen.json(&serde_json::to_value(&summary).unwrap_or(Value::Null));
            } else {
                report(&summary, screen);
            }
        }
        AuditAction::Export { period, format, out } => {
            export(&path, period, *format, out.as_deref(), screen)?;
        }
    }
    Ok(())
}

fn times(period: &Period) -> Result<(Option<String>, Option<String>)> {
    let now = SystemClock::shared().wall();
    let read = |text: &Option<String>| text.as_deref().map(|text| audit::moment(text, now)).transpose();
    Ok((read(&period.since)?, read(&period.until)?))
}

fn filter(wanted: &Wanted) -> Result<Filter> {
    let (since, until) = times(&wanted.period)?;
    Ok(Filter {
        kind: wanted.kind.clone(),
        principal: wanted.principal.clone(),
        tool: wanted.tool.clone(),
        result: wanted.outcome.clone(),
        event: wanted.event.clone(),
        effect: wanted.effect.clone(),
        id: wanted.id.clone(),
        since,
        until,
    })
}

async fn watch(more: &mut audit::Follow, as_json: bool, screen: Screen) -> Result<()> {
    loop {
        for line in tokio::task::block_in_place(|| more.more())? {
            print(&line, as_json, screen);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn verify(path: &Path, known: Known<'_>, as_json: bool, screen: Screen) -> Result<()> {
    let report = audit::verify(path, known)?;
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
    let detail = &line["detail"];
    let who = line["principal"].as_str().or_else(|| detail["principal"].as_str()).unwrap_or("-");
    let ended = match (line["result"].as_str(), line["event"].as_str()) {
        (Some(result), Some(event)) => format!("{result} ({event})"),
        (Some(result), None) => result.to_owned(),
        (None, Some(event)) => {
            format!("{event} {}", if detail.is_null() { String::new() } else { detail.to_string() })
        }
        (None, None) => String::from("-"),
    };
    screen.line(&format!("{}  {:<8} {who:<16} {:<28} {ended}", text("time"), text("kind"), text("tool")));
}

fn report(summary: &Summary, screen: Screen) {
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| String::from("-"));
    screen.line(&format!("{} to {}", time(&summary.from), time(&summary.to)));
    screen
        .line(&format!("{} calls ended, {} have not, {} lines", summary.calls, summary.open, summary.lines));
    let table = |title: &str, rows: &[Row]| {
        if rows.is_empty() {
            return;
        }
        screen.line("");
        let head = format!(
            "{title:<36} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "calls", "done", "asked", "refused", "failed"
        );
        screen.line(&screen.paint(Tone::Strong, &head));
        for row in rows {
            let Row { name, calls, done, asked, refused, failed } = row;
            screen.line(&format!("{name:<36} {calls:>8} {done:>8} {asked:>8} {refused:>8} {failed:>8}"));
        }
    };
    table("caller", &summary.callers);
    table("tool", &summary.tools);
    table("effect", &summary.effects);
    for (title, counts) in [("outcome", &summary.outcomes), ("security event", &summary.events)] {
        if !counts.is_empty() {
            screen.line("");
            screen.line(&screen.paint(Tone::Strong, title));
        }
        for one in counts {
            screen.line(&format!("{:<36} {:>8}", one.name, one.count));
        }
    }
    let asked = &summary.approvals;
    screen.line("");
    screen.line(&format!(
        "approvals: {} asked for, {} agreed to, {} declined",
        asked.asked, asked.agreed, asked.declined
    ));
    if !summary.refusals.is_empty() {
        screen.line("");
        screen.line(&screen.paint(Tone::Strong, "most frequent refusals"));
    }
    for one in &summary.refusals {
        screen.line(&format!("{:>8}  {:<16} {:<28} {}", one.count, one.principal, one.tool, one.result));
    }
}

fn export(
    path: &Path,
    period: &Period,
    format: ExportForm,
    out: Option<&Path>,
    screen: Screen,
) -> Result<()> {
    let (since, until) = times(period)?;
    let period = (since.as_deref(), until.as_deref());
    let form = match format {
        ExportForm::Jsonl => Form::Lines,
        ExportForm::Csv => Form::Csv,
    };
    let Some(file) = out else {
        audit::export(path, form, period, &mut std::io::BufWriter::new(std::io::stdout().lock()))?;
        return Ok(());
    };
    let refused = |cause: std::io::Error| {
        let shown = file.display();
        Error::new(
            Kind::BadConfig,
            format!("{shown} cannot be made; a file that is there is never replaced."),
        )
        .with_source(cause)
    };
    let mut options = fs::OpenOptions::new();
    let opened =
        crate::ownership::private(options.write(true).create_new(true)).open(file).map_err(refused)?;
    let done = audit::export(path, form, period, &mut std::io::BufWriter::new(opened))?;
    screen.line(&format!("{} lines", done.lines));
    if form == Form::Csv {
        return Ok(());
    }
    let key = audit::public_key(path).ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "The public key beside the audit file is missing, so the export proves nothing.",
        )
    })?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".pub");
    let mut options = fs::OpenOptions::new();
    let written = crate::ownership::private(options.write(true).create_new(true)).open(&beside);
    written.and_then(|mut opened| opened.write_all(key.as_bytes())).map_err(refused)?;
    if done.unsigned > 0 {
        screen.note(&format!(
            "The last {} lines are not signed yet: the next checkpoint does that.",
            done.unsigned
        ));
    }
    Ok(())
}
