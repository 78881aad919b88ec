//! What instances have in common, made from the configuration.
//!
//! Owns the keys that seal and the store that instances share. The idea: one store for each process, opened before
//! anything that keeps its records there; without one they lie in the state directory.
//!
//! Must not: keep a secret in the configuration.

use std::sync::Arc;

use crate::approvals::Approvals;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::server::{KeyRing, Spent};
use crate::state::{Folder, Shared, StateDir};
use crate::vault::{Keeper, Reference};

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
