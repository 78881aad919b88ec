//! States that were used.
//!
//! Owns [`Spent`]. The idea: a sealed state lets a call that asked go on once, where the call changes something. What was
//! used is remembered, as a digest under the time at which it ends anyway, in a folder that all processes with the same
//! sealing key share, or in the store that instances share; of many requests with one state exactly one is the first.
//!
//! Must not: know what a state says, or remember more than a bound.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::state::{Once, StateDir};

/// How many are remembered at once; beyond it nothing that changes something goes on after a question.
const MOST: usize = 10_000;

/// States that were used and would still open.
pub struct Spent(Kept);

enum Kept {
    Folder(Arc<StateDir>),
    /// And how long a state lasts, in milliseconds.
    Shared(Arc<dyn Once>, u64),
}

impl Spent {
    /// Those of a state directory.
    pub fn open(state: &StateDir) -> Result<Self> {
        Ok(Self(Kept::Folder(Arc::new(state.folder("spent")?))))
    }

    /// Those of all instances, each of which lasts for so many seconds.
    pub fn shared(once: Arc<dyn Once>, seconds: u64) -> Self {
        Self(Kept::Shared(once, seconds.saturating_mul(1000)))
    }

    /// Uses a state that ends at `until` (milliseconds since the epoch); false if it was used before.
    pub(super) async fn spend(&self, state: &str, until: u64, now: u64) -> Result<bool> {
        let digest = Digest::of(state.as_bytes());
        let folder = match &self.0 {
            Kept::Folder(folder) => Arc::clone(folder),
            Kept::Shared(once, lasts) => {
                let made = Duration::from_millis(until.saturating_sub(*lasts));
                return once
                    .first("state", &digest, Some(made), Duration::from_millis(until.saturating_sub(now)))
                    .await;
            }
        };
        let name = format!("{until:016x}.{}", digest.hex());
        let work = move || {
            let names = folder.names()?;
            let ends =
                |name: &str| name.split_once('.').and_then(|(until, _)| u64::from_str_radix(until, 16).ok());
            let mut kept = 0;
            for name in &names {
                match ends(name) {
                    Some(until) if until <= now => folder.remove(name)?,
                    _ => kept += 1,
                }
            }
            if kept >= MOST {
                let wait = names.iter().filter_map(|name| ends(name)).filter(|until| *until > now).min();
                let wait = Duration::from_millis(wait.unwrap_or(now).saturating_sub(now));
                let message = "Too many questions are being answered at once; try again later.";
                return Err(Error::new(Kind::RateLimited, message).with_retry_after(wait));
            }
            folder.create(&name, b"")
        };
        tokio::task::spawn_blocking(work).await.map_err(|cause| {
            Error::new(Kind::Internal, "Going on after a question was interrupted.").with_source(cause)
        })?
    }
}
