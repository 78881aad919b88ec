//! What leads from one page to the next.
//!
//! Owns [`Follow`]. The idea: a manifest's [`Pages`] settled against the operation they are for; from one answer it says
//! where the next begins: another query on the same address, or another value of one argument.
//!
//! Must not: change an argument of the caller that is not about paging.

use serde::Serialize;

use super::at::{At, print};
use super::{address, link};
use crate::connectors::document::{Operation, Place};
use crate::connectors::manifest::{PageStyle, Pages};
use crate::connectors::request::Plan;
use crate::error::{Error, Kind, Result};
use crate::http::{HeaderMap, HeaderName, Request};
use crate::json::{Map, Value, json, pointer};

/// Bytes of a token or query that is remembered.
const LONGEST: usize = 4_096;
/// Names that the list of an answer has, if it has several.
const LISTS: &[&str] =
    &["items", "data", "results", "value", "values", "entries", "records", "list", "resources", "objects"];
/// What comes after a page.
pub(super) enum Next {
    /// Nothing.
    End,
    /// A page that begins there.
    At(At),
    /// Something outside of the operation's address, or that holds a credential.
    Elsewhere,
    /// A page that was there before.
    Again,
    /// Nothing: this page is the one before once more.
    Same,
}

/// Where the next request says where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
enum Send {
    /// In an argument.
    Argument(String),
    /// In the body: the argument, and where in it.
    Body(String, String),
}

/// How the pages of one operation follow each other.
#[derive(Debug)]
pub(in crate::connectors) struct Follow {
    style: PageStyle,
    pub(super) cursor: Option<String>,
    header: Option<HeaderName>,
    send: Option<Send>,
    items: Option<String>,
    more: Option<String>,
    total: Option<String>,
    id: String,
    first: u64,
    /// Whether the next page is asked for without what the caller asked for.
    pub(super) alone: bool,
    pub(super) limit: usize,
    pub(super) most: usize,
    /// Whether an answer has to keep the upstream's own word for the next page: its schema may ask for it.
    pub(in crate::connectors) whole: bool,
}

impl Follow {
    /// What is done where nothing is known: a `Link` header that leads on is remembered, not followed.
    pub(in crate::connectors) fn header() -> Self {
        Self {
            style: PageStyle::LinkHeader,
            cursor: None,
            header: None,
            send: None,
            items: None,
            more: None,
            total: None,
            id: String::new(),
            first: 0,
            alone: false,
            limit: usize::MAX / 2,
            most: 1,
            whole: false,
        }
    }

    /// In a word, for people; none where nothing is known.
    pub(in crate::connectors) fn word(&self) -> Option<&'static str> {
        Some(match self.style {
            PageStyle::Token => "token",
            PageStyle::Link => "link",
            PageStyle::LinkHeader if self.limit == Self::header().limit => return None,
            PageStyle::LinkHeader => "link_header",
            PageStyle::Offset => "offset",
            PageStyle::Page => "page",
            PageStyle::Last => "last",
            PageStyle::None => return None,
        })
    }

    /// Settles what a manifest says against the operation.
    pub(in crate::connectors) fn new(pages: &Pages, operation: &Operation) -> Result<Self> {
        // A token goes back under its own name unless the manifest says another.
        let own = pages.cursor.as_ref().filter(|_| pages.style == PageStyle::Token);
        let sends = !matches!(pages.style, PageStyle::Link | PageStyle::LinkHeader | PageStyle::None);
        let send =
            pages.send.as_ref().or(own).filter(|_| sends).map(|name| sent(name, operation)).transpose()?;
        let header = pages.header.as_ref().map(|name| HeaderName::from_bytes(name.as_bytes()));
        let header = header.transpose().map_err(|cause| {
            Error::new(Kind::BadConfig, "`header` of `pages` is no name of a header.").with_source(cause)
        })?;
        let place = |named: &Option<String>| named.as_deref().map(pointer);
        let numbered = pages.style == PageStyle::Page;
        Ok(Self {
            style: pages.style,
            cursor: place(&pages.cursor).filter(|_| pages.style != PageStyle::Last),
            header,
            send,
            items: place(&pages.items),
            more: place(&pages.more),
            total: place(&pages.total),
            id: pointer(pages.id.as_deref().unwrap_or("id")),
            first: pages.first.unwrap_or(u64::from(numbered)),
            alone: pages.alone,
            limit: pages.limit,
            most: pages.most,
            whole: false,
        })
    }

    /// All of it, to see whether it is as before.
    pub(in crate::connectors) fn wire(&self) -> Value {
        let Self { style, cursor, header, send, items, more, total, id, first, alone, limit, most, whole } =
            self;
        let header = header.as_ref().map(HeaderName::as_str);
        json!([style, cursor, header, send, items, more, total, id, first, alone, limit, most, whole])
    }

    /// The request for what begins there.
    pub(in crate::connectors) fn request(
        &self,
        plan: &Plan,
        arguments: &Map<String, Value>,
        at: &At,
    ) -> Result<Request> {
        let mut request = match (&at.send, &self.send) {
            (None, _) => plan.request(arguments)?,
            (Some(value), Some(send)) => {
                let mut following = arguments.clone();
                if self.alone {
                    address::alone(plan, &mut following);
                }
                send.set(&mut following, value.clone()).ok_or_else(|| {
                    let message = "The body has something else where the next page has to be asked for.";
                    Error::new(Kind::BadArguments, message)
                })?;
                plan.request(&following)?
            }
            (Some(_), None) => {
                let message =
                    "The pages of this list follow each other otherwise by now; make the call again anew.";
                return Err(Error::new(Kind::BadArguments, message));
            }
        };
        if let Some(query) = &at.query {
            request.url.set_query(Some(query));
        }
        Ok(request)
    }

    /// Where the list of an answer is.
    pub(super) fn items(&self, value: &Value) -> Option<String> {
        let is_list = |place: &str| value.pointer(place).is_some_and(Value::is_array);
        if let Some(named) = &self.items {
            return is_list(named).then(|| named.clone());
        }
        if value.is_array() {
            return Some(String::new());
        }
        let lists = value.as_object()?.iter().filter(|(_, value)| value.is_array()).map(|(name, _)| name);
        let lists: Vec<&String> = lists.collect();
        let usual: Vec<&String> =
            lists.iter().copied().filter(|name| LISTS.contains(&name.as_str())).collect();
        match (&lists[..], &usual[..]) {
            ([only], _) | (_, [only]) => Some(pointer(only)),
            _ => None,
        }
    }

    /// What comes after a page that began at `at`.
    pub(super) fn next(
        &self,
        (value, headers, items): (&Value, &HeaderMap, &[Value]),
        (plan, request, arguments): (&Plan, &Request, &Map<String, Value>),
        at: &At,
    ) -> Next {
        if self.more.as_deref().and_then(|more| value.pointer(more)) == Some(&Value::Bool(false)) {
            return Next::End;
        }
        let said = self.cursor.as_deref().and_then(|cursor| value.pointer(cursor));
        let count = items.len();
        let onto = match self.style {
            PageStyle::None => return Next::End,
            PageStyle::Link | PageStyle::LinkHeader => {
                let address = match self.style {
                    PageStyle::LinkHeader => link::next(headers),
                    _ => said
                        .and_then(|said| said.as_str().or_else(|| said.get("href")?.as_str()))
                        .map(str::to_owned),
                };
                let Some(address) = address.filter(|address| !address.is_empty()) else { return Next::End };
                let Some(query) = address::query((plan, self.alone), request, &address, arguments) else {
                    return Next::Elsewhere;
                };
                if request.url.query().unwrap_or_default() == query {
                    return Next::Again;
                }
                At { query: Some(query), ..At::default() }
            }
            PageStyle::Token => {
                let header = self.header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
                let token = match header.map(|text| json!(text)).as_ref().or(said) {
                    Some(Value::String(token)) if !token.is_empty() => json!(token),
                    Some(token @ Value::Number(_)) => token.clone(),
                    Some(token @ Value::Object(parts))
                        if !parts.is_empty() && matches!(self.send, Some(Send::Body(..))) =>
                    {
                        token.clone()
                    }
                    _ => return Next::End,
                };
                At { send: Some(token), ..At::default() }
            }
            PageStyle::Last => match items.last().and_then(|item| item.pointer(&self.id)) {
                Some(id @ (Value::String(_) | Value::Number(_))) => {
                    At { send: Some(id.clone()), ..At::default() }
                }
                _ => return Next::End,
            },
            PageStyle::Offset | PageStyle::Page if count == 0 => return Next::End,
            PageStyle::Offset | PageStyle::Page => match self.numbered(value, said, items, arguments, at) {
                Some(next) => return next,
                None => return Next::End,
            },
        };
        self.onto(onto, at, count, arguments)
    }

    /// A number that rises; none where the end is reached.
    fn numbered(
        &self,
        value: &Value,
        said: Option<&Value>,
        items: &[Value],
        arguments: &Map<String, Value>,
        at: &At,
    ) -> Option<Next> {
        let begun = self.send.as_ref().and_then(|send| send.get(arguments)).and_then(number);
        let from = at.send.as_ref().and_then(number).or(begun).unwrap_or(self.first);
        let count = items.len() as u64;
        let total = self.total.as_deref().and_then(|total| value.pointer(total)).and_then(number);
        let had = (at.items as u64).saturating_add(count);
        // numbers are the upstream's and the caller's: beyond the largest there is nothing
        let (next, done) = if self.style == PageStyle::Offset {
            let (next, total) = (from.checked_add(count)?, total.or_else(|| said.and_then(number)));
            (next, total.is_some_and(|total| next >= total.saturating_add(self.first)))
        } else {
            let next = from.checked_add(1)?;
            let last = said.and_then(number).is_some_and(|pages| next >= pages.saturating_add(self.first));
            (next, last || (begun.is_none() && total.is_some_and(|total| had >= total)))
        };
        if done {
            return None;
        }
        // An upstream that does not listen answers the same again and again.
        let print = print(&json!([items.first(), items.last(), count]));
        if at.mark.as_ref() == Some(&print) {
            return Some(Next::Same);
        }
        Some(Next::At(At {
            send: Some(json!(next)),
            pages: at.pages.saturating_add(1),
            items: at.items.saturating_add(items.len()),
            mark: Some(print),
            ..At::default()
        }))
    }

    fn onto(&self, onto: At, at: &At, count: usize, arguments: &Map<String, Value>) -> Next {
        let length = onto.query.as_ref().map_or(0, String::len)
            + onto.send.as_ref().map_or(0, |send| send.to_string().len());
        if length > LONGEST {
            return Next::Elsewhere;
        }
        let given = self.send.as_ref().and_then(|send| send.get(arguments));
        let before = at.send.as_ref().or(given);
        let print = onto.key();
        let same = onto.send.is_some() && onto.send.as_ref() == before;
        if same || at.mark.as_ref() == Some(&print) {
            return Next::Again;
        }
        let pages = at.pages.saturating_add(1);
        let mark = if pages.is_power_of_two() { Some(print) } else { at.mark.clone() };
        Next::At(At { pages, items: at.items.saturating_add(count), mark, ..onto })
    }

    /// Takes out of an answer the upstream's own word for the next page, and says whether it was there.
    pub(super) fn conceal(&self, value: &mut Value) -> bool {
        let Some(place) = self.own().filter(|_| !self.whole) else { return false };
        let Some((parent, name)) = place.rsplit_once('/') else { return false };
        let Some(Value::Object(members)) = value.pointer_mut(parent) else { return false };
        members.shift_remove(&pointer::plain(name)).is_some()
    }

    /// Where an answer names the next page.
    fn own(&self) -> Option<&String> {
        self.cursor.as_ref().filter(|_| matches!(self.style, PageStyle::Token | PageStyle::Link))
    }

    /// What the last page says of what comes next takes the place of what the first one said.
    pub(super) fn carry(&self, value: &mut Value, page: &Value) {
        for place in self.own().into_iter().chain(&self.more) {
            let last = page.pointer(place).cloned().unwrap_or(Value::Null);
            if let Some(known) = value.pointer_mut(place) {
                *known = last;
            }
        }
    }
}

impl Send {
    fn get<'a>(&self, arguments: &'a Map<String, Value>) -> Option<&'a Value> {
        match self {
            Self::Argument(name) => arguments.get(name),
            Self::Body(argument, place) => arguments.get(argument)?.pointer(place),
        }
    }

    /// Sets the argument, or the place in the body, making the objects on the way.
    fn set(&self, arguments: &mut Map<String, Value>, value: Value) -> Option<()> {
        match self {
            Self::Argument(name) => {
                arguments.insert(name.clone(), value);
            }
            Self::Body(argument, place) => {
                let mut there = arguments.entry(argument.as_str()).or_insert_with(|| json!({}));
                for name in place.split('/').skip(1) {
                    let name = pointer::plain(name);
                    there = there.as_object_mut()?.entry(name).or_insert_with(|| json!({}));
                }
                *there = value;
            }
        }
        Some(())
    }
}

/// What a name is sent in: an argument, a parameter by its name on the wire, or a place in the body.
fn sent(name: &str, operation: &Operation) -> Result<Send> {
    if name.starts_with('/')
        && let Some(body) = &operation.body
    {
        return Ok(Send::Body(body.argument.clone(), name.to_owned()));
    }
    let open = || operation.parameters.iter().filter(|it| it.fixed.is_none() && it.place != Place::Path);
    let found = open().find(|it| it.argument == name).or_else(|| open().find(|it| it.name == name));
    let found = found.map(|it| Send::Argument(it.argument.clone()));
    found.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            "`send` of `pages` has to name an argument of the operation, or, beginning with /, a place in its body.",
        )
    })
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A JSON Pointer, or a name at the top level.
fn pointer(text: &str) -> String {
    if text.is_empty() || text.starts_with('/') {
        text.to_owned()
    } else {
        format!("/{}", pointer::escaped(text))
    }
}

/// What is said of a list that ends early.
pub(super) mod words {
    use crate::protocol::types::Content;

    pub(in crate::connectors::pages) fn elsewhere(name: &str) -> Content {
        Content::text(format!(
            "The list goes on, but {name} names a next page that is not at the address of this operation, or that repeats \
             a credential; that is not followed."
        ))
    }

    pub(in crate::connectors::pages) fn again(name: &str) -> Content {
        Content::text(format!(
            "{name} leads to a page that was there before, so the list ends here; it may not be whole."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(pages: Value) -> Follow {
        let pages: Pages = serde_json::from_value(pages).unwrap();
        Follow::new(&pages, &Operation::default()).unwrap()
    }

    #[test]
    fn the_only_array_holds_the_items() {
        let link = follow(json!({"style": "link", "cursor": "next"}));
        assert_eq!(link.items(&json!({"things": [], "next": "x"})).as_deref(), Some("/things"));
        assert_eq!(link.items(&json!({"a": [], "b": []})), None);
        assert_eq!(link.items(&json!({"errors": [], "data": []})).as_deref(), Some("/data"));
        assert_eq!(link.items(&json!([1])).as_deref(), Some(""));
        let named = follow(json!({"style": "link", "cursor": "@odata.nextLink", "items": "/x/y"}));
        assert_eq!(named.items(&json!({"x": {"y": [1]}, "z": []})).as_deref(), Some("/x/y"));
    }

    #[test]
    fn a_place_in_the_body_is_made() {
        let mut arguments = Map::new();
        let send = |place: &str| Send::Body(String::from("body"), place.to_owned());
        send("/pagination/offset").set(&mut arguments, json!(20)).unwrap();
        assert_eq!(arguments["body"], json!({"pagination": {"offset": 20}}));
        assert!(send("/pagination/offset/deeper").set(&mut arguments, json!(1)).is_none());
    }

    #[test]
    fn circles_are_seen_however_long_they_are() {
        let token = Follow { style: PageStyle::Token, ..Follow::header() };
        for length in [1_usize, 2, 3, 7, 20] {
            let mut at = At::default();
            let ended = (0..200).any(|page| {
                let onto = At { send: Some(json!(format!("c{}", page % length))), ..At::default() };
                match token.onto(onto, &at, 1, &Map::new()) {
                    Next::At(next) => at = next,
                    _ => return true,
                }
                false
            });
            assert!(ended, "{length}");
        }
    }
}
