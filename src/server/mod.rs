//! Two doors, one room.
//!
//! Owns [`Server`], the [`Handler`](crate::transport::Handler) that transports talk to. The idea: each message chooses its door. A request whose
//! `_meta` declares a stateless revision enters by the envelope; `initialize`, and what follows it on its connection or
//! session, by the handshake; anything else is told what is missing. Inside, both are the same visit.
//!
//! Must not: read bytes, or run a tool round the line.

mod again;
mod asks;
mod batch;
mod config;
mod dispatch;
mod envelope;
mod faults;
mod handler;
mod handshake;
mod headers;
mod listing;
mod refusals;
mod replay;
mod roll;
mod session;
mod spent;
mod subscriptions;
mod talks;
mod tasks;
mod voice;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

pub use crate::state::KeyRing;
pub use config::Config;
pub use roll::Roll;
pub use spent::Spent;

use crate::catalog::{Catalog, List, Snapshot};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::call::Silence;
use crate::pipeline::{Line, Voice};
use crate::protocol::message::{Id, Message};
use crate::protocol::meta::PROTOCOL_VERSION;
use crate::protocol::shape::Frame;
use crate::protocol::types::Implementation;
use crate::protocol::{Method, Revision};
use crate::tasks::Store;
use crate::transport::{Answer, Channel, Delivery, Outlet, Peer};

use config::Caps;
use dispatch::Visit;
use replay::{Bounds, Tape};
use session::Conversation;
use subscriptions::{Change, Streams};
use talks::Conversations;

/// What a server is made of.
pub struct ServerParts {
    /// The line every call walks.
    pub line: Arc<Line>,
    /// What can be called.
    pub catalog: Arc<Catalog>,
    /// How the server describes itself.
    pub implementation: Implementation,
    /// What a model should know about using it.
    pub instructions: Option<String>,
    /// What seals the state that clients carry.
    pub keys: KeyRing,
    /// Which of the states it sealed were used.
    pub spent: Spent,
    /// Sessions that other instances opened, where there are others.
    pub roll: Option<Roll>,
    /// Where calls are kept that outlive their request; without it there are no tasks.
    pub tasks: Option<Arc<Store>>,
    /// The time.
    pub clock: SharedClock,
    /// Sizes and times.
    pub config: Config,
}

/// What a server holds for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Sessions over HTTP.
    pub sessions: usize,
    /// Connections over pipes.
    pub connections: usize,
    /// Bytes of streams that can be picked up.
    pub bytes: usize,
    /// Open subscription streams.
    pub subscriptions: usize,
}

/// A request on its way to a door.
struct Arrived {
    id: Id,
    params: Map<String, Value>,
    peer: Peer,
    outlet: Arc<dyn Outlet>,
    /// Whether it came by itself, and not in a batch.
    alone: bool,
}

/// The server.
pub struct Server {
    first_line: Arc<Line>,
    catalog: Arc<Catalog>,
    implementation: Implementation,
    info: Box<RawValue>,
    instructions: Option<String>,
    keys: KeyRing,
    spent: Spent,
    roll: Option<Roll>,
    clock: SharedClock,
    config: Config,
    conversations: Conversations,
    streams: Arc<Streams>,
    tasks: Option<Arc<tasks::Tasks>>,
    pages: listing::Pages,
    silence: Arc<dyn Voice>,
    stopping: CancellationToken,
}

impl Server {
    /// Builds a server; changes of the catalog are told to clients from here on.
    pub fn new(parts: ServerParts) -> Result<Arc<Self>> {
        let info = serde_json::value::to_raw_value(&parts.implementation).map_err(|error| {
            Error::new(Kind::Internal, "The server's name is no JSON.").with_source(error)
        })?;
        let config = parts.config;
        let caps = Caps {
            total: config.sessions,
            each: config.sessions_each,
            idle: Duration::from_secs(config.session_idle_seconds),
            replay: Bounds {
                events: config.replay_events,
                bytes: config.replay_bytes,
                total: config.replay_total_bytes,
                patience: Duration::from_secs(config.resume_seconds),
                retry: Duration::from_millis(config.retry_ms),
            },
        };
        parts.catalog.govern(Arc::clone(&parts.line));
        let streams = Arc::new(Streams::default());
        let tasks = parts.tasks.map(|store| {
            tasks::Tasks::new(
                store,
                (Arc::clone(&parts.line), Arc::clone(&parts.catalog)),
                Arc::clone(&streams),
                info.clone(),
                config.ask_rounds,
            )
        });
        let server = Arc::new(Self {
            first_line: parts.line,
            catalog: parts.catalog,
            implementation: parts.implementation,
            info,
            instructions: parts.instructions,
            keys: parts.keys,
            spent: parts.spent,
            roll: parts.roll,
            conversations: Conversations::new(caps, Arc::clone(&parts.clock)),
            clock: parts.clock,
            config,
            streams,
            tasks,
            pages: listing::Pages::default(),
            silence: Arc::new(Silence),
            stopping: CancellationToken::new(),
        });
        let weak = Arc::downgrade(&server);
        server.catalog.watch(move |lists| {
            let Some(server) = weak.upgrade() else { return };
            for list in lists {
                // resources and templates are two lists and one notice
                if *list != List::Templates || !lists.contains(&List::Resources) {
                    server.tell(Change::List(*list));
                }
            }
        });
        Ok(server)
    }

    /// What can be called; it may change while the server runs.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The line that entries of this snapshot are called along.
    fn line<'a>(&'a self, now: &'a Snapshot) -> &'a Arc<Line> {
        now.line().unwrap_or(&self.first_line)
    }

    /// Tells whoever watches it that a resource has changed.
    pub fn resource_updated(&self, uri: &str) {
        let now = self.catalog.now();
        let said = self.line(&now).redactor().text(uri);
        self.tell(Change::Resource(uri, &said));
    }

    /// Ends every open stream in order, and takes back every task; requests under way go on.
    pub fn stop(&self) {
        self.stopping.cancel();
        if let Some(tasks) = &self.tasks {
            tasks.stop();
        }
    }

    /// Waits until what became of the tasks that ran is written down; not longer than `patience`.
    pub async fn settle(&self, patience: Duration) {
        if let Some(tasks) = &self.tasks {
            tasks.settle(patience).await;
        }
    }

    /// How much is held for clients: sessions, connections, bytes of streams that can be picked up, open subscriptions.
    pub fn held(&self) -> Held {
        let (sessions, connections, bytes) = self.conversations.held();
        Held { sessions, connections, bytes, subscriptions: self.streams.count() }
    }

    fn frame(&self, revision: Revision) -> Frame<'_> {
        Frame { revision, server: &self.info }
    }

    async fn message(&self, delivery: Delivery, peer: Peer, outlet: Arc<dyn Outlet>) -> Answer {
        let read = match delivery.body {
            Ok(Value::Array(values)) => return Box::pin(self.batch(values, peer, outlet)).await,
            Ok(value) => Message::read(value),
            Err(error) => return self.unreadable(&peer, None, &error).await,
        };
        match read {
            Ok(Message::Request { id, method, params }) => {
                Box::pin(self.request(&method, Arrived { id, params, peer, outlet, alone: true })).await
            }
            Ok(message) => self.heard(message, &peer),
            Err(refused) => self.unreadable(&peer, refused.id.as_ref(), &refused.error).await,
        }
    }

    /// What wants no answer; a request, which does, goes through [`Server::request`].
    fn heard(&self, message: Message, peer: &Peer) -> Answer {
        match message {
            Message::Notification { method, params } => self.notification(&method, &params, peer),
            Message::Response { id, outcome } => match self.heard_from(peer) {
                Ok(talk) => {
                    talk.answered(&id, outcome);
                    accepted()
                }
                Err(answer) => answer,
            },
            Message::Request { .. } => accepted(),
        }
    }

    /// Who speaks, where only the older door can be meant.
    fn heard_from(&self, peer: &Peer) -> std::result::Result<Arc<Conversation>, Answer> {
        match peer.channel {
            Channel::Stdio => Ok(self.conversations.connection(peer)),
            Channel::Http => self.conversation(peer),
        }
    }

    fn notification(&self, method: &str, params: &Map<String, Value>, peer: &Peer) -> Answer {
        // the stateless door has no notifications over HTTP: cancelling is closing the stream
        if peer.channel == Channel::Http && (declares(params) || envelope::declared(&peer.headers)) {
            return accepted();
        }
        match self.heard_from(peer) {
            Ok(talk) => {
                Self::noticed(&talk, method, params);
                accepted()
            }
            Err(answer) => answer,
        }
    }

    async fn request(&self, method: &str, mut arrived: Arrived) -> Answer {
        let Arrived { id, params, peer, outlet, .. } = &mut arrived;
        if declares(params) || (peer.channel == Channel::Http && envelope::declared(&peer.headers)) {
            return match envelope::open(method, params, peer) {
                Ok((envelope, found)) => self.by_envelope(envelope, found, arrived).await,
                Err(error) => self.unreadable(peer, Some(id), &error).await,
            };
        }
        if method == Method::Initialize.name() {
            let answer = self.initialize(id, params, peer, outlet).unwrap_or_else(|error| {
                let busy = error.kind() == Kind::RateLimited;
                let revision = Revision::NEWEST_HANDSHAKE;
                let status = if busy { 503 } else { revision.status(error.kind()) };
                faults::with_status(revision, Some(id), &error, status)
            });
            if let Some(session) = &answer.session {
                self.report(session, &peer.principal).await;
            }
            return answer;
        }
        Box::pin(self.by_handshake(method, arrived)).await
    }

    async fn by_envelope(
        &self,
        envelope: envelope::Envelope,
        method: Option<Method>,
        arrived: Arrived,
    ) -> Answer {
        let Arrived { id, params, peer, outlet, .. } = arrived;
        let stdio = peer.channel == Channel::Stdio;
        let connection = stdio.then(|| self.conversations.connection(&peer));
        let visit = Visit {
            revision: envelope.revision,
            principal: peer.principal,
            right: peer.right,
            client: envelope.client,
            transport: peer.channel.name(),
            address: peer.address,
            traceparent: peer.headers.traceparent.clone(),
            level: envelope.level,
            progress: envelope.progress,
            meta: Some(envelope.meta),
            headers: (!stdio && envelope.revision.standard_headers()).then_some(peer.headers),
            outlet,
            // over HTTP the exchange is the request; on a connection it is one of many
            cancel: if stdio { peer.gone.child_token() } else { peer.gone },
            connection,
            session: None,
            id,
        };
        self.answer(method, &visit, params).await
    }

    async fn by_handshake(&self, method: &str, arrived: Arrived) -> Answer {
        let Arrived { id, mut params, peer, outlet, alone } = arrived;
        let talk = match self.heard_from(&peer) {
            Ok(talk) => talk,
            Err(answer) => return under(answer, &id),
        };
        let Some(opened) = talk.opened() else {
            // a ping may come before everything
            let early = Revision::NEWEST_HANDSHAKE;
            if Method::find(method, early) == Some(Method::Ping) {
                return ok(crate::protocol::message::result(&id, serde_json::json!({})));
            }
            let message = "Begin with `initialize`, or declare a stateless protocol revision in `_meta`.";
            return faults::with_status(early, Some(&id), &Error::new(Kind::BadParams, message), 400);
        };
        let meta = match params.remove("_meta") {
            Some(Value::Object(meta)) => Some(Arc::new(meta)),
            _ => None,
        };
        let progress = match envelope::progress_token(meta.as_deref()) {
            Ok(progress) => progress,
            Err(error) => return faults::answer(opened.revision, Some(&id), &error),
        };
        let stdio = peer.channel == Channel::Stdio;
        let shelf = talk.shelf().filter(|_| alone);
        let tape = shelf.map(|shelf| Arc::new(Tape::new(Arc::clone(shelf), Arc::clone(&outlet))));
        let visit = Visit {
            revision: opened.revision,
            principal: peer.principal,
            right: peer.right,
            client: Arc::clone(&opened.client),
            transport: peer.channel.name(),
            address: peer.address,
            traceparent: peer.headers.traceparent.clone(),
            level: Some(talk.level()),
            progress,
            meta,
            headers: None,
            outlet: tape.clone().map_or(outlet, |tape| tape),
            // a stream that can be picked up outlives the connection it began on
            cancel: if tape.is_some() { CancellationToken::new() } else { peer.gone.child_token() },
            connection: stdio.then(|| Arc::clone(&talk)),
            session: Some(Arc::clone(&talk)),
            id,
        };
        let work = self.answer(Method::find(method, opened.revision), &visit, params);
        let Some(tape) = tape else { return work.await };
        let answer = tokio::select! {
            biased;
            answer = work => answer,
            () = tape.abandoned(&peer.gone) => {
                visit.cancel.cancel();
                accepted()
            }
        };
        tape.finish(answer)
    }

    async fn answer(&self, method: Option<Method>, visit: &Visit, params: Map<String, Value>) -> Answer {
        let running = visit
            .session
            .as_ref()
            .or(visit.connection.as_ref())
            .map(|talk| talk.run(&visit.id, &visit.cancel));
        let result = match (method, running) {
            (_, Some(Err(error))) => Err(error),
            (None, _) => Err(dispatch::no_method()),
            (Some(method), _running) => self.dispatch(method, visit, params).await,
        };
        match result {
            // a cancelled request has no answer, not even a finished one
            _ if visit.cancel.is_cancelled() => accepted(),
            Ok(text) => ok(text),
            Err(error) => {
                let name = method.map_or("", Method::name);
                self.note_refusal(&visit.principal, visit.transport, name, &error).await;
                faults::answer(visit.revision, Some(&visit.id), &error)
            }
        }
    }
}

/// Whether a body declares its revision.
fn declares(params: &Map<String, Value>) -> bool {
    params.get("_meta").is_some_and(|meta| meta.get(PROTOCOL_VERSION).is_some())
}

fn ok(text: String) -> Answer {
    Answer { status: 200, body: Some(text), ..Answer::default() }
}

fn accepted() -> Answer {
    Answer { status: 202, ..Answer::default() }
}

/// A refusal, under the id of the request it refuses.
fn under(mut answer: Answer, id: &Id) -> Answer {
    let rest = answer.body.as_deref().and_then(|body| body.strip_prefix(r#"{"jsonrpc":"2.0","#));
    if let Some(rest) = rest {
        answer.body = Some(format!(r#"{{"jsonrpc":"2.0","id":{},{rest}"#, id.json()));
    }
    answer
}
