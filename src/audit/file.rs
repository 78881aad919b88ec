//! The file, and everybody who writes to it.
//!
//! Owns [`File`]: appending whole lines to one chain from several processes. The idea: whoever writes holds the file's
//! lock; if the file is not as long as it was left, somebody else wrote, and the chain is taken up from the last line.
//! A tail that is no line (a process died while writing) is closed with a recovery line that names its length and hash.
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
use super::process;
use crate::ownership::{make_private, private};

/// How far back the last good line is looked for.
const TAIL: u64 = 1 << 20;
/// How far back calls that a dead process left open are looked for.
const OPEN: u64 = 4 << 20;
/// How much of a line holds who began which call.
const START: usize = 1024;

/// An audit file, opened for appending.
pub(super) struct File {
    path: PathBuf,
    handle: fs::File,
    head: Head,
    length: u64,
    signer: Option<Signer>,
    checkpoint_every: u64,
    since_checkpoint: u64,
    sync: bool,
    buffer: Vec<u8>,
    kept: Option<Kept>,
}

impl File {
    /// Opens the file (made with mode 0600 if it is not there), mends its tail and closes what dead processes left open.
    pub(super) fn open(
        path: &Path,
        key: &Path,
        checkpoint_every: u64,
        sync: bool,
        wall: Duration,
    ) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = private(OpenOptions::new().create(true).append(true).read(true)).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        make_private(&file)?;
        let mut opened = Self {
            path: path.to_path_buf(),
            handle: file,
            head: Head::START,
            length: 0,
            signer: None,
            checkpoint_every,
            since_checkpoint: 0,
            sync,
            buffer: Vec::new(),
            kept: None,
        };
        opened.locked(|opened| {
            opened.signer = Some(Signer::open(key, path)?);
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
        self.locked(|file| {
            let length = file.handle.metadata()?.len();
            if length != file.length {
                file.catch_up(length, wall)?;
            }
            for line in lines {
                file.head.append(&mut file.buffer, line);
                file.since_checkpoint += 1;
            }
            if file.checkpoint_every > 0 && file.since_checkpoint >= file.checkpoint_every {
                file.sign(wall);
            }
            file.write()?;
            if let Some(kept) = file.kept.take() {
                keep(&file.path, &kept);
            }
            Ok(())
        })
    }

    /// Appends a checkpoint if anything was written since the last.
    pub(super) fn checkpoint(&mut self, wall: Duration) -> io::Result<()> {
        if self.since_checkpoint == 0 {
            return Ok(());
        }
        self.since_checkpoint = u64::MAX;
        let every = std::mem::replace(&mut self.checkpoint_every, 1);
        let result = self.append(std::iter::empty(), wall);
        self.checkpoint_every = every;
        result
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.handle.lock()?;
        let (head, since) = (self.head, self.since_checkpoint);
        self.buffer.clear();
        let result = work(self);
        if result.is_err() {
            self.head = head;
            self.since_checkpoint = since;
            self.kept = None;
        }
        // Unlocking fails only if the descriptor is gone, and then the lock is too.
        let _ = self.handle.unlock();
        result
    }

    /// Writes the buffer in one go. What was written of it is cut off again if not all could be.
    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self
            .handle
            .write_all(&self.buffer)
            .and_then(|()| if self.sync { self.handle.sync_data() } else { Ok(()) });
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
        let tail = self.read(length.saturating_sub(OPEN), length)?;
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

/// A text member that we wrote ourselves (without escapes), and what comes after it.
fn member<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = line.split_once(name)?;
    rest.split_once('"')
}
