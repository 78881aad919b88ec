//! `bartizan credential`.
//!
//! Owns the operator's side of second credentials: which stand ready, and the switch between them and the first. The
//! idea: nothing turns that switch but this command; the line in the audit comes first, and running servers follow
//! within a second.
//!
//! Must not: show a secret, or switch to what cannot be read.

use clap::{Args, Subcommand};

use super::args::{OperatorFlags, StateFlags};
use super::operator::{Log, account, authorise, redactor};
use super::screen::{Screen, Tone};
use super::settings;
use crate::approvals::{Approvals, visible};
use crate::audit::Event;
use crate::clock::{SharedClock, SystemClock, rfc3339};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::state::StateDir;
use crate::vault::{Keeper, Reference, Standby, Switch, Turned};

const EXAMPLES: &str = "\
A second credential stands ready where the configuration names one:

  [secrets.standby.widgets]
  replace = { \"env:WIDGETS_TOKEN\" = \"env:WIDGETS_TOKEN_2\" }

Examples:
  bartizan credential list
  bartizan credential switch widgets           use the second one, in every process, within a second
  bartizan credential switch widgets --back    use the first one again";

/// What can be typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Credential {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(subcommand)]
    pub(crate) action: CredentialAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialAction {
    /// List second credentials: which are in use, and whether those that are not can be read.
    List,
    /// Use the second credential in place of the first, or the other way round.
    Switch {
        /// The name under [secrets.standby].
        name: String,
        /// Back to the first.
        #[arg(long)]
        back: bool,
        #[command(flatten)]
        key: OperatorFlags,
    },
}

pub(super) fn run(typed: &Credential, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let (state, clock) = (StateDir::open(config.state_folder()?)?, SystemClock::shared());
    let redactor = redactor(&config, &state)?;
    // without the switch: each reference is read as it is written
    let keeper = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?;
    let desk = Desk { config, state, clock, redactor, keeper, as_json: typed.state.json, screen };
    match &typed.action {
        CredentialAction::List => desk.list(),
        CredentialAction::Switch { name, back, key } => desk.switch(name, *back, key),
    }
}

struct Desk {
    config: Config,
    state: StateDir,
    clock: SharedClock,
    redactor: Redactor,
    keeper: Keeper,
    as_json: bool,
    screen: Screen,
}

impl Desk {
    fn standby(&self, name: &str) -> Result<&Standby> {
        let all = &self.config.secrets.standby;
        all.get(name).ok_or_else(|| {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            let there = if known.is_empty() {
                String::from("the configuration names none (see bartizan credential --help)")
            } else {
                format!("there are: {}", known.join(", "))
            };
            Error::new(Kind::BadConfig, format!("There is no second credential of that name; {there}."))
        })
    }

    /// The fingerprint of what is behind a reference; null where a value is too short for one.
    fn print(&self, reference: &Reference) -> Result<Option<String>> {
        Ok(self.redactor.fingerprint(self.keeper.resolve(reference)?.expose()))
    }

    fn list(&self) -> Result<()> {
        let on = Switch::new(&self.state).on()?;
        let mut rows = Vec::new();
        for (name, one) in &self.config.secrets.standby {
            let turned = on.get(name);
            let pairs: Vec<Value> = one
                .replace
                .iter()
                .map(|(first, second)| {
                    let told = |reference: &Reference| match self.print(reference) {
                        Ok(print) => json!({"reference": reference, "readable": true, "fingerprint": print}),
                        Err(error) => {
                            json!({"reference": reference, "readable": false, "reason": error.message()})
                        }
                    };
                    json!({"first": told(first), "second": told(second)})
                })
                .collect();
            rows.push(json!({
                "name": name, "in_use": if turned.is_some() { "second" } else { "first" },
                "since": turned.map(since), "by": turned.map(|turned| visible(&turned.by)),
                "replace": pairs,
            }));
        }
        let unknown: Vec<&String> =
            on.keys().filter(|name| !self.config.secrets.standby.contains_key(*name)).collect();
        if self.as_json {
            self.screen.json(&json!({"credentials": rows, "unknown": unknown}));
            return Ok(());
        }
        for row in &rows {
            let name = row["name"].as_str().unwrap_or_default();
            let second = row["in_use"] == "second";
            let word = if second {
                let (since, by) = (&row["since"], &row["by"]);
                format!(
                    "the second is in use since {}, by {}",
                    since.as_str().unwrap_or_default(),
                    by.as_str().unwrap_or_default()
                )
            } else {
                String::from("the first is in use")
            };
            let tone = if second { Tone::Note } else { Tone::Good };
            self.screen.line(&format!(
                "{}  {}",
                self.screen.paint(Tone::Strong, name),
                self.screen.paint(tone, &word)
            ));
            for pair in row["replace"].as_array().into_iter().flatten() {
                let told = |one: &Value| {
                    let reference = one["reference"].as_str().unwrap_or_default();
                    match (one["readable"] == true, one["fingerprint"].as_str()) {
                        (true, Some(print)) => format!("{reference} ({print})"),
                        (true, None) => format!("{reference} (readable)"),
                        (false, _) => format!("{reference} (cannot be read)"),
                    }
                };
                self.screen.line(&format!("    {}  ->  {}", told(&pair["first"]), told(&pair["second"])));
            }
        }
        if rows.is_empty() {
            self.screen.note("No second credential stands ready; see bartizan credential --help.");
        }
        for name in unknown {
            self.screen.note(&format!(
                "{} is switched over and no longer in the configuration, so it has no effect.",
                visible(name)
            ));
        }
        Ok(())
    }

    fn switch(&self, name: &str, back: bool, key: &OperatorFlags) -> Result<()> {
        let standby = self.standby(name)?;
        let switch = Switch::new(&self.state);
        let to = if back { "first" } else { "second" };
        if switch.on()?.contains_key(name) != back {
            self.said(name, to, false);
            return Ok(());
        }
        let mut prints = Vec::new();
        for (first, second) in &standby.replace {
            let chosen = if back { first } else { second };
            let print = self.print(chosen).map_err(|error| {
                Error::new(
                    Kind::BadConfig,
                    format!(
                        "The {to} credential of {name} cannot be read, so nothing was switched: {}",
                        error.message()
                    ),
                )
            })?;
            prints.push(json!({"reference": chosen, "fingerprint": print}));
        }
        let log = Log::open(self.config.clone())?;
        let mut detail = json!({"name": name, "to": to, "credentials": prints});
        let approvals = Approvals::open(&self.config.approvals, self.state.path(), self.clock.clone())?;
        let by = authorise(&approvals, &log, Event::CredentialSwitched.name(), &detail, key)?;
        let by = by.map_or_else(account, |operator| operator.name().to_owned());
        detail["by"] = json!(by);
        let turned = (!back).then(|| Turned { since: self.clock.wall().as_secs(), by });
        log.act(Event::CredentialSwitched.name(), &detail, || switch.turn(name, turned))?;
        self.said(name, to, true);
        Ok(())
    }

    fn said(&self, name: &str, to: &str, switched: bool) {
        if self.as_json {
            self.screen.json(&json!({"name": name, "in_use": to, "switched": switched}));
        } else if switched {
            self.screen.line(&self.screen.paint(
                Tone::Good,
                &format!("The {to} credential of {name} is used from now on, in every process of this state directory."),
            ));
            self.screen.note("Approvals that were given for the other one are void.");
        } else {
            self.screen.line(&format!("The {to} credential of {name} is in use already."));
        }
    }
}

fn since(turned: &Turned) -> String {
    rfc3339(std::time::Duration::from_secs(turned.since))
}
