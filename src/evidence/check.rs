//! Whether a bundle is as it was made.
//!
//! Owns [`check`] and its [`Verdict`]. The idea: the list is signed and comes first, so each file after it is compared
//! while it is read; the audit inside is verified as any part of an audit is. Whose key it was, only somebody who knows
//! that key from elsewhere can say, and that is said.
//!
//! Must not: unpack anything to the disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::tar::Reader;
use super::{AUDIT, CALLED, Counted, FORMAT, KEY, LIST, List, Part, SIGNATURE, hex};
use crate::audit::{self, Signed};
use crate::error::{Error, Kind, Result};

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
    let text = small(&mut reader, LIST, LIST_LIMIT)?;
    let signature = small(&mut reader, SIGNATURE, SIGNATURE_LIMIT)?;
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
    let mut report = audit::Report::default();
    for part in &list.files {
        let name = part.name.as_str();
        match reader.next()? {
            Some((found, size, _)) if found == name && size == part.bytes => {}
            Some(_) => return Err(wrong(format!("another file stands where {name} should"))),
            None => return Err(wrong(format!("{name} is missing"))),
        }
        let mut counted = Counted { out: reader.file(), sum: Sha256::new(), bytes: 0 };
        let mut head = Vec::new();
        if name == AUDIT {
            let mut lines = BufReader::new(&mut counted);
            report = audit::verify_part(&mut lines, &list.key)?;
            // after the first fault nobody read on
            drain(&mut lines)?;
        } else if name == KEY {
            (&mut counted).take(SIGNATURE_LIMIT).read_to_end(&mut head).map_err(cut)?;
        }
        drain(&mut counted)?;
        if hex(&counted.sum.finalize()) != part.sha256 {
            return Err(wrong(format!("{name} was changed")));
        }
        if name == KEY && String::from_utf8_lossy(&head).trim() != list.key {
            return Err(wrong("the key in it is not the one that signed it"));
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
    unproven.extend(report.unproven.iter().map(|one| format!("Of the audit: {one}")));
    let List { made, version, key, files, .. } = list;
    Ok(Verdict { made, version, key, files, audit: report, unproven })
}

fn small(reader: &mut Reader<impl Read>, name: &str, longest: u64) -> Result<Vec<u8>> {
    match reader.next()? {
        Some((found, size, _)) if found == name && size <= longest => {}
        _ => return Err(wrong(format!("{name} is not where it should be"))),
    }
    let mut bytes = Vec::new();
    reader.file().read_to_end(&mut bytes).map_err(cut)?;
    Ok(bytes)
}

fn drain(from: &mut impl Read) -> Result<()> {
    std::io::copy(from, &mut std::io::sink()).map(drop).map_err(cut)
}

fn cut(cause: std::io::Error) -> Error {
    wrong("it was cut off").with_source(cause)
}
