//! Several messages in one array.
//!
//! Owns the taking apart of a batch and the putting together of its answers. The idea: a batch is a convenience of the
//! wire and nothing more; each member walks the line by itself, with its own quota, time and cancellation, and one
//! that is refused, fails or panics takes no other with it. What is wrong with the whole is found before any begins.
//!
//! Must not: run a member, or open a door.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::{Arrived, Server, accepted, declares, envelope, faults, ok};
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::protocol::message::{Id, Message, Refused};
use crate::protocol::{Method, Revision};
use crate::transport::{Answer, Channel, Outlet, Peer};

type Member = std::result::Result<Message, Refused>;

fn bad(message: &'static str) -> Error {
    Error::new(Kind::BadRequest, message)
}

/// No two requests under one id, or nobody could tell their answers apart.
fn told_apart(members: &[Member]) -> Result<()> {
    let mut seen = HashSet::new();
    let mut ids = members.iter().filter_map(|member| match member {
        Ok(Message::Request { id, .. }) => Some(id),
        Ok(Message::Notification { .. } | Message::Response { .. }) | Err(_) => None,
    });
    if ids.all(|id| seen.insert(id)) {
        Ok(())
    } else {
        Err(bad("Two requests of the batch have the same id; give each its own. None was run."))
    }
}

impl Server {
    /// Answers a batch: one array of answers, or nothing where nothing wants one.
    pub(super) async fn batch(&self, values: Vec<Value>, peer: Peer, outlet: Arc<dyn Outlet>) -> Answer {
        let revision = match self.batch_revision(&peer) {
            Ok(revision) => revision,
            Err(answer) => return answer,
        };
        let members = match self.members(values, revision) {
            Ok(members) => members,
            Err(error) => return faults::answer(revision.unwrap_or(Revision::NEWEST), None, &error),
        };
        // in the order they came: the first poll of each registers it, so a cancellation finds what stands before it
        let answers = members.into_iter().map(|member| self.member(member, &peer, &outlet));
        let bodies: Vec<_> = join_all(answers).await.into_iter().filter_map(|answer| answer.body).collect();
        if bodies.is_empty() { accepted() } else { ok(format!("[{}]", bodies.join(","))) }
    }

    /// The revision that was agreed on, if any was.
    fn batch_revision(&self, peer: &Peer) -> std::result::Result<Option<Revision>, Answer> {
        if peer.channel == Channel::Http && envelope::declared(&peer.headers) {
            return Ok(None);
        }
        let talk = self.heard_from(peer)?;
        Ok(talk.opened().map(|opened| opened.revision))
    }

    fn members(&self, values: Vec<Value>, revision: Option<Revision>) -> Result<Vec<Member>> {
        if !revision.is_some_and(Revision::batches) {
            return Err(bad(
                "Batches belong to revision 2025-03-26 alone, after `initialize`; send one message at a time.",
            ));
        }
        if values.is_empty() {
            return Err(bad("A batch needs at least one message."));
        }
        if values.len() > self.config.batch {
            let most = self.config.batch;
            let message = format!("A batch has at most {most} messages here; send the rest in another.");
            return Err(Error::new(Kind::BadRequest, message));
        }
        let members: Vec<_> = values.into_iter().map(Message::read).collect();
        told_apart(&members)?;
        Ok(members)
    }

    async fn member(&self, member: Member, peer: &Peer, outlet: &Arc<dyn Outlet>) -> Answer {
        let (id, method, params) = match member {
            Ok(Message::Request { id, method, params }) => (id, method, params),
            Ok(message @ (Message::Notification { .. } | Message::Response { .. })) => {
                return self.heard(message, peer);
            }
            Err(refused) => return refuse(refused.id.as_ref(), &refused.error),
        };
        if method == Method::Initialize.name() {
            return refuse(Some(&id), &bad("`initialize` cannot be part of a batch; send it alone."));
        }
        if declares(&params) {
            return refuse(Some(&id), &bad("A request that declares its revision cannot be in a batch."));
        }
        let (peer, outlet) = (peer.clone(), Arc::clone(outlet));
        // one answer for many requests belongs to no stream that one of them could be picked up on
        let arrived = Arrived { id: id.clone(), params, peer, outlet, alone: false };
        let work = AssertUnwindSafe(Box::pin(self.request(&method, arrived)));
        work.catch_unwind().await.unwrap_or_else(|_| {
            refuse(Some(&id), &Error::new(Kind::Internal, "The server failed on this request."))
        })
    }
}

fn refuse(id: Option<&Id>, error: &Error) -> Answer {
    faults::answer(Revision::NEWEST_HANDSHAKE, id, error)
}
