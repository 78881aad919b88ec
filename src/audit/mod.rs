//! What happened, in a file that shows whether it was touched.
//!
//! Owns [`Audit`], [`Entry`] and the [`Config`]. The idea: an intent is in the file before a call runs and an outcome
//! before it is answered; each line carries the hash of the one before (`chain.rs`), several processes share one chain
//! (`file.rs`) over as many files as it takes (`segments.rs`), checkpoints are signed (`checkpoint.rs`), and [`verify`] names the first line that was touched, or says
//! what it cannot prove.
//!
//! Must not: be optional; without a line there is no call. Where an installation is stateless, which is said once and for
//! all calls ([`Audit::off`]), there is no file at all.

mod anchors;
mod chain;
mod checkpoint;
mod copies;
mod events;
mod export;
mod file;
mod follow;
mod line;
mod moment;
mod place;
mod process;
mod query;
mod queue;
mod record;
mod report;
mod segments;
mod signature;
mod verdict;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use anchors::{Anchors, Known};
pub use copies::Sink;
pub use events::Event;
pub use export::{Exported, Form, export};
pub use follow::Follow;
pub use moment::moment;
pub use query::{Filter, query, tail};
pub use record::{Finish, Record, Step};
pub use report::{Asked, Count, Refusal, Row, Summary, summarize};
pub use signature::{Signed, is_signed, kept_checkpoints, sign, signing_key};
pub use verdict::{Fault, FaultKind, Report};
pub use verify::{verify, verify_part};

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Value;
use crate::redaction::Redactor;
use crate::telemetry::Destination;
use line::Members;
use queue::Queue;

/// The `[audit]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file; `audit.jsonl` in the state directory if not given.
    pub path: Option<PathBuf>,
    /// A signed checkpoint after so many lines.
    pub checkpoint_every: u64,
    /// Most bytes of redacted arguments in a line.
    pub arguments_limit: usize,
    /// A file that has so many megabytes is full: it is renamed to `FILE.000001` and so on, and the chain goes on in a
    /// new one. 0: never.
    pub rotate_megabytes: u64,
    /// A file is full too when its first line is so many days old. 0: never.
    pub rotate_days: u32,
    /// How many full files are kept; the oldest is deleted when there are more, and the chain says so. 0: all of them.
    pub keep: usize,
    /// Whether each batch is flushed to the disk before a call goes on (slow; without it a power failure, not a
    /// crash of the process, can lose the last lines).
    pub sync: bool,
    /// How many seconds a line waits for another process that holds the file; then the call is refused. 0: not at all.
    pub lock_timeout: u32,
    /// Who outside gets the checkpoints.
    pub anchor: AnchorConfig,
    /// The state directory, set by the program: the default place of the file, and the place of the signing key.
    #[serde(skip)]
    pub state: PathBuf,
}

/// The `[audit.anchor]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// Who is sent each signed checkpoint.
    pub to: Vec<Destination>,
    /// Whether each line is sent, too.
    pub lines: bool,
    /// A checkpoint is signed after so many seconds, if anything was written.
    pub seconds: u32,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self { to: Vec::new(), lines: false, seconds: 60 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: None,
            checkpoint_every: 1000,
            arguments_limit: 2048,
            rotate_megabytes: 100,
            rotate_days: 0,
            keep: 0,
            sync: false,
            lock_timeout: 5,
            anchor: AnchorConfig::default(),
            state: PathBuf::new(),
        }
    }
}

impl Config {
    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| self.state.join("audit.jsonl"))
    }

    /// Where the signing key is: in the state directory, or beside the file if there is none.
    fn key(&self) -> PathBuf {
        if self.state.as_os_str().is_empty() {
            checkpoint::beside(&self.file(), "key")
        } else {
            self.state.join("audit.key")
        }
    }
}

/// The audit of this process.
pub struct Audit {
    path: PathBuf,
    /// None where nothing is written.
    queue: Option<Arc<Queue>>,
    redactor: Redactor,
    clock: SharedClock,
    most_arguments: usize,
    heard: OnceLock<Heard>,
}

type Heard = Box<dyn Fn(&'static str) + Send + Sync>;

/// How the audit of this process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Calls that have begun and not ended.
    pub running: usize,
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Writes that failed.
    pub failures: usize,
}

impl Audit {
    /// Opens the file, mends a torn tail, and closes what dead processes left open.
    pub fn open(config: &Config, redactor: Redactor, clock: SharedClock) -> Result<Arc<Self>> {
        let path = config.file();
        let file = file::File::open(&path, &config.key(), file::Settings::of(config), clock.wall());
        let file = file.map_err(|cause| {
            let shown = path.display();
            let said = if cause.kind() == std::io::ErrorKind::WouldBlock {
                format!(
                    "The audit file {shown} is held by another process; look whether that hangs, or choose another file with [audit] path."
                )
            } else {
                format!(
                    "The audit file {shown} cannot be opened for writing; choose another with [audit] path."
                )
            };
            Error::new(Kind::BadConfig, said).with_source(cause)
        })?;
        Ok(Arc::new(Self {
            path,
            queue: Some(Queue::new(file, Arc::clone(&clock), redactor.clone(), config)),
            redactor,
            clock,
            most_arguments: config.arguments_limit,
            heard: OnceLock::new(),
        }))
    }

    /// One that writes nothing, for an installation that keeps nothing.
    pub fn off(redactor: Redactor, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            path: PathBuf::new(),
            queue: None,
            redactor,
            clock,
            most_arguments: 0,
            heard: OnceLock::new(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing is written.
    pub fn is_off(&self) -> bool {
        self.queue.is_none()
    }

    /// How it does.
    pub fn stats(&self) -> Stats {
        let Some(queue) = &self.queue else { return Stats { running: 0, waiting: 0, failures: 0 } };
        Stats {
            running: queue.running.load(Ordering::Relaxed),
            waiting: queue.depth(),
            failures: queue.failures.load(Ordering::Relaxed),
        }
    }

    /// Tells of each event that is no call; once, by whoever counts.
    pub fn on_event(&self, heard: impl Fn(&'static str) + Send + Sync + 'static) {
        let _ = self.heard.set(Box::new(heard));
    }

    /// Writes the intent of a call; the call may go on when this returns.
    pub async fn intent(&self, record: Record<'_>) -> Result<Entry> {
        let wall = self.clock.wall();
        let id = new_id(wall);
        let start = self.clock.monotonic();
        let entry = |who: String, queue: Option<Arc<Queue>>| Entry {
            id,
            who,
            start,
            step: AtomicU8::new(0),
            owes: queue.is_some(),
            queue,
        };
        let Some(queue) = &self.queue else { return Ok(entry(String::new(), None)) };
        let members = Members::new("intent", wall, process::name());
        let (members, who) = line::intent(members, id, &record, &self.redactor, self.most_arguments);
        // Once queued, the line may be written even if we are dropped while waiting: the outcome is owed from now on.
        // Only a write that failed owes nothing.
        queue.running.fetch_add(1, Ordering::Relaxed);
        let mut entry = entry(who, Some(Arc::clone(queue)));
        if let Err(error) = queue.append(members, false).await {
            entry.owes = false;
            return Err(error);
        }
        Ok(entry)
    }

    /// Writes a security event that is no call; returns when it is written. Names are in [`Event`].
    pub async fn event(&self, event: impl Into<&'static str>, detail: &Value) -> Result<()> {
        let event = self.hear(event.into());
        match &self.queue {
            Some(queue) => queue.append(self.event_line(event, detail), false).await,
            None => Ok(()),
        }
    }

    /// The same for callers that cannot wait; a failure is logged.
    pub fn note(&self, event: impl Into<&'static str>, detail: &Value) {
        let event = self.hear(event.into());
        if let Some(queue) = &self.queue {
            queue.leave(self.event_line(event, detail));
        }
    }

    /// Writes what is queued and a signed checkpoint, if anything was written since the last. May block for a moment.
    pub fn checkpoint(&self) {
        self.close();
    }

    /// Writes what is queued and a signed checkpoint. Done on drop too.
    pub fn close(&self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }

    fn hear(&self, event: &'static str) -> &'static str {
        if let Some(heard) = self.heard.get() {
            heard(event);
        }
        event
    }

    fn event_line(&self, event: &str, detail: &Value) -> String {
        let members = Members::new("event", self.clock.wall(), process::name());
        line::event(members, event, detail, &self.redactor, self.most_arguments)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

/// A call that has an intent line and owes an outcome line. Dropped without [`Entry::finish`] it writes one that says
/// how far the call got: `cancelled`, or `unknown` once it may have had effects.
pub struct Entry {
    id: Uuid,
    who: String,
    start: Duration,
    step: AtomicU8,
    owes: bool,
    queue: Option<Arc<Queue>>,
}

impl Entry {
    /// The call's id: in both lines, and in error messages that lead to the log.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Notes how far the call has got.
    pub fn reached(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
    }

    /// How far the call has got.
    pub fn step(&self) -> Step {
        Step::from_index(self.step.load(Ordering::Relaxed))
    }

    /// Writes the outcome; the caller may be answered when this returns.
    pub async fn finish(mut self, finish: Finish<'_>) -> Result<()> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let members = self.outcome(queue, &finish);
        self.owes = false;
        queue.append(members, true).await
    }

    fn outcome(&self, queue: &Queue, finish: &Finish<'_>) -> String {
        let members = Members::new("outcome", queue.clock.wall(), process::name());
        let took = queue.clock.monotonic().saturating_sub(self.start);
        line::outcome(members, &self.who, self.step(), finish, took, &queue.redactor)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(queue) = &self.queue else { return };
        if self.owes {
            let result = if self.step() >= Step::Approved { "unknown" } else { "cancelled" };
            let members = self.outcome(queue, &Finish { result, ..Finish::default() });
            queue.leave(members);
        }
        queue.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The public half of the key that signs the checkpoints of an audit file, as text, if it lies beside it.
pub fn public_key(path: &Path) -> Option<String> {
    std::fs::read_to_string(checkpoint::beside(path, "pub")).ok()
}

/// A time-ordered id.
fn new_id(wall: Duration) -> Uuid {
    let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}
