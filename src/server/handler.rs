//! The server as transports see it.
//!
//! Owns the [`Handler`] of [`Server`]: a message, a stream, an end. The idea: what belongs to a session that another
//! instance opened is fetched first, so that behind it nothing asks where a session was opened.
//!
//! Must not: know a transport.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::session::Conversation;
use super::{Server, accepted, envelope, faults};
use crate::error::{Error, Kind};
use crate::protocol::Revision;
use crate::transport::{Answer, BoxFuture, Channel, Delivery, Handler, Outlet, Peer};

impl Server {
    /// Hears what belongs to no request, until somebody ends it.
    async fn heed(
        &self,
        peer: &Peer,
        talk: &Arc<Conversation>,
        outlet: Arc<dyn Outlet>,
    ) -> std::result::Result<(), Answer> {
        let ended = talk.listen(outlet);
        let _listening = Listening(Arc::clone(talk), ended.clone());
        tokio::select! {
            () = peer.gone.cancelled() => {}
            () = ended.cancelled() => {}
            () = self.closes() => {}
        }
        Ok(())
    }
}

/// Stops listening however the stream ends.
struct Listening(Arc<Conversation>, CancellationToken);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.deafen(&self.1);
    }
}

/// The event is not one of this session, or what followed it is no longer kept.
fn lost() -> Answer {
    let message = "Last-Event-ID names no stream of this session that can be picked up; open one without it.";
    faults::with_status(Revision::NEWEST_HANDSHAKE, None, &Error::new(Kind::BadRequest, message), 400)
}

fn not_allowed() -> Answer {
    let message = "This server opens streams and ends sessions only for sessions of the older revisions.";
    faults::with_status(Revision::NEWEST, None, &Error::new(Kind::BadRequest, message), 405)
}

impl Handler for Server {
    fn handle(&self, delivery: Delivery, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let Some(session) = self.adopt(&peer).await else {
                return self.message(delivery, peer, outlet).await;
            };
            let principal = Arc::clone(&peer.principal);
            let answer = self.message(delivery, peer, outlet).await;
            self.report(&session, &principal).await;
            answer
        })
    }

    fn listen(&self, peer: Peer, outlet: Arc<dyn Outlet>) -> BoxFuture<'_, std::result::Result<(), Answer>> {
        Box::pin(async move {
            if peer.headers.session.is_none() || envelope::declared(&peer.headers) {
                return Err(not_allowed());
            }
            self.adopt(&peer).await;
            let talk = self.conversation(&peer)?;
            let last = peer.headers.last_event_id.as_deref();
            let attached = match (last, talk.shelf()) {
                (Some(last), Some(shelf)) => shelf.resume(last, Arc::clone(&outlet)).ok_or_else(lost)?,
                (Some(_), None) => return Err(lost()),
                (None, Some(shelf)) => shelf.stand(Arc::clone(&outlet)).ok_or_else(lost)?,
                (None, None) => return self.heed(&peer, &talk, outlet).await,
            };
            if attached.over {
                return Ok(());
            }
            if attached.standing {
                return self.heed(&peer, &talk, outlet).await;
            }
            tokio::select! {
                () = peer.gone.cancelled() => {}
                () = talk.ended.cancelled() => {}
                () = self.closes() => {}
            }
            Ok(())
        })
    }

    fn close(&self, peer: Peer) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            if peer.channel == Channel::Stdio {
                self.conversations.disconnect(peer.connection);
                return accepted();
            }
            match &peer.headers.session {
                Some(_) if envelope::declared(&peer.headers) => not_allowed(),
                None => not_allowed(),
                Some(session) => match self.adopted(&peer).await {
                    Ok(_) => {
                        self.conversations.end(session, &peer.principal);
                        self.strike(session).await;
                        Answer { status: 204, ..Answer::default() }
                    }
                    Err(answer) => answer,
                },
            }
        })
    }
}
