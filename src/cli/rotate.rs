//! `bartizan rotate --drill`.
//!
//! Owns how a rehearsal is asked for and shown. The idea: a rotation that was never tried is tried on the worst day; so
//! it can be tried on any other, with the new value that stands ready, and nothing is put into use. The report is in the
//! audit, and the exit code says whether all of it would work.
//!
//! Must not: change a credential.

use clap::Args;

use super::args::Source;
use super::operator::{Log, redactor};
use super::screen::{Screen, Tone};
use super::{block_on, settings};
use crate::app::{DrillOutcome, Rehearsal, rehearse};
use crate::audit::Event;
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::state::StateDir;
use crate::vault::Reference;

const EXAMPLES: &str = "\
A rehearsal reads the present value and the new one, asks the upstream whether it accepts either, and names what else
still uses the old one. The new one is a second credential of the configuration, or given here:

  [secrets.standby.widgets]
  replace = { \"env:WIDGETS_TOKEN\" = \"env:WIDGETS_TOKEN_2\" }

Examples:
  bartizan rotate --drill
  bartizan rotate --drill --with env:WIDGETS_TOKEN=file:/run/secrets/new-token
  bartizan rotate --drill --json && bartizan doctor --done rotation

Exit codes: 0 all of it would work; 2 something stands in the way, or no new value stands ready; 4 an upstream refused.";

/// What can be typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Rehearse: read, ask and report, and change nothing. The only way there is; the rotation itself is done at the vendor.
    #[arg(long)]
    pub(crate) drill: bool,
    /// A new value to rehearse with, in place of what the configuration reads now; may be repeated.
    #[arg(long, value_name = "REF=REF")]
    pub(crate) with: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(super) fn run(typed: &Rotate, screen: Screen) -> Result<()> {
    if !typed.drill {
        return Err(Error::new(
            Kind::BadConfig,
            "A credential is replaced at its vendor, and then where it is kept: a server reads the new one by itself. \
             What can be done here is to rehearse that: bartizan rotate --drill.",
        ));
    }
    let given = typed.with.iter().map(|text| pair(text)).collect::<Result<Vec<_>>>()?;
    let config = settings::configuration(&typed.source)?;
    let (state, clock) = (StateDir::open(config.state_folder()?)?, SystemClock::shared());
    let redactor = redactor(&config, &state)?;
    let done = block_on(rehearse(&config, &given, (&redactor, &clock, &state)))?;
    if done.sources.is_empty() {
        return Err(Error::new(
            Kind::BadConfig,
            "Nothing here has a credential: name sources with --config FILE or --connector NAME.",
        ));
    }
    let detail = json!({
        "passed": done.passed,
        "sources": done.sources.iter().map(|one| json!({"source": one.source, "passed": one.passed})).collect::<Vec<_>>(),
    });
    Log::open(config)?.event(Event::RotationRehearsed, &detail)?;
    if typed.json {
        screen.json(&serde_json::to_value(&done).unwrap_or(Value::Null));
    } else {
        show(&done, screen);
    }
    verdict(&done)
}

/// `OLD=NEW`; a path may hold an equals sign.
fn pair(text: &str) -> Result<(Reference, Reference)> {
    let split = text.match_indices('=').find_map(|(at, _)| {
        let second = Reference::parse(text.get(at + 1..)?).ok()?;
        Some((Reference::parse(text.get(..at)?).ok()?, second))
    });
    split.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "--with takes two references, the present one and the new one: --with env:TOKEN=env:TOKEN_2.",
        )
    })
}

fn show(done: &Rehearsal, screen: Screen) {
    for one in &done.sources {
        let untried = one.steps.iter().any(|step| step.outcome == DrillOutcome::Unknown);
        let (tone, word) = match (one.passed, untried) {
            (true, false) => (Tone::Good, "would work"),
            (true, true) => (Tone::Note, "nothing stands in the way, as far as it could be tried"),
            (false, _) => (Tone::Bad, "would not work"),
        };
        screen.line(&format!("{}  {}", screen.paint(Tone::Strong, &one.source), screen.paint(tone, word)));
        for step in &one.steps {
            let (tone, word) = match step.outcome {
                DrillOutcome::Ok => (Tone::Good, "ok     "),
                DrillOutcome::Unknown => (Tone::Note, "unknown"),
                DrillOutcome::Failed => (Tone::Bad, "failed "),
            };
            screen.line(&format!("  {} {:<14} {}", screen.paint(tone, word), step.step, step.said));
        }
    }
    screen.note("Nothing was changed.");
    if done.passed {
        screen.note("Note it with: bartizan doctor --done rotation");
    }
}

fn verdict(done: &Rehearsal) -> Result<()> {
    if done.passed {
        return Ok(());
    }
    let failed: Vec<&str> =
        done.sources.iter().filter(|one| !one.passed).map(|one| one.source.as_str()).collect();
    let refused = done.sources.iter().flat_map(|one| &one.steps).any(|step| {
        step.outcome == DrillOutcome::Failed && matches!(step.step, "accepted" | "accepted next")
    });
    let kind = if refused { Kind::UpstreamRefused } else { Kind::BadConfig };
    Err(Error::new(
        kind,
        format!("The rotation would not work for {}; the steps above say why.", failed.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn a_pair_is_two_references() {
        let (first, second) = pair("env:A=file:/run/secrets/x=y").unwrap();
        assert_eq!((first.to_string(), second.to_string()), ("env:A".into(), "file:/run/secrets/x=y".into()));
        let (first, _) = pair("file:/a=b=env:C").unwrap();
        assert_eq!(first.to_string(), "file:/a=b");
        for text in ["", "env:A", "env:A=hunter2hunter2", "hunter2hunter2=env:A", "="] {
            let error = pair(text).unwrap_err();
            assert!(!error.message().contains("hunter2"), "{text}");
        }
    }
}
