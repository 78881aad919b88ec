//! `bartizan freeze` and `bartizan unfreeze`.
//!
//! Owns the operator's side of the switch. The idea: whoever sees something wrong can stop it without a key, at once;
//! starting again takes an operator's key, as an approval does. Either is in the audit.
//!
//! Must not: wait for the audit before freezing, or thaw without a line.

use std::sync::Arc;
use std::time::Duration;

use super::args::{Freeze as Typed, Unfreeze};
use super::operator::{Log, account, operator, passphrase, second_factor};
use super::screen::{Screen, Tone};
use super::settings;
use crate::approvals::{Approvals, visible};
use crate::audit::Event;
use crate::clock::{SystemClock, rfc3339};
use crate::config::Config;
use crate::error::Result;
use crate::freeze::{Extent, Freeze, Notice};
use crate::json::{Value, json};

/// Longest reason that is kept.
const LONGEST: usize = 500;

fn open(config: &Config) -> Result<(Arc<Approvals>, Arc<Freeze>)> {
    let (state, clock) = (config.state_folder()?, SystemClock::shared());
    let approvals = Approvals::open(&config.approvals, &state, clock.clone())?;
    let freeze = Freeze::open(&state, approvals.clone(), clock)?;
    Ok((approvals, freeze))
}

pub(super) fn freeze(typed: &Typed, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let (_, freeze) = open(&config)?;
    let extent = match typed.what.as_str() {
        "status" => {
            status(&freeze, typed.state.json, screen);
            return Ok(());
        }
        "writes" => Extent::Writes,
        _ => Extent::All,
    };
    let reason = typed.reason.as_deref().map(|words| words.chars().take(LONGEST).collect::<String>());
    // the switch first: an audit that cannot be written must not keep anything running
    let notice = freeze.freeze(extent, &account(), reason)?;
    let noted = Log::of_words(config).and_then(|log| {
        log.event(
            Event::Frozen.name(),
            &json!({"freeze": notice.id, "extent": extent, "by": notice.by, "reason": notice.reason}),
        )
    });
    if typed.state.json {
        screen.json(&shown(Some(&notice), extent));
    } else {
        screen.line(&screen.paint(
            Tone::Strong,
            if extent == Extent::All {
                "Everything is frozen."
            } else {
                "Writes are frozen; reading goes on."
            },
        ));
        screen.note("`bartizan unfreeze` ends it, with an operator key.");
    }
    noted
}

pub(super) fn unfreeze(typed: &Unfreeze, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let (approvals, freeze) = open(&config)?;
    let name = operator(&approvals, &typed.key)?;
    let secret = passphrase(&typed.key, &format!("Passphrase of operator {name}: "), false)?;
    let log = Log::open(config)?;
    let id = freeze.sheet().map(|sheet| sheet.notice.id);
    let detail = json!({"operator": name, "freeze": id});
    let notice = log.act(Event::Unfrozen.name(), &detail, || {
        let key = approvals.operator(&name, None, &secret)?;
        let due = log.factor_due(&approvals)?;
        let factor = second_factor(&approvals, &log, (&name, &secret), &typed.key, due)?;
        freeze.lift(&key.with_factor(factor))
    })?;
    if typed.state.json {
        screen.json(&shown(Some(&notice), Extent::Nothing));
    } else {
        screen.line(&screen.paint(Tone::Good, "Nothing is frozen any more."));
    }
    Ok(())
}

fn status(freeze: &Freeze, as_json: bool, screen: Screen) {
    let (extent, sheet) = (freeze.extent(), freeze.sheet());
    let held = sheet.as_ref().filter(|_| extent != Extent::Nothing).map(|sheet| &sheet.notice);
    if as_json {
        screen.json(&shown(held, extent));
        return;
    }
    let Some(notice) = held else {
        screen.line("Nothing is frozen.");
        return;
    };
    screen.line(&format!(
        "{} since {}, by {}",
        screen.paint(
            Tone::Bad,
            if extent == Extent::All { "Everything is frozen" } else { "Writes are frozen" }
        ),
        rfc3339(Duration::from_millis(notice.at)),
        visible(&notice.by),
    ));
    if let Some(reason) = &notice.reason {
        screen.line(&visible(reason));
    }
}

fn shown(notice: Option<&Notice>, extent: Extent) -> Value {
    json!({
        "frozen": extent,
        "freeze": notice.map(|notice| json!({
            "id": notice.id, "since": rfc3339(Duration::from_millis(notice.at)),
            "by": visible(&notice.by), "reason": notice.reason.as_deref().map(visible)
        })),
    })
}
