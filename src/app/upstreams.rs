//! What becomes of upstreams, in the audit.
//!
//! Owns [`Upstreams`]. The idea: an upstream that is left alone, or that says again and again that it is asked too often,
//! is an event that somebody should see; what each does now is in [`crate::http::Traffic::states`].
//!
//! Must not: decide when.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Audit, Event};
use crate::http::Watch;
use crate::json::json;

/// Writes events about upstreams.
pub(super) struct Upstreams(pub(super) Arc<Audit>);

impl Watch for Upstreams {
    fn opened(&self, upstream: &str, host: &str, pause: Duration) {
        let facts = json!({"upstream": upstream, "host": host, "seconds": pause.as_secs_f64()});
        self.0.note(Event::CircuitOpened, &facts);
    }

    fn closed(&self, upstream: &str, host: &str) {
        self.0.note(Event::CircuitClosed, &json!({"upstream": upstream, "host": host}));
    }

    fn limited(&self, upstream: &str, host: &str, count: u32, window: Duration) {
        let facts =
            json!({"upstream": upstream, "host": host, "count": count, "window_seconds": window.as_secs()});
        self.0.note(Event::UpstreamLimited, &facts);
    }
}
