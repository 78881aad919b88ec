//! Tasks: calls that outlive their request, durable.
//!
//! Owns [`Store`] and its [`Config`]. The idea: each caller has a folder in the state directory, or in the store that instances
//! share, and each task a file in it, written before its id is told to anybody. A process holds a lock for as long as it lives; a task under way
//! whose process has gone is over, with an unknown outcome, and nobody runs it again. Another process reads what is
//! there and leaves mail for the one that runs it.
//!
//! ```text
//! OWNER/ID.open         under way; its process is named inside
//! OWNER/ID.done         over
//! OWNER/ID.mail-RANDOM  an answer or a cancellation that came to another process
//! ```
//!
//! Everything here blocks on files for a moment; the server calls it from a blocking thread.
//!
//! Must not: run anything, or hold what was not redacted before (answers to open questions are gone once they are read).

mod record;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use record::{Record, State};

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::state::{Folder, Held, Shared, StateDir};
use record::{expiry, fresh_id, millis};

/// The `[tasks]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds after which a task is forgotten, counted from its start, whatever became of it.
    pub ttl_seconds: u64,
    /// Milliseconds that a client should let pass between two looks at a task.
    pub poll_ms: u64,
    /// Tasks of one caller that are kept, finished ones too.
    pub each: usize,
    /// Tasks that are kept, all callers together.
    pub total: usize,
    /// Bytes of results that are kept for one caller.
    pub bytes_each: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { ttl_seconds: 7200, poll_ms: 1000, each: 100, total: 2000, bytes_each: 64 << 20 }
    }
}

/// What came for a task to another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Mail {
    /// Answers, by key.
    Answers {
        /// The answers.
        responses: Map<String, Value>,
    },
    /// It is taken back.
    Cancel,
}

/// Mail that may wait for one task.
const MOST_MAIL: usize = 64;

/// Tasks, in a state directory that several processes may share.
pub struct Store {
    config: Config,
    files: Folder,
    /// The same, where it is a folder of this machine.
    own: Option<StateDir>,
    process: String,
    clock: SharedClock,
    _alive: Held,
}

fn alive(process: &str) -> String {
    format!("process-{process}")
}

fn taken() -> Error {
    Error::new(Kind::Internal, "This process could not be named among those that run tasks.")
}

fn failed(cause: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "A task could not be written down.").with_source(cause)
}

impl Store {
    /// Opens the tasks of a state directory, and closes those whose process has gone.
    pub fn open(config: &Config, state: &Path, clock: SharedClock) -> Result<Arc<Self>> {
        Self::open_in(config, state, None, clock)
    }

    /// The same for those in the store that instances share. While that is away, there are none.
    pub fn open_in(
        config: &Config,
        state: &Path,
        shared: Option<&Arc<Shared>>,
        clock: SharedClock,
    ) -> Result<Arc<Self>> {
        if let Some(shared) = shared {
            let (files, process) = (shared.lasting("tasks"), format!("{:032x}", rand::random::<u128>()));
            let alive = files.stay(&alive(&process))?.ok_or_else(taken)?;
            let store = Self { config: config.clone(), files, own: None, process, clock, _alive: alive };
            if let Err(error) = store.sweep() {
                tracing::warn!(reason = error.message(), "the tasks of other instances were not looked at");
            }
            return Ok(Arc::new(store));
        }
        let own = StateDir::open(state)?.folder("tasks")?;
        let files = Folder::from(own.clone());
        let process = format!("{:032x}", rand::random::<u128>());
        // under the lock: nobody may find this process's own lock file before it is locked
        let everybody = files.lock("tasks")?;
        let lock = files.stay(&alive(&process))?.ok_or_else(taken)?;
        let store = Self { config: config.clone(), files, own: Some(own), process, clock, _alive: lock };
        store.tidy()?;
        for owner in store.files.names()? {
            store.bury(&store.files.folder(&owner)?)?;
        }
        store.forget_processes()?;
        drop(everybody);
        Ok(Arc::new(store))
    }

    /// How long a task is kept.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.config.ttl_seconds)
    }

    /// Milliseconds that a client should let pass between two looks.
    pub fn poll_ms(&self) -> u64 {
        self.config.poll_ms.max(1)
    }

    /// The time, as records have it.
    pub fn now(&self) -> u64 {
        millis(self.clock.wall())
    }

    /// Whether this process runs the task.
    pub fn is_mine(&self, record: &Record) -> bool {
        record.process == self.process
    }

    /// Makes a task that is under way here. It is on the disk when this returns. `reserve` is how many bytes its
    /// result may have.
    pub fn create(&self, owner: &str, message: Option<String>, ran: bool, reserve: u64) -> Result<Record> {
        let _lock = self.files.lock("tasks")?;
        self.tidy()?;
        let mut total = 0;
        for other in self.files.names()? {
            total += tasks(&self.files.folder(&other)?.names()?).len();
        }
        let folder = self.folder(owner)?;
        let names = folder.names()?;
        let own = tasks(&names).len();
        let mut bytes = reserve;
        for name in &names {
            let size = folder.size(name);
            bytes = bytes.saturating_add(if kind(name) == "open" { size.max(reserve) } else { size });
        }
        if own >= self.config.each || total >= self.config.total || bytes > self.config.bytes_each {
            let message =
                "There are as many tasks as are kept; wait until some have ended and are forgotten.";
            return Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_mins(1)));
        }
        let now = self.now();
        let expires = now.saturating_add(millis(self.ttl()));
        let record = Record {
            id: fresh_id(expires),
            owner: owner.to_owned(),
            process: self.process.clone(),
            created: now,
            updated: now,
            expires,
            message,
            ran,
            state: State::Working,
        };
        self.write(&record)?;
        Ok(record)
    }

    /// Writes down where a task stands. What is over stays over; what is forgotten is not written again.
    pub fn write(&self, record: &Record) -> Result<()> {
        if record.expires <= self.now() {
            return Ok(());
        }
        let folder = self.folder(&record.owner)?;
        let bytes = serde_json::to_vec(record).map_err(failed)?;
        let open = format!("{}.open", record.id);
        if record.state.is_over() {
            folder.create(&format!("{}.done", record.id), &bytes)?;
            folder.remove(&open)
        } else {
            folder.write(&open, &bytes)
        }
    }

    /// Takes back a task that nobody has heard of.
    pub fn discard(&self, record: &Record) {
        let removed =
            self.folder(&record.owner).and_then(|folder| folder.remove(&format!("{}.open", record.id)));
        if let Err(error) = removed {
            tracing::warn!(error = %error, "a task that nobody has heard of stays until it expires");
        }
    }

    /// The task of that id, if it is this owner's and not forgotten. One whose process has gone is closed first.
    pub fn read(&self, owner: &str, id: &str) -> Result<Option<Record>> {
        let Some(expires) = expiry(id) else { return Ok(None) };
        if expires <= self.now() || !self.files.has(short(owner)) {
            return Ok(None);
        }
        let folder = self.folder(owner)?;
        let Some(record) = find(&folder, id)?.filter(|record| record.owner == owner) else { return Ok(None) };
        if record.state.is_over() || self.lives(&record)? {
            return Ok(Some(record));
        }
        let _lock = self.files.lock("tasks")?;
        self.bury(&folder)?;
        find(&folder, id)
    }

    /// Leaves mail for the process that runs the task.
    pub fn post(&self, record: &Record, mail: &Mail) -> Result<()> {
        let folder = self.folder(&record.owner)?;
        let start = format!("{}.mail-", record.id);
        if folder.names()?.iter().filter(|name| name.starts_with(&start)).count() >= MOST_MAIL {
            let message = "Too many answers wait for this task already; look at it again later.";
            return Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_secs(2)));
        }
        let bytes = serde_json::to_vec(mail).map_err(failed)?;
        // in the order in which it came
        folder.write(&format!("{start}{:016x}-{:08x}", self.now(), rand::random::<u32>()), &bytes)
    }

    /// Takes the mail for tasks that run here, given as owner and id. What cannot be taken now stays where it is, and
    /// keeps nothing else back.
    pub fn mail(&self, running: &[(String, String)]) -> Vec<(String, Mail)> {
        let mut all = Vec::new();
        let owners: BTreeSet<&str> = running.iter().map(|(owner, _)| owner.as_str()).collect();
        let unread = |error: &Error| tracing::error!(error = %error, "the mail of a task could not be read");
        for owner in owners {
            let listed = self.folder(owner).and_then(|folder| folder.names().map(|names| (folder, names)));
            let (folder, names) = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    unread(&error);
                    continue;
                }
            };
            for name in names {
                let Some((id, kind)) = name.split_once('.') else { continue };
                let mine = running.iter().any(|(whose, running)| whose == owner && running == id);
                if !mine || !kind.starts_with("mail-") {
                    continue;
                }
                // removed before it is acted on: nothing counts twice
                match folder.read(&name).and_then(|bytes| folder.remove(&name).map(|()| bytes)) {
                    Err(error) => unread(&error),
                    Ok(bytes) => {
                        let mail = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                        all.extend(mail.map(|mail| (id.to_owned(), mail)));
                    }
                }
            }
        }
        all
    }

    /// Forgets what has expired.
    pub fn sweep(&self) -> Result<()> {
        let _lock = self.files.lock("tasks")?;
        self.tidy()
    }

    fn folder(&self, owner: &str) -> Result<Folder> {
        self.files.folder(short(owner))
    }

    fn lives(&self, record: &Record) -> Result<bool> {
        Ok(self.is_mine(record) || self.files.is_locked(&alive(&record.process))?)
    }

    fn tidy(&self) -> Result<()> {
        let now = self.now();
        for owner in self.files.names()? {
            let folder = self.files.folder(&owner)?;
            let names = folder.names()?;
            let mut left = names.len();
            for name in names {
                let over = name.split('.').next().and_then(expiry).is_none_or(|expires| expires <= now);
                if over {
                    folder.remove(&name)?;
                    left -= 1;
                }
            }
            if left == 0 {
                self.files.remove_folder(&owner);
            }
        }
        Ok(())
    }

    /// Closes what was under way in processes that have gone.
    fn bury(&self, folder: &Folder) -> Result<()> {
        for name in folder.names()?.iter().filter(|name| kind(name) == "open") {
            let Some(mut record) = read(folder, name)? else { continue };
            if self.lives(&record)? {
                continue;
            }
            let (message, outcome) = if record.ran {
                (
                    "The server ended while this ran; whether it had an effect is unknown, and it is not run again.",
                    "unknown",
                )
            } else {
                ("The server ended before this ran; make the call again if it is still wanted.", "not run")
            };
            record.updated = self.now();
            record.message = Some(String::from(message));
            record.state = State::Failed {
                error: json!({"code": Kind::Internal.code(), "message": message, "data": {"outcome": outcome}}),
            };
            self.write(&record)?;
        }
        Ok(())
    }

    /// Removes the locks of processes that have gone; what they ran is closed by now.
    fn forget_processes(&self) -> Result<()> {
        let Some(own) = &self.own else { return Ok(()) };
        let entries = std::fs::read_dir(own.path()).map_err(|cause| {
            Error::new(Kind::Internal, "The tasks in the state directory cannot be listed.")
                .with_source(cause)
        })?;
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let process = name.strip_prefix(".process-").and_then(|name| name.strip_suffix(".lock"));
            if let Some(process) = process.filter(|process| *process != self.process)
                && !self.files.is_locked(&alive(process))?
            {
                own.unlock(&alive(process))?;
            }
        }
        Ok(())
    }
}

/// The folder of an owner.
fn short(owner: &str) -> &str {
    owner.get(..32).unwrap_or(owner)
}

/// What a file of a task is: `open`, `done`, or mail.
fn kind(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, kind)| kind)
}

fn tasks(names: &[String]) -> BTreeSet<&str> {
    let task = |name: &&String| matches!(kind(name), "open" | "done");
    names.iter().filter(task).filter_map(|name| name.split('.').next()).collect()
}

fn read(folder: &Folder, name: &str) -> Result<Option<Record>> {
    let Some(bytes) = folder.read(name)? else { return Ok(None) };
    let record: Option<Record> = serde_json::from_slice(&bytes).ok();
    Ok(record.filter(|record| name.starts_with(&record.id)))
}

fn find(folder: &Folder, id: &str) -> Result<Option<Record>> {
    let (open, done) = (format!("{id}.open"), format!("{id}.done"));
    // it may end between two looks
    for name in [&done, &open, &done] {
        if let Some(record) = read(folder, name)? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
