//! `bartizan evidence`.
//!
//! Owns how a bundle is asked for, and what of one is shown. The idea: one command, early, before anybody tidies up; the
//! line in the audit is written first, so that it is in the bundle, signed; where it cannot be written, that is said and
//! keeps nobody from the rest. What was written is read again as whoever gets it will.
//!
//! Must not: replace a file.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::args::StateFlags;
use super::doctor::examined;
use super::operator::{Log, redactor};
use super::screen::{Screen, Tone};
use super::settings;
use crate::audit::{self, Event, Fault};
use crate::clock::{SystemClock, rfc3339};
use crate::error::{Error, Kind, Result};
use crate::evidence::{self, Case, Verdict, Written};
use crate::json::{Value, json};
use crate::state::StateDir;

const EXAMPLES: &str = "\
A bundle holds the audit (with its verification), the configuration without secrets, digests of policies, documents and
tools, API keys without their digests, what is frozen, and what the doctor says; all of it listed, and the list signed.

Examples:
  bartizan evidence --since 7d --out incident.tar     only you can read it; a file that is there is never replaced
  bartizan evidence verify incident.tar               was it touched?
  bartizan evidence verify incident.tar --key HEX     and is it from the installation with this key?
  tar -xf incident.tar                                any tar can unpack it";

/// What can be typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Evidence {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    /// Only the audit from this time on: 2026-11-22T08:00:00Z, 2026-11-22, or an age such as 24h, 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The file; `evidence-TIME.tar` in this folder unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a bundle is as it was made, and what that does not prove.
    Verify {
        /// The bundle.
        file: PathBuf,
        /// The public key it has to be signed with (the file `audit.jsonl.pub` of the installation, or what is in it).
        #[arg(long, value_name = "HEX_OR_FILE")]
        key: Option<String>,
    },
}

pub(super) fn run(typed: &Evidence, screen: Screen) -> Result<()> {
    match &typed.action {
        Some(Action::Verify { file, key }) => verify(file, key.as_deref(), typed.state.json, screen),
        None => take(typed, screen),
    }
}

fn take(typed: &Evidence, screen: Screen) -> Result<()> {
    let file = typed.state.config.clone().or_else(settings::named);
    let config = settings::file(typed.state.config.as_deref())?;
    let (state, clock) = (StateDir::open(config.state_folder()?)?, SystemClock::shared());
    let now = clock.wall();
    let since = typed.since.as_deref().map(|text| audit::moment(text, now)).transpose()?;
    let redactor = redactor(&config, &state)?;
    let out = typed.out.clone().unwrap_or_else(|| {
        let time: String = rfc3339(now).chars().filter(char::is_ascii_alphanumeric).take(15).collect();
        PathBuf::from(format!("evidence-{time}Z.tar"))
    });
    if out.symlink_metadata().is_ok() {
        let message =
            format!("{} is there already, and is not replaced; choose another name.", out.display());
        return Err(Error::new(Kind::BadConfig, message));
    }
    let doctor = examined(&config, file.as_deref(), (&state, &redactor, &clock), (false, false))
        .map(|report| serde_json::to_value(&report).unwrap_or(Value::Null));
    // closed, and so signed, before anything is read
    let told = Log::open(config.clone())
        .and_then(|log| log.event(Event::EvidenceTaken, &json!({"since": since, "file": out})));
    let case = Case {
        config: &config,
        file: file.as_deref(),
        state: &state,
        redactor: &redactor,
        clock: &clock,
        since: since.as_deref(),
        doctor,
        untold: told.err().map(|error| error.message().to_owned()),
    };
    let Written { files, lines, key } = evidence::gather(&case).write(&out)?;
    let found = evidence::check(&out, Some(&key))?;
    let fault = found.audit.fault;
    if typed.state.json {
        screen.json(&json!({
            "file": out, "files": files, "audit_lines": lines, "key": key, "fault": fault, "unproven": found.unproven,
        }));
    } else {
        let tone = if fault.is_none() { Tone::Good } else { Tone::Bad };
        let made = format!("{}: {} files, {lines} lines of the audit", out.display(), files.len());
        screen.line(&screen.paint(tone, &made));
        screen.line(&format!("signed by  {key}"));
        screen.note("Note the key elsewhere, and hand the file over; `bartizan evidence verify` checks it.");
        for remark in &found.unproven {
            screen.note(&format!("not proven: {remark}"));
        }
    }
    touched("The bundle is written, and it shows that the audit was touched before", fault.as_ref())
}

/// A fault of the audit, as a failure.
fn touched(said: &str, fault: Option<&Fault>) -> Result<()> {
    fault.map_or(Ok(()), |fault| Err(Error::new(Kind::Internal, format!("{said}: {}", fault.message))))
}

fn verify(file: &Path, key: Option<&str>, as_json: bool, screen: Screen) -> Result<()> {
    let key = key.map(known).transpose()?;
    let found: Verdict = evidence::check(file, key.as_deref())?;
    if as_json {
        screen.json(&serde_json::to_value(&found).unwrap_or(Value::Null));
    } else {
        for remark in &found.unproven {
            screen.line(&screen.paint(Tone::Note, &format!("not proven: {remark}")));
        }
        for part in &found.files {
            screen.line(&format!("{:<26} {:>12} bytes", part.name, part.bytes));
        }
        if found.audit.is_good() {
            let whole = format!(
                "whole: {} files made {} by version {}, {} lines of the audit",
                found.files.len(),
                found.made,
                found.version,
                found.audit.lines
            );
            screen.line(&screen.paint(Tone::Good, &whole));
        }
        screen.line(&format!("signed by  {}", found.key));
    }
    let said = "The bundle is as it was made, and the audit in it was touched before";
    touched(said, found.audit.fault.as_ref())
}

/// A key as it was typed, or as a file has it.
fn known(text: &str) -> Result<String> {
    let is_key = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = if is_key(text) {
        text.to_owned()
    } else {
        let read = std::fs::File::open(text).and_then(|file| {
            let mut found = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, 1024), &mut found).map(|_| found)
        });
        read.unwrap_or_default().trim().to_owned()
    };
    if is_key(&key) {
        return Ok(key);
    }
    Err(Error::new(
        Kind::BadConfig,
        "--key takes a public key of 64 hexadecimal digits, or a file that holds one, such as audit.jsonl.pub.",
    ))
}
