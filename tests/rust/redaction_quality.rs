//! How much redaction finds, and how little it takes for a secret: on a public scanner's labelled texts, on texts of our
//! own in which anything random may stand, and on the examples in vendors' documents.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Stdio};

use bartizan::json::Value;
use bartizan::redaction::{Config, Redactor};

use crate::support::shared;

fn redactor() -> Redactor {
    Redactor::new(&Config::default()).unwrap()
}

#[test]
fn labelled_secrets_are_found_rule_by_rule_and_clean_texts_stay() {
    let Some(corpus) = shared("corpora/secrets-dev.jsonl.gz") else { return };
    let mut gzip = Command::new("gzip").arg("-dc").arg(corpus).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = String::new();
    gzip.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    assert!(gzip.wait().unwrap().success());

    let redactor = redactor();
    // By rule: how many there are, and how many were left.
    let mut rules: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let (mut clean, mut touched) = (0u32, Vec::new());
    for line in lines.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let text = entry["text"].as_str().unwrap();
        let out = redactor.text(text);
        match (entry["label"].as_str(), entry["secret"].as_str()) {
            (Some("positive"), Some(secret)) if !secret.is_empty() => {
                let rule = rules.entry(entry["rule"].as_str().unwrap().to_owned()).or_default();
                rule.0 += 1;
                rule.1 += u32::from(out.contains(secret));
            }
            (Some("negative"), _) if entry["clean"] == true => {
                clean += 1;
                if out != text {
                    touched.push(entry["id"].to_string());
                }
            }
            _ => {}
        }
    }
    let found = |(all, left): &(u32, u32)| f64::from(all - left) / f64::from(*all);
    let average =
        100.0 * rules.values().map(found).sum::<f64>() / f64::from(u32::try_from(rules.len()).unwrap());
    let missed: Vec<_> = rules.iter().filter(|(_, counts)| counts.1 > 0).collect();
    println!(
        "{average:.2} % of {} rules, averaged; {} of {clean} clean texts touched",
        rules.len(),
        touched.len()
    );
    assert!(rules.len() > 100 && clean > 140);
    assert!(average >= 99.0, "{average:.2} %: {missed:?}");
    assert!(u32::try_from(touched.len()).unwrap() * 100 <= clean, "{touched:?}");
}

/// Characters drawn from an alphabet, the same in each run.
fn drawn(state: &mut u64, alphabet: &[u8], length: usize) -> String {
    let mut draw = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(alphabet[usize::try_from(*state >> 33).unwrap() % alphabet.len()])
    };
    (0..length).map(|_| draw()).collect()
}

#[test]
fn secrets_are_found_in_configuration_code_commands_logs_and_talk() {
    let texts: Value = serde_json::from_str(include_str!("texts/leaking.json")).unwrap();
    let redactor = redactor();
    let (hex, alnum) =
        (b"0123456789abcdef", b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    let mut state = 42;
    let (mut all, mut left) = (0usize, Vec::new());
    for (kind, texts) in texts.as_object().unwrap() {
        for text in texts.as_array().unwrap() {
            let text = text.as_str().unwrap();
            let secrets = match kind.as_str() {
                "password" => ["hunter2", "Summer2024", "s3cr3t-pw", "Tr0ub4dor3"].map(String::from),
                _ => [
                    drawn(&mut state, alnum, 32),
                    drawn(&mut state, hex, 40),
                    drawn(&mut state, alnum, 43),
                    format!(
                        "{}-{}_{}a",
                        drawn(&mut state, alnum, 12),
                        drawn(&mut state, alnum, 9),
                        drawn(&mut state, alnum, 18)
                    ),
                ],
            };
            for secret in secrets {
                all += 1;
                let text = text.replace("@@", &secret);
                if redactor.text(&text).contains(&secret) {
                    left.push(text);
                }
            }
        }
    }
    println!("{} of {all} left", left.len());
    assert!(all > 700);
    assert!(left.len() * 100 <= all * 3, "{left:#?}");
}

#[test]
fn digests_ids_code_labels_and_prose_stay() {
    let texts: Value = serde_json::from_str(include_str!("texts/plain.json")).unwrap();
    let redactor = redactor();
    let texts: Vec<&str> = texts.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let touched: Vec<_> = texts.iter().filter(|text| redactor.text(text) != **text).collect();
    assert!(texts.len() > 300);
    assert!(touched.len() * 100 <= texts.len(), "{touched:#?}");
}

/// JSON or YAML; YAML's reader needs a lot of stack.
fn read(text: String) -> Value {
    if let Ok(document) = serde_json::from_str(&text) {
        return document;
    }
    let read = move || {
        let mut options = serde_saphyr::Options::default();
        options.budget = None;
        serde_saphyr::from_str_with_options(&text, options).unwrap()
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(read).unwrap().join().unwrap()
}

/// What a document gives as examples of values.
fn examples<'a>(document: &'a Value, found: &mut Vec<&'a Value>) {
    match document {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("example", value) => found.push(value),
                    ("examples", Value::Object(named)) => {
                        found.extend(named.values().filter_map(|one| one.get("value")));
                    }
                    _ => examples(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| examples(item, found)),
        _ => {}
    }
}

/// By the last name on the way and by kind: how many values were taken out.
fn changed(before: &Value, after: &Value, name: &str, counts: &mut BTreeMap<String, u32>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for ((name, before), after) in before.iter().zip(after.values()) {
                changed(before, after, name, counts);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            before.iter().zip(after).for_each(|(before, after)| changed(before, after, name, counts));
        }
        (before, after) if before != after => {
            let after = after.as_str().unwrap();
            let kind = after.split("[redacted:").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
            *counts.entry(format!("{name}: {kind}")).or_default() += 1;
        }
        _ => {}
    }
}

#[test]
fn examples_in_vendors_documents_lose_their_secrets_and_nothing_else() {
    let redactor = redactor();
    let mut all = BTreeMap::new();
    let mut count = 0;
    for name in [
        "akamai/appsec-v1.reassembled.json",
        "akamai/ccu-v3.json",
        "akamai/config-dns-v2.json",
        "akamai/contract-api-v1.json",
        "akamai/cps-v2.json",
        "akamai/edgeworkers-v1.json",
        "akamai/identity-management-v3.json",
        "akamai/network-lists-v2.json",
        "akamai/papi-v1.reassembled.json",
        "akamai/reporting-api-v1.json",
        "akamai/siem-v1.json",
        "equinix/accesstokenv1.fetched.yaml",
        "equinix/fabricv4.patched.yaml",
    ] {
        let Some(path) = shared(&format!("specs/{name}")) else { return };
        let document = read(std::fs::read_to_string(path).unwrap());
        let mut found = Vec::new();
        examples(&document, &mut found);
        count += found.len();
        let mut counts = BTreeMap::new();
        for before in found {
            let mut after = before.clone();
            redactor.value(&mut after);
            changed(before, &after, "(text)", &mut counts);
        }
        if !counts.is_empty() {
            all.insert(name, counts);
        }
    }
    assert!(count > 4000, "{count} examples");
    insta::assert_json_snapshot!(all);
}
