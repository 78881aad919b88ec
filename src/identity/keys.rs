//! API keys.
//!
//! Owns [`KeyStore`]. The idea: a key is 256 random bits, so one keyed hash is all that is needed to keep it; the store
//! holds hashes, finds a key by its public id and compares in constant time, without a lock or a file on the way of a
//! request.
//!
//! Must not: keep, log or show a key after it was minted.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::file::{KeyFile, Stored};
pub use super::grant::{About, Ages, Grant, Minted, State, is_name};
pub use super::usage::Used;
use super::usage::{Book, Counter};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::principal::{Principal, PrincipalKind};
use crate::secret::Secret;
use crate::state::Stamp;
use crate::transport::auth::{Authenticator, Certificate, Lease, Presented, Refusal, Verdict};

const ID_LENGTH: usize = 8;
/// 43 letters of 62: 256 bits.
const KEY_LENGTH: usize = 43;
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    principal: Arc<Principal>,
    about: About,
    counter: Arc<Counter>,
}

/// A key that is made and not yet accepted anywhere.
pub struct Draft {
    minted: Minted,
    stored: Stored,
}

impl Draft {
    /// Its public id.
    pub fn id(&self) -> &str {
        &self.minted.id
    }
}

/// The keys this server accepts.
pub struct KeyStore {
    known: Arc<ArcSwap<HashMap<String, Known>>>,
    file: Option<KeyFile>,
    seen: Mutex<Option<Stamp>>,
    looked: AtomicU64,
    mac: Hmac<Sha256>,
    clock: SharedClock,
}

impl KeyStore {
    /// The keys of `folder` (`keys.json`, `keys.pepper`). Changes by other processes are noticed within a second.
    pub fn open(folder: &Path, clock: SharedClock) -> Result<Arc<Self>> {
        let file = KeyFile::new(folder);
        let store = Self::with(&file.pepper()?, Some(file), clock)?;
        store.reload()?;
        Ok(Arc::new(store))
    }

    /// The keys of `folder` for whoever only looks: nothing is made there, and nothing is opened with them.
    pub fn read(folder: &Path, clock: SharedClock) -> Result<Self> {
        let store = Self::with(&rand::random(), Some(KeyFile::new(folder)), clock)?;
        store.reload()?;
        Ok(store)
    }

    /// Keys that are gone when the process ends.
    pub fn in_memory(clock: SharedClock) -> Result<Arc<Self>> {
        Self::with(&rand::random(), None, clock).map(Arc::new)
    }

    fn with(pepper: &[u8; 32], file: Option<KeyFile>, clock: SharedClock) -> Result<Self> {
        let mac = Hmac::<Sha256>::new_from_slice(pepper)
            .map_err(|_| Error::new(Kind::Internal, "The pepper of the key store cannot be used."))?;
        let known = Arc::default();
        Ok(Self { known, file, seen: Mutex::new(None), looked: AtomicU64::new(0), mac, clock })
    }

    /// Whether no key was minted yet, or all were revoked.
    pub fn is_empty(&self) -> bool {
        self.known.load().is_empty()
    }

    /// Every key, by id, with what it was used for.
    pub fn list(&self) -> Vec<About> {
        let book = self.file.as_ref().map_or_else(Book::default, KeyFile::book);
        let told = |known: &Known| About {
            used: book.of(&known.about.id).and(known.counter.now()),
            ..known.about.clone()
        };
        let mut all: Vec<About> = self.known.load().values().map(told).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Makes a key. What is returned cannot be had again.
    pub fn mint(&self, grant: &Grant) -> Result<Minted> {
        self.keep(self.draft(grant)?)
    }

    /// Makes a key that opens nothing until it is [kept](Self::keep): who issues it can say so first.
    pub fn draft(&self, grant: &Grant) -> Result<Draft> {
        grant.check()?;
        let (minted, stored) = self.make(grant);
        Ok(Draft { minted, stored })
    }

    /// Accepts a key from now on. What is returned cannot be had again.
    pub fn keep(&self, draft: Draft) -> Result<Minted> {
        let Draft { minted, stored } = draft;
        self.change(|keys| {
            may_join(keys, &stored)?;
            keys.push(stored);
            Ok(())
        })?;
        Ok(minted)
    }

    /// Accepts a key in the place of another, which ends at a time since the epoch, if not before.
    pub fn replace(&self, id: &str, draft: Draft, ends: Duration) -> Result<Minted> {
        let Draft { minted, stored } = draft;
        self.change(|keys| {
            let Some(old) = keys.iter_mut().find(|key| key.id == id) else { return Err(no_such_key()) };
            let ends = ends.as_secs();
            old.expires = Some(old.expires.map_or(ends, |before| before.min(ends)));
            may_join(keys, &stored)?;
            keys.push(stored);
            Ok(())
        })?;
        Ok(minted)
    }

    /// Puts a key into its holder's file if that holds the key it replaces. Whether it did.
    pub fn hand_over(&self, path: &Path, id: &str, minted: &Minted) -> Result<bool> {
        let held = std::fs::read_to_string(path).unwrap_or_default();
        if public_id(held.trim()) != Some(id) {
            return Ok(false);
        }
        KeyFile::hand_over(path, format!("{}\n", minted.key.expose()).as_bytes())?;
        Ok(true)
    }

    /// Writes down what was counted since the last time.
    pub fn flush(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let known = self.known.load();
        if known.values().all(|known| known.counter.is_idle()) {
            return Ok(());
        }
        let added = file.note(|book| {
            let added = book.add(known.values().map(|known| (&*known.about.id, &known.counter)));
            (!added.is_empty()).then_some(added)
        })?;
        Book::written(added.unwrap_or_default());
        Ok(())
    }

    /// Makes a key where there is none yet, and writes it to `path`, which only this user can read; whatever lies there
    /// opens nothing and is replaced. None if there is a key, also if another process made one just now.
    pub fn mint_first(&self, path: &Path, grant: &Grant) -> Result<Option<Minted>> {
        let Some(file) = &self.file else { return Ok(None) };
        let (minted, stored) = self.make(grant);
        let text = format!("{}\n", minted.key.expose());
        let made = file.first(path, text.as_bytes(), stored)?;
        self.reload()?;
        Ok(made.then_some(minted))
    }

    /// A fresh key and what is kept of it.
    fn make(&self, grant: &Grant) -> (Minted, Stored) {
        let id = random_text(LOWER, ID_LENGTH);
        let key = format!("bz_{id}_{}", random_text(MIXED, KEY_LENGTH));
        let stored = Stored {
            id: id.clone(),
            hash: hex(&self.hash(&key)),
            name: grant.name.clone(),
            owner: Some(grant.owner.clone()),
            scopes: grant.scopes.clone(),
            roles: grant.roles.clone(),
            tenant: grant.tenant.clone(),
            may_approve: grant.may_approve,
            created: self.clock.wall().as_secs(),
            expires: grant.expires.map(|at| at.as_secs()),
            from: grant.from.clone(),
            certificate: grant.certificate.clone(),
        };
        (Minted { id, key: Secret::new(key) }, stored)
    }

    /// The ids of the keys that are accepted now.
    pub fn ids(&self) -> BTreeSet<String> {
        self.known.load().keys().cloned().collect()
    }

    /// The ids that were [taken back](Self::revoke) here, ever; nothing else that befalls the file is in it.
    pub fn revoked(&self) -> Result<BTreeSet<String>> {
        self.file.as_ref().map_or_else(|| Ok(BTreeSet::new()), KeyFile::revoked)
    }

    /// Takes a key back; false when there is none of that id.
    pub fn revoke(&self, id: &str) -> Result<bool> {
        if let Some(file) = &self.file {
            let outcome = file.revoke(id)?;
            self.reload()?;
            return Ok(outcome);
        }
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.id != id);
            Ok(keys.len() < before)
        })
    }

    /// Changes the keys, in the file if there is one.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Stored>) -> Result<T>) -> Result<T> {
        if let Some(file) = &self.file {
            let outcome = file.change(change)?;
            self.reload()?;
            return Ok(outcome);
        }
        let _turn = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<Stored> = self.known.load().values().map(stored).collect();
        let outcome = change(&mut keys)?;
        self.take(keys)?;
        Ok(outcome)
    }

    /// Reads the file again.
    pub fn reload(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = file.stamp();
        self.take(file.load()?)?;
        *seen = stamp;
        Ok(())
    }

    /// These keys, and no other, from now on; what was counted of them stays.
    fn take(&self, keys: Vec<Stored>) -> Result<()> {
        let before = self.known.load();
        let mut all = HashMap::new();
        for stored in keys {
            let counter = before.get(&stored.id).map(|known| known.counter.clone()).unwrap_or_default();
            let known = known(stored, counter)?;
            all.insert(known.about.id.clone(), known);
        }
        self.known.store(Arc::new(all));
        Ok(())
    }

    /// Looks at most once a second whether the file is another one. A file that cannot be read changes nothing: the
    /// keys that are known stay known, and the log says so.
    fn refresh(&self) {
        let second = self.clock.monotonic().as_secs() + 1;
        if self.file.is_none() || self.looked.load(Ordering::Relaxed) == second {
            return;
        }
        self.looked.store(second, Ordering::Relaxed);
        self.look();
    }

    fn look(&self) {
        let Some(file) = &self.file else { return };
        let changed = file.stamp() != *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if changed && let Err(error) = self.reload() {
            tracing::warn!(
                kind = error.kind().name(),
                "the key file changed and cannot be read; the old keys stay"
            );
        }
    }

    /// The principal of a key that comes from an address, over a connection that was opened with a certificate or not.
    pub fn verify(
        &self,
        key: &str,
        address: IpAddr,
        certificate: Option<&Certificate>,
    ) -> Result<Arc<Principal>, Refusal> {
        self.refresh();
        let id = public_id(key).unwrap_or_default();
        let mut known = self.known.load();
        if !known.contains_key(id) {
            // issued a moment ago, perhaps
            self.look();
            known = self.known.load();
        }
        let found = known.get(id);
        // The same work whether or not the id exists.
        let hash = self.hash(key);
        let expected = found.map_or(&[0; 32], |found| &found.hash);
        let same = bool::from(hash.ct_eq(expected));
        let Some(found) = found else { return Err(Refusal::refused("unknown key")) };
        let (grant, now) = (&found.about.grant, self.clock.wall());
        let refused = match () {
            () if !same => Some("unknown key"),
            () if grant.owner.is_empty() => Some("key without an owner"),
            () if grant.expires.is_some_and(|at| now >= at) => Some("expired key"),
            () if !grant.is_from(address) => Some("key used from an address it is not for"),
            () if !comes_with(grant, certificate) => Some("key without its certificate"),
            () => None,
        };
        if let Some(what) = refused {
            found.counter.refused();
            return Err(Refusal::refused(what));
        }
        found.counter.opened(now);
        Ok(found.principal.clone())
    }

    fn hash(&self, key: &str) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl Authenticator for KeyStore {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a> {
        let certificate = presented.certificate.map(AsRef::as_ref);
        let key = bearer(presented.headers);
        Verdict::Now(key.and_then(|key| self.verify(key, presented.address, certificate)))
    }

    /// The key has to be there, be the same, grant the same, and not have ended.
    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        let id = bearer(presented.headers).ok().and_then(public_id).unwrap_or_default().to_owned();
        let (all, clock) = (Arc::clone(&self.known), Arc::clone(&self.clock));
        let before = all.load().get(&id).cloned();
        Some(Box::new(move || {
            let now = all.load();
            before.as_ref().zip(now.get(&id)).is_some_and(|(before, now)| {
                let ended = now.about.grant.expires.is_some_and(|at| clock.wall() >= at);
                let (was, is) = (&before.about.grant, &now.about.grant);
                let alike = before.principal == now.principal
                    && (&was.from, &was.certificate) == (&is.from, &is.certificate);
                before.hash == now.hash && alike && !ended
            })
        }))
    }

    fn refresh(&self) {
        self.look();
    }
}

/// The part of a key that may be known.
fn public_id(key: &str) -> Option<&str> {
    key.strip_prefix("bz_").and_then(|rest| rest.split_once('_')).map(|(id, _)| id)
}

/// The one bearer credential of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Refusal::missing()) };
    if values.next().is_some() {
        return Err(Refusal::refused("more than one Authorization"));
    }
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| Refusal::refused("Authorization is not a bearer key"))
}

/// Whether a key comes with the certificate it is bound to, if it is.
fn comes_with(grant: &Grant, certificate: Option<&Certificate>) -> bool {
    let same = |bound: &String| certificate.is_some_and(|shown| *shown.thumbprint == **bound);
    grant.certificate.as_ref().is_none_or(same)
}

fn no_such_key() -> Error {
    Error::new(Kind::BadArguments, "There is no key of that id; `bartizan key list` shows them.")
}

/// Sessions, quotas and policies know a caller by its name, so a name is one owner's, in one tenant.
fn may_join(keys: &[Stored], stored: &Stored) -> Result<()> {
    let same = keys.iter().find(|key| key.name == stored.name);
    match same {
        Some(key) if key.tenant != stored.tenant => Err(Error::new(
            Kind::BadConfig,
            "There is a key of this name for another tenant; give this one a name of its own.",
        )),
        Some(key) if key.owner != stored.owner => Err(Error::new(
            Kind::BadConfig,
            "There is a key of this name with another owner; a name is one owner's, so give this key another (--name).",
        )),
        _ => Ok(()),
    }
}

fn known(stored: Stored, counter: Arc<Counter>) -> Result<Known> {
    let hash = unhex(&stored.hash).ok_or_else(|| {
        Error::new(Kind::BadConfig, "A key in keys.json has a damaged hash; revoke it and mint another.")
    })?;
    let grant = Grant {
        name: stored.name,
        owner: stored.owner.unwrap_or_default(),
        scopes: stored.scopes,
        roles: stored.roles,
        tenant: stored.tenant,
        may_approve: stored.may_approve,
        expires: stored.expires.map(Duration::from_secs),
        from: stored.from,
        certificate: stored.certificate,
    };
    let principal = Arc::new(Principal {
        scopes: grant.scopes.clone(),
        roles: grant.roles.clone(),
        tenant: grant.tenant.clone(),
        owner: Some(Arc::from(&*grant.owner)),
        bearer: Some(Arc::from(&*stored.id)),
        may_approve: grant.may_approve,
        ..Principal::new(format!("key:{}", grant.name), PrincipalKind::ApiKey)
    });
    let created = Duration::from_secs(stored.created);
    let about = About { id: stored.id, grant, created, used: Used::default() };
    Ok(Known { hash, principal, about, counter })
}

fn stored(known: &Known) -> Stored {
    let About { id, grant, created, .. } = known.about.clone();
    Stored {
        id,
        hash: hex(&known.hash),
        name: grant.name,
        owner: Some(grant.owner),
        scopes: grant.scopes,
        roles: grant.roles,
        tenant: grant.tenant,
        may_approve: grant.may_approve,
        created: created.as_secs(),
        expires: grant.expires.map(|at| at.as_secs()),
        from: grant.from,
        certificate: grant.certificate,
    }
}

fn random_text(letters: &[u8], length: usize) -> String {
    let usable = 256 / letters.len() * letters.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in rand::random::<[u8; 32]>() {
            let byte = usize::from(byte);
            if byte < usable && text.len() < length {
                text.push(char::from(letters[byte % letters.len()]));
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
