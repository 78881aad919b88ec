//! `bartizan approvals factor`.
//!
//! Owns enrolling second factors at the terminal. The idea: the secret is shown once, as a picture for a phone, and
//! counts only once a code of it came back.
//!
//! Must not: write the secret anywhere but to the screen, or act without a line in the audit.

use std::io::IsTerminal;
use std::time::Duration;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::accept::First;
use super::args::{FactorAction, OperatorFlags};
use super::operator::{Log, code, operator, passphrase, second_factor};
use super::screen::{Screen, Tone};
use crate::approvals::{Approvals, Opens, Proven};
use crate::clock::rfc3339;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::json;

pub(super) fn run(
    approvals: &Approvals,
    action: &FactorAction,
    config: Config,
    as_json: bool,
    screen: Screen,
) -> Result<()> {
    match action {
        FactorAction::List => list(approvals, as_json, screen),
        FactorAction::Enrol { name, page, show_uri, key } => {
            let first = First::of(&config, approvals)?;
            let log = Log::open(config)?;
            enrol(approvals, &log, (name, *page, *show_uri), (key, first), as_json, screen)
        }
        FactorAction::Remove { name, key } => {
            let log = Log::open(config)?;
            remove(approvals, &log, name, key)?;
            done(&format!("{name} has no second factor any more."), name, as_json, screen);
            Ok(())
        }
        FactorAction::Unlock { name, key } => {
            let log = Log::open(config)?;
            unlock(approvals, &log, name, key)?;
            done(&format!("The second factor of {name} can be tried again."), name, as_json, screen);
            Ok(())
        }
    }
}

fn done(sentence: &str, name: &str, as_json: bool, screen: Screen) {
    if as_json {
        screen.json(&json!({"factor": name, "done": true}));
    } else {
        screen.line(sentence);
    }
}

fn list(approvals: &Approvals, as_json: bool, screen: Screen) -> Result<()> {
    let all = approvals.second_factors()?;
    if as_json {
        screen.json(&json!({"factors": all}));
        return Ok(());
    }
    for one in &all {
        let state = if one.locked { screen.paint(Tone::Bad, "locked") } else { String::from("good") };
        let sealed = if one.needs_passphrase { "sealed by its passphrase" } else { "the page can check it" };
        let since = rfc3339(Duration::from_millis(one.enrolled));
        screen.line(&format!(
            "{}  {state}  since {since}  {sealed}  {} recovery codes left",
            screen.paint(Tone::Strong, &one.name),
            one.recovery_left
        ));
    }
    if all.is_empty() {
        screen.note("Nobody has a second factor; enrol one with: bartizan approvals factor enrol NAME");
    }
    Ok(())
}

fn enrol(
    approvals: &Approvals,
    log: &Log,
    (name, page, show_uri): (&str, bool, bool),
    (flags, first): (&OperatorFlags, Option<First>),
    as_json: bool,
    screen: Screen,
) -> Result<()> {
    let begun = approvals.begin_factor(name)?;
    let detail = json!({"operator": name, "page": page});
    let act = "second factor enrolled";
    let is_operator = approvals.operators()?.iter().any(|known| known == name);
    let (operator, unlocked) = if is_operator {
        let passphrase = passphrase(flags, &format!("Passphrase of operator {name}: "), false)?;
        let operator = log.noting(act, &detail, approvals.operator(name, None, &passphrase))?;
        (Some(operator), Some(passphrase))
    } else if page {
        // an approver of the page has no passphrase; an operator says that this is theirs
        (super::operator::authorise(approvals, log, act, &detail, flags)?, None)
    } else {
        return Err(Error::new(
            Kind::BadConfig,
            "There is no operator of that name; enrol them first (bartizan approvals enrol NAME), or say --page for an \
             approver who decides on the approval page.",
        ));
    };
    let address = begun.address()?;
    let picture = QrCode::new(address.expose().as_bytes()).map_err(|cause| {
        Error::new(Kind::Internal, "The QR code could not be drawn; try --show-uri.").with_source(cause)
    })?;
    if as_json {
        screen.json(&json!({"uri": address.expose()}));
    } else {
        // dark on light whatever the terminal's colours are, as cameras want it
        let drawn =
            picture.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
        for line in drawn.lines() {
            screen.line(&screen.paint(Tone::Picture, line));
        }
        if show_uri || !std::io::stdout().is_terminal() {
            screen.line(address.expose());
        }
        screen.line("Scan this with an authenticator (any that speaks TOTP), then type the code it shows.");
    }
    let typed = match &flags.code {
        Some(_) if page && !is_operator => code("Code: ")?,
        Some(code) => crate::secret::Secret::new(code.clone()),
        None => code("Code: ")?,
    };
    let opens = match &unlocked {
        Some(passphrase) if !page => Opens::Passphrase(passphrase),
        _ => Opens::Page,
    };
    let recovery = log.act(act, &detail, || approvals.confirm_factor(&begun, typed.expose(), &opens))?;
    // a code was shown just now
    let operator = operator.map(|operator| operator.with_factor(Some(Proven::Totp)));
    let accepted = match (first, &operator) {
        (Some(first), Some(operator)) => Some(first.accept(approvals, log, operator)?),
        _ => None,
    };
    let shown: Vec<&str> = recovery.iter().map(crate::secret::Secret::expose).collect();
    if as_json {
        screen.json(&json!({"factor": name, "page": page, "recovery_codes": shown}));
        return Ok(());
    }
    screen.line(&screen.paint(Tone::Good, &format!("{name} has a second factor.")));
    screen.line("Recovery codes: each is good once, and they are not shown again. Keep them on paper.");
    for pair in shown.chunks(2) {
        screen.line(&format!("  {}", pair.join("    ")));
    }
    if let Some(accepted) = accepted {
        screen.note(&accepted);
    }
    Ok(())
}

fn remove(approvals: &Approvals, log: &Log, name: &str, flags: &OperatorFlags) -> Result<()> {
    let detail = json!({"operator": name});
    let act = "second factor removed";
    let kept = approvals.second_factor(name)?.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "There is no second factor of this name; see bartizan approvals factor list.",
        )
    })?;
    let passphrase = if kept.needs_passphrase {
        let passphrase = passphrase(flags, &format!("Passphrase of operator {name}: "), false)?;
        log.noting(act, &detail, approvals.operator(name, None, &passphrase))?;
        passphrase
    } else {
        crate::secret::Secret::new("")
    };
    log.noting(act, &detail, second_factor(approvals, log, (name, &passphrase), flags, true))?;
    log.act(act, &detail, || approvals.remove_factor(name))
}

fn unlock(approvals: &Approvals, log: &Log, name: &str, flags: &OperatorFlags) -> Result<()> {
    let other = operator(approvals, flags)?;
    let detail = json!({"operator": other, "factor": name});
    let act = "second factor unlocked";
    if other == name {
        return Err(Error::new(
            Kind::Forbidden,
            "Nobody unlocks their own second factor: show one of its recovery codes instead of a code, or let another \
             operator unlock it (--operator OTHER).",
        ));
    }
    let passphrase = passphrase(flags, &format!("Passphrase of operator {other}: "), false)?;
    log.noting(act, &detail, approvals.operator(&other, None, &passphrase))?;
    let due = approvals.second_factor(&other)?.is_some();
    log.noting(act, &detail, second_factor(approvals, log, (&other, &passphrase), flags, due))?;
    log.act(act, &detail, || approvals.unlock_factor(name))
}
