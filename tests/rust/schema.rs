//! Schemas from outside: the public suite, and that no message ever repeats a value.

use std::path::Path;
use std::process::Command;

use bartizan::error::Kind;
use bartizan::json::{Value, json};
use bartizan::schema::{LazySchema, Remotes, Schema};
use proptest::prelude::*;

use crate::support::shared;

fn documents(folder: &Path, base: &str, found: &mut Vec<(String, Value)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() {
            documents(&path, &format!("{base}{name}/"), found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let document = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            found.push((format!("{base}{name}"), document));
        }
    }
}

// proves: schema-2020-12
#[test]
fn the_public_suite_passes_through_the_same_code() {
    let Some(archive) = shared("corpora/json-schema-test-suite.tar.gz") else { return };
    let folder = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());

    let mut remotes = Vec::new();
    let base = folder.path().join("remotes");
    documents(&base.join("draft2020-12"), "http://localhost:1234/draft2020-12/", &mut remotes);
    for entry in std::fs::read_dir(&base).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("draft") {
            if entry.path().is_dir() {
                documents(&entry.path(), &format!("http://localhost:1234/{name}/"), &mut remotes);
            } else {
                let document = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
                remotes.push((format!("http://localhost:1234/{name}"), document));
            }
        }
    }
    let remotes = Remotes::new(remotes).unwrap();

    let (mut checked, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder.path().join("tests/draft2020-12")).unwrap().map(Result::unwrap) {
        if !entry.path().is_file() {
            continue;
        }
        let groups: Value = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
        for group in groups.as_array().unwrap() {
            let name = format!("{}: {}", entry.file_name().to_string_lossy(), group["description"]);
            let schema = match Schema::compile_with(&group["schema"], &remotes) {
                Ok(schema) => schema,
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            for test in group["tests"].as_array().unwrap() {
                checked += 1;
                let fits = schema.check(&test["data"]).is_ok();
                if fits != test["valid"].as_bool().unwrap() || fits != schema.fits(&test["data"]) {
                    wrong.push(format!("{name}: {}", test["description"]));
                }
            }
        }
    }
    println!("{checked} cases of the public suite");
    assert!(checked > 1200, "only {checked} cases were found");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn message(schema: &Value, value: &Value) -> String {
    let error = Schema::compile(schema).unwrap().check(value).unwrap_err();
    assert_eq!(error.kind(), Kind::BadArguments);
    error.message().to_owned()
}

#[test]
fn a_refusal_says_where_and_what_is_expected() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "speed": {"type": "integer", "enum": [50, 200, 1000]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["name", "speed"],
        "additionalProperties": false,
    });
    for (value, expected) in [
        (json!({"speed": 50}), "/name is required"),
        (json!({"name": "ab", "speed": "fast"}), "/speed must be an integer"),
        (json!({"name": "ab", "speed": 7}), "/speed must be one of 50, 200, 1000"),
        (json!({"name": "a", "speed": 50}), "/name must have at least 2 characters"),
        (json!({"name": "ab", "speed": 50, "tags": ["a", 5]}), "/tags/1 must be a string"),
        (json!({"name": "ab", "speed": 50, "note": 5}), "/note must be a string or null"),
        (json!({"name": "ab", "speed": 50, "Speeed": 1}), "unknown argument; did you mean \"speed\"?"),
        (json!({"name": "ab", "speed": 50, "zzz": 1}), "known are \"name\", \"speed\", \"tags\", \"note\""),
        (json!([]), "the top level must be an object"),
    ] {
        let text = message(&schema, &value);
        assert!(text.contains(expected), "{text} should contain {expected}");
        assert!(!text.contains("zzz") && !text.contains("Speeed"), "{text}");
    }
    let text =
        message(&schema, &json!({"name": 1, "speed": "x", "tags": [1, 2, 3], "note": [], "a": 1, "b": 2}));
    assert!(text.ends_with("and more."), "{text}");
}

// proves: schema-references
#[test]
fn an_unusable_schema_is_refused_when_it_is_compiled() {
    for (schema, word) in [
        (json!({"type": "strin"}), "form"),
        (json!({"pattern": "("}), "linear time"),
        (json!({"pattern": "(?=a)"}), "look-ahead"),
        (json!({"$ref": "http://127.0.0.1:9/x"}), "never fetched"),
        (json!({"$id": "http://a.example/", "$ref": "file:///etc/passwd"}), "never fetched"),
        (json!({"$schema": "https://json-schema.org/draft/2019-09/schema"}), "dialect"),
        (json!(7), "no object"),
    ] {
        let error = Schema::compile(&schema).unwrap_err();
        assert_eq!(error.kind(), Kind::BadConfig);
        assert!(error.message().contains(word), "{} should contain {word}", error.message());
    }
    let lazy = LazySchema::new(json!({"pattern": "(?=a)"}));
    assert!(
        lazy.compiled().is_err() && lazy.clone().compiled().unwrap_err().message().contains("look-ahead")
    );
    assert!(LazySchema::empty_object().compiled().unwrap().check(&json!({})).is_ok());
    assert!(LazySchema::empty_object().compiled().unwrap().check(&json!({"a": 1})).is_err());
}

/// Schemas that fail most values in different ways.
fn schemas() -> Vec<Schema> {
    [
        json!({"type": "integer"}),
        json!({"const": 5}),
        json!({"enum": ["a", "b"]}),
        json!({"type": "string", "pattern": "^never$"}),
        json!({"maxLength": 1}),
        json!({"type": "object", "properties": {"known": {"type": "integer"}}, "additionalProperties": false}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        json!({"patternProperties": {".": {"type": "null"}}}),
        json!({"propertyNames": {"maxLength": 1}}),
        json!({"anyOf": [{"type": "integer"}, {"type": "object", "required": ["x"]}, {"items": {"const": 1}}]}),
        json!({"oneOf": [{"type": "string", "maxLength": 2}, {"additionalProperties": {"maxLength": 1}}]}),
        json!({"not": {}}),
        json!({"properties": {"known": {"items": {"properties": {"known": {"type": "boolean"}}}}},
               "unevaluatedProperties": false}),
        json!({"items": {"uniqueItems": true, "contains": {"const": 0}}}),
        json!({"dependentRequired": {"known": ["other"]}, "minProperties": 3}),
    ]
    .iter()
    .map(|schema| Schema::compile(schema).unwrap())
    .collect()
}

fn values() -> impl Strategy<Value = Value> {
    let text = "[A-Z]{3}canary[0-9]{6}";
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        (9_000_000_000u64..10_000_000_000).prop_map(Value::from),
        Just(Value::Null)
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let name = prop_oneof![Just(String::from("known")), text];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                if name != "known" {
                    found.push(name.clone());
                }
                texts(member, found);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

proptest! {
    // proves: arguments-validated
    #[test]
    fn any_schema_error_omits_the_value(value in values()) {
        let mut seeded = Vec::new();
        texts(&value, &mut seeded);
        for schema in schemas() {
            if let Err(error) = schema.check(&value) {
                let shown = format!("{error} {error:?} {:?}", error.detail());
                for text in &seeded {
                    prop_assert!(!shown.contains(text.as_str()), "{shown} repeats {text}");
                }
            }
        }
    }
}
