//! Who sees what the audit writes.
//!
//! Owns [`Witnesses`]: the watcher that raises alerts and the anchor outside. The idea: both get copies of lines that are
//! in the file, and neither holds up a call.
//!
//! Must not: be needed for a call to run.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::alerts::Watcher;
use crate::audit::Audit;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::error::Result;
use crate::redaction::Redactor;
use crate::relay::{Anchor, Means};
use crate::vault::Keeper;

/// What whoever tells somebody outside is made with.
pub(super) fn means(config: &Config, redactor: &Redactor, clock: &SharedClock, secrets: &Keeper) -> Means {
    let (redactor, clock) = (redactor.clone(), clock.clone());
    Means { egress: config.egress.clone(), redactor, clock, secrets: secrets.clone() }
}

/// Those of this process.
#[derive(Default)]
pub(super) struct Witnesses {
    watcher: Option<Arc<Watcher>>,
    anchor: Option<Arc<Anchor>>,
    keeping: Option<AbortOnDropHandle<()>>,
}

impl Witnesses {
    /// Opens what the configuration names.
    pub(super) fn open(config: &Config, audit: &Arc<Audit>, means: &Means) -> Result<Self> {
        let mut all = Self::default();
        if config.alerts.is_on() {
            let watcher = Watcher::open(&config.alerts, means.clone(), audit.path())?;
            watcher.notes_in(audit);
            audit.copy_to(watcher.clone());
            all.watcher = Some(watcher);
        }
        let settings = &config.audit.anchor;
        if !settings.to.is_empty() {
            let anchor = Anchor::open(settings, means.clone())?;
            audit.copy_to(anchor.clone());
            let every = Duration::from_secs(u64::from(settings.seconds.max(1)));
            let keeping = tokio::spawn(anchor.clone().keep(Arc::downgrade(audit), every));
            all.keeping = Some(AbortOnDropHandle::new(keeping));
            all.anchor = Some(anchor);
        }
        Ok(all)
    }

    /// Gives what waits that long to be told.
    pub(super) async fn end(&self, within: Duration) {
        if let Some(watcher) = &self.watcher {
            watcher.end(within).await;
        }
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
        if let Some(anchor) = &self.anchor {
            anchor.end(within).await;
        }
    }
}
