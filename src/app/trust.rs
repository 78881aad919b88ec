//! What configuration adds to what transport and identity found out.
//!
//! Owns [`Trusting`] and [`Refusals`]. The idea: a key says who calls; only the configuration says whose client may
//! answer approval questions; and what a transport refused for safety's sake leaves a line in the audit.
//!
//! Must not: accept anybody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::brake::Brake;
use crate::audit::{Audit, Event};
use crate::clock::{SharedClock, rfc3339};
use crate::error::Error;
use crate::json::json;
use crate::limits::{Decision, Limiter, Quota, decide};
use crate::principal::Principal;
use crate::transport::auth::{Authenticator, Lease, Presented, Refusal, Verdict};
use crate::transport::{TurnedAway, Watch};

/// Callers, some of whose clients are trusted to answer approval questions.
pub(super) struct Trusting {
    inner: Arc<dyn Authenticator>,
    names: Vec<String>,
    /// By name.
    raised: Mutex<HashMap<Arc<str>, Raised>>,
}

/// A principal as it came, and as it goes on.
type Raised = (Arc<Principal>, Arc<Principal>);

impl Trusting {
    pub(super) fn new(inner: Arc<dyn Authenticator>, names: &[String]) -> Self {
        Self { inner, names: names.to_vec(), raised: Mutex::default() }
    }

    fn raise(&self, principal: Arc<Principal>) -> Arc<Principal> {
        if principal.may_approve || !self.names.iter().any(|name| **name == *principal.id) {
            return principal;
        }
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        // What a key grants may change while we run; then what was remembered is out of date.
        if let Some((from, known)) = raised.get(&principal.id)
            && (Arc::ptr_eq(from, &principal) || *from == principal)
        {
            return known.clone();
        }
        let fresh = Arc::new(Principal { may_approve: true, ..(*principal).clone() });
        raised.insert(principal.id.clone(), (principal, fresh.clone()));
        fresh
    }
}

impl Authenticator for Trusting {
    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        self.inner.lease(presented)
    }

    fn refresh(&self) {
        self.inner.refresh();
    }

    fn step_up(&self, presented: &Presented<'_>, scopes: &[String]) -> Option<String> {
        self.inner.step_up(presented, scopes)
    }

    fn next_nonce(&self, presented: &Presented<'_>) -> Option<String> {
        self.inner.next_nonce(presented)
    }

    fn document(&self, path: &str) -> Option<Arc<str>> {
        self.inner.document(path)
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a> {
        match self.inner.authenticate(presented) {
            Verdict::Now(Ok(principal)) if !self.names.is_empty() => Verdict::Now(Ok(self.raise(principal))),
            Verdict::Later(found) => Verdict::Later(Box::pin(async move {
                let found: Result<Arc<Principal>, Refusal> = found.await;
                found.map(|principal| self.raise(principal))
            })),
            Verdict::Known(found) if !self.names.is_empty() => {
                Verdict::Known(Box::pin(async move { found.await.map(|principal| self.raise(principal)) }))
            }
            now @ (Verdict::Now(_) | Verdict::Known(_)) => now,
        }
    }
}

/// Lines for refusals in a minute, and at once. Who is refused need not be anybody, and may not fill the disk: without
/// room for a line there is no call either.
const LINES: Quota = Quota::new(60, 120);

/// Writes a transport's refusals into the audit: each of them while they are few, else how many there were.
pub(super) struct Refusals {
    audit: Arc<Audit>,
    limiter: Box<dyn Fn() -> Arc<Limiter> + Send + Sync>,
    brake: Brake,
    clock: SharedClock,
    state: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    full_at: Duration,
    left_out: u64,
}

impl Refusals {
    /// `limiter` says which holds now: it changes with the configuration.
    pub(super) fn new(
        audit: Arc<Audit>,
        limiter: impl Fn() -> Arc<Limiter> + Send + Sync + 'static,
        clock: SharedClock,
    ) -> Self {
        let brake = Brake::new(Arc::clone(&audit));
        Self { audit, limiter: Box::new(limiter), brake, clock, state: Mutex::default() }
    }

    fn tell(&self, event: Event, what: &'static str, peer: &str) {
        match self.turn() {
            None => {}
            Some(0) => self.audit.note(event, &json!({"what": what, "peer": peer})),
            Some(left_out) => {
                self.audit.note(event, &json!({"what": what, "peer": peer, "left_out_before": left_out}));
            }
        }
    }

    /// How many were left out before this one; none if this one is left out too.
    fn turn(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (decision, full_at) = decide(state.full_at, LINES, 1, self.clock.monotonic());
        if matches!(decision, Decision::Refused { .. }) {
            state.left_out += 1;
            return None;
        }
        state.full_at = full_at;
        Some(std::mem::take(&mut state.left_out))
    }
}

impl Watch for Refusals {
    fn turns_away(&self, principal: &str) -> Option<TurnedAway> {
        let limiter = (self.limiter)();
        let away = match (limiter.gone(principal), limiter.held(principal)) {
            (None, None) => return None,
            (Some(gone), held) if held.is_none_or(|held| held <= gone.after) => {
                let (most, seconds) = gone.quota.announced();
                let quota = Some((gone.name, most, seconds));
                TurnedAway { why: "nothing is left of the caller's budget", after: gone.after, quota }
            }
            (_, held) => {
                TurnedAway { why: "too many refused calls", after: held.unwrap_or_default(), quota: None }
            }
        };
        limiter.tally().count("turned-away");
        self.brake.count(principal, away.why);
        Some(away)
    }

    fn unready(&self) -> Option<&'static str> {
        (self.limiter)().is_cut_off().then_some("the store that instances share is away\n")
    }

    fn weighs(&self, principal: &str, reads: u32) -> Option<Duration> {
        let wait = (self.limiter)().weigh(principal, reads)?;
        self.brake.count(principal, "too many large bodies");
        Some(wait)
    }

    fn renewed(&self, file: &Path, outcome: Result<Option<Duration>, &Error>) {
        let path = file.display().to_string();
        match outcome {
            Ok(expires) => {
                let detail = json!({"path": path, "expires": expires.map(rfc3339)});
                self.audit.note(Event::CertificateReloaded, &detail);
            }
            Err(error) => {
                let detail = json!({"path": path, "reason": error.message()});
                self.audit.note(Event::CertificateFailed, &detail);
            }
        }
    }

    fn refused(&self, what: &'static str, peer: &str) {
        self.tell(Event::Refused, what, peer);
    }

    fn unauthenticated(&self, what: &'static str, peer: &str) {
        self.tell(Event::AuthenticationFailed, what, peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::redaction::Redactor;

    #[test]
    fn refusals_cannot_fill_the_audit_and_none_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Duration::from_secs(1_000_000));
        let config =
            crate::audit::Config { state: folder.path().to_path_buf(), ..crate::audit::Config::default() };
        let redactor = Redactor::new(&crate::redaction::Config::default()).unwrap();
        let audit = Audit::open(&config, redactor, clock.clone()).unwrap();
        let limiter = Arc::new(Limiter::new(&crate::limits::Config::default(), clock.clone()));
        let refusals = Refusals::new(audit.clone(), move || limiter.clone(), clock.clone());
        let burst = crate::limits::Config::default().read.burst;
        assert_eq!(refusals.weighs("key:large", burst), None);
        assert!(refusals.weighs("key:large", 1).is_some(), "charged where its calls are");
        for _ in 0..10_000 {
            refusals.refused("no credential", "192.0.2.1:1");
        }
        clock.advance(Duration::from_mins(1));
        refusals.refused("no credential", "192.0.2.1:1");
        let text = std::fs::read_to_string(audit.path()).unwrap();
        assert_eq!(text.matches("no credential").count(), 121);
        assert!(text.contains("\"left_out_before\":9880"));
    }
}
