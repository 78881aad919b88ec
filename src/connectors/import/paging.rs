//! How the pages of an answer follow each other, for `connector.toml`.
//!
//! Owns [`pages`]. The idea: what would be found while serving is written down, so that a person can see and mend it; beyond
//! that only the offset in the body of a search, which a read of the document alone does not follow.
//!
//! Must not: infer what `pages/infer.rs` infers.

use crate::connectors::document::Operation;
use crate::connectors::infer_pages;
use crate::connectors::manifest::{PageStyle, Pages};
use crate::connectors::shape::Look;
use crate::json::pointer;

/// Objects that say something of a page; members that take an offset, that limit, and that count.
const ABOUT: [&str; 5] = ["pagination", "paging", "page", "meta", "metadata"];
const OFFSETS: [&str; 4] = ["offset", "skip", "start", "from"];
const SIZES: [&str; 6] = ["limit", "size", "top", "count", "pageSize", "page_size"];
const TOTALS: [&str; 5] = ["total", "totalCount", "total_count", "totalResults", "total_results"];

/// The way to page; `linked` where the document says that the answer has a `Link` header, `looks` where the words of a
/// POST say that it only looks.
pub(super) fn pages(operation: &Operation, linked: bool, looks: bool) -> Option<Pages> {
    let found = infer_pages(operation).or_else(|| looks.then(|| search(operation)).flatten());
    let header = linked && operation.method == "GET";
    found.or_else(|| header.then(|| Pages { style: PageStyle::LinkHeader, most: 1, ..Pages::default() }))
}

/// The offset in the body of a search whose answer holds one list and says how many there are.
fn search(operation: &Operation) -> Option<Pages> {
    let (_, answer) = operation.responses.iter().find(|(status, _)| status.starts_with('2'))?;
    let answer = answer.schema.as_ref()?.look();
    let members = answer.properties();
    let mut lists = members.iter().filter(|(_, member)| member.is("array"));
    let (items, None) = (lists.next()?.0, lists.next()) else { return None };
    let total = beside(answer, &TOTALS)?;
    let body = operation.body.as_ref()?.schema.look();
    let send = beside(body, &OFFSETS)?;
    beside(body, &SIZES)?;
    Some(Pages {
        style: PageStyle::Offset,
        send: Some(send),
        total: Some(total),
        items: Some(step(items)),
        ..Pages::default()
    })
}

/// Where a number of one of these names is: at the top, or in what says something of the page.
fn beside(look: Look<'_>, names: &[&str]) -> Option<String> {
    let number = |look: Look<'_>| {
        let found = look.properties().into_iter().find(|(name, it)| names.contains(name) && it.is("integer"));
        found.map(|(name, _)| step(name))
    };
    number(look).or_else(|| {
        let about = look.properties().into_iter().filter(|(name, _)| ABOUT.contains(name));
        about.into_iter().find_map(|(name, inner)| Some(format!("{}{}", step(name), number(inner)?)))
    })
}

/// A name as a step of a JSON Pointer.
pub(super) fn step(name: &str) -> String {
    format!("/{}", pointer::escaped(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::{Value, json};

    fn of(method: &str, body: &Value, answer: &Value, linked: bool) -> Option<Pages> {
        let mut operation = json!({"operationId": "x",
            "responses": {"200": {"description": "", "content": {"application/json": {"schema": answer}}}}});
        if !body.is_null() {
            operation["requestBody"] = json!({"content": {"application/json": {"schema": body}}});
        }
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "paths": {"/x": {method: operation}}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        pages(&document.operations[0], linked, method == "post")
    }

    #[test]
    fn the_offset_in_the_body_of_a_search_is_sent_on() {
        let number = json!({"type": "integer"});
        let page =
            json!({"type": "object", "properties": {"offset": number, "limit": number, "total": number}});
        let body = json!({"type": "object", "properties": {"pagination": page}});
        let answer = json!({"type": "object", "properties": {"pagination": page, "data": {"type": "array"}}});
        let found = of("post", &body, &answer, false).unwrap();
        assert_eq!(found.send.as_deref(), Some("/pagination/offset"));
        assert_eq!(
            (found.total.as_deref(), found.items.as_deref()),
            (Some("/pagination/total"), Some("/data"))
        );
        assert_eq!(of("post", &json!({"type": "object"}), &answer, false), None);
        let two = json!({"type": "object", "properties": {"pagination": page, "a": {"type": "array"}, "b": {"type": "array"}}});
        assert_eq!(of("post", &body, &two, false), None);
        let linked = of("get", &Value::Null, &json!({"type": "array"}), true).unwrap();
        assert_eq!(linked.style, PageStyle::LinkHeader);
        assert_eq!(of("get", &Value::Null, &json!({"type": "array"}), false), None);
    }
}
