//! What this instance saw moved in the store.
//!
//! Owns [`Moved`]. The idea: what is sealed is never sealed alike twice, so the digest of its bytes names one state of
//! one record; a file of that name in the state directory, made before the record is moved, says that this state is
//! over. Whoever writes old bytes back into the store is not believed here, also after a start.
//!
//! Must not: forget a state before the record it was of has ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Result;
use crate::json::Digest;
use crate::state::StateDir;

/// How often it is looked at which have ended, in seconds.
const SWEEP: u64 = 3600;

/// States that are over.
pub(super) struct Moved {
    folder: StateDir,
    /// Seconds since the epoch.
    swept: AtomicU64,
}

impl Moved {
    pub(super) fn open(state: &StateDir) -> Result<Self> {
        Ok(Self { folder: state.folder("moved")?, swept: AtomicU64::new(0) })
    }

    /// Whether nobody here moved these bytes before. `kept` is how long they may be of use.
    pub(super) fn first(&self, sealed: &[u8], now: Duration, kept: Duration) -> Result<bool> {
        let swept = self.swept.load(Ordering::Relaxed);
        if now.as_secs() >= swept.saturating_add(SWEEP)
            && self.swept.compare_exchange(swept, now.as_secs(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.sweep(now)?;
        }
        let ends = now.saturating_add(kept).as_secs().to_be_bytes();
        self.folder.create(&Digest::of(sealed).hex(), &ends)
    }

    fn sweep(&self, now: Duration) -> Result<()> {
        for name in self.folder.names()? {
            let ends =
                self.folder.read(&name)?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            if ends.is_some_and(|ends| ends <= now.as_secs()) {
                self.folder.remove(&name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_over_once_also_after_a_start_and_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        let (now, kept) = (Duration::from_secs(1_700_000_000), Duration::from_hours(1));
        let moved = Moved::open(&state).unwrap();
        assert!(moved.first(b"one", now, kept).unwrap());
        assert!(!moved.first(b"one", now, kept).unwrap());
        assert!(moved.first(b"two", now, kept * 3).unwrap());
        let again = Moved::open(&state).unwrap();
        assert!(!again.first(b"one", now, kept).unwrap());
        assert!(!again.first(b"two", now + kept * 2, kept).unwrap());
        assert_eq!(state.folder("moved").unwrap().names().unwrap().len(), 1, "what has ended is swept away");
    }
}
