//! What an overlay changes, and what it cannot.

use super::*;
use crate::json::json;

fn applied(mut document: Value, actions: &Value) -> (Value, Vec<String>) {
    let overlay = json!({"overlay": "1.0.0", "info": {"title": "t", "version": "1"}, "actions": actions});
    let overlay = Overlay::parse(overlay.to_string().as_bytes(), "o.yaml").unwrap();
    let refused = overlay.apply(&mut document, &mut Budget::default());
    (document, refused.into_iter().map(|one| format!("{}: {}", one.place, one.reason)).collect())
}

fn refusal(text: &str) -> String {
    Overlay::parse(text.as_bytes(), "o.yaml").unwrap_err().message().to_owned()
}

fn refused_target(target: &str) -> String {
    let overlay = json!({"overlay": "1.0.0", "info": {"title": "t", "version": "1"},
        "actions": [{"target": target, "remove": true}]});
    refusal(&overlay.to_string())
}

#[test]
fn an_outline_of_the_document_is_merged_and_what_is_empty_in_it_changes_nothing() {
    let document = json!({
        "info": {"title": "a", "version": "1"}, "tags": [{"name": "x"}], "components": {"schemas": {}},
        "paths": {"/": {"get": {"summary": "old", "tags": ["x"]}}},
    });
    let update = json!({"info": {"x-done": true}, "tags": null, "components": null,
        "paths": {"/": {"summary": "root", "get": {"summary": "new", "tags": ["y"]}}, "/pets": {"get": {}}}});
    let (document, refused) = applied(document, &json!([{"target": "$", "update": update}]));
    assert_eq!(
        document,
        json!({
            "info": {"title": "a", "version": "1", "x-done": true}, "tags": [{"name": "x"}],
            "components": {"schemas": {}},
            "paths": {"/": {"get": {"summary": "new", "tags": ["x", "y"]}, "summary": "root"}, "/pets": {"get": {}}},
        })
    );
    assert!(refused.is_empty());
}

#[test]
fn one_action_changes_every_place_that_its_target_selects() {
    let get = |name: &str, place: &str| json!({"get": {"parameters": [{"name": name, "in": place}]}});
    let document = json!({"paths": {"/a": get("filter", "query"), "/b": get("filter", "header"), "/c": get("x", "query")}});
    let (document, refused) = applied(
        document,
        &json!([
            {"target": "$.paths.*.get", "update": {"x-safe": true}},
            {"target": "$.paths.*.get.parameters[?@.name=='filter' && @.in=='query']", "update": {"schema": {}}},
            {"target": "$.paths['/c'].get.parameters", "update": {"name": "new", "in": "query"}},
        ]),
    );
    assert!(refused.is_empty(), "{refused:?}");
    for path in ["/a", "/b", "/c"] {
        assert_eq!(document["paths"][path]["get"]["x-safe"], true);
    }
    assert_eq!(document["paths"]["/a"]["get"]["parameters"][0]["schema"], json!({}));
    assert!(document["paths"]["/b"]["get"]["parameters"][0].get("schema").is_none());
    assert_eq!(document["paths"]["/c"]["get"]["parameters"][1], json!({"name": "new", "in": "query"}));
}

#[test]
fn what_is_removed_can_be_made_anew_and_indexes_stay_right_meanwhile() {
    let document = json!({"list": [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}], "old": {"a": 1, "b": {"c": 2}}});
    let (document, refused) = applied(
        document,
        &json!([
            {"target": "$.list[?@.n == 1 || @.n == 2]", "remove": true, "update": {"ignored": true}},
            {"target": "$.old", "remove": true},
            {"target": "$", "update": {"old": {"fresh": true}}},
        ]),
    );
    assert_eq!(document, json!({"list": [{"n": 0}, {"n": 3}], "old": {"fresh": true}}));
    assert!(refused.is_empty());
    let nested = json!({"a": {"x": {"x": {"x": {}}}}});
    let (document, refused) = applied(nested, &json!([{"target": "$..x", "remove": true}]));
    assert_eq!((document, refused.len()), (json!({"a": {}}), 0));
}

#[test]
fn what_matches_nothing_or_does_not_fit_is_named_and_the_rest_is_done() {
    let document = json!({"info": {"title": "a"}, "paths": {}, "tags": ["x"]});
    let (document, refused) = applied(
        document,
        &json!([
            {"target": "$.paths['/nowhere'].get", "update": {"x": 1}},
            {"target": "$.info.title", "update": {"x": 1}},
            {"target": "$.info.title", "remove": true},
            {"target": "$.tags[0]", "remove": true},
            {"target": "$.info", "update": "text"},
            {"target": "$", "remove": true},
            {"target": "$.info", "update": {"title": "b"}},
        ]),
    );
    assert_eq!(document, json!({"info": {"title": "b"}, "paths": {}, "tags": ["x"]}));
    assert_eq!(refused.len(), 6);
    assert_eq!(refused[0], "overlay o.yaml, action 1 ($.paths['/nowhere'].get): It matches nothing.");
    assert!(
        refused[1].contains("Only an object can be updated") && refused[5].contains("not the whole document")
    );
}

#[test]
fn what_is_no_overlay_is_refused_with_what_is_missing() {
    for (text, word) in [
        ("openapi: 3.1.0", "no OpenAPI overlay"),
        (
            "overlay: 2.0.0\ninfo: {title: a, version: 1}\nactions: [{target: $, remove: true}]",
            "other than 1.0",
        ),
        ("overlay: 1.0.0\nactions: [{target: $, remove: true}]", "info.title"),
        ("overlay: 1.0.0\ninfo: {title: a}\nactions: [{target: $, remove: true}]", "info.version"),
        ("overlay: 1.0.0\ninfo: {title: a, version: 1}\nactions: []", "actions"),
        ("overlay: 1.0.0\ninfo: {title: a, version: 1}\nactions: [{remove: true}]", "target"),
        (
            "overlay: 1.0.0\ninfo: {title: a, version: 1}\nactions: [{target: $.a}]",
            "neither updates nor removes",
        ),
        (
            "overlay: 1.0.0\ninfo: {title: a, version: 1}\nactions: [{target: $.a, copy: $.b}]",
            "does not have",
        ),
        (
            "overlay: 1.0.0\ninfo: {title: a, version: 1}\nactions: [{target: $.a, remove: 'yes'}]",
            "no boolean",
        ),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(word), "{text}: {refusal}");
    }
}

#[test]
fn a_query_that_could_take_long_is_refused_before_it_runs() {
    for (target, word) in [
        ("$..*..*", "more than one `..`"),
        ("$[?$.x[*]]", "whole document"),
        ("$..[?$==$]", "whole document"),
        ("$.list[?$.a == $.b]", "whole document"),
        ("$..[?length(value($.info.description)) == 1]", "whole document"),
        ("$[?$..x == @.x]", "whole document"),
        ("$[?length($.x) == @.x]", "whole document"),
        ("$[?count($.x[*]) == @.x]", "whole document"),
        ("$[?search(@.x, 'a', 'b')]", "no JSONPath"),
        ("$[?match(@.x, 'a') == true]", "no JSONPath"),
        ("$[?match(@.*, 'a')]", "no JSONPath"),
        ("$[*,*,*,*][*,*,*,*][*,*,*,*][*,*,*,*]", "more than 64 times"),
        ("$.paths[", "no JSONPath"),
        ("paths", "no JSONPath"),
    ] {
        let refusal = refused_target(target);
        assert!(refusal.contains(word), "{target}: {refusal}");
    }
    assert!(
        refused_target(&format!("$[?{}@.a{}]", "(".repeat(40), ")".repeat(40))).contains("nested deeper")
    );
    assert!(refused_target(&format!("$.{}", "a".repeat(1_000))).contains("1000 characters"));
    // what only looks like it: in quotes, and a name that ends alike
    let (document, _) =
        applied(json!({"$..a..b,": {}, "c": {}}), &json!([{"target": "$['$..a..b,']", "remove": true}]));
    assert_eq!(document, json!({"c": {}}));
}

#[test]
fn names_can_be_matched_and_searched_with_patterns() {
    let get = |id: &str, tags: &[&str]| json!({"get": {"operationId": id, "tags": tags}});
    let document = json!({
        "paths": {"/a": get("internalReset", &["ops"]), "/b": get("listThings", &["internals"]), "/c": get("x", &[])},
    });
    let ids = |document: &Value| {
        let paths = document["paths"].as_object().unwrap();
        paths
            .iter()
            .filter(|(_, it)| it.get("get").is_some())
            .map(|(path, _)| path.clone())
            .collect::<String>()
    };
    for (target, left) in [
        ("$.paths.*[?match(@.operationId, 'internal.*')]", "/b/c"),
        ("$.paths.*[?match(@.operationId, 'Reset')]", "/a/b/c"),
        ("$.paths.*[?search(@.operationId, 'Reset|Things')]", "/c"),
        ("$.paths.*[?!search(@.operationId, \"[A-Z]\")]", "/a/b"),
        ("$.paths.*[?search(@.tags[0], 'ops$')]", "/b/c"),
        ("$..[?search(@.tags[0], 'op') || match(@.operationId, 'x')]", "/b"),
        ("$.paths.*[?match(@.tags, 'ops') || match(@.nothing, '.*')]", "/a/b/c"),
    ] {
        let (after, _) = applied(document.clone(), &json!([{"target": target, "remove": true}]));
        assert_eq!(ids(&after), left, "{target}");
    }
    // what is no I-Regexp fits nothing, and is said where that is all that came of it
    let (after, refused) = applied(
        document.clone(),
        &json!([{"target": "$.paths.*[?match(@.operationId, '\\\\w+')]", "remove": true}]),
    );
    assert_eq!(after, document);
    assert!(refused[0].contains("no I-Regexp (RFC 9485)"), "{refused:?}");
    let target = "$.paths.*[?match(@.operationId, '((a{1000}){1000}){1000}')]";
    let (after, refused) = applied(document.clone(), &json!([{"target": target, "remove": true}]));
    assert_eq!(after, document);
    assert!(refused[0].contains("too large"), "{refused:?}");
}

#[test]
fn a_document_neither_grows_nor_deepens_beyond_what_may_be_read() {
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"a": deep});
    }
    let mut document = json!({"a": deep.clone()});
    let mut target = String::from("$");
    for _ in 0..50 {
        target.push_str(".a");
    }
    let (after, refused) = applied(document.clone(), &json!([{"target": target, "update": deep}]));
    assert!(refused[0].contains("deeper than 100 levels"));
    assert_eq!(after, document);
    document = json!({"list": vec![json!({}); 10_000]});
    let update = json!({"text": "x".repeat(10_000)});
    let (after, refused) = applied(document.clone(), &json!([{"target": "$.list[*]", "update": update}]));
    assert!(refused[0].contains("MiB"));
    assert_eq!(after, document);
}

#[test]
fn what_targets_look_at_is_bounded_for_one_and_for_all_of_them() {
    let list: Vec<Value> = (0..20_000).map(|number| json!({"n": number})).collect();
    let mut deep = json!({"list": list.clone()});
    for _ in 0..90 {
        deep = json!({"a": deep});
    }
    // a value is compared once for every level above it
    let again = vec!["@.a == @.a"; 60].join(" && ");
    let (after, refused) =
        applied(deep.clone(), &json!([{"target": format!("$..[?{again}]"), "update": {"x": 1}}]));
    assert!(refused[0].contains("too much of the document"), "{refused:?}");
    assert_eq!(after, deep);
    // a text costs what it is long
    let long = json!({"list": list, "text": "x".repeat(8 << 20)});
    let lengths = vec!["length(@) == 1"; 50].join(" || ");
    let actions: Vec<Value> =
        (0..300).map(|_| json!({"target": format!("$[?{lengths}]"), "remove": true})).collect();
    let (_, refused) = applied(long.clone(), &Value::Array(actions));
    assert!(refused[0].contains("It matches nothing"), "{}", refused[0]);
    assert!(refused[299].contains("too much of the document"), "{}", refused[299]);
    // what names a place costs nothing of it
    let actions: Vec<Value> =
        (0..2_000).map(|at| json!({"target": format!("$.list[{at}]"), "update": {"x": 1}})).collect();
    assert!(applied(long, &Value::Array(actions)).1.is_empty());
}
