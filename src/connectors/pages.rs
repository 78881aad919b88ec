//! Pages of an answer, one after the other.
//!
//! Owns [`gather`]. The idea: the manifest says where the items are and what leads on; pages are asked for until there
//! is no more, or the cap on items or pages is reached. The first answer keeps its shape: its items are everybody's, its
//! cursor is the last page's.
//!
//! Must not: leave the path of the operation, whatever an answer says comes next.

use super::manifest::{PageStyle, Pages};
use super::request::Plan;
use super::response::{json_body, result, unsent};
use crate::error::Result;
use crate::http::{Client, Request};
use crate::json::{Map, Value, json};
use crate::protocol::types::ToolResult;

/// Answers of several pages as one.
pub(super) struct Gathered {
    pub(super) value: Value,
    /// Whether more could have been had.
    pub(super) more: bool,
    /// An answer that was no success; what was gathered before it is in `value`.
    pub(super) failed: Option<ToolResult>,
}

/// Follows the pages of a first answer.
pub(super) async fn gather(
    client: &Client,
    plan: &Plan,
    pages: &Pages,
    arguments: &Map<String, Value>,
    first: (Request, Value),
) -> Result<Gathered> {
    let (mut request, mut value) = first;
    let Some(place) = items_pointer(&value, pages) else {
        return Ok(Gathered { value, more: false, failed: None });
    };
    let mut seen = 1_usize;
    let mut failed = None;
    let mut more;
    loop {
        let count = items(&value, &place).map_or(0, Vec::len);
        let next = step(pages, &value, &request, (count, seen), arguments).map(|step| match step {
            Step::Query(request) => Ok(Some(*request)),
            Step::Arguments(following) => {
                let following = plan.request(&following)?;
                // What changes nothing would be the same page again.
                let same = following.url == request.url && same_body(&following, &request);
                Ok((!same).then_some(following))
            }
        });
        let next = next.transpose()?.flatten();
        more = next.is_some();
        let Some(next) = next.filter(|_| count < pages.limit && seen < pages.most) else { break };
        request = next;
        let response = match client.send(request.clone()).await {
            Ok(response) => response,
            Err(error) => {
                failed = Some(unsent(error, client.name())?);
                break;
            }
        };
        if !(200..300).contains(&response.status) {
            failed = Some(result(&response, client.name(), true)?);
            break;
        }
        let mut page = json_body(&response, client.name())?;
        seen += 1;
        let fresh =
            page.pointer_mut(&place).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let empty = fresh.is_empty();
        if let Some(all) = value.pointer_mut(&place).and_then(Value::as_array_mut) {
            all.extend(fresh);
        }
        follow(&mut value, &page, pages);
        if empty {
            more = false;
            break;
        }
    }
    Ok(Gathered { value, more, failed })
}

/// What leads to the next page.
enum Step {
    /// The same request with another query.
    Query(Box<Request>),
    /// The same operation with other arguments.
    Arguments(Map<String, Value>),
}

/// What leads to the page after `value`, if there is one. So many items and pages were had (`had`).
fn step(
    pages: &Pages,
    value: &Value,
    request: &Request,
    had: (usize, usize),
    arguments: &Map<String, Value>,
) -> Option<Step> {
    let cursor = pages.cursor.as_deref().and_then(|cursor| value.pointer(&pointer(cursor)));
    let (count, seen) = (had.0 as u64, had.1 as u64);
    let next = match pages.style {
        PageStyle::Link => {
            let following = Plan::following(request, cursor?.as_str()?)?;
            return Some(Step::Query(Box::new(following)));
        }
        PageStyle::Token => match cursor? {
            Value::String(token) if !token.is_empty() => json!(token),
            token @ Value::Number(_) => token.clone(),
            _ => return None,
        },
        PageStyle::Offset => {
            let from = start(pages, arguments);
            let done = cursor.and_then(Value::as_u64).is_some_and(|total| from + count >= total);
            if count == 0 || done {
                return None;
            }
            json!(from + count)
        }
        PageStyle::Page if count == 0 => return None,
        PageStyle::Page => json!(start(pages, arguments).max(1) + seen),
    };
    // A token goes back under its own name unless the manifest says another.
    let send = pages.send.clone().or_else(|| pages.cursor.clone())?;
    let mut following = arguments.clone();
    set(&mut following, &send, next)?;
    Some(Step::Arguments(following))
}

/// Where the caller itself began.
fn start(pages: &Pages, arguments: &Map<String, Value>) -> u64 {
    let send = pages.send.as_deref().unwrap_or_default();
    let value = match send.strip_prefix('/') {
        Some(_) => arguments.get("body").and_then(|body| body.pointer(send)),
        None => arguments.get(send),
    };
    value.and_then(Value::as_u64).unwrap_or(0)
}

/// Sets an argument, or (with a JSON Pointer) a place in the body, making the objects on the way.
fn set(arguments: &mut Map<String, Value>, send: &str, step: Value) -> Option<()> {
    if !send.starts_with('/') {
        arguments.insert(send.to_owned(), step);
        return Some(());
    }
    let mut place = arguments.entry("body").or_insert_with(|| json!({}));
    for name in send.split('/').skip(1) {
        place = place
            .as_object_mut()?
            .entry(name.replace("~1", "/").replace("~0", "~"))
            .or_insert_with(|| json!({}));
    }
    *place = step;
    Some(())
}

fn same_body(left: &Request, right: &Request) -> bool {
    use crate::http::Body;
    match (&left.body, &right.body) {
        (Body::Bytes { bytes: left, .. }, Body::Bytes { bytes: right, .. }) => left == right,
        (Body::Empty, Body::Empty) => true,
        _ => false,
    }
}

/// The cursor of the last page replaces that of the first.
fn follow(value: &mut Value, page: &Value, pages: &Pages) {
    let Some(cursor) = pages.cursor.as_deref().filter(|_| pages.style != PageStyle::Offset) else { return };
    let place = pointer(cursor);
    let last = page.pointer(&place).cloned().unwrap_or(Value::Null);
    if let Some(own) = value.pointer_mut(&place) {
        *own = last;
    }
}

fn items<'a>(value: &'a Value, place: &str) -> Option<&'a Vec<Value>> {
    value.pointer(place).and_then(Value::as_array)
}

fn items_pointer(value: &Value, pages: &Pages) -> Option<String> {
    if let Some(named) = &pages.items {
        let place = pointer(named);
        return items(value, &place).map(|_| place);
    }
    let object = value.as_object()?;
    let mut arrays = object.iter().filter(|(_, value)| value.is_array());
    let (only, others) = (arrays.next(), arrays.next());
    only.filter(|_| others.is_none()).map(|(name, _)| pointer(name))
}

/// A JSON Pointer, or a name at the top level.
fn pointer(text: &str) -> String {
    if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{}", text.replace('~', "~0").replace('/', "~1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_array_holds_the_items() {
        let pages: Pages = serde_json::from_value(json!({"cursor": "next"})).unwrap();
        assert_eq!(items_pointer(&json!({"data": [], "next": "x"}), &pages).as_deref(), Some("/data"));
        assert_eq!(items_pointer(&json!({"a": [], "b": []}), &pages), None);
        let named: Pages =
            serde_json::from_value(json!({"cursor": "@odata.nextLink", "items": "/x/y"})).unwrap();
        assert_eq!(items_pointer(&json!({"x": {"y": [1]}, "z": []}), &named).as_deref(), Some("/x/y"));
    }

    #[test]
    fn a_place_in_the_body_is_made() {
        let mut arguments = Map::new();
        set(&mut arguments, "/pagination/offset", json!(20)).unwrap();
        assert_eq!(arguments["body"], json!({"pagination": {"offset": 20}}));
        assert!(set(&mut arguments, "/pagination/offset/deeper", json!(1)).is_none());
    }
}
