//! One page of a list, and how to ask for the next.
//!
//! Owns [`Page`]. The idea: vendors spell paging in a handful of ways (an offset, a number, a token, an address in the
//! body or in a header, the last item); which one an operation speaks is read off its own parameters and its own answer.
//!
//! Must not: know what is listed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::book::Book;
use super::recipe::View;
use super::request::Call;
use crate::connectors::document::Place;
use crate::json::{Map, Value, json};

const LIMITS: &[&str] = &[
    "limit",
    "pagesize",
    "page_size",
    "per_page",
    "perpage",
    "$top",
    "top",
    "maxresults",
    "max_results",
    "count",
    "size",
];
const OFFSETS: &[&str] = &["offset", "start", "skip", "$skip", "startat"];
const NUMBERS: &[&str] = &["page", "pagenumber", "page_number", "pageno", "page_no"];
const CURSORS: &[&str] = &[
    "cursor",
    "pagetoken",
    "page_token",
    "after",
    "nexttoken",
    "next_token",
    "$skiptoken",
    "continuationtoken",
    "next",
    "marker",
];
/// The parameter that takes the last item.
const LASTS: &[&str] = &["starting_after", "startingafter"];
/// Members of an answer, or of a body, that say something of the page.
const INSIDE: &[&str] =
    &["pagination", "paging", "page", "meta", "metadata", "page_info", "pageinfo", "cursors"];
/// The parameter of an address that we name although the operation has none for pages.
const OWN: &str = "$skiptoken";

/// How an operation speaks of pages.
pub(super) struct Speech {
    /// The names of its query parameters.
    pub names: Vec<String>,
    /// The number of its first page.
    pub first: usize,
}

impl Speech {
    /// Read off an operation.
    pub(super) fn of(book: &Book, operation: usize) -> Self {
        let declared = &book.operation(operation).parameters;
        let queries = || (0..declared.len()).filter(|at| declared[*at].place == Place::Query);
        let numbers = queries().find(|at| among(NUMBERS, &declared[*at].name));
        let plain = numbers.map(|at| book.parameter(operation, at).1.plain());
        let first = plain.map_or(1, |view| usize::from(view.minimum.is_none_or(|least| least > 0.0)));
        Self { names: queries().map(|at| declared[at].name.clone()).collect(), first }
    }

    fn name(&self, names: &[&str]) -> Option<&str> {
        self.names.iter().find(|name| among(names, name)).map(String::as_str)
    }
}

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub offset: usize,
    pub limit: usize,
    /// The item before it, where that is what was asked by.
    pub after: Option<String>,
}

/// A page that was cut.
pub(super) struct Cut {
    pub items: Vec<Value>,
    pub total: usize,
    pub page: Page,
    /// Path and query of the neighbours.
    pub next: Option<String>,
    pub previous: Option<String>,
    /// The next page as a token.
    pub token: Option<String>,
    /// The next page as a number.
    pub number: Option<usize>,
    /// Whether the operation takes a token of that name.
    takes_next: bool,
    first: usize,
}

fn among(names: &[&str], name: &str) -> bool {
    names.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a query parameter is about paging.
pub(super) fn is_paging(name: &str) -> bool {
    [LIMITS, OFFSETS, NUMBERS, CURSORS, LASTS].iter().any(|names| among(names, name))
}

/// Whether a parameter that no operation declares is one that an address of ours has.
pub(super) fn is_own(name: &str, value: &str) -> bool {
    name == OWN && opened(value).is_some()
}

fn sealed(offset: usize) -> String {
    URL_SAFE_NO_PAD.encode(offset.to_string())
}

fn opened(text: &str) -> Option<usize> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?.parse().ok()
}

impl Page {
    /// A page with everything.
    pub(super) fn whole(items: usize) -> Self {
        Self { offset: 0, limit: items.max(1), after: None }
    }

    /// The page that a call asks for, in its query or in its body.
    pub(super) fn of(call: &Call, speech: &Speech, usual: usize, most: usize) -> Self {
        let body = call.body.as_ref().and_then(Value::as_object);
        let inside = body.into_iter().flat_map(|body| {
            body.iter().filter(|(name, _)| among(INSIDE, name)).filter_map(|(_, value)| value.as_object())
        });
        let places: Vec<&Map<String, Value>> = [&call.query].into_iter().chain(body).chain(inside).collect();
        let said = |names: &[&str]| -> Vec<&Value> {
            let all = places.iter().flat_map(|place| place.iter());
            all.filter(|(name, _)| among(names, name)).map(|(_, value)| value).collect()
        };
        let number = |names: &[&str]| {
            let found = said(names).into_iter().find_map(Value::as_u64);
            found.and_then(|number| usize::try_from(number).ok())
        };
        let limit = number(LIMITS).unwrap_or(usual).clamp(1, most.max(1));
        let cursor = said(CURSORS).into_iter().filter_map(Value::as_str).find_map(opened);
        let offset = cursor
            .or_else(|| number(OFFSETS))
            .or_else(|| number(NUMBERS).map(|page| page.saturating_sub(speech.first) * limit))
            .unwrap_or(0);
        let after = said(LASTS).into_iter().find_map(Value::as_str).map(str::to_owned);
        Self { offset, limit, after }
    }

    /// Cuts the page out of a whole list.
    pub(super) fn cut(mut self, call: &Call, speech: &Speech, path: &str, all: Vec<Value>) -> Cut {
        if let Some(after) = &self.after {
            let is_it = |item: &Value| match item.get("id") {
                Some(Value::String(id)) => id == after,
                Some(Value::Number(id)) => {
                    let id = id.to_string();
                    id == *after
                }
                _ => false,
            };
            self.offset = all.iter().position(is_it).map_or(all.len(), |at| at + 1);
        }
        let total = all.len();
        let items: Vec<Value> = all.into_iter().skip(self.offset).take(self.limit).collect();
        let after = self.offset.saturating_add(self.limit);
        let more = after < total;
        Cut {
            next: more.then(|| address(call, speech, path, after, self.limit)),
            previous: (self.offset > 0)
                .then(|| address(call, speech, path, self.offset.saturating_sub(self.limit), self.limit)),
            token: more.then(|| sealed(after)),
            number: more.then(|| after / self.limit + speech.first),
            takes_next: speech.name(&["next"]).is_some(),
            first: speech.first,
            items,
            total,
            page: self,
        }
    }
}

/// The same request for another page, as path and query.
fn address(call: &Call, speech: &Speech, path: &str, offset: usize, limit: usize) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(call.raw_query.as_bytes()) {
        if !is_paging(&name) {
            query.append_pair(&name, &value);
        }
    }
    if let Some(name) = speech.name(CURSORS) {
        query.append_pair(name, &sealed(offset));
    } else if let Some(name) = speech.name(NUMBERS) {
        query.append_pair(name, &(offset / limit + speech.first).to_string());
    } else if let Some(name) = speech.name(OFFSETS) {
        query.append_pair(name, &offset.to_string());
    } else {
        query.append_pair(OWN, &sealed(offset));
    }
    if let Some(name) = speech.name(LIMITS) {
        query.append_pair(name, &limit.to_string());
    }
    format!("{path}?{}", query.finish())
}

impl Cut {
    /// What the answer's schema wants to be told of the page, beside the items.
    pub(super) fn describe(&self, view: View<'_>, root: &str) -> Map<String, Value> {
        let flat = view.plain();
        let mut told = Map::new();
        let absolute = || self.next.as_ref().map(|next| format!("{root}{next}"));
        for (name, at) in &flat.properties {
            let inner = view.of(at).plain();
            let kind = inner.main_type().unwrap_or_default();
            // what has to be there is empty on the last page, and not made up
            let text = |said: Option<String>| {
                said.map(Value::from)
                    .or_else(|| (kind == "string" && flat.required.contains(name)).then(|| json!("")))
            };
            let lower: String = name.to_ascii_lowercase().replace(['_', '-'], "");
            let value = match lower.as_str() {
                "links" | "link" if kind == "object" => self.nested(view.of(at), root),
                _ if kind == "object" && among(INSIDE, name) => {
                    let mut page = match *name {
                        "pagination" | "paging" => self.pagination(),
                        _ => json!({}),
                    };
                    if let (Value::Object(page), Some(Value::Object(inner))) =
                        (&mut page, self.nested(view.of(at), root))
                    {
                        page.extend(inner);
                    }
                    page.as_object().is_some_and(|page| !page.is_empty()).then_some(page)
                }
                "next" if kind == "object" => absolute().map(|next| json!({"href": next})),
                "next" if self.takes_next => text(self.token.clone()),
                "next" if inner.format.is_some_and(|format| format.starts_with("ur")) => text(absolute()),
                "next" => text(self.next.clone()),
                "previous" => self.previous.clone().map(Value::from),
                "@odata.nextlink" | "nextlink" | "nexturl" | "nextpageurl" => text(absolute()),
                "nextpage" if kind == "integer" => self.number.map(Value::from),
                "nextpagetoken" | "nextcursor" | "nexttoken" | "nextmarker" | "continuationtoken"
                | "endcursor" | "nextpagecursor" | "nextpage" => text(self.token.clone()),
                "after" if kind == "string" => text(self.token.clone()),
                "nextoffset" => self.next.is_some().then(|| json!(self.page.offset + self.page.limit)),
                "total" | "totalcount" | "totalitems" | "totalresults" | "totalelements" | "@odata.count" => {
                    Some(json!(self.total))
                }
                "totalpages" | "pagecount" | "lastpage" if kind != "object" => {
                    Some(json!(self.total.div_ceil(self.page.limit)))
                }
                "page" | "pagenumber" | "currentpage" if kind == "integer" => {
                    Some(json!(self.page.offset / self.page.limit + self.first))
                }
                "count" => Some(json!(self.items.len())),
                "offset" | "startat" => Some(json!(self.page.offset)),
                "limit" | "pagesize" | "perpage" => Some(json!(self.page.limit)),
                "hasmore" | "hasnext" | "hasnextpage" => Some(json!(self.next.is_some())),
                _ => None,
            };
            if let Some(value) = value {
                told.insert((*name).to_owned(), value);
            }
        }
        told
    }

    fn nested(&self, view: View<'_>, root: &str) -> Option<Value> {
        let told = self.describe(view, root);
        (!told.is_empty()).then_some(Value::Object(told))
    }

    /// `pagination` as most vendors have it.
    pub(super) fn pagination(&self) -> Value {
        let mut page = json!({"offset": self.page.offset, "limit": self.page.limit, "total": self.total});
        for (name, link) in [("next", &self.next), ("previous", &self.previous)] {
            if let Some(link) = link {
                page[name] = link.clone().into();
            }
        }
        page
    }
}
