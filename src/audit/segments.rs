//! The files of one audit.
//!
//! Owns their names: `FILE` is written to, `FILE.000001`, `FILE.000002` … are full. The idea: a full file is renamed and
//! never touched again, and the chain goes on from its last line in the next one; so all of them together are one
//! audit, and a file that is missing shows.
//!
//! Must not: write, or take a folder or file that cannot be read for an empty one: the chain would begin anew.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::chain::{Head, Link};

/// How far back the last line of a full file is looked for.
const TAIL: u64 = 1 << 20;

/// The full files, the oldest first.
pub(super) fn full(file: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(file)?.into_iter().map(|(_, path)| path).collect())
}

/// Every file, the oldest first; the one that is written to is the last, if it is there.
pub(super) fn all(file: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = full(file)?;
    if found.is_empty() || file.exists() {
        found.push(file.to_path_buf());
    }
    Ok(found)
}

/// What the next full file will be called.
pub(super) fn next(file: &Path) -> io::Result<PathBuf> {
    let last = numbered(file)?.last().map_or(0, |(number, _)| *number);
    Ok(super::checkpoint::beside(file, &format!("{:06}", last + 1)))
}

/// The last line of the full files, if they have one.
pub(super) fn end(file: &Path) -> io::Result<Option<Head>> {
    for path in full(file)?.iter().rev() {
        if let Some(last) = last(path)? {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// The number in the name of a full file.
pub(super) fn number(path: &Path) -> Option<u64> {
    let digits = path.extension()?.to_str()?;
    (digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The last line of a full file, if it ends with one.
pub(super) fn last(path: &Path) -> io::Result<Option<Head>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let tail = tail(&mut file, length, TAIL)?;
    let lines = tail.split(|byte| *byte == b'\n');
    Ok(lines.rev().find_map(|line| Link::of(line).map(|link| Head { seq: link.seq, hash: link.hash })))
}

/// The last `most` bytes of a file.
pub(super) fn tail(file: &mut File, length: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn numbered(file: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_stem() == file.file_name()
            && let Some(number) = number(&path)
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
