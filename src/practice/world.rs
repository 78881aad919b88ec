//! The stand-in's world: the document, the plan of its collections, and what is held.
//!
//! Owns [`World`] and how things come to be: seeded, created, named. The idea: every answer is made under one short
//! lock, from what is held and from arithmetic; nothing waits.
//!
//! Must not: read requests or write answers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use indexmap::IndexMap;

use super::book::Book;
use super::faker::{Faker, Fill};
use super::fit::fit;
use super::plan::{Collection, Plan};
use super::recipe::View;
use super::reply::{Refused, Voice};
use super::route::Template;
use super::store::{Store, Thing, key_of};
use super::words;
use crate::clock::{SharedClock, rfc3339};
use crate::json::{Map, Value};

/// Time of everything that was there from the start.
pub(super) const ALWAYS: &str = "2026-01-15T09:00:00Z";

/// What stays the same while the stand-in runs.
pub(super) struct World {
    pub book: Book,
    pub plan: Plan,
    pub voice: Voice,
    pub clock: SharedClock,
    pub seed: u64,
    pub seeds: usize,
    pub page_size: usize,
    pub page_most: usize,
    pub capacity: usize,
    /// Text that one seeded thing leaks, and the collection it is in.
    pub leak: Option<(String, usize)>,
    /// Address of the stand-in, without a slash at its end.
    pub root: String,
    /// Path prefix of the document.
    pub base: String,
    pub store: Mutex<Store>,
    /// Operations whose answer could not be made to fit.
    pub misfits: Mutex<Vec<String>>,
}

/// Properties that a secret may stand in.
const WORDY: &[&str] = &["description", "notes", "comment", "summary", "message", "name"];

impl World {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collection that leaks, by the end of its path or by the first that has words.
    pub(super) fn choose_leak(plan: &Plan, book: &Book, wish: Option<&str>) -> Option<usize> {
        let named = |collection: &Collection| {
            let last = collection.template.last().and_then(|segment| segment.literal());
            wish.is_none_or(|wish| last == Some(wish.trim_matches('/').rsplit('/').next().unwrap_or(wish)))
        };
        let fits = |(index, collection): (usize, &Collection)| {
            let wordy = collection.has(WORDY[0]) || collection.has(WORDY[1]) || collection.has(WORDY[2]);
            (named(collection) && (wordy || wish.is_some()) && collection.item(book).is_some())
                .then_some(index)
        };
        // a collection at the top before one below a thing
        let top = |collection: &Collection| collection.template.0.iter().all(|part| part.literal().is_some());
        let all = || plan.collections.iter().enumerate();
        all().filter(|(_, collection)| top(collection)).find_map(fits).or_else(|| all().find_map(fits))
    }

    pub(super) fn faker<'a>(&self, now: &'a str, fill: Fill, noun: &'a str, index: usize) -> Faker<'a> {
        Faker::new(self.seed, now, fill, noun, index)
    }

    pub(super) fn now(&self) -> String {
        rfc3339(self.clock.wall())
    }

    /// Refuses when a thing that the path goes through is not there; says whether all of them were there from the
    /// start. `template` tells which segments are names.
    pub(super) fn through(
        &self,
        store: &mut Store,
        template: &Template,
        segments: &[String],
    ) -> Result<bool, Refused> {
        let mut seeded = true;
        let last = segments.len().saturating_sub(1);
        for (position, segment) in template.0.iter().enumerate().take(last) {
            if segment.parameter().is_none() || position == 0 {
                continue;
            }
            let path = join(&segments[..position]);
            let Some((index, collection)) = self.plan.find(&segments[..position]) else { continue };
            if !collection.addressed {
                continue;
            }
            self.look(store, index, &segments[..position])?;
            match store.thing(&path, &segments[position]) {
                Some(thing) => seeded &= thing.seeded,
                None => return Err(missing()),
            }
        }
        Ok(seeded)
    }

    /// Makes sure that a collection was seeded.
    pub(super) fn look(&self, store: &mut Store, index: usize, segments: &[String]) -> Result<(), Refused> {
        let path = join(segments);
        if store.collection(&path).is_some() {
            return Ok(());
        }
        let collection = &self.plan.collections[index];
        let template = &collection.template;
        let seeded = if template.0.len() == segments.len() {
            // the collection's own last segment may be a name too
            let mut longer = segments.to_vec();
            longer.push(String::new());
            self.through(store, template, &longer)?
        } else {
            true
        };
        let count =
            if seeded || !collection.creatable { collection.seeds(&self.book, self.seeds) } else { 0 };
        let count = count.min(self.capacity.saturating_sub(store.held()));
        let mut things = IndexMap::new();
        for number in 0..count {
            let name = collection.name(&self.book, &path, number, self.seed);
            let value = self.seeded(index, &path, &name, number);
            things.insert(key_of(&name), Thing { value, version: 1, seeded: true });
        }
        store.seed(&path, things);
        Ok(())
    }

    /// The thing that stands at `number` of a collection from the start.
    fn seeded(&self, index: usize, path: &str, name: &Value, number: usize) -> Value {
        let collection = &self.plan.collections[index];
        let mut faker = self.faker(ALWAYS, Fill::All, &collection.noun, number);
        let mut value = match (collection.example(&self.book, number), collection.item(&self.book)) {
            (Some(example), _) => example.clone(),
            (None, Some(view)) => faker.make(view, |_| true),
            (None, None) => Value::Object(Map::new()),
        };
        if number > 0
            && collection.example(&self.book, number).is_some()
            && let Some(Value::String(text)) = value.get_mut("name")
        {
            *text = format!("{text}-{}", number + 1);
        }
        self.label(collection, path, name, &mut value);
        if let Some((text, _)) = self.leak.as_ref().filter(|(_, leaky)| *leaky == index && number == 0) {
            let property = WORDY.iter().find(|property| collection.has(property)).unwrap_or(&WORDY[0]);
            if let Value::Object(object) = &mut value {
                object.insert((*property).to_owned(), text.clone().into());
            }
        }
        let Some(view) = collection.item(&self.book) else { return value };
        if number < 2 {
            settle(view, &mut value);
        }
        if let Value::Object(object) = &mut value {
            for (name, inner) in object {
                self.relink(name, inner, 0);
            }
        }
        faker.formats = true;
        fit(&faker, view, value)
    }

    /// Makes what looks like a mention of another thing mention one that is there.
    fn relink(&self, name: &str, value: &mut Value, depth: usize) {
        if depth > 8 {
            return;
        }
        match value {
            Value::Object(object) => {
                if let Some((path, other)) =
                    object.contains_key("uuid").then(|| self.mentioned(name)).flatten()
                {
                    object.insert("uuid".into(), other.clone());
                    if object.contains_key("href") {
                        let address = format!("{}{}{path}/{}", self.root, self.base, key_of(&other));
                        object.insert("href".into(), address.into());
                    }
                }
                for (name, inner) in object {
                    self.relink(name, inner, depth + 1);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.relink(name, item, depth + 1)),
            _ => {}
        }
    }

    /// The first thing of the collection that a property is named after.
    fn mentioned(&self, name: &str) -> Option<(String, Value)> {
        let noun = words::singular(name);
        let ending = format!("-{noun}");
        let top = |collection: &&Collection| {
            let fits = collection.noun == noun || collection.noun.ends_with(&ending);
            let literal = collection.template.0.iter().all(|segment| segment.literal().is_some());
            fits && literal && collection.addressed && collection.identity == "uuid"
        };
        let collection = self.plan.collections.iter().find(top)?;
        let segments: Vec<String> =
            collection.template.0.iter().filter_map(|segment| segment.literal().map(str::to_owned)).collect();
        let path = join(&segments);
        let other = collection.name(&self.book, &path, 0, self.seed);
        Some((path, other))
    }

    /// Writes a thing's name and address into it.
    fn label(&self, collection: &Collection, path: &str, name: &Value, value: &mut Value) {
        let Value::Object(object) = value else { return };
        if collection.has(&collection.identity) || collection.item.is_none() {
            object.insert(collection.identity.clone(), name.clone());
        }
        if collection.noun == "metro" && collection.identity == "code" {
            let metro = words::metro(&key_of(name));
            for (property, word) in
                [("name", metro.map(|metro| metro.0)), ("region", metro.map(|metro| metro.1))]
            {
                if let Some(word) = word.filter(|_| object.contains_key(property)) {
                    object.insert(property.to_owned(), word.into());
                }
            }
        }
        if collection.has("href") {
            object.insert("href".into(), format!("{}{}{path}/{}", self.root, self.base, key_of(name)).into());
        }
    }

    /// A new thing out of a client's words: they come first, what a server adds is made.
    pub(super) fn created(
        &self,
        store: &mut Store,
        index: usize,
        path: &str,
        body: &Map<String, Value>,
    ) -> (Value, Value) {
        let collection = &self.plan.collections[index];
        let number = store.next(path, self.seed);
        let own = body.get(&collection.identity).filter(|own| own.is_string() || own.is_number());
        let chosen = own.filter(|_| !matches!(collection.identity.as_str(), "uuid" | "id"));
        let name = chosen.cloned().unwrap_or_else(|| self.new_name(index, number));
        let now = self.now();
        let mut faker = self.faker(&now, Fill::Created, &collection.noun, 0);
        let mut value = match collection.item(&self.book) {
            Some(view) => faker.make(view, |_| true),
            None => Value::Object(Map::new()),
        };
        if let Value::Object(object) = &mut value {
            for (property, given) in body {
                object.insert(property.clone(), given.clone());
            }
        }
        self.label(collection, path, &name, &mut value);
        let value = self.mended(index, value);
        (name, value)
    }

    /// A name that no other thing has.
    fn new_name(&self, index: usize, number: u64) -> Value {
        let collection = &self.plan.collections[index];
        let Some((operation, position)) = collection.key else { return words::uuid(number).into() };
        let flat = self.book.parameter(operation, position).1.plain();
        if matches!(flat.main_type(), Some("integer" | "number")) {
            return Value::from(1000 + number % 1_000_000_000);
        }
        // an id that looks like the vendor's, where the pattern allows it
        let id = words::uuid(number);
        if flat.pattern.is_some_and(|source| regex::Regex::new(source).is_ok_and(|own| own.is_match(&id))) {
            return id.into();
        }
        let varied = usize::try_from(number % 1_000_000).unwrap_or(0);
        if let Some(text) = flat
            .pattern
            .and_then(|source| super::pattern::word_or_sample(source, &words::uuid(number), varied))
        {
            return text.into();
        }
        super::faker::fit_length(words::uuid(number), &flat).into()
    }

    /// A thing, mended to its collection's schema.
    pub(super) fn mended(&self, index: usize, value: Value) -> Value {
        let collection = &self.plan.collections[index];
        let now = self.now();
        match collection.item(&self.book) {
            Some(view) => fit(&self.faker(&now, Fill::Created, &collection.noun, 0), view, value),
            None => value,
        }
    }

    /// A thing after a change: it keeps its name.
    pub(super) fn changed(&self, index: usize, before: &Value, mut after: Value) -> Value {
        let collection = &self.plan.collections[index];
        if let (Value::Object(after), Some(before)) = (&mut after, before.as_object()) {
            for property in [collection.identity.as_str(), "uuid", "id", "href", "changeLog"] {
                if let Some(kept) = before.get(property) {
                    after.insert(property.to_owned(), kept.clone());
                }
            }
            if let Some(Value::Object(log)) = after.get_mut("changeLog") {
                log.insert("updatedDateTime".into(), self.now().into());
            }
        }
        self.mended(index, after)
    }

    /// Notes that an answer could not be made to fit.
    pub(super) fn misfit(&self, operation: &str) {
        let mut misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
        if misfits.len() < 1000 && !misfits.iter().any(|known| known == operation) {
            misfits.push(operation.to_owned());
        }
    }

    /// Refuses when nothing more can be held.
    pub(super) fn room(&self, store: &Store) -> Result<(), Refused> {
        if store.held() < self.capacity {
            return Ok(());
        }
        Err(Refused::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "The practice upstream is full; delete something first.",
        ))
    }

    /// What an item of a list looks like to `view`, when the list's own schema differs from the thing's.
    pub(super) fn view_of(&self, index: usize) -> Option<View<'_>> {
        self.plan.collections[index].item(&self.book)
    }
}

/// Puts a thing into a state in which it can be used, whatever the document's example shows.
fn settle(view: View<'_>, value: &mut Value) {
    for property in ["state", "status"] {
        let choices = view.property(property).and_then(|view| view.plain().choices).unwrap_or_default();
        let texts: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        if let (Some(word), Some(held)) = (words::settled(&texts), value.get_mut(property)) {
            *held = word.into();
        }
    }
}

/// Segments as a path.
pub(super) fn join(segments: &[String]) -> String {
    segments.iter().fold(String::new(), |path, segment| path + "/" + segment)
}

/// The refusal for what is not there.
pub(super) fn missing() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "There is nothing with this name.")
}
