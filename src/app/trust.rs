//! What configuration adds to what transport and identity found out.
//!
//! Owns [`Trusting`] and [`Refusals`]. The idea: a key says who calls; only the configuration says whose client may
//! answer approval questions; and what a transport refused for safety's sake leaves a line in the audit.
//!
//! Must not: accept anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::HeaderMap;

use crate::audit::Audit;
use crate::identity::keys::KeyStore;
use crate::json::json;
use crate::principal::Principal;
use crate::transport::Watch;
use crate::transport::auth::{Authenticator, Refusal, Verdict};

/// API keys, some of whose clients are trusted to answer approval questions.
pub(super) struct Trusting {
    keys: Arc<KeyStore>,
    names: Vec<String>,
    raised: Mutex<HashMap<Arc<str>, Arc<Principal>>>,
}

impl Trusting {
    pub(super) fn new(keys: Arc<KeyStore>, names: &[String]) -> Self {
        Self { keys, names: names.to_vec(), raised: Mutex::default() }
    }

    fn raise(&self, principal: Arc<Principal>) -> Arc<Principal> {
        if principal.may_approve || !self.names.iter().any(|name| **name == *principal.id) {
            return principal;
        }
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        match raised.get(&principal.id) {
            // Scopes and roles of a key may change while we run; then what was remembered is out of date.
            Some(known) if known.scopes == principal.scopes && known.roles == principal.roles => {
                known.clone()
            }
            _ => {
                let fresh = Arc::new(Principal { may_approve: true, ..(*principal).clone() });
                raised.insert(principal.id.clone(), fresh.clone());
                fresh
            }
        }
    }
}

impl Authenticator for Trusting {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> Verdict<'a> {
        match self.keys.authenticate(headers) {
            Verdict::Now(Ok(principal)) if !self.names.is_empty() => Verdict::Now(Ok(self.raise(principal))),
            Verdict::Later(found) => Verdict::Later(Box::pin(async move {
                let found: Result<Arc<Principal>, Refusal> = found.await;
                found.map(|principal| self.raise(principal))
            })),
            now @ Verdict::Now(_) => now,
        }
    }
}

/// Writes a transport's refusals into the audit.
pub(super) struct Refusals {
    audit: Arc<Audit>,
}

impl Refusals {
    pub(super) fn new(audit: Arc<Audit>) -> Self {
        Self { audit }
    }
}

impl Watch for Refusals {
    fn refused(&self, what: &'static str, peer: &str) {
        self.audit.note("refused", &json!({"what": what, "peer": peer}));
    }
}
