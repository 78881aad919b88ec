//! How the pages of an answer follow each other, as far as a document shows.
//!
//! Owns [`pages`]. The idea: a way to page is believed only where request and answer agree: a parameter that says where to
//! go on, and a list in the answer, with what leads on beside it. Half of that is said in a remark and not acted on.
//!
//! Must not: guess where a list counts from when the document says that it is not the usual place.

use super::schema::{View, step};
use crate::connectors::document::{Operation, Parameter, Place};
use crate::connectors::manifest::{PageStyle, Pages};
use crate::json::Value;

/// Where the items of an answer usually are.
const ITEMS: [&str; 14] = [
    "data",
    "items",
    "results",
    "value",
    "values",
    "records",
    "entries",
    "resources",
    "list",
    "content",
    "rows",
    "objects",
    "elements",
    "result",
];
/// Objects that hold what is said about a page.
const ABOUT: [&str; 14] = [
    "meta",
    "metadata",
    "pagination",
    "paging",
    "page",
    "pageinfo",
    "pages",
    "links",
    "cursors",
    "responsemetadata",
    "paginator",
    "nextpage",
    "cursor",
    "next",
];
/// Parameters that take a token, and members that give one.
const SENT: [&str; 24] = [
    "cursor",
    "pagetoken",
    "nexttoken",
    "nextpagetoken",
    "token",
    "after",
    "startingafter",
    "marker",
    "nextmarker",
    "continuationtoken",
    "continuation",
    "continue",
    "pagecursor",
    "pageafter",
    "next",
    "nextcursor",
    "bookmark",
    "scrollid",
    "startcursor",
    "startingtoken",
    "startkey",
    "exclusivestartkey",
    "afterid",
    "page",
];
const GIVEN: [&str; 20] = [
    "nextcursor",
    "nextpagetoken",
    "nexttoken",
    "nextmarker",
    "continuationtoken",
    "nextcontinuationtoken",
    "continuation",
    "endcursor",
    "cursor",
    "after",
    "next",
    "nextpage",
    "pagetoken",
    "scrollid",
    "bookmark",
    "nextbookmark",
    "nextpagecursor",
    "lastevaluatedkey",
    "nextkey",
    "marker",
];
/// Members that hold an address.
const LINKS: [&str; 8] = [
    "nextlink",
    "nexturl",
    "nextpageurl",
    "nexthref",
    "nexturi",
    "nextpagelink",
    "nextpageuri",
    "odatanextlink",
];
const OFFSETS: [&str; 9] =
    ["offset", "skip", "start", "startindex", "from", "pageoffset", "startat", "firstresult", "startrecord"];
const NUMBERS: [&str; 7] = ["page", "pagenumber", "pageno", "pagenum", "pageindex", "currentpage", "p"];
const TOTALS: [&str; 9] = [
    "total",
    "totalcount",
    "totalresults",
    "totalitems",
    "totalsize",
    "totalelements",
    "totalrecords",
    "odatacount",
    "totalhits",
];

/// What was found out.
pub(super) enum Found {
    /// A way to page.
    Pages(Box<Pages>),
    /// Something that looks like it and is not certain, in words.
    Unsure(&'static str),
    /// None.
    Nothing,
}

/// The name without what writers of documents differ in.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A member of an answer: where it is, what it is called, what it is.
struct Member<'a> {
    pointer: String,
    name: String,
    view: View<'a>,
}

/// The way to page of an operation whose success has that schema.
pub(super) fn pages(operation: &Operation, answer: &Value, linked: bool) -> Found {
    let top = View::of(answer);
    let (lists, about) = members(top);
    let bare = top.is("array");
    if lists.is_empty() && !bare {
        return Found::Nothing;
    }
    if bare {
        return if linked {
            Found::Unsure("its answer is a list with a Link header")
        } else {
            Found::Nothing
        };
    }
    let Some(items) = items(&lists) else { return Found::Nothing };
    let base = |style: PageStyle, cursor: Option<String>, send: Option<String>| {
        Found::Pages(Box::new(Pages { style, cursor, send, items: Some(items.clone()), ..Pages::plain() }))
    };
    if let Some(link) = link(&about) {
        return base(PageStyle::Link, Some(link), None);
    }
    let query: Vec<&Parameter> = operation
        .parameters
        .iter()
        .filter(|it| matches!(it.place, Place::Query | Place::Header) && it.fixed.is_none())
        .collect();
    if let Some((cursor, send)) = token(&query, &about) {
        return base(PageStyle::Token, Some(cursor), Some(send));
    }
    let total = total(&about);
    if let Some(send) = counted(&query, &OFFSETS) {
        if starts_at(send) > Some(0) {
            return Found::Unsure("its offset does not count from 0");
        }
        return base(PageStyle::Offset, total, Some(send.argument.clone()));
    }
    if let Some(send) = in_body(operation) {
        return base(PageStyle::Offset, total, Some(send));
    }
    if let Some(send) = counted(&query, &NUMBERS) {
        if starts_at(send) == Some(0) {
            return Found::Unsure("its pages seem to count from 0");
        }
        return base(PageStyle::Page, None, Some(send.argument.clone()));
    }
    if linked { Found::Unsure("its answer has a Link header") } else { Found::Nothing }
}

/// The lists of an answer, and what stands beside them: at the top, and in objects that speak of pages.
fn members(top: View<'_>) -> (Vec<Member<'_>>, Vec<Member<'_>>) {
    let (mut lists, mut about) = (Vec::new(), Vec::new());
    for (name, view) in top.members() {
        let pointer = step(name);
        let known = plain(name);
        if view.is("array") {
            lists.push(Member { pointer, name: known, view });
            continue;
        }
        if view.is("object") {
            let speaks = ABOUT.contains(&known.as_str());
            for (inner, inside) in view.members() {
                let pointer = format!("{pointer}{}", step(inner));
                let name = plain(inner);
                if inside.is("array") && (ITEMS.contains(&known.as_str()) || known == "embedded") {
                    lists.push(Member { pointer, name, view: inside });
                } else if speaks && inside.is("object") {
                    for (last, deep) in inside.members() {
                        let pointer = format!("{pointer}{}", step(last));
                        let name = format!("{name}{}", plain(last));
                        about.push(Member { pointer, name, view: deep });
                    }
                } else if speaks {
                    about.push(Member { pointer, name, view: inside });
                }
            }
        }
        about.push(Member { pointer, name: known, view });
    }
    (lists, about)
}

/// Which list holds the items: the only one, or the one with the usual name.
fn items(lists: &[Member<'_>]) -> Option<String> {
    let usual = ITEMS.iter().find_map(|name| lists.iter().find(|list| list.name == *name));
    let only = if lists.len() == 1 { lists.first() } else { None };
    only.or(usual).map(|list| list.pointer.clone())
}

fn link(about: &[Member<'_>]) -> Option<String> {
    let is_text = |it: &&Member<'_>| !it.view.is("object") && !it.view.is("array") && !it.view.is("integer");
    let named = about.iter().filter(is_text).find(|it| LINKS.contains(&it.name.as_str()));
    let uri = |it: &&Member<'_>| it.name == "next" && it.view.word("format").starts_with("ur");
    // `links: {next}` and `_links: {next: {href}}`
    let linked = |it: &&Member<'_>| {
        (it.name == "next" && plain(&it.pointer).starts_with("links")) || it.name == "nexthref"
    };
    let found = named.or_else(|| about.iter().filter(is_text).find(|it| uri(it) || linked(it)));
    found.map(|it| it.pointer.clone())
}

/// What the answer gives and which argument takes it.
fn token(query: &[&Parameter], about: &[Member<'_>]) -> Option<(String, String)> {
    let given = GIVEN.iter().find_map(|name| {
        about.iter().find(|it| {
            (it.name == *name || it.name.strip_prefix("next") == Some(name))
                && !it.view.is("object")
                && !it.view.is("boolean")
        })
    })?;
    let takes = |parameter: &&&Parameter| {
        let schema = parameter.schema.value_within(4 << 10);
        !View::of(&schema).is("integer") || given.view.is("integer")
    };
    let sent = SENT.iter().find_map(|name| query.iter().filter(takes).find(|it| plain(&it.name) == *name))?;
    Some((given.pointer.clone(), sent.argument.clone()))
}

fn total(about: &[Member<'_>]) -> Option<String> {
    let number = |it: &&Member<'_>| it.view.is("integer") || it.view.is("number");
    let found = TOTALS.iter().find_map(|name| about.iter().filter(number).find(|it| it.name == *name));
    // Not `count`: it is as often the number of items in this page.
    found.map(|it| it.pointer.clone())
}

/// The parameter that takes a number.
fn counted<'a>(query: &[&'a Parameter], names: &[&str]) -> Option<&'a Parameter> {
    names.iter().find_map(|name| {
        query.iter().copied().find(|it| {
            let schema = it.schema.value_within(4 << 10);
            let view = View::of(&schema);
            plain(&it.name) == *name && (view.is("integer") || view.is("number"))
        })
    })
}

/// Where a parameter says that counting begins.
fn starts_at(parameter: &Parameter) -> Option<u64> {
    let schema = parameter.schema.value_within(4 << 10);
    let view = View::of(&schema);
    view.value("default").as_u64().or_else(|| view.value("minimum").as_u64())
}

/// The member that is an offset.
fn offset(view: View<'_>) -> Option<&str> {
    let fits =
        |(name, view): &(&str, View<'_>)| OFFSETS.contains(&plain(name).as_str()) && view.is("integer");
    view.members().into_iter().find(fits).map(|(name, _)| name)
}

/// Where the body of a search takes an offset.
fn in_body(operation: &Operation) -> Option<String> {
    let body = operation.body.as_ref()?;
    let schema = body.schema.value_within(64 << 10);
    let top = View::of(&schema);
    if let Some(name) = offset(top) {
        return Some(step(name));
    }
    let (holder, name) = top
        .members()
        .into_iter()
        .filter(|(name, _)| ABOUT.contains(&plain(name).as_str()))
        .find_map(|(name, view)| Some((name, offset(view)?)))?;
    Some(format!("{}{}", step(holder), step(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::json;

    fn of(method: &str, parameters: &Value, body: &Value, answer: &Value) -> String {
        let mut operation = json!({"operationId": "x", "parameters": parameters,
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": answer}}}}});
        if !body.is_null() {
            operation["requestBody"] = json!({"content": {"application/json": {"schema": body}}});
        }
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "paths": {"/x": {method: operation}}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let operation = &document.operations[0];
        let answer = operation.responses["200"].schema.as_ref().unwrap().value();
        match pages(operation, &answer, false) {
            Found::Pages(pages) => format!(
                "{:?} {} {} {}",
                pages.style,
                pages.cursor.unwrap_or_default(),
                pages.send.unwrap_or_default(),
                pages.items.unwrap_or_default()
            ),
            Found::Unsure(why) => why.to_owned(),
            Found::Nothing => String::from("nothing"),
        }
    }

    fn list(members: &Value) -> Value {
        let mut properties = json!({"data": {"type": "array", "items": {}}});
        properties.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"type": "object", "properties": properties})
    }

    fn query(name: &str, kind: &str) -> Value {
        json!([{"name": name, "in": "query", "schema": {"type": kind}}])
    }

    #[test]
    fn each_usual_way_to_page_is_recognised() {
        let text = json!({"type": "string"});
        let number = json!({"type": "integer"});
        let nothing = Value::Null;
        for (parameters, answer, expected) in [
            (
                query("cursor", "string"),
                list(&json!({"next_cursor": text})),
                "Token /next_cursor cursor /data",
            ),
            (
                query("page_token", "string"),
                list(&json!({"nextPageToken": text})),
                "Token /nextPageToken page_token /data",
            ),
            (
                query("page[after]", "string"),
                list(&json!({"meta": {"type": "object", "properties": {"after": text}}})),
                "Token /meta/after page_after /data",
            ),
            (
                query("skip", "integer"),
                list(&json!({"@odata.nextLink": text})),
                "Link /@odata.nextLink  /data",
            ),
            (
                json!([]),
                list(&json!({"_links": {"type": "object", "properties": {"next": {"type": "object",
                    "properties": {"href": text}}}}})),
                "Link /_links/next/href  /data",
            ),
            (
                json!([]),
                list(&json!({"next": {"type": ["string", "null"], "format": "uri"}})),
                "Link /next  /data",
            ),
            (query("offset", "integer"), list(&json!({"total": number})), "Offset /total offset /data"),
            (
                query("$skip", "integer"),
                list(&json!({"pagination": {"type": "object", "properties": {"total": number}}})),
                "Offset /pagination/total skip /data",
            ),
            (query("page", "integer"), list(&json!({})), "Page  page /data"),
            (query("page", "string"), list(&json!({"next": text})), "Token /next page /data"),
        ] {
            assert_eq!(of("get", &parameters, &nothing, &answer), expected);
        }
        let body = json!({"type": "object", "properties": {"pagination": {"type": "object",
            "properties": {"offset": number, "limit": number}}}});
        let answer = list(&json!({"pagination": {"type": "object", "properties": {"total": number}}}));
        assert_eq!(
            of("post", &json!([]), &body, &answer),
            "Offset /pagination/total /pagination/offset /data"
        );
    }

    #[test]
    fn what_is_half_there_or_counts_oddly_is_not_acted_on() {
        let nothing = Value::Null;
        let zero = json!([{"name": "page", "in": "query", "schema": {"type": "integer", "default": 0}}]);
        assert_eq!(of("get", &zero, &nothing, &list(&json!({}))), "its pages seem to count from 0");
        let one = json!([{"name": "start", "in": "query", "schema": {"type": "integer", "minimum": 1}}]);
        assert_eq!(of("get", &one, &nothing, &list(&json!({}))), "its offset does not count from 0");
        // a token that no parameter takes, a parameter without a list, two lists of unknown names
        assert_eq!(
            of("get", &json!([]), &nothing, &list(&json!({"next_cursor": {"type": "string"}}))),
            "nothing"
        );
        assert_eq!(of("get", &query("cursor", "string"), &nothing, &json!({"type": "object"})), "nothing");
        let two = json!({"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": "array"}}});
        assert_eq!(of("get", &query("offset", "integer"), &nothing, &two), "nothing");
    }
}
