//! The state directory: locked files that the processes of one machine share.
//!
//! Owns [`StateDir`]. The idea: one directory, readable by its owner alone, where every change is a rename: a reader
//! sees the old file or the new one, and of many processes that rename the same file exactly one succeeds.
//!
//! Beside it: [`Fleeting`], the same in memory, [`KeyRing`], which seals what others keep for us, [`Shared`], the store that several instances
//! share, and [`Stamp`], which tells whether a file is still the one that was read.
//!
//! Must not: know what is in the files, or read the environment; the path is handed in.

mod fleeting;
mod folder;
mod once;
mod seal;
pub mod shared;
mod stamp;

pub use once::Remembered;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::ownership::{self, Exposure, Flaw};

pub use fleeting::Fleeting;
pub use folder::{Folder, Held};
pub use seal::KeyRing;
pub use shared::{Once, Shared};
pub use stamp::Stamp;

/// A directory that only its owner can read.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// A lock that is released when it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl StateDir {
    /// Where the directory is unless the configuration says otherwise: `given` (from `BARTIZAN_STATE_DIR`), else
    /// `bartizan` in `xdg` (from `XDG_STATE_HOME`), else `.local/state/bartizan` in `home`.
    pub fn default_path(given: Option<&Path>, xdg: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
        let usable = |path: &&Path| !path.as_os_str().is_empty();
        given
            .filter(usable)
            .map(Path::to_path_buf)
            .or_else(|| {
                xdg.filter(usable).filter(|path| path.is_absolute()).map(|path| path.join("bartizan"))
            })
            .or_else(|| home.filter(usable).map(|path| path.join(".local/state/bartizan")))
    }

    /// Opens the directory, and makes it (mode 0700) if it is not there. One that others could read or write, that
    /// belongs to somebody else, or in whose place others have put or could put another, is refused.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let opened = Self::open_inside(path.into())?;
        let shown = opened.path.display();
        ownership::settled(&opened.path).map_err(|flaw| match flaw {
            Flaw::Said(said) => Error::new(Kind::BadConfig, format!("The state directory {shown} {said}.")),
            Flaw::Io(cause) => Error::new(
                Kind::BadConfig,
                format!("The place of the state directory {shown} cannot be read."),
            )
            .with_source(cause),
        })?;
        Ok(opened)
    }

    /// The same for one whose surroundings are known to be good.
    fn open_inside(path: PathBuf) -> Result<Self> {
        let shown = path.display();
        ownership::make_folder(&path).map_err(|cause| {
            Error::new(
                Kind::BadConfig,
                format!("The state directory {shown} cannot be made; choose another place."),
            )
            .with_source(cause)
        })?;
        let facts = fs::symlink_metadata(&path)
            .and_then(|facts| if facts.is_symlink() { fs::metadata(&path) } else { Ok(facts) });
        let facts = facts.map_err(|cause| {
            Error::new(Kind::BadConfig, format!("The state directory {shown} cannot be read."))
                .with_source(cause)
        })?;
        if !facts.is_dir() {
            return Err(Error::new(
                Kind::BadConfig,
                format!("The state directory {shown} is not a directory."),
            ));
        }
        let message = match ownership::exposure(&facts) {
            None => return Ok(Self { path }),
            Some(Exposure::Foreign) => {
                format!("The state directory {shown} belongs to another user; choose another place.")
            }
            Some(Exposure::Open) => {
                format!("The state directory {shown} is open to other users; run chmod 700 on it.")
            }
            Some(Exposure::Unknown) => ownership::unknown(&format!("the state directory {shown}")),
        };
        Err(Error::new(Kind::BadConfig, message))
    }

    /// The directory as it is, for whoever only looks: it is neither made nor judged.
    pub fn look(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory inside, made if it is not there.
    pub fn folder(&self, name: &str) -> Result<Self> {
        Self::open_inside(self.path.join(name))
    }

    /// The path of a file inside.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes of a file, if it is there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(self.failed("read", cause)),
        }
    }

    /// Writes a whole file (mode 0600): readers see the old one or the new one, also after a power failure.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let fresh = self.fresh(bytes)?;
        fs::rename(&fresh, self.file(name)).map_err(|cause| {
            let _ = fs::remove_file(&fresh);
            self.failed("write", cause)
        })?;
        self.settle()
    }

    /// The same for what need not survive a power failure, and for one caller at a time (see [`StateDir::lock`]): no
    /// waiting for the disk.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let fresh = self.file(&format!(".{name}.new"));
        let written = ownership::private(OpenOptions::new().create(true).truncate(true).write(true))
            .open(&fresh)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&fresh, self.file(name)));
        written.map_err(|cause| self.failed("write", cause))
    }

    /// Writes a whole file unless one of that name is there. True for the one caller that wrote it.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let fresh = self.fresh(bytes)?;
        let linked = fs::hard_link(&fresh, self.file(name));
        let _ = fs::remove_file(&fresh);
        match linked {
            Ok(()) => self.settle().map(|()| true),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(cause) => Err(self.failed("write", cause)),
        }
    }

    /// Renames a file. Of many callers exactly one gets true; false means that the file was not there.
    pub fn rename(&self, from: &str, to: &str) -> Result<bool> {
        match fs::rename(self.file(from), self.file(to)) {
            Ok(()) => self.settle().map(|()| true),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(self.failed("rename", cause)),
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(self.failed("remove", cause)),
            _ => Ok(()),
        }
    }

    /// The names of the files inside, sorted; unfinished ones are left out.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|cause| self.failed("list", cause))? {
            let entry = entry.map_err(|cause| self.failed("list", cause))?;
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Waits until no other holder, in this process or another, has the lock of that name.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.file(&format!(".{name}.lock"));
        let file = ownership::private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(path)
            .map_err(|cause| self.failed("lock", cause))?;
        file.lock().map_err(|cause| self.failed("lock", cause))?;
        Ok(Lock { _file: file })
    }

    /// The lock of that name, for as long as the process lives that takes it first; none if somebody has it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>> {
        self.attempt(name, true)
    }

    /// Whether somebody has the lock of that name. Looking does not make it.
    pub fn is_locked(&self, name: &str) -> Result<bool> {
        let there = self.file(&format!(".{name}.lock")).exists();
        Ok(there && self.attempt(name, false)?.is_none())
    }

    fn attempt(&self, name: &str, create: bool) -> Result<Option<Lock>> {
        let path = self.file(&format!(".{name}.lock"));
        let file = ownership::private(OpenOptions::new().create(create).truncate(false).write(true))
            .open(path)
            .map_err(|cause| self.failed("lock", cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(self.failed("lock", cause)),
        }
    }

    /// Removes a lock's file; whoever has the lock keeps it.
    pub fn unlock(&self, name: &str) -> Result<()> {
        self.remove(&format!(".{name}.lock"))
    }

    /// Removes a folder inside, if it is there and empty.
    pub fn remove_folder(&self, name: &str) {
        let _ = fs::remove_dir(self.file(name));
    }

    /// 32 random bytes under that name: made once, the same for every process from then on.
    pub fn key(&self, name: &str) -> Result<[u8; 32]> {
        loop {
            if let Some(bytes) = self.read(name)? {
                return bytes.try_into().map_err(|_| {
                    Error::new(
                        Kind::BadConfig,
                        format!("The key file {} is damaged; restore it.", self.file(name).display()),
                    )
                });
            }
            self.create(name, &rand::random::<[u8; 32]>())?;
        }
    }

    /// Removes what writers that broke off have left half written, here and in the folders inside. An hour is longer
    /// than any write takes; the time is the folder's own, whatever the clocks of the machines that share it say.
    pub fn clear(&self) {
        const OLD: Duration = Duration::from_hours(1);
        const DEEPEST: u32 = 2;
        let mut folders = vec![(self.path.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let mut unfinished = Vec::new();
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEEPEST => folders.push((entry.path(), depth + 1)),
                    Ok(kind) if kind.is_file() && entry.file_name().to_str().is_some_and(is_unfinished) => {
                        unfinished.push(entry.path());
                    }
                    _ => {}
                }
            }
            if unfinished.is_empty() {
                continue;
            }
            let modified = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified());
            let Ok(probe) = (Self { path: folder }).fresh(b"") else { continue };
            let now = modified(&probe);
            let _ = fs::remove_file(&probe);
            let Ok(now) = now else { continue };
            for path in unfinished {
                let old =
                    modified(&path).is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > OLD));
                if old && let Err(error) = fs::remove_file(&path) {
                    tracing::warn!(error = %error, "a file that was left half written could not be removed");
                }
            }
        }
    }

    fn fresh(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.file(&format!(".{:032x}.new", rand::random::<u128>()));
        let mut file = ownership::private(OpenOptions::new().create_new(true).write(true))
            .open(&path)
            .map_err(|cause| self.failed("write", cause))?;
        if let Err(cause) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&path);
            return Err(self.failed("write", cause));
        }
        Ok(path)
    }

    fn settle(&self) -> Result<()> {
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|cause| self.failed("write", cause))
    }

    fn failed(&self, verb: &str, cause: std::io::Error) -> Error {
        let path = self.path.display();
        Error::new(
            Kind::Internal,
            format!("A file in {path} could not be used ({verb}); check its owner and the free space."),
        )
        .with_source(cause)
    }
}

/// The name of a file that is being written: see `fresh`.
fn is_unfinished(name: &str) -> bool {
    name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).is_some_and(|random| {
        random.len() == 32 && random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn fresh() -> (tempfile::TempDir, StateDir) {
        let outer = tempfile::tempdir().unwrap();
        let state = StateDir::open(outer.path().join("a/state")).unwrap();
        (outer, state)
    }

    #[test]
    fn it_is_private_and_stays_so() {
        let (_outer, state) = fresh();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(state.path()), 0o700);
        state.write("file", b"one").unwrap();
        assert_eq!(mode(&state.file("file")), 0o600);
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let refusal = StateDir::open(state.path()).unwrap_err();
        assert!(refusal.message().contains("chmod 700"), "{refusal}");
    }

    #[test]
    fn what_others_could_put_there_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("state");
        StateDir::open(&path).unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refusal = StateDir::open(&path).unwrap_err();
        assert!(refusal.message().contains("could replace it"), "{refusal}");
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // a link of our own is a choice
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        StateDir::open(&link).unwrap();
        if !ownership::is_root() {
            eprintln!("not root: nothing can be given to another user, so a link of theirs is not tried");
            return;
        }
        let other = Some(rustix::fs::Uid::from_raw(12345));
        rustix::fs::chownat(rustix::fs::CWD, &link, other, None, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
        let refusal = StateDir::open(&link).unwrap_err();
        assert!(refusal.message().contains("link that belongs to another user"), "{refusal}");
        // as its owner could plant one, or any directory
        rustix::fs::chown(outer.path(), other, None).unwrap();
        assert!(StateDir::open(&path).unwrap_err().message().contains("folder of another user"));
    }

    #[test]
    fn one_of_many_renames_and_creates() {
        let (_outer, state) = fresh();
        state.write("grant", b"x").unwrap();
        let winners = |act: &(dyn Fn() -> bool + Sync)| {
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..50).map(|_| scope.spawn(act)).collect();
                all.into_iter().filter(|_| true).map(|one| usize::from(one.join().unwrap())).sum::<usize>()
            })
        };
        assert_eq!(winners(&|| state.rename("grant", "taken").unwrap()), 1);
        assert_eq!(winners(&|| state.create("made", b"y").unwrap()), 1);
        assert_eq!(state.names().unwrap(), ["made", "taken"]);
        assert_eq!(state.read("grant").unwrap(), None);
    }

    #[test]
    fn a_key_is_made_once() {
        let (_outer, state) = fresh();
        let key = state.key("instance.key").unwrap();
        assert_eq!(state.key("instance.key").unwrap(), key);
        state.write("instance.key", b"short").unwrap();
        assert!(state.key("instance.key").is_err());
    }

    #[test]
    fn what_was_left_half_written_is_removed_once_it_is_old() {
        let (_outer, state) = fresh();
        let inner = state.folder("tasks").unwrap().folder("somebody").unwrap();
        let left = |folder: &StateDir, minutes: u64| {
            let path = folder.fresh(b"half").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            let then = file.metadata().unwrap().modified().unwrap() - Duration::from_mins(minutes);
            file.set_modified(then).unwrap();
            path
        };
        let old = [left(&state, 120), left(&inner, 120)];
        let young = [left(&state, 5), left(&inner, 5)];
        state.write("whole", b"x").unwrap();
        fs::write(state.file(".notes.new"), b"somebody's own").unwrap();
        let whole = File::options().write(true).open(state.file("whole")).unwrap();
        let _lock = state.lock("x").unwrap();
        whole.set_modified(std::time::UNIX_EPOCH).unwrap();
        state.clear();
        assert!(old.iter().all(|path| !path.exists()) && young.iter().all(|path| path.exists()));
        assert!(state.file("whole").exists() && state.file(".notes.new").exists());
        assert!(state.file(".x.lock").exists());
    }

    #[test]
    fn a_lock_keeps_others_out() {
        let (_outer, state) = fresh();
        let lock = state.lock("x").unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _lock = state.lock("x").unwrap();
                send.send(()).unwrap();
            });
            assert!(receive.try_recv().is_err());
            drop(lock);
            receive.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        });
    }

    #[test]
    fn the_default_place_follows_the_environment() {
        let path = |a, b, c| StateDir::default_path(a, b, c);
        let (given, xdg, home) = (Path::new("/g"), Path::new("/x"), Path::new("/h"));
        assert_eq!(path(Some(given), Some(xdg), Some(home)), Some("/g".into()));
        assert_eq!(path(None, Some(xdg), Some(home)), Some("/x/bartizan".into()));
        assert_eq!(path(Some(Path::new("")), None, Some(home)), Some("/h/.local/state/bartizan".into()));
        assert_eq!(path(None, None, None), None);
    }
}
