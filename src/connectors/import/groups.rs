//! Operations -> toolsets.
//!
//! Owns [`groups`]. The idea: whoever wrote the document has sorted it already, by tags, or by the first telling segment of
//! its paths; what is too fine is put together, what is left over is one toolset of its own, and whatever gives rights,
//! keys or money away is offered only to those who name it.
//!
//! Must not: make more toolsets than a person reads.

use std::collections::{BTreeMap, HashSet};

use indexmap::IndexMap;

use crate::connectors::document::Operation;
use crate::connectors::manifest::Toolset;
use crate::connectors::openapi::{Facts, line, words_of};
use crate::policy::Effect;

/// Toolsets of one connector; below so many operations there is nothing to sort.
const MOST: usize = 30;
const FEW: usize = 12;
/// The one for the rest.
const REST: &str = "other";

/// Words of what is not offered unless named.
const APART: [&str; 30] = [
    "admin",
    "admins",
    "administration",
    "administrator",
    "administrators",
    "billing",
    "credential",
    "credentials",
    "iam",
    "invoice",
    "invoices",
    "key",
    "keys",
    "oauth",
    "payment",
    "payments",
    "permission",
    "permissions",
    "privilege",
    "privileges",
    "role",
    "roles",
    "saml",
    "scim",
    "secret",
    "secrets",
    "sso",
    "token",
    "tokens",
    "apikeys",
];

/// Toolsets for these operations; none where there is nothing to sort.
pub(super) fn groups(operations: &[Operation], facts: &Facts) -> Vec<Toolset> {
    if operations.len() <= FEW {
        return Vec::new();
    }
    let by_tag = tags(operations);
    let tagged: usize = operations.iter().filter(|it| !it.tags.is_empty()).count();
    let mut sets = if by_tag.len() >= 2 && tagged * 2 > operations.len() {
        named(by_tag, facts)
    } else {
        starts(operations)
    };
    if sets.len() < 2 {
        return Vec::new();
    }
    set_apart(&mut sets, operations);
    let rest = operations.iter().any(|operation| !sets.iter().any(|set| set.holds(operation)));
    if rest {
        let name = if sets.iter().any(|set| set.name == REST) { "rest" } else { REST };
        sets.push(Toolset {
            name: name.to_owned(),
            description: Some(String::from("What no other toolset holds.")),
            paths: vec![String::from("/")],
            ..Toolset::default()
        });
    }
    sets
}

/// How many operations have each tag as their first; tags in the order in which they appear.
fn tags(operations: &[Operation]) -> IndexMap<&str, usize> {
    let mut counts = IndexMap::new();
    for tag in operations.iter().filter_map(|operation| operation.tags.first()) {
        *counts.entry(tag.as_str()).or_insert(0) += 1;
    }
    counts
}

/// Toolsets of tags. Where there are too many, those of one family (`users.message`, `Users - mail`) are one.
fn named(counts: IndexMap<&str, usize>, facts: &Facts) -> Vec<Toolset> {
    let family =
        |tag: &str| tag.split(['.', '/', ':', '|', '(']).next().unwrap_or(tag).split(" - ").next().map(slug);
    let own = |tag: &str| Some(slug(tag));
    let alone = counts.len() <= MOST;
    let mut sets: IndexMap<String, (Vec<&str>, usize)> = IndexMap::new();
    for (tag, count) in counts {
        let Some(name) = (if alone { own(tag) } else { family(tag) }).filter(|name| !name.is_empty()) else {
            continue;
        };
        let set = sets.entry(name).or_default();
        set.0.push(tag);
        set.1 += count;
    }
    if sets.len() > MOST {
        let mut sizes: Vec<usize> = sets.values().map(|(_, size)| *size).collect();
        sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
        let least = sizes.get(MOST - 1).copied().unwrap_or(0);
        let mut room = MOST - 1;
        sets.retain(|_, (_, size)| {
            let stays = *size >= least && room > 0;
            room -= usize::from(stays);
            stays
        });
    }
    sets.into_iter()
        .map(|(name, (tags, _))| {
            let words = tags.first().filter(|_| tags.len() == 1).and_then(|tag| facts.tags.get(*tag));
            Toolset {
                name,
                description: words.and_then(|words| line(words, 120)),
                tags: tags.into_iter().map(str::to_owned).collect(),
                ..Toolset::default()
            }
        })
        .collect()
}

/// Toolsets of the beginnings of paths: down to where they part.
fn starts(operations: &[Operation]) -> Vec<Toolset> {
    let segments = |path: &str| path.split('/').skip(1).map(str::to_owned).collect::<Vec<String>>();
    let paths: Vec<Vec<String>> = operations.iter().map(|it| segments(&it.path)).collect();
    // What all begin with says nothing; nor does a version.
    let mut shared = 0;
    while let Some(first) = paths.first().and_then(|path| path.get(shared)) {
        if shared > 4 || !paths.iter().all(|path| path.get(shared) == Some(first)) {
            break;
        }
        shared += 1;
    }
    let mut sets: BTreeMap<String, (HashSet<String>, usize)> = BTreeMap::new();
    for path in &paths {
        let telling =
            path.iter().enumerate().skip(shared).find(|(_, it)| !it.starts_with('{') && !is_version(it));
        let Some((at, segment)) = telling else { continue };
        let name = slug(segment.split(['(', ':', '{']).next().unwrap_or(segment));
        if name.is_empty() {
            continue;
        }
        let set = sets.entry(name).or_default();
        set.0.insert(format!("/{}", path[..=at].join("/")));
        set.1 += 1;
    }
    let mut sizes: Vec<(usize, String)> = sets.iter().map(|(name, set)| (set.1, name.clone())).collect();
    sizes.sort();
    let kept: HashSet<String> = sizes.into_iter().rev().take(MOST - 1).map(|(_, name)| name).collect();
    sets.into_iter()
        .filter(|(name, _)| kept.contains(name))
        .map(|(name, (paths, _))| {
            let mut paths: Vec<String> = paths.into_iter().collect();
            paths.sort();
            Toolset { name, paths, ..Toolset::default() }
        })
        .collect()
}

fn is_version(segment: &str) -> bool {
    let rest = segment.strip_prefix(['v', 'V']).unwrap_or(segment);
    matches!(segment, "api" | "rest" | "beta" | "latest")
        || (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// A name that is legal for a toolset: `Virtual Devices (beta)` is `virtual-devices-beta`.
fn slug(text: &str) -> String {
    let mut name = words_of(text).join("-");
    name.truncate(40);
    name.trim_end_matches('-').to_owned()
}

/// Toolsets of rights, keys and money are not offered unless named; where that would be most of an API, it is what the API
/// is for.
fn set_apart(sets: &mut [Toolset], operations: &[Operation]) {
    let apart: Vec<usize> = sets
        .iter()
        .enumerate()
        .filter(|(_, set)| set.name.split('-').any(|word| APART.contains(&word)))
        .map(|(at, _)| at)
        .collect();
    let held = operations.iter().filter(|it| {
        let first = sets.iter().position(|set| set.holds(it));
        first.is_some_and(|first| apart.contains(&first)) && it.effect != Effect::Read
    });
    if held.count() * 2 > operations.len() || apart.len() == sets.len() {
        return;
    }
    for at in apart {
        sets[at].default = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(path: &str, tags: &[&str]) -> Operation {
        Operation {
            path: path.into(),
            method: "GET".into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Operation::default()
        }
    }

    fn shown(operations: &[Operation]) -> Vec<String> {
        let show = |set: &Toolset| {
            let held = operations.iter().filter(|it| set.holds(it)).count();
            format!("{} {held}{}", set.name, if set.default { "" } else { " apart" })
        };
        groups(operations, &Facts::default()).iter().map(show).collect()
    }

    #[test]
    fn tags_make_toolsets_and_those_of_rights_are_set_apart() {
        let mut all: Vec<Operation> =
            (0..10).map(|at| operation(&format!("/ports/{at}"), &["Ports", "x"])).collect();
        all.extend((0..4).map(|at| operation(&format!("/v/{at}"), &["Virtual Devices (beta)"])));
        all.extend((0..2).map(|at| operation(&format!("/r/{at}"), &["API Keys"])));
        all.push(operation("/z", &[]));
        assert_eq!(shown(&all), ["ports 10", "virtual-devices-beta 4", "api-keys 2 apart", "other 17"]);
        assert!(shown(&all[..12]).is_empty(), "a dozen need no sorting");
    }

    #[test]
    fn without_tags_paths_make_toolsets_and_what_they_share_says_nothing() {
        let mut all: Vec<Operation> =
            (0..8).map(|at| operation(&format!("/api/v1/{{org}}/users/{at}"), &[])).collect();
        all.extend((0..8).map(|at| operation(&format!("/api/v1/{{org}}/carts/{at}"), &["one"])));
        assert_eq!(shown(&all), ["carts 8", "users 8"]);
    }

    #[test]
    fn too_many_tags_become_families_and_never_more_than_a_person_reads() {
        let all: Vec<Operation> = (0..400)
            .map(|at| operation(&format!("/x{at}"), &[&format!("family{}.tag{at}", at % 7)]))
            .collect();
        assert_eq!(shown(&all).len(), 7);
        let all: Vec<Operation> =
            (0..400).map(|at| operation(&format!("/x{at}"), &[&format!("tag{at}")])).collect();
        assert!(shown(&all).len() <= MOST);
        let all: Vec<Operation> = (0..400).map(|at| operation(&format!("/x{at}/y"), &[])).collect();
        assert!(shown(&all).len() <= MOST);
    }
}
