//! The stateful door: `initialize`, then a connection or a session that remembers.
//!
//! Owns `initialize`, `logging/setLevel`, `resources/subscribe` and what notifications mean here.
//!
//! Must not: be reached by a request that declares a stateless revision.

use std::sync::Arc;

use serde_json::json;

use super::session::{Conversation, Opened};
use super::{Server, envelope, faults, roll};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::protocol::message::{self, Id};
use crate::protocol::shape;
use crate::protocol::{Door, Notice, Revision};
use crate::transport::{Answer, Channel, Outlet, Peer};

impl Server {
    /// `initialize`: agrees on a revision and opens the conversation.
    pub(super) fn initialize(
        &self,
        id: &Id,
        params: &Map<String, Value>,
        peer: &Peer,
        outlet: &Arc<dyn Outlet>,
    ) -> Result<Answer> {
        let Some(requested) = params.get("protocolVersion").and_then(Value::as_str) else {
            return Err(faults::bad_params("`initialize` needs `protocolVersion`, a string."));
        };
        let Some(declared) = params.get("capabilities").and_then(Value::as_object) else {
            return Err(faults::bad_params("`initialize` needs `capabilities`, an object."));
        };
        let info = params.get("clientInfo").ok_or_else(|| {
            faults::bad_params("`initialize` needs `clientInfo` with `name` and `version`.")
        })?;
        let revision = Revision::parse(requested)
            .filter(|revision| revision.door() == Door::Handshake)
            .unwrap_or(Revision::NEWEST_HANDSHAKE);
        let client = envelope::client(Some(info), shape::client_capabilities(revision, declared))?;
        let mut result = json!({
            "protocolVersion": revision.name(),
            "capabilities": self.capabilities(revision),
            "serverInfo": shape::implementation(revision, &self.implementation),
        });
        if let Some(instructions) = &self.instructions {
            result["instructions"] = instructions.as_str().into();
        }
        let said = self.roll.as_ref().and_then(|_| roll::card(declared, info));
        let opened = Opened { revision, client: Arc::new(client), said };
        let session = match peer.channel {
            Channel::Stdio => {
                let talk = self.conversations.connection(peer);
                if !talk.open(opened) {
                    return Err(Error::new(Kind::BadRequest, "This connection is initialized already."));
                }
                talk.listen(Arc::clone(outlet));
                None
            }
            Channel::Http if peer.headers.session.is_some() => {
                let message = "`initialize` opens a session; send it without Mcp-Session-Id.";
                return Err(Error::new(Kind::BadRequest, message));
            }
            Channel::Http => Some(self.conversations.begin(&peer.principal, opened)?.0),
        };
        Ok(Answer { status: 200, body: Some(message::result(id, result)), session, ..Answer::default() })
    }

    /// The conversation of a message over HTTP; the revision header, if there, has to be the agreed one.
    pub(super) fn conversation(&self, peer: &Peer) -> std::result::Result<Arc<Conversation>, Answer> {
        let refuse =
            |error: &Error, status| faults::with_status(Revision::NEWEST_HANDSHAKE, None, error, status);
        let Some(session) = &peer.headers.session else {
            let message = "Open a session with `initialize` and send its Mcp-Session-Id, or declare a stateless \
                           protocol revision in MCP-Protocol-Version and `_meta`.";
            return Err(refuse(&Error::new(Kind::BadParams, message), 400));
        };
        let Some(talk) = self.conversations.session(session, &peer.principal) else {
            let message = "There is no such session; it may have expired. Begin with `initialize`.";
            return Err(refuse(&Error::new(Kind::BadRequest, message), 404));
        };
        let agreed = talk.opened().map_or(Revision::NEWEST_HANDSHAKE, |opened| opened.revision);
        match peer.headers.revision.as_slice() {
            [] => Ok(talk),
            [one] if one.trim() == agreed.name() => Ok(talk),
            [one] if Revision::parse(one.trim()).is_none() => {
                Err(refuse(&envelope::unsupported(one.trim()), 400))
            }
            _ => {
                let message = "MCP-Protocol-Version is not the revision that this session agreed on.";
                Err(refuse(&Error::new(Kind::BadRequest, message), 400))
            }
        }
    }

    /// A notification in a conversation. What it means depends on the revision; unknown ones are ignored.
    pub(super) fn noticed(talk: &Conversation, method: &str, params: &Map<String, Value>) {
        let revision = talk.opened().map_or(Revision::NEWEST, |opened| opened.revision);
        match Notice::find(method, revision) {
            Some(Notice::Initialized) => talk.set_ready(),
            Some(Notice::Cancelled) => {
                if let Some(id) = params.get("requestId").and_then(Id::of) {
                    talk.cancel(&id);
                }
            }
            Some(Notice::Progress | Notice::RootsChanged) | None => {}
        }
    }

    /// `logging/setLevel`.
    pub(super) fn set_level(talk: &Conversation, params: &Map<String, Value>) -> Result<()> {
        let level =
            params.get("level").ok_or_else(|| faults::bad_params("`logging/setLevel` needs `level`."))?;
        talk.set_level(envelope::log_level(level)?);
        Ok(())
    }
}
