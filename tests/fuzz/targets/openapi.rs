//! A document -> operations: anything is refused in a sentence, or gives tools with legal names and whole schemas.

#![no_main]

use std::collections::HashSet;

use bartizan::connectors::openapi::load;
use bartizan::error::Kind;
use libfuzzer_sys::fuzz_target;

/// References only to what the schema itself holds.
fn whole(schema: &serde_json::Value, part: &serde_json::Value) {
    match part {
        serde_json::Value::Array(items) => items.iter().for_each(|item| whole(schema, item)),
        serde_json::Value::Object(members) => {
            if let Some(serde_json::Value::String(target)) = members.get("$ref") {
                let place = target.strip_prefix('#').expect("a reference inside");
                assert!(schema.pointer(place).is_some(), "{target} leads nowhere");
            }
            for (name, member) in members {
                if !matches!(name.as_str(), "const" | "enum" | "default" | "example" | "examples") {
                    whole(schema, member);
                }
            }
        }
        _ => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    let document = match load(bytes, None) {
        Ok(document) => document,
        Err(error) => {
            assert_eq!(error.kind(), Kind::BadConfig);
            assert!(error.message().len() < 300, "{error}");
            return;
        }
    };
    let mut names = HashSet::new();
    for operation in &document.operations {
        let name = &operation.tool;
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        assert!((1..=64).contains(&name.len()) && name.chars().all(legal), "{name}");
        assert!(names.insert(name.clone()), "two tools are called {name}");
        for parameter in &operation.parameters {
            let schema = parameter.schema.value();
            whole(&schema, &schema);
        }
        if let Some(body) = &operation.body {
            let schema = body.schema.value();
            whole(&schema, &schema);
        }
    }
});
