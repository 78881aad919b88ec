//! The audit's outside anchor.
//!
//! Owns [`Anchor`]. The idea: each signed checkpoint goes to somebody whom nobody here can make forget; what they kept,
//! `bartizan audit verify --anchor FILE` compares with the chain. On request each line goes there too. It is a copy:
//! the file is written first, and nothing waits.
//!
//! Must not: change a line; it is what was hashed.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::{Means, Message, Outbox, Relay};
use crate::audit::{AnchorConfig, Audit, Event, Sink};
use crate::error::Result;
use crate::json::{Value, json};

/// How a checkpoint is told from other lines without reading either.
const CHECKPOINT: &str = "\"kind\":\"checkpoint\"";

/// Sends checkpoints out.
pub struct Anchor {
    outboxes: Vec<Outbox>,
    every_line: bool,
    means: Means,
    audit: OnceLock<Weak<Audit>>,
}

impl Anchor {
    /// An anchor; within a runtime.
    pub fn open(config: &AnchorConfig, means: Means) -> Result<Arc<Self>> {
        let relays: Result<Vec<Relay>> = config.to.iter().map(|one| Relay::open(one, &means)).collect();
        let outboxes = relays?.into_iter().map(Outbox::start).collect();
        Ok(Arc::new(Self { outboxes, every_line: config.lines, means, audit: OnceLock::new() }))
    }

    /// Signs a checkpoint every so many seconds, if anything was written, and says where messages were lost.
    pub async fn keep(self: Arc<Self>, audit: Weak<Audit>, every: Duration) {
        let _ = self.audit.set(audit.clone());
        loop {
            tokio::time::sleep(every).await;
            let Some(audit) = audit.upgrade() else { return };
            for outbox in &self.outboxes {
                let lost = outbox.lost();
                if lost > 0 {
                    audit.note(Event::SinkLagged, &json!({"sink": outbox.name(), "dropped": lost}));
                }
            }
            // a blocking file; what fails there is logged there
            let _ = tokio::task::spawn_blocking(move || audit.checkpoint()).await;
        }
    }

    /// Gives what waits that long to be sent.
    pub async fn end(&self, within: Duration) {
        futures_util::future::join_all(self.outboxes.iter().map(|outbox| outbox.end(within))).await;
    }
}

impl Sink for Anchor {
    fn name(&self) -> &'static str {
        "anchor"
    }

    fn take(&self, lines: Vec<Arc<str>>) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        let wall = self.means.clock.wall();
        for line in &lines {
            // what a caller could put into a line is escaped, so these quotes are ours
            let start = line.get(..160.min(line.len())).unwrap_or(line);
            let signed = start.contains(CHECKPOINT);
            if !signed && !self.every_line {
                continue;
            }
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let kind = if signed { "checkpoint" } else { "line" };
            for outbox in &self.outboxes {
                outbox.put(Message::of_line(kind, line.clone(), wall));
            }
        }
        Box::pin(async { Ok(()) })
    }
}
