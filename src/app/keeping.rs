//! Secrets of a configuration, and what is told of them.
//!
//! Owns [`keeper`], [`credentials`] and [`follow`]. The idea: whoever reads a secret need not know that it is written
//! down; here the two meet. A server that runs looks by itself whether an operator has put another credential into use.
//!
//! Must not: see a secret.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::App;
use super::sources::accesses;
use crate::audit::{Audit, Event};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connectors::manifest::{Access, Way};
use crate::error::Result;
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::state::StateDir;
use crate::vault::{Ages, Keeper, Reference, Stand, Tokens, Use};

/// How often a server looks whether another credential is in use.
const EVERY: Duration = Duration::from_millis(200);

/// Who reads the secrets; what it finds is in the audit.
pub(super) fn keeper(
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
    (audit, state): (&Arc<Audit>, &StateDir),
) -> Result<Keeper> {
    let keeper = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
    let keeper = keeper.in_profile(config.profile.name()).standing_by(state)?;
    // nothing real is fetched in practice
    let kept = !config.practice;
    let tokens =
        kept.then(|| Tokens::open(&config.tokens, state, config.profile.name(), &keeper)).transpose()?;
    let book = Arc::downgrade(audit);
    let tokens = tokens.flatten().map(|tokens| {
        tokens.heard_by(move |file, reason| {
            if let Some(audit) = book.upgrade() {
                let detail = json!({"what": "kept token", "file": file, "reason": reason});
                audit.note(Event::StoreRejected, &detail);
            }
        })
    });
    let days = (config.secrets.warn_days, config.secrets.error_days);
    let shared = config.secrets.shared_between_profiles.clone();
    let ages = Ages::new(state.clone(), clock.clone(), config.profile.name(), days, shared);
    // in practice no credential is read
    let sides = kept && !config.secrets.standby.is_empty();
    let plain = if sides { Some(sorted(&accesses(config)?).1) } else { None };
    let audit = Arc::downgrade(audit);
    let keeper = keeper.keeping(tokens).heard_by(move |told| {
        let Some(audit) = audit.upgrade() else { return Ok(()) };
        let aged = told.mark.as_deref().map(|mark| ages.note(mark, &told.reference)).transpose();
        let name = match (told.what, &aged) {
            (_, Err(_)) => Event::SecretRefused,
            ("exposed", _) => Event::FileExposed,
            ("loaded", _) => Event::SecretLoaded,
            ("replaced", _) => Event::SecretReplaced,
            _ => Event::SecretUnreadable,
        };
        let mut detail = json!({"reference": told.reference, "fingerprint": told.fingerprint});
        if let Some(reason) = &told.reason {
            detail["reason"] = json!(reason);
        }
        if let Ok(Some((days, stand))) = &aged {
            detail["days"] = json!(days);
            match stand {
                Stand::Fine => {}
                Stand::Due => {
                    tracing::warn!(reference = told.reference, days, "a credential is old; replace it soon");
                }
                Stand::Overdue => {
                    tracing::error!(
                        reference = told.reference,
                        days,
                        "a credential is too old; replace it now"
                    );
                    audit.note(Event::SecretOverdue, &detail);
                }
            }
        }
        audit.note(name, &detail);
        aged.map(drop)
    });
    Ok(match plain {
        Some(plain) => keeper.guarding(&plain),
        None => keeper,
    })
}

/// Every reference of a configuration to what is, or may be, a secret. Sources that cannot be read name none.
pub fn credentials(config: &Config) -> Vec<Reference> {
    if config.practice {
        return Vec::new();
    }
    let (mut found, plain) = sorted(&accesses(config).unwrap_or_default());
    let mut walk = vec![serde_json::to_value(config).unwrap_or_default()];
    let mut add = |text: &str| found.extend(Reference::parse(text).ok().filter(|one| !plain.contains(one)));
    while let Some(next) = walk.pop() {
        match next {
            Value::String(text) => add(&text),
            Value::Array(items) => walk.extend(items),
            Value::Object(members) => members.into_iter().for_each(|(name, member)| {
                add(&name);
                walk.push(member);
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found.into_iter().collect()
}

/// References to secrets, and those behind which there is a name, an id or a certificate and nothing that is secret.
fn sorted(accesses: &[(String, Access)]) -> (HashSet<Reference>, HashSet<Reference>) {
    let all = || accesses.iter().flat_map(|(_, access)| access.ways()).flat_map(Way::references);
    let of = |secret: bool| all().filter(move |(_, what)| (*what == Use::Secret) == secret);
    let secret: HashSet<_> = of(true).map(|(one, _)| one.clone()).collect();
    let plain = of(false).map(|(one, _)| one.clone()).filter(|one| !secret.contains(one)).collect();
    (secret, plain)
}

/// Uses the credential that an operator chooses, for as long as there is an app. Nothing of the app is held meanwhile:
/// whoever drops it last must not be a task.
pub(super) fn follow(app: &Arc<App>) {
    tokio::spawn(look(Arc::downgrade(&app.secrets), Arc::downgrade(&app.audit)));
}

async fn look(secrets: Weak<ArcSwap<Keeper>>, audit: Weak<Audit>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(keeper) = secrets.upgrade().map(|secrets| secrets.load_full()) else { return };
        if !keeper.stands_by() {
            continue;
        }
        let turned = tokio::task::spawn_blocking({
            let keeper = keeper.clone();
            move || keeper.heed()
        });
        if turned.await.unwrap_or(false) {
            tracing::warn!("the switch was turned: another credential is in use, and read from now on");
            if let Some(audit) = audit.upgrade() {
                audit.note("credential switched here", &json!({"standby": keeper.standbys()}));
            }
        }
    }
}
