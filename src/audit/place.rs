//! The file of a name.
//!
//! Owns [`Opened`] and [`put_aside`]. The idea: a file is known by its place on the disk, so one question about the name
//! tells whether an open file still has it, and how long it is. A file gets another name only if nothing has that name.
//!
//! Must not: replace a file by another one.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use crate::ownership::{make_private, private};

/// An open file, and what tells it from others.
pub(super) struct Opened {
    pub(super) handle: fs::File,
    id: (u64, u64),
}

impl Opened {
    /// The file of this name, made with mode 0600 if it is not there.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let handle = private(OpenOptions::new().create(true).append(true).read(true)).open(path)?;
        let facts = handle.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("not a file"));
        }
        make_private(&handle)?;
        Ok(Self { handle, id: id(&facts) })
    }

    /// Its length, if it still has this name.
    pub(super) fn length_at(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(facts) => Ok((id(&facts) == self.id).then_some(facts.len())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }
}

/// Its place on the disk.
#[cfg(unix)]
pub(super) fn id(facts: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (facts.dev(), facts.ino())
}

#[cfg(not(unix))]
pub(super) fn id(_facts: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Gives a file a name that nothing has; fails if something has it.
pub(super) fn put_aside(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems cannot promise it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
    }
    // Whoever else writes here waits for the lock that the caller has, so nothing comes in between.
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_where_nothing_is_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(put_aside(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&from).unwrap(), fs::read(&to).unwrap()), (b"new".to_vec(), b"old".to_vec()));
        fs::remove_file(&to).unwrap();
        put_aside(&from, &to).unwrap();
        assert_eq!((from.exists(), fs::read(&to).unwrap()), (false, b"new".to_vec()));
    }

    #[test]
    fn a_file_that_lost_its_name_is_told_from_the_one_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a"), folder.path().join("b"));
        let first = Opened::at(&path).unwrap();
        assert_eq!(first.length_at(&path).unwrap(), Some(0));
        fs::rename(&path, &moved).unwrap();
        assert_eq!(first.length_at(&path).unwrap(), None);
        fs::write(&path, "other").unwrap();
        assert_eq!((first.length_at(&path).unwrap(), first.length_at(&moved).unwrap()), (None, Some(0)));
        assert_eq!(Opened::at(&path).unwrap().length_at(&path).unwrap(), Some(5));
    }
}
