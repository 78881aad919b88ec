//! The settings of the server.
//!
//! Owns [`Config`], the `[server]` table, and [`Caps`]. The idea: every bound has a default that is safe to leave alone.
//!
//! Must not: read a file or an environment variable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::replay::Bounds;
use crate::pipeline::Client;

/// The `[server]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Entries on one page of a list.
    pub page_size: usize,
    /// Milliseconds a client may keep a list.
    pub list_ttl_ms: u64,
    /// Milliseconds a client may keep a resource.
    pub resource_ttl_ms: u64,
    /// Sessions of the older revisions over HTTP, all callers together.
    pub sessions: usize,
    /// Sessions of one caller.
    pub sessions_each: usize,
    /// Seconds after which an unused session ends.
    pub session_idle_seconds: u64,
    /// Messages a session keeps for clients that lost a stream; 0: streams cannot be picked up.
    pub replay_events: usize,
    /// Bytes of them.
    pub replay_bytes: usize,
    /// Bytes of them in all sessions together.
    pub replay_total_bytes: usize,
    /// Seconds a call goes on without its client, who may come back to its stream.
    pub resume_seconds: u64,
    /// Milliseconds after which a client that lost a stream should come back.
    pub retry_ms: u64,
    /// Seconds a client has to answer a question on the open stream.
    pub ask_timeout_seconds: u64,
    /// How often one call may ask.
    pub ask_rounds: u32,
    /// Where the keys are that seal what clients carry, as `file:PATH` or `env:NAME`: the first seals, all open. Without
    /// any, a key of this state directory does both.
    pub sealing_keys: Vec<String>,
    /// Seconds an answer to `input_required` may take.
    pub state_ttl_seconds: u64,
    /// Open subscription streams, all callers together.
    pub subscriptions: usize,
    /// Open subscription streams of one caller.
    pub subscriptions_each: usize,
    /// Resources one stream or session may watch.
    pub watched_each: usize,
    /// Clients that read structured content, by the names they give themselves: no text says the same again. A trailing
    /// `*` stands for any ending. A client can also declare the extension `bartizan/structured`.
    pub structured_clients: Vec<String>,
    /// Messages in one batch; revision 2025-03-26 alone has batches.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            page_size: 250,
            list_ttl_ms: 60_000,
            resource_ttl_ms: 0,
            sessions: 4096,
            sessions_each: 512,
            session_idle_seconds: 1800,
            replay_events: 256,
            replay_bytes: 2 << 20,
            replay_total_bytes: 64 << 20,
            resume_seconds: 60,
            retry_ms: 1000,
            ask_timeout_seconds: 300,
            ask_rounds: 8,
            sealing_keys: Vec::new(),
            state_ttl_seconds: 900,
            subscriptions: 1024,
            subscriptions_each: 64,
            watched_each: 1024,
            structured_clients: vec![String::from("claude-code")],
            batch: 32,
        }
    }
}

/// What a client declares that reads structured content.
const STRUCTURED: &str = "bartizan/structured";

impl Config {
    /// Whether a client reads structured content, so that no text has to repeat it.
    pub(super) fn takes_data(&self, client: &Client) -> bool {
        let named = |known: &String| match known.strip_suffix('*') {
            Some(start) => client.name.starts_with(start),
            None => *known == client.name,
        };
        self.structured_clients.iter().any(named)
            || client.capabilities.extensions.iter().any(|name| name == STRUCTURED)
    }
}

/// How many sessions there may be, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) total: usize,
    pub(super) each: usize,
    pub(super) idle: Duration,
    /// What each keeps of its streams.
    pub(super) replay: Bounds,
}
