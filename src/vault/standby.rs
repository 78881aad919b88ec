//! A second credential that stands ready.
//!
//! Owns [`Standby`] (`[secrets.standby.NAME]`) and [`Switch`], the file that says which of them are in use. The idea: a
//! standby names, for each reference of the first credential, the one that is read in its place once an operator has
//! said so; nothing else turns the switch, so a credential that an upstream refuses is never answered by trying another.
//! Every process of a state directory sees the file.
//!
//! Must not: switch by itself, or read a secret.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Reference, is_label};
use crate::error::{Error, Kind, Result};
use crate::state::{Stamp, StateDir};

/// The file.
const FILE: &str = "standby.json";

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    version: u8,
    /// Which are in use, by name.
    on: BTreeMap<String, Turned>,
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
        let Some(bytes) = self.0.read(FILE)? else { return Ok(BTreeMap::new()) };
        let damaged = || {
            let path = self.0.file(FILE);
            Error::new(
                Kind::BadConfig,
                format!(
                    "{} is damaged, so nobody knows which credential is in use; remove it, and say it again with \
                     `bartizan credential switch`.",
                    path.display()
                ),
            )
        };
        let sheet: Sheet = serde_json::from_slice(&bytes).map_err(|cause| damaged().with_source(cause))?;
        if sheet.version == 1 { Ok(sheet.on) } else { Err(damaged()) }
    }

    /// Puts the second credential of that name into use, or (with none) the first one. False if it was so already.
    pub fn turn(&self, name: &str, turned: Option<Turned>) -> Result<bool> {
        let _turn = self.0.lock("standby")?;
        let mut on = self.on()?;
        let changes = on.contains_key(name) != turned.is_some();
        if changes {
            match turned {
                Some(turned) => on.insert(name.to_owned(), turned),
                None => on.remove(name),
            };
            let bytes = serde_json::to_vec_pretty(&Sheet { version: 1, on }).map_err(|cause| {
                Error::new(Kind::Internal, "Which credential is in use could not be written down.")
                    .with_source(cause)
            })?;
            self.0.write(FILE, &bytes)?;
        }
        Ok(changes)
    }

    fn stamp(&self) -> Option<Stamp> {
        Stamp::at(&self.0.file(FILE))
    }
}

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
    /// What the file looked like when it was read.
    seen: Mutex<Option<Stamp>>,
    /// What is read in place of what, now.
    instead: ArcSwap<HashMap<Reference, Reference>>,
    /// Counts how often that changed.
    turns: AtomicU64,
}

impl Standing {
    /// Those of a configuration, as the switch stands now.
    pub(super) fn open(all: &BTreeMap<String, Standby>, state: &StateDir) -> Result<Self> {
        let switch = Switch::new(state);
        let (seen, on) = (switch.stamp(), switch.on()?);
        let instead = ArcSwap::from_pointee(chosen(all, &on));
        Ok(Self { switch, all: all.clone(), seen: Mutex::new(seen), instead, turns: AtomicU64::new(0) })
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

    /// Looks at the file. True if something else is in use than before. What cannot be read changes nothing.
    pub(super) fn look(&self) -> Result<bool> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.switch.stamp();
        if *seen == stamp {
            return Ok(false);
        }
        *seen = stamp;
        let fresh = chosen(&self.all, &self.switch.on()?);
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
        // what cannot be read leaves things as they are, and is refused at the next start
        std::fs::write(state.file(FILE), "{").unwrap();
        assert!(standing.look().is_err() && standing.instead(&first).is_none());
        assert!(Standing::open(&all, &state).is_err());
    }
}
