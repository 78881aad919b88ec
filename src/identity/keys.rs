//! API keys.
//!
//! Owns [`KeyStore`]. The idea: a key is 256 random bits, so one keyed hash is all that is needed to keep it; the store
//! holds hashes, finds a key by its public id and compares in constant time, without a lock or a file on the way of a
//! request.
//!
//! Must not: keep, log or show a key after it was minted.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::file::{KeyFile, Stored};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::principal::{Principal, PrincipalKind};
use crate::secret::Secret;
use crate::transport::auth::{Authenticator, Lease, Presented, Refusal, Verdict};

const ID_LENGTH: usize = 8;
/// 43 letters of 62: 256 bits.
const KEY_LENGTH: usize = 43;
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What a key grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name; the principal is `key:NAME`.
    pub name: String,
    /// Who the key was given to.
    pub owner: Option<String>,
    /// Scopes, such as `read`, `write`, `admin`.
    pub scopes: BTreeSet<String>,
    /// Roles that policies may name.
    pub roles: BTreeSet<String>,
    /// The tenant, where there are several.
    pub tenant: Option<String>,
    /// Whether this key's own client may answer approval questions.
    pub may_approve: bool,
    /// When the key ends, since the epoch; nothing means never.
    pub expires: Option<Duration>,
}

impl Grant {
    /// All three scopes, no approval, no end.
    pub fn named(name: impl Into<String>) -> Self {
        let scopes = ["read", "write", "admin"].into_iter().map(String::from).collect();
        Self {
            name: name.into(),
            owner: None,
            scopes,
            roles: BTreeSet::new(),
            tenant: None,
            may_approve: false,
            expires: None,
        }
    }
}

/// A new key: the only time it can be seen.
#[derive(Debug, Clone)]
pub struct Minted {
    /// Its public id.
    pub id: String,
    /// The key itself, as it goes behind `Authorization: Bearer`.
    pub key: Secret,
}

/// What may be told of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its public id.
    pub id: String,
    /// What it grants.
    pub grant: Grant,
    /// When it was minted, since the epoch.
    pub created: Duration,
}

struct Known {
    hash: [u8; 32],
    principal: Arc<Principal>,
    about: About,
}

/// The keys this server accepts.
pub struct KeyStore {
    known: Arc<ArcSwap<HashMap<String, Known>>>,
    file: Option<KeyFile>,
    seen: Mutex<Option<(SystemTime, u64)>>,
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

    /// Every key, by id.
    pub fn list(&self) -> Vec<About> {
        let mut all: Vec<About> = self.known.load().values().map(|known| known.about.clone()).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Makes a key. What is returned cannot be had again.
    pub fn mint(&self, grant: &Grant) -> Result<Minted> {
        let (minted, stored) = self.make(grant);
        // sessions, quotas and policies know a caller by its name
        let taken = || {
            let said = "There is a key of this name for another tenant; give this one a name of its own.";
            Error::new(Kind::BadConfig, said)
        };
        if let Some(file) = &self.file {
            let kept = file.change(|keys| {
                let taken = keys.iter().any(|key| key.name == stored.name && key.tenant != stored.tenant);
                if !taken {
                    keys.push(stored);
                }
                !taken
            })?;
            if !kept {
                return Err(taken());
            }
            self.reload()?;
        } else if self
            .list()
            .iter()
            .any(|key| key.grant.name == grant.name && key.grant.tenant != grant.tenant)
        {
            return Err(taken());
        } else {
            let fresh = known(stored)?;
            self.change_in_memory(|keys| drop(keys.insert(fresh.about.id.clone(), clone_of(&fresh))));
        }
        Ok(minted)
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
            owner: grant.owner.clone(),
            scopes: grant.scopes.clone(),
            roles: grant.roles.clone(),
            tenant: grant.tenant.clone(),
            may_approve: grant.may_approve,
            created: self.clock.wall().as_secs(),
            expires: grant.expires.map(|at| at.as_secs()),
        };
        (Minted { id, key: Secret::new(key) }, stored)
    }

    /// Takes a key back; false when there is none of that id.
    pub fn revoke(&self, id: &str) -> Result<bool> {
        if let Some(file) = &self.file {
            let found = file.change(|keys| {
                let before = keys.len();
                keys.retain(|key| key.id != id);
                keys.len() < before
            })?;
            self.reload()?;
            return Ok(found);
        }
        let found = self.known.load().contains_key(id);
        self.change_in_memory(|keys| drop(keys.remove(id)));
        Ok(found)
    }

    /// Reads the file again.
    pub fn reload(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stamp = file.stamp();
        let mut all = HashMap::new();
        for stored in file.load()? {
            let known = known(stored)?;
            all.insert(known.about.id.clone(), known);
        }
        *seen = stamp;
        self.known.store(Arc::new(all));
        Ok(())
    }

    fn change_in_memory(&self, change: impl Fn(&mut HashMap<String, Known>)) {
        self.known.rcu(|known| {
            let mut all: HashMap<String, Known> =
                known.iter().map(|(id, known)| (id.clone(), clone_of(known))).collect();
            change(&mut all);
            all
        });
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
        let changed = file.stamp() != *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if changed && let Err(error) = self.reload() {
            tracing::warn!(
                kind = error.kind().name(),
                "the key file changed and cannot be read; the old keys stay"
            );
        }
    }

    /// The principal of a key.
    pub fn verify(&self, key: &str) -> Result<Arc<Principal>, Refusal> {
        self.refresh();
        let known = self.known.load();
        let found = public_id(key).and_then(|id| known.get(id));
        // The same work whether or not the id exists.
        let hash = self.hash(key);
        let expected = found.map_or(&[0; 32], |found| &found.hash);
        let same = bool::from(hash.ct_eq(expected));
        let Some(found) = found.filter(|_| same) else { return Err(Refusal::refused("unknown key")) };
        if found.about.grant.expires.is_some_and(|at| self.clock.wall() >= at) {
            return Err(Refusal::refused("expired key"));
        }
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
        Verdict::Now(bearer(presented.headers).and_then(|key| self.verify(key)))
    }

    /// The key has to be there, be the same, grant the same, and not have ended.
    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        let id = bearer(presented.headers).ok().and_then(public_id).unwrap_or_default().to_owned();
        let (all, clock) = (Arc::clone(&self.known), Arc::clone(&self.clock));
        let before = all.load().get(&id).map(clone_of);
        Some(Box::new(move || {
            let now = all.load();
            before.as_ref().zip(now.get(&id)).is_some_and(|(before, now)| {
                let ended = now.about.grant.expires.is_some_and(|at| clock.wall() >= at);
                before.hash == now.hash && before.about.grant == now.about.grant && !ended
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
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
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

fn known(stored: Stored) -> Result<Known> {
    let hash = unhex(&stored.hash).ok_or_else(|| {
        Error::new(Kind::BadConfig, "A key in keys.json has a damaged hash; revoke it and mint another.")
    })?;
    let grant = Grant {
        name: stored.name,
        owner: stored.owner,
        scopes: stored.scopes,
        roles: stored.roles,
        tenant: stored.tenant,
        may_approve: stored.may_approve,
        expires: stored.expires.map(Duration::from_secs),
    };
    let principal = Arc::new(Principal {
        scopes: grant.scopes.clone(),
        roles: grant.roles.clone(),
        tenant: grant.tenant.clone(),
        owner: grant.owner.as_deref().map(Arc::from),
        bearer: Some(Arc::from(&*stored.id)),
        may_approve: grant.may_approve,
        ..Principal::new(format!("key:{}", grant.name), PrincipalKind::ApiKey)
    });
    let about = About { id: stored.id, grant, created: Duration::from_secs(stored.created) };
    Ok(Known { hash, principal, about })
}

fn clone_of(known: &Known) -> Known {
    Known { hash: known.hash, principal: known.principal.clone(), about: known.about.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn clock() -> Arc<ManualClock> {
        ManualClock::at(Duration::from_secs(1_000_000))
    }

    #[test]
    fn a_minted_key_is_known_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let store = KeyStore::open(folder.path(), clock.clone()).unwrap();
        let minted = store.mint(&Grant { may_approve: true, ..Grant::named("ci") }).unwrap();
        let key = minted.key.expose().to_owned();
        assert!(key.starts_with("bz_") && key.len() == 3 + ID_LENGTH + 1 + KEY_LENGTH);
        let principal = store.verify(&key).unwrap();
        assert_eq!((&*principal.id, principal.may_approve), ("key:ci", true));

        let text = std::fs::read_to_string(folder.path().join("keys.json")).unwrap();
        assert!(!text.contains(&key[12..]), "the key itself is not kept");

        // Another process revokes it: noticed a second later.
        let other = KeyStore::open(folder.path(), clock.clone()).unwrap();
        assert!(other.verify(&key).is_ok());
        assert!(other.revoke(&minted.id).unwrap() && !other.revoke(&minted.id).unwrap());
        clock.advance(Duration::from_secs(1));
        assert_eq!(store.verify(&key).unwrap_err().what, "unknown key");
    }

    #[test]
    fn keys_that_are_not_quite_right_are_refused() {
        let clock = clock();
        let store = KeyStore::in_memory(clock.clone()).unwrap();
        let until = Some(Duration::from_secs(1_000_060));
        let key = store.mint(&Grant { expires: until, ..Grant::named("x") }).unwrap().key;
        let key = key.expose();
        for wrong in
            ["", "bz_", "bz__", "bz_nobody00_x", &key[..key.len() - 1], &format!("{key}x"), &key[3..]]
        {
            assert!(store.verify(wrong).is_err(), "{wrong}");
        }
        assert!(store.verify(key).is_ok());
        clock.advance(Duration::from_mins(1));
        assert_eq!(store.verify(key).unwrap_err().what, "expired key");
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_others_files_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path(), clock()).unwrap();
        let path = folder.path().join("first.key");
        let minted = store.mint_first(&path, &Grant::named("first")).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose());
        for name in ["first.key", "keys.json", "keys.pepper", "keys.lock"] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(store.mint_first(&path, &Grant::named("second")).unwrap().is_none(), "there is one");
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose(), "never overwritten");
        assert_eq!(store.list().len(), 1);
        let keys = folder.path().join("keys.json");
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = KeyStore::open(folder.path(), clock()).map(|_| ()).unwrap_err();
        assert!(error.message().contains("chmod 600"), "{error}");
    }

    #[test]
    fn of_many_first_starts_one_mints_and_what_a_crash_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.key");
        std::fs::write(&path, b"").unwrap();
        let stores: Vec<_> = (0..8).map(|_| KeyStore::open(folder.path(), clock()).unwrap()).collect();
        let minted: Vec<Minted> = std::thread::scope(|scope| {
            let all: Vec<_> = stores
                .iter()
                .map(|store| scope.spawn(|| store.mint_first(&path, &Grant::named("local")).unwrap()))
                .collect();
            all.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        let [minted] = minted.as_slice() else { panic!("{} keys", minted.len()) };
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose());
        assert!(stores.iter().all(|store| store.verify(minted.key.expose()).is_ok()));

        // With all keys taken back there is none, and the next start makes one.
        assert!(stores[0].revoke(&minted.id).unwrap());
        let second = stores[0].mint_first(&path, &Grant::named("local")).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), second.key.expose());
    }

    #[test]
    fn a_key_is_recognised_wherever_it_turns_up() {
        let redactor = crate::redaction::Redactor::new(&crate::redaction::Config::default()).unwrap();
        let store = KeyStore::in_memory(clock()).unwrap();
        for _ in 0..200 {
            let key = store.mint(&Grant::named("x")).unwrap().key;
            let key = key.expose();
            for text in [format!("it says {key}."), format!("[\"{key}\"]"), format!("x={key}&y=1")] {
                assert!(!redactor.text(&text).contains(&key[12..]), "{text}");
            }
        }
    }

    #[test]
    fn one_bearer_and_nothing_else() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(with(&["Bearer abc"]).unwrap(), "abc");
        assert_eq!(with(&["bearer  abc "]).unwrap(), "abc");
        assert!(!with(&[]).unwrap_err().presented);
        for wrong in [&["Basic abc"][..], &["Bearer"], &["Bearer a", "Bearer a"]] {
            assert!(with(wrong).unwrap_err().presented);
        }
    }
}
