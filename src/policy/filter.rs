//! Which tools are switched on at all.
//!
//! Owns [`Filter`]. The idea: `--read-only`, toolsets and tool names take away, before any policy is asked; the same
//! filter shapes the lists and stands in the line, so that what is hidden cannot be called either.
//!
//! Must not: allow anything.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Effect, Resource};

/// Whether clients get three tools to find, describe and call all others, instead of a list of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Search {
    /// Where the list of all would be longer than `search_above`.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The `[offer]` table of the configuration: what is switched on, and how it is shown. The default is everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only what reads.
    pub read_only: bool,
    /// Only these toolsets; none means those that are offered unless named. A connector's name stands for all of its
    /// toolsets (`NAME.PART`), `all` for every one.
    pub toolsets: Option<BTreeSet<String>>,
    /// Only these tools; none means all. A trailing `*` stands for any ending.
    pub tools: Option<BTreeSet<String>>,
    /// Never these tools. A trailing `*` stands for any ending.
    pub without: BTreeSet<String>,
    /// Whether tools are searched for instead of listed.
    pub search: Search,
    /// Bytes of a list of all tools, above which `search = "auto"` searches.
    pub search_above: usize,
    /// Tools that are listed beside the three of the search.
    pub search_beside: BTreeSet<String>,
    /// List also what a caller's token does not reach yet and could be asked for. Without it, lists hold what can be
    /// called now; a call is answered with the scopes it needs either way.
    pub beyond_scopes: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            read_only: false,
            toolsets: None,
            tools: None,
            without: BTreeSet::new(),
            search: Search::Auto,
            search_above: 128 << 10,
            search_beside: BTreeSet::new(),
            beyond_scopes: false,
        }
    }
}

impl Filter {
    /// Whether the filter lets it through.
    pub fn passes(&self, resource: &Resource<'_>) -> bool {
        // finding tools is part of offering any; each tool found is filtered by itself
        if (resource.source, resource.toolset) == ("builtin", "search") {
            return self.search != Search::Off;
        }
        // so is the rest of what they answered
        if (resource.source, resource.toolset) == ("builtin", "results") {
            return true;
        }
        (!self.read_only || resource.effect == Effect::Read)
            && self.toolsets.as_ref().is_none_or(|sets| switched_on(sets, resource.toolset))
            && self.tools.as_ref().is_none_or(|names| named(names, resource.name))
            && !named(&self.without, resource.name)
    }
}

/// The tools that stand for all others; no other tool is called so.
pub const FINDERS: [&str; 3] = ["find_tools", "describe_tool", "call_tool"];

/// Whether tools that come from no connector say that they come from there: no connector is called so. A filter and the
/// checks of what documents say believe the name.
pub fn is_own_source(name: &str) -> bool {
    ["builtin", "python", "openapi"].iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether it is a toolset that no filter takes away: nobody else's is called so.
pub fn is_own_toolset(name: &str) -> bool {
    ["search", "results"].iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// What stands for every toolset.
pub const ALL: &str = "all";

/// Whether a toolset is among those that are named: by its own name, by the name of what it is part of, or as one of all.
pub fn switched_on(named: &BTreeSet<String>, toolset: &str) -> bool {
    named.contains(ALL) || wholes(toolset).any(|name| named.contains(name))
}

/// Whether a toolset is that one, or part of it.
pub fn is_in(toolset: &str, whole: &str) -> bool {
    wholes(toolset).any(|name| name == whole)
}

/// A toolset and what it is part of: `a.b.c`, then `a` and `a.b`.
pub(super) fn wholes(toolset: &str) -> impl Iterator<Item = &str> {
    std::iter::once(toolset).chain(toolset.match_indices('.').map(|(at, _)| &toolset[..at]))
}

fn named(names: &BTreeSet<String>, name: &str) -> bool {
    !names.is_empty()
        && (names.contains(name)
            || names.iter().any(|one| one.strip_suffix('*').is_some_and(|start| name.starts_with(start))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;

    fn passes(filter: &Filter, name: &str, effect: Effect, toolset: &str) -> bool {
        filter.passes(&Resource {
            name,
            family: "tool",
            effect,
            toolset,
            source: "python",
            target: None,
            scopes: &BTreeSet::new(),
            input: &Value::Null,
        })
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_part_takes_away() {
        let all = Filter::default();
        assert!(passes(&all, "ports_list", Effect::Destroy, "x"));
        let reads = Filter { read_only: true, ..Filter::default() };
        assert!(passes(&reads, "ports_list", Effect::Read, "x"));
        assert!(!passes(&reads, "ports_list", Effect::Write, "x"));
        let sets = Filter { toolsets: Some(set(&["fabric"])), ..Filter::default() };
        assert!(passes(&sets, "a", Effect::Read, "fabric") && !passes(&sets, "a", Effect::Read, "metal"));
        for (sets, toolset, expected) in [
            (&["fabric"][..], "fabric.ports", true),
            (&["fabric.ports"], "fabric.ports", true),
            (&["fabric.ports"], "fabric", false),
            (&["fabric"], "fabrics.ports", false),
            (&["fab"], "fabric", false),
            (&["all"], "anything", true),
        ] {
            let filter = Filter { toolsets: Some(set(sets)), ..Filter::default() };
            assert_eq!(passes(&filter, "a", Effect::Read, toolset), expected, "{sets:?} {toolset}");
        }
        let names =
            Filter { tools: Some(set(&["ports_*"])), without: set(&["ports_list"]), ..Filter::default() };
        assert!(passes(&names, "ports_get", Effect::Read, "x"));
        assert!(
            !passes(&names, "ports_list", Effect::Read, "x") && !passes(&names, "vlans", Effect::Read, "x")
        );
        let none = Filter { tools: Some(BTreeSet::new()), ..Filter::default() };
        assert!(!passes(&none, "ports_get", Effect::Read, "x"));
    }
}
