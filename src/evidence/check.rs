//! Whether a bundle is as it was made.
//!
//! Owns [`check`] and its [`Verdict`]. The idea: the list is signed and comes first, so each file after it is compared
//! while it is read; the audit inside is verified as any part of an audit is, and what was wrong with the whole of it when
//! the bundle was made is wrong still. Whose key it was, only somebody who knows
//! that key from elsewhere can say, and that is said.
//!
//! Must not: unpack anything to the disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize as _, Serialize};
use sha2::{Digest as _, Sha256};

use super::tar::Reader;
use super::{
    ANCHORS, AUDIT, CALLED, Counted, FORMAT, KEPT, KEY, LIST, List, Part, SIGNATURE, VERIFICATION, hex,
};
use crate::audit::{self, Fault, FaultKind, Signed};
use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// Longest list, and longest signature.
const LIST_LIMIT: u64 = 1 << 20;
const SIGNATURE_LIMIT: u64 = 256;

/// What a bundle shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// When it was made, as it says itself.
    pub made: String,
    /// By which version of the program.
    pub version: String,
    /// The key of its signature, in hexadecimal.
    pub key: String,
    /// Its files.
    pub files: Vec<Part>,
    /// What the audit in it shows.
    pub audit: audit::Report,
    /// What could not be proven, and how it could be.
    pub unproven: Vec<String>,
}

fn wrong(what: impl Into<String>) -> Error {
    let what: String = what.into();
    Error::new(Kind::Internal, format!("This is not what was bundled: {what}."))
}

/// Checks a bundle. `key` is the public key that it has to be signed with, if somebody knows it.
pub fn check(path: &Path, key: Option<&str>) -> Result<Verdict> {
    let unreadable = |cause: std::io::Error| {
        Error::new(Kind::BadConfig, format!("{} cannot be read; check the path.", path.display()))
            .with_source(cause)
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 18, file));
    let (text, time) = small(&mut reader, LIST, LIST_LIMIT)?;
    let (signature, signed_at) = small(&mut reader, SIGNATURE, SIGNATURE_LIMIT)?;
    let list: List =
        serde_json::from_slice(&text).map_err(|cause| wrong("its list cannot be read").with_source(cause))?;
    if list.format != FORMAT {
        return Err(wrong("its form is none that this version knows"));
    }
    let signature = String::from_utf8_lossy(&signature).trim().to_owned();
    let signed = Signed { key: list.key.clone(), signature };
    if !audit::is_signed(&signed, CALLED, &text) {
        return Err(wrong("the signature of its list is not good"));
    }
    if key.is_some_and(|key| !key.trim().eq_ignore_ascii_case(&list.key)) {
        return Err(wrong("it was signed with another key than the one given"));
    }
    dated(&list, time).and_then(|()| dated(&list, signed_at))?;
    let ordered = list.files.is_sorted_by(|one, next| one.name < next.name);
    let needed = [ANCHORS, VERIFICATION, AUDIT];
    if !ordered || !needed.iter().all(|name| list.files.iter().any(|part| part.name == *name)) {
        return Err(wrong("its list is none that bartizan makes"));
    }
    let (mut report, mut kept, mut found_then) = (audit::Report::default(), Vec::new(), Found::Good);
    for part in &list.files {
        let name = part.name.as_str();
        match reader.next()? {
            Some((found, size, time)) if found == name && size == part.bytes => dated(&list, time)?,
            Some(_) => return Err(wrong(format!("another file stands where {name} should"))),
            None => return Err(wrong(format!("{name} is missing"))),
        }
        let mut counted = Counted { out: reader.file(), sum: Sha256::new(), bytes: 0 };
        let mut head = Vec::new();
        if name == AUDIT {
            let mut lines = BufReader::new(&mut counted);
            // where no line is so young that it was asked for, none says how long the audit was
            let kept = if part.bytes == 0 { &[] } else { kept.as_slice() };
            report = audit::verify_part(&mut lines, &list.key, kept)?;
            // after the first fault nobody read on
            drain(&mut lines)?;
        } else if [KEY, ANCHORS, VERIFICATION].contains(&name) {
            (&mut counted).take(LIST_LIMIT).read_to_end(&mut head).map_err(cut)?;
        }
        drain(&mut counted)?;
        if hex(&counted.sum.finalize()) != part.sha256 {
            return Err(wrong(format!("{name} was changed")));
        }
        if name == KEY && String::from_utf8_lossy(&head).trim() != list.key {
            return Err(wrong("the key in it is not the one that signed it"));
        }
        match name {
            ANCHORS => kept = kept_in(&head)?,
            VERIFICATION => found_then = Found::read(&head, !kept.is_empty())?,
            _ => {}
        }
    }
    if reader.next()?.is_some() {
        return Err(wrong("it holds a file that its list does not name"));
    }
    let mut unproven = Vec::new();
    if key.is_none() {
        unproven.push(String::from(
            "That this installation made it: compare the key with one that you know, or give that with --key.",
        ));
    }
    let List { made, version, key, files, remarks, .. } = list;
    unproven.extend(remarks);
    match found_then {
        Found::Good => {}
        Found::Nothing(why) => unproven.push(format!("That the whole audit was in order then: {why}")),
        // it is the fault of all that there was, and what is handed over may be a part
        Found::Wrong(fault) => report.fault = Some(fault),
    }
    unproven.extend(report.unproven.iter().map(|one| format!("Of the audit: {one}")));
    Ok(Verdict { made, version, key, files, audit: report, unproven })
}

/// What the whole audit showed when the bundle was made.
enum Found {
    Good,
    Wrong(Fault),
    Nothing(String),
}

impl Found {
    /// Reads what was written down of it. An audit that could not be read, though its checkpoints are there, was removed.
    fn read(bytes: &[u8], was_there: bool) -> Result<Self> {
        let unread = || wrong(format!("{VERIFICATION} cannot be read"));
        let said: Value = serde_json::from_slice(bytes).map_err(|cause| unread().with_source(cause))?;
        if let Some(missing) = said.get("missing") {
            let why = missing["reason"].as_str().unwrap_or_default().to_owned();
            if !was_there {
                return Ok(Self::Nothing(why));
            }
            let message = format!("It was there once, and could not be read. {why}");
            return Ok(Self::Wrong(Fault { kind: FaultKind::Deleted, file: AUDIT.into(), line: 0, message }));
        }
        let fault: Option<Fault> =
            said.get("fault").and_then(|fault| Option::deserialize(fault).ok()).ok_or_else(unread)?;
        Ok(fault.map_or(Self::Good, Self::Wrong))
    }
}

/// The checkpoints that were kept beside the audit.
fn kept_in(bytes: &[u8]) -> Result<Vec<Value>> {
    let said = serde_json::from_slice::<Value>(bytes).ok();
    let kept = said.and_then(|said| said.get(KEPT).and_then(Value::as_array).cloned());
    kept.ok_or_else(|| wrong(format!("{ANCHORS} cannot be read")))
}

/// The time in a header is the one that was signed.
fn dated(list: &List, time: u64) -> Result<()> {
    let second = rfc3339(Duration::from_secs(time));
    let same = list.made.get(..19).is_some_and(|made| second.starts_with(made));
    if same { Ok(()) } else { Err(wrong("a file in it has another time than the list")) }
}

fn small(reader: &mut Reader<impl Read>, name: &str, longest: u64) -> Result<(Vec<u8>, u64)> {
    let time = match reader.next()? {
        Some((found, size, time)) if found == name && size <= longest => time,
        _ => return Err(wrong(format!("{name} is not where it should be"))),
    };
    let mut bytes = Vec::new();
    reader.file().read_to_end(&mut bytes).map_err(cut)?;
    Ok((bytes, time))
}

fn drain(from: &mut impl Read) -> Result<()> {
    std::io::copy(from, &mut std::io::sink()).map(drop).map_err(cut)
}

fn cut(cause: std::io::Error) -> Error {
    wrong("it was cut off").with_source(cause)
}
