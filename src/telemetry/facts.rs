//! What a call learns on its way out.
//!
//! Owns [`Facts`]: the upstream's last answer, and whether a request was kept from leaving. The idea: the line makes one
//! for each call and runs the call within it; whoever talks to an upstream below notes what it saw, without knowing the
//! call. Outside of a call nothing is noted.
//!
//! Must not: hold anything a tool, a person or a model said.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::{Call, Leaving, TraceContext};

/// The upstream's last answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// What the operator calls it.
    pub name: Box<str>,
    /// Its HTTP status.
    pub status: u16,
    /// The id it gave the request, if it said one; words from outside.
    pub request: Option<Box<str>>,
}

/// What is noted of one call.
#[derive(Debug, Default)]
pub struct Facts {
    upstream: Mutex<Option<Upstream>>,
    egress_refused: AtomicBool,
    /// Requests that left for upstreams.
    requests: AtomicU32,
    /// The call's id and its trace, for logs.
    ids: Option<(Uuid, Option<TraceContext>)>,
    call: Option<Arc<Call>>,
}

tokio::task_local! {
    static CALL: Arc<Facts>;
}

/// Headers by which upstreams name a request.
pub const REQUEST_IDS: &[&str] = &[
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "x-ms-request-id",
    "x-akamai-request-id",
    "x-trace-id",
    "cf-ray",
];

/// Longest id that is kept.
const LONGEST: usize = 128;

impl Facts {
    /// The facts of a call: its id, the trace it belongs to, and who measures it.
    pub fn of(id: Uuid, trace: Option<TraceContext>, call: Option<Arc<Call>>) -> Arc<Self> {
        let trace = call.as_ref().and_then(|call| call.place()).or(trace);
        Arc::new(Self { ids: Some((id, trace)), call, ..Self::default() })
    }

    /// Runs a call; what is noted meanwhile is in these facts.
    pub async fn during<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        CALL.scope(Arc::clone(self), work).await
    }

    /// The upstream's last answer.
    pub fn upstream(&self) -> Option<Upstream> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests left for upstreams: pages, tries and logins each count.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request was kept from leaving.
    pub fn egress_refused(&self) -> bool {
        self.egress_refused.load(Ordering::Relaxed)
    }
}

/// The ids of the call that runs, if one does.
pub(super) fn ids() -> Option<(Uuid, Option<TraceContext>)> {
    CALL.try_with(|facts| facts.ids).ok().flatten()
}

/// The call that runs enters a stage.
pub fn stage(name: &'static str) {
    let _ = CALL.try_with(|facts| facts.call.as_ref().map(|call| call.stage(name)));
}

/// A request leaves for an upstream; nothing where nobody measures.
pub fn leaving(host: &str, method: &str) -> Option<Leaving> {
    let left = |facts: &Arc<Facts>| {
        facts.requests.fetch_add(1, Ordering::Relaxed);
        facts.call.as_ref().map(|call| call.leaving(host, method))
    };
    CALL.try_with(left).ok().flatten()
}

/// A request is tried again.
pub fn retried(upstream: &str) {
    let _ = CALL.try_with(|facts| facts.call.as_ref().map(|call| call.retried(upstream)));
}

/// Notes an upstream's answer in the call that runs, if one does.
pub fn answered(name: &str, status: u16, request: Option<&str>) {
    let _ = CALL.try_with(|facts| {
        let request = request.filter(|id| !id.is_empty() && id.len() <= LONGEST).map(Box::from);
        *facts.upstream.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Upstream { name: name.into(), status, request });
    });
}

/// Notes that a request was kept from leaving; whether a call was there to note it in.
pub fn egress_refused() -> bool {
    CALL.try_with(|facts| facts.egress_refused.store(true, Ordering::Relaxed)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_call_has_its_own_facts() {
        answered("x", 200, Some("nobody's"));
        assert!(!egress_refused());
        let (outer, inner) = (Arc::new(Facts::default()), Arc::new(Facts::default()));
        outer
            .during(async {
                answered("x", 201, Some("outer"));
                inner.during(async { answered("x", 503, Some(&"x".repeat(LONGEST + 1))) }).await;
                assert!(egress_refused());
            })
            .await;
        let seen = |facts: &Facts| facts.upstream().map(|seen| (seen.status, seen.request));
        assert_eq!(seen(&outer), Some((201, Some(Box::from("outer")))));
        assert_eq!(seen(&inner), Some((503, None)));
        assert!(outer.egress_refused() && !inner.egress_refused());
    }
}
