//! Keys at rest.
//!
//! Owns the files of a key store: `keys.json` (hashes, never keys), `keys.pepper`, `keys.used.json` (what each was used
//! for) and `keys.revoked.json` (which were taken back: a key that is merely not in `keys.json` was not). The idea: all are private to this user, a change replaces the whole file at once, and two processes that
//! change it take turns.
//!
//! Must not: hold a key.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::usage::Book;
use crate::error::{Error, Kind, Result};
use crate::ownership::{self, Exposure};
use crate::state::Stamp;

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) id: String,
    /// HMAC-SHA256 of the key under the pepper, in hex.
    pub(super) hash: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    #[serde(default)]
    pub(super) scopes: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) roles: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(default)]
    pub(super) may_approve: bool,
    /// Seconds since the epoch.
    pub(super) created: u64,
    /// Seconds since the epoch; nothing means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) from: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<Stored>,
}

/// The folder with both files.
#[derive(Debug, Clone)]
pub(super) struct KeyFile {
    folder: PathBuf,
}

impl KeyFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys.json")
    }

    /// What `keys.json` is now; nothing where there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        Stamp::at(&self.keys())
    }

    fn used(&self) -> PathBuf {
        self.folder.join("keys.used.json")
    }

    /// What the keys were used for. A file that cannot be read has nothing to say: counts are no reason not to serve.
    pub(super) fn book(&self) -> Book {
        read_private(&self.used())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Changes what the keys were used for, alone among all processes; nothing is written if nothing came of it.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Book) -> Option<T>) -> Result<Option<T>> {
        let _turn = self.lock()?;
        let mut book = self.book();
        let Some(outcome) = change(&mut book) else { return Ok(None) };
        let path = self.used();
        let text = serde_json::to_vec_pretty(&book).map_err(|error| {
            Error::new(Kind::Internal, "What keys were used for could not be written.").with_source(error)
        })?;
        replace_private(&path, &text).map_err(|error| unusable(&path, error))?;
        Ok(Some(outcome))
    }

    /// Writes a key into its holder's file, which only this user can read.
    pub(super) fn hand_over(path: &Path, text: &[u8]) -> Result<()> {
        replace_private(path, text).map_err(|error| unusable(path, error))
    }

    /// The pepper; made when there is none.
    pub(super) fn pepper(&self) -> Result<[u8; 32]> {
        let path = self.folder.join("keys.pepper");
        let _turn = self.lock()?;
        let bytes = match read_private(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fresh: [u8; 32] = rand::random();
                replace_private(&path, &fresh).map_err(|error| unusable(&path, error))?;
                fresh.to_vec()
            }
            Err(error) => return Err(unusable(&path, error)),
        };
        bytes.try_into().map_err(|_| {
            let said = format!(
                "{} is damaged: it must hold 32 bytes. Restore it, or remove it and mint new keys.",
                path.display()
            );
            Error::new(Kind::BadConfig, said)
        })
    }

    /// Every key.
    pub(super) fn load(&self) -> Result<Vec<Stored>> {
        let path = self.keys();
        let bytes = match read_private(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(&path, error)),
        };
        serde_json::from_slice::<Contents>(&bytes).map(|contents| contents.keys).map_err(|error| {
            let said = format!("{} is not a key file (line {}).", path.display(), error.line());
            Error::new(Kind::BadConfig, said)
        })
    }

    fn revoked_path(&self) -> PathBuf {
        self.folder.join("keys.revoked.json")
    }

    /// The ids that were taken back, by whoever.
    pub(super) fn revoked(&self) -> Result<BTreeSet<String>> {
        let path = self.revoked_path();
        let bytes = match read_private(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(unusable(&path, error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            let said = format!("{} is not a list of revoked keys (line {}).", path.display(), error.line());
            Error::new(Kind::BadConfig, said)
        })
    }

    /// Takes a key out of the list, and writes down first that it was taken back; false where there is none of that id,
    /// and then nothing is written.
    pub(super) fn revoke(&self, id: &str) -> Result<bool> {
        let _turn = self.lock()?;
        let mut keys = self.load()?;
        let before = keys.len();
        keys.retain(|key| key.id != id);
        if keys.len() == before {
            return Ok(false);
        }
        let mut revoked = self.revoked()?;
        if revoked.insert(id.to_owned()) {
            let path = self.revoked_path();
            let text = serde_json::to_vec_pretty(&revoked).map_err(|error| {
                Error::new(Kind::Internal, "Which keys were revoked could not be written.").with_source(error)
            })?;
            replace_private(&path, &text).map_err(|error| unusable(&path, error))?;
        }
        self.save(keys)?;
        Ok(true)
    }

    /// Changes the list, alone among all processes; nothing is written if that fails.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Vec<Stored>) -> Result<T>) -> Result<T> {
        let _turn = self.lock()?;
        let mut keys = self.load()?;
        let outcome = change(&mut keys)?;
        self.save(keys)?;
        Ok(outcome)
    }

    /// Keeps a first key, and writes what its holder needs to `path`; false, and nothing is written, where there is a
    /// key already. Of many processes that start at once exactly one gets true. The holder's file comes first: a process
    /// that dies in between leaves a file that opens nothing, and no key that nobody has.
    pub(super) fn first(&self, path: &Path, text: &[u8], stored: Stored) -> Result<bool> {
        let _turn = self.lock()?;
        if !self.load()?.is_empty() {
            return Ok(false);
        }
        replace_private(path, text).map_err(|error| unusable(path, error))?;
        self.save(vec![stored])?;
        Ok(true)
    }

    fn save(&self, keys: Vec<Stored>) -> Result<()> {
        let path = self.keys();
        let text = serde_json::to_vec_pretty(&Contents { keys }).map_err(|error| {
            Error::new(Kind::Internal, "The key file could not be written.").with_source(error)
        })?;
        replace_private(&path, &text).map_err(|error| unusable(&path, error))
    }

    /// Held until dropped.
    fn lock(&self) -> Result<File> {
        let path = self.folder.join("keys.lock");
        let lock = || {
            let mut options = OpenOptions::new();
            let file = ownership::private(options.create(true).truncate(false).write(true)).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| unusable(&path, error))
    }
}

fn unusable(path: &Path, error: io::Error) -> Error {
    let said = match error.kind() {
        io::ErrorKind::PermissionDenied if error.get_ref().is_some() => {
            format!("{} can be read by other users; own it and run `chmod 600` on it.", path.display())
        }
        io::ErrorKind::Unsupported => ownership::unknown(&path.display().to_string()),
        _ => format!(
            "{} cannot be read or written; check that its folder exists and is yours.",
            path.display()
        ),
    };
    Error::new(Kind::BadConfig, said).with_source(error)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = ownership::private(OpenOptions::new().create_new(true).write(true)).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&beside, bytes)?;
    std::fs::rename(beside, path)
}

fn read_private(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    match ownership::exposure(&file.metadata()?) {
        None => {}
        Some(Exposure::Foreign | Exposure::Open) => {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "readable by others"));
        }
        Some(Exposure::Unknown) => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "nobody knows who can read it"));
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
