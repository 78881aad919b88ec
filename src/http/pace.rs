//! How fast one upstream is asked with one credential.
//!
//! Owns the queue of turns. The idea: every request takes the next free turn and learns how long to wait for it; an
//! upstream that says "too many" moves all turns back.
//!
//! Must not: sleep, or ask the time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::settings::Pace;
use crate::limits::{Decision, Quota, decide};

/// The turns of one upstream and credential.
#[derive(Debug)]
pub(super) struct Turns {
    quota: Option<Quota>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the whole burst is there again.
    full_at: Duration,
    /// Nothing leaves before this.
    paused: Duration,
}

impl Turns {
    pub(super) fn new(pace: Option<Pace>) -> Self {
        let quota = pace.map(|pace| Quota::new(pace.per_minute.max(1), pace.burst.max(1)));
        Self { quota, state: Mutex::default() }
    }

    /// Takes the next turn: how long to wait for it. If that is longer than `patience`, none is taken and the wait is
    /// the error.
    pub(super) fn take(&self, now: Duration, patience: Duration) -> Result<Duration, Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turn = now.max(state.paused);
        let mut full_at = state.full_at;
        if let Some(quota) = self.quota {
            let (mut decision, mut next) = decide(full_at, quota, 1, turn);
            if let Decision::Refused { retry_after: Some(wait) } = decision {
                // the turn is taken now for the moment at which it is due
                turn += wait;
                (decision, next) = decide(full_at, quota, 1, turn);
            }
            if matches!(decision, Decision::Refused { .. }) {
                return Err(turn.saturating_sub(now));
            }
            full_at = next;
        }
        let wait = turn.saturating_sub(now);
        if wait > patience {
            return Err(wait);
        }
        state.full_at = full_at;
        Ok(wait)
    }

    /// Nothing leaves for this long.
    pub(super) fn pause(&self, now: Duration, pause: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused = state.paused.max(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use crate::http::Pace;
    use std::time::Duration;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_the_rest_comes_evenly() {
        let turns = Turns::new(Some(Pace { per_minute: 60, burst: 3 }));
        let now = S * 100;
        let waits: Vec<u64> = (0..5).map(|_| turns.take(now, S * 9).unwrap().as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(turns.take(now, S), Err(S * 3), "the impatient take no turn");
        assert_eq!(turns.take(now, S * 9), Ok(S * 3));
        assert_eq!(turns.take(now + S * 60, S), Ok(Duration::ZERO));
    }

    #[test]
    fn a_pause_holds_for_all() {
        let turns = Turns::new(None);
        turns.pause(S * 10, S * 30);
        assert_eq!(turns.take(S * 10, S), Err(S * 30));
        assert_eq!(turns.take(S * 35, S * 6), Ok(S * 5));
        assert_eq!(turns.take(S * 41, S), Ok(Duration::ZERO));
    }
}
