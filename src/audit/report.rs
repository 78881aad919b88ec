//! What happened in a period, in numbers.
//!
//! Owns [`summarize`] and [`Summary`]. The idea: outcomes are counted, once for each of who, what, how strong and how it
//! ended; a call that has not ended is not in the numbers but said.
//!
//! Must not: judge whether a line is genuine; that is `verify.rs`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::query::{Filter, query};
use crate::error::Result;
use crate::json::Value;

/// How many of the most frequent refusals are listed.
const TOP: usize = 10;

/// How a call ended, in large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Asked,
    Refused,
    Failed,
}

impl End {
    fn of(result: &str) -> Self {
        match result {
            "ok" => Self::Done,
            "paused" | "NeedsApproval" => Self::Asked,
            "Forbidden" | "NoSuchTool" | "NoSuchResource" | "RateLimited" | "Declined" | "BadArguments"
            | "BadParams" | "Unauthenticated" | "HeaderMismatch" | "MissingCapability" => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Calls of one caller, of one tool, of one effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which one.
    pub name: String,
    /// How many calls ended.
    pub calls: u64,
    /// With a result.
    pub done: u64,
    /// With a question to a person.
    pub asked: u64,
    /// With a refusal.
    pub refused: u64,
    /// With a failure.
    pub failed: u64,
}

impl Row {
    fn count(&mut self, end: End) {
        self.calls += 1;
        *match end {
            End::Done => &mut self.done,
            End::Asked => &mut self.asked,
            End::Refused => &mut self.refused,
            End::Failed => &mut self.failed,
        } += 1;
    }
}

/// How often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// A refusal that happened often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Whose calls.
    pub principal: String,
    /// Of what.
    pub tool: String,
    /// Why.
    pub result: String,
    /// How often.
    pub count: u64,
}

/// What became of questions to people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Calls that ended because a person has to agree first.
    pub asked: u64,
    /// Calls that ran because somebody had agreed.
    pub agreed: u64,
    /// Calls that somebody refused.
    pub declined: u64,
}

/// A period in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The time of the first line.
    pub from: Option<String>,
    /// The time of the last line.
    pub to: Option<String>,
    /// Lines that were read.
    pub lines: u64,
    /// Calls that ended.
    pub calls: u64,
    /// Calls that began and have not ended.
    pub open: u64,
    /// By caller, the busiest first.
    pub callers: Vec<Row>,
    /// By tool, resource or prompt.
    pub tools: Vec<Row>,
    /// By effect.
    pub effects: Vec<Row>,
    /// How calls ended.
    pub outcomes: Vec<Count>,
    /// Security events.
    pub events: Vec<Count>,
    /// Questions to people.
    pub approvals: Asked,
    /// The refusals that happened most often.
    pub refusals: Vec<Refusal>,
}

#[derive(Default)]
struct Counting {
    summary: Summary,
    callers: BTreeMap<String, Row>,
    tools: BTreeMap<String, Row>,
    effects: BTreeMap<String, Row>,
    outcomes: BTreeMap<String, u64>,
    events: BTreeMap<String, u64>,
    refusals: BTreeMap<(String, String, String), u64>,
    open: HashSet<String>,
}

/// Counts what the filter wants.
pub fn summarize(path: &Path, filter: &Filter) -> Result<Summary> {
    let mut counting = Counting::default();
    query(path, filter, |line| {
        counting.take(&line);
        true
    })?;
    Ok(counting.finish())
}

impl Counting {
    fn take(&mut self, line: &Value) {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let summary = &mut self.summary;
        summary.lines += 1;
        let time = text("time").to_owned();
        summary.from.get_or_insert_with(|| time.clone());
        summary.to = Some(time);
        if !text("event").is_empty() && matches!(text("kind"), "event" | "outcome") {
            *self.events.entry(text("event").to_owned()).or_default() += 1;
        }
        match text("kind") {
            "intent" => {
                self.open.insert(text("id").to_owned());
            }
            "outcome" => {
                self.open.remove(text("id"));
                let result = text("result");
                let end = End::of(result);
                summary.calls += 1;
                let tables = [
                    (&mut self.callers, text("principal")),
                    (&mut self.tools, text("tool")),
                    (&mut self.effects, text("effect")),
                ];
                for (table, name) in tables {
                    table.entry(name.to_owned()).or_default().count(end);
                }
                *self.outcomes.entry(result.to_owned()).or_default() += 1;
                match end {
                    End::Asked => summary.approvals.asked += 1,
                    End::Refused if result == "Declined" => summary.approvals.declined += 1,
                    _ if !text("approver").is_empty() => summary.approvals.agreed += 1,
                    _ => {}
                }
                if end == End::Refused {
                    let key = (text("principal").to_owned(), text("tool").to_owned(), result.to_owned());
                    *self.refusals.entry(key).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    fn finish(self) -> Summary {
        let mut refusals: Vec<Refusal> = self
            .refusals
            .into_iter()
            .map(|((principal, tool, result), count)| Refusal { principal, tool, result, count })
            .collect();
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.count));
        refusals.truncate(TOP);
        Summary {
            open: u64::try_from(self.open.len()).unwrap_or(u64::MAX),
            callers: rows(self.callers),
            tools: rows(self.tools),
            effects: rows(self.effects),
            outcomes: counts(self.outcomes),
            events: counts(self.events),
            refusals,
            ..self.summary
        }
    }
}

fn rows(table: BTreeMap<String, Row>) -> Vec<Row> {
    let mut rows: Vec<Row> = table.into_iter().map(|(name, row)| Row { name, ..row }).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.calls));
    rows
}

fn counts(table: BTreeMap<String, u64>) -> Vec<Count> {
    let mut counts: Vec<Count> = table.into_iter().map(|(name, count)| Count { name, count }).collect();
    counts.sort_by_key(|one| std::cmp::Reverse(one.count));
    counts
}
