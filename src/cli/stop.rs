//! Ctrl-C and SIGTERM.
//!
//! Owns [`Stop`]. The idea: the first signal asks the program to end, the second ends it. While a server is still
//! loading, nothing runs that would have to be ended in order, and what loads may hang: then the first ends it too.
//!
//! Must not: wait for anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock};

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Hears the signals that end the program, from when it is made.
#[derive(Clone)]
pub(super) struct Stop {
    token: CancellationToken,
    ready: Arc<AtomicBool>,
    heard: Arc<OnceLock<Duration>>,
    clock: SharedClock,
}

impl Stop {
    /// For work that can end at any time. To be called inside a runtime, as the other one.
    pub(super) fn at_once() -> Self {
        let stop = Self::while_loading();
        stop.ready();
        stop
    }

    /// For what has to load first: until [`Stop::ready`] the first signal ends the process.
    pub(super) fn while_loading() -> Self {
        let stop = Self {
            token: CancellationToken::new(),
            ready: Arc::default(),
            heard: Arc::default(),
            clock: SystemClock::shared(),
        };
        tokio::spawn(stop.clone().listen());
        stop
    }

    /// Everything is loaded.
    pub(super) fn ready(&self) {
        self.ready.store(true, Ordering::SeqCst);
    }

    /// Fires with the first signal.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// How long ago the signal came; nothing if none has.
    pub(super) fn since(&self) -> Option<Duration> {
        self.heard.get().map(|heard| self.clock.monotonic().saturating_sub(*heard))
    }

    #[allow(clippy::exit, reason = "whoever signals twice does not want to wait for anything")]
    async fn listen(self) {
        signalled().await;
        let _ = self.heard.set(self.clock.monotonic());
        self.token.cancel();
        if self.ready.load(Ordering::SeqCst) {
            signalled().await;
        }
        std::process::exit(INTERRUPTED);
    }
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    let _ = tokio::signal::ctrl_c().await;
}
