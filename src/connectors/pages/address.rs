//! The next address that an answer names.
//!
//! Owns [`query`] and [`alone`]. The idea: it may lead on the operation's own host and path, and then nothing but its
//! query is used; of that, what is about paging and what nobody but the upstream knows. What the caller asked for stays, named by the
//! next address or not; what the caller could have asked for and did not is not asked for now. Where the upstream wants
//! its token alone, which stands for what was asked for, nothing of that is added to it.
//!
//! Must not: send anything.

use crate::connectors::document::Place;
use crate::connectors::openapi::words_of;
use crate::connectors::request::Plan;
use crate::http::Request;
use crate::json::{Map, Value};

/// Words in the names of parameters that are about paging: what a next address says of them counts.
const PAGING: &[&str] = &[
    "page",
    "pages",
    "cursor",
    "token",
    "offset",
    "skip",
    "start",
    "after",
    "before",
    "limit",
    "top",
    "count",
    "size",
    "marker",
    "next",
    "continue",
    "continuation",
    "position",
    "index",
    "from",
    "since",
    "perpage",
    "pagesize",
    "pagenumber",
    "pagetoken",
    "skiptoken",
    "nexttoken",
    "maxresults",
    "startat",
    "starting",
];

/// Words in the names of those that say how long a page is.
const SIZE: &[&str] = &["limit", "top", "count", "size", "perpage", "pagesize", "maxresults"];

/// The query of a next address, if it leads to the same operation: of the address nothing else is used. What the caller
/// asked for beside paging stays as it was asked; with `alone` only where the address names it.
pub(super) fn query(
    (plan, alone): (&Plan, bool),
    request: &Request,
    next: &str,
    arguments: &Map<String, Value>,
) -> Option<String> {
    let url = request.url.join(next).ok()?;
    let own = &request.url;
    let secured = |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.port().is_none();
    let origin = url.host() == own.host()
        && url.username().is_empty()
        && url.password().is_none()
        && ((url.scheme() == own.scheme() && url.port_or_known_default() == own.port_or_known_default())
            || (secured(&url) && secured(own)));
    let path = |url: &url::Url| {
        let decoded = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
        decoded.trim_end_matches('/').to_owned()
    };
    if !origin || path(&url) != path(own) {
        return None;
    }
    let asked = plan.request(arguments).ok()?;
    let mut kept: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, pair) in pairs(asked.url.query().unwrap_or_default()) {
        if is_paging(&name) {
            continue;
        }
        match kept.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(pair),
            None => kept.push((name, vec![pair])),
        }
    }
    let mut out: Vec<&str> = Vec::new();
    let mut done: Vec<String> = Vec::new();
    for (name, pair) in pairs(url.query().unwrap_or_default()) {
        match kept.iter().find(|(known, _)| *known == name) {
            None if !is_paging(&name) && is_declared(plan, &name) => {}
            None => out.push(pair),
            Some(_) if done.contains(&name) => {}
            Some((_, all)) => {
                out.extend(all);
                done.push(name);
            }
        }
    }
    let added = |name: &String| !done.contains(name) && (!alone || is_needed(plan, name));
    out.extend(kept.iter().filter(|(name, _)| added(name)).flat_map(|(_, all)| all));
    Some(out.join("&"))
}

/// The name of a parameter, without the member of it that is meant (`filter[status]`).
fn base(name: &str) -> &str {
    name.split_once('[').map_or(name, |(base, _)| base)
}

fn is_paging(name: &str) -> bool {
    words_of(base(name)).iter().any(|word| PAGING.contains(&word.as_str()))
}

/// Whether it says how long a page is.
fn is_size(name: &str) -> bool {
    let words = words_of(base(name));
    let has = |word: &str| words.iter().any(|own| own == word);
    SIZE.iter().any(|word| has(word)) || (has("per") && has("page")) || (has("max") && has("results"))
}

/// Leaves out of a call what its next page is asked for without: all but its size and what is always asked.
pub(super) fn alone(plan: &Plan, arguments: &mut Map<String, Value>) {
    let own = plan.operation().parameters.iter().filter(|it| it.place == Place::Query && !it.required);
    for it in own.filter(|it| !is_size(&it.name)) {
        arguments.shift_remove(&it.argument);
    }
}

/// Whether the operation is never asked for without it.
fn is_needed(plan: &Plan, name: &str) -> bool {
    let mut own = plan.operation().parameters.iter().filter(|it| it.place == Place::Query);
    own.any(|it| base(&it.name) == base(name) && (it.required || it.fixed.is_some()))
}

/// Whether it is something that the caller says, or that signing sets, and so nothing that an answer says. Of an
/// upstream that takes `account_id` nobody knows whether it takes `accountId` for it, too.
fn is_declared(plan: &Plan, name: &str) -> bool {
    let folded = |name: &str| base(name).replace(['_', '-'], "").to_ascii_lowercase();
    let is = |known: &str| folded(known) == folded(name);
    plan.signed.iter().any(|known| is(known))
        || plan.operation().parameters.iter().any(|it| it.place == Place::Query && is(&it.name))
}

/// The parameters of a query, each with its decoded name.
fn pairs(query: &str) -> impl Iterator<Item = (String, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name).replace('+', " ");
        (percent_encoding::percent_decode_str(&name).decode_utf8_lossy().into_owned(), pair)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::connectors::document::Operation;
    use crate::connectors::request::Base;

    #[test]
    fn the_next_page_is_on_the_same_path_or_nowhere() {
        let operation =
            Operation { method: String::from("GET"), path: String::from("/x"), ..Operation::default() };
        let base = Base::new(&url::Url::parse("https://api.example").unwrap(), "/doc").unwrap();
        let plan = Plan::new(Arc::new(operation), Arc::new(base), Vec::new()).unwrap();
        let request = plan.request(&Map::new()).unwrap();
        let next = |next: &str| query((&plan, false), &request, next, &Map::new());
        for same in [
            "/doc/x?offset=2",
            "https://api.example/doc/x?offset=2",
            "?offset=2",
            "/doc/x/?offset=2",
            "/doc/%78?offset=2",
            // nothing of it is used but the query
            "http://api.example/doc/x?offset=2",
        ] {
            assert_eq!(next(same).as_deref(), Some("offset=2"), "{same}");
        }
        for elsewhere in [
            "https://evil.example/doc/x?a=1",
            "//evil.example/doc/x?a",
            "/doc/y?a",
            "https://u@api.example/doc/x?a",
            "https://api.example:8443/doc/x?a",
            "http://api.example:443/doc/x?a",
            "/doc/x/../y?a",
            "data:x",
        ] {
            assert_eq!(next(elsewhere), None, "{elsewhere}");
        }
    }
}
