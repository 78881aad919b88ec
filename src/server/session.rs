//! Conversations: what a connection or a session remembers.
//!
//! Owns [`Conversation`]; `talks.rs` has the table of them. The idea: a stdio connection and an HTTP session of the stateful door
//! are the same thing; the stateless door uses a connection's conversation for nothing but cancelling. Session ids
//! are random, belong to the principal that opened them, and are no credential.
//!
//! Must not: outlive its connection, its idle time or the caps.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::replay::Shelf;
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::pipeline::Client;
use crate::principal::Principal;
use crate::protocol::Revision;
use crate::protocol::message::Id;
use crate::protocol::types::LogLevel;
use crate::transport::Outlet;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `initialize` agreed on.
pub(super) struct Opened {
    pub(super) revision: Revision,
    pub(super) client: Arc<Client>,
    /// What the client said of itself, for other instances; nothing where there are none.
    pub(super) said: Option<Box<RawValue>>,
}

/// What the client answered to a request of ours.
pub(super) type Reply = std::result::Result<Value, i64>;

struct Listener {
    outlet: Arc<dyn Outlet>,
    ended: CancellationToken,
}

/// One connection, or one HTTP session.
pub(super) struct Conversation {
    /// Whose it is, with the rights of its last use.
    pub(super) owner: ArcSwap<Principal>,
    opened: OnceLock<Opened>,
    ready: AtomicBool,
    level: AtomicU8,
    pub(super) running: Mutex<HashMap<Id, CancellationToken>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    next: AtomicU64,
    watched: Mutex<BTreeSet<String>>,
    listener: Mutex<Option<Listener>>,
    /// What its streams said, for a client that lost one; sessions only.
    pub(super) shelf: Option<Arc<Shelf>>,
    pub(super) used: AtomicU64,
    /// What other instances were told of it last, and when they were last asked (monotonic, in milliseconds).
    pub(super) told: AtomicU64,
    pub(super) asked: AtomicU64,
    /// Fires when nothing more comes from the client.
    pub(super) ended: CancellationToken,
    /// Fires when the connection is gone; sessions outlive theirs.
    pub(super) gone: Option<CancellationToken>,
}

impl Conversation {
    pub(super) fn new(owner: &Arc<Principal>, now: Duration, gone: Option<CancellationToken>) -> Self {
        Self {
            owner: ArcSwap::new(Arc::clone(owner)),
            opened: OnceLock::new(),
            ready: AtomicBool::new(false),
            level: AtomicU8::new(LogLevel::Info as u8),
            running: Mutex::default(),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            watched: Mutex::default(),
            listener: Mutex::default(),
            shelf: None,
            used: AtomicU64::new(millis(now)),
            told: AtomicU64::new(0),
            asked: AtomicU64::new(millis(now)),
            ended: CancellationToken::new(),
            gone,
        }
    }

    /// What keeps its streams, where they can be picked up.
    pub(super) fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.shelf.as_ref()
    }

    /// Nothing more comes: what listens ends, and what was kept is let go.
    pub(super) fn over(&self) {
        self.ended.cancel();
        if let Some(shelf) = &self.shelf {
            shelf.close();
        }
    }

    /// What was agreed, once it was.
    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// Opens it. False when it was open.
    pub(super) fn open(&self, opened: Opened) -> bool {
        self.opened.set(opened).is_ok()
    }

    /// The client said it is ready; only then does it hear what it did not ask for.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// What changes of it, as a number that is never 0.
    pub(super) fn mood(&self) -> u64 {
        1 | u64::from(self.ready.load(Ordering::Relaxed)) << 1
            | u64::from(self.level.load(Ordering::Relaxed)) << 2
    }

    /// Takes over what changed of it on another instance.
    pub(super) fn take_mood(&self, mood: u64) {
        if mood & 2 != 0 {
            self.set_ready();
        }
        self.level.store(u8::try_from(mood >> 2 & 7).unwrap_or_default(), Ordering::Relaxed);
        self.told.store(mood, Ordering::Relaxed);
    }

    /// The least severe level the client wants to hear.
    pub(super) fn level(&self) -> LogLevel {
        const LEVELS: [LogLevel; 8] = [
            LogLevel::Debug,
            LogLevel::Info,
            LogLevel::Notice,
            LogLevel::Warning,
            LogLevel::Error,
            LogLevel::Critical,
            LogLevel::Alert,
            LogLevel::Emergency,
        ];
        LEVELS[usize::from(self.level.load(Ordering::Relaxed)).min(7)]
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Notes a request that runs, so that it can be cancelled; it is forgotten when the guard goes.
    pub(super) fn run(self: &Arc<Self>, id: &Id, cancel: &CancellationToken) -> Result<Running> {
        let mut running = lock(&self.running);
        if running.contains_key(id) {
            return Err(Error::new(
                Kind::BadRequest,
                "A request with this id is still running; give each its own.",
            ));
        }
        running.insert(id.clone(), cancel.clone());
        Ok(Running { talk: Arc::clone(self), id: id.clone() })
    }

    /// Cancels a running request; an unknown one is nobody's fault.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(cancel) = lock(&self.running).get(id) {
            cancel.cancel();
        }
    }

    /// A number for a request of ours, and where its answer will arrive.
    pub(super) fn expect(self: &Arc<Self>) -> (Waiting, oneshot::Receiver<Reply>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        (Waiting { talk: Arc::clone(self), id }, receiver)
    }

    /// The client answered; answers to nothing are ignored.
    pub(super) fn answered(&self, id: &Id, reply: Reply) {
        let Id::Number(number) = id else { return };
        let sender = number.as_u64().and_then(|number| lock(&self.waiting).remove(&number));
        if let Some(sender) = sender {
            let _ = sender.send(reply);
        }
    }

    /// Watches an address. False when there are too many already.
    pub(super) fn watch(&self, uri: String, most: usize) -> bool {
        let mut watched = lock(&self.watched);
        if watched.len() >= most && !watched.contains(&uri) {
            return false;
        }
        watched.insert(uri);
        true
    }

    pub(super) fn unwatch(&self, uri: &str) {
        lock(&self.watched).remove(uri);
    }

    pub(super) fn watches(&self, uri: &str, may: impl Fn(&Principal) -> bool) -> bool {
        lock(&self.watched).contains(uri) && may(&self.owner.load())
    }

    /// Where messages go that belong to no request: the connection, or the newest GET stream.
    pub(super) fn listen(&self, outlet: Arc<dyn Outlet>) -> CancellationToken {
        let ended = self.ended.child_token();
        let former = lock(&self.listener).replace(Listener { outlet, ended: ended.clone() });
        if let Some(former) = former {
            former.ended.cancel();
        }
        ended
    }

    /// The stream is over, unless a newer one has taken its place.
    pub(super) fn deafen(&self, ended: &CancellationToken) {
        if !ended.is_cancelled() {
            lock(&self.listener).take();
        }
    }

    /// Says something that belongs to no request.
    pub(super) fn tell(&self, message: impl FnOnce() -> String) {
        if !self.ready.load(Ordering::Relaxed) {
            return;
        }
        if let Some(shelf) = &self.shelf {
            return shelf.tell(message);
        }
        let outlet = lock(&self.listener).as_ref().map(|listener| Arc::clone(&listener.outlet));
        if let Some(outlet) = outlet {
            outlet.send(message());
        }
    }

    pub(super) fn is_idle(&self, now: Duration, idle: Duration) -> bool {
        let unused = millis(now).saturating_sub(self.used.load(Ordering::Relaxed));
        u128::from(unused) >= idle.as_millis() && !self.is_busy()
    }

    pub(super) fn is_busy(&self) -> bool {
        !lock(&self.running).is_empty() || lock(&self.listener).is_some()
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A request that runs.
pub(super) struct Running {
    talk: Arc<Conversation>,
    id: Id,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.talk.running).remove(&self.id);
    }
}

/// A request of ours that waits for its answer.
pub(super) struct Waiting {
    talk: Arc<Conversation>,
    pub(super) id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.talk.waiting).remove(&self.id);
    }
}
