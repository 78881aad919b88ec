//! The file, and everybody who writes to it.
//!
//! Owns [`File`]: appending whole lines to one chain from several processes. The idea: whoever writes holds the file's
//! lock; if the file is not as long as it was left, somebody else wrote, and the chain is taken up from the last line.
//! A tail that is no line (a process died while writing) is closed with a recovery line that names its length and hash.
//! A file that is full, or that somebody else moved away, is left behind, and the chain goes on in a new one: whoever
//! writes looks whether the file it has locked is still the one of that name.
//!
//! Must not: leave half a line behind; what could not be written whole is cut off again.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{Head, Link, hash_of, text};
use super::checkpoint::{Kept, Signer, keep};
use super::line::Members;
use super::{Config, process, segments};
use crate::clock::rfc3339;
use crate::ownership::{make_private, private};

/// How far back the last good line is looked for.
const TAIL: u64 = 1 << 20;
/// How far back calls that a dead process left open are looked for.
const OPEN: u64 = 4 << 20;
/// How much of a line holds who began which call.
const START: usize = 1024;

/// What the configuration says of writing.
pub(super) struct Settings {
    checkpoint_every: u64,
    sync: bool,
    /// Bytes of a full file.
    most: u64,
    /// Age of the first line of a full file.
    oldest: Duration,
    /// How many full files are kept; 0 keeps all.
    keep: usize,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            checkpoint_every: config.checkpoint_every,
            sync: config.sync,
            most: config.rotate_megabytes.saturating_mul(1 << 20),
            oldest: Duration::from_secs(u64::from(config.rotate_days) * DAY),
            keep: config.keep,
        }
    }
}

/// An audit file, opened for appending.
pub(super) struct File {
    path: PathBuf,
    handle: fs::File,
    head: Head,
    length: u64,
    signer: Option<Signer>,
    settings: Settings,
    since_checkpoint: u64,
    /// The time of the first line, once it was needed.
    began: Option<String>,
    /// A full file could not be renamed; that was said.
    stuck: bool,
    buffer: Vec<u8>,
    kept: Option<Kept>,
}

impl File {
    /// Opens the file (made with mode 0600 if it is not there), mends its tail and closes what dead processes left open.
    pub(super) fn open(path: &Path, key: &Path, settings: Settings, wall: Duration) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut opened = Self {
            path: path.to_path_buf(),
            handle: at(path)?,
            head: Head::START,
            length: 0,
            signer: None,
            settings,
            since_checkpoint: 0,
            began: None,
            stuck: false,
            buffer: Vec::new(),
            kept: None,
        };
        opened.locked(wall, |opened| {
            opened.signer = Some(Signer::open(key, path)?);
            // Somebody may have died between renaming a full file and beginning the next.
            opened.head =
                segments::full(path).last().and_then(|last| segments::last(last)).unwrap_or(Head::START);
            let length = opened.handle.metadata()?.len();
            opened.catch_up(length, wall)?;
            opened.close_what_the_dead_left(length, wall)?;
            opened.write()
        })?;
        Ok(opened)
    }

    /// Appends lines.
    pub(super) fn append<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a str>,
        wall: Duration,
    ) -> io::Result<()> {
        self.locked(wall, |file| {
            let length = file.handle.metadata()?.len();
            if length != file.length {
                file.catch_up(length, wall)?;
            }
            if file.is_full(wall)? {
                file.rotate(wall)?;
            }
            for line in lines {
                file.head.append(&mut file.buffer, line);
                file.since_checkpoint += 1;
            }
            let every = file.settings.checkpoint_every;
            if every > 0 && file.since_checkpoint >= every {
                file.sign(wall);
            }
            file.write()?;
            if let Some(kept) = file.kept.take() {
                keep(&file.path, &kept);
            }
            Ok(())
        })
    }

    /// What the last append wrote.
    pub(super) fn written(&self) -> &[u8] {
        &self.buffer
    }

    /// Appends a checkpoint if anything was written since the last.
    pub(super) fn checkpoint(&mut self, wall: Duration) -> io::Result<()> {
        if self.since_checkpoint == 0 {
            self.buffer.clear();
            return Ok(());
        }
        self.since_checkpoint = u64::MAX;
        let every = std::mem::replace(&mut self.settings.checkpoint_every, 1);
        let result = self.append(std::iter::empty(), wall);
        self.settings.checkpoint_every = every;
        result
    }

    fn locked<T>(&mut self, wall: Duration, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.buffer.clear();
        self.lock(wall)?;
        let since = self.since_checkpoint;
        let result = work(self);
        if result.is_err() {
            // Where the chain stands is read from the file again: nothing of the buffer is in it.
            self.buffer.clear();
            self.recall();
            self.since_checkpoint = since;
            self.kept = None;
        }
        // Unlocking fails only if the descriptor is gone, and then the lock is too.
        let _ = self.handle.unlock();
        result
    }

    /// Takes the lock of the file that has the name now. One that was moved away is left behind: what it ends with is
    /// what an empty one goes on from.
    fn lock(&mut self, wall: Duration) -> io::Result<()> {
        loop {
            self.handle.lock()?;
            if is_at(&self.handle, &self.path)? {
                return Ok(());
            }
            let length = self.handle.metadata()?.len();
            if length > self.length {
                self.catch_up(length, wall)?;
            }
            let next = at(&self.path)?;
            let _ = self.handle.unlock();
            self.handle = next;
            (self.length, self.began) = (0, None);
            self.handle.lock()?;
            let length = self.handle.metadata()?.len();
            if length > 0 {
                // Somebody else went on already, from the same last line; so what we would have said of it is said.
                self.buffer.clear();
                self.catch_up(length, wall)?;
            } else if let Some(last) = segments::full(&self.path).last().and_then(|last| segments::last(last))
                && last.seq > self.head.seq
            {
                self.buffer.clear();
                self.head = last;
            }
            let _ = self.handle.unlock();
        }
    }

    /// After a failure: the last line that is really in the file.
    fn recall(&mut self) {
        let found =
            self.handle.metadata().and_then(|data| segments::tail(&mut self.handle, data.len(), TAIL));
        let lines = found.unwrap_or_default();
        let last = lines.split(|byte| *byte == b'\n').rev().find_map(Link::of);
        let last = last.map(|link| Head { seq: link.seq, hash: link.hash });
        let before = || segments::full(&self.path).last().and_then(|last| segments::last(last));
        self.head = last.or_else(before).unwrap_or(Head::START);
    }

    fn is_full(&mut self, wall: Duration) -> io::Result<bool> {
        let Settings { most, oldest, .. } = self.settings;
        if self.stuck || self.length == 0 {
            return Ok(false);
        }
        if most > 0 && self.length >= most {
            return Ok(true);
        }
        if oldest.is_zero() {
            return Ok(false);
        }
        if self.began.is_none() {
            let start = self.read(0, 256.min(self.length))?;
            let start = String::from_utf8_lossy(&start);
            self.began = member(&start, "\"time\":\"").map(|(time, _)| time.to_owned());
        }
        // Times of one form and zone compare as texts do.
        let limit = rfc3339(wall.saturating_sub(oldest));
        Ok(self.began.as_deref().is_some_and(|began| began < limit.as_str()))
    }

    /// Signs the end of a full file, renames it and begins the next. A file that cannot be renamed is written on.
    fn rotate(&mut self, wall: Duration) -> io::Result<()> {
        let full = segments::next(&self.path);
        let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut line = Members::new("event", wall, process::name());
        line.text("event", "audit_file_full").text("file", &name);
        self.head.append(&mut self.buffer, &line.finish());
        self.sign(wall);
        self.write()?;
        self.buffer.clear();
        if let Some(kept) = self.kept.take() {
            keep(&self.path, &kept);
        }
        if let Err(cause) = fs::rename(&self.path, &full) {
            tracing::error!(kind = ?cause.kind(), "a full audit file cannot be renamed; it is written on");
            self.stuck = true;
            return Ok(());
        }
        let _ = self.handle.unlock();
        self.lock(wall)?;
        self.retire(wall)
    }

    /// Deletes full files beyond those that are kept. The chain names the last line of what is gone first.
    fn retire(&mut self, wall: Duration) -> io::Result<()> {
        let full = segments::full(&self.path);
        let beyond = if self.settings.keep == 0 { 0 } else { full.len().saturating_sub(self.settings.keep) };
        for old in &full[..beyond] {
            let Some(last) = segments::last(old) else { continue };
            let name = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut line = Members::new("event", wall, process::name());
            line.text("event", "audit_file_deleted").text("file", &name);
            line.number("last_seq", last.seq).text("last_hash", text(&last.hash));
            self.head.append(&mut self.buffer, &line.finish());
        }
        if beyond > 0 {
            self.write()?;
            self.buffer.clear();
        }
        for old in &full[..beyond] {
            if let Err(cause) = fs::remove_file(old) {
                tracing::warn!(kind = ?cause.kind(), "an old audit file cannot be deleted");
            }
        }
        Ok(())
    }

    /// Writes the buffer in one go. What was written of it is cut off again if not all could be.
    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self
            .handle
            .write_all(&self.buffer)
            .and_then(|()| if self.settings.sync { self.handle.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // If this fails too, the next writer finds a torn tail and seals it.
            let _ = self.handle.set_len(self.length);
            return Err(error);
        }
        self.length += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn sign(&mut self, wall: Duration) {
        let Some(signer) = &self.signer else { return };
        let (members, kept) = signer.sign(self.head.seq + 1, &self.head.hash);
        let mut line = Members::new("checkpoint", wall, process::name());
        line.more(&members);
        self.head.append(&mut self.buffer, &line.finish());
        self.kept = Some(kept);
        self.since_checkpoint = 0;
    }

    /// Takes the chain up where the file ends, and seals a torn tail.
    fn catch_up(&mut self, length: u64, wall: Duration) -> io::Result<()> {
        if length < self.length {
            // Somebody cut the file. The chain goes on from what we know, so that the gap shows.
            let mut line = Members::new("event", wall, process::name());
            line.text("event", "audit_file_shrank").number("bytes", self.length - length);
            self.head.append(&mut self.buffer, &line.finish());
            self.length = length;
            if !self.ends_with_new_line(length)? {
                self.buffer.insert(0, b'\n');
            }
            return Ok(());
        }
        let from = self.length.max(length.saturating_sub(TAIL)).min(length);
        let tail = self.read(from, length)?;
        self.length = length;
        let mut good_end = 0;
        let mut end = tail.len();
        while let Some(line_end) = tail[..end].iter().rposition(|byte| *byte == b'\n') {
            let start = tail[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole = start > 0 || from == 0 || self.starts_line(from)?;
            if let Some(link) = Link::of(&tail[start..line_end]).filter(|_| whole) {
                self.head = Head { seq: link.seq, hash: link.hash };
                good_end = line_end + 1;
                break;
            }
            if start == 0 {
                break;
            }
            end = start;
        }
        let torn = &tail[good_end..];
        if torn.is_empty() {
            return Ok(());
        }
        let mut line = Members::new("recovery", wall, process::name());
        line.text("event", "torn_tail_sealed");
        let mut sealed = torn.to_vec();
        if !sealed.ends_with(b"\n") {
            sealed.push(b'\n');
            self.buffer.push(b'\n');
        }
        line.number("torn_bytes", u64::try_from(sealed.len()).unwrap_or(u64::MAX));
        line.text("torn_sha256", text(&hash_of(&sealed)));
        self.head.append(&mut self.buffer, &line.finish());
        Ok(())
    }

    /// Whether a line begins at `offset`.
    fn starts_line(&mut self, offset: u64) -> io::Result<bool> {
        Ok(offset == 0 || self.read(offset - 1, offset)? == b"\n")
    }

    fn ends_with_new_line(&mut self, length: u64) -> io::Result<bool> {
        self.starts_line(length)
    }

    fn read(&mut self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.handle.seek(SeekFrom::Start(from))?;
        (&self.handle).take(to - from).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes an outcome for every call that a process which is no more had begun.
    fn close_what_the_dead_left(&mut self, length: u64, wall: Duration) -> io::Result<()> {
        let mut tail = self.read(length.saturating_sub(OPEN), length)?;
        if length < OPEN
            && let Some(before) = segments::full(&self.path).last()
            && let Ok(mut before) = fs::File::open(before)
        {
            let whole = before.metadata()?.len();
            let mut earlier = segments::tail(&mut before, whole, OPEN - length)?;
            earlier.append(&mut tail);
            tail = earlier;
        }
        let mut open: HashMap<&str, (&str, &str)> = HashMap::new();
        for line in tail.split(|byte| *byte == b'\n') {
            // What is asked for is ours and comes first, so the rest of a line is not even looked at.
            let start = line.get(..START.min(line.len())).unwrap_or_default();
            let start = std::str::from_utf8(start).unwrap_or_else(|error| {
                std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
            });
            let Some((kind, rest)) = member(start, "\"kind\":\"") else { continue };
            let Some((process, rest)) = member(rest, "\"process\":\"") else { continue };
            let Some((id, rest)) = member(rest, "\"id\":\"") else { continue };
            match kind {
                "intent" => {
                    open.insert(id, (process, rest));
                }
                "outcome" => {
                    open.remove(id);
                }
                _ => {}
            }
        }
        let mut left: Vec<(&str, (&str, &str))> =
            open.into_iter().filter(|(_, (process, _))| !process::is_alive(process)).collect();
        left.sort_unstable();
        for (id, (process, rest)) in left {
            let mut outcome = Members::new("outcome", wall, process::name());
            let text = |name| member(rest, name).map_or("", |(text, _)| text);
            outcome.text("id", id).text("principal", text("\"principal\":\""));
            outcome.text("tool", text("\"tool\":\""));
            outcome.text("result", "unknown").text("recovered_from", process);
            self.head.append(&mut self.buffer, &outcome.finish());
        }
        Ok(())
    }
}

/// The file at a path, made with mode 0600 if it is not there.
fn at(path: &Path) -> io::Result<fs::File> {
    let file = private(OpenOptions::new().create(true).append(true).read(true)).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    make_private(&file)?;
    Ok(file)
}

/// Whether a file still has this name.
#[cfg(unix)]
fn is_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}

#[cfg(not(unix))]
fn is_at(_file: &fs::File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

/// A text member that we wrote ourselves (without escapes), and what comes after it.
fn member<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = line.split_once(name)?;
    rest.split_once('"')
}
