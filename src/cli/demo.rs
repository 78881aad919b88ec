//! `bartizan demo`.
//!
//! Owns the stage: a scratch state directory, the stand-in upstream, the server on its real HTTP transport, a client.
//! The idea: nothing is played; every step in `story.rs` goes over loopback sockets and has to have the expected
//! outcome.
//!
//! Must not: touch the user's own state, or resolve a real credential.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::args::Demo;
use super::screen::Screen;
use super::{story, tools};
use crate::app::{App, Extra};
use crate::client::{Client, Options};
use crate::config::{Config, ConnectorEntry};
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::secret::Secret;

/// What the story is played on.
pub(super) struct Stage {
    pub(super) app: Arc<App>,
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) scratch: Scratch,
}

/// A folder that is gone when this is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bartizan-demo-{:016x}", rand::random::<u64>()));
        Self(path)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn run(typed: &Demo, command: &str, screen: Screen) -> Result<()> {
    let scratch = Scratch::new();
    let mut config =
        Config { practice: true, state_dir: Some(scratch.path().to_path_buf()), ..Config::default() };
    config.connector.push(ConnectorEntry { name: String::from("equinix"), ..ConnectorEntry::default() });
    config.policy = crate::policy::Config::of("standard");
    config.http.listen = Some(String::from("127.0.0.1:0"));
    config.limits.read = Quota::new(60, 12);
    let app = App::build(config, Extra::default()).await?;

    let shutdown = CancellationToken::new();
    let (tell, told) = oneshot::channel();
    let serving = {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        tokio::spawn(async move {
            app.serve_http(false, shutdown, |reachable| {
                let _ = tell.send(reachable.clone());
            })
            .await
        })
    };
    let reachable =
        told.await.map_err(|_| Error::new(Kind::Internal, "The server of the demo did not start."))?;
    let key =
        reachable.key_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let options =
        Options { key: Some(Secret::new(key.trim())), name: "bartizan-demo".into(), ..Options::default() };
    let client =
        Client::http(&reachable.url(), options).await.map_err(|error| tools::client_failed(&error))?;
    let stage = Stage { app: app.clone(), client, url: reachable.url(), scratch };

    let told = story::tell(&stage, command, typed.json, screen).await;
    stage.client.close().await;
    shutdown.cancel();
    let _ = serving.await;
    app.close().await?;
    told
}
