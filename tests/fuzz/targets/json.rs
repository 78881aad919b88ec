//! Bytes -> value: what is taken is JSON, means the same when it is written and read again, and is within bounds.

#![no_main]

use bartizan::error::Kind;
use bartizan::json::{Bounds, Value, canonical, digest, parse};
use libfuzzer_sys::fuzz_target;

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let bounds = Bounds { size: 1 << 16, depth: 16 };
    let plain = serde_json::from_slice::<Value>(bytes);
    match parse(bytes, &bounds) {
        Ok(value) => {
            assert_eq!(plain.expect("only JSON is taken"), value);
            assert!(bytes.len() <= bounds.size && depth(&value) <= bounds.depth);
            let again = parse(value.to_string().as_bytes(), &Bounds { size: usize::MAX, ..bounds });
            let again = again.expect("what was written can be read");
            assert_eq!(again, value);
            let spelled = canonical(&value);
            let spelled = serde_json::from_str(&spelled).expect("the canonical text is JSON");
            assert_eq!(digest(&spelled), digest(&value));
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::BadJson);
            assert!(error.message().len() < 120);
            if let Ok(value) = plain {
                let why = error.message();
                let twice = why.contains("the same key twice");
                assert!(twice || bytes.len() > bounds.size || depth(&value) > bounds.depth, "{why}");
            }
        }
    }
});
