//! What a freeze means beyond the line.
//!
//! Owns [`follow`]. The idea: the line refuses by itself; here the file is looked at even while nobody calls, so that
//! streams close and what runs ends within a second, and what else has to go goes: each change is in the audit, and
//! with everything frozen no token of an upstream stays in memory.
//!
//! Must not: keep the server alive.

use std::sync::{Arc, Weak};

use super::App;
use crate::freeze::{EVERY, Extent, Freeze};
use crate::json::json;

/// Looks after the switch for as long as there is an app.
pub(super) fn follow(app: &Arc<App>) {
    let watched = Arc::downgrade(&app.freeze);
    tokio::spawn(look(watched));
    if let Some(shared) = app.shared() {
        tokio::spawn(super::chorus::freeze(Arc::downgrade(&app.freeze), Arc::clone(shared)));
    }
    tokio::spawn(act(Arc::downgrade(app), app.freeze.watch()));
}

async fn look(freeze: Weak<Freeze>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(freeze) = freeze.upgrade() else { return };
        freeze.refresh();
    }
}

async fn act(app: Weak<App>, mut changes: tokio::sync::watch::Receiver<Extent>) {
    let mut extent = Extent::Nothing;
    loop {
        let now = *changes.borrow_and_update();
        if now != extent {
            let Some(app) = app.upgrade() else { return };
            extent = now;
            app.note_freeze(extent);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl App {
    fn note_freeze(&self, extent: Extent) {
        if extent == Extent::All {
            self.secrets.load().forget();
        }
        let id = self.freeze.sheet().map(|sheet| sheet.notice.id);
        let detail = json!({"extent": extent, "freeze": id});
        self.audit.note(if extent == Extent::Nothing { "thawed here" } else { "frozen here" }, &detail);
    }
}
