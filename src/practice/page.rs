//! One page of a list, and how to ask for the next.
//!
//! Owns [`Page`]. The idea: vendors spell paging in a handful of ways; which one an operation speaks is read off its
//! own parameters and its own answer.
//!
//! Must not: know what is listed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::recipe::View;
use super::request::Call;
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
const OFFSETS: &[&str] = &["offset", "start", "skip", "$skip"];
const NUMBERS: &[&str] = &["page", "pagenumber", "page_number"];
const CURSORS: &[&str] = &[
    "cursor",
    "pagetoken",
    "page_token",
    "after",
    "nexttoken",
    "next_token",
    "$skiptoken",
    "continuationtoken",
];

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub offset: usize,
    pub limit: usize,
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
}

/// Whether a query parameter is about paging.
pub(super) fn is_paging(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    [LIMITS, OFFSETS, NUMBERS, CURSORS].iter().any(|names| names.contains(&lower.as_str()))
}

impl Page {
    /// The page that a call asks for, in its query or in `pagination` of its body.
    pub(super) fn of(call: &Call, usual: usize, most: usize) -> Self {
        let number = |names: &[&str]| {
            call.query.iter().find_map(|(name, value)| {
                names.contains(&name.to_ascii_lowercase().as_str()).then(|| value.as_u64()).flatten()
            })
        };
        let within = call.body.as_ref().and_then(|body| body.get("pagination"));
        let inside = |name: &str| within.and_then(|page| page.get(name)).and_then(Value::as_u64);
        let whole = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
        let limit = whole(inside("limit").or_else(|| number(LIMITS))).unwrap_or(usual).clamp(1, most.max(1));
        let cursor = call.query.iter().find_map(|(name, value)| {
            CURSORS.contains(&name.to_ascii_lowercase().as_str()).then(|| value.as_str()).flatten()
        });
        let offset = cursor
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
            .or_else(|| whole(inside("offset").or_else(|| number(OFFSETS))))
            .or_else(|| whole(number(NUMBERS)).map(|page| page.saturating_sub(1) * limit))
            .unwrap_or(0);
        Self { offset, limit }
    }

    /// Cuts the page out of a whole list.
    pub(super) fn cut(self, call: &Call, path: &str, all: Vec<Value>) -> Cut {
        let total = all.len();
        let items: Vec<Value> = all.into_iter().skip(self.offset).take(self.limit).collect();
        let after = self.offset.saturating_add(self.limit);
        let more = after < total;
        Cut {
            next: more.then(|| address(call, path, after, self.limit)),
            previous: (self.offset > 0)
                .then(|| address(call, path, self.offset.saturating_sub(self.limit), self.limit)),
            token: more.then(|| URL_SAFE_NO_PAD.encode(after.to_string())),
            items,
            total,
            page: self,
        }
    }
}

/// The same request for another page, as path and query.
fn address(call: &Call, path: &str, offset: usize, limit: usize) -> String {
    let spoken = |names: &[&str], usual: &str| {
        call.query
            .keys()
            .find(|name| names.contains(&name.to_ascii_lowercase().as_str()))
            .cloned()
            .unwrap_or_else(|| usual.to_owned())
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(call.raw_query.as_bytes()) {
        if !is_paging(&name) {
            query.append_pair(&name, &value);
        }
    }
    let cursor = call.query.keys().any(|name| CURSORS.contains(&name.to_ascii_lowercase().as_str()));
    let numbered = call.query.keys().find(|name| NUMBERS.contains(&name.to_ascii_lowercase().as_str()));
    if cursor {
        query.append_pair(&spoken(CURSORS, "cursor"), &URL_SAFE_NO_PAD.encode(offset.to_string()));
    } else if let Some(name) = numbered {
        query.append_pair(name, &(offset / limit + 1).to_string());
    } else {
        query.append_pair(&spoken(OFFSETS, "offset"), &offset.to_string());
    }
    query.append_pair(&spoken(LIMITS, "limit"), &limit.to_string());
    format!("{path}?{}", query.finish())
}

impl Cut {
    /// What the answer's schema wants to be told of the page, beside the items.
    pub(super) fn describe(&self, view: View<'_>, root: &str) -> Map<String, Value> {
        let mut told = Map::new();
        let absolute = || self.next.as_ref().map(|next| format!("{root}{next}"));
        for name in view.plain().properties.keys() {
            let value = match *name {
                "pagination" | "paging" => Some(self.pagination()),
                "total" | "totalCount" | "total_count" | "totalItems" | "totalResults" | "@odata.count" => {
                    Some(json!(self.total))
                }
                "count" => Some(json!(self.items.len())),
                "offset" => Some(json!(self.page.offset)),
                "limit" | "pageSize" => Some(json!(self.page.limit)),
                "hasMore" | "has_more" => Some(json!(self.next.is_some())),
                "@odata.nextLink" | "nextLink" => absolute().map(Value::from),
                "next" => self.next.clone().map(Value::from),
                "previous" => self.previous.clone().map(Value::from),
                "nextPageToken" | "next_page_token" | "nextCursor" | "next_cursor" | "nextToken" => {
                    self.token.clone().map(Value::from)
                }
                _ => None,
            };
            if let Some(value) = value {
                told.insert((*name).to_owned(), value);
            }
        }
        told
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
