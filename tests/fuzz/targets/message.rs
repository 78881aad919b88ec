//! Values -> messages, batches among them: a whole conversation in any revision over any transport. Every request is
//! answered under its id, in JSON-RPC, and never with an accident of ours.

#![no_main]

mod room;

use std::sync::Arc;

use bartizan::json::{Bounds, Value, parse};
use bartizan::protocol::{Door, Revision};
use bartizan::transport::{Channel, Delivery, Handler};
use libfuzzer_sys::fuzz_target;
use room::support::{PATIENCE, Recorder, Script, able, settle};
use tokio::task::JoinSet;

/// Messages in one conversation.
const MOST: usize = 8;

fn check(answer: &Value) {
    match answer {
        Value::Array(answers) => {
            assert!(!answers.is_empty(), "an empty batch of answers");
            answers.iter().for_each(check);
        }
        one => {
            assert_eq!(one["jsonrpc"], "2.0", "{one}");
            assert!(one.get("result").is_some() != one.get("error").is_some(), "{one}");
            assert_ne!(one["error"]["code"], -32603, "an accident: {one}");
        }
    }
}

/// The ids that have to be answered: of what is plainly a request.
fn asked(message: &Value) -> Option<&Value> {
    let id = message.get("id").filter(|id| id.is_string() || id.is_i64() || id.is_u64())?;
    (message["jsonrpc"] == "2.0" && message["method"].is_string()).then_some(id)
}

async fn converse(script: &mut Script, lines: &[u8]) {
    let mut running = JoinSet::new();
    for line in lines.split(|byte| *byte == b'\n').take(MOST) {
        let body = parse(line, &Bounds::default());
        let value = body.as_ref().ok().cloned().unwrap_or(Value::Null);
        let headers = script.headers(value["method"].as_str().unwrap_or_default(), &value["params"]);
        let peer = script.peer(headers);
        let (server, wire) = (Arc::clone(&script.server), Arc::new(Recorder::default()));
        running.spawn(async move {
            let answer = server.handle(Delivery { body }, peer, wire).await;
            (value, answer)
        });
        settle().await;
    }
    script.close().await;
    // whatever waited for the client ends with its connection
    while let Some(done) =
        tokio::time::timeout(PATIENCE, running.join_next()).await.expect("every request comes to an end")
    {
        let (message, answer) = done.unwrap();
        let body = answer.body.map(|text| serde_json::from_str::<Value>(&text).expect("answers are JSON"));
        if let Some(body) = &body {
            check(body);
        }
        if let Some(id) = asked(&message) {
            let cancelled = body.is_none();
            assert!(cancelled || body.as_ref().is_some_and(|body| body["id"] == *id), "{message} {body:?}");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, lines)) = input.split_first() else { return };
    let revision = Revision::ALL[usize::from(choice & 0x0f) % Revision::ALL.len()];
    let channel = if choice & 0x10 == 0 { Channel::Stdio } else { Channel::Http };
    room::round(async |world| {
        let mut script = Script::closed(world, channel, revision);
        if choice & 0x20 == 0 && revision.door() == Door::Handshake {
            script = Script::open(world, channel, revision, able()).await;
        }
        converse(&mut script, lines).await;
    });
});
