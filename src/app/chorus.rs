//! What instances say to each other: what is frozen, and which keys were taken back.
//!
//! Owns [`listen`], [`freeze`] and [`keys`]. The idea: each instance keeps what it knows in its own state directory and says it in
//! the store; it looks there whenever somebody calls out, after every while that the store was away, and a few times a
//! second at what has changed here. A key that was taken back stays so, and a freeze ends only where an operator's key
//! proves it; so whatever the store loses is said again, and nothing it says can let more through.
//!
//! Must not: keep the server alive.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::Result;
use crate::freeze::{Freeze, Sheet};
use crate::identity::keys::KeyStore;
use crate::state::shared::Directory;
use crate::state::{Folder, Shared};

/// How often what has changed here is looked at, and what failed is tried again.
const EVERY: Duration = Duration::from_millis(250);
/// The least time between two rounds: instances that cannot read each other do not wear out the store.
const REST: Duration = Duration::from_millis(50);
/// The file that says what is frozen.
const FREEZE: &str = "freeze";
/// The folder whose names are the keys that were taken back.
const REVOKED: &str = "revoked";
/// How long a process that begins waits for what others have frozen, if the store does not say before that it is away.
const PATIENCE: Duration = Duration::from_secs(10);

fn said(shared: &Arc<Shared>, what: &str) -> Option<Directory> {
    match shared.lasting(what) {
        Folder::Shared(directory) => Some(directory),
        Folder::Own(_) => None,
    }
}

async fn aside(work: impl FnOnce() -> Result<()> + Send + 'static) -> bool {
    matches!(tokio::task::spawn_blocking(work).await, Ok(Ok(())))
}

/// Agrees with the other instances about what is frozen, for as long as there is a switch.
pub(super) async fn freeze(switch: Weak<Freeze>, shared: Arc<Shared>) {
    let mut changes = shared.changes();
    let Some(mut own) = switch.upgrade().map(|switch| switch.watch()) else { return };
    loop {
        changes.mark_unchanged();
        own.mark_unchanged();
        let Some(switch) = switch.upgrade() else { return };
        let shared = Arc::clone(&shared);
        let done = aside(move || agree(&switch, &shared)).await;
        tokio::time::sleep(REST).await;
        tokio::select! {
            heard = changes.changed() => if heard.is_err() { return },
            heard = own.changed() => if heard.is_err() { return },
            () = tokio::time::sleep(EVERY), if !done => {}
        }
    }
}

/// Hears what is frozen before anything runs. Where nobody can be asked in time, what is no read waits for [`freeze`].
pub(super) async fn listen(switch: &Arc<Freeze>, shared: &Arc<Shared>) {
    switch.listens();
    let (switch, shared) = (Arc::clone(switch), Arc::clone(shared));
    let asked = aside(move || agree(&switch, &shared));
    if !tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false) {
        tracing::warn!(
            "what other instances have frozen was not heard yet; until then whatever is no read is refused"
        );
    }
}

fn agree(switch: &Freeze, shared: &Arc<Shared>) -> Result<()> {
    let lasting = shared.lasting("switch");
    let Some(folder) = lasting.directory() else { return Ok(()) };
    let hear = || -> Result<Option<Sheet>> {
        // what is no sheet is said again by whoever knows better
        let theirs = folder.heard(FREEZE)?.and_then(|bytes| Sheet::read(&bytes).ok());
        if let Some(theirs) = &theirs {
            switch.hear(theirs.clone())?;
        }
        switch.heard();
        Ok(theirs)
    };
    if switch.news(hear()?.as_ref()).is_none() {
        return Ok(());
    }
    // one at a time, so that nobody's narrower freeze takes the place of a wider one
    let _turn = lasting.lock(FREEZE)?;
    match switch.news(hear()?.as_ref()) {
        Some(ours) => folder.say(FREEZE, &ours.bytes()?),
        None => Ok(()),
    }
}

/// Agrees with the other instances about which keys were taken back, for ever.
pub(super) async fn keys(keys: Arc<KeyStore>, shared: Arc<Shared>) {
    let mut changes = shared.changes();
    let mut last = None;
    loop {
        let heard = changes.has_changed().unwrap_or(true);
        changes.mark_unchanged();
        let now = (keys.ids(), keys.revoked().ok());
        if heard || last.as_ref() != Some(&now) {
            let (keys, shared) = (Arc::clone(&keys), Arc::clone(&shared));
            let done = aside(move || revoke(&keys, &shared)).await;
            last = done.then_some(now);
            tokio::time::sleep(REST).await;
        }
        tokio::select! {
            heard = changes.changed() => {
                if heard.is_err() {
                    return;
                }
                // for the next round to see
                changes.mark_changed();
            }
            () = tokio::time::sleep(EVERY) => crate::transport::auth::Authenticator::refresh(&*keys),
        }
    }
}

/// Only what was taken back in so many words is told, or believed: a key that is in nobody's file any more says nothing.
fn revoke(keys: &KeyStore, shared: &Arc<Shared>) -> Result<()> {
    let Some(folder) = said(shared, REVOKED) else { return Ok(()) };
    let (ours, theirs) = (keys.revoked()?, folder.all()?);
    for id in keys.ids().iter().filter(|id| theirs.contains(*id) || ours.contains(*id)) {
        keys.revoke(id)?;
        tracing::info!("a key that was taken back, here or on another instance, is refused from now on");
    }
    for id in ours.difference(&theirs) {
        folder.say(id, b"")?;
    }
    Ok(())
}

/// Says that a key was taken back, for a command that serves nothing.
pub fn say_revoked(shared: &Arc<Shared>, id: &str) -> Result<()> {
    match said(shared, REVOKED) {
        Some(folder) => folder.say(id, b""),
        None => Ok(()),
    }
}
