//! What an operation does to the world.
//!
//! Owns the meaning of method and path: read, list, search, create, change, remove, act. The idea: the shape of the
//! path decides (a name at its end means one thing, a word means a collection, a search or an act), so that any
//! document works without a word of configuration.
//!
//! Must not: read bytes or write bytes.

use axum::http::StatusCode;

use super::page::{Page, Speech, is_paging};
use super::patch::{self, Trouble};
use super::plan::{Collection, list_at};
use super::recipe::View;
use super::reply::{Refused, Reply};
use super::request::Call;
use super::respond::Payload;
use super::route::Template;
use super::search;
use super::store::{Store, Thing, key_of};
use super::words;
use super::world::{World, join, missing};
use crate::json::{Map, Value, json};

/// Statuses for something new, best first.
const CREATED: &[&str] = &["201", "202", "200"];
/// Statuses for something changed or tried, best first.
const DONE: &[&str] = &["200", "202", "201"];

impl World {
    /// Carries out a call.
    pub(super) fn answer(&self, call: &Call) -> Result<Reply, Refused> {
        let operation = self.book.operation(call.operation);
        let template = Template::parse(&operation.path);
        let mut store = self.store();
        let seeded = self.through(&mut store, &template, &call.segments)?;
        let Some((last, before)) = call.segments.split_last() else { return Err(missing()) };
        let named = template.last().is_some_and(|segment| segment.parameter().is_some());
        let method = operation.method.as_str();
        if named {
            return match self.plan.find(before) {
                Some((index, _)) => self.one(&mut store, call, index),
                None => Ok(self.act(call)),
            };
        }
        if method == "POST" {
            if matches!(last.as_str(), "search" | "_search" | "query" | "find")
                && let Some((index, collection)) = self.plan.find(before)
            {
                return self.list(&mut store, call, index, collection, before);
            }
            if last == "bulk"
                && let Some((index, _)) = self.plan.find(before)
            {
                return self.create_many(&mut store, call, index, before);
            }
        }
        if method == "POST" && !dry_run(call) {
            self.affect(&mut store, call, before);
        }
        match (method, self.plan.find(&call.segments)) {
            ("GET" | "HEAD", Some((index, collection))) if self.lists(call.operation) => {
                self.list(&mut store, call, index, collection, &call.segments)
            }
            ("POST", Some((index, collection))) if collection.creatable => {
                self.create(&mut store, call, index, collection, seeded)
            }
            ("GET" | "HEAD", _) => Ok(self.single(&mut store, call)),
            ("PUT" | "PATCH", _) => self.change_single(&mut store, call),
            ("DELETE", _) => {
                store.remove_single(&join(&call.segments));
                Ok(self.act(call))
            }
            _ => Ok(self.act(call)),
        }
    }

    /// Whether an operation answers a list.
    fn lists(&self, operation: usize) -> bool {
        let good = super::plan::good_answer(self.book.operation(operation), &[]);
        good.and_then(|status| self.book.answer(operation, status)).is_none_or(|view| list_at(view).is_some())
    }

    fn one(&self, store: &mut Store, call: &Call, index: usize) -> Result<Reply, Refused> {
        let (name, before) = call.segments.split_last().ok_or_else(missing)?;
        let method = self.book.operation(call.operation).method.as_str();
        self.look(store, index, before)?;
        let path = join(before);
        let collection = &self.plan.collections[index];
        let held = store.thing(&path, name).cloned();
        if let (Some(thing), Some(wanted)) = (&held, &call.if_match)
            && wanted != "*"
            && *wanted != etag(thing.version)
        {
            return Err(Refused::new(
                StatusCode::PRECONDITION_FAILED,
                "It was changed meanwhile; read it again.",
            ));
        }
        let dry = dry_run(call);
        match method {
            "PUT" => {
                if held.is_none() && collection.creatable {
                    return Err(missing());
                }
                self.room(store)?;
                let body = call.body.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
                let value = match (&held, &call.body) {
                    // a list is what the thing is from now on, and never a patch: PUT replaces
                    (_, Some(list @ Value::Array(_))) => list.clone(),
                    (Some(thing), _) => {
                        let mut after = thing.value.clone();
                        if let Value::Object(after) = &mut after {
                            after.extend(body);
                        }
                        self.changed(index, &thing.value, after)
                    }
                    (None, _) => self.attached(store, index, &path, name, &body),
                };
                let version = if dry { 1 } else { store.put(&path, name, value.clone()) };
                Ok(tagged(self.respond(call.operation, DONE, self.whole(call, value)), version))
            }
            "PATCH" => {
                let thing = held.ok_or_else(missing)?;
                let empty = json!({});
                let after = patch::apply(&thing.value, call.body.as_ref().unwrap_or(&empty))
                    .map_err(why_not_patched)?;
                let value = self.changed(index, &thing.value, after);
                let version = if dry { thing.version } else { store.put(&path, name, value.clone()) };
                Ok(tagged(self.respond(call.operation, DONE, Payload::Thing(value)), version))
            }
            "DELETE" => {
                let mut thing = held.ok_or_else(missing)?;
                if !dry {
                    store.remove(&path, name);
                    self.leaving(index, &mut thing);
                }
                Ok(self.respond(call.operation, &[], Payload::Thing(thing.value)))
            }
            "GET" | "HEAD" => {
                let thing = held.ok_or_else(missing)?;
                let payload = self.whole(call, thing.value);
                Ok(tagged(self.respond(call.operation, &["200"], payload), thing.version))
            }
            _ => {
                held.ok_or_else(missing)?;
                Ok(self.act(call))
            }
        }
    }

    /// A thing that is put under a name of the client's choice.
    fn attached(
        &self,
        store: &mut Store,
        index: usize,
        path: &str,
        name: &str,
        body: &Map<String, Value>,
    ) -> Value {
        let collection = &self.plan.collections[index];
        let (_, mut value) = self.created(store, index, path, body);
        if let Value::Object(object) = &mut value
            && object.contains_key(&collection.identity)
        {
            object.insert(collection.identity.clone(), name.into());
        }
        self.mended(index, value)
    }

    /// Shows that a thing is going away, where its states have a word for it.
    fn leaving(&self, index: usize, thing: &mut Thing) {
        for property in ["state", "status"] {
            let choices = self
                .view_of(index)
                .and_then(|view| view.property(property))
                .and_then(|view| view.plain().choices);
            let texts: Vec<&str> = choices.unwrap_or_default().iter().filter_map(Value::as_str).collect();
            if let (Some(word), Some(object)) = (words::leaving(&texts), thing.value.as_object_mut()) {
                object.insert(property.to_owned(), word.into());
            }
        }
    }

    fn list(
        &self,
        store: &mut Store,
        call: &Call,
        index: usize,
        collection: &Collection,
        segments: &[String],
    ) -> Result<Reply, Refused> {
        self.look(store, index, segments)?;
        let path = join(segments);
        let all: Vec<Value> = match store.single(&path) {
            // put there as a whole
            Some(Value::Array(items)) => items.clone(),
            _ => {
                store.collection(&path).into_iter().flatten().map(|(_, thing)| thing.value.clone()).collect()
            }
        };
        let first = all.first().cloned();
        let filter = narrowed(call, collection);
        let mut found: Vec<Value> = all.into_iter().filter(|thing| search::matches(thing, &filter)).collect();
        if found.is_empty()
            && !collection.creatable
            && !collection.addressed
            && let (Some(thing), Some(view)) = (first, self.view_of(index))
        {
            // nothing can be put into it, so what is asked for is made
            found.push(self.agreeing(view, &collection.noun, thing, &filter));
        }
        if let Some(criteria) = call.body.as_ref().and_then(|body| body.get("sort")) {
            search::sort(&mut found, criteria);
        }
        let address = format!("{}{}", self.base, join(&call.segments));
        let speech = Speech::of(&self.book, call.operation);
        let page = Page::of(call, &speech, self.page_size, self.page_most);
        let cut = page.cut(call, &speech, &address, found);
        let next = cut.next.as_ref().filter(|_| self.book.operation(call.operation).method == "GET");
        let link = next.map(|next| format!("<{}{next}>; rel=\"next\"", self.root));
        let reply = self.respond(call.operation, &["200"], Payload::List(cut));
        Ok(match link {
            Some(link) => reply.with_header("link", &link),
            None => reply,
        })
    }

    fn agreeing(&self, view: View<'_>, noun: &str, thing: Value, filter: &Value) -> Value {
        let mut wishes = Vec::new();
        search::equalities(filter, &mut wishes);
        let mut agreeing = thing;
        for (property, value) in wishes {
            let step = json!([{"op": "add", "path": property, "value": value}]);
            if let Ok(changed) = patch::apply(&agreeing, &step) {
                agreeing = changed;
            }
        }
        let faker = self.faker(super::world::ALWAYS, super::faker::Fill::All, noun, 0);
        super::fit::fit(&faker, view, agreeing)
    }

    fn create(
        &self,
        store: &mut Store,
        call: &Call,
        index: usize,
        collection: &Collection,
        _seeded: bool,
    ) -> Result<Reply, Refused> {
        let segments = &call.segments;
        // an act whose answer is the thing itself: say what the thing is
        if let Some(owner) = segments.len().checked_sub(2).map(|end| &segments[..end])
            && let Some((parent, above)) = self.plan.find(owner)
            && let (Some(mine), Some(theirs)) = (&collection.item, &above.item)
            && !collection.addressed
            && mine.properties() == theirs.properties()
        {
            self.look(store, parent, owner)?;
            let thing = store.thing(&join(owner), &segments[segments.len() - 2]).ok_or_else(missing)?;
            return Ok(self.respond(call.operation, DONE, Payload::Thing(thing.value.clone())));
        }
        self.look(store, index, segments)?;
        let path = join(segments);
        let body = match &call.body {
            Some(Value::Object(body)) => body.clone(),
            Some(Value::Array(_)) => return self.create_many(store, call, index, segments),
            _ => Map::new(),
        };
        let dry = dry_run(call);
        if !dry {
            self.room(store)?;
        }
        let (name, value) = self.created(store, index, &path, &body);
        let key = key_of(&name);
        if store.thing(&path, &key).is_some() {
            return Err(Refused::new(StatusCode::CONFLICT, "Something with this name exists already."));
        }
        if dry {
            return Ok(self.respond(call.operation, &["200", "202", "201"], Payload::Thing(value)));
        }
        let version = store.put(&path, &key, value.clone());
        Ok(tagged(self.respond(call.operation, CREATED, Payload::Thing(value)), version))
    }

    fn create_many(
        &self,
        store: &mut Store,
        call: &Call,
        index: usize,
        segments: &[String],
    ) -> Result<Reply, Refused> {
        self.look(store, index, segments)?;
        let path = join(segments);
        let bodies: Vec<Value> = match &call.body {
            Some(Value::Array(items)) => items.clone(),
            Some(Value::Object(object)) => {
                object.values().find_map(Value::as_array).cloned().unwrap_or_else(|| vec![json!(object)])
            }
            _ => Vec::new(),
        };
        let mut made = Vec::new();
        for body in bodies.into_iter().take(self.page_most) {
            self.room(store)?;
            let body = body.as_object().cloned().unwrap_or_default();
            let (name, value) = self.created(store, index, &path, &body);
            store.put(&path, &key_of(&name), value.clone());
            made.push(value);
        }
        let address = format!("{}{path}", self.base);
        let speech = Speech::of(&self.book, call.operation);
        let cut = Page::whole(made.len()).cut(call, &speech, &address, made);
        Ok(self.respond(call.operation, CREATED, Payload::List(cut)))
    }

    /// A document that stands alone: made once, the same from then on.
    fn single(&self, store: &mut Store, call: &Call) -> Reply {
        let path = join(&call.segments);
        if let Some(value) = store.single(&path) {
            return self.respond(call.operation, &["200"], Payload::Thing(value.clone()));
        }
        self.respond(call.operation, &["200"], Payload::Made(call.query.clone()))
    }

    fn change_single(&self, store: &mut Store, call: &Call) -> Result<Reply, Refused> {
        let path = join(&call.segments);
        self.room(store)?;
        let before = store.single(&path).cloned().unwrap_or_else(|| json!({}));
        let body = call.body.clone().unwrap_or_else(|| json!({}));
        let after = if self.book.operation(call.operation).method == "PUT" {
            body
        } else {
            patch::apply(&before, &body).map_err(why_not_patched)?
        };
        if !dry_run(call) {
            store.put_single(&path, after.clone());
        }
        Ok(self.respond(call.operation, DONE, self.whole(call, after)))
    }

    /// All of a thing, which may be a list.
    fn whole(&self, call: &Call, value: Value) -> Payload {
        match value {
            Value::Array(items) => {
                let speech = Speech::of(&self.book, call.operation);
                let address = format!("{}{}", self.base, join(&call.segments));
                Payload::List(Page::whole(items.len()).cut(call, &speech, &address, items))
            }
            value => Payload::Thing(value),
        }
    }

    /// An act: the answer is what the document shows, with the client's words where they belong.
    fn act(&self, call: &Call) -> Reply {
        let mut words = call.query.clone();
        if let Some(Value::Object(body)) = &call.body {
            words.extend(body.clone());
        }
        self.respond(call.operation, DONE, Payload::Made(words))
    }
}

/// What a list is narrowed by: `filter` of the body, and query parameters that are the things' own properties.
fn narrowed(call: &Call, collection: &Collection) -> Value {
    let mut all: Vec<Value> = Vec::new();
    all.extend(call.body.as_ref().and_then(|body| body.get("filter")).cloned());
    for (name, value) in &call.query {
        let scalar = value.is_string() || value.is_number() || value.is_boolean();
        if scalar && !is_paging(name) && collection.has(name) {
            all.push(json!({"property": format!("/{name}"), "operator": "=", "values": [value]}));
        }
    }
    json!({"and": all})
}

fn dry_run(call: &Call) -> bool {
    call.query.iter().any(|(name, value)| {
        matches!(name.as_str(), "dryRun" | "dry_run" | "dryrun" | "validateOnly")
            && *value == Value::Bool(true)
    })
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

fn tagged(reply: Reply, version: u64) -> Reply {
    reply.with_header("etag", &etag(version))
}

fn why_not_patched(trouble: Trouble) -> Refused {
    match trouble {
        Trouble::Malformed => Refused::new(StatusCode::BAD_REQUEST, "The body is no patch."),
        Trouble::NoSuchPlace => {
            Refused::new(StatusCode::BAD_REQUEST, "The patch names a place that does not exist.")
        }
        Trouble::TestFailed => Refused::new(StatusCode::CONFLICT, "A test of the patch failed."),
    }
}
