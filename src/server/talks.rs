//! Every conversation of a server.
//!
//! Owns [`Conversations`]: opening, finding and ending them, within the caps. The idea: an id opens a session for its
//! principal only; who has as many as one may makes room by the longest unused.
//!
//! Must not: say of somebody else's session more than of none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_util::sync::CancellationToken;

use super::config::Caps;
use super::replay::Shelf;
use super::session::{Conversation, Opened, lock, millis};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::principal::Principal;
use crate::transport::Peer;

/// Every conversation.
pub(super) struct Conversations {
    caps: Caps,
    clock: SharedClock,
    connections: Mutex<HashMap<u64, Arc<Conversation>>>,
    sessions: Mutex<HashMap<Box<str>, Arc<Conversation>>>,
    /// Bytes that all sessions keep of their streams.
    shelved: Arc<AtomicUsize>,
    /// When idle sessions were last looked for.
    swept: AtomicU64,
}

impl Conversations {
    pub(super) fn new(caps: Caps, clock: SharedClock) -> Self {
        Self {
            caps,
            clock,
            connections: Mutex::default(),
            sessions: Mutex::default(),
            shelved: Arc::default(),
            swept: AtomicU64::new(0),
        }
    }

    /// The conversation of a connection.
    pub(super) fn connection(&self, peer: &Peer) -> Arc<Conversation> {
        let mut connections = lock(&self.connections);
        if let Some(talk) = connections.get(&peer.connection) {
            return Arc::clone(talk);
        }
        // a connection that broke off never said so
        connections.retain(|_, talk| talk.gone.as_ref().is_none_or(|gone| !gone.is_cancelled()));
        let gone = Some(peer.gone.clone());
        let talk = Arc::new(Conversation::new(&peer.principal, self.clock.monotonic(), gone));
        connections.insert(peer.connection, Arc::clone(&talk));
        talk
    }

    /// The connection is over.
    pub(super) fn disconnect(&self, number: u64) {
        if let Some(talk) = lock(&self.connections).remove(&number) {
            talk.ended.cancel();
        }
    }

    /// Opens a session: its id, and the conversation. The principal's longest unused one makes room.
    pub(super) fn begin(
        &self,
        principal: &Arc<Principal>,
        opened: Opened,
    ) -> Result<(String, Arc<Conversation>)> {
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let talk = self.keep(&id, principal, opened)?;
        Ok((id, talk))
    }

    /// Keeps a session of that id here: a new one, or one that another instance opened.
    pub(super) fn keep(
        &self,
        id: &str,
        principal: &Arc<Principal>,
        opened: Opened,
    ) -> Result<Arc<Conversation>> {
        let now = self.clock.monotonic();
        let mut sessions = lock(&self.sessions);
        // what is idle goes even when nothing looks at it; looking at all of them costs, so it is done now and then
        let due = self.swept.load(Ordering::Relaxed).saturating_add(millis(self.caps.idle) / 8);
        if millis(now) >= due || sessions.len() >= self.caps.total {
            self.sweep(&mut sessions, now);
        }
        let own = |talk: &Arc<Conversation>| talk.owner.load().is(principal);
        if sessions.values().filter(|talk| own(talk)).count() >= self.caps.each {
            let oldest = sessions
                .iter()
                .filter(|(_, talk)| own(talk) && !talk.is_busy())
                .min_by_key(|(_, talk)| talk.used.load(Ordering::Relaxed))
                .map(|(id, _)| id.clone());
            if let Some(talk) = oldest.and_then(|id| sessions.remove(&id)) {
                talk.over();
            } else {
                return Err(too_many("You have as many sessions as one caller may; end one first."));
            }
        }
        if sessions.len() >= self.caps.total {
            return Err(too_many("There are as many sessions as this server allows; try again later."));
        }
        let mut talk = Conversation::new(principal, now, None);
        if self.caps.replay.events > 0 {
            let (bounds, all) = (self.caps.replay, Arc::clone(&self.shelved));
            let another = sessions.values().find(|talk| own(talk));
            let mine = another.and_then(|talk| talk.shelf()).map(|shelf| Arc::clone(shelf.own()));
            let primes = opened.revision.priming_events();
            talk.shelf = Some(Shelf::new(bounds, primes, all, mine.unwrap_or_default()));
        }
        talk.open(opened);
        let talk = Arc::new(talk);
        sessions.insert(id.into(), Arc::clone(&talk));
        Ok(talk)
    }

    /// The session of that id, if it is this principal's and still lives. Using it keeps it alive.
    pub(super) fn session(&self, id: &str, principal: &Arc<Principal>) -> Option<Arc<Conversation>> {
        let now = self.clock.monotonic();
        let mut sessions = lock(&self.sessions);
        // what is idle goes even when nobody opens another; looking costs, so it is done now and then
        let due = self.swept.load(Ordering::Relaxed).saturating_add(millis(self.caps.idle) / 8);
        if millis(now) >= due {
            self.sweep(&mut sessions, now);
        }
        let talk = sessions.get(id).filter(|talk| talk.owner.load().is(principal))?;
        if talk.is_idle(now, self.caps.idle) {
            talk.over();
            sessions.remove(id);
            return None;
        }
        talk.used.store(millis(now), Ordering::Relaxed);
        if !Arc::ptr_eq(&talk.owner.load(), principal) {
            talk.owner.store(Arc::clone(principal));
        }
        Some(Arc::clone(talk))
    }

    /// The session of that id as it is here, whosever it is.
    pub(super) fn known(&self, id: &str) -> Option<Arc<Conversation>> {
        lock(&self.sessions).get(id).cloned()
    }

    /// How long a session lives that nobody uses.
    pub(super) fn idle(&self) -> Duration {
        self.caps.idle
    }

    /// Ends a session. False when there was none of this principal's.
    pub(super) fn end(&self, id: &str, principal: &Arc<Principal>) -> bool {
        let Some(talk) = self.session(id, principal) else { return false };
        lock(&self.sessions).remove(id);
        talk.over();
        lock(&talk.running).values().for_each(CancellationToken::cancel);
        true
    }

    fn sweep(&self, sessions: &mut HashMap<Box<str>, Arc<Conversation>>, now: Duration) {
        self.swept.store(millis(now), Ordering::Relaxed);
        sessions.retain(|_, talk| {
            let keep = !talk.is_idle(now, self.caps.idle);
            if !keep {
                talk.over();
            }
            keep
        });
        // what thousands once needed is not held for the few that are left
        if sessions.capacity() > 1024 && sessions.len() < sessions.capacity() / 8 {
            sessions.shrink_to_fit();
        }
    }

    /// How much is held: sessions, connections, bytes of their streams.
    pub(super) fn held(&self) -> (usize, usize, usize) {
        let bytes = self.shelved.load(Ordering::Relaxed);
        (lock(&self.sessions).len(), lock(&self.connections).len(), bytes)
    }

    /// Every open conversation.
    pub(super) fn all(&self) -> Vec<Arc<Conversation>> {
        let mut all: Vec<_> = lock(&self.sessions).values().cloned().collect();
        all.extend(lock(&self.connections).values().filter(|talk| talk.opened().is_some()).cloned());
        all
    }
}

fn too_many(message: &'static str) -> Error {
    Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_mins(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::json::Value;
    use crate::pipeline::Client;
    use crate::principal::PrincipalKind;
    use crate::protocol::Revision;
    use crate::protocol::message::Id;
    use crate::transport::Channel;

    fn principal(id: &str) -> Arc<Principal> {
        Arc::new(Principal::new(id, PrincipalKind::ApiKey))
    }

    fn opened() -> Opened {
        Opened { revision: Revision::NEWEST_HANDSHAKE, client: Arc::new(Client::default()), said: None }
    }

    fn table(total: usize, each: usize) -> (Arc<ManualClock>, Conversations) {
        let clock = ManualClock::at(Duration::from_secs(1));
        let replay = crate::server::replay::Bounds {
            events: 8,
            bytes: 1000,
            total: 8000,
            patience: Duration::from_secs(60),
            retry: Duration::from_secs(1),
        };
        let caps = Caps { total, each, idle: Duration::from_secs(60), replay };
        (clock.clone(), Conversations::new(caps, clock))
    }

    // proves: session-owned
    #[test]
    fn a_session_belongs_to_whoever_opened_it() {
        let (_, table) = table(8, 8);
        let alice = principal("key:alice");
        let elsewhere = Principal { tenant: Some("acme".into()), ..Principal::clone(&alice) };
        let (id, _) = table.begin(&alice, opened()).unwrap();
        assert_eq!(id.len(), 43, "256 bits");
        for other in [principal("key:bob"), Arc::new(elsewhere)] {
            assert!(table.session(&id, &other).is_none());
            assert!(!table.end(&id, &other));
        }
        assert!(table.session(&id, &alice).is_some());
        assert!(table.end(&id, &alice));
        assert!(table.session(&id, &alice).is_none());
    }

    #[test]
    fn an_idle_session_expires_and_a_used_one_does_not() {
        let (clock, table) = table(8, 8);
        let alice = principal("key:alice");
        let (idle, _) = table.begin(&alice, opened()).unwrap();
        let (used, _) = table.begin(&alice, opened()).unwrap();
        for _ in 0..3 {
            clock.advance(Duration::from_secs(30));
            assert!(table.session(&used, &alice).is_some());
        }
        assert!(table.session(&idle, &alice).is_none());
    }

    #[test]
    fn sessions_are_capped_and_the_oldest_of_one_makes_room() {
        let (clock, table) = table(3, 2);
        let (alice, bob) = (principal("key:alice"), principal("key:bob"));
        let (first, _) = table.begin(&alice, opened()).unwrap();
        clock.advance(Duration::from_secs(1));
        let (second, _) = table.begin(&alice, opened()).unwrap();
        table.begin(&alice, opened()).unwrap();
        assert!(table.session(&first, &alice).is_none());
        assert!(table.session(&second, &alice).is_some());
        table.begin(&bob, opened()).unwrap();
        assert_eq!(table.begin(&bob, opened()).map(|_| ()).unwrap_err().kind(), Kind::RateLimited);
    }

    #[test]
    fn one_id_runs_once_and_answers_find_their_question() {
        let (_, table) = table(1, 1);
        let peer = |connection, gone: &CancellationToken| Peer {
            principal: principal("local:me"),
            channel: Channel::Stdio,
            address: None,
            connection,
            headers: Arc::default(),
            gone: gone.clone(),
            right: None,
        };
        let gone = CancellationToken::new();
        let talk = table.connection(&peer(7, &gone));
        let cancel = CancellationToken::new();
        let running = talk.run(&Id::from(1), &cancel).unwrap();
        assert!(talk.run(&Id::from(1), &cancel).is_err());
        talk.cancel(&Id::from(1));
        assert!(cancel.is_cancelled());
        drop(running);
        assert!(talk.run(&Id::from(1), &cancel).is_ok());
        let (waiting, mut receiver) = talk.expect();
        talk.answered(&Id::from(waiting.id + 1), Ok(Value::Null));
        assert!(receiver.try_recv().is_err());
        talk.answered(&Id::from(waiting.id), Err(-1));
        assert_eq!(receiver.try_recv().unwrap(), Err(-1));
        assert!(Arc::ptr_eq(&talk, &table.connection(&peer(7, &gone))));
        gone.cancel();
        table.connection(&peer(8, &CancellationToken::new()));
        assert_eq!(lock(&table.connections).len(), 1, "what broke off is forgotten");
    }
}
