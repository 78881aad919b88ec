//! Everything that tells what happened, in one file.
//!
//! Owns [`gather`], [`Bundle::write`] and [`check`]. The idea: who looks into an incident needs the audit and how things stood, at
//! once, before anybody tidies up, and in a form that proves where it comes from: each part has its digest in a list, and
//! the list is signed with the audit's key. What cannot be had is said in its place and keeps nothing else from being
//! had. Secrets are in none of it: the configuration has references, keys come without their digests, and everything but
//! the audit (which is redacted when it is written, and cannot be changed any more) goes through the redactor once more.
//! A line of the audit that holds a credential all the same is told, in the list.
//!
//! Must not: hold a secret, run anybody's code, call anybody, or change what it looks at.

mod check;
mod known;
mod parts;
mod tar;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use check::{Verdict, check};

use crate::audit::{self, Form, Signed};
use crate::clock::{SharedClock, rfc3339};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::json::{Digest, Value};
use crate::ownership::private;
use crate::redaction::Redactor;
use crate::state::StateDir;

/// What the list is called in a bundle, and its signature.
const LIST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.sig";
/// The piece of the audit, and the key that its checkpoints and the list are signed with.
const AUDIT: &str = "audit.jsonl";
const KEY: &str = "audit.pub";
/// What was found when the whole audit was verified, and what was kept beside it.
const VERIFICATION: &str = "audit-verification.json";
const ANCHORS: &str = "anchors.json";
/// The checkpoints in the latter.
const KEPT: &str = "checkpoints_kept_beside_the_file";
/// What is signed, so that no other signature can be shown for it.
const CALLED: &str = "evidence";
/// Which form this is.
const FORMAT: &str = "bartizan evidence v1";

/// A file of a bundle, as the list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The list of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    format: String,
    /// When it was made.
    made: String,
    /// The version of the program that made it.
    version: String,
    /// The public key of its signature, in hexadecimal.
    key: String,
    /// What whoever reads it has to know, and no file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
    files: Vec<Part>,
}

/// What is looked at.
pub struct Case<'a> {
    /// The configuration, and where it was read from.
    pub config: &'a Config,
    /// Its file.
    pub file: Option<&'a Path>,
    /// The state directory.
    pub state: &'a StateDir,
    /// What keeps secrets in.
    pub redactor: &'a Redactor,
    /// The time.
    pub clock: &'a SharedClock,
    /// From when on the audit is handed over; all of it unless given.
    pub since: Option<&'a str>,
    /// What `bartizan doctor` says.
    pub doctor: Result<Value>,
    /// Why the audit does not say that evidence was taken, if it does not.
    pub untold: Option<String>,
}

/// What was gathered.
pub struct Bundle {
    parts: BTreeMap<String, Vec<u8>>,
    made: std::time::Duration,
    audit: PathBuf,
    since: Option<String>,
    /// The configuration of the audit, whose key signs.
    signer: audit::Config,
    /// What knows the credentials that could be read.
    redactor: Redactor,
    remarks: Vec<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The files in it.
    pub files: Vec<Part>,
    /// Lines of the audit.
    pub lines: u64,
    /// The public key of the signature, in hexadecimal.
    pub key: String,
}

/// Gathers everything but the audit itself. Nothing here fails as a whole: a part that cannot be had says why.
pub fn gather(case: &Case<'_>) -> Bundle {
    let mut signer = case.config.audit.clone();
    signer.state = case.state.path().to_path_buf();
    let audit = signer.file();
    let untold = case.untold.iter().map(|why| format!("That it was taken: the audit does not say so. {why}"));
    let mut remarks: Vec<String> = untold.collect();
    let unread = known::learn(case);
    if !unread.is_empty() {
        let names: Vec<String> = unread.into_iter().collect();
        let names = names.join(", ");
        remarks.push(format!(
            "That these credentials are not in it: they could not be read where it was made, so nobody looked for them \
             ({names})."
        ));
    }
    let mut parts = BTreeMap::new();
    for (name, found) in parts::all(case, &audit) {
        let value = found.unwrap_or_else(
            |error| crate::json::json!({"missing": {"kind": error.kind().name(), "reason": error.message()}}),
        );
        let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
        bytes.push(b'\n');
        parts.insert(name.to_owned(), bytes);
    }
    let (made, since, redactor) = (case.clock.wall(), case.since.map(str::to_owned), case.redactor.clone());
    Bundle { parts, made, audit, since, signer, redactor, remarks }
}

impl Bundle {
    /// Writes the bundle to a new file that only its owner can read.
    pub fn write(self, path: &Path) -> Result<Written> {
        let refused = |cause: io::Error| {
            let message =
                format!("{} cannot be made; a file that is there is never replaced.", path.display());
            Error::new(Kind::BadConfig, message).with_source(cause)
        };
        let mut options = OpenOptions::new();
        let file = private(options.write(true).create_new(true)).open(path).map_err(refused)?;
        let done = self.fill(file, path);
        if done.is_err() {
            // half of it is evidence of nothing
            let _ = std::fs::remove_file(path);
        }
        done
    }

    fn fill(mut self, file: File, path: &Path) -> Result<Written> {
        let failed = |cause: io::Error| {
            Error::new(Kind::Internal, "The bundle could not be written; is the disk full?")
                .with_source(cause)
        };
        let beside = audit::public_key(&self.audit);
        let key = audit::signing_key(&self.signer)?;
        if beside.is_some_and(|beside| beside.trim() != key) {
            self.remarks.push(String::from(
                "That the key beside the audit was the audit's: it was another one than the one that signs.",
            ));
        }
        self.parts.insert(String::from(KEY), key.clone().into_bytes());
        let mut files: BTreeMap<String, Part> = BTreeMap::new();
        for (name, bytes) in &self.parts {
            let sha256 = Digest::of(bytes).hex();
            files.insert(name.clone(), Part { name: name.clone(), bytes: bytes.len() as u64, sha256 });
        }
        // the audit may be long: it lies beside the bundle until its length is known
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:08x}.part", rand::random::<u32>()));
        let scratch = Scratch::new(PathBuf::from(name)).map_err(failed)?;
        let mut counted = Counted { out: BufWriter::new(&scratch.file), sum: Sha256::new(), bytes: 0 };
        let period = (self.since.as_deref(), None);
        let exported = if self.audit.is_file() {
            audit::export(&self.audit, Form::Lines, period, &mut counted)?
        } else {
            audit::Exported::default()
        };
        counted.flush().map_err(failed)?;
        let (bytes, sha256) = (counted.bytes, hex(&counted.sum.finalize()));
        files.insert(String::from(AUDIT), Part { name: String::from(AUDIT), bytes, sha256 });
        let files: Vec<Part> = files.into_values().collect();
        let known = self.known_in(scratch.again().map_err(failed)?).map_err(failed)?;
        self.remarks.extend(known);
        let mut list = List {
            format: String::from(FORMAT),
            made: rfc3339(self.made),
            version: String::from(env!("CARGO_PKG_VERSION")),
            key,
            remarks: self.remarks,
            files,
        };
        let text = listed(&list)?;
        let Signed { key, signature } = audit::sign(&self.signer, CALLED, &text)?;
        let mut out = tar::Writer::new(BufWriter::new(file), self.made.as_secs());
        let mut put = |name: &str, bytes: &[u8]| out.file(name, bytes.len() as u64, &mut &*bytes);
        put(LIST, &text)
            .and_then(|()| put(SIGNATURE, format!("{signature}\n").as_bytes()))
            .map_err(failed)?;
        for part in &list.files {
            let done = match self.parts.get(&part.name) {
                Some(bytes) => out.file(&part.name, part.bytes, &mut bytes.as_slice()),
                None => scratch
                    .again()
                    .and_then(|from| out.file(&part.name, part.bytes, &mut BufReader::new(from))),
            };
            done.map_err(failed)?;
        }
        let file = out.end().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        file.and_then(|file| file.sync_all()).map_err(failed)?;
        Ok(Written { files: std::mem::take(&mut list.files), lines: exported.lines, key })
    }
}

impl Bundle {
    /// Says which lines hold a credential: a line cannot be changed without breaking the chain.
    fn known_in(&self, audit: &File) -> io::Result<Option<String>> {
        let (mut first, mut count) = (0, 0_u64);
        for (number, line) in (1_u64..).zip(BufReader::new(audit).split(b'\n')) {
            if self.redactor.knows(&String::from_utf8_lossy(&line?)) {
                first = if count == 0 { number } else { first };
                count += 1;
            }
        }
        Ok((count > 0).then(|| {
            format!(
                "That no credential is in it: {count} line(s) of {AUDIT}, the first of them line {first}, hold one that \
                 this installation uses. Replace it, and hand the bundle to nobody who may not know it."
            )
        }))
    }
}

fn listed(list: &List) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(list);
    text.map_err(|cause| {
        Error::new(Kind::Internal, "The list of a bundle could not be made.").with_source(cause)
    })
}

/// A private file that is gone when it is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = private(options.read(true).write(true).create_new(true)).open(&path)?;
        Ok(Self { path, file })
    }

    fn again(&self) -> io::Result<&File> {
        (&self.file).rewind()?;
        Ok(&self.file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Sums up what passes.
struct Counted<T> {
    out: T,
    sum: Sha256,
    bytes: u64,
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.out.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
