//! Finding one tool among many.
//!
//! Owns the three tools that stand for all others where there are too many to show: [`FIND`], [`DESCRIBE`], [`CALL`].
//! The idea: the first two are tools like any other, and read nothing but the catalog, as far as their caller may see
//! it; the third is no tool but another way to write a call: [`inner`] says which, and that call walks the line under
//! its own name, with its own effect, policy, limits and approval.
//!
//! Must not: run a tool, or show one that policy hides.

mod brief;
mod index;
mod tools;
mod words;

use std::sync::Arc;

pub use index::{Hit, Index};
pub use tools::{Handle, tools};

use crate::catalog::Entry;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::{Family, ToolSpec};
use crate::policy::{FINDERS, Filter, Search};

/// Looks for tools.
pub const FIND: &str = FINDERS[0];
/// Shows all of one tool.
pub const DESCRIBE: &str = FINDERS[1];
/// Calls one.
pub const CALL: &str = FINDERS[2];

/// The toolset of the three.
pub const TOOLSET: &str = "search";

/// What is surely needed to list a tool, in bytes.
const LEAST: usize = 200;

/// Whether anybody may need the three: what is offered is too long to list, or the configuration wants it so.
pub fn needed<'a>(offer: &Filter, tools: impl Iterator<Item = &'a ToolSpec> + Clone) -> bool {
    let offered = tools.filter(|spec| spec.family == Family::Tool && offer.passes(&spec.resource()));
    most(offer).is_some_and(|most| longer(offered, most))
}

/// Leaves of the tools that somebody sees what is listed: the three and what belongs beside them where all would be too
/// long; all but the three where not, or where somebody may not use all three.
pub fn shorten(offer: &Filter, entries: &mut Vec<Arc<Entry>>) {
    let ours = |entry: &Arc<Entry>| entry.spec().toolset == TOOLSET && entry.spec().source == "builtin";
    let there = entries.iter().filter(|entry| ours(entry)).count() == 3;
    let others = entries.iter().filter(|entry| !ours(entry)).map(|entry| entry.spec());
    if there && most(offer).is_some_and(|most| longer(others, most)) {
        entries.retain(|entry| ours(entry) || offer.search_beside.contains(&entry.spec().name));
    } else {
        entries.retain(|entry| !ours(entry));
    }
}

/// Bytes that a list of all may have, if there are bounds to it.
const fn most(offer: &Filter) -> Option<usize> {
    match offer.search {
        Search::Off => None,
        Search::On => Some(0),
        Search::Auto => Some(offer.search_above),
    }
}

/// Whether a list of these would have more bytes.
fn longer<'a>(tools: impl Iterator<Item = &'a ToolSpec> + Clone, above: usize) -> bool {
    if tools.clone().count().saturating_mul(LEAST) > above {
        return true;
    }
    let mut left = above;
    tools.into_iter().any(|spec| {
        let output = spec.output.as_ref().map_or(0, |output| brief::size(&output.once(), left));
        let words = spec.description.as_ref().map_or(0, String::len);
        let size = LEAST + words + output + brief::size(&spec.input.once(), left);
        let fits = left.checked_sub(size);
        left = fits.unwrap_or(0);
        fits.is_none()
    })
}

/// Whether a call of it stands for another one.
pub fn is_call(spec: &ToolSpec) -> bool {
    spec.name == CALL && spec.source == "builtin" && spec.toolset == TOOLSET
}

/// The call that a call of [`CALL`] stands for.
pub fn inner(mut arguments: Map<String, Value>) -> Result<(String, Map<String, Value>)> {
    let bad = |what: &'static str| Err(Error::new(Kind::BadArguments, what));
    let Some(Value::String(name)) = arguments.remove("name") else {
        return bad("`call_tool` needs `name`, the name of a tool as find_tools gave it.");
    };
    let inner = match arguments.remove("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(inner)) => inner,
        Some(_) => {
            return bad(
                "`arguments` of `call_tool` has to be an object: what describe_tool shows for the tool.",
            );
        }
    };
    if !arguments.is_empty() {
        return bad(
            "`call_tool` takes `name` and `arguments`; what the tool itself takes goes into `arguments`.",
        );
    }
    if name == CALL {
        return bad("`call_tool` cannot call itself; name the tool.");
    }
    Ok((name, inner))
}
