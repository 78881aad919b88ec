//! What an import found, for whoever has to decide about it.
//!
//! Owns [`Report`]. The idea: everything that a person should look at before the connector meets real credentials, the
//! dangerous first; the same for people and, as JSON, for scripts.
//!
//! Must not: hold words of a document that were not cleaned.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dangers::Why;
use crate::connectors::document::Refusal;
use crate::policy::Effect;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The connector's name.
    pub name: String,
    /// The document's title.
    pub title: String,
    /// The document's version.
    pub version: String,
    /// Operations that become tools.
    pub operations: usize,
    /// How many of them read, write and destroy.
    pub effects: Effects,
    /// The toolsets, in their order.
    pub toolsets: Vec<Group>,
    /// Operations to look at.
    pub dangers: Vec<Danger>,
    /// How the pages of lists follow each other.
    pub pages: Vec<Paged>,
    /// What is always blanked.
    pub redacted: Vec<Redacted>,
    /// How the document says requests are signed.
    pub credentials: Vec<String>,
    /// Addresses that the document names; none of them counts.
    pub named: Vec<String>,
    /// Where requests go.
    pub base: Option<String>,
    /// The operation that shows whether the API can be reached.
    pub health: Option<String>,
    /// Requests a minute and at once, and why.
    pub quota: Quota,
    /// Members of answers that a model need not read, those that are left out first.
    pub noise: Vec<Noise>,
    /// Answers that are no JSON, and those of which nothing is said.
    pub answers: Answers,
    /// What could not be used, and why.
    pub unmapped: Vec<Unmapped>,
}

/// Numbers by effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Effects {
    /// How many read.
    pub read: usize,
    /// How many write.
    pub write: usize,
    /// How many destroy.
    pub destroy: usize,
}

impl Effects {
    pub(super) fn count(&mut self, effect: Effect) {
        match effect {
            Effect::Read => self.read += 1,
            Effect::Write => self.write += 1,
            Effect::Destroy => self.destroy += 1,
        }
    }
}

/// A toolset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Group {
    /// As `--toolsets` takes it.
    pub name: String,
    /// Tools in it.
    pub tools: usize,
    /// How many of them read, write and destroy.
    pub effects: Effects,
    /// Whether it is offered where nobody says which toolsets are.
    pub default: bool,
}

/// An operation to look at.
#[derive(Debug, Clone, Serialize)]
pub struct Danger {
    /// Its id in the document.
    pub operation: String,
    /// The tool's name.
    pub tool: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// What it counts as.
    pub effect: Effect,
    /// Why it should be looked at.
    pub why: Vec<Why>,
}

/// A list whose pages are followed.
#[derive(Debug, Clone, Serialize)]
pub struct Paged {
    /// Its id in the document.
    pub operation: String,
    /// What leads to the next page.
    pub style: String,
}

/// An answer with secrets.
#[derive(Debug, Clone, Serialize)]
pub struct Redacted {
    /// Its id in the document.
    pub operation: String,
    /// What is blanked: JSON Pointers, `*` for any item.
    pub pointers: Vec<String>,
}

/// How fast the API may be asked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Quota {
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests at once.
    pub burst: u32,
    /// Why it is thought so.
    pub why: String,
}

/// A member of answers that a model need not read.
#[derive(Debug, Clone, Serialize)]
pub struct Noise {
    /// As `drop` takes it.
    pub drop: String,
    /// What it is.
    pub why: String,
    /// In how many operations' answers it is.
    pub answers: usize,
    /// Whether it is left out; else a person decides.
    pub left_out: bool,
}

/// What operations answer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Answers {
    /// Operations whose success is JSON that is described.
    pub json: usize,
    /// Operations whose success is no JSON.
    pub other: usize,
    /// What that is instead, by media type; not more than 200 of them, and none that has no name.
    pub media: BTreeMap<String, usize>,
    /// Operations of whose success the document says nothing.
    pub unsaid: usize,
}

/// Something that was left out.
#[derive(Debug, Clone, Serialize)]
pub struct Unmapped {
    /// Where.
    pub place: String,
    /// Why.
    pub reason: String,
}

impl From<&Refusal> for Unmapped {
    fn from(refusal: &Refusal) -> Self {
        Self { place: refusal.place.clone(), reason: refusal.reason.clone() }
    }
}
