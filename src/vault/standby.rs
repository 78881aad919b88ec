//! A second credential that stands ready.
//!
//! Owns [`Standby`] (`[secrets.standby.NAME]`) and [`Switch`], the file that says which of them are in use. The idea: a
//! standby names, for each reference of the first credential, the one that is read in its place once an operator has
//! said so; nothing else turns the switch, so a credential that an upstream refuses is never answered by trying another.
//! Every process of a state directory sees the file. It has a copy beside it, both bear the mark of a key that the first
//! turn makes, and of the two the later turn counts: what was lost, put back or written by somebody else turns nothing.
//!
//! Must not: switch by itself, or read a secret.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Reference, is_label};
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::json::{canonical, json};
use crate::state::{Stamp, StateDir};

/// The file.
const FILE: &str = "standby.json";
/// Its copy.
const KEPT: &str = "standby.kept.json";
/// What tells a file of ours; there from the first turn on, so that a loss of both files is seen.
const KEY: &str = "standby.key";

/// One second credential.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Standby {
    /// What is read in place of what: each reference of the credential, and the one that stands ready for it.
    pub replace: IndexMap<Reference, Reference>,
}

/// That a second credential is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turned {
    /// Since when, in seconds of the epoch.
    pub since: u64,
    /// Who said so, by their own account or as an operator.
    pub by: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    version: u8,
    /// Which turn this is: later ones have higher numbers.
    turn: u64,
    /// Which are in use, by name.
    on: BTreeMap<String, Turned>,
    /// What only who knows the key can write.
    mark: String,
}

impl Sheet {
    fn mac(&self, key: &[u8]) -> Option<Hmac<Sha256>> {
        let body = json!({"version": self.version, "turn": self.turn, "on": self.on});
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(b"bartizan standby\n");
        mac.update(canonical(&body).as_bytes());
        Some(mac)
    }

    /// A sheet of ours, or none.
    fn read(bytes: &[u8], key: &[u8]) -> Option<Self> {
        let sheet: Self = serde_json::from_slice(bytes).ok()?;
        let mark = HEXLOWER.decode(sheet.mark.as_bytes()).ok()?;
        let ours = sheet.version == 1 && sheet.mac(key)?.verify_slice(&mark).is_ok();
        ours.then_some(sheet)
    }
}

/// Which second credentials of a state directory are in use.
#[derive(Clone)]
pub struct Switch(StateDir);

impl Switch {
    /// The switch of a state directory.
    pub fn new(state: &StateDir) -> Self {
        Self(state.clone())
    }

    /// Which are in use, by name.
    pub fn on(&self) -> Result<BTreeMap<String, Turned>> {
        self.sheet().map(|sheet| sheet.on)
    }

    /// The last turn. One of the two files is enough; neither of them is no turn only where there never was one.
    fn sheet(&self) -> Result<Sheet> {
        let found = [self.0.read(FILE)?, self.0.read(KEPT)?];
        let key = self.0.read(KEY)?;
        if key.is_none() && found.iter().all(Option::is_none) {
            return Ok(Sheet::default());
        }
        let key = key.unwrap_or_default();
        let sheets = found.iter().flatten().filter_map(|bytes| Sheet::read(bytes, &key));
        sheets.max_by_key(|sheet| sheet.turn).ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                format!(
                    "{} and its copy {KEPT} are lost, damaged or not written by bartizan, so nobody knows which credential \
                     is in use; remove both and {KEY}, and say it again with `bartizan credential switch`.",
                    self.0.file(FILE).display()
                ),
            )
        })
    }

    /// Puts the second credential of that name into use, or (with none) the first one. False if it was so already.
    pub fn turn(&self, name: &str, turned: Option<Turned>) -> Result<bool> {
        let _turn = self.0.lock("standby")?;
        let mut sheet = self.sheet()?;
        let changes = sheet.on.contains_key(name) != turned.is_some();
        if changes {
            match turned {
                Some(turned) => sheet.on.insert(name.to_owned(), turned),
                None => sheet.on.remove(name),
            };
            let failed =
                || Error::new(Kind::Internal, "Which credential is in use could not be written down.");
            let key = self.0.key(KEY)?;
            // a count that goes on where somebody has removed all there was
            let now = u64::try_from(SystemClock::shared().wall().as_millis()).unwrap_or_default();
            (sheet.version, sheet.turn) = (1, now.max(sheet.turn.saturating_add(1)));
            let mac = sheet.mac(&key).ok_or_else(failed)?;
            sheet.mark = HEXLOWER.encode(&mac.finalize().into_bytes());
            let bytes = serde_json::to_vec_pretty(&sheet).map_err(|cause| failed().with_source(cause))?;
            self.0.write(FILE, &bytes)?;
            self.0.write(KEPT, &bytes)?;
        }
        Ok(changes)
    }

    fn stamps(&self) -> Stamps {
        [FILE, KEPT].map(|name| Stamp::at(&self.0.file(name)))
    }
}

/// What the file and its copy look like.
type Stamps = [Option<Stamp>; 2];

/// Refuses what cannot be meant.
pub(super) fn check(all: &BTreeMap<String, Standby>) -> Result<()> {
    let wrong = |name: &str, what: &str| {
        Err(Error::new(Kind::BadConfig, format!("[secrets.standby.{name}]: {what}.")))
    };
    let mut firsts: HashMap<&Reference, &str> = HashMap::new();
    for (name, one) in all {
        if !is_label(name) {
            return Err(Error::new(
                Kind::BadConfig,
                "[secrets.standby]: a name is made of letters, digits, - and _.",
            ));
        }
        if one.replace.is_empty() {
            return wrong(
                name,
                "`replace` says what is read in place of what, such as { \"env:TOKEN\" = \"env:TOKEN_2\" }",
            );
        }
        for first in one.replace.keys() {
            if let Some(other) = firsts.insert(first, name) {
                return wrong(name, &format!("{first} is replaced by [secrets.standby.{other}], too"));
            }
        }
    }
    for (name, one) in all {
        if let Some(second) = one.replace.values().find(|second| firsts.contains_key(second)) {
            return wrong(name, &format!("{second} is itself replaced, so nobody could tell which is read"));
        }
    }
    Ok(())
}

/// What a keeper knows of its second credentials.
pub(super) struct Standing {
    switch: Switch,
    all: BTreeMap<String, Standby>,
    seen: Mutex<Seen>,
    /// What is read in place of what, now.
    instead: ArcSwap<HashMap<Reference, Reference>>,
    /// Counts how often that changed.
    turns: AtomicU64,
}

/// What was read last.
struct Seen {
    stamps: Stamps,
    turn: u64,
    /// What the files looked like when somebody heard that they cannot be used.
    told: Option<Stamps>,
}

impl Standing {
    /// Those of a configuration, as the switch stands now.
    pub(super) fn open(all: &BTreeMap<String, Standby>, state: &StateDir) -> Result<Self> {
        let switch = Switch::new(state);
        let (stamps, sheet) = (switch.stamps(), switch.sheet()?);
        let instead = ArcSwap::from_pointee(chosen(all, &sheet.on));
        let seen = Mutex::new(Seen { stamps, turn: sheet.turn, told: None });
        Ok(Self { switch, all: all.clone(), seen, instead, turns: AtomicU64::new(0) })
    }

    /// Both sides of every pair.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&Reference, &Reference)> {
        self.all.values().flat_map(|one| &one.replace)
    }

    /// What is read in place of that reference, if anything is.
    pub(super) fn instead(&self, reference: &Reference) -> Option<Reference> {
        self.instead.load().get(reference).cloned()
    }

    /// Whether that reference has a second one; how often the switch was turned.
    pub(super) fn turns(&self, reference: &Reference) -> Option<u64> {
        let known = self.all.values().any(|one| one.replace.contains_key(reference));
        known.then(|| self.turns.load(Ordering::Acquire))
    }

    /// The names of those that are in use.
    pub(super) fn names(&self) -> Vec<String> {
        let instead = self.instead.load();
        let used = |one: &Standby| one.replace.keys().any(|first| instead.contains_key(first));
        self.all.iter().filter(|(_, one)| used(one)).map(|(name, _)| name.clone()).collect()
    }

    /// Looks at the files. True if something else is in use than before. What cannot be read, or is older than what was
    /// read before, changes nothing; it is an error once, and is looked at again until it can be used.
    pub(super) fn look(&self) -> Result<bool> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = self.switch.stamps();
        if seen.stamps == stamps {
            return Ok(false);
        }
        let sheet = self.switch.sheet().and_then(|sheet| {
            let older =
                "what says which credential is in use was removed, or is older than what was read before";
            if sheet.turn < seen.turn { Err(Error::new(Kind::BadConfig, older)) } else { Ok(sheet) }
        });
        let sheet = match sheet {
            Ok(sheet) => sheet,
            Err(_) if seen.told == Some(stamps) => return Ok(false),
            Err(error) => {
                seen.told = Some(stamps);
                return Err(error);
            }
        };
        *seen = Seen { stamps, turn: sheet.turn, told: None };
        let fresh = chosen(&self.all, &sheet.on);
        if **self.instead.load() == fresh {
            return Ok(false);
        }
        self.instead.store(Arc::new(fresh));
        self.turns.fetch_add(1, Ordering::AcqRel);
        Ok(true)
    }
}

/// What is read in place of what, if these are in use.
fn chosen(all: &BTreeMap<String, Standby>, on: &BTreeMap<String, Turned>) -> HashMap<Reference, Reference> {
    let used = all.iter().filter(|(name, _)| on.contains_key(*name));
    used.flat_map(|(_, one)| one.replace.iter().map(|(first, second)| (first.clone(), second.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> BTreeMap<String, Standby> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check(&config("[a]\nreplace = { 'env:A' = 'env:B', 'env:C' = 'env:D' }")).unwrap();
        for (text, said) in [
            ("[a]", "`replace`"),
            ("['a b']\nreplace = { 'env:A' = 'env:B' }", "letters"),
            ("[a]\nreplace = { 'env:A' = 'env:B' }\n[b]\nreplace = { 'env:A' = 'env:C' }", "too"),
            ("[a]\nreplace = { 'env:A' = 'env:B' }\n[b]\nreplace = { 'env:B' = 'env:C' }", "itself"),
            ("[a]\nreplace = { 'env:A' = 'env:A' }", "itself"),
        ] {
            let error = check(&config(text)).unwrap_err();
            assert!(error.message().contains(said), "{text}: {error}");
        }
        let literal = toml::from_str::<BTreeMap<String, Standby>>("[a]\nreplace = { 'env:A' = 'hunter2' }");
        assert!(literal.is_err(), "a literal secret");
    }

    #[test]
    fn the_switch_is_turned_by_word_alone_and_seen_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        let all = config("[a]\nreplace = { 'env:A' = 'env:B' }");
        let [first, second] = ["env:A", "env:B"].map(|text| Reference::parse(text).unwrap());
        let standing = Standing::open(&all, &state).unwrap();
        let switch = Switch::new(&state);
        assert!(!standing.look().unwrap() && standing.instead(&first).is_none());
        let turned = Turned { since: 7, by: String::from("ann") };
        assert!(switch.turn("a", Some(turned.clone())).unwrap());
        assert!(!switch.turn("a", Some(turned)).unwrap(), "it was so already");
        assert!(standing.look().unwrap());
        assert_eq!((standing.instead(&first), standing.turns(&first)), (Some(second.clone()), Some(1)));
        assert_eq!((standing.instead(&second), standing.turns(&second)), (None, None));
        assert_eq!(
            Standing::open(&all, &state).unwrap().instead(&first),
            Some(second),
            "after a restart, too"
        );
        assert!(switch.turn("a", None).unwrap() && standing.look().unwrap());
        assert_eq!(standing.instead(&first), None);
    }

    #[test]
    fn what_is_lost_or_written_by_others_turns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        let all = config("[a]\nreplace = { 'env:A' = 'env:B' }");
        let [first, second] = ["env:A", "env:B"].map(|text| Reference::parse(text).unwrap());
        let switch = Switch::new(&state);
        let turned = || Some(Turned { since: 7, by: String::from("ann") });
        switch.turn("a", turned()).unwrap();
        let old = state.read(FILE).unwrap().unwrap();
        switch.turn("a", None).unwrap();
        switch.turn("a", turned()).unwrap();
        let new = state.read(FILE).unwrap().unwrap();
        let standing = Standing::open(&all, &state).unwrap();
        let forged = String::from_utf8(new.clone()).unwrap().replace("ann", "eve").into_bytes();
        // one of the two is enough, also for who begins now
        for bytes in
            [None, Some(b"{".to_vec()), Some(b"{\"version\":1,\"on\":{}}".to_vec()), Some(old), Some(forged)]
        {
            for name in [FILE, KEPT] {
                match &bytes {
                    Some(bytes) => state.write(name, bytes).unwrap(),
                    None => state.remove(name).unwrap(),
                }
                assert!(!standing.look().unwrap(), "the other one says it");
                assert_eq!(Standing::open(&all, &state).unwrap().instead(&first), Some(second.clone()));
                state.write(name, &new).unwrap();
                assert!(!standing.look().unwrap());
            }
        }
        // without both, whoever runs goes on, hears of it once, and nobody begins
        let both = |bytes: Option<&[u8]>| {
            for name in [FILE, KEPT] {
                bytes.map_or_else(|| state.remove(name), |bytes| state.write(name, bytes)).unwrap();
            }
        };
        for bytes in [None, Some(&b"{"[..])] {
            both(bytes);
            assert!(standing.look().is_err() && !standing.look().unwrap());
            assert_eq!(standing.instead(&first), Some(second.clone()));
            assert!(Standing::open(&all, &state).is_err());
        }
        // what can be read again counts, though nothing of it looks new
        both(Some(&new));
        assert!(!standing.look().unwrap());
        // the way out that the error names; a server that ran on follows the next word
        both(None);
        state.remove(KEY).unwrap();
        assert!(standing.look().is_err() && standing.instead(&first).is_some());
        assert!(switch.turn("a", turned()).unwrap() && !standing.look().unwrap());
        assert!(switch.turn("a", None).unwrap() && standing.look().unwrap());
        assert_eq!(standing.instead(&first), None);
    }
}
