//! Was the file touched?
//!
//! Owns [`verify`] and its [`Report`]. The idea: walk the chain once, whatever its length; the first line that does not
//! follow the one before is the fault, and its number and hash tell what was done to it. What a chain alone cannot show
//! (lines cut off the end; a whole file rewritten by somebody who holds the signing key) is said, not passed over.
//!
//! Must not: change the file, or call a file good that it could not read to the end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head, Link, hash_of, text};
use super::checkpoint::{Verifier, kept};
use super::query::unreadable;
use crate::error::{Error, Kind, Result};

/// What was done to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What was done.
    pub kind: FaultKind,
    /// The line, counted from 1.
    pub line: u64,
    /// A sentence for people.
    pub message: String,
}

/// What a file shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Lines that were checked and are good.
    pub lines: u64,
    /// Calls that were begun.
    pub calls: u64,
    /// Calls without an outcome: running now, or left by a process that died.
    pub open_calls: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
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

/// The members of a line that matter here.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    kind: &'a str,
    #[serde(default)]
    id: Option<&'a str>,
    #[serde(default)]
    key: Option<&'a str>,
    #[serde(default)]
    signature: Option<&'a str>,
    #[serde(default)]
    torn_bytes: Option<u64>,
    #[serde(default)]
    torn_sha256: Option<&'a str>,
}

/// Checks a file. `head` is the hash of a line noted earlier: if it is in the file, nothing before it was cut off.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Report> {
    if let Some(head) = head
        && (head.len() != 64 || !head.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Error::new(
            Kind::BadConfig,
            "The head is not the hash of an audit line: 64 hexadecimal digits.",
        ));
    }
    let file = File::open(path).map_err(|cause| unreadable(path, cause))?;
    let mut check = Check {
        path,
        wanted: head.map(str::to_lowercase),
        wanted_at: None,
        verifier: Verifier::beside(path),
        head: Head::START,
        line: 0,
        torn: Vec::new(),
        torn_at: 0,
        open: HashSet::new(),
        last_checkpoint: None,
        unknown_keys: 0,
        report: Report::default(),
    };
    check.walk(&mut BufReader::with_capacity(1 << 18, file))?;
    check.conclude();
    Ok(check.report)
}

struct Check<'a> {
    path: &'a Path,
    wanted: Option<String>,
    wanted_at: Option<u64>,
    verifier: Option<Verifier>,
    head: Head,
    line: u64,
    /// Bytes that are no line, until a recovery line answers for them.
    torn: Vec<u8>,
    torn_at: u64,
    open: HashSet<uuid::Uuid>,
    last_checkpoint: Option<u64>,
    unknown_keys: u64,
    report: Report,
}

impl Check<'_> {
    fn walk(&mut self, file: &mut impl BufRead) -> Result<()> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if file.read_until(b'\n', &mut bytes).map_err(|cause| unreadable(self.path, cause))? == 0 {
                break;
            }
            self.line += 1;
            let whole = bytes.pop_if(|last| *last == b'\n').is_some();
            let Some(link) = Link::of(&bytes).filter(|_| whole) else {
                if self.torn.is_empty() {
                    self.torn_at = self.line;
                }
                self.torn.extend_from_slice(&bytes);
                if whole {
                    self.torn.push(b'\n');
                }
                if !whole || self.torn.len() > (8 << 20) {
                    break;
                }
                continue;
            };
            if let Some(mut fault) = self.follow(&bytes, &link) {
                if fault.kind == FaultKind::Deleted && self.comes_later(file)? {
                    fault.kind = FaultKind::Reordered;
                    fault.message =
                        format!("Line {} stands before lines that were written before it.", fault.line);
                }
                self.report.fault = Some(fault);
                return Ok(());
            }
        }
        if !self.torn.is_empty() {
            let ends = !self.torn.ends_with(b"\n");
            self.report.fault = Some(if ends {
                Fault {
                    kind: FaultKind::Truncated,
                    line: self.line,
                    message: format!(
                        "Line {} is not whole: the file was cut off, or its writer died; the next start seals it.",
                        self.line
                    ),
                }
            } else {
                not_a_line(self.torn_at)
            });
        }
        Ok(())
    }

    /// Takes the next line, or says what is wrong with it.
    fn follow(&mut self, bytes: &[u8], link: &Link) -> Option<Fault> {
        let number = self.line;
        let fault = |kind, line, message: String| Some(Fault { kind, line, message });
        if link.hash != Link::true_hash(bytes) {
            return fault(
                FaultKind::Edited,
                number,
                format!("Line {number} was edited: it does not have the hash it was written with."),
            );
        }
        let Ok(said) = serde_json::from_slice::<Said<'_>>(bytes) else { return Some(not_a_line(number)) };
        if !self.torn.is_empty() {
            let sealed = said.kind == "recovery"
                && said.torn_bytes == u64::try_from(self.torn.len()).ok()
                && said.torn_sha256 == Some(text(&hash_of(&self.torn)));
            if !sealed {
                return Some(not_a_line(self.torn_at));
            }
            self.torn.clear();
            self.report.sealed += 1;
        }
        let expected = self.head.seq + 1;
        if link.seq > expected {
            let missing = link.seq - expected;
            return fault(
                FaultKind::Deleted,
                number,
                format!("{missing} line(s) before line {number} were deleted."),
            );
        }
        if link.seq < expected {
            return fault(
                FaultKind::Reordered,
                number,
                format!(
                    "Line {number} was written earlier than the lines before it, or stands here a second time."
                ),
            );
        }
        if link.prev != self.head.hash {
            let edited = number.saturating_sub(1).max(1);
            return fault(
                FaultKind::Edited,
                edited,
                format!("Line {edited} was edited: line {number} was written after another one."),
            );
        }
        if let Some(fault) = self.take(&said, link) {
            return Some(fault);
        }
        self.head = Head { seq: link.seq, hash: link.hash };
        self.report.lines += 1;
        if self.wanted.as_deref().is_some_and(|wanted| wanted.as_bytes() == link.hash) {
            self.wanted_at = Some(number);
        }
        None
    }

    /// Counts what a good line says.
    fn take(&mut self, said: &Said<'_>, link: &Link) -> Option<Fault> {
        let id = said.id.and_then(|id| id.parse().ok());
        match (said.kind, id) {
            ("intent", Some(id)) => {
                self.report.calls += 1;
                self.open.insert(id);
            }
            ("outcome", Some(id)) => {
                self.open.remove(&id);
            }
            ("checkpoint", _) => match &self.verifier {
                Some(verifier) if said.key.is_some_and(|key| verifier.is(key)) => {
                    if !verifier.verify(link.seq, &link.prev, said.signature.unwrap_or_default()) {
                        let number = self.line;
                        return Some(Fault {
                            kind: FaultKind::Edited,
                            line: number,
                            message: format!("Line {number} is a checkpoint whose signature is not good."),
                        });
                    }
                    self.report.checkpoints += 1;
                    self.last_checkpoint = Some(self.line);
                }
                _ => self.unknown_keys += 1,
            },
            _ => {}
        }
        None
    }

    /// Whether the line that should have come is further on: then it was moved, not deleted.
    fn comes_later(&self, file: &mut impl BufRead) -> Result<bool> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if file.read_until(b'\n', &mut bytes).map_err(|cause| unreadable(self.path, cause))? == 0 {
                return Ok(false);
            }
            bytes.pop_if(|last| *last == b'\n');
            let expected = |link: &Link| link.seq == self.head.seq + 1 && link.prev == self.head.hash;
            if Link::of(&bytes).as_ref().is_some_and(expected) {
                return Ok(true);
            }
        }
    }

    fn conclude(&mut self) {
        self.report.head = text(&self.head.hash).to_owned();
        self.report.open_calls = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        let truncated =
            |line, message: &str| Fault { kind: FaultKind::Truncated, line, message: message.to_owned() };
        if self.report.fault.is_none() {
            let kept = kept(self.path).into_iter().find(|kept| self.is_genuine(kept));
            if self.wanted.is_some() && self.wanted_at.is_none() {
                self.report.fault = Some(truncated(
                    self.line,
                    "The file was cut off: the line with the given head is not in it.",
                ));
            } else if kept.is_some_and(|kept| kept.seq > self.head.seq) {
                self.report.fault = Some(truncated(
                    self.line,
                    "The file was cut off: the signed checkpoint kept beside it is of a later line.",
                ));
            }
        }
        let mut unproven = Vec::new();
        match self.wanted_at {
            Some(line) if line == self.line => {}
            Some(line) => unproven.push(format!(
                "That nothing was cut off after line {line}, which has the given head: note the head again."
            )),
            None if self.wanted.is_none() => {
                let since = self.last_checkpoint.unwrap_or(0);
                unproven.push(format!(
                    "That nothing was cut off after line {since}: note the head elsewhere and give it with --head."
                ));
            }
            None => {}
        }
        if self.unknown_keys > 0 || self.verifier.is_none() {
            unproven.push(String::from(
                "That the checkpoints are ours: the public key beside the file is missing or another one.",
            ));
        }
        if self.wanted_at != Some(self.line) {
            unproven.push(String::from(
                "That the file was not rewritten as a whole by somebody who holds the signing key: \
                 only a head or checkpoint kept elsewhere shows that.",
            ));
        }
        self.report.unproven = unproven;
    }

    fn is_genuine(&self, kept: &super::checkpoint::Kept) -> bool {
        let prev = <Hash>::try_from(kept.prev.as_bytes());
        match (&self.verifier, prev) {
            (Some(verifier), Ok(prev)) => verifier.verify(kept.seq, &prev, &kept.signature),
            _ => false,
        }
    }
}

fn not_a_line(number: u64) -> Fault {
    Fault {
        kind: FaultKind::Edited,
        line: number,
        message: format!("Line {number} was edited: it is not an audit line any more."),
    }
}
