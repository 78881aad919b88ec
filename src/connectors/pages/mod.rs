//! Pages of an answer, one after the other.
//!
//! Owns [`gather`]. The idea: what leads on is known for each operation ([`Follow`]); pages are asked for until there is
//! no more, or the cap on items, pages, bytes, values or time is reached, or the caller's quota. What is left then is a [`Trail`], with which the line makes
//! the handle that a model gives back. The first answer keeps its shape: its items are everybody's, and the upstream's own
//! word for the next page is taken out, so that there is one way to go on.
//!
//! Must not: leave the path of the operation, whatever an answer says comes next; lose what was had when a later page
//! fails.

mod address;
mod at;
mod follow;
pub(super) mod infer;
mod link;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::request::Plan;
use super::response::{read, read_json, unsent};
use crate::error::{Error, Kind};
use crate::http::{Client, HeaderMap, Request};
use crate::json::{MOST_VALUES, Map, Value, count};
use crate::pipeline::{Approved, Trail};
use crate::protocol::types::Content;

pub(super) use at::At;
pub(super) use follow::Follow;
use follow::{Next, words};

/// How long pages are asked for, the first one included: a call that gathers must not be stopped with nothing to show.
const PATIENCE: Duration = Duration::from_secs(12);

/// Answers of several pages as one.
pub(super) struct Gathered {
    pub(super) value: Value,
    /// Bytes of all answers.
    pub(super) bytes: usize,
    /// How the list can be taken up again; none where the answer has no list.
    pub(super) trail: Option<Trail>,
    /// What has to be said beside it.
    pub(super) said: Vec<Content>,
    /// Whether the value is another one than the first answer's.
    pub(super) changed: bool,
}

/// One answer.
pub(super) struct Page {
    pub(super) value: Value,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What the pages of one call may have together: as much as one answer.
struct Budget {
    bytes: usize,
    values: usize,
    /// Bytes of the largest page so far.
    largest: usize,
}

impl Budget {
    fn new(client: &Client, first: &Bytes) -> Self {
        let mut budget = Self { bytes: client.body_limit(), values: MOST_VALUES, largest: 0 };
        budget.take(first);
        budget
    }

    /// Takes a page's part; false if there is too little left for it.
    fn take(&mut self, body: &Bytes) -> bool {
        let values = count(body);
        let fits = body.len() <= self.bytes && values <= self.values;
        self.largest = self.largest.max(body.len());
        self.bytes = self.bytes.saturating_sub(body.len());
        self.values = self.values.saturating_sub(values);
        fits
    }

    /// Whether another page like those before would be too much.
    fn is_spent(&self) -> bool {
        self.largest > self.bytes || self.values == 0
    }
}

/// Follows the pages of a first answer, which began at `at`.
pub(super) async fn gather(
    (client, plan, follow): (&Client, &Plan, &Follow),
    call: &Approved,
    at: At,
    (began, request, page): (Instant, Request, Page),
) -> Gathered {
    let Page { mut value, headers, body } = page;
    let (arguments, mut bytes) = (call.arguments(), body.len());
    let Some(place) = follow.items(&value) else {
        return Gathered { value, bytes, trail: None, said: Vec::new(), changed: false };
    };
    let step = |value: &Value, headers: &HeaderMap, request: &Request, at: &At| {
        let items = value.pointer(&place).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match follow.next((value, headers, items), (plan, request, arguments), at) {
            Next::At(onto) if client.refuses(&onto.told()) => Next::Elsewhere,
            next => next,
        }
    };
    let mut next = step(&value, &headers, &request, &at);
    let mut been = HashSet::from([at.key()]);
    let mut marks = vec![(0, at.clone())];
    let mut changed = false;
    if let Some(items) = value.pointer_mut(&place).and_then(Value::as_array_mut) {
        let shown = if matches!(next, Next::Same) { items.len() } else { at.skip.min(items.len()) };
        items.drain(..shown);
        changed = shown > 0;
    }
    let mut longest = list(&value, &place);
    let (mut seen, mut end, mut said) = (1, None, Vec::new());
    let mut budget = None;
    loop {
        let count = list(&value, &place);
        if count > follow.limit
            && let Some((from, begin)) = marks.last()
        {
            end = Some(begin.past(follow.limit.saturating_sub(*from)));
            if let Some(items) = value.pointer_mut(&place).and_then(Value::as_array_mut) {
                items.truncate(follow.limit);
            }
            break;
        }
        let onto = match next {
            Next::At(onto) if been.insert(onto.key()) => onto,
            Next::End => break,
            Next::Elsewhere => {
                said.push(words::elsewhere(client.name()));
                break;
            }
            Next::At(_) | Next::Again | Next::Same => {
                said.push(words::again(client.name()));
                break;
            }
        };
        let left = PATIENCE.saturating_sub(began.elapsed());
        if seen >= follow.most || count + longest > follow.limit || left.is_zero() {
            end = Some(onto);
            break;
        }
        // what is not followed is not counted
        let budget = budget.get_or_insert_with(|| Budget::new(client, &body));
        if budget.is_spent() {
            end = Some(onto);
            break;
        }
        let fetched = match call.again().await {
            Ok(()) => fetch((client, plan, follow), (arguments, &onto), budget, left).await,
            Err(error) => Err(vec![Content::text(error.message().to_owned())]),
        };
        let (request, page) = match fetched {
            Ok(Some(fetched)) => fetched,
            Ok(None) => {
                end = Some(onto);
                break;
            }
            Err(why) => {
                said.push(Content::text("The list is not whole: a later page could not be had."));
                said.extend(why);
                end = Some(onto);
                break;
            }
        };
        bytes += page.body.len();
        next = step(&page.value, &page.headers, &request, &onto);
        let mut page = page.value;
        let list = page.pointer_mut(&place).and_then(Value::as_array_mut);
        let fresh = list.map(std::mem::take).unwrap_or_default();
        seen += 1;
        longest = longest.max(fresh.len());
        if !matches!(next, Next::Same) {
            marks.push((count, onto));
            if let Some(all) = value.pointer_mut(&place).and_then(Value::as_array_mut) {
                all.extend(fresh);
            }
        }
        follow.carry(&mut value, &page);
    }
    if end.is_some() || !said.is_empty() {
        changed |= follow.conceal(&mut value);
    }
    changed |= seen > 1 || list(&value, &place) < longest;
    let marks = marks.into_iter().map(|(after, at)| (after, at.into_value())).collect();
    let trail = Trail { items: place, marks, end: end.map(At::into_value) };
    Gathered { value, bytes, trail: Some(trail), said, changed }
}

fn list(value: &Value, place: &str) -> usize {
    value.pointer(place).and_then(Value::as_array).map_or(0, Vec::len)
}

/// A later page, nothing if it is too large beside those before, or what to say of why it could not be had.
async fn fetch(
    (client, plan, follow): (&Client, &Plan, &Follow),
    (arguments, onto): (&Map<String, Value>, &At),
    budget: &mut Budget,
    left: Duration,
) -> std::result::Result<Option<(Request, Page)>, Vec<Content>> {
    let told = |error: &Error| vec![Content::text(error.message().to_owned())];
    let request = follow.request(plan, arguments, onto).map_err(|error| told(&error))?;
    let sent = tokio::time::timeout(left, client.send(request.clone())).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::TimedOut, format!("{} took too long for it.", client.name())))
    });
    let response = match sent {
        Ok(response) => response,
        Err(error) => {
            return Err(unsent(error, client.name()).map_or_else(|error| told(&error), |it| it.content));
        }
    };
    if !(200..300).contains(&response.status) {
        let refused = read(&response, client.name(), true).await;
        return Err(refused.map_or_else(|error| told(&error), |it| it.content));
    }
    if !budget.take(&response.body) {
        return Ok(None);
    }
    let value = read_json(&response, client.name()).await.map_err(|error| told(&error))?;
    Ok(Some((request, Page { value, headers: response.headers, body: response.body })))
}
