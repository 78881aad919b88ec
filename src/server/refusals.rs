//! What is refused before it can be a call.
//!
//! Owns the audit events for it, and the call whose caller needs more scopes first. The idea: the line writes an intent and an outcome for whatever reaches it; what does
//! not reach it, because there is no such tool, a header lies or a state is not ours, leaves an event. Writing is
//! paid from the caller's quota, so nobody fills the file faster than by calling.
//!
//! Must not: change an answer.

use std::sync::Arc;

use super::dispatch::Visit;
use super::{Server, faults};
use crate::audit::Event;
use crate::catalog::{Entry, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::pipeline::is_charged;
use crate::principal::Principal;
use crate::protocol::Revision;
use crate::protocol::message::Id;
use crate::transport::{Answer, Peer};

impl Server {
    /// Refuses a call whose caller has to ask for more scopes first.
    pub(super) async fn reaches(
        &self,
        visit: &Visit,
        method: &'static str,
        now: &Snapshot,
        entry: &Arc<Entry>,
    ) -> Result<()> {
        match self.line(now).lacks(&visit.principal, entry.spec()) {
            None => Ok(()),
            Some(scopes) => {
                let refused = self.unheard(visit, method, Some(entry), faults::lacking(&scopes));
                Err(Box::pin(refused).await)
            }
        }
    }

    /// Answers what is no request, or cannot be read as one.
    pub(super) async fn unreadable(&self, peer: &Peer, id: Option<&Id>, error: &Error) -> Answer {
        self.note_refusal(&peer.principal, peer.channel.name(), "", error).await;
        faults::answer(Revision::NEWEST, id, error)
    }

    /// Leaves an event, if this is one to leave. What the line hides has its lines already.
    pub(super) async fn note_refusal(
        &self,
        principal: &Principal,
        transport: &'static str,
        method: &'static str,
        error: &Error,
    ) {
        let telling = match error.kind() {
            Kind::NoSuchTool
            | Kind::NoSuchResource
            | Kind::HeaderMismatch
            | Kind::MissingCapability
            // what is not even a request
            | Kind::BadJson
            | Kind::BadRequest => true,
            Kind::BadParams => error.message() == super::asks::REFUSED_STATE,
            Kind::NoSuchMethod
            | Kind::UnsupportedRevision
            | Kind::Unauthenticated
            | Kind::BadArguments
            | Kind::RateLimited
            | Kind::Forbidden
            | Kind::NeedsApproval
            | Kind::Declined
            | Kind::Frozen
            | Kind::UpstreamRefused
            | Kind::UpstreamFailed
            | Kind::TimedOut
            | Kind::Cancelled
            | Kind::ToolFailed
            | Kind::BadConfig
            | Kind::Internal => false,
        };
        // What the line has charged and written down is not charged and written down again.
        if !telling || is_charged(error) {
            return;
        }
        let now = self.catalog.now();
        let line = self.line(&now);
        if line.limiter().take(&principal.id, "read", 1).await.is_err() {
            return;
        }
        let detail = json!({
            "principal": &*principal.id,
            "transport": transport,
            "method": method,
            "kind": error.kind().name(),
            "reason": error.message(),
        });
        if let Err(error) = line.audit().event(Event::Refused, &detail).await {
            tracing::error!(kind = error.kind().name(), "a refusal could not be audited");
        }
    }
}
