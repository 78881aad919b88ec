//! What of answers a model need not read.
//!
//! Owns [`Gather`]. The idea: members that a document's answers have again and again, and that say nothing of the thing
//! itself: links to other addresses, annotations, addresses of what has an id. What is sure goes into `drop`; what
//! somebody may need is named beside it for a person to decide. Pages are followed before anything is left out.
//!
//! Must not: take away the only thing that names something, what a later request has to send back, or a next address
//! that nobody follows for the caller.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map};

use super::members::{Node, Sort};
use super::report::Noise;
use crate::connectors::document::{Operation, Place};
use crate::connectors::pages::infer::may_go_on;
use crate::connectors::shape::{Look, Shape};
use crate::json::{Value, pointer};

/// Levels and places of one answer that are counted.
const LEVELS: usize = 5;
const LOOKED: usize = 600;
/// Names in all places together; beyond them nothing is sure.
const NAMES: usize = 2_000_000;
/// One answer of so many has to have it.
const RARE: usize = 20;
/// What is named for a person to decide.
const MOST: usize = 20;

/// Members of an answer that may say what was asked for.
const ECHOES: [&str; 8] =
    ["request", "_request", "query", "params", "parameters", "criteria", "filters", "input"];

/// How often a member was found.
#[derive(Clone, Copy)]
struct Count {
    sort: Sort,
    answers: usize,
    /// Those among them where something has nothing else that names it.
    alone: usize,
    /// Whether it may be the only way on from a list at the top.
    leads: bool,
    /// Whether it may be so from a list further down.
    leads_below: bool,
}

impl Count {
    const fn of(sort: Sort) -> Self {
        Self { sort, answers: 0, alone: 0, leads: false, leads_below: false }
    }
}

/// Counts over all answers.
#[derive(Default)]
pub(super) struct Gather<'a> {
    nodes: HashMap<*const Value, Node<'a>>,
    counts: BTreeMap<&'a str, Count>,
    /// Names that members have that are something else, and those that alone name something, however far down.
    others: HashSet<&'a str>,
    alone: HashSet<&'a str>,
    /// Names of what requests take.
    taken: HashSet<&'a str>,
    /// Answers that were looked at, those of an `OData` service, and those with members that may be null.
    answers: usize,
    odata: usize,
    nulls: usize,
    /// Whether an operation takes the version that an answer had.
    takes_version: bool,
    /// Names that were looked at.
    names: usize,
}

impl<'a> Gather<'a> {
    pub(super) fn new(operations: &'a [Operation]) -> Self {
        let takes = |one: &Operation| {
            let mut headers = one.parameters.iter().filter(|it| it.place == Place::Header);
            headers.any(|it| it.name.eq_ignore_ascii_case("if-match"))
        };
        let mut gather = Self { takes_version: operations.iter().any(takes), ..Self::default() };
        let mut seen = HashSet::new();
        for operation in operations {
            gather.taken.extend(operation.parameters.iter().map(|it| it.name.as_str()));
            let shapes = operation.parameters.iter().map(|it| &it.schema);
            for shape in shapes.chain(operation.body.as_ref().map(|it| &it.schema)) {
                gather.take(shape.look(), &mut seen);
            }
        }
        gather
    }

    /// Names that a request takes, however far down.
    fn take(&mut self, look: Look<'a>, seen: &mut HashSet<*const Value>) {
        let mut waiting = vec![look];
        while let Some(look) = waiting.pop().filter(|_| self.names < NAMES) {
            if look.is_leaf() || !seen.insert(look.identity()) {
                continue;
            }
            let (members, others) = (look.properties(), look.others());
            self.names += 1 + members.len() + others.len();
            self.taken.extend(members.iter().map(|(name, _)| name));
            waiting.extend(members.into_iter().map(|(_, it)| it).chain(others.into_iter().map(|(it, _)| it)));
        }
    }

    /// Everything that an answer may have, however far down: what is left out is left out there, too.
    fn learn(&mut self, look: Look<'a>) {
        let mut waiting = vec![look];
        while let Some(look) = waiting.pop().filter(|_| self.names < NAMES) {
            let hash_map::Entry::Vacant(entry) = self.nodes.entry(look.identity()) else { continue };
            let mut node = Node::of(look);
            let others = std::mem::take(&mut node.others);
            self.names += 1 + node.found.len() + others.len() + node.inner.len();
            self.others.extend(others);
            self.alone.extend(node.found.iter().filter(|it| it.alone).map(|it| it.name));
            waiting.extend(node.inner.iter().map(|(it, _)| *it));
            entry.insert(node);
        }
    }

    /// Looks at an answer; `paged` where its pages are followed.
    pub(super) fn look(&mut self, operation: &Operation, answer: &'a Shape, paged: bool) {
        self.answers += 1;
        let root = answer.look();
        self.learn(root);
        let things = |node: &Node<'_>, nodes: &HashMap<*const Value, Node<'_>>| {
            let mut inner = node.inner.iter().filter(|(_, item)| !item);
            node.things || inner.any(|(it, _)| nodes.get(&it.identity()).is_some_and(|node| node.things))
        };
        let listed = self.nodes.get(&root.identity()).is_some_and(|node| things(node, &self.nodes));
        let goes_on = listed && !paged && may_go_on(operation);
        let mut here: BTreeMap<&'a str, (Sort, bool)> = BTreeMap::new();
        let (mut top, mut below) = (HashSet::new(), HashSet::new());
        let (mut odata, mut null) = (false, false);
        let mut seen = HashSet::from([root.identity()]);
        let mut waiting = VecDeque::from([(root, 0, false)]);
        while let Some((look, level, within)) = waiting.pop_front() {
            let Some(node) = self.nodes.get(&look.identity()) else { continue };
            for found in &node.found {
                let at = here.entry(found.name).or_insert((found.sort, false));
                *at = (at.0.max(found.sort), at.1 | found.alone);
            }
            odata |= node.is_odata;
            null |= node.may_be_null;
            if !paged && !node.leading.is_empty() {
                let beside = things(node, &self.nodes);
                for (name, says) in &node.leading {
                    if level == 0 {
                        top.extend((goes_on || (listed && *says)).then_some(*name));
                    } else if (beside && (*says || !within)) || (listed && *says && !within) {
                        below.insert(*name);
                    }
                }
            }
            if level < LEVELS {
                let room = LOOKED.saturating_sub(seen.len());
                let fresh = node.inner.iter().filter(|(it, _)| seen.insert(it.identity())).take(room);
                waiting.extend(fresh.map(|(it, item)| (*it, level + 1, within || *item)));
            }
        }
        for it in &seen {
            if let Some(node) = self.nodes.get_mut(it) {
                node.seen = true;
            }
        }
        for name in echoes(operation, root) {
            here.entry(name).or_insert((Sort::Echo, false));
        }
        for (name, (sort, alone)) in here {
            let count = self.counts.entry(name).or_insert(Count::of(sort));
            count.sort = count.sort.max(sort);
            count.answers += 1;
            count.alone += usize::from(alone);
            count.leads |= top.contains(&name);
            count.leads_below |= below.contains(&name);
        }
        self.odata += usize::from(odata);
        self.nulls += usize::from(null);
    }

    /// What may be left out, the surest and most frequent first.
    pub(super) fn proposals(mut self) -> Vec<Noise> {
        if self.odata > 0 {
            let context = Count { answers: self.odata, ..Count::of(Sort::Annotation) };
            self.counts.insert("@odata.context", context);
        }
        for node in self.nodes.values().filter(|node| node.things && !node.seen) {
            for (name, _) in node.leading.iter().filter(|(_, says)| *says) {
                self.counts.entry(name).and_modify(|count| count.leads_below = true);
            }
        }
        let stay = |(name, count): (&&str, &Count)| {
            count.sort == Sort::Links && (count.leads || self.why_not(name, count).is_some())
        };
        let links_stay = self.counts.iter().any(stay);
        let least = self.answers.div_ceil(RARE);
        let mut all: Vec<Noise> = self
            .counts
            .iter()
            .filter(|(_, count)| count.answers >= least)
            .filter(|(_, count)| !(count.sort == Sort::Version && self.takes_version))
            .filter(|(name, count)| !(count.sort == Sort::Deprecated && self.others.contains(*name)))
            .map(|(name, count)| self.noise(name, count, links_stay))
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

    /// Why what is sure is not left out all the same.
    fn why_not(&self, name: &str, count: &Count) -> Option<String> {
        let why = if count.alone > 0 {
            return Some(format!(" (in {}, something has nothing else that names it)", count.alone));
        } else if self.others.contains(name) {
            " (and elsewhere something else)"
        } else if self.alone.contains(name) {
            " (further down, something has nothing else that names it)"
        } else if self.taken.contains(name) {
            " (requests take what is called so)"
        } else if count.leads_below {
            " (some lists have no other way on)"
        } else if self.names >= NAMES {
            " (the document is too large to look at all of it)"
        } else {
            return None;
        };
        Some(why.to_owned())
    }

    fn noise(&self, name: &str, count: &Count, links_stay: bool) -> Noise {
        let Count { sort, answers, leads, .. } = *count;
        let within = (sort == Sort::Address && links_stay).then_some(" (links that stay hold such)");
        let not = self.why_not(name, count).or_else(|| within.map(str::to_owned));
        let left_out = sort.is_sure() && not.is_none();
        let but = match not.filter(|_| sort.is_sure()) {
            Some(not) => not,
            None if sort == Sort::Address => String::from(" that have an id beside it"),
            None if leads => String::from("; those at the top stay, because some lists have no other way on"),
            None => String::new(),
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-@$".contains(&byte));
        let drop = match (sort, plain) {
            (Sort::Echo, _) => name.to_owned(),
            (_, true) if leads => format!("*.**.{name}"),
            (_, true) => format!("**.{name}"),
            (_, false) => format!("**/{}", pointer::escaped(name)),
        };
        Noise { drop, why: format!("{}{but}", sort.says()), answers, left_out }
    }
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
    fn what_a_request_takes_is_not_left_out() {
        let status = object(&json!({"status": object(&json!({"href": text()}))}));
        let thing = object(&json!({"id": text(), "href": text(), "_links": status}));
        let other = object(&json!({"id": text(), "@odata.etag": text(), "self": text()}));
        let get = |id: &str, schema: &Value| {
            json!({"operationId": id, "responses":
                {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}})
        };
        let mut paths = json!({"/a": {"get": get("a", &thing)}, "/b": {"get": get("b", &other)}});
        assert!(of(&paths).iter().all(|(_, left_out)| *left_out), "{:?}", of(&paths));
        let deep = json!({"anyOf": [{"additionalProperties": {"type": "array", "items": other}}]});
        let body = |schema: &Value| json!({"content": {"application/json": {"schema": schema}}});
        paths["/a"]["patch"] = get("patch", &json!({"type": "object"}));
        paths["/a"]["patch"]["requestBody"] = body(&object(&json!({"_links": status})));
        paths["/b"]["put"] = get("put", &json!({"type": "object"}));
        paths["/b"]["put"]["requestBody"] = body(&deep);
        let found = of(&paths);
        let kept: Vec<&str> = found.iter().filter(|it| !it.1).map(|it| it.0.as_str()).collect();
        assert_eq!(kept, ["**._links", "**.href", "**.self", "**/@odata.etag"], "{found:?}");
    }

    #[test]
    fn links_that_lead_on_stay_wherever_the_list_is() {
        let way = |more: &str| object(&json!({"self": text(), more: text()}));
        let things = json!({"type": "array", "items": object(&json!({"id": text()}))});
        let page = |more: &str| object(&json!({"items": things, "links": way(more)}));
        let below = object(&json!({"result": page("next")}));
        assert_eq!(proposed(&[below]), [(String::from("**.links"), false)]);
        assert_eq!(proposed(&[object(&json!({"result": page("up")}))]), [(String::from("**.links"), true)]);
        let about = object(&json!({"items": things, "meta": object(&json!({"links": way("next")}))}));
        assert_eq!(proposed(&[about]), [(String::from("**.links"), false)]);
        let far = ["a", "b", "c", "d", "e", "f"].into_iter();
        let far = far.fold(page("next"), |inner, name| object(&json!({name: inner})));
        let near = object(&json!({"id": text(), "links": way("up")}));
        assert_eq!(proposed(&[near, far]), [(String::from("**.links"), false)]);
        // what the links that stay consist of stays as well
        let item = object(&json!({"id": text(), "href": text()}));
        let next = object(&json!({"next": object(&json!({"href": text()}))}));
        let list = object(&json!({"things": {"type": "array", "items": item}, "links": next}));
        assert_eq!(proposed(&[list]), [(String::from("*.**.links"), true), (String::from("**.href"), false)]);
    }

    #[test]
    fn what_alone_names_a_thing_stays_however_it_is_reached() {
        let named = object(&json!({"id": text(), "href": text()}));
        let bare = object(&json!({"href": text(), "state": text()}));
        let far = ["a", "b", "c", "d", "e", "f", "g"].into_iter();
        for reached in [
            json!({"type": "object", "additionalProperties": bare}),
            json!({"type": "object", "patternProperties": {"^x": bare}}),
            json!({"allOf": [{"type": "object", "additionalProperties": bare}]}),
            json!({"type": "array", "prefixItems": [bare]}),
            far.fold(bare.clone(), |inner, name| object(&json!({name: inner}))),
        ] {
            let found = proposed(&[named.clone(), reached.clone()]);
            assert_eq!(found, [(String::from("**.href"), false)], "{reached}");
        }
    }

    #[test]
    fn what_doubles_on_each_level_and_what_is_wide_comes_to_an_end() {
        let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let mut schemas = json!({"D60": {"type": "string"}, "A6": object(&json!({"href": text()}))});
        for at in 0..60 {
            schemas[format!("D{at}")] = json!({"anyOf": vec![of(&format!("D{}", at + 1)); 2]});
        }
        for at in 0..6 {
            schemas[format!("A{at}")] = json!({"allOf": vec![of(&format!("A{}", at + 1)); 100]});
        }
        let wide = (0..3_000).map(|at| (format!("m{at}"), of(&format!("D{}", at % 60))));
        let mut wide: serde_json::Map<String, Value> = wide.collect();
        wide.extend([("id".to_owned(), text()), ("_links".to_owned(), json!({"type": "object"}))]);
        wide.insert("composed".to_owned(), of("A0"));
        schemas["Wide"] = object(&Value::Object(wide));
        let get = |at: usize| {
            let answer =
                json!({"200": {"description": "", "content": {"application/json": {"schema": of("Wide")}}}});
            (format!("/a{at}"), json!({"get": {"operationId": format!("a{at}"), "responses": answer}}))
        };
        let document = json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "paths": Value::Object((0..50).map(get).collect()), "components": {"schemas": schemas}});
        let document = openapi::load(document.to_string().as_bytes(), None).unwrap();
        let mut gather = Gather::new(&document.operations);
        for operation in &document.operations {
            gather.look(operation, operation.responses["200"].schema.as_ref().unwrap(), false);
        }
        assert!(gather.nodes.len() < 200 && gather.names < 10_000, "each place is looked at once");
        let found: Vec<(String, bool)> =
            gather.proposals().into_iter().map(|one| (one.drop, one.left_out)).collect();
        assert_eq!(found, [("**._links".to_owned(), true), ("**.href".to_owned(), false)]);
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
