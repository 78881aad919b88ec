//! How a long list goes on.
//!
//! Owns [`Trail`], the handle of a next page, and the argument that takes it back. The idea: a result that is not whole
//! names one handle; given back to the same tool it stands for the arguments of the first call, which then walk the line
//! as if they had been given. What the upstream wants to be sent next and how many items were cut here are the same to
//! whoever reads: "there is more, and this leads to it".
//!
//! How it is used:
//! - A tool whose results may go on says so once, with [`offer`], which adds the argument to its schema: `page`, or
//!   `next_page` where the API has an argument of that name already ([`ToolSpec::page`] holds the name).
//! - A tool that can begin in the middle asks [`Approved::begins_at`](super::Approved::begins_at) where, and says with
//!   [`Approved::goes_on`](super::Approved::goes_on) where its list can be taken up again ([`Trail`]). A tool that says
//!   nothing is asked the same again, and what was shown already is left out.
//! - Whoever cuts a list in the line (`cut/`) says with [`Way::tell`] which list was cut and how many of its items are
//!   left; where nothing was cut, it is told `None`. The handle, the sentence and `next_page` are written there and
//!   nowhere else, after redaction. A list that is not whole says in the data which part of it this is, with the marker
//!   that no argument may hold; nor may any but the one for it hold a handle ([`holds_handle`]).
//! - A handle is sealed with the keys that seal questions and cursors; it opens for the same caller, tool, source and
//!   target, for a day, and wherever those keys are. Arguments that are long are not in it: their digest is, and they
//!   have to be given again.
//!
//! Must not: call anything, or say why a handle does not open.

use serde::{Deserialize, Serialize};

use super::ToolSpec;
use super::cut::{MARK, mark};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, digest, json, pointer};
use crate::principal::Principal;
use crate::protocol::types::{Content, ToolResult};
use crate::state::KeyRing;

/// Every handle of a next page starts so.
const PREFIX: &str = "handle:pg_";
/// The member of a result that holds the handle.
pub(super) const MEMBER: &str = "next_page";
/// The `_meta` key of a result that goes on: `{"argument", "handle"}`.
const META: &str = "bartizan/next";
/// Seconds that a handle holds.
const LIFE: u64 = 24 * 3600;
/// Bytes of arguments that go into a handle; of more, only the digest.
const ARGUMENTS: usize = 600;
/// Bytes of a handle's content; an upstream that wants to be told more cannot be gone on with.
const CONTENT: usize = 6_000;
/// Bytes of a handle's content beside what it holds, and what sealing adds.
const FRAME: usize = 100;
const SEAL: usize = 64;
/// What the argument is to a model.
const WORDS: &str =
    "The next_page handle of an earlier result, to go on from there; other arguments may be left out.";

/// What a tool says of the list in its result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trail {
    /// Where the list is in the structured result: a JSON Pointer.
    pub items: String,
    /// Where it can be taken up again: after so many of the items that are here, with this. In rising order.
    pub marks: Vec<(usize, Value)>,
    /// What leads to what comes after all that is here, if there is anything.
    pub end: Option<Value>,
}

/// Where a call goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The tool's own word; null for its beginning.
    pub(super) at: Value,
    /// Items after that which were shown already.
    skip: usize,
    /// The list they are in.
    list: String,
    /// Items of it that earlier results had, all together.
    #[serde(default, rename = "n")]
    before: usize,
}

/// What a handle holds: when it ends, where it leads, and the arguments, or a text that is their digest.
#[derive(Serialize, Deserialize)]
struct Sealed(u64, Place, Value);

/// A call that goes on with an earlier one.
pub(super) struct Resumed {
    arguments: Value,
    pub(super) place: Place,
}

impl Resumed {
    /// Refuses arguments that are not those the handle was given for.
    pub(super) fn same(&self, arguments: &Value, argument: &str) -> Result<()> {
        let same = match &self.arguments {
            Value::String(known) => *known == digest(arguments).hex(),
            known => known == arguments,
        };
        if same {
            return Ok(());
        }
        let message = format!(
            "The handle in `{argument}` goes on with a call that had other arguments; give the same ones again, or leave \
             `{argument}` out and begin anew."
        );
        Err(Error::new(Kind::BadArguments, message))
    }
}

/// What a call that ran left behind for its result to be gone on with.
pub(super) struct Onward {
    pub(super) arguments: Map<String, Value>,
    pub(super) place: Option<Place>,
    pub(super) trail: Option<Trail>,
    /// Items that were left out because an earlier result had them.
    pub(super) skipped: usize,
}

impl Onward {
    /// Leaves out of a result what an earlier one had.
    pub(super) fn skip(&mut self, result: &mut ToolResult) {
        let Some(place) = self.place.as_ref().filter(|place| place.skip > 0) else { return };
        let Some(structured) = &mut result.structured_content else { return };
        let text = twin(&result.content, structured);
        let Some(list) = structured.pointer_mut(&place.list).and_then(Value::as_array_mut) else { return };
        self.skipped = place.skip.min(list.len());
        list.drain(..self.skipped);
        if text {
            result.content[0] = Content::text(structured.to_string());
        }
    }
}

/// Items of a list, without the marker at its end.
fn shown(value: &Value, list: &str) -> Option<usize> {
    let items = value.pointer(list)?.as_array()?;
    let marked = items.last().and_then(Value::as_str).is_some_and(|last| last.starts_with(MARK));
    Some(items.len() - usize::from(marked))
}

/// Whether the first text is the structured content once more.
fn twin(content: &[Content], structured: &Value) -> bool {
    let Some(Content::Text { text, .. }) = content.first() else { return false };
    let whole = structured.to_string();
    *text == whole
}

/// Whether a handle is in arguments. Where one belongs it has been taken out of them; anywhere else it is a sign that a
/// result that is not whole is sent back.
pub(super) fn holds_handle(arguments: &Value) -> bool {
    match arguments {
        Value::String(text) => text.contains(PREFIX),
        Value::Array(items) => items.iter().any(holds_handle),
        Value::Object(members) => {
            members.iter().any(|(name, member)| name.contains(PREFIX) || holds_handle(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Adds the argument that takes a handle back to a schema, and returns its name: one that nothing has.
pub fn offer(schema: &mut Value) -> Option<String> {
    let properties = schema.get_mut("properties")?.as_object_mut()?;
    let free = |name: &&str| !properties.contains_key(*name);
    let name = ["page", MEMBER, "continue_from"].into_iter().find(free)?.to_owned();
    properties.insert(name.clone(), json!({"type": "string", "description": WORDS}));
    Some(name)
}

/// Seals and opens the handles of a line.
pub(super) struct Handles {
    keys: KeyRing,
    clock: SharedClock,
}

impl Handles {
    pub(super) fn new(keys: KeyRing, clock: SharedClock) -> Self {
        Self { keys, clock }
    }

    /// Takes the handle out of the arguments, and puts in its place what it stands for. Where there is none, or an
    /// empty one, the arguments stay as they are but for that.
    pub(super) fn restore(
        &self,
        spec: &ToolSpec,
        principal: &Principal,
        arguments: &mut Map<String, Value>,
    ) -> Result<Option<Box<Resumed>>> {
        let Some(argument) = &spec.page else { return Ok(None) };
        let given = match arguments.get(argument) {
            None => return Ok(None),
            Some(given) => given.clone(),
        };
        let text = match &given {
            Value::Null => "",
            Value::String(text) => text.trim(),
            _ => "other",
        };
        if text.is_empty() {
            arguments.shift_remove(argument);
            return Ok(None);
        }
        let sealed = text.strip_prefix(PREFIX).and_then(|text| self.keys.open(text, &bound(spec, principal)));
        let opened = sealed.and_then(|plain| serde_json::from_slice::<Sealed>(&plain).ok());
        let Some(Sealed(ends, place, known)) = opened else {
            let message = format!(
                "`{argument}` takes the {MEMBER} handle of an earlier result of this tool, whole and unchanged, and \
                 nothing else; this is none that was given to you. Leave it out to begin anew."
            );
            return Err(Error::new(Kind::BadArguments, message));
        };
        if ends < self.clock.wall().as_secs() {
            let message = format!("The handle in `{argument}` has expired; leave it out to begin anew.");
            return Err(Error::new(Kind::BadArguments, message));
        }
        arguments.shift_remove(argument);
        if let Value::Object(known) = &known {
            // null stands for nothing given, as far as the earlier call gave nothing
            arguments.retain(|name, value| !value.is_null() || known.contains_key(name));
            let given = std::mem::replace(arguments, known.clone());
            arguments.extend(given);
        }
        Ok(Some(Box::new(Resumed { arguments: known, place })))
    }

    /// What writes into a result how it goes on.
    pub(super) fn way<'a>(
        &'a self,
        spec: &'a ToolSpec,
        principal: &'a Principal,
        onward: Option<Box<Onward>>,
    ) -> Option<Way<'a>> {
        Some(Way { handles: self, spec, principal, argument: spec.page.as_deref()?, onward: *onward? })
    }
}

/// Whose a handle is, and which tool's: joined so that no other four read the same.
fn bound(spec: &ToolSpec, principal: &Principal) -> Vec<u8> {
    let tenant = principal.tenant.as_deref().unwrap_or_default();
    let target = spec.target.as_deref().unwrap_or_default();
    let mut bound = b"page".to_vec();
    for part in [tenant, &*principal.id, &spec.name, &spec.source, target] {
        bound.extend_from_slice(format!(" {}:", part.len()).as_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound
}

/// Leads on from a result.
pub(super) struct Way<'a> {
    handles: &'a Handles,
    spec: &'a ToolSpec,
    principal: &'a Principal,
    argument: &'a str,
    onward: Onward,
}

impl Way<'_> {
    /// The list that the tool itself named.
    pub(super) fn items(&self) -> Option<&str> {
        self.onward.trail.as_ref().map(|trail| trail.items.as_str())
    }

    /// Bytes that a handle takes here: where nothing is cut, and at most where something is.
    pub(super) fn room(&self) -> (usize, usize) {
        let arguments = Value::Object(self.onward.arguments.clone()).to_string().len();
        let held = if arguments <= ARGUMENTS { arguments } else { 2 * 32 };
        // what is sealed is longer than what is said, and is written in four letters for three bytes
        let length = |at: &Value, list: &str| match at.to_string().len() + list.len() + held + FRAME {
            plain if plain > CONTENT + FRAME => 0,
            plain => PREFIX.len() + (plain + SEAL).div_ceil(3) * 4,
        };
        let trail = self.onward.trail.as_ref();
        let end = trail.and_then(|trail| trail.end.as_ref()).map_or(0, |at| length(at, ""));
        let list = self.items().unwrap_or_default();
        let begun = self.onward.place.as_ref().map_or(0, |place| length(&place.at, list));
        let marks = trail.into_iter().flat_map(|trail| &trail.marks).map(|(_, at)| length(at, list));
        (end, marks.max().unwrap_or_default().max(begun).max(end).max(length(&Value::Null, list)))
    }

    /// Says in the result how to go on, if there is more. `kept` is for a list that was cut here: where it is (a JSON
    /// Pointer), and how many of its items are left.
    pub(super) fn tell(&self, result: &mut ToolResult, kept: Option<(&str, usize)>) {
        if result.is_error {
            return;
        }
        let list = self.list(kept).to_owned();
        let shown = match kept {
            Some((_, kept)) => Some(kept),
            None => result.structured_content.as_ref().and_then(|value| shown(value, &list)),
        };
        let place = self.place(kept, shown.unwrap_or_default());
        self.part(result, &list, (kept.is_some(), shown, place.is_some()));
        let Some(place) = place else { return };
        let Some((handle, whole)) = self.seal(place) else {
            result.content.push(Content::text(
                "There is more, but too much would have to be remembered to go on with it; ask for less at once.",
            ));
            return;
        };
        let mut seen = false;
        if let Some(structured) = &mut result.structured_content
            && self.spec.output.is_none()
        {
            let text = twin(&result.content, structured);
            if let Value::Object(members) = structured
                && !members.contains_key(MEMBER)
            {
                members.insert(MEMBER.to_owned(), json!(handle));
                if text {
                    result.content[0] = Content::text(structured.to_string());
                    seen = true;
                }
            }
        }
        let argument = self.argument;
        let value = if seen { format!("the `{MEMBER}` of this result") } else { format!("`{handle}`") };
        let others =
            if whole { "the other arguments may be left out" } else { "and the same other arguments" };
        result.content.push(Content::text(format!(
            "There is more: to go on, call this tool again with `{argument}` set to {value}; {others}."
        )));
        let next = json!({"argument": argument, "handle": handle});
        result.meta.get_or_insert_default().insert(META.to_owned(), next);
    }

    /// The list that this is about.
    fn list<'a>(&'a self, kept: Option<(&'a str, usize)>) -> &'a str {
        let resumed = || self.onward.place.as_ref().map(|place| place.list.as_str());
        kept.map(|(list, _)| list).or_else(|| self.items()).or_else(resumed).unwrap_or_default()
    }

    /// Items that earlier results had.
    fn before(&self) -> usize {
        self.onward.place.as_ref().map_or(0, |place| place.before)
    }

    /// Says in the data which part of a list it has, unless it is all of it, or whoever cut it has said so.
    fn part(&self, result: &mut ToolResult, list: &str, (cut, shown, more): (bool, Option<usize>, bool)) {
        let resumed = self.onward.place.is_some();
        let Some(structured) = result.structured_content.as_mut().filter(|_| resumed || (more && !cut))
        else {
            return;
        };
        let text = twin(&result.content, structured);
        let before = self.before();
        let which = match shown {
            None | Some(0) => format!("after item {before}"),
            Some(shown) => format!("items {} to {}", before + 1, before + shown),
        };
        let rest = if more { "more follow" } else { "the last" };
        mark(structured, Some(&pointer::names(list)), &format!("{which}; {rest}"));
        if text {
            result.content[0] = Content::text(structured.to_string());
        }
    }

    /// Where the next call begins.
    fn place(&self, kept: Option<(&str, usize)>, now: usize) -> Option<Place> {
        let Onward { place, trail, skipped, .. } = &self.onward;
        let before = self.before() + now;
        let Some((list, kept)) = kept else {
            let at = trail.as_ref()?.end.clone()?;
            return Some(Place { at, skip: 0, list: String::new(), before });
        };
        let shown = skipped + kept;
        let marks = trail.as_ref().filter(|trail| trail.items == list).map(|trail| trail.marks.as_slice());
        let mark = marks.unwrap_or_default().iter().rev().find(|(after, _)| *after <= shown);
        let (after, at) = match mark {
            Some((after, at)) => (*after, at.clone()),
            None => (0, place.as_ref().map(|place| place.at.clone()).unwrap_or_default()),
        };
        Some(Place { at, skip: shown - after, list: list.to_owned(), before })
    }

    /// The handle, and whether it holds the arguments whole.
    fn seal(&self, place: Place) -> Option<(String, bool)> {
        let ends = self.handles.clock.wall().as_secs() + LIFE;
        let arguments = Value::Object(self.onward.arguments.clone());
        let whole = arguments.to_string().len() <= ARGUMENTS;
        let held = if whole { arguments } else { json!(digest(&arguments).hex()) };
        let plain = serde_json::to_vec(&Sealed(ends, place, held)).ok().filter(|it| it.len() <= CONTENT)?;
        let sealed = self.handles.keys.seal(&plain, &bound(self.spec, self.principal)).ok()?;
        Some((format!("{PREFIX}{sealed}"), whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::principal::PrincipalKind;
    use std::time::Duration;

    fn spec(name: &str) -> ToolSpec {
        ToolSpec { page: Some(String::from("page")), ..ToolSpec::new(name) }
    }

    fn anna() -> Principal {
        Principal::new("anna", PrincipalKind::ApiKey)
    }

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn onward(arguments: Value, trail: Trail) -> Onward {
        Onward { arguments: map(arguments), place: None, trail: Some(trail), skipped: 0 }
    }

    fn told(handles: &Handles, arguments: Value, kept: Option<(&str, usize)>) -> String {
        let trail = Trail {
            items: String::from("/data"),
            marks: vec![(0, Value::Null), (2, json!("b"))],
            end: Some(json!("c")),
        };
        let (spec, anna) = (spec("list"), anna());
        let mut result = ToolResult::structured(json!({"data": [1, 2, 3, 4]}));
        handles.way(&spec, &anna, Some(Box::new(onward(arguments, trail)))).unwrap().tell(&mut result, kept);
        let handle = result.structured_content.as_ref().unwrap()[MEMBER].as_str().unwrap().to_owned();
        assert_eq!(result.content[0], Content::text(result.structured_content.unwrap().to_string()));
        assert_eq!(result.meta.unwrap()[META], json!({"argument": "page", "handle": handle}));
        handle
    }

    #[test]
    fn a_handle_leads_its_caller_on_and_nobody_else_nowhere_else_and_not_for_ever() {
        let clock = ManualClock::at(Duration::from_hours(500_000));
        let handles = Handles::new(KeyRing::new(&[[1; 32]]).unwrap(), clock.clone());
        let handle = told(&handles, json!({"q": "x"}), None);
        assert!(handle.len() < 200, "{}", handle.len());
        let open = |handles: &Handles, spec: &ToolSpec, who: &Principal, handle: &str| {
            let mut arguments = map(json!({"page": handle}));
            handles.restore(spec, who, &mut arguments).map(|resumed| (arguments, resumed.unwrap().place.at))
        };
        let (arguments, at) = open(&handles, &spec("list"), &anna(), &handle).unwrap();
        assert_eq!((Value::Object(arguments), at), (json!({"q": "x"}), json!("c")));
        // another process with the same key
        let again = Handles::new(KeyRing::new(&[[2; 32], [1; 32]]).unwrap(), clock.clone());
        assert!(open(&again, &spec("list"), &anna(), &handle).is_ok());
        let bert = Principal::new("bert", PrincipalKind::ApiKey);
        let tenant = Principal { tenant: Some(String::from("t")), ..anna() };
        let elsewhere = ToolSpec { source: String::from("other"), ..spec("list") };
        let mut changed = handle.clone().into_bytes();
        let last = changed.len() - 1;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let mut refusals = vec![
            open(&handles, &spec("list"), &bert, &handle).unwrap_err(),
            open(&handles, &spec("list"), &tenant, &handle).unwrap_err(),
            open(&handles, &spec("other"), &anna(), &handle).unwrap_err(),
            open(&handles, &elsewhere, &anna(), &handle).unwrap_err(),
            open(&handles, &spec("list"), &anna(), &changed).unwrap_err(),
            open(&handles, &spec("list"), &anna(), "2").unwrap_err(),
        ];
        let first = refusals.remove(0);
        assert_eq!(first.kind(), Kind::BadArguments);
        assert!(refusals.iter().all(|error| error.message() == first.message()));
        clock.advance(Duration::from_secs(LIFE + 1));
        let error = open(&handles, &spec("list"), &anna(), &handle).unwrap_err();
        assert!(error.message().contains("expired"));
    }

    #[test]
    fn what_was_cut_here_begins_at_the_nearest_page_and_skips_what_was_shown() {
        let handles = Handles::new(KeyRing::ephemeral(), ManualClock::at(Duration::from_hours(500_000)));
        for (kept, at, skip) in [(1, Value::Null, 1), (2, json!("b"), 0), (3, json!("b"), 1)] {
            let handle = told(&handles, json!({}), Some(("/data", kept)));
            let mut arguments = map(json!({"page": handle, "other": null}));
            let resumed = handles.restore(&spec("list"), &anna(), &mut arguments).unwrap().unwrap();
            assert!(arguments.is_empty());
            assert_eq!((&resumed.place.at, resumed.place.skip), (&at, skip));
            let mut result = ToolResult::structured(json!({"data": [1, 2, 3]}));
            let mut next = Onward { place: Some(resumed.place), ..onward(json!({}), Trail::default()) };
            next.skip(&mut result);
            assert_eq!(result.structured_content.unwrap()["data"], json!([1, 2, 3][skip..]));
            assert_eq!(next.skipped, skip);
        }
    }

    #[test]
    fn long_arguments_are_given_again() {
        let handles = Handles::new(KeyRing::ephemeral(), ManualClock::at(Duration::from_hours(500_000)));
        let long = json!({"body": "x".repeat(ARGUMENTS)});
        let handle = told(&handles, long.clone(), None);
        assert!(handle.len() < 400);
        let mut arguments = map(long.clone());
        arguments.insert(String::from("page"), json!(handle));
        let resumed = handles.restore(&spec("list"), &anna(), &mut arguments).unwrap().unwrap();
        assert_eq!(Value::Object(arguments.clone()), long);
        resumed.same(&long, "page").unwrap();
        let error = resumed.same(&json!({"body": "y"}), "page").unwrap_err();
        assert!(error.message().contains("other arguments"));
    }

    #[test]
    fn the_argument_has_a_name_that_is_free() {
        let mut schema = json!({"properties": {"q": {}}});
        assert_eq!(offer(&mut schema).as_deref(), Some("page"));
        let mut schema = json!({"properties": {"page": {}}});
        assert_eq!(offer(&mut schema).as_deref(), Some("next_page"));
        assert_eq!(schema["properties"]["next_page"]["type"], "string");
        let mut schema = json!({"properties": {"page": {}, "next_page": {}}});
        assert_eq!(offer(&mut schema).as_deref(), Some("continue_from"));
        assert_eq!(offer(&mut json!({"type": "object"})), None);
    }
}
