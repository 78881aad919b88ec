//! What a look at an audit finds.
//!
//! Owns [`Report`] and [`Fault`]. The idea: the first thing wrong, or what is proved and what is not, in sentences.
//!
//! Must not: look.

use serde::{Deserialize, Serialize};

/// What was done to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// It does not say what it said when it was written.
    Edited,
    /// Lines before it are gone.
    Deleted,
    /// It stands elsewhere than it was written, or twice.
    Reordered,
    /// The end of the file is gone.
    Truncated,
}

/// The first thing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What was done.
    pub kind: FaultKind,
    /// The name of the file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// A sentence for people.
    pub message: String,
}

/// What a file shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files that were read: the full ones and the one that is written to.
    pub files: u64,
    /// Lines that were checked and are good.
    pub lines: u64,
    /// Calls that were begun.
    pub calls: u64,
    /// Calls without an outcome: running now, or left by a process that died.
    pub open_calls: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// Lines that are as somebody outside keeps them.
    pub anchored: u64,
    /// Torn tails that were sealed after a crash.
    pub sealed: u64,
    /// The hash of the last good line; note it elsewhere and give it back as `head`.
    pub head: String,
    /// The first thing wrong, if anything is.
    pub fault: Option<Fault>,
    /// What could not be proven, and how it could be.
    pub unproven: Vec<String>,
}

impl Report {
    /// Whether nothing wrong was found.
    pub fn is_good(&self) -> bool {
        self.fault.is_none()
    }
}
