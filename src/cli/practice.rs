//! `bartizan practice`.
//!
//! Owns a stand-in upstream that runs by itself. The idea: whoever writes a client of an API, ours or not, can point it
//! at a local server that checks what it is sent.
//!
//! Must not: listen beyond loopback.

use std::path::PathBuf;

use super::args::Practice;
use super::screen::Screen;
use super::stop::Stop;
use crate::app::practice_document;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::practice::{Auth, Fault, Options, Rule, serve};

pub(super) async fn run(typed: &Practice, screen: Screen) -> Result<()> {
    let (document, auth) = practice_document(&PathBuf::from(&typed.document), &typed.overlays)?;
    let listen = typed.listen.parse().map_err(|_| {
        Error::new(
            Kind::BadConfig,
            "--listen is not ADDRESS:PORT, such as 127.0.0.1:9000 (port 0 means any free one).",
        )
    })?;
    let faults = typed
        .fault
        .iter()
        .map(|text| text.parse::<Fault>().map(Rule::always))
        .collect::<Result<Vec<Rule>>>()?;
    let operations = document.operations.len();
    let stand =
        serve(document, Options { listen, auth, faults, fault_header: true, ..Options::default() }).await?;
    let credential = match stand.auth() {
        Auth::Open => json!({"kind": "none"}),
        Auth::ClientCredentials { client_id, client_secret, .. } => json!({
            "kind": "client_credentials", "token_url": stand.token_url(),
            "client_id": client_id, "client_secret": client_secret,
        }),
        Auth::Bearer(token) => json!({"kind": "bearer", "token": token}),
        Auth::Header { name, key } => json!({"kind": "header", "name": name, "key": key}),
        Auth::Basic { user, password } => json!({"kind": "basic", "user": user, "password": password}),
    };
    if typed.json {
        screen.json(&json!({"url": stand.url(), "operations": operations, "credential": credential}));
    } else {
        screen.line(&format!("practice: {operations} operations at {}", stand.url()));
        screen.line(&format!("credential, for practice only: {credential}"));
        screen.note("Ctrl-C ends it. A request may ask for a fault in the header x-practice-fault.");
    }
    Stop::at_once().token().cancelled().await;
    stand.shutdown().await;
    Ok(())
}
