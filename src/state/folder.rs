//! A folder of small files, on this machine or in the store that instances share.
//!
//! Owns [`Folder`] and [`Held`]. The idea: who keeps records for other processes need not know how far away those are;
//! on either side a name is made, moved or taken by exactly one of many. What lies in the store may be lost with it, so
//! nothing lies there that an operator would have to make again.
//!
//! Must not: know what is in the files.

use super::shared::{Directory, Turn};
use super::{Lock, StateDir};
use crate::error::Result;

/// A folder.
#[derive(Clone)]
pub enum Folder {
    /// In a state directory.
    Own(StateDir),
    /// In the store that instances share.
    Shared(Directory),
}

/// A lock of a folder; released when it is dropped.
pub enum Held {
    /// Of a state directory.
    Own(Lock),
    /// Of the store.
    Shared(Turn),
}

impl From<StateDir> for Folder {
    fn from(folder: StateDir) -> Self {
        Self::Own(folder)
    }
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.place(""))
    }
}

impl Folder {
    /// The store it is in, if it is.
    pub fn directory(&self) -> Option<&Directory> {
        match self {
            Self::Own(_) => None,
            Self::Shared(directory) => Some(directory),
        }
    }

    /// A folder inside.
    pub fn folder(&self, name: &str) -> Result<Self> {
        Ok(match self {
            Self::Own(folder) => Self::Own(folder.folder(name)?),
            Self::Shared(directory) => Self::Shared(directory.folder(name)),
        })
    }

    /// Where a file is, for people.
    pub fn place(&self, name: &str) -> String {
        match self {
            Self::Own(folder) => folder.file(name).display().to_string(),
            Self::Shared(directory) => directory.place(name),
        }
    }

    /// The names of the files and folders inside, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        match self {
            Self::Own(folder) => folder.names(),
            Self::Shared(directory) => directory.names(),
        }
    }

    /// The bytes of a file, if it is there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Own(folder) => folder.read(name),
            Self::Shared(directory) => directory.read(name),
        }
    }

    /// Whether a file or folder is there; what cannot be told is.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Own(folder) => folder.file(name).try_exists().unwrap_or(true),
            Self::Shared(directory) => directory.size(name).is_none_or(|size| size > 0),
        }
    }

    /// About how many bytes a file takes.
    pub fn size(&self, name: &str) -> u64 {
        match self {
            Self::Own(folder) => std::fs::metadata(folder.file(name)).map_or(0, |facts| facts.len()),
            Self::Shared(directory) => directory.size(name).unwrap_or(0),
        }
    }

    /// Writes a whole file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Own(folder) => folder.write(name, bytes),
            Self::Shared(directory) => directory.write(name, bytes),
        }
    }

    /// Writes a whole file unless one of that name is there. True for the one caller that wrote it.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        match self {
            Self::Own(folder) => folder.create(name, bytes),
            Self::Shared(directory) => directory.create(name, bytes),
        }
    }

    /// Renames a file; what follows its last `.` may differ. Of many callers exactly one gets true; false means that the
    /// file was not there.
    pub fn rename(&self, from: &str, to: &str) -> Result<bool> {
        match self {
            Self::Own(folder) => folder.rename(from, to),
            Self::Shared(directory) => directory.rename(from, to),
        }
    }

    /// Removes a file, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Own(folder) => folder.remove(name),
            Self::Shared(directory) => directory.remove(name),
        }
    }

    /// Removes a folder inside, if it is there and empty.
    pub fn remove_folder(&self, name: &str) {
        match self {
            Self::Own(folder) => folder.remove_folder(name),
            Self::Shared(directory) => directory.remove_folder(name),
        }
    }

    /// Waits until no other holder has the lock of that name. In the store it is held for a few seconds at most.
    pub fn lock(&self, name: &str) -> Result<Held> {
        match self {
            Self::Own(folder) => folder.lock(name).map(Held::Own),
            Self::Shared(directory) => directory.lock(name).map(Held::Shared),
        }
    }

    /// A lock that nobody else takes, for as long as this process lives and can be heard of. None if somebody has it.
    pub fn stay(&self, name: &str) -> Result<Option<Held>> {
        match self {
            Self::Own(folder) => Ok(folder.try_lock(name)?.map(Held::Own)),
            Self::Shared(directory) => Ok(Some(Held::Shared(directory.stay(name)))),
        }
    }

    /// Whether somebody has the lock of that name.
    pub fn is_locked(&self, name: &str) -> Result<bool> {
        match self {
            Self::Own(folder) => folder.is_locked(name),
            Self::Shared(directory) => directory.is_locked(name),
        }
    }
}
