//! Tool names and argument names.
//!
//! Owns [`tools`] and [`arguments`]. The idea: a name says what it is, is legal everywhere (at most 64 of
//! `A-Z a-z 0-9 _ -`), and depends on nothing but its own operation: where two would be the same, or one that of a tool
//! of ours, it carries a hash of its method and path, so that the order of a document means nothing.
//!
//! Must not: depend on the position in a document, except between exact doubles.

use std::collections::{HashMap, HashSet};

use super::effect::words;
use crate::connectors::document::{Operation, Parameter, Place};
use crate::json::Digest;
use crate::policy::FINDERS;

const LENGTH: usize = 64;
const HASH: usize = 8;

/// Gives every operation its id (unique) and its tool name.
pub(super) fn tools(operations: &mut [Operation]) {
    let bases: Vec<String> = operations.iter().map(|operation| snake(&operation.id)).collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut ids: HashMap<String, usize> = HashMap::new();
    for (base, operation) in bases.iter().zip(operations.iter()) {
        *counts.entry(base.clone()).or_default() += 1;
        *ids.entry(operation.id.clone()).or_default() += 1;
    }
    let mut used: HashSet<String> = HashSet::new();
    let mut used_ids: HashSet<String> = HashSet::new();
    for (base, operation) in bases.into_iter().zip(operations.iter_mut()) {
        let place = place_of(operation);
        let clashes = counts.get(&base).copied().unwrap_or(0) > 1 || FINDERS.contains(&base.as_str());
        let salted = |salt: usize| {
            let hash = Digest::of(format!("{place}\n{}\n{salt}", operation.id).as_bytes()).hex();
            (base[..base.floor_char_boundary(LENGTH - HASH - 1)].trim_end_matches('_').to_owned(), hash)
        };
        let mut name = base.clone();
        if clashes || base.len() > LENGTH || base.is_empty() {
            let (head, hash) = salted(0);
            name = format!("{head}_{}", &hash[..HASH]);
        }
        let mut salt = 1;
        while !used.insert(name.clone()) {
            let (head, hash) = salted(salt);
            name = format!("{head}_{}", &hash[..HASH]);
            salt += 1;
        }
        let name = name.trim_start_matches('_').to_owned();
        operation.tool = name;
        if ids.get(&operation.id).copied().unwrap_or(0) > 1 || used_ids.contains(&operation.id) {
            let mut id = format!("{}_{}", operation.id, &Digest::of(place.as_bytes()).hex()[..HASH]);
            while used_ids.contains(&id) {
                id.push('_');
            }
            operation.id = id;
        }
        used_ids.insert(operation.id.clone());
    }
}

/// Method and path, and what is always sent with it: `/x?do=start` and `/x?do=stop` are two operations.
fn place_of(operation: &Operation) -> String {
    let mut place = format!("{} {}", operation.method, operation.path);
    for parameter in &operation.parameters {
        if let Some(value) = &parameter.fixed {
            place.extend(["&", &parameter.name, "=", value]);
        }
    }
    place
}

/// The id of an operation that has none.
pub(super) fn made_up(method: &str, path: &str) -> String {
    let mut parts = vec![method.to_ascii_lowercase()];
    parts.extend(words(path));
    parts.join("_")
}

fn snake(id: &str) -> String {
    words(id).join("_")
}

/// Gives every parameter its argument name, and returns the one of the body.
pub(super) fn arguments(parameters: &mut [Parameter]) -> String {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for parameter in parameters.iter() {
        *counts.entry(plain(&parameter.name)).or_default() += 1;
    }
    let mut used: HashSet<String> = HashSet::new();
    for parameter in parameters.iter_mut() {
        let base = plain(&parameter.name);
        // Path parameters keep their name; of the rest each that clashes says where it goes.
        let alone = counts.get(&base).copied().unwrap_or(0) < 2 || parameter.place == Place::Path;
        let mut name = if alone { base.clone() } else { format!("{base}_{}", place(parameter.place)) };
        let mut count = 2;
        while !used.insert(name.clone()) {
            name = format!("{base}_{}_{count}", place(parameter.place));
            count += 1;
        }
        parameter.argument = name;
    }
    let mut body = String::from("body");
    while used.contains(&body) {
        body = format!("request_{body}");
    }
    body
}

const fn place(place: Place) -> &'static str {
    match place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
        Place::Cookie => "cookie",
    }
}

/// A name on the wire as the name of an argument: `filter[name]` is `filter_name`, `$top` is `top`.
fn plain(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(LENGTH));
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || character == '-' || character == '.' {
            out.push(character);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    let out = out.trim_matches(['_', '-', '.']);
    if out.is_empty() {
        String::from("value")
    } else if out.len() > 50 {
        format!("{}_{}", &out[..50], &Digest::of(name.as_bytes()).hex()[..HASH])
    } else {
        out.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(id: &str, path: &str) -> Operation {
        Operation { id: id.into(), path: path.into(), method: "GET".into(), ..Operation::default() }
    }

    #[test]
    fn names_are_legal_unique_and_do_not_depend_on_order() {
        let long = "getTheVeryLongNameOfAnOperationThatNobodyCanTypeWithoutAMistakeInIt";
        let mut forward = vec![
            operation("listWidgets", "/widgets"),
            operation("users.user.ListUser", "/users"),
            operation("same", "/a"),
            operation("same", "/b"),
            operation("Same", "/c"),
            operation(long, "/long"),
            operation("éé", "/odd"),
        ];
        let mut backward: Vec<Operation> = forward.iter().rev().cloned().collect();
        tools(&mut forward);
        tools(&mut backward);
        let names = |list: &[Operation]| -> HashMap<String, (String, String)> {
            list.iter().map(|it| (it.path.clone(), (it.tool.clone(), it.id.clone()))).collect()
        };
        let given = names(&forward);
        assert_eq!(given, names(&backward));
        assert_eq!(given["/widgets"].0, "list_widgets");
        assert_eq!(given["/users"].0, "users_user_list_user");
        let unique: HashSet<&str> = given.values().map(|(tool, _)| tool.as_str()).collect();
        let ids: HashSet<&str> = given.values().map(|(_, id)| id.as_str()).collect();
        assert_eq!((unique.len(), ids.len()), (7, 7));
        for name in unique {
            assert!((1..=64).contains(&name.len()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        }
    }

    #[test]
    fn nothing_is_called_as_the_tools_that_stand_for_all_others() {
        let mut list = vec![
            operation("findTools", "/a"),
            operation("describe-tool", "/b"),
            operation("CALL_TOOL", "/c"),
        ];
        tools(&mut list);
        for (operation, name) in list.iter().zip(FINDERS) {
            assert!(
                operation.tool.strip_prefix(name).is_some_and(|hash| hash.len() == HASH + 1),
                "{operation:?}"
            );
        }
    }

    #[test]
    fn arguments_that_clash_say_where_they_go() {
        use crate::connectors::document::Style;
        let parameter = |name: &str, place: Place| Parameter {
            name: name.into(),
            argument: String::new(),
            place,
            required: false,
            description: None,
            schema: crate::connectors::Shape::of(crate::json::json!({})),
            fixed: None,
            style: Style::Form,
            explode: true,
            allow_reserved: false,
            content_type: None,
        };
        let mut list = [
            parameter("id", Place::Path),
            parameter("id", Place::Query),
            parameter("$filter", Place::Query),
            parameter("filter[name]", Place::Query),
            parameter("body", Place::Query),
            parameter("X-Trace-Id", Place::Header),
            parameter("+", Place::Query),
        ];
        assert_eq!(arguments(&mut list), "request_body");
        let names: Vec<&str> = list.iter().map(|it| it.argument.as_str()).collect();
        assert_eq!(names, ["id", "id_query", "filter", "filter_name", "body", "X-Trace-Id", "value"]);
    }
}
