//! What the stand-in holds.
//!
//! Owns [`Store`]: collections by their concrete path, things by their names, single documents. The idea: a
//! collection is seeded when it is first looked at, so a start costs nothing; what was created is counted, so memory
//! is bounded.
//!
//! Must not: know HTTP.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::words;
use crate::json::Value;

/// One thing.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub value: Value,
    /// Grows with each change.
    pub version: u64,
    /// Whether it was there from the start.
    pub seeded: bool,
}

/// Everything that is held.
#[derive(Default)]
pub(super) struct Store {
    collections: HashMap<String, IndexMap<String, Thing>>,
    singles: HashMap<String, Value>,
    created: u64,
    held: usize,
}

impl Store {
    /// The next number for something created; never twice.
    pub(super) fn next(&mut self, path: &str, seed: u64) -> u64 {
        self.created += 1;
        words::mix(words::hash(path, seed) ^ words::mix(self.created))
    }

    /// How many things are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A collection that was looked at before.
    pub(super) fn collection(&self, path: &str) -> Option<&IndexMap<String, Thing>> {
        self.collections.get(path)
    }

    /// Fills a collection for the first time.
    pub(super) fn seed(&mut self, path: &str, things: IndexMap<String, Thing>) {
        self.held += things.len();
        if let Some(old) = self.collections.insert(path.to_owned(), things) {
            self.held -= old.len();
        }
    }

    /// One thing.
    pub(super) fn thing(&self, path: &str, name: &str) -> Option<&Thing> {
        self.collections.get(path)?.get(name)
    }

    /// Puts a thing in, new or changed, and says which version it is.
    pub(super) fn put(&mut self, path: &str, name: &str, value: Value) -> u64 {
        let collection = self.collections.entry(path.to_owned()).or_default();
        if let Some(thing) = collection.get_mut(name) {
            thing.value = value;
            thing.version += 1;
            return thing.version;
        }
        collection.insert(name.to_owned(), Thing { value, version: 1, seeded: false });
        self.held += 1;
        1
    }

    /// Takes a thing out, with everything below it.
    pub(super) fn remove(&mut self, path: &str, name: &str) -> Option<Value> {
        let thing = self.collections.get_mut(path)?.shift_remove(name)?;
        let below = format!("{path}/{name}/");
        let mut gone = 1;
        self.collections.retain(|known, things| {
            let inside = known.starts_with(&below);
            gone += if inside { things.len() } else { 0 };
            !inside
        });
        self.singles.retain(|known, _| {
            let inside = known.starts_with(&below);
            gone += usize::from(inside);
            !inside
        });
        self.held = self.held.saturating_sub(gone);
        Some(thing.value)
    }

    /// A document that stands alone at its path.
    pub(super) fn single(&self, path: &str) -> Option<&Value> {
        self.singles.get(path)
    }

    /// Puts a document at its path.
    pub(super) fn put_single(&mut self, path: &str, value: Value) {
        if self.singles.insert(path.to_owned(), value).is_none() {
            self.held += 1;
        }
    }

    /// Removes the document at a path.
    pub(super) fn remove_single(&mut self, path: &str) {
        if self.singles.remove(path).is_some() {
            self.held = self.held.saturating_sub(1);
        }
    }
}

/// The name of a thing in its path, from the value that carries it.
pub(super) fn key_of(name: &Value) -> String {
    name.as_str().map_or_else(|| name.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    #[test]
    fn removing_a_thing_removes_what_is_below_it_and_counts() {
        let mut store = Store::default();
        store.put("/x", "a", json!(1));
        store.put("/x/a/y", "b", json!(2));
        store.put("/x", "ab", json!(3));
        store.put_single("/x/a/state", json!(4));
        assert_eq!(store.put("/x", "a", json!(5)), 2);
        assert_eq!(store.held(), 4);
        assert_eq!(store.remove("/x", "a"), Some(json!(5)));
        assert!(store.thing("/x/a/y", "b").is_none() && store.single("/x/a/state").is_none());
        assert!(store.thing("/x", "ab").is_some());
        assert_eq!(store.held(), 1);
    }
}
