//! The file, and everybody who writes to it.
//!
//! Owns [`File`]: appending whole lines to one chain from several processes. The idea: whoever writes holds the file's
//! lock; if the file is not as long as it was left, somebody else wrote, and the chain is taken up from the last line.
//! A tail that is no line (a process died while writing) is closed with a recovery line that names its length and hash.
//! A file that is full, or that somebody else moved away, is left behind, and the chain goes on in a new one: whoever
//! writes looks whether the file it has locked is still the one of that name.
//!
//! Must not: leave half a line behind; what could not be written whole is cut off again. Or wait for the lock: who finds
//! it taken is told [`io::ErrorKind::WouldBlock`], and decides how long to try (`queue.rs`).

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::chain::{Head, Link, hash_of, text};
use super::checkpoint::{Change, Kept, Signer, keep};
use super::line::Members;
use super::place::{Opened, put_aside};
use super::{Config, Event, process, segments};
use crate::clock::rfc3339;

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
    /// How long opening waits for the lock.
    wait: Duration,
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
            wait: Duration::from_secs(u64::from(config.lock_timeout)),
        }
    }
}

/// An audit file, opened for appending.
pub(super) struct File {
    path: PathBuf,
    opened: Opened,
    /// Where the chain stands, with what is in the buffer.
    head: Head,
    /// How much of the file was seen or written.
    length: u64,
    /// Head and length without the buffer: what holds again after a failure.
    good: (Head, u64),
    signer: Option<Signer>,
    settings: Settings,
    since_checkpoint: u64,
    /// The time of the first line, once it was needed.
    began: Option<String>,
    /// A full file could not be renamed; that was said.
    stuck: bool,
    /// What is written next, or was written last.
    buffer: Vec<u8>,
    /// What the same append had written before that.
    earlier: Vec<u8>,
    kept: Option<Kept>,
}

impl File {
    /// Opens the file (made with mode 0600 if it is not there), mends its tail and closes what dead processes left open.
    pub(super) fn open(path: &Path, key: &Path, settings: Settings, wall: Duration) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let wait = settings.wait;
        let mut opened = Self {
            path: path.to_path_buf(),
            opened: Opened::at(path)?,
            head: Head::START,
            length: 0,
            good: (Head::START, 0),
            signer: None,
            settings,
            since_checkpoint: 0,
            began: None,
            stuck: false,
            buffer: Vec::new(),
            earlier: Vec::new(),
            kept: None,
        };
        patiently(wait, || opened.begin(key, wall))?;
        Ok(opened)
    }

    fn begin(&mut self, key: &Path, wall: Duration) -> io::Result<()> {
        self.locked(wall, |file, length| {
            let mut signer = Signer::open(key, &file.path)?;
            let change = signer.changed();
            file.signer = Some(signer);
            // Somebody may have died between renaming a full file and beginning the next. Unless taking the lock showed
            // already where the chain stands, because the file we had opened was left behind meanwhile.
            if file.head == Head::START {
                file.head = segments::end(&file.path)?.unwrap_or(Head::START);
                file.good.0 = file.head;
            }
            file.catch_up(length, wall, true)?;
            file.close_what_the_dead_left(length, wall)?;
            if let Some(change) = change {
                file.say_key_made(&change, wall);
            }
            file.write()?;
            if let Some(kept) = file.kept.take() {
                keep(&file.path, &kept);
            }
            Ok(())
        })
    }

    /// Where lines were written before, whoever reads them has to know that another key signs from here on.
    fn say_key_made(&mut self, change: &Change, wall: Duration) {
        if self.head == Head::START && change.former.is_none() {
            return;
        }
        let mut line = Members::new("event", wall, process::name());
        line.text("event", Event::AuditKeyMade.name());
        if let Some(former) = &change.former {
            line.text("former", former);
        }
        self.head.append(&mut self.buffer, &line.finish());
        if self.settings.checkpoint_every > 0 {
            self.sign(wall);
        }
    }

    /// Appends lines. `WouldBlock`: somebody else has the lock.
    pub(super) fn append<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a str>,
        wall: Duration,
    ) -> io::Result<()> {
        self.locked(wall, |file, length| {
            if length != file.length {
                file.catch_up(length, wall, true)?;
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

    /// What the last append wrote, in order; when it failed, what it had written by then.
    pub(super) fn written(&self) -> [&[u8]; 2] {
        [&self.earlier, &self.buffer]
    }

    /// Appends a checkpoint if anything was written since the last.
    pub(super) fn checkpoint(&mut self, wall: Duration) -> io::Result<()> {
        if self.since_checkpoint == 0 {
            self.buffer.clear();
            self.earlier.clear();
            return Ok(());
        }
        self.since_checkpoint = u64::MAX;
        let every = std::mem::replace(&mut self.settings.checkpoint_every, 1);
        let result = self.append(std::iter::empty(), wall);
        self.settings.checkpoint_every = every;
        result
    }

    /// Works with the lock, and with the length of the file.
    fn locked<T>(
        &mut self,
        wall: Duration,
        work: impl FnOnce(&mut Self, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        self.buffer.clear();
        self.earlier.clear();
        let since = self.since_checkpoint;
        let result = self.lock(wall).and_then(|length| work(self, length));
        if result.is_err() {
            // What is in the buffer is not in the file.
            self.buffer.clear();
            (self.head, self.length) = self.good;
            self.since_checkpoint = since;
            self.kept = None;
        }
        // Unlocking fails only if the descriptor is gone, and then the lock is too.
        let _ = self.opened.handle.unlock();
        result
    }

    /// Takes the lock of the file that has the name now, and says how long that is. One that was moved away is left
    /// behind: what it ends with is what an empty one goes on from. Where the lock is taken, nothing has changed.
    fn lock(&mut self, wall: Duration) -> io::Result<u64> {
        loop {
            self.opened.handle.try_lock()?;
            if let Some(length) = self.opened.length_at(&self.path)? {
                return Ok(length);
            }
            let next = Opened::at(&self.path)?;
            next.handle.try_lock()?;
            let length = self.opened.handle.metadata()?.len();
            if length > self.length {
                self.catch_up(length, wall, false)?;
            }
            let _ = self.opened.handle.unlock();
            self.opened = next;
            (self.length, self.began) = (0, None);
            self.good = (self.good.0, 0);
            let length = self.opened.handle.metadata()?.len();
            if length > 0 {
                // Somebody else went on already, from the same last line; so what we would have said of it is said.
                self.buffer.clear();
                self.catch_up(length, wall, true)?;
            } else if let Some(last) = segments::end(&self.path)?
                && last.seq > self.head.seq
            {
                self.buffer.clear();
                self.head = last;
                self.good = (last, 0);
            }
        }
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
        let full = segments::next(&self.path)?;
        let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut line = Members::new("event", wall, process::name());
        line.text("event", "audit_file_full").text("file", &name);
        self.head.append(&mut self.buffer, &line.finish());
        self.sign(wall);
        self.flush()?;
        if let Some(kept) = self.kept.take() {
            keep(&self.path, &kept);
        }
        if let Err(cause) = put_aside(&self.path, &full) {
            tracing::error!(kind = ?cause.kind(), "a full audit file cannot be renamed; it is written on");
            self.stuck = true;
            return Ok(());
        }
        self.lock(wall)?;
        self.retire(wall)
    }

    /// Deletes full files beyond those that are kept. The chain names the last line of what is gone first; a file whose
    /// last line cannot be named stays, and what is newer with it, for the chain would show a gap.
    fn retire(&mut self, wall: Duration) -> io::Result<()> {
        let mut full = segments::full(&self.path)?;
        let beyond = if self.settings.keep == 0 { 0 } else { full.len().saturating_sub(self.settings.keep) };
        full.truncate(beyond);
        let mut named = 0;
        for old in &full {
            let Ok(Some(last)) = segments::last(old) else {
                tracing::error!("an old audit file has no last line that can be read; it is not deleted");
                break;
            };
            let name = old.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut line = Members::new("event", wall, process::name());
            line.text("event", "audit_file_deleted").text("file", &name);
            line.number("last_seq", last.seq).text("last_hash", text(&last.hash));
            self.head.append(&mut self.buffer, &line.finish());
            named += 1;
        }
        if named > 0 {
            self.flush()?;
        }
        for old in &full[..named] {
            if let Err(cause) = fs::remove_file(old) {
                tracing::warn!(kind = ?cause.kind(), "an old audit file cannot be deleted");
                break;
            }
        }
        Ok(())
    }

    /// Writes the buffer and empties it for what comes next.
    fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.earlier.append(&mut self.buffer);
        Ok(())
    }

    /// Writes the buffer in one go. What was written of it is cut off again if not all could be.
    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let handle = &mut self.opened.handle;
        let written = handle
            .write_all(&self.buffer)
            .and_then(|()| if self.settings.sync { handle.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            // If this fails too, the next writer finds a torn tail and seals it.
            let _ = handle.set_len(self.length);
            return Err(error);
        }
        self.length += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.good = (self.head, self.length);
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

    /// Takes the chain up where the file ends, and seals a torn tail; what seals it goes into this file, or into the next.
    fn catch_up(&mut self, length: u64, wall: Duration, here: bool) -> io::Result<()> {
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
        let mut good_end = 0;
        let mut end = tail.len();
        while let Some(line_end) = tail[..end].iter().rposition(|byte| *byte == b'\n') {
            let start = tail[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole = start > 0 || from == 0 || self.starts_line(from)?;
            if let Some(link) = Link::of(&tail[start..line_end]).filter(|_| whole) {
                self.head = Head { seq: link.seq, hash: link.hash };
                good_end = line_end + 1;
                self.good = (self.head, from + u64::try_from(good_end).unwrap_or(u64::MAX));
                break;
            }
            if start == 0 {
                break;
            }
            end = start;
        }
        self.length = length;
        let torn = &tail[good_end..];
        if torn.is_empty() {
            return Ok(());
        }
        if here
            && let Some(link) = Link::of(torn)
            && (good_end > 0 || self.starts_line(from)?)
        {
            // Only the end of the line is missing.
            self.head = Head { seq: link.seq, hash: link.hash };
            self.buffer.push(b'\n');
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
        self.opened.handle.seek(SeekFrom::Start(from))?;
        (&self.opened.handle).take(to - from).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes an outcome for every call that a process which is no more had begun.
    fn close_what_the_dead_left(&mut self, length: u64, wall: Duration) -> io::Result<()> {
        let mut tail = self.read(length.saturating_sub(OPEN), length)?;
        if length < OPEN
            && let Some(before) = segments::full(&self.path)?.last()
        {
            let mut before = fs::File::open(before)?;
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
            outcome.text("method", text("\"method\":\"")).text("tool", text("\"tool\":\""));
            outcome.text("effect", text("\"effect\":\""));
            outcome.text("result", "unknown").text("recovered_from", process);
            self.head.append(&mut self.buffer, &outcome.finish());
        }
        Ok(())
    }
}

/// Tries until the lock is had, or that long; in short steps, for it is held for as long as a write takes.
pub(super) fn patiently<T>(wait: Duration, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const LONGEST: Duration = Duration::from_millis(5);
    let (mut waited, mut nap) = (Duration::ZERO, Duration::from_micros(50));
    let mut turns = 16;
    loop {
        match attempt() {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock && waited < wait => {}
            other => return other,
        }
        if turns > 0 {
            turns -= 1;
            std::thread::yield_now();
        } else {
            std::thread::sleep(nap);
            waited += nap;
            nap = (nap * 2).min(LONGEST);
        }
    }
}

/// A text member that we wrote ourselves (without escapes), and what comes after it.
fn member<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = line.split_once(name)?;
    rest.split_once('"')
}
