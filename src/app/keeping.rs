//! Secrets of a configuration, and what is told of them.
//!
//! Owns [`keeper`]. The idea: whoever reads a secret need not know that it is written down; here the two meet.
//!
//! Must not: see a secret.

use std::sync::Arc;

use crate::audit::Audit;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::error::Result;
use crate::json::json;
use crate::redaction::Redactor;
use crate::state::StateDir;
use crate::vault::{Keeper, Tokens};

/// Who reads the secrets; what it finds is in the audit.
pub(super) fn keeper(
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
    (audit, state): (&Arc<Audit>, &StateDir),
) -> Result<Keeper> {
    let keeper = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
    // nothing real is fetched in practice
    let kept = !config.practice;
    let tokens =
        kept.then(|| Tokens::open(&config.tokens, state, config.profile.name(), &keeper)).transpose()?;
    let audit = Arc::downgrade(audit);
    Ok(keeper.keeping(tokens.flatten()).heard_by(move |told| {
        if let Some(audit) = audit.upgrade() {
            let name = match told.what {
                "loaded" => "secret loaded",
                "replaced" => "secret replaced",
                _ => "secret unreadable",
            };
            audit.note(name, &json!({"reference": told.reference, "fingerprint": told.fingerprint}));
        }
    }))
}
