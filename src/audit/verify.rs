//! Was the file touched?
//!
//! Owns [`verify`] and [`verify_part`]. The idea: walk the chain once, whatever its length; the first line that does not
//! follow the one before is the fault, and its number and hash tell what was done to it. What a chain alone cannot show
//! (lines cut off the end; a whole file rewritten by somebody who holds the signing key) is said, not passed over.
//!
//! Must not: change the file, or call a file good that it could not read to the end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Event;
use super::anchors::{Anchors, Known};
use super::chain::{Hash, Head, Link, hash_of, text};
use super::checkpoint::{Kept, Verifier, kept};
use super::query::unreadable;
use super::segments;
use super::verdict::{Fault, FaultKind, Report};
use crate::error::{Error, Kind, Result};
use crate::json::Value;

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
    #[serde(default)]
    event: Option<&'a str>,
    #[serde(default)]
    former: Option<&'a str>,
    #[serde(default)]
    last_seq: Option<u64>,
    #[serde(default)]
    last_hash: Option<&'a str>,
}

/// Checks an audit: the file, and the full ones before it.
pub fn verify<'a>(path: &Path, known: impl Into<Known<'a>>) -> Result<Report> {
    let known = known.into();
    if let Some(head) = known.head
        && (head.len() != 64 || !head.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Error::new(
            Kind::BadConfig,
            "The head is not the hash of an audit line: 64 hexadecimal digits.",
        ));
    }
    let files = segments::all(path).map_err(|cause| unreadable(path, cause))?;
    let mut check = Check::new(path, known, Verifier::beside(path));
    (check.several, check.kept) = (files.len() > 1, kept(path));
    let mut before = None;
    for one in &files {
        let file = File::open(one).map_err(|cause| unreadable(one, cause))?;
        check.name = one.file_name().unwrap_or_default().to_string_lossy().into_owned();
        check.line = 0;
        check.report.files += 1;
        check.missing = missing(before, one);
        let last = check.report.files == files.len() as u64;
        check.walk(&mut BufReader::with_capacity(1 << 18, file), last)?;
        if check.report.fault.is_some() {
            break;
        }
        before = Some(one);
    }
    check.conclude();
    Ok(check.report)
}

/// Checks a part of an audit that somebody handed over, with the public key that came along, and the checkpoints that
/// were kept beside the file where the part goes to its end.
pub fn verify_part(lines: &mut impl BufRead, public_key: &str, kept: &[Value]) -> Result<Report> {
    let known = Known { part: true, ..Known::default() };
    let mut check = Check::new(Path::new("the part"), known, Verifier::of(public_key));
    check.report.files = 1;
    check.kept = kept.iter().filter_map(|kept| Kept::deserialize(kept).ok()).collect();
    check.walk(lines, true)?;
    check.conclude();
    Ok(check.report)
}

/// The name of the first file that should stand between two and does not.
fn missing(before: Option<&PathBuf>, one: &Path) -> Option<String> {
    let (before, number) = (before?, segments::number(one)?);
    let expected = segments::number(before)? + 1;
    let stem = one.file_stem().unwrap_or_default().to_string_lossy();
    (expected != number).then(|| format!("{stem}.{expected:06}"))
}

/// A line, for people: which one of which file.
#[derive(Debug, Clone)]
struct Spot {
    name: String,
    line: u64,
}

struct Check<'a> {
    path: &'a Path,
    wanted: Option<String>,
    /// The first line may be any.
    part: bool,
    anchors: Option<&'a Anchors>,
    /// The last line that is as somebody outside knows it.
    anchored_at: Option<Spot>,
    /// Which line it was, if not the first of all.
    began: Option<u64>,
    wanted_at: Option<Spot>,
    verifier: Option<Verifier>,
    head: Head,
    line: u64,
    /// The file that is read.
    name: String,
    several: bool,
    /// The file that should stand before it.
    missing: Option<String>,
    /// Where the first file begins if that is not the beginning: until the chain says what was deleted before.
    begins: Option<(u64, Hash, Fault)>,
    /// How many lines were deleted by configuration.
    deleted: Option<u64>,
    /// Bytes that are no line, until a recovery line answers for them.
    torn: Vec<u8>,
    torn_at: u64,
    open: HashSet<uuid::Uuid>,
    last_checkpoint: Option<Spot>,
    unknown_keys: u64,
    /// Where another key began to sign, and the public half of the one that signed before.
    another_key: Option<(Spot, Option<String>)>,
    /// What is kept beside the file, the latest first.
    kept: Vec<Kept>,
    report: Report,
}

impl<'a> Check<'a> {
    fn new(path: &'a Path, known: Known<'a>, verifier: Option<Verifier>) -> Self {
        Self {
            path,
            wanted: known.head.map(str::to_lowercase),
            part: known.part,
            anchors: known.anchors,
            anchored_at: None,
            began: None,
            wanted_at: None,
            verifier,
            head: Head::START,
            line: 0,
            name: String::new(),
            several: false,
            missing: None,
            begins: None,
            deleted: None,
            torn: Vec::new(),
            torn_at: 0,
            open: HashSet::new(),
            last_checkpoint: None,
            unknown_keys: 0,
            another_key: None,
            kept: Vec::new(),
            report: Report::default(),
        }
    }

    /// A line of the file that is read, for people.
    fn place(&self, line: u64) -> String {
        let spot = Spot { name: self.name.clone(), line };
        self.say(&spot)
    }

    fn say(&self, spot: &Spot) -> String {
        if self.several {
            format!("line {} of {}", spot.line, spot.name)
        } else {
            format!("line {}", spot.line)
        }
    }

    fn fault(&self, kind: FaultKind, line: u64, message: String) -> Fault {
        Fault { kind, file: self.name.clone(), line, message: begin_large(message) }
    }

    fn walk(&mut self, file: &mut impl BufRead, last: bool) -> Result<()> {
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
                    let place = self.place(fault.line);
                    fault.message =
                        begin_large(format!("{place} stands before lines that were written before it."));
                }
                self.report.fault = Some(fault);
                return Ok(());
            }
        }
        // A full file that somebody moved away in the middle of a line is answered for in the next one.
        if !self.torn.is_empty() && last {
            self.report.fault = Some(if self.torn.ends_with(b"\n") {
                self.not_a_line(self.torn_at)
            } else {
                let place = self.place(self.line);
                self.fault(
                    FaultKind::Truncated,
                    self.line,
                    format!("{place} is not whole: the file was cut off, or its writer died; the next start seals it."),
                )
            });
        }
        Ok(())
    }

    /// Takes the next line, or says what is wrong with it.
    fn follow(&mut self, bytes: &[u8], link: &Link) -> Option<Fault> {
        let number = self.line;
        if link.hash != Link::true_hash(bytes) {
            return Some(self.fault(
                FaultKind::Edited,
                number,
                format!("{} was edited: it does not have the hash it was written with.", self.place(number)),
            ));
        }
        let Ok(said) = serde_json::from_slice::<Said<'_>>(bytes) else {
            return Some(self.not_a_line(number));
        };
        if !self.torn.is_empty() {
            let sealed = said.kind == "recovery"
                && said.torn_bytes == u64::try_from(self.torn.len()).ok()
                && said.torn_sha256 == Some(text(&hash_of(&self.torn)));
            if !sealed {
                return Some(self.not_a_line(self.torn_at));
            }
            self.torn.clear();
            self.report.sealed += 1;
        }
        let expected = self.head.seq + 1;
        if self.part && self.head == Head::START && link.seq > expected {
            self.began = Some(link.seq);
            self.head = Head { seq: link.seq - 1, hash: link.prev };
            return self.follow(bytes, link);
        }
        if link.seq > expected {
            let (missing, place) = (link.seq - expected, self.place(number));
            let said = match self.missing.take() {
                Some(name) => format!("{name} is missing, and with it {missing} line(s) before {place}."),
                None => format!("{missing} line(s) before {place} were deleted."),
            };
            let fault = self.fault(FaultKind::Deleted, number, said);
            // What was deleted because the configuration says so is named further on.
            if self.head == Head::START && number == 1 && self.several {
                self.begins = Some((link.seq - 1, link.prev, fault));
                self.head = Head { seq: link.seq - 1, hash: link.prev };
                return self.follow(bytes, link);
            }
            return Some(fault);
        }
        if link.seq < expected {
            return Some(self.fault(
                FaultKind::Reordered,
                number,
                format!(
                    "{} was written earlier than the lines before it, or stands here a second time.",
                    self.place(number)
                ),
            ));
        }
        if link.prev != self.head.hash {
            let edited = number.saturating_sub(1).max(1);
            let (before, place) = (self.place(edited), self.place(number));
            return Some(self.fault(
                FaultKind::Edited,
                edited,
                format!("{before} was edited: {place} was written after another one."),
            ));
        }
        if let Some(kept) = self.anchors.and_then(|anchors| anchors.at(link.seq)) {
            if *kept != link.hash {
                return Some(self.fault(
                    FaultKind::Edited,
                    number,
                    format!("{} is another line than the one that was sent outside.", self.place(number)),
                ));
            }
            self.report.anchored += 1;
            self.anchored_at = Some(Spot { name: self.name.clone(), line: number });
        }
        if let Some(fault) = self.take(&said, link) {
            return Some(fault);
        }
        self.head = Head { seq: link.seq, hash: link.hash };
        self.report.lines += 1;
        if self.wanted.as_deref().is_some_and(|wanted| wanted.as_bytes() == link.hash) {
            self.wanted_at = Some(Spot { name: self.name.clone(), line: number });
        }
        None
    }

    fn not_a_line(&self, number: u64) -> Fault {
        let place = self.place(number);
        self.fault(
            FaultKind::Edited,
            number,
            format!("{place} was edited: it is not an audit line any more."),
        )
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
                        let place = self.place(self.line);
                        let said = format!("{place} is a checkpoint whose signature is not good.");
                        return Some(self.fault(FaultKind::Edited, self.line, said));
                    }
                    self.report.checkpoints += 1;
                    self.last_checkpoint = Some(Spot { name: self.name.clone(), line: self.line });
                }
                _ => self.unknown_keys += 1,
            },
            ("event", _) if said.event == Some(Event::AuditKeyMade.name()) => {
                let spot = Spot { name: self.name.clone(), line: self.line };
                self.another_key = Some((spot, said.former.map(str::to_owned)));
            }
            ("event", _) if said.event == Some("audit_file_deleted") => {
                let named = |(seq, hash, _): &(u64, Hash, Fault)| {
                    said.last_seq == Some(*seq) && said.last_hash == Some(text(hash))
                };
                if self.begins.as_ref().is_some_and(named) {
                    self.begins = None;
                    self.deleted = said.last_seq;
                }
            }
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
        if let Some((_, _, fault)) = self.begins.take() {
            self.report.fault = Some(fault);
        }
        let truncated = |line, message: &str| self.fault(FaultKind::Truncated, line, message.to_owned());
        if self.report.fault.is_none() {
            let kept = self.kept.iter().find(|kept| self.is_genuine(kept));
            if self.wanted.is_some() && self.wanted_at.is_none() {
                self.report.fault = Some(truncated(
                    self.line,
                    "The file was cut off: the line with the given head is not in it.",
                ));
            } else if self.anchors.and_then(Anchors::last).is_some_and(|last| last > self.head.seq) {
                self.report.fault = Some(truncated(
                    self.line,
                    "The file was cut off: somebody outside has a checkpoint of a later line.",
                ));
            } else if kept.is_some_and(|kept| kept.seq > self.head.seq) {
                self.report.fault = Some(truncated(
                    self.line,
                    "The file was cut off: the signed checkpoint kept beside it is of a later line.",
                ));
            }
        }
        let mut unproven = Vec::new();
        let at_end = |spot: &Spot| spot.name == self.name && spot.line == self.line;
        let anchored_to_end = self.anchored_at.as_ref().is_some_and(at_end);
        let at_end = anchored_to_end || self.wanted_at.as_ref().is_some_and(at_end);
        match &self.wanted_at {
            Some(_) if at_end => {}
            Some(spot) => unproven.push(format!(
                "That nothing was cut off after {}, which has the given head: note the head again.",
                self.say(spot)
            )),
            None if anchored_to_end => {}
            None if let Some(spot) = &self.anchored_at => unproven.push(format!(
                "That nothing was cut off after {}, the last that was sent outside.",
                self.say(spot)
            )),
            None if self.wanted.is_none() => {
                let since =
                    self.last_checkpoint.as_ref().map_or_else(|| String::from("line 0"), |at| self.say(at));
                unproven.push(format!(
                    "That nothing was cut off after {since}: note the head elsewhere and give it with --head."
                ));
            }
            None => {}
        }
        if let Some(seq) = self.began {
            unproven.push(format!(
                "What stood before: this is a part of an audit, and begins with its line {seq}."
            ));
        }
        if let Some(lines) = self.deleted {
            unproven.push(format!(
                "What the first {lines} lines said: [audit] keep had their files deleted, and the chain says so."
            ));
        }
        if let Some((spot, former)) = &self.another_key {
            let former = former.as_ref().map_or_else(String::new, |former| format!(" {former}"));
            unproven.push(format!(
                "That what stands before {} is ours: there the audit's key was gone or another one, and a new key signs \
                 since then; compare the former public key{former} with the one that you noted.",
                self.say(spot)
            ));
        } else if self.unknown_keys > 0 || self.verifier.is_none() {
            unproven.push(String::from(
                "That the checkpoints are ours: the public key beside the file is missing or another one.",
            ));
        }
        if !at_end && self.anchored_at.is_none() {
            unproven.push(String::from(
                "That the file was not rewritten as a whole by somebody who holds the signing key: \
                 only a head or checkpoint kept elsewhere shows that.",
            ));
        }
        self.report.unproven = unproven;
    }

    fn is_genuine(&self, kept: &Kept) -> bool {
        self.verifier.as_ref().is_some_and(|verifier| verifier.is_genuine(kept))
    }
}

/// A sentence begins with a large letter, unless it begins with the name of a file.
fn begin_large(mut text: String) -> String {
    if text.starts_with("line ") {
        text.replace_range(..1, "L");
    }
    text
}
