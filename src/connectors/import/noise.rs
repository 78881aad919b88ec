//! What of answers a model need not read.
//!
//! Owns [`Gather`]. The idea: members that a document's answers have again and again, and that say nothing of the thing
//! itself: links to other addresses, annotations, addresses of what has an id. What is sure goes into `drop`; what
//! somebody may need is named beside it for a person to decide. Pages are followed before anything is left out.
//!
//! Must not: take away the only thing that names something, what a later request has to send back, or a next address
//! that nobody follows for the caller.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::report::Noise;
use crate::connectors::document::{Operation, Place};
use crate::connectors::openapi::words_of;
use crate::connectors::pages::infer::may_go_on;
use crate::connectors::shape::{Look, Shape};
use crate::json::{Value, pointer};

/// Levels and places of one answer.
const LEVELS: usize = 5;
const LOOKED: usize = 600;
/// One answer of so many has to have it.
const RARE: usize = 20;
/// What is named for a person to decide.
const MOST: usize = 20;

/// Relations that links have, where a document does not say that they are addresses.
const RELATIONS: [&str; 10] =
    ["self", "next", "prev", "previous", "first", "last", "related", "up", "about", "describedby"];
/// Last words of what names a thing.
const NAMING: [&str; 12] =
    ["id", "ids", "uuid", "guid", "key", "code", "number", "name", "slug", "urn", "arn", "sku"];
/// Members that hold the things themselves.
const HOLDING: [&str; 7] = ["data", "items", "value", "results", "_embedded", "entries", "records"];
const AUDIT: [&str; 16] = [
    "changeLog",
    "changelog",
    "change_log",
    "auditInfo",
    "audit_info",
    "auditTrail",
    "_audit",
    "createdBy",
    "created_by",
    "updatedBy",
    "updated_by",
    "modifiedBy",
    "modified_by",
    "lastModifiedBy",
    "last_modified_by",
    "deletedBy",
];
/// Members of an answer that may say what was asked for.
const ECHOES: [&str; 8] =
    ["request", "_request", "query", "params", "parameters", "criteria", "filters", "input"];

/// What a member is, the surest first; where a name is used for two of them, the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Links,
    Annotation,
    Version,
    Address,
    Kind,
    About,
    Audit,
    Deprecated,
    Echo,
}

impl Sort {
    const fn says(self) -> &'static str {
        match self {
            Self::Links => "links to other addresses",
            Self::Annotation => "how the data is described, not the data",
            Self::Version => "a version that no operation takes back",
            Self::Address => "addresses of things",
            Self::Kind => "which kind of thing each one is",
            Self::About => "what the API notes about a thing",
            Self::Audit => "who made or changed it",
            Self::Deprecated => "deprecated, says the document",
            Self::Echo => "what was asked for, once more",
        }
    }

    const fn is_sure(self) -> bool {
        matches!(self, Self::Links | Self::Annotation | Self::Version | Self::Address)
    }
}

/// A member that was found.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    name: &'a str,
    sort: Sort,
    /// Whether nothing beside it names the thing.
    alone: bool,
}

/// A place in the schemas, looked at once.
struct Node<'a> {
    found: Vec<Found<'a>>,
    others: Vec<&'a str>,
    may_be_null: bool,
    inner: Vec<Look<'a>>,
}

/// How often a member was found.
struct Count {
    sort: Sort,
    answers: usize,
    /// Those among them where something has nothing else that names it.
    alone: usize,
    /// Whether it may be the only way on from a list.
    leads: bool,
}

/// Counts over all answers.
#[derive(Default)]
pub(super) struct Gather<'a> {
    nodes: HashMap<*const Value, Node<'a>>,
    counts: BTreeMap<&'a str, Count>,
    /// Names that members have that are something else.
    others: HashSet<&'a str>,
    /// Answers that were looked at, those of an `OData` service, and those with members that may be null.
    answers: usize,
    odata: usize,
    nulls: usize,
    /// Whether an operation takes the version that an answer had.
    takes_version: bool,
}

impl<'a> Gather<'a> {
    pub(super) fn new(operations: &[Operation]) -> Self {
        let takes = |one: &Operation| {
            let mut headers = one.parameters.iter().filter(|it| it.place == Place::Header);
            headers.any(|it| it.name.eq_ignore_ascii_case("if-match"))
        };
        Self { takes_version: operations.iter().any(takes), ..Self::default() }
    }

    /// Looks at an answer; `paged` where its pages are followed.
    pub(super) fn look(&mut self, operation: &Operation, answer: &'a Shape, paged: bool) {
        self.answers += 1;
        let root = answer.look();
        let mut here: BTreeMap<&'a str, (Sort, bool)> = BTreeMap::new();
        let (mut odata, mut null) = (false, false);
        let mut seen = HashSet::from([root.identity()]);
        let mut waiting = VecDeque::from([(root, 0)]);
        while let Some((look, level)) = waiting.pop_front() {
            let node = self.nodes.entry(look.identity()).or_insert_with(|| Node::of(look));
            for found in &node.found {
                let at = here.entry(found.name).or_insert((found.sort, false));
                *at = (at.0.max(found.sort), at.1 | found.alone);
            }
            odata |= node.others.iter().chain(here.keys()).any(|name| name.starts_with("@odata."));
            null |= node.may_be_null;
            self.others.extend(&node.others);
            if level < LEVELS && seen.len() < LOOKED {
                waiting.extend(
                    node.inner.iter().filter(|it| seen.insert(it.identity())).map(|it| (*it, level + 1)),
                );
            }
        }
        let members = root.properties();
        let list = has_things(root) || members.iter().any(|(_, member)| has_things(*member));
        let list = list && !paged && may_go_on(operation);
        let lead = |(name, member): &(&'a str, Look<'a>)| may_lead(*member).then_some(*name);
        let top: Vec<&str> = members.iter().filter(|_| list).filter_map(lead).collect();
        for name in echoes(operation, root) {
            here.entry(name).or_insert((Sort::Echo, false));
        }
        for (name, (sort, alone)) in here {
            let count = self.counts.entry(name).or_insert(Count { sort, answers: 0, alone: 0, leads: false });
            count.sort = count.sort.max(sort);
            count.answers += 1;
            count.alone += usize::from(alone);
            count.leads |= sort == Sort::Links && top.contains(&name);
        }
        self.odata += usize::from(odata);
        self.nulls += usize::from(null);
    }

    /// What may be left out, the surest and most frequent first.
    pub(super) fn proposals(mut self) -> Vec<Noise> {
        if self.odata > 0 {
            let context = Count { sort: Sort::Annotation, answers: self.odata, alone: 0, leads: false };
            self.counts.insert("@odata.context", context);
        }
        let least = self.answers.div_ceil(RARE);
        let mut all: Vec<Noise> = self
            .counts
            .iter()
            .filter(|(_, count)| count.answers >= least)
            .filter(|(_, count)| !(count.sort == Sort::Version && self.takes_version))
            .filter(|(name, count)| !(count.sort == Sort::Deprecated && self.others.contains(*name)))
            .map(|(name, count)| self.noise(name, count))
            .collect();
        all.sort_by(|one, other| {
            let rank = |it: &Noise| (!it.left_out, std::cmp::Reverse(it.answers));
            rank(one).cmp(&rank(other)).then_with(|| one.drop.cmp(&other.drop))
        });
        all.truncate(MOST);
        all
    }

    /// How many answers there are, and how many have members that may be null.
    pub(super) const fn answers(&self) -> (usize, usize) {
        (self.answers, self.nulls)
    }

    fn noise(&self, name: &str, count: &Count) -> Noise {
        let Count { sort, answers, alone, leads } = *count;
        let shared = self.others.contains(name);
        let but = if !sort.is_sure() {
            String::new()
        } else if sort == Sort::Address && alone == 0 && !shared {
            String::from(" that have an id beside it")
        } else if alone > 0 {
            format!(" (in {alone}, something has nothing else that names it)")
        } else if shared {
            String::from(" (and elsewhere something else)")
        } else if leads {
            String::from("; those at the top stay, because some lists have no other way on")
        } else {
            String::new()
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-@$".contains(&byte));
        let drop = match (sort, plain) {
            (Sort::Echo, _) => name.to_owned(),
            (_, true) if leads => format!("*.**.{name}"),
            (_, true) => format!("**.{name}"),
            (_, false) => format!("**/{}", pointer::escaped(name)),
        };
        let left_out = sort.is_sure() && alone == 0 && !shared;
        Noise { drop, why: format!("{}{but}", sort.says()), answers, left_out }
    }
}

impl<'a> Node<'a> {
    fn of(look: Look<'a>) -> Self {
        let members = look.properties();
        let named = members.iter().any(|(name, member)| names(name, *member) || HOLDING.contains(name));
        let linked = named || has_things(look);
        let mut node = Self {
            found: Vec::new(),
            others: Vec::new(),
            may_be_null: members.iter().any(|(_, member)| member.is("null")),
            inner: look.items().into_iter().chain(look.branches()).collect(),
        };
        for (name, member) in &members {
            let sort = sort(name, *member);
            let sort = sort.or_else(|| member.flag("deprecated").then_some(Sort::Deprecated));
            if let Some(sort) = sort.filter(|_| !name.is_empty()) {
                let alone = match sort {
                    Sort::Links => !linked,
                    Sort::Address => !named,
                    _ => false,
                };
                node.found.push(Found { name, sort, alone });
            } else {
                node.others.push(name);
            }
            // what is inside of links is links
            if sort != Some(Sort::Links) {
                node.inner.push(*member);
            }
        }
        node
    }
}

/// What a member is by its name and its form.
fn sort(name: &str, member: Look<'_>) -> Option<Sort> {
    let text = member.is("string");
    Some(match name {
        "_links" => Sort::Links,
        "links" | "Links" if is_links(member) => Sort::Links,
        "jsonapi" if member.is("object") => Sort::Annotation,
        "$schema" if text && member.word("format") == "uri" => Sort::Annotation,
        "@odata.context" => Sort::Annotation,
        "@odata.etag" => Sort::Version,
        "@odata.id" | "@odata.editLink" | "@odata.readLink" => Sort::Address,
        "@odata.type" => Sort::Kind,
        "href" | "_href" | "selfLink" | "self_link" | "self" if text => Sort::Address,
        "_metadata" | "__metadata" if !member.properties().is_empty() => Sort::About,
        _ if AUDIT.contains(&name) && !member.properties().is_empty() => Sort::Audit,
        _ => return None,
    })
}

/// Whether a member holds nothing but addresses: a list of objects with an `href`, or an object of them by relation.
fn is_links(member: Look<'_>) -> bool {
    let has_href =
        |look: Look<'_>| look.properties().iter().any(|(name, it)| *name == "href" && it.is("string"));
    if let Some(items) = member.items() {
        let flat = items.properties().iter().all(|(_, it)| !it.is("array"));
        return has_href(items) && flat;
    }
    let members = member.properties();
    let link = |(name, it): &(&str, Look<'_>)| {
        let address = it.is("string") && (RELATIONS.contains(name) || it.word("format").starts_with("uri"));
        address || has_href(*it)
    };
    !members.is_empty() && (has_href(member) || members.iter().all(link))
}

/// Whether links may hold the address of a next page.
fn may_lead(links: Look<'_>) -> bool {
    let members = links.properties();
    members.is_empty() || members.iter().any(|(name, _)| *name == "next")
}

/// Whether a member names the thing that has it.
fn names(name: &str, member: Look<'_>) -> bool {
    let words = words_of(name);
    let last = words.last().map(String::as_str).unwrap_or_default();
    NAMING.contains(&last) && !member.is("object") && !member.is("array")
}

/// Whether it has a list of things.
fn has_things(look: Look<'_>) -> bool {
    look.properties().iter().any(|(name, member)| member.is("array") && sort(name, *member).is_none())
}

/// Members of an answer that hold what was asked for.
fn echoes<'a>(operation: &Operation, root: Look<'a>) -> Vec<&'a str> {
    let body = operation.body.as_ref().map(|body| body.schema.look());
    let asked: HashSet<&str> = operation
        .parameters
        .iter()
        .map(|it| it.name.as_str())
        .chain(body.into_iter().flat_map(Look::properties).map(|(name, _)| name))
        .collect();
    let echoes = root.properties().into_iter().filter(|(name, member)| {
        let inner = member.properties();
        ECHOES.contains(name) && !inner.is_empty() && inner.iter().all(|(name, _)| asked.contains(name))
    });
    echoes.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::openapi;
    use crate::json::json;

    /// What is proposed for reads that answer so, each at a path of its own.
    fn proposed(answers: &[Value]) -> Vec<(String, bool)> {
        let paths = answers.iter().enumerate().map(|(at, answer)| {
            let operation = json!({"get": {"operationId": format!("get{at}"), "responses":
                {"200": {"description": "", "content": {"application/json": {"schema": answer}}}}}});
            (format!("/a{at}"), operation)
        });
        of(&Value::Object(paths.collect()))
    }

    fn of(paths: &Value) -> Vec<(String, bool)> {
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let mut gather = Gather::new(&document.operations);
        for operation in &document.operations {
            gather.look(operation, operation.responses["200"].schema.as_ref().unwrap(), false);
        }
        gather.proposals().into_iter().map(|one| (one.drop, one.left_out)).collect()
    }

    fn object(members: &Value) -> Value {
        json!({"type": "object", "properties": members})
    }

    fn text() -> Value {
        json!({"type": "string"})
    }

    #[test]
    fn links_and_annotations_go_and_what_says_who_stays_for_a_person_to_decide() {
        let link = object(&json!({"href": text(), "rel": text()}));
        let who = object(&json!({"name": text()}));
        let item = object(
            &json!({"id": text(), "_links": {"type": "object"}, "links": {"type": "array", "items": link},
            "createdBy": who, "old": {"type": "string", "deprecated": true}, "@odata.type": text()}),
        );
        let found = proposed(&[item]);
        let is = |drop: &str, left: bool| found.contains(&(drop.to_owned(), left));
        assert!(is("**._links", true) && is("**.links", true) && is("**/@odata.context", true), "{found:?}");
        assert!(is("**.createdBy", false) && is("**.old", false) && is("**/@odata.type", false), "{found:?}");
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn what_alone_names_a_thing_or_is_data_elsewhere_is_not_left_out() {
        let named = object(&json!({"uuid": text(), "href": text()}));
        assert_eq!(proposed(std::slice::from_ref(&named)), [(String::from("**.href"), true)]);
        let bare = object(&json!({"href": text(), "state": text()}));
        assert_eq!(proposed(&[named, bare.clone()]), [(String::from("**.href"), false)]);
        let halved = object(&json!({"state": text(), "_links": {"type": "object"}}));
        assert_eq!(proposed(&[halved]), [(String::from("**._links"), false)]);
        let links = object(&json!({"id": text(), "links": object(&json!({"self": text()}))}));
        let data = object(&json!({"links": {"type": "array", "items": object(&json!({"speed": text()}))}}));
        assert_eq!(proposed(&[links, data.clone()]), [(String::from("**.links"), false)]);
        assert_eq!(proposed(&[data]), []);
        let own = object(&json!({"id": text(), "self": text()}));
        let other = object(&json!({"id": text(), "self": {"type": "object", "deprecated": true}}));
        for both in [[own.clone(), other.clone()], [other, own]] {
            assert_eq!(proposed(&both), [(String::from("**.self"), false)]);
        }
    }

    #[test]
    fn the_only_way_on_from_a_list_stays_at_its_top() {
        let item = object(&json!({"id": text(), "_links": {"type": "object"}}));
        let list = object(&json!({"things": {"type": "array", "items": item}, "_links": {"type": "object"}}));
        assert_eq!(proposed(std::slice::from_ref(&list)), [(String::from("*.**._links"), true)]);
        let things = object(&json!({"things": {"type": "array", "items": object(&json!({"id": text()}))}}));
        let deeper =
            object(&json!({"_embedded": things, "_links": object(&json!({"next": {"type": "object"}}))}));
        assert_eq!(proposed(&[deeper]), [(String::from("*.**._links"), true)]);
        let selves =
            object(&json!({"_embedded": things, "_links": object(&json!({"self": {"type": "object"}}))}));
        assert_eq!(proposed(&[selves]), [(String::from("**._links"), true)]);
        let document = json!({"/a": {"get": {"operationId": "a", "responses":
            {"200": {"description": "", "content": {"application/json": {"schema": list}}}}}}});
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": document});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let mut gather = Gather::new(&document.operations);
        let operation = &document.operations[0];
        gather.look(operation, operation.responses["200"].schema.as_ref().unwrap(), true);
        assert_eq!(gather.proposals()[0].drop, "**._links", "its pages are followed before");
    }

    #[test]
    fn a_version_stays_where_a_request_sends_it_back() {
        let answer = object(&json!({"id": text(), "@odata.etag": text()}));
        let responses =
            json!({"200": {"description": "", "content": {"application/json": {"schema": answer}}}});
        let mut paths = json!({"/a": {"get": {"operationId": "a", "responses": responses}}});
        assert!(of(&paths).contains(&(String::from("**/@odata.etag"), true)));
        paths["/a"]["get"]["parameters"] =
            json!([{"name": "If-Match", "in": "header", "schema": {"type": "string"}}]);
        assert!(of(&paths).iter().all(|(drop, _)| !drop.contains("etag")));
    }

    #[test]
    fn what_is_rare_is_not_worth_a_word_and_the_order_of_a_document_changes_nothing() {
        let plain = object(&json!({"id": text()}));
        let mut answers = vec![plain; 40];
        answers[3] = object(&json!({"id": text(), "_links": {"type": "object"}}));
        assert_eq!(proposed(&answers), []);
        answers[7] = object(&json!({"id": text(), "self": text()}));
        answers[9] = object(&json!({"id": text(), "_links": {"type": "object"}, "self": text()}));
        let found = proposed(&answers);
        assert_eq!(found, [(String::from("**._links"), true), (String::from("**.self"), true)]);
        answers.reverse();
        assert_eq!(proposed(&answers), found);
    }

    #[test]
    fn what_was_asked_for_is_seen_where_it_comes_back() {
        let answer = object(&json!({"id": text(), "query": object(&json!({"name": text()}))}));
        let mut paths = json!({"/a": {"get": {"operationId": "a", "parameters": [{"name": "name", "in": "query",
            "schema": {"type": "string"}}], "responses":
            {"200": {"description": "", "content": {"application/json": {"schema": answer}}}}}}});
        assert_eq!(of(&paths), [(String::from("query"), false)]);
        paths["/a"]["get"]["parameters"] = json!([]);
        assert_eq!(of(&paths), []);
    }
}
