//! Calls that outlive their request.
//!
//! Owns [`Tasks`]: the tasks that run here, and the three methods that look at them. The idea: a task is the same walk
//! along the line as any call; what differs is that its request has been answered already, so what comes of it is
//! written down, and whoever asks under the same name is told. A task that another process runs is read from the
//! state directory, and gets its mail there.
//!
//! Must not: tell another caller's task from one that is not there.

mod job;
mod open;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(super) use job::{Inline, Job, Link, Telling};
use open::Open;

use super::dispatch::{Visit, no_method};
use super::session::lock;
use super::subscriptions::{Change, Streams};
use super::{Server, faults};
use crate::audit::Event;
use crate::catalog::{Catalog, Snapshot};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, digest, json};
use crate::pipeline::Line;
use crate::principal::Principal;
use crate::protocol::message;
use crate::protocol::meta::TASKS;
use crate::protocol::shape::{self, Frame, Nothing};
use crate::protocol::{Method, Revision};
use crate::tasks::{Mail, Record, State, Store};

/// How often the tasks that run here are looked after: mail, approvals, expiry.
const ROUND: Duration = Duration::from_millis(500);
/// Rounds between two sweeps of the state directory.
const SWEEP: u32 = 120;
/// Tasks that one stream may watch.
const MOST_WATCHED: usize = 256;
/// Answers in one update.
const MOST_ANSWERS: usize = 64;

/// A task that runs here.
struct Live {
    record: Mutex<Record>,
    open: Mutex<Open>,
    /// The approval it waits for.
    awaited: Mutex<Option<String>>,
    /// Fires when there are answers, or a person has decided.
    heard: Notify,
    cancel: CancellationToken,
    revision: Revision,
    /// One change after the other.
    writing: tokio::sync::Mutex<()>,
}

/// The tasks of this process.
pub(super) struct Tasks {
    store: Arc<Store>,
    first_line: Arc<Line>,
    catalog: Arc<Catalog>,
    streams: Arc<Streams>,
    info: Box<RawValue>,
    rounds: u32,
    reserve: u64,
    live: Mutex<HashMap<String, Arc<Live>>>,
    watching: AtomicBool,
    stopping: AtomicBool,
    settled: Notify,
}

/// A task that nobody knows of yet; should its request be gone by now, so is the task.
struct Made {
    store: Arc<Store>,
    record: Option<Record>,
}

impl Made {
    fn keep(mut self) -> Result<Record> {
        self.record.take().ok_or_else(|| Error::new(Kind::Internal, "A task was made without a record."))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.store.discard(&record);
        }
    }
}

/// Whose tasks: what a record is bound to.
fn owner(principal: &Principal) -> String {
    digest(&json!([&*principal.id, principal.kind, principal.tenant])).hex()
}

fn unknown_task() -> Error {
    Error::new(Kind::BadParams, "There is no such task; it may have been forgotten.")
}

/// Runs what blocks on files.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| {
        Error::new(Kind::Internal, "The tasks in the state directory could not be looked at.")
            .with_source(cause)
    })?
}

/// The error for a client that did not declare the extension.
fn undeclared() -> Error {
    Error::new(Kind::MissingCapability, "This needs a client that declares the tasks extension.")
        .with_detail(json!({"requiredCapabilities": {"extensions": {TASKS: {}}}}))
}

impl Tasks {
    pub(super) fn new(
        store: Arc<Store>,
        (first_line, catalog): (Arc<Line>, Arc<Catalog>),
        streams: Arc<Streams>,
        info: Box<RawValue>,
        rounds: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            reserve: first_line.result_limit(),
            first_line,
            catalog,
            streams,
            info,
            rounds,
            live: Mutex::default(),
            watching: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            settled: Notify::new(),
        })
    }

    /// The line as it is now: a call that was held is judged by what holds when it goes on.
    fn line_of<'a>(&'a self, now: &'a Snapshot) -> &'a Arc<Line> {
        now.line().unwrap_or(&self.first_line)
    }

    /// Takes back whatever runs; it ends as something that the server ended.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        for live in lock(&self.live).values() {
            live.cancel.cancel();
        }
    }

    /// Waits until nothing runs any more, but not for ever.
    pub(super) async fn settle(&self, patience: Duration) {
        let empty = async {
            loop {
                let settled = self.settled.notified();
                if lock(&self.live).is_empty() {
                    return;
                }
                settled.await;
            }
        };
        let _ = tokio::time::timeout(patience, empty).await;
    }

    fn find(&self, owner: &str, id: &str) -> Option<Arc<Live>> {
        let live = lock(&self.live).get(id).cloned()?;
        let mine = {
            let record = lock(&live.record);
            record.owner == owner && record.expires > self.store.now()
        };
        mine.then_some(live)
    }

    /// Where a task stands, wherever it runs.
    async fn look(&self, owner: &str, id: &str) -> Result<Record> {
        if let Some(live) = self.find(owner, id) {
            return Ok(lock(&live.record).clone());
        }
        let (store, whose, name) = (Arc::clone(&self.store), owner.to_owned(), id.to_owned());
        aside(move || store.read(&whose, &name)).await?.ok_or_else(unknown_task)
    }

    /// Makes a task that runs here.
    async fn create(
        self: &Arc<Self>,
        principal: &Principal,
        revision: Revision,
        cancel: CancellationToken,
        ran: bool,
    ) -> Result<Arc<Live>> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Cancelled, "The server is about to end; call it again later."));
        }
        let (store, owner, reserve) = (Arc::clone(&self.store), owner(principal), self.reserve);
        let made = aside(move || {
            let record = store.create(&owner, None, ran, reserve)?;
            Ok(Made { store, record: Some(record) })
        });
        let record = made.await?.keep()?;
        let live = Arc::new(Live {
            record: Mutex::new(record.clone()),
            open: Mutex::default(),
            awaited: Mutex::default(),
            heard: Notify::new(),
            cancel,
            revision,
            writing: tokio::sync::Mutex::default(),
        });
        lock(&self.live).insert(record.id, Arc::clone(&live));
        self.watch();
        Ok(live)
    }

    /// Changes where a task stands: on the disk first, then here, then for whoever listens.
    async fn change(&self, live: &Arc<Live>, change: impl FnOnce(&mut Record)) -> Result<()> {
        let _writing = live.writing.lock().await;
        let mut record = lock(&live.record).clone();
        if record.state.is_over() {
            return Ok(());
        }
        change(&mut record);
        record.updated = self.store.now();
        let (store, written) = (Arc::clone(&self.store), record.clone());
        aside(move || store.write(&written)).await?;
        lock(&live.record).clone_from(&record);
        self.tell(&record, live.revision);
        Ok(())
    }

    /// The task is over. Should it not be possible to write that down, it is at least told here until it expires.
    async fn finish(&self, live: &Arc<Live>, state: State, message: Option<String>) {
        let over = state.clone();
        let said = message.clone();
        let written = self
            .change(live, move |record| {
                record.state = over;
                record.message = said;
            })
            .await;
        let id = lock(&live.record).id.clone();
        match written {
            Ok(()) => {
                lock(&self.live).remove(&id);
            }
            Err(error) => {
                tracing::error!(error = %error, "how a task ended could not be written down");
                let record = {
                    let mut record = lock(&live.record);
                    record.state = state;
                    record.message = message;
                    record.clone()
                };
                self.tell(&record, live.revision);
            }
        }
        self.settled.notify_waiters();
    }

    fn tell(&self, record: &Record, revision: Revision) {
        let frame = Frame { revision, server: &self.info };
        match wire::detailed(record, self.store.poll_ms(), frame) {
            Ok(params) => self.streams.tell(Change::Task(&record.id, &params), |_| true),
            Err(error) => tracing::error!(error = %error, "where a task stands could not be told"),
        }
    }

    /// Looks after the tasks that run here, as long as there are any.
    fn watch(self: &Arc<Self>) {
        if self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut round: u32 = 0;
            loop {
                tokio::time::sleep(ROUND).await;
                let Some(tasks) = weak.upgrade() else { return };
                tasks.round(round.is_multiple_of(SWEEP)).await;
                round = round.wrapping_add(1);
                let live = lock(&tasks.live);
                if live.is_empty() {
                    tasks.watching.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }

    async fn round(self: &Arc<Self>, sweep: bool) {
        let now = self.store.now();
        let all: Vec<Arc<Live>> = lock(&self.live).values().cloned().collect();
        let mut running = Vec::new();
        for live in all {
            let (id, owner, expires, over) = {
                let record = lock(&live.record);
                (record.id.clone(), record.owner.clone(), record.expires, record.state.is_over())
            };
            if expires <= now {
                live.cancel.cancel();
                if over {
                    lock(&self.live).remove(&id);
                }
                continue;
            }
            let awaited = lock(&live.awaited).clone();
            if let Some(approval) = awaited
                && !self.line_of(&self.catalog.now()).awaits(&approval).await
            {
                lock(&live.awaited).take();
                live.heard.notify_one();
            }
            running.push((owner, id));
        }
        let store = Arc::clone(&self.store);
        let work = move || {
            if sweep && let Err(error) = store.sweep() {
                tracing::error!(error = %error, "tasks that have expired could not be removed");
            }
            Ok(store.mail(&running))
        };
        for (id, mail) in aside(work).await.unwrap_or_default() {
            let live = lock(&self.live).get(&id).cloned();
            match (live, mail) {
                (Some(live), Mail::Cancel) => live.cancel.cancel(),
                (Some(live), Mail::Answers { responses }) => {
                    // who sent it has been told of what was wrong with it
                    let _ = self.answered(&live, responses).await;
                }
                (None, _) => {}
            }
        }
    }
}

impl Server {
    /// The tasks, for a client that may have some.
    pub(super) fn tasks_for(&self, visit: &Visit) -> Option<&Arc<Tasks>> {
        self.tasks.as_ref().filter(|_| {
            Method::find("tasks/get", visit.revision).is_some()
                && visit.client.capabilities.extensions.iter().any(|extension| extension == TASKS)
        })
    }

    /// What a tool demands that has to be a task, of a client that has none.
    pub(super) fn needs_tasks(&self) -> Option<Error> {
        self.tasks.is_some().then(undeclared)
    }

    /// `tasks/get`, `tasks/update`, `tasks/cancel`.
    pub(super) async fn task(
        &self,
        method: Method,
        visit: &Visit,
        params: &mut Map<String, Value>,
    ) -> Result<String> {
        if self.tasks.is_none() {
            return Err(no_method());
        }
        let tasks = self.tasks_for(visit).ok_or_else(undeclared)?;
        // looking is cheap, but not free
        let now = self.catalog.now();
        self.line(&now).limiter().take(&visit.principal.id, "read", 1).await?;
        let Some(Value::String(id)) = params.remove("taskId") else {
            return Err(faults::bad_params("The parameters need `taskId`, a string."));
        };
        let whose = owner(&visit.principal);
        let frame = self.frame(visit.revision);
        if method == Method::TaskGet {
            let record = tasks.look(&whose, &id).await?;
            let body = wire::detailed(&record, tasks.store.poll_ms(), frame)?;
            return Ok(message::result(&visit.id, shape::complete(frame, body, None, None)));
        }
        let mail = if method == Method::TaskCancel {
            Mail::Cancel
        } else {
            match params.remove("inputResponses") {
                Some(Value::Object(responses)) if responses.len() <= MOST_ANSWERS => {
                    Mail::Answers { responses }
                }
                _ => {
                    let wrong = "`tasks/update` needs `inputResponses`, an object with few members.";
                    return Err(faults::bad_params(wrong));
                }
            }
        };
        let record = tasks.look(&whose, &id).await?;
        self.note_task(visit, method, &id).await?;
        match (tasks.find(&whose, &id), mail) {
            (Some(live), Mail::Cancel) => live.cancel.cancel(),
            (Some(live), Mail::Answers { responses }) => tasks.answered(&live, responses).await?,
            // over: nothing is left to be done
            (None, _) if record.state.is_over() || tasks.store.is_mine(&record) => {}
            (None, mail) => {
                wire::check_from_afar(&record, &mail)?;
                let store = Arc::clone(&tasks.store);
                aside(move || store.post(&record, &mail)).await?;
            }
        }
        Ok(message::result(&visit.id, shape::complete(frame, Nothing {}, None, None)))
    }

    /// Leaves an event: whoever changes a call that runs can be found like whoever made it.
    async fn note_task(&self, visit: &Visit, method: Method, id: &str) -> Result<()> {
        let detail = json!({
            "principal": &*visit.principal.id,
            "transport": visit.transport,
            "method": method.name(),
            "task": short(id),
        });
        let now = self.catalog.now();
        self.line(&now).audit().event(Event::Task, &detail).await
    }

    /// The tasks among these that a stream of this caller can watch.
    pub(super) async fn watched_tasks(
        &self,
        visit: &Visit,
        wanted: Option<&Value>,
    ) -> Result<BTreeSet<String>> {
        let Some(wanted) = wanted else { return Ok(BTreeSet::new()) };
        if self.tasks.is_none() {
            return Ok(BTreeSet::new());
        }
        let tasks = self.tasks_for(visit).ok_or_else(undeclared)?;
        let wrong = || faults::bad_params("`taskIds` has to be a short list of task ids.");
        let list = wanted.as_array().filter(|list| list.len() <= MOST_WATCHED).ok_or_else(wrong)?;
        let cost = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let now = self.catalog.now();
        self.line(&now).limiter().take(&visit.principal.id, "read", cost).await?;
        let whose = owner(&visit.principal);
        let mut watched = BTreeSet::new();
        for id in list {
            let id = id.as_str().ok_or_else(wrong)?;
            // what another process runs is not heard of here; its client goes on looking
            if let Ok(record) = tasks.look(&whose, id).await
                && (record.state.is_over() || tasks.store.is_mine(&record))
            {
                watched.insert(id.to_owned());
            }
        }
        Ok(watched)
    }

    /// Tells a new stream where its tasks stand: one may have ended before it was watched.
    pub(super) async fn retell(&self, visit: &Visit, watched: &BTreeSet<String>) {
        let Some(tasks) = &self.tasks else { return };
        let whose = owner(&visit.principal);
        for id in watched {
            if let Ok(record) = tasks.look(&whose, id).await {
                tasks.tell(&record, visit.revision);
            }
        }
    }
}

/// How a task is named in the audit: enough to find it, too little to ask for it.
fn short(id: &str) -> String {
    let mut name = crate::json::Digest::of(id.as_bytes()).hex();
    name.truncate(16);
    name
}
