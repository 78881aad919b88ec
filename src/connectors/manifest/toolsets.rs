//! Parts of a connector that are switched on together.
//!
//! Owns [`Toolset`] and [`Asked`]. The idea: an operation is in the first toolset whose tags or paths fit, or in the one
//! that its `[[operation]]` names; a toolset is called `CONNECTOR.NAME`, so that the connector's name stands for all of
//! them, also in policies. What is not offered unless named is not even built.
//!
//! Must not: know what is offered to whom (`policy` does).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::connectors::document::Operation;

/// A part of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Toolset {
    /// What it is called, after the connector's name and a dot.
    pub name: String,
    /// What is in it, for people.
    pub description: Option<String>,
    /// The tags of the document whose operations are in it.
    pub tags: Vec<String>,
    /// Beginnings of paths, by whole segments, whose operations are in it.
    pub paths: Vec<String>,
    /// Whether it is offered where nobody says which toolsets are.
    pub default: bool,
}

impl Default for Toolset {
    fn default() -> Self {
        Self { name: String::new(), description: None, tags: Vec::new(), paths: Vec::new(), default: true }
    }
}

impl Toolset {
    pub(in crate::connectors) fn holds(&self, operation: &Operation) -> bool {
        self.tags.iter().any(|tag| operation.tags.contains(tag))
            || self.paths.iter().any(|start| beneath(&operation.path, start))
    }
}

/// Whether a path begins with all segments of another.
fn beneath(path: &str, start: &str) -> bool {
    let start = start.trim_end_matches('/');
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Which toolsets are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// Those that are offered unless somebody says which.
    #[default]
    Usual,
    /// These.
    Named(BTreeSet<String>),
}

impl Asked {
    /// What `[offer] toolsets` asks for.
    pub fn of(named: Option<&BTreeSet<String>>) -> Self {
        named.map_or(Self::Usual, |named| Self::Named(named.clone()))
    }

    /// Everything.
    pub fn all() -> Self {
        Self::Named(BTreeSet::from([String::from(crate::policy::ALL)]))
    }
}

impl Manifest {
    /// The toolset of an operation, by its whole name, and whether it is to be built. `own` is what its
    /// `[[operation]]` says.
    pub(in crate::connectors) fn toolset_of(
        &self,
        operation: &Operation,
        own: Option<&str>,
        asked: &Asked,
    ) -> (String, bool) {
        let set = match own {
            Some(own) => self.toolsets.iter().find(|set| set.name == own),
            None => self.toolsets.iter().find(|set| set.holds(operation)),
        };
        let name = match (set, own) {
            (Some(set), _) => self.whole_name(set),
            (None, Some(own)) => own.to_owned(),
            (None, None) => self.name.clone(),
        };
        let wanted = match asked {
            Asked::Usual => set.is_none_or(|set| set.default),
            Asked::Named(named) => {
                set.is_none_or(|set| set.default) || crate::policy::switched_on(named, &name)
            }
        };
        (name, wanted)
    }

    /// What a toolset is called outside of the manifest.
    pub(in crate::connectors) fn whole_name(&self, set: &Toolset) -> String {
        format!("{}.{}", self.name, set.name)
    }

    /// Every toolset that it describes, by its whole name.
    pub fn toolset_names(&self) -> impl Iterator<Item = String> {
        self.toolsets.iter().map(|set| self.whole_name(set))
    }

    pub(super) fn check_toolsets(&self) -> Result<(), &'static str> {
        let legal = |name: &str| {
            (1..=40).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        for (at, set) in self.toolsets.iter().enumerate() {
            if !legal(&set.name) {
                return Err("the `name` of a [[toolset]] must be 1 to 40 of the characters A-Z a-z 0-9 _ -");
            }
            if self.toolsets[..at].iter().any(|other| other.name == set.name) {
                return Err("the same [[toolset]] is there twice");
            }
            if set.paths.iter().any(|path| !path.starts_with('/')) {
                return Err("the `paths` of a [[toolset]] begin with /");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = 'w'\nbase = 'https://a.example'\n\
        [[toolset]]\nname = 'ports'\ntags = ['Ports']\n\
        [[toolset]]\nname = 'rights'\npaths = ['/users', '/roles/']\ndefault = false\n\
        [[operation]]\nid = 'moved'\ntoolset = 'ports'\n[[operation]]\nid = 'alone'\ntoolset = 'other'";

    fn at(id: &str, path: &str, tags: &[&str], asked: &Asked) -> (String, bool) {
        let operation = Operation {
            id: id.into(),
            path: path.into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Operation::default()
        };
        let manifest = Manifest::parse(TEXT, "x").unwrap();
        let own = manifest.about(id).and_then(|opinion| opinion.toolset.as_deref());
        manifest.toolset_of(&operation, own, asked)
    }

    #[test]
    fn tags_paths_and_opinions_say_which_toolset_an_operation_is_in() {
        for (id, path, tags, expected) in [
            ("a", "/ports", &["Other", "Ports"][..], "w.ports"),
            ("a", "/users/{id}", &[], "w.rights"),
            ("a", "/users", &[], "w.rights"),
            ("a", "/roles/x", &[], "w.rights"),
            ("a", "/usersets", &[], "w"),
            ("moved", "/users", &[], "w.ports"),
            ("alone", "/users", &[], "other"),
        ] {
            assert_eq!(at(id, path, tags, &Asked::Usual).0, expected, "{id} {path}");
        }
    }

    #[test]
    fn what_is_not_offered_unless_named_is_built_only_then() {
        let named = |name: &str| Asked::Named(BTreeSet::from([name.to_owned()]));
        for (asked, expected) in [
            (Asked::Usual, false),
            (named("w.ports"), false),
            (named("w.rights"), true),
            (named("w"), true),
            (Asked::all(), true),
        ] {
            assert_eq!(at("a", "/users", &[], &asked).1, expected, "{asked:?}");
        }
    }

    #[test]
    fn toolsets_that_cannot_be_meant_are_refused() {
        for (set, word) in [
            ("name = 'a.b'", "characters"),
            ("name = ''", "characters"),
            ("name = 'a'\n[[toolset]]\nname = 'a'", "twice"),
            ("name = 'a'\npaths = ['users']", "begin with /"),
            ("name = 'a'\ntag = ['x']", "`tags`"),
        ] {
            let error = Manifest::parse(&format!("name = 'w'\n[[toolset]]\n{set}"), "x").unwrap_err();
            assert!(error.message().contains(word), "{set}: {}", error.message());
        }
    }
}
