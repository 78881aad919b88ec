//! Folders in the store.
//!
//! Owns [`Directory`] and [`Turn`]. The idea: a folder is a hash, a file a field of it, sealed for its folder and its
//! whole name, so that only who can seal can move it; each act is one step. Locks end by themselves, so they only keep
//! order: what must happen once is a rename or a create. An instance writes down what it saw moved, so that bytes that
//! somebody puts back into the store count for nothing here.
//!
//! Everything here blocks for a moment, as files do, and no longer than the settings say.
//!
//! Must not: be asked from a thread that serves others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{LOCK, News, Place, Reply, Script, Shared, UNLOCK};
use crate::error::{Error, Kind, Result};
use crate::json::Digest;

/// Longer than anything in a folder is of use.
const KEPT: Duration = Duration::from_hours(31 * 24);
/// A lock that was not given back is free after so long.
const TURN: Duration = Duration::from_secs(5);
/// How long somebody waits for a lock.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a lock is asked for.
const AGAIN: Duration = Duration::from_millis(15);

static NAMES: Script = Script { name: "names", text: "return redis.call('HKEYS', KEYS[2])" };
static READ: Script = Script { name: "read", text: "return {redis.call('HGET', KEYS[2], ARGV[2])}" };
static SIZE: Script = Script { name: "size", text: "return {redis.call('HSTRLEN', KEYS[2], ARGV[2])}" };
/// Writes, if need be only where nothing is; the folder above learns of it.
static WRITE: Script = Script {
    name: "write",
    text: r"
local done = 1
if ARGV[4] == 'new' then done = redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3])
else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[6], '-')
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return {done}",
};
/// Writes, and calls out that something has changed.
static SAY: Script = Script {
    name: "say",
    text: r"
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('INCR', KEYS[3])
redis.call('PUBLISH', KEYS[3], '')
return {1}",
};
static ALL: Script = Script { name: "all", text: "return redis.call('HGETALL', KEYS[2])" };
/// Moves what is still as it was read.
static RENAME: Script = Script {
    name: "rename",
    text: r"
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[4] then return {0} end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[5])
return {1}",
};
static REMOVE: Script = Script { name: "remove", text: "return {redis.call('HDEL', KEYS[2], ARGV[2])}" };
static REMOVE_EMPTY: Script = Script {
    name: "remove empty",
    text: "if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('HDEL', KEYS[2], ARGV[2]) end return {1}",
};
static LOCKED: Script = Script { name: "locked", text: "return {redis.call('EXISTS', KEYS[2])}" };

/// A folder in the store.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    place: Place,
    /// From the top, joined by `/`.
    path: String,
}

fn foreign() -> Error {
    Error::new(
        Kind::Internal,
        "Something in the store that instances share was not sealed by any of our keys.",
    )
}

/// A lock in the store, given back when it is dropped.
pub struct Turn {
    shared: Arc<Shared>,
    place: Place,
    name: String,
    token: String,
    stays: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.stays {
            self.shared.link.leave(&self.name);
        }
        // whether or not it arrives: the lock ends by itself
        self.shared.link.tell(&UNLOCK, self.place, &[&self.name], vec![self.token.clone().into_bytes()]);
    }
}

impl Directory {
    pub(super) fn new(shared: &Arc<Shared>, place: Place, path: &str) -> Self {
        Self { shared: Arc::clone(shared), place, path: path.to_owned() }
    }

    /// The store it is in.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A folder inside.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        Self { path: format!("{}/{name}", self.path), ..self.clone() }
    }

    pub(in crate::state) fn place(&self, name: &str) -> String {
        format!("{name} from the store's hash that ends in {}", self.key())
    }

    fn key(&self) -> String {
        format!("folder:{}", self.path)
    }

    fn run(&self, script: &'static Script, arguments: Vec<Vec<u8>>) -> Result<Vec<Reply>> {
        self.shared.run_now(script, self.place, &[&self.key()], arguments)
    }

    fn did(&self, script: &'static Script, arguments: Vec<Vec<u8>>) -> Result<bool> {
        Ok(self.run(script, arguments)?.first().and_then(Reply::number) == Some(1))
    }

    /// What a file is sealed for.
    fn bound(&self, name: &str) -> String {
        format!("{} {name}", self.path)
    }

    pub(in crate::state) fn names(&self) -> Result<Vec<String>> {
        let replies = self.run(&NAMES, Vec::new())?;
        let mut names: Vec<String> = replies.into_iter().filter_map(Reply::text).collect();
        names.sort();
        Ok(names)
    }

    fn raw(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(match self.run(&READ, vec![name.into()])?.into_iter().next() {
            Some(Reply::Bytes(sealed)) => Some(sealed),
            _ => None,
        })
    }

    /// A file that was changed there is one that cannot be read.
    pub(in crate::state) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(sealed) = self.raw(name)? else { return Ok(None) };
        self.shared.unseal(&sealed, &self.bound(name)).map(Some).ok_or_else(foreign)
    }

    /// None where it cannot be told.
    pub(in crate::state) fn size(&self, name: &str) -> Option<u64> {
        let replies = self.run(&SIZE, vec![name.into()]).ok()?;
        replies.first().and_then(Reply::number).and_then(|size| u64::try_from(size).ok())
    }

    fn put(&self, name: &str, bytes: &[u8], how: &str) -> Result<bool> {
        let sealed = self.shared.seal(bytes, &self.bound(name))?;
        let (above, own) = self.path.rsplit_once('/').unwrap_or(("", ""));
        let above = if above.is_empty() { String::from("folder") } else { format!("folder:{above}") };
        let kept = KEPT.as_millis().to_string().into_bytes();
        let arguments = vec![name.into(), sealed, how.into(), kept, own.into()];
        let replies = self.shared.run_now(&WRITE, self.place, &[&self.key(), &above], arguments)?;
        Ok(replies.first().and_then(Reply::number) == Some(1))
    }

    pub(in crate::state) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes, "").map(|_| ())
    }

    pub(in crate::state) fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.put(name, bytes, "new")
    }

    /// The same bytes are moved once by this instance, whoever puts them back.
    pub(in crate::state) fn rename(&self, from: &str, to: &str) -> Result<bool> {
        let Some(sealed) = self.raw(from)? else { return Ok(false) };
        let bytes = self.shared.unseal(&sealed, &self.bound(from)).ok_or_else(foreign)?;
        if !self.shared.moved.first(&sealed, self.shared.clock().wall(), KEPT)? {
            tracing::warn!(
                "something that was moved in the store before is there again; it counts for nothing"
            );
            return Ok(false);
        }
        let fresh = self.shared.seal(&bytes, &self.bound(to))?;
        self.did(&RENAME, vec![from.into(), to.into(), sealed, fresh])
    }

    pub(in crate::state) fn remove(&self, name: &str) -> Result<()> {
        self.run(&REMOVE, vec![name.into()]).map(|_| ())
    }

    pub(in crate::state) fn remove_folder(&self, name: &str) {
        let inner = self.folder(name).key();
        let _ = self.shared.run_now(&REMOVE_EMPTY, self.place, &[&self.key(), &inner], vec![name.into()]);
    }

    /// Writes a whole file, and calls out that something has changed.
    pub fn say(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let sealed = self.shared.seal(bytes, &self.bound(name))?;
        let kept = KEPT.as_millis().to_string().into_bytes();
        let names = [&*self.key(), super::NEWS];
        self.shared.run_now(&SAY, Place::Beside, &names, vec![name.into(), sealed, kept]).map(|_| ())
    }

    /// What was said under a name; what no key of ours sealed was not said.
    pub fn heard(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.raw(name)?.and_then(|sealed| self.believed(name, &sealed)))
    }

    fn believed(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.shared.unseal(sealed, &self.bound(name));
        if bytes.is_none() && !self.shared.doubted.swap(true, Ordering::Relaxed) {
            self.shared.tell(News::Doubted);
            tracing::warn!(
                "the store that instances share says something that none of our keys sealed (were sealing keys \
                 changed, or can others write there?); it is passed over"
            );
        }
        bytes
    }

    /// The names under which one of us said something.
    pub fn all(&self) -> Result<BTreeSet<String>> {
        let mut replies = self.run(&ALL, Vec::new())?.into_iter();
        let mut names = BTreeSet::new();
        while let (Some(name), Some(Reply::Bytes(sealed))) = (replies.next(), replies.next()) {
            names.extend(name.text().filter(|name| self.believed(name, &sealed).is_some()));
        }
        Ok(names)
    }

    /// A digest that all instances make alike, and that nobody without their key can try values against.
    pub fn keyed(&self, text: &str) -> Digest {
        let mut bytes = self.shared.key(&self.path).to_vec();
        bytes.extend_from_slice(text.as_bytes());
        Digest::of(&bytes)
    }

    fn lock_name(&self, name: &str) -> String {
        format!("lock:{}/{name}", self.path)
    }

    fn turn(&self, name: &str, stays: bool) -> Turn {
        let token = format!("{:032x}", rand::random::<u128>());
        Turn { shared: Arc::clone(&self.shared), place: self.place, name: self.lock_name(name), token, stays }
    }

    pub(in crate::state) fn lock(&self, name: &str) -> Result<Turn> {
        let turn = self.turn(name, false);
        let length = TURN.as_millis().to_string().into_bytes();
        let end = self.shared.clock().monotonic() + PATIENCE;
        loop {
            let arguments = vec![turn.token.clone().into_bytes(), length.clone()];
            let replies = self.shared.run_now(&LOCK, self.place, &[&turn.name], arguments)?;
            if replies.first().and_then(Reply::number) == Some(1) {
                return Ok(turn);
            }
            if self.shared.clock().monotonic() >= end {
                let message = "Other instances are busy with the same; try again later.";
                return Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_secs(1)));
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// A name that is heard of in the store for as long as this is held; if the store is away, as soon as it is back.
    pub(in crate::state) fn stay(&self, name: &str) -> Turn {
        let turn = self.turn(name, true);
        self.shared.link.stay(self.place, &turn.name, &turn.token);
        turn
    }

    /// A name may not have been said again yet where the store was away until a moment ago; then it counts as held.
    pub(in crate::state) fn is_locked(&self, name: &str) -> Result<bool> {
        let name = self.lock_name(name);
        let replies = self.shared.run_now(&LOCKED, self.place, &[&name], Vec::new())?;
        Ok(replies.first().and_then(Reply::number) != Some(0) || self.shared.link.is_fresh())
    }
}
