//! `bartizan tools`.
//!
//! Owns the printed list. The idea: it is the server's own answer to `tools/list`, asked by a client in memory, so it
//! cannot differ from what is served.
//!
//! Must not: make a list of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::args::Tools;
use super::screen::{Screen, Tone};
use super::settings;
use crate::app::{App, Loader};
use crate::catalog::List;
use crate::client::{self, Client, Options};
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::policy::{Filter, Search};
use crate::principal::Principal;
use crate::search;

pub(super) async fn run(typed: &Tools, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    let mut config = settings::configuration(&typed.source)?;
    if typed.full {
        config.policy = crate::policy::Config::of("admin");
        let all = std::iter::once(String::from(crate::policy::ALL)).collect();
        config.offer = Filter { toolsets: Some(all), ..Filter::default() };
    }
    // people want to see what there is
    let offer = std::mem::replace(&mut config.offer.search, Search::Off);
    let offer = Filter { search: offer, ..config.offer.clone() };
    let app = settings::app(config, loader).await?;
    let mut principal = (*app.local_principal()).clone();
    if typed.full {
        // everything there is, also what takes a scope that nobody here has
        for entry in app.catalog().now().list(List::Tools) {
            principal.scopes.extend(entry.spec().scopes.iter().cloned());
        }
    }
    let listed = with_client(&app, Arc::new(principal), async |client| client.list_tools().await).await;
    let sets = toolsets(&app);
    app.close().await?;
    let tools = listed?;
    if typed.json {
        screen.json(&json!({"tools": tools}));
        return Ok(());
    }
    for tool in &tools {
        let name = tool["name"].as_str().unwrap_or_default();
        let words = tool["description"].as_str().or(tool["title"].as_str()).unwrap_or_default();
        let first = words.lines().next().unwrap_or_default();
        let mark = mark(tool);
        screen.line(&format!("{} {mark:<7} {first}", screen.paint(Tone::Strong, &format!("{name:<44}"))));
    }
    if tools.is_empty() {
        screen.note(
            "No tool is offered: add --connector NAME, --openapi FILE or --tools FILE, or look at --full.",
        );
    } else {
        screen.note(&format!("{} tools", tools.len()));
        tell_toolsets(&sets, screen);
        let now = app.catalog().now();
        if search::needed(&offer, now.list(List::Tools).iter().map(|entry| entry.spec())) {
            screen.note(
                "A list of so many is long: clients get find_tools, describe_tool and call_tool instead, unless --search off.",
            );
        }
    }
    Ok(())
}

/// A toolset, as commands show it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Shown {
    name: String,
    /// Tools that are loaded and that a caller's policy may still hide.
    tools: usize,
    /// Whether it is loaded; else `--toolsets` has to name it.
    on: bool,
}

/// Every toolset that there is, loaded or not.
pub(super) fn toolsets(app: &App) -> Vec<Shown> {
    let now = app.catalog().now();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in now.list(List::Tools) {
        let spec = entry.spec();
        if (spec.source.as_str(), spec.toolset.as_str()) != ("builtin", "search") {
            *counts.entry(spec.toolset.clone()).or_default() += 1;
        }
    }
    let on = counts.into_iter().map(|(name, tools)| Shown { name, tools, on: true });
    let unasked = app.unasked();
    let off = unasked.iter().map(|(name, tools)| Shown { name: name.clone(), tools: *tools, on: false });
    on.chain(off).collect()
}

/// Says which toolsets there are, where there is something to choose.
pub(super) fn tell_toolsets(sets: &[Shown], screen: Screen) {
    let list = |on: bool| {
        let shown = sets.iter().filter(|set| set.on == on).map(|set| format!("{} ({})", set.name, set.tools));
        shown.collect::<Vec<String>>().join(", ")
    };
    if sets.len() > 1 {
        screen.note(&format!("toolsets: {}", list(true)));
    }
    if sets.iter().any(|set| !set.on) {
        screen.note(&format!("not offered unless --toolsets names them: {}", list(false)));
    }
}

fn mark(tool: &Value) -> &'static str {
    if tool["annotations"]["readOnlyHint"] == Value::Bool(true) {
        "read"
    } else if tool["annotations"]["destructiveHint"] == Value::Bool(true) {
        "destroy"
    } else {
        "write"
    }
}

/// What the server answers to `tools/list`, all pages.
pub(super) async fn list(app: &Arc<App>) -> Result<Vec<Value>> {
    with_client(app, app.local_principal(), async |client| client.list_tools().await).await
}

/// Runs `work` with a client that is connected to the server in memory.
pub(super) async fn with_client<T>(
    app: &Arc<App>,
    principal: Arc<Principal>,
    work: impl AsyncFnOnce(&Client) -> client::Result<T>,
) -> Result<T> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (server_in, server_out) = tokio::io::split(theirs);
    let stop = CancellationToken::new();
    let serving = {
        let app = app.clone();
        let stop = stop.clone();
        tokio::spawn(async move { app.serve_pipe(server_in, server_out, principal, stop).await })
    };
    let (client_in, client_out) = tokio::io::split(ours);
    let opened = Client::over(client_in, client_out, Options::default()).await;
    let client = opened.map_err(|error| client_failed(&error))?;
    let outcome = work(&client).await.map_err(|error| client_failed(&error));
    client.close().await;
    stop.cancel();
    let _ = serving.await;
    outcome
}

/// What our own client says about our own server, as an error of the command.
pub(super) fn client_failed(error: &client::Error) -> Error {
    // The other end is this process, so its words are ours and already redacted.
    Error::new(Kind::Internal, format!("The server did not answer as expected: {error}."))
}
