//! `requestState`: what was sealed for this call opens; anything else is refused, in one sentence.

#![no_main]

mod room;

use arbitrary::Arbitrary;
use bartizan::json::{Value, json};
use bartizan::protocol::Door;
use bartizan::transport::Channel;
use libfuzzer_sys::fuzz_target;
use room::support::{Script, able, newest};

#[derive(Debug, Arbitrary)]
enum Change {
    Replace(u16, u8),
    Insert(u16, char),
    Remove(u16),
    Cut(u16),
    Append(String),
    Instead(String),
}

fn changed(state: &str, changes: &[Change]) -> String {
    let mut letters: Vec<char> = state.chars().collect();
    for change in changes {
        let at = |place: u16, letters: &[char]| usize::from(place) % letters.len().max(1);
        match change {
            Change::Replace(place, letter) => {
                let at = at(*place, &letters);
                if let Some(slot) = letters.get_mut(at) {
                    *slot = char::from(*letter);
                }
            }
            Change::Insert(place, letter) => {
                let at = at(*place, &letters);
                letters.insert(at, *letter);
            }
            Change::Remove(place) if !letters.is_empty() => {
                letters.remove(at(*place, &letters));
            }
            Change::Remove(_) => {}
            Change::Cut(place) => letters.truncate(at(*place, &letters)),
            Change::Append(text) => letters.extend(text.chars()),
            Change::Instead(text) => letters = text.chars().collect(),
        }
    }
    letters.into_iter().collect()
}

fuzz_target!(|changes: Vec<Change>| {
    room::round(async |world| {
        let mut script = Script::closed(world, Channel::Http, newest(Door::Envelope));
        script.capabilities = able();
        let asked = script.call("asking", json!({"greeting": "Hi"})).await;
        let state = asked.result()["requestState"].as_str().expect("a state").to_owned();
        let other = changed(&state, &changes);
        let told = script
            .ask(
                "tools/call",
                json!({
                    "name": "asking", "arguments": {"greeting": "Hi"}, "requestState": other,
                    "inputResponses": {"user_name": {"action": "accept", "content": {"name": "Ann"}}},
                }),
            )
            .await;
        if other == state {
            assert_eq!(told.result()["content"][0]["text"], "Hi, Ann!");
        } else {
            assert_eq!(told.fault(), (400, -32602));
            let message: &Value = &told.body["error"]["message"];
            assert!(
                message.as_str().is_some_and(|text| text.contains("`requestState` is not valid")),
                "{message}"
            );
        }
    });
});
