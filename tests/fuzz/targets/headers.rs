//! Headers that repeat a body: whatever they say, a request runs only if they agree with it, and always if they do.

#![no_main]

mod room;

use std::sync::Arc;

use arbitrary::Arbitrary;
use bartizan::json::{Value, json};
use bartizan::protocol::Door;
use bartizan::transport::{Channel, Delivery, Handler, HeaderFacts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use room::support::{Recorder, Script, newest};

#[derive(Debug, Arbitrary)]
struct Input {
    /// Bits: which headers are replaced by the right ones.
    right: u8,
    region: Option<String>,
    revision: Vec<String>,
    method: Vec<String>,
    name: Vec<String>,
    params: Vec<(String, String)>,
    malformed: bool,
}

/// The plainest right spelling.
fn encoded(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

/// What a header says, read as the specification has it.
fn said(values: &[String]) -> Option<String> {
    let [value] = values else { return None };
    let value = value.trim_matches([' ', '\t']);
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(text) => String::from_utf8(STANDARD.decode(text).ok()?).ok(),
        None => {
            value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)).then(|| value.into())
        }
    }
}

fuzz_target!(|input: Input| {
    room::round(async |world| {
        let revision = newest(Door::Envelope);
        let script = Script::closed(world, Channel::Http, revision);
        let right = |bit: u8| input.right & (1 << bit) != 0;
        let or =
            |bit, one: &str, given: &[String]| if right(bit) { vec![one.to_owned()] } else { given.to_vec() };
        let mut params: Vec<(String, String)> =
            input.params.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        if right(3) {
            params.retain(|(name, _)| name != "region");
            params.extend(input.region.iter().map(|region| (String::from("region"), encoded(region))));
        }
        let facts = HeaderFacts {
            revision: or(0, revision.name(), &input.revision),
            method: or(1, "tools/call", &input.method),
            name: or(2, "routed", &input.name),
            params: params.clone(),
            malformed: input.malformed && !right(4),
            ..HeaderFacts::default()
        };
        let sent = script.dressed(json!({"name": "routed", "arguments": {"region": input.region}}));
        let sent = if input.region.is_none() { script.dressed(json!({"name": "routed"})) } else { sent };
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": sent});
        let delivery = Delivery { body: Ok(message) };
        let out = Arc::new(Recorder::default());
        let answer = script.server.handle(delivery, script.peer(facts.clone()), out).await;
        let body: Value = serde_json::from_str(&answer.body.expect("an answer")).expect("JSON");
        let ran = body.get("result").is_some();
        let regions: Vec<String> =
            params.iter().filter(|(name, _)| name == "region").map(|(_, value)| value.clone()).collect();
        let agreed = !facts.malformed
            && facts.revision.len() == 1
            && said(&facts.revision).as_deref() == Some(revision.name())
            && said(&facts.method).as_deref() == Some("tools/call")
            && said(&facts.name).as_deref() == Some("routed")
            && if regions.is_empty() { input.region.is_none() } else { said(&regions) == input.region };
        if ran {
            assert!(
                agreed,
                "it ran although the headers disagree: {facts:?} {message:?}",
                message = input.region
            );
        } else {
            let code = &body["error"]["code"];
            assert!(code.as_i64().is_some_and(|code| code != -32603), "{body}");
            let all = right(0) && right(1) && right(2) && right(3) && right(4);
            assert!(!all, "it was refused although the headers agree: {facts:?} {body}");
        }
    });
});
