//! Who hammers is turned away, and counted.
//!
//! Owns [`Brake`]. The idea: a caller that was refused far too often is answered before anything is looked at, so it
//! costs next to nothing; what that keeps out of the audit line by line is in it as a number, one line for each caller
//! and window.
//!
//! Must not: turn anybody away that the limiter does not name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::{Audit, Event};
use crate::json::json;

/// How long is counted before a line is written.
const WINDOW: Duration = Duration::from_secs(10);

/// Requests by caller, and the reason of the first.
type Counts = HashMap<String, (u64, &'static str)>;

/// Counts who was turned away.
pub(super) struct Brake {
    audit: Arc<Audit>,
    window: Duration,
    counts: Arc<Mutex<Counts>>,
}

impl Brake {
    pub(super) fn new(audit: Arc<Audit>) -> Self {
        Self { audit, window: WINDOW, counts: Arc::default() }
    }

    /// Counts one; the first of a window opens it.
    pub(super) fn count(&self, principal: &str, why: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((count, _)) = counts.get_mut(principal) {
            *count += 1;
            return;
        }
        counts.insert(principal.to_owned(), (1, why));
        let (counts, audit, principal) =
            (Arc::clone(&self.counts), Arc::clone(&self.audit), principal.to_owned());
        // Without a runtime, and at the end, whoever drops this writes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let window = self.window;
            runtime.spawn(async move {
                tokio::time::sleep(window).await;
                let count = counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&principal);
                if let Some((count, why)) = count {
                    say(&audit, &principal, count, why);
                }
            });
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (principal, (count, why)) in counts.drain() {
            say(&self.audit, &principal, count, why);
        }
    }
}

fn say(audit: &Audit, principal: &str, count: u64, why: &str) {
    audit.note(
        Event::TurnedAway,
        &json!({"principal": principal, "what": why, "requests": count, "window_seconds": WINDOW.as_secs()}),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::redaction::Redactor;

    #[tokio::test]
    async fn a_window_of_requests_is_one_line_for_each_caller() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            crate::audit::Config { state: folder.path().to_path_buf(), ..crate::audit::Config::default() };
        let redactor = Redactor::new(&crate::redaction::Config::default()).unwrap();
        let clock = ManualClock::at(Duration::from_secs(1_000_000));
        let audit = Audit::open(&config, redactor, clock).unwrap();
        let mut brake = Brake::new(audit.clone());
        brake.window = Duration::from_millis(1);
        let text = || std::fs::read_to_string(audit.path()).unwrap();
        for _ in 0..10_000 {
            brake.count("key:ci", "too many refused calls");
        }
        brake.count("key:other", "too many refused calls");
        assert_eq!(text(), "");
        let written = async {
            while text().lines().count() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
        assert_eq!(text().lines().count(), 2);
        assert!(text().contains("\"requests\":10000") && text().contains("key:other"));
        brake.count("key:ci", "too many refused calls");
        drop(brake);
        assert_eq!(text().lines().count(), 3, "nothing is forgotten at the end");
    }
}
