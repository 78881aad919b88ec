//! `Last-Event-ID`: whatever a client says it saw last, it is refused or served, and the server goes on.

#![no_main]

mod room;

use std::sync::Arc;

use bartizan::json::json;
use bartizan::protocol::Door;
use bartizan::transport::{Channel, Handler};
use libfuzzer_sys::fuzz_target;
use room::support::{Recorder, Script, able, newest, settle};

fuzz_target!(|id: &str| {
    room::round(async |world| {
        let script = Script::open(world, Channel::Http, newest(Door::Handshake), able()).await;
        script.call("reporting", json!({})).await;
        let mut headers = script.headers("", &json!(null));
        headers.last_event_id = Some(id.to_owned());
        let (server, peer, out) =
            (Arc::clone(&script.server), script.peer(headers), Arc::new(Recorder::default()));
        let stream = tokio::spawn(async move { server.listen(peer, out).await });
        settle().await;
        script.close().await;
        settle().await;
        stream.abort();
        if let Ok(Err(refused)) = stream.await {
            assert!((400..500).contains(&refused.status), "{refused:?}");
        }
    });
});
