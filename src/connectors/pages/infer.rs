//! How the pages of a list follow each other, as far as its document shows it.
//!
//! Owns [`infer`] and [`may_go_on`]. The idea: an answer that has a place for what comes next, beside a parameter that
//! takes it, is paged; whatever could be read in two ways is not. What is found so is one page a call: the handle leads
//! to the next.
//!
//! Must not: guess where a wrong guess would lose items or show them twice.

use super::super::document::{Operation, Parameter, Place};
use super::super::manifest::{PageStyle, Pages};
use super::super::openapi::is_json;
use super::super::shape::Look;
use crate::json::pointer;
use crate::policy::Effect;

/// Members that may say what comes next, beside the list or in one of [`INSIDE`].
const TOKENS: &[&str] = &[
    "nextcursor",
    "nextpagetoken",
    "nexttoken",
    "nextpage",
    "continuationtoken",
    "next",
    "after",
    "nextmarker",
    "endcursor",
    "nextpagecursor",
    "nextoffset",
];
/// Members that hold the address of the next page.
const LINKS: &[&str] =
    &["@odata.nextLink", "nextLink", "next_link", "nextUrl", "next_url", "nextPageUrl", "next_page_url"];
/// Members that say something of the page.
const INSIDE: &[&str] = &[
    "meta",
    "metadata",
    "_meta",
    "_metadata",
    "pagination",
    "paging",
    "page",
    "pageinfo",
    "page_info",
    "cursors",
    "response_metadata",
    "links",
    "_links",
];
const TOTALS: &[&str] = &[
    "total",
    "totalcount",
    "totalresults",
    "totalitems",
    "totalelements",
    "totalsize",
    "@odata.count",
    "itemcount",
];
const OFFSETS: &[&str] = &["offset", "skip", "startat"];
const SIZES: &[&str] = &["limit", "top", "pagesize", "perpage", "maxresults", "count", "size", "take"];
const NUMBERS: &[&str] = &["page", "pagenumber", "pageno", "pageindex"];
const COUNTS: &[&str] = &["totalpages", "pagecount", "pages", "lastpage"];

/// How the pages of an operation follow each other; none where that is not plain.
pub fn infer(operation: &Operation) -> Option<Pages> {
    if operation.method != "GET" || operation.effect != Effect::Read {
        return None;
    }
    let root = answer(operation)?;
    let members = root.properties();
    let items = list(root, &members)?;
    let found = named(&members).or_else(|| token(operation, &members));
    let found = found.or_else(|| last(operation, root, &members)).or_else(|| offset(operation, &members));
    let mut found = found.or_else(|| next(&members)).or_else(|| number(operation, &members))?;
    (found.items, found.most, found.limit) = (items, 1, 10_000);
    Some(found)
}

/// Whether an answer may be a list that is too long for one result.
pub(in crate::connectors) fn may_go_on(operation: &Operation) -> bool {
    // what has a name of its own is one thing, unless it is a list itself
    let several = !operation.path.ends_with('}');
    let Some((_, response)) = operation.responses.iter().find(|(status, _)| status.starts_with('2')) else {
        return several;
    };
    if response.media_type.as_deref().is_some_and(|media| !is_json(media)) {
        return false;
    }
    let Some(schema) = &response.schema else { return several };
    let root = schema.look();
    if root.is_open() {
        return several;
    }
    let holds = |look: Look<'_>| look.properties().into_iter().any(|(_, member)| member.is("array"));
    root.is("array")
        || (several && holds(root))
        || (several && root.properties().into_iter().any(|(_, member)| member.is("object") && holds(member)))
}

fn answer(operation: &Operation) -> Option<Look<'_>> {
    let (_, response) = operation.responses.iter().find(|(status, _)| status.starts_with('2'))?;
    let json = response.media_type.as_deref().is_some_and(is_json);
    response.schema.as_ref().filter(|_| json).map(super::super::shape::Shape::look)
}

/// Where the list is, if that is plain: nothing to be said for an array or its only list.
#[allow(clippy::option_option, reason = "no list is one thing, a list that needs no word another")]
fn list(root: Look<'_>, members: &[(&str, Look<'_>)]) -> Option<Option<String>> {
    if root.is("array") && members.is_empty() {
        return Some(None);
    }
    let lists: Vec<&str> =
        members.iter().filter(|(_, member)| member.is("array")).map(|(name, _)| *name).collect();
    let usual = ["value", "items", "data", "results", "entries", "records", "resources"];
    let known = lists.iter().filter(|name| usual.contains(name)).copied().collect::<Vec<_>>();
    match (&lists[..], &known[..]) {
        ([only], _) | (_, [only]) => Some(Some(place("", only))),
        _ => None,
    }
}

fn link(cursor: String) -> Pages {
    Pages { style: PageStyle::Link, cursor: Some(cursor), ..Pages::default() }
}

/// A member whose name says that it is the address of the next page.
fn named(members: &[(&str, Look<'_>)]) -> Option<Pages> {
    let (name, _) = members.iter().find(|(name, member)| LINKS.contains(name) && member.is("string"))?;
    Some(link(place("", name)))
}

/// A member `next` that holds an address, at the top or beside other words about the page.
fn next(members: &[(&str, Look<'_>)]) -> Option<Pages> {
    let among = |members: &[(&str, Look<'_>)], within: &str| {
        let (_, next) = members.iter().find(|(name, _)| *name == "next")?;
        let bare = next.is("string") && is_address(*next);
        let holder =
            next.properties().into_iter().any(|(name, member)| name == "href" && member.is("string"));
        // the address of a link object is looked for in the object itself
        (bare || holder).then(|| link(format!("{within}/next")))
    };
    among(members, "").or_else(|| {
        let inside = |name: &str| INSIDE.contains(&plain(name).as_str()) || INSIDE.contains(&name);
        let inside = members.iter().filter(|(name, _)| inside(name));
        inside.into_iter().find_map(|(name, member)| among(&member.properties(), &place("", name)))
    })
}

fn is_address(member: Look<'_>) -> bool {
    let words = member.word("description").to_ascii_lowercase();
    matches!(member.word("format"), "uri" | "url" | "uri-reference")
        || ["url", "uri", "link", "http", "address"].iter().any(|word| words.contains(word))
}

fn token(operation: &Operation, members: &[(&str, Look<'_>)]) -> Option<Pages> {
    places(members).into_iter().find_map(|(place, name, member)| {
        let name = plain(name);
        if !TOKENS.contains(&name.as_str()) || !(member.is("string") || member.is("integer")) {
            return None;
        }
        let bare = name.strip_prefix("next").or_else(|| name.strip_prefix("end")).unwrap_or(&name);
        let fits = |it: &&Parameter| {
            let own = plain(&it.name);
            let number = NUMBERS.contains(&own.as_str()) || OFFSETS.contains(&own.as_str());
            // a number that is sent where numbers belong, a text where texts do
            let kind = if number { member.is("integer") && integer(it) } else { true };
            kind && (own == name
                || (!bare.is_empty() && own == bare)
                || (name == "endcursor" && own == "after"))
        };
        let send = queries(operation).find(fits)?;
        let more = more(members);
        let (style, cursor, send) = (PageStyle::Token, Some(place), Some(send.argument.clone()));
        Some(Pages { style, cursor, send, more, ..Pages::default() })
    })
}

fn last(operation: &Operation, root: Look<'_>, members: &[(&str, Look<'_>)]) -> Option<Pages> {
    let send = queries(operation).find(|it| plain(&it.name) == "startingafter")?;
    let more = more(members)?;
    if root.is("array") {
        return None;
    }
    let (send, id) = (Some(send.argument.clone()), Some(String::from("id")));
    Some(Pages { style: PageStyle::Last, send, id, more: Some(more), ..Pages::default() })
}

fn offset(operation: &Operation, members: &[(&str, Look<'_>)]) -> Option<Pages> {
    let send = queries(operation).find(|it| OFFSETS.contains(&plain(&it.name).as_str()) && integer(it))?;
    queries(operation).find(|it| SIZES.contains(&plain(&it.name).as_str()))?;
    let look = send.schema.look();
    // an offset that begins with 1 is another thing
    if look.number("default").or_else(|| look.number("minimum")).is_some_and(|first| first > 0) {
        return None;
    }
    let total = counted(members, TOTALS)?;
    let send = Some(send.argument.clone());
    Some(Pages { style: PageStyle::Offset, send, total: Some(total), ..Pages::default() })
}

fn number(operation: &Operation, members: &[(&str, Look<'_>)]) -> Option<Pages> {
    let send = queries(operation).find(|it| NUMBERS.contains(&plain(&it.name).as_str()) && integer(it))?;
    queries(operation).find(|it| SIZES.contains(&plain(&it.name).as_str()))?;
    let look = send.schema.look();
    let words = send.description.as_deref().unwrap_or_default().to_ascii_lowercase();
    let says = |all: &[&str]| all.iter().any(|one| words.contains(one));
    let first = match (look.number("default"), look.number("minimum")) {
        (Some(first @ 0..=1), _) => first,
        (None, Some(1)) => 1,
        (None, Some(0)) => 0,
        (None, None)
            if says(&[
                "zero-based",
                "first page is 0",
                "first page is page 0",
                "0-based",
                "0-indexed",
                "starts at 0",
                "starting at 0",
            ]) =>
        {
            0
        }
        (None, None)
            if says(&[
                "one-based",
                "first page is 1",
                "first page is page 1",
                "1-based",
                "1-indexed",
                "starts at 1",
                "starting at 1",
            ]) =>
        {
            1
        }
        // where the first page begins has to be known, or one would be lost
        _ => return None,
    };
    Some(Pages {
        style: PageStyle::Page,
        send: Some(send.argument.clone()),
        cursor: counted(members, COUNTS),
        total: counted(members, TOTALS),
        more: more(members),
        first: u64::try_from(first).ok(),
        ..Pages::default()
    })
}

/// Where the answer says whether there is more.
fn more(members: &[(&str, Look<'_>)]) -> Option<String> {
    let says =
        |name: &str| matches!(plain(name).as_str(), "hasmore" | "hasnext" | "hasnextpage" | "morepages");
    places(members)
        .into_iter()
        .find(|(_, name, member)| says(name) && member.is("boolean"))
        .map(|(at, ..)| at)
}

fn counted(members: &[(&str, Look<'_>)], names: &[&str]) -> Option<String> {
    let counts = |name: &str| names.contains(&name) || names.contains(&plain(name).as_str());
    places(members)
        .into_iter()
        .find(|(_, name, member)| counts(name) && member.is("integer"))
        .map(|(at, ..)| at)
}

/// Members of the answer that may speak of pages: at its top, and in what stands beside the list.
fn places<'a>(members: &[(&'a str, Look<'a>)]) -> Vec<(String, &'a str, Look<'a>)> {
    let mut found: Vec<_> = members.iter().map(|(name, member)| (place("", name), *name, *member)).collect();
    for (holder, member) in members.iter().filter(|(name, _)| INSIDE.contains(&plain(name).as_str())) {
        let within = place("", holder);
        for (name, inner) in member.properties() {
            found.push((place(&within, name), name, inner));
            if INSIDE.contains(&plain(name).as_str()) {
                let deeper = place(&within, name);
                let inner = inner.properties().into_iter();
                found.extend(inner.map(|(name, member)| (place(&deeper, name), name, member)));
            }
        }
    }
    found
}

fn queries(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    operation.parameters.iter().filter(|it| it.place == Place::Query && it.fixed.is_none())
}

fn integer(parameter: &Parameter) -> bool {
    let look = parameter.schema.look();
    look.is("integer") || look.is("number")
}

/// A name without what only spells it.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|it| it.is_ascii_alphanumeric() || matches!(it, '@' | '.'))
        .collect::<String>()
        .to_ascii_lowercase()
}

fn place(within: &str, name: &str) -> String {
    format!("{within}/{}", pointer::escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::{Map, Value, json};

    #[allow(clippy::needless_pass_by_value, reason = "json! takes it")]
    fn of(parameters: &[(&str, Value)], answer: Value) -> Option<Pages> {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|(name, schema)| json!({"name": name, "in": "query", "schema": schema}))
            .collect();
        let document = json!({"openapi": "3.0.3", "info": {"title": "x", "version": "1"}, "paths": {"/things": {"get": {
            "operationId": "list", "parameters": parameters,
            "responses": {"200": {"description": "ok", "content": {"application/json": {"schema":
                {"$ref": "#/components/schemas/Page"}}}}}}}},
            "components": {"schemas": {"Page": answer, "Meta": {"type": "object", "properties": {
                "next_cursor": {"type": "string"}, "total": {"type": "integer"}}}}}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        infer(&document.operations[0])
    }

    fn answer(members: Value) -> Value {
        let mut properties = json!({"items": {"type": "array", "items": {"type": "object"}}});
        properties
            .as_object_mut()
            .unwrap()
            .extend(serde_json::from_value::<Map<String, Value>>(members).unwrap());
        json!({"type": "object", "properties": properties})
    }

    #[test]
    fn the_obvious_kinds_are_found() {
        let text = json!({"type": "string"});
        let number = json!({"type": "integer"});
        let found = of(&[], answer(json!({"@odata.nextLink": text}))).unwrap();
        assert_eq!((found.style, found.cursor.as_deref()), (PageStyle::Link, Some("/@odata.nextLink")));
        assert_eq!((found.items.as_deref(), found.most), (Some("/items"), 1));
        let found =
            of(&[], answer(json!({"next": {"type": "string", "format": "uri", "nullable": true}}))).unwrap();
        assert_eq!(found.style, PageStyle::Link);
        let links = json!({"_links": {"type": "object", "properties": {"next": {"type": "object", "properties": {"href": text}}}}});
        assert_eq!(of(&[], answer(links)).unwrap().cursor.as_deref(), Some("/_links/next"));
        for (parameter, member) in [
            ("page_token", "next_page_token"),
            ("cursor", "nextCursor"),
            ("$skipToken", "skipToken"),
            ("next", "next"),
        ] {
            let found = of(&[(parameter, text.clone())], answer(json!({member: text})));
            assert_eq!(found.is_some(), member != "skipToken", "{parameter}");
            assert!(found.is_none_or(|found| found.style == PageStyle::Token));
        }
        let found =
            of(&[("cursor", text.clone())], answer(json!({"meta": {"$ref": "#/components/schemas/Meta"}})))
                .unwrap();
        assert_eq!(
            (found.cursor.as_deref(), found.send.as_deref()),
            (Some("/meta/next_cursor"), Some("cursor"))
        );
        let found =
            of(&[("starting_after", text)], answer(json!({"has_more": {"type": "boolean"}}))).unwrap();
        assert_eq!((found.style, found.more.as_deref()), (PageStyle::Last, Some("/has_more")));
        let both = [("offset", number.clone()), ("limit", number.clone())];
        let found = of(&both, answer(json!({"total": number}))).unwrap();
        assert_eq!((found.style, found.total.as_deref()), (PageStyle::Offset, Some("/total")));
        let first = json!({"type": "integer", "default": 1});
        let found = of(&[("page", first), ("per_page", number)], answer(json!({}))).unwrap();
        assert_eq!((found.style, found.first), (PageStyle::Page, Some(1)));
    }

    #[test]
    fn what_could_mean_two_things_is_left_alone() {
        let text = json!({"type": "string"});
        let number = json!({"type": "integer"});
        // a token that no parameter takes, an offset without an end, a page whose first number nobody says
        assert_eq!(of(&[("q", text.clone())], answer(json!({"next_cursor": text}))), None);
        assert_eq!(of(&[("offset", number.clone()), ("limit", number.clone())], answer(json!({}))), None);
        assert_eq!(of(&[("page", number.clone()), ("per_page", number.clone())], answer(json!({}))), None);
        assert_eq!(of(&[("next", number)], answer(json!({"next_text": text}))), None);
        // two lists, none of them the usual
        let two = json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}, "b": {"type": "array", "items": {}},
            "@odata.nextLink": {"type": "string"}}});
        assert_eq!(of(&[], two), None);
        assert_eq!(
            of(&[], json!({"type": "object", "properties": {"next": {"type": "string", "format": "uri"}}})),
            None
        );
    }
}
