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
use crate::vault::Keeper;

/// Who reads the secrets; what it finds is in the audit.
pub(super) fn keeper(
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
    audit: &Arc<Audit>,
) -> Result<Keeper> {
    let keeper = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
    let audit = Arc::downgrade(audit);
    Ok(keeper.heard_by(move |told| {
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
