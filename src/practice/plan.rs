//! What the paths of a document say about its collections.
//!
//! Owns [`Plan`] and [`Collection`]. The idea: `/x/{id}` makes `/x` a collection, whatever else the document says;
//! the shape of its things comes from the best answer that shows one, and the same pure arithmetic that seeds a
//! collection also tells a caller which ids it will hold.
//!
//! Must not: hold anything that changes.

use super::book::Book;
use super::recipe::View;
use super::route::Template;
use super::{pattern, words};
use crate::connectors::document::{Operation, Place};
use crate::json::Value;

/// Last segments of a path that search instead of create.
const SEARCHES: &[&str] = &["search", "_search", "query", "find"];

/// Names under which lists are found in answers.
const LISTS: &[&str] =
    &["data", "items", "value", "values", "results", "records", "entries", "content", "elements", "list"];

/// Where a schema stands: an answer of an operation, and the properties to walk down.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub operation: usize,
    pub status: usize,
    pub below: Vec<String>,
    /// Whether the last step is into the items of an array.
    pub items: bool,
    rank: u8,
    /// Names of the thing's properties.
    properties: Vec<String>,
}

/// One collection.
#[derive(Debug, Clone)]
pub(super) struct Collection {
    pub template: Template,
    /// What one thing is called.
    pub noun: String,
    /// Operation and position of the parameter that names a thing.
    pub key: Option<(usize, usize)>,
    /// What a thing looks like.
    pub item: Option<Source>,
    /// The property that holds a thing's name in the path.
    pub identity: String,
    /// Whether things can be created in it.
    pub creatable: bool,
    /// Whether a thing of it can be read, changed or removed by its path.
    pub addressed: bool,
}

/// Every collection of a document, most specific first.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub collections: Vec<Collection>,
}

/// The status and the place of the answer that an operation gives when all is well.
pub(super) fn good_answer(operation: &Operation, prefer: &[&str]) -> Option<usize> {
    let good = |status: &str| status.starts_with('2');
    prefer
        .iter()
        .find_map(|status| operation.responses.get_index_of(*status))
        .or_else(|| operation.responses.keys().position(|status| good(status)))
        .or_else(|| operation.responses.get_index_of("default"))
}

/// Where the list stands in an answer: the properties to walk down to the array. Nothing when it is no list.
pub(super) fn list_at(view: View<'_>) -> Option<Vec<String>> {
    let flat = view.plain();
    if flat.types.contains(&"array") && !flat.types.contains(&"object") {
        return Some(Vec::new());
    }
    let kind_of =
        |name: &str| flat.properties.get(name).and_then(|schema| view.of(schema).plain().main_type());
    let has = |names: &[&str]| names.iter().any(|name| flat.properties.contains_key(name));
    let paged = has(&[
        "pagination",
        "paging",
        "total",
        "totalCount",
        "@odata.nextLink",
        "nextPageToken",
        "next_cursor",
    ]);
    let thing = has(&["uuid", "id", "href"]);
    if thing && !paged {
        return None;
    }
    if let Some(name) = LISTS.iter().find(|name| kind_of(name) == Some("array")) {
        return Some(vec![(*name).to_owned()]);
    }
    let arrays: Vec<&str> =
        flat.properties.keys().copied().filter(|name| kind_of(name) == Some("array")).collect();
    if let [only] = arrays.as_slice()
        && (paged || flat.properties.len() <= 2)
    {
        return Some(vec![(*only).to_owned()]);
    }
    if flat.properties.len() > 6 {
        return None;
    }
    flat.properties.iter().find_map(|(name, schema)| {
        let inner = view.of(schema);
        let flat = inner.plain();
        let listed = LISTS.iter().find(|list| {
            flat.properties
                .get(**list)
                .is_some_and(|schema| inner.of(schema).plain().main_type() == Some("array"))
        })?;
        Some(vec![(*name).to_owned(), (*listed).to_owned()])
    })
}

impl Source {
    /// Names of the properties that a thing has.
    pub(super) fn properties(&self) -> &[String] {
        &self.properties
    }

    /// From an answer's schema to the schema of one thing.
    fn thing<'a>(&self, answer: View<'a>) -> Option<View<'a>> {
        let mut view = answer;
        for name in &self.below {
            view = view.property(name)?;
        }
        if self.items { view.items() } else { Some(view) }
    }
}

impl Plan {
    /// The plan of a document.
    pub(super) fn new(book: &Book) -> Self {
        let mut plan = Self::default();
        for (index, operation) in book.document.operations.iter().enumerate() {
            plan.learn(book, index, operation);
        }
        for collection in &mut plan.collections {
            collection.identity = identity(book, collection);
        }
        plan.collections.retain(|collection| collection.item.is_some() || collection.addressed);
        plan.collections.sort_by(|one, other| one.template.order(&other.template));
        plan
    }

    fn learn(&mut self, book: &Book, index: usize, operation: &Operation) {
        let path = Template::parse(&operation.path);
        let Some(ending) = path.last() else { return };
        let status = good_answer(operation, &[]);
        let schema = status.and_then(|status| book.glance(index, status));
        let list = schema.as_ref().and_then(|schema| list_at(View::new(schema)));
        let source = |rank: u8| {
            let mut source = Source {
                operation: index,
                status: status?,
                below: list.clone().unwrap_or_default(),
                items: list.is_some(),
                rank,
                properties: Vec::new(),
            };
            let thing = source.thing(View::new(schema.as_ref()?))?;
            source.properties = thing.plain().properties.keys().map(|name| (*name).to_owned()).collect();
            Some(source)
        };
        if let Some(name) = ending.parameter() {
            let named = {
                operation
                    .parameters
                    .iter()
                    .position(|parameter| parameter.place == Place::Path && parameter.name == name)
            };
            let rank = match operation.method.as_str() {
                "GET" => 5,
                "PUT" | "PATCH" => 2,
                _ => 1,
            };
            let collection = self.collection(&path.parent());
            collection.addressed = true;
            collection.key = collection.key.or(named.map(|position| (index, position)));
            collection.offer(source(rank));
            return;
        }
        let searches =
            ending.literal().is_some_and(|word| SEARCHES.contains(&word)) && operation.method == "POST";
        match operation.method.as_str() {
            "POST" if searches => self.collection(&path.parent()).offer(source(3)),
            "POST" => {
                let made = source(4);
                if list.is_none() && !is_verb(ending.literal().unwrap_or_default()) {
                    let collection = self.collection(&path);
                    collection.creatable = true;
                    collection.offer(made);
                }
            }
            "GET" if list.is_some() => self.collection(&path).offer(source(3)),
            _ => {}
        }
    }

    fn collection(&mut self, template: &Template) -> &mut Collection {
        let known = self.collections.iter().position(|known| known.template.same_shape(template));
        let index = known.unwrap_or_else(|| {
            let name = template.0.iter().rev().find_map(|segment| segment.literal()).unwrap_or("things");
            self.collections.push(Collection {
                template: template.clone(),
                noun: words::singular(name),
                key: None,
                item: None,
                identity: String::new(),
                creatable: false,
                addressed: false,
            });
            self.collections.len() - 1
        });
        &mut self.collections[index]
    }

    /// The collection that a concrete path means.
    pub(super) fn find(&self, segments: &[String]) -> Option<(usize, &Collection)> {
        self.collections.iter().enumerate().find(|(_, known)| known.template.matches(segments).is_some())
    }
}

impl Collection {
    fn offer(&mut self, source: Option<Source>) {
        if let Some(source) = source
            && self.item.as_ref().is_none_or(|known| source.rank > known.rank)
        {
            self.item = Some(source);
        }
    }

    /// The schema of one thing.
    pub(super) fn item<'a>(&self, book: &'a Book) -> Option<View<'a>> {
        let source = self.item.as_ref()?;
        source.thing(book.answer(source.operation, source.status)?)
    }

    /// Whether its things have a property.
    pub(super) fn has(&self, property: &str) -> bool {
        self.item.as_ref().is_some_and(|source| source.properties.iter().any(|name| name == property))
    }

    /// An example of the document for the thing at `index`.
    pub(super) fn example<'a>(&self, book: &'a Book, index: usize) -> Option<&'a Value> {
        let source = self.item.as_ref()?;
        let answer = book.operation(source.operation).responses.get_index(source.status)?.1;
        let mut example = answer.example.as_ref()?;
        for name in &source.below {
            example = example.get(name)?;
        }
        let thing = match example {
            Value::Array(items) if source.items => items.get(index % items.len().max(1))?,
            other if !source.items => other,
            _ => return None,
        };
        thing.is_object().then_some(thing)
    }

    /// How many things it holds at first: one for each name that the document lists, else `seeds`.
    pub(super) fn seeds(&self, book: &Book, seeds: usize) -> usize {
        self.names(book).map_or(seeds, |names| names.len().min(20))
    }

    fn names<'a>(&self, book: &'a Book) -> Option<&'a [Value]> {
        let (operation, position) = self.key?;
        book.parameter(operation, position).1.plain().choices
    }

    /// The name of the thing at `index` of the collection at `path`, as JSON of the right type.
    pub(super) fn name(&self, book: &Book, path: &str, index: usize, seed: u64) -> Value {
        let place = words::mix(words::hash(path, seed).wrapping_add(index as u64));
        let Some((operation, position)) = self.key else { return words::uuid(place).into() };
        let flat = book.parameter(operation, position).1.plain();
        if let Some(choice) = flat.choices.and_then(|choices| choices.get(index % choices.len().max(1))) {
            return choice.clone();
        }
        if matches!(flat.main_type(), Some("integer" | "number")) {
            let least = flat.minimum.unwrap_or(0.0).max(0.0);
            return super::faker::clamp(&flat, least + words::number("", index) + 100.0);
        }
        if flat.format != Some("uuid") {
            let lower = self.identity.to_ascii_lowercase();
            let ending = ["code", "name"].into_iter().find(|ending| lower.ends_with(ending));
            let word = ending.map(|ending| words::text(ending, &self.noun, index));
            let text = match (flat.pattern, &word) {
                (Some(source), Some(word)) => pattern::word_or_sample(source, word, index),
                (Some(source), None) => pattern::word_or_sample(source, &words::uuid(place), index),
                (None, _) => word,
            };
            if let Some(text) = text {
                return text.into();
            }
        }
        super::faker::fit_length(words::uuid(place), &flat).into()
    }
}

/// The property that carries a thing's name: the parameter's own name, or what its ending says.
fn identity(book: &Book, collection: &Collection) -> String {
    let none = Vec::new();
    let properties = collection.item.as_ref().map_or(&none, |source| &source.properties);
    let parameter = collection
        .key
        .map_or("", |(operation, position)| book.operation(operation).parameters[position].name.as_str());
    let lower = parameter.to_ascii_lowercase();
    let mut wishes: Vec<&str> = vec![parameter];
    for ending in ["code", "name", "key"] {
        if lower.ends_with(ending) {
            wishes.push(ending);
        }
    }
    wishes.extend(["uuid", "id"]);
    wishes
        .into_iter()
        .find_map(|wish| properties.iter().find(|name| name.eq_ignore_ascii_case(wish)))
        .map_or_else(|| if lower.ends_with("uuid") { "uuid" } else { "id" }.to_owned(), Clone::clone)
}

/// Whether the last word of a path says what to do rather than what there is.
fn is_verb(word: &str) -> bool {
    matches!(
        word,
        "validate"
            | "bulk"
            | "login"
            | "logout"
            | "verify"
            | "check"
            | "test"
            | "preview"
            | "export"
            | "import"
            | "activate"
            | "deactivate"
            | "cancel"
            | "refresh"
            | "reset"
            | "rotate"
            | "sync"
            | "approve"
            | "reject"
    ) || word.contains('.')
}
