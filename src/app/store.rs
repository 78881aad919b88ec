//! What instances have in common, made from the configuration.
//!
//! Owns the place of the state, the keys that seal and the store that instances share. The idea: one store for each process, opened before
//! anything that keeps its records there; without one they lie in the state directory.
//!
//! Must not: keep a secret in the configuration.

use std::sync::Arc;

use crate::approvals::Approvals;
use crate::audit::{Audit, Event};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, Profile};
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::secret::Secret;
use crate::server::{KeyRing, Spent};
use crate::state::shared::News;
use crate::state::{Fleeting, Folder, Shared, StateDir};
use crate::vault::{Keeper, Reference};

/// Where the state is. A stateless configuration has it in memory, for as long as the second is held.
pub fn place(config: &Config) -> Result<(StateDir, Option<Fleeting>)> {
    if !config.stateless {
        return Ok((StateDir::open(config.state_folder()?)?, None));
    }
    let refuse = |what: &'static str| Err(Error::new(Kind::BadConfig, what));
    if config.profile != Profile::Development {
        return refuse(
            "`stateless` leaves no audit, and nobody can approve or freeze from outside; it is for \
             profile = \"development\" only.",
        );
    }
    if config.state_dir.is_some() {
        return refuse("`stateless` and `state_dir` contradict each other: leave one of them out.");
    }
    if audits_nothing(config) && (config.alerts.is_on() || !config.audit.anchor.to.is_empty()) {
        return refuse(
            "[alerts] and [audit.anchor] tell others what is in the audit, and a stateless server writes none; name a \
             file with `path` under [audit], or leave `stateless` out.",
        );
    }
    let fleeting = Fleeting::make()?;
    Ok((fleeting.state().clone(), Some(fleeting)))
}

/// Whether calls leave no line: stateless, and no file was named.
pub(super) fn audits_nothing(config: &Config) -> bool {
    config.stateless && config.audit.path.is_none()
}

/// What seals: the keys that the configuration names, so that several instances can share them, or one of our own.
pub(super) fn sealing(
    config: &Config,
    state: &StateDir,
    resolve: impl Fn(&Reference) -> Result<Secret>,
) -> Result<KeyRing> {
    let named = &config.server.sealing_keys;
    if named.is_empty() {
        return KeyRing::new(&[state.key("sealing.key")?]);
    }
    let keys: Result<Vec<Secret>> = named.iter().map(|named| resolve(&Reference::parse(named)?)).collect();
    keys.and_then(|keys| KeyRing::read(&keys)).map_err(|error| {
        let said = format!("`sealing_keys` under [server]: {}", error.message());
        Error::new(error.kind(), said).with_source(error)
    })
}

/// The password of the store, if it has one; nothing if the configuration names no store.
#[allow(clippy::option_option, reason = "no store is one thing, a store without a password another")]
fn password(
    config: &Config,
    resolve: impl Fn(&Reference) -> Result<Secret>,
) -> Result<Option<Option<Secret>>> {
    if !config.store.is_used() {
        return Ok(None);
    }
    if config.server.sealing_keys.is_empty() {
        return Err(Error::new(
            Kind::BadConfig,
            "[store] needs `sealing_keys` under [server], the same ones on every instance: what is shared is sealed.",
        ));
    }
    let password = config.store.password.as_ref().map(|named| {
        Reference::parse(named).and_then(|named| resolve(&named)).map_err(|error| {
            let said = format!("`password` under [store]: {}", error.message());
            Error::new(error.kind(), said).with_source(error)
        })
    });
    password.transpose().map(Some)
}

/// The store that instances share, if the configuration names one.
pub(super) async fn shared(
    config: &Config,
    keys: &KeyRing,
    secrets: &Keeper,
    state: &StateDir,
    clock: &SharedClock,
) -> Result<Option<Arc<Shared>>> {
    let Some(password) = password(config, |named| secrets.resolve(named))? else { return Ok(None) };
    Shared::open(&config.store, password, keys.clone(), state.clone(), clock.clone()).await.map(Some)
}

/// The same for a command that serves nothing; to be called outside of a runtime.
pub fn shared_now(config: &Config) -> Result<Option<Arc<Shared>>> {
    let Some(password) = password(config, Reference::resolve)? else { return Ok(None) };
    let state = StateDir::open(config.state_folder()?)?;
    let keys = sealing(config, &state, Reference::resolve)?;
    Shared::open_now(&config.store, password, keys, state, SystemClock::shared()).map(Some)
}

/// The approvals, wherever they lie, for a command that serves nothing.
pub fn approvals(config: &Config) -> Result<Arc<Approvals>> {
    let shared = shared_now(config)?;
    Approvals::open_in(&config.approvals, &config.state_folder()?, shared.as_ref(), SystemClock::shared())
}

/// What becomes of the store, in the audit.
pub(super) fn heard(config: &Config, shared: &Shared, audit: &Arc<Audit>) {
    let (mode, audit) = (config.limits.on_outage, Arc::downgrade(audit));
    shared.on_news(move |news| {
        let Some(audit) = audit.upgrade() else { return };
        match news {
            News::Lost(problem) => {
                let facts = json!({"mode": mode, "reason": problem.sentence()});
                audit.note(Event::SharedStoreLost, &facts);
            }
            News::Back => audit.note(Event::SharedStoreBack, &json!({})),
            News::Doubted => audit.note(Event::StoreRejected, &json!({"what": "shared store"})),
        }
    });
}

/// Where refused logins are counted.
pub(super) fn logins(shared: Option<&Arc<Shared>>, state: &StateDir) -> Result<Folder> {
    Ok(match shared {
        Some(shared) => shared.folder("logins"),
        None => state.folder("logins")?.into(),
    })
}

/// Where it is remembered which states were used.
pub(super) fn spent(config: &Config, shared: Option<&Arc<Shared>>, state: &StateDir) -> Result<Spent> {
    match shared {
        Some(shared) => Ok(Spent::shared(shared.clone(), config.server.state_ttl_seconds)),
        None => Spent::open(state),
    }
}
