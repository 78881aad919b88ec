//! Where configured tools come from.
//!
//! Owns [`open`]: connectors, documents, and (in practice mode) the stand-ins they talk to.
//!
//! Must not: resolve a real credential in practice mode.

use std::path::Path;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::connectors::document::{Document, Refusal};
use crate::error::Result;
use crate::pipeline::Tool;
use crate::practice::{Auth, Practice};
use crate::redaction::Redactor;

/// What was opened.
pub struct Sources {
    /// Every tool.
    pub tools: Vec<Arc<dyn Tool>>,
    /// The stand-ins that answer them in practice mode.
    pub stands: Vec<Stand>,
}

/// A stand-in upstream.
pub struct Stand {
    name: String,
    practice: Practice,
    leak: Option<String>,
}

impl Stand {
    /// The connector it stands in for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        self.practice.url()
    }

    /// The stand-in itself.
    pub fn practice(&self) -> &Practice {
        &self.practice
    }

    /// The secret that one of its things holds, so that redaction has something to show.
    pub fn leak(&self) -> Option<&str> {
        self.leak.as_deref()
    }

    /// Tokens it has issued.
    pub fn tokens_issued(&self) -> u64 {
        self.practice.tokens_issued()
    }

    /// Stops it.
    pub async fn shutdown(&self) {
        self.practice.shutdown().await;
    }
}

pub(super) async fn open(_config: &Config, _redactor: &Redactor, _clock: &SharedClock) -> Result<Sources> {
    Ok(Sources { tools: Vec::new(), stands: Vec::new() })
}

/// The document of a built-in connector or a file, and the way its stand-in is asked.
pub fn practice_document(_named: &Path) -> Result<(Document, Auth)> {
    Ok((Document::default(), Auth::Open))
}

/// What the configured documents lost, by source.
pub fn refusals(_config: &Config) -> Result<Vec<(String, Vec<Refusal>)>> {
    Ok(Vec::new())
}
