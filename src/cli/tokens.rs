//! `bartizan tokens`.
//!
//! Owns the operator's side of tokens that are kept. The idea: a key is replaced by putting the new one first, sealing
//! everything anew, and taking the old one away; nothing has to be fetched again.
//!
//! Must not: show a token.

use super::args::{Tokens as Typed, TokensAction};
use super::operator::Log;
use super::screen::Screen;
use super::settings;
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::redaction::Redactor;
use crate::state::StateDir;
use crate::vault::{Keeper, Tokens};

pub(super) fn run(typed: &Typed, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let state = StateDir::open(config.state_folder()?)?;
    let (redactor, clock) = (Redactor::new(&config.redaction)?, SystemClock::shared());
    let keeper = Keeper::open(&config.secrets, &config.egress, &redactor, &clock)?.standing_by(&state)?;
    let tokens = Tokens::open(&config.tokens, &state, config.profile.name(), &keeper)?.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "No tokens are kept: `persist` under [tokens] is not set in the configuration.",
        )
    })?;
    let (done, said) = match typed.action {
        TokensAction::List => {
            let count = tokens.names()?.len();
            (json!({"tokens": count}), format!("{count} kept"))
        }
        TokensAction::RotateKey => {
            let log = Log::open(config)?;
            let (sealed, lost) = log.act("token key rotated", &json!({}), || tokens.reseal())?;
            let said = format!("{sealed} sealed with the first key; {lost} did not open and were removed");
            (json!({"sealed": sealed, "removed": lost}), said)
        }
        TokensAction::Clear => {
            let log = Log::open(config)?;
            let count = log.act("tokens removed", &json!({}), || tokens.clear())?;
            (json!({"removed": count}), format!("{count} removed"))
        }
    };
    if typed.state.json {
        screen.json(&done);
    } else {
        screen.line(&said);
    }
    Ok(())
}
