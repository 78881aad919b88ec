//! Sessions of the older revisions that other instances opened.
//!
//! Owns [`Roll`]. The idea: what a session is (whose, which revision, what its client can do, what it wants to hear) is
//! small, and lies sealed in the store under the digest of its id; an instance that is asked for a session it does not
//! have looks there, once, and from then on once a second whether it was ended or changed elsewhere. What is under way
//! stays where it began: a request is cancelled, a question answered and a broken stream picked up where it runs, and
//! watched addresses are told by the instance that was asked to watch.
//!
//! Must not: take silence for an end; a session that is here stays while the store is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::session::{Conversation, Opened, millis};
use super::{Server, envelope};
use crate::error::Result;
use crate::json::{Digest, Map, Value, digest, json};
use crate::principal::Principal;
use crate::protocol::{Revision, shape};
use crate::state::Shared;
use crate::transport::{Answer, Channel, Peer};

/// How often the others are asked about a session that is here.
const AGAIN: u64 = 1000;
/// How much longer than an idle session may lie elsewhere it is known that it was ended.
const ENDED: Duration = Duration::from_mins(1);

/// The sessions of all instances.
pub struct Roll {
    shared: Arc<Shared>,
    clock: crate::clock::SharedClock,
}

/// What lies in the store.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// The digest of whose it is.
    owner: String,
    revision: String,
    mood: u64,
    said: Box<RawValue>,
}

/// What a client said of itself.
#[derive(Serialize, Deserialize)]
struct Card {
    capabilities: Map<String, Value>,
    info: Value,
}

/// What a client said of itself, as it is kept.
pub(super) fn card(capabilities: &Map<String, Value>, info: &Value) -> Option<Box<RawValue>> {
    let card = Card { capabilities: capabilities.clone(), info: info.clone() };
    serde_json::value::to_raw_value(&card).ok()
}

fn owner(principal: &Principal) -> String {
    digest(&json!([&*principal.id, principal.kind, principal.tenant])).hex()
}

fn name(session: &str) -> String {
    format!("session:{}", Digest::of(session.as_bytes()).hex())
}

/// What is known of a session elsewhere.
enum Known {
    Entry(Box<Entry>),
    Ended,
    Nothing,
}

impl Roll {
    /// The sessions of a store.
    pub fn new(shared: Arc<Shared>, clock: crate::clock::SharedClock) -> Self {
        Self { shared, clock }
    }

    async fn look(&self, session: &str, keep: Duration) -> Result<Known> {
        Ok(match self.shared.note(&name(session), Some(keep)).await? {
            None => Known::Nothing,
            Some(bytes) if bytes.is_empty() => Known::Ended,
            Some(bytes) => serde_json::from_slice(&bytes).map_or(Known::Nothing, Known::Entry),
        })
    }

    async fn enter(&self, session: &str, talk: &Conversation, owner: String, keep: Duration) -> Result<()> {
        let Some(Opened { revision, said: Some(said), .. }) = talk.opened() else { return Ok(()) };
        let mood = talk.mood();
        let entry = Entry { owner, revision: revision.name().to_owned(), mood, said: said.clone() };
        let Ok(bytes) = serde_json::to_vec(&entry) else { return Ok(()) };
        self.shared.put_note(&name(session), &bytes, keep, None).await?;
        talk.told.store(mood, Ordering::Relaxed);
        Ok(())
    }
}

impl Entry {
    fn opened(self) -> Option<Opened> {
        let revision = Revision::parse(&self.revision)?;
        let card: Card = serde_json::from_str(self.said.get()).ok()?;
        let capabilities = shape::client_capabilities(revision, &card.capabilities);
        let client = envelope::client(Some(&card.info), capabilities).ok()?;
        Some(Opened { revision, client: Arc::new(client), said: Some(self.said) })
    }
}

impl Server {
    /// Fetches the session that a request names, where it was opened elsewhere, and ends it here where it was ended
    /// elsewhere. The session's id, where others have to hear of what changes of it.
    pub(super) async fn adopt(&self, peer: &Peer) -> Option<String> {
        let roll = self.roll.as_ref()?;
        let session = peer.headers.session.clone().filter(|_| peer.channel == Channel::Http)?;
        let (here, idle) = (self.conversations.known(&session), self.conversations.idle());
        let now = millis(roll.clock.monotonic());
        if let Some(talk) = &here {
            let asked = talk.asked.load(Ordering::Relaxed);
            let due = now >= asked.saturating_add(AGAIN)
                && talk.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if !due {
                return Some(session);
            }
        }
        let known = roll.look(&session, idle).await;
        match (known, here) {
            (Ok(Known::Entry(entry)), None) if entry.owner == owner(&peer.principal) => {
                let mood = entry.mood;
                let kept = entry
                    .opened()
                    .and_then(|opened| self.conversations.keep(&session, &peer.principal, opened).ok());
                if let Some(talk) = kept {
                    talk.take_mood(mood);
                }
            }
            (Ok(Known::Entry(entry)), Some(talk)) => {
                if entry.mood != talk.told.load(Ordering::Relaxed) {
                    talk.take_mood(entry.mood);
                }
            }
            (Ok(Known::Ended), Some(_)) => {
                self.conversations.end(&session, &peer.principal);
            }
            // lost with the store, or never told: it is told again
            (Ok(Known::Nothing), Some(talk)) => talk.told.store(0, Ordering::Relaxed),
            (Ok(_) | Err(_), _) => {}
        }
        Some(session)
    }

    /// The conversation of a message over HTTP, wherever it was opened.
    pub(super) async fn adopted(&self, peer: &Peer) -> std::result::Result<Arc<Conversation>, Answer> {
        self.adopt(peer).await;
        self.conversation(peer)
    }

    /// Tells the other instances of a session, if something has changed of it.
    pub(super) async fn report(&self, session: &str, principal: &Arc<Principal>) {
        let Some(roll) = &self.roll else { return };
        let Some(talk) = self.conversations.known(session) else { return };
        if talk.mood() == talk.told.load(Ordering::Relaxed) || !talk.owner.load().is(principal) {
            return;
        }
        let done = roll.enter(session, &talk, owner(principal), self.conversations.idle()).await;
        if let Err(error) = done {
            tracing::debug!(reason = error.message(), "other instances do not know of a session yet");
        }
    }

    /// Tells the other instances that a session was ended.
    pub(super) async fn strike(&self, session: &str) {
        let Some(roll) = &self.roll else { return };
        let kept = self.conversations.idle().saturating_add(ENDED);
        if let Err(error) = roll.shared.put_note(&name(session), b"", kept, None).await {
            tracing::warn!(reason = error.message(), "other instances do not know that a session was ended");
        }
    }
}
