//! Redaction: a credential that the process holds survives in no spelling, whatever stands around it.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use bartizan::json::Value;
use bartizan::redaction::{Config, Labels, Pii, Redactor};
use bartizan::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "v3ry/Secret+pass=w0rd\"7";

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
    let pii = vec![Pii::Email, Pii::Phone, Pii::Iban, Pii::Card, Pii::Ip];
    let fingerprint_key = Some(Secret::new("the key of this installation"));
    let redactor = Redactor::new(&Config { pii, fingerprint_key, ..Config::default() }).unwrap();
    redactor.learn(&Secret::new(SECRET), "test");
    redactor
});

#[derive(Debug, Arbitrary)]
struct Input {
    before: String,
    after: String,
    spelling: u8,
    json: bool,
}

fn spelled(spelling: u8) -> String {
    let hex = |upper| {
        SECRET.bytes().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
    };
    let percent = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    match spelling % 6 {
        0 => SECRET.to_owned(),
        1 => STANDARD.encode(SECRET),
        2 => URL_SAFE_NO_PAD.encode(SECRET),
        3 => hex(spelling & 0x80 == 0),
        4 => SECRET.bytes().map(percent).collect(),
        _ => serde_json::to_string(SECRET).unwrap().trim_matches('"').to_owned(),
    }
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                found.push(name);
                texts(member, found);
            }
        }
        _ => {}
    }
}

fuzz_target!(|input: Input| {
    let spelled = spelled(input.spelling);
    let text = format!("{}{spelled}{}", input.before, input.after);
    let clean = REDACTOR.text(&text);
    assert!(!clean.contains(&spelled), "{clean:?}");
    assert!(!REDACTOR.text(&clean).contains(&spelled), "redacting twice brings nothing back");
    assert!(!REDACTOR.logged(&text).contains(&spelled), "nor does a log show it");
    assert!(REDACTOR.refuses(&Value::String(text.clone())), "and nobody sends it on");
    let mut labels = Labels::default();
    labels.read(&text);
    if input.json
        && let Ok(mut value) = serde_json::from_str::<Value>(&input.before)
    {
        let mut whole = serde_json::json!({"of": value.take(), "text": text, (text.as_str()): 1});
        REDACTOR.value(&mut whole);
        let mut found = Vec::new();
        texts(&whole, &mut found);
        assert!(found.iter().all(|text| !text.contains(&spelled)), "{whole}");
    }
});
