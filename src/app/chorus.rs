//! What instances say to each other: what is frozen, and which keys were taken back.
//!
//! Owns [`freeze`] and [`keys`]. The idea: each instance keeps what it knows in its own state directory and says it in
//! the store; it looks there whenever somebody calls out, after every while that the store was away, and a few times a
//! second at what has changed here. A key that was taken back stays so, and a freeze ends only where an operator's key
//! proves it; so whatever the store loses is said again, and nothing it says can let more through.
//!
//! Must not: keep the server alive.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::Result;
use crate::freeze::{Freeze, Sheet};
use crate::identity::keys::KeyStore;
use crate::state::shared::Directory;
use crate::state::{Folder, Shared};

/// How often what has changed here is looked at, and what failed is tried again.
const EVERY: Duration = Duration::from_millis(250);
/// The file that says what is frozen.
const FREEZE: &str = "freeze";

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
        tokio::select! {
            heard = changes.changed() => if heard.is_err() { return },
            heard = own.changed() => if heard.is_err() { return },
            () = tokio::time::sleep(EVERY), if !done => {}
        }
    }
}

fn agree(switch: &Freeze, shared: &Arc<Shared>) -> Result<()> {
    let Some(folder) = said(shared, "switch") else { return Ok(()) };
    let theirs = match folder.heard(FREEZE)? {
        Some(bytes) => Some(Sheet::read(&bytes)?),
        None => None,
    };
    if let Some(theirs) = &theirs {
        switch.hear(theirs.clone())?;
    }
    let later = |ours: &Sheet| match &theirs {
        None => true,
        Some(theirs) => {
            let order = |sheet: &Sheet| (sheet.notice.at, sheet.lift.is_some());
            order(ours) > order(theirs)
        }
    };
    if let Some(ours) = switch.sheet().filter(later) {
        folder.say(FREEZE, &ours.bytes()?)?;
    }
    Ok(())
}

/// Agrees with the other instances about which keys were taken back, for ever.
pub(super) async fn keys(keys: Arc<KeyStore>, shared: Arc<Shared>) {
    let mut changes = shared.changes();
    let mut memory = Memory { here: ids(&keys), gone: BTreeSet::new(), said: false };
    loop {
        let heard = changes.has_changed().unwrap_or(true) || !memory.said;
        changes.mark_unchanged();
        let here = ids(&keys);
        if heard || here != memory.here {
            memory.gone.extend(memory.here.difference(&here).cloned());
            memory.here = here;
            let (keys, shared) = (Arc::clone(&keys), Arc::clone(&shared));
            let mut told = memory.clone();
            let work = tokio::task::spawn_blocking(move || revoke(&mut told, &keys, &shared).map(|()| told));
            match work.await {
                Ok(Ok(told)) => memory = Memory { said: true, ..told },
                _ => memory.said = false,
            }
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

/// What is known of keys.
#[derive(Clone)]
struct Memory {
    here: BTreeSet<String>,
    /// Which were taken back while this process ran, here or elsewhere.
    gone: BTreeSet<String>,
    /// Whether the others know all of it.
    said: bool,
}

fn ids(keys: &KeyStore) -> BTreeSet<String> {
    keys.list().into_iter().map(|about| about.id).collect()
}

fn revoke(memory: &mut Memory, keys: &KeyStore, shared: &Arc<Shared>) -> Result<()> {
    let Some(folder) = said(shared, "revoked") else { return Ok(()) };
    let theirs: BTreeSet<String> = folder.all()?.into_iter().collect();
    for id in theirs.intersection(&memory.here) {
        keys.revoke(id)?;
        tracing::info!("a key was taken back on another instance");
    }
    memory.gone.extend(theirs.intersection(&memory.here).cloned());
    memory.here = ids(keys);
    for id in memory.gone.difference(&theirs) {
        folder.say(id, b"")?;
    }
    Ok(())
}

/// Says that a key was taken back, for a command that serves nothing.
pub fn say_revoked(shared: &Arc<Shared>, id: &str) -> Result<()> {
    match said(shared, "revoked") {
        Some(folder) => folder.say(id, b""),
        None => Ok(()),
    }
}
