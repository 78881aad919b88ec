//! What an installation looks like from outside, and what to do about it.
//!
//! Owns [`Finding`], [`Report`] and [`examine`]. The idea: each thing that a careful person would look at is one finding
//! that says what is, and how to mend it; what can be mended without a decision (a mode), `--fix` mends. What cannot be
//! known is said to be unknown, not left out.
//!
//! Must not: call an upstream, or change anything without being asked to.

mod calendar;
mod files;
mod permissions;
mod setup;
mod tracked;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use calendar::{DUTIES, Duty, done};

use crate::app::Reach;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ownership;
use crate::redaction::Redactor;
use crate::state::StateDir;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Good to know.
    Note,
    /// Should be mended.
    Warning,
    /// Has to be mended.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What it is about, in a word.
    pub area: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is.
    pub what: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// Whether it was mended just now.
    pub mended: bool,
    #[serde(skip)]
    fix: Option<Fix>,
}

/// What can be mended without asking anybody.
#[derive(Debug, Clone)]
struct Fix {
    path: PathBuf,
    mode: u32,
}

impl Finding {
    fn new(area: &'static str, severity: Severity, what: impl Into<String>) -> Self {
        Self { area, severity, what: what.into(), mend: None, mended: false, fix: None }
    }

    fn mend(mut self, how: impl Into<String>) -> Self {
        self.mend = Some(how.into());
        self
    }

    fn fixed_by(mut self, path: &Path, mode: u32) -> Self {
        self.fix = Some(Fix { path: path.to_path_buf(), mode });
        self
    }

    fn heal(&mut self) {
        if let Some(fix) = &self.fix {
            self.mended = ownership::set_mode(&fix.path, fix.mode);
        }
    }
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// 100 where nothing is left to do; an error costs 20, a warning 5.
    pub score: u32,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    fn of(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|one| (one.mended, std::cmp::Reverse(one.severity), one.area));
        let cost: u32 = findings
            .iter()
            .filter(|one| !one.mended)
            .map(|one| match one.severity {
                Severity::Error => 20,
                Severity::Warning => 5,
                Severity::Good | Severity::Note => 0,
            })
            .sum();
        Self { score: 100u32.saturating_sub(cost), findings }
    }

    /// What is left to say where the state directory cannot be opened: why, unless that was found already.
    pub fn outside(found: Option<Finding>, why: &Error) -> Self {
        Self::of(vec![found.unwrap_or_else(|| failed("files", why))])
    }

    /// The same, and one more.
    #[must_use]
    pub fn and(mut self, found: Option<Finding>) -> Self {
        self.findings.extend(found);
        Self::of(self.findings)
    }

    /// Whether something has to be mended.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|one| one.severity == Severity::Error && !one.mended)
    }
}

/// What is looked at.
pub struct Patient<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where it was read from.
    pub file: Option<&'a Path>,
    /// The state directory.
    pub state: &'a StateDir,
    /// What knows secrets by sight.
    pub redactor: &'a Redactor,
    /// The time.
    pub clock: &'a SharedClock,
    /// The folder whose tracked files are looked through.
    pub folder: &'a Path,
    /// Variables of the environment that name proxies, as far as they are set.
    pub proxies: Vec<&'static str>,
    /// What the credential of each source may do, as far as it is known.
    pub reaches: Vec<(String, Reach)>,
}

/// Looks at an installation; with `mend`, mends what can be. A look that cannot be had is a finding, too.
pub fn examine(patient: &Patient<'_>, mend: bool) -> Result<Report> {
    let looks = [
        ("files", files::look(patient)),
        ("settings", Ok(setup::look(patient))),
        ("permissions", permissions::look(patient)),
        ("tracked", Ok(tracked::look(patient))),
        ("calendar", calendar::look(patient)),
    ];
    let mut findings = Vec::new();
    for (area, look) in looks {
        findings.extend(look.unwrap_or_else(|error| vec![failed(area, &error)]));
    }
    if mend {
        findings.iter_mut().for_each(Finding::heal);
    }
    Ok(Report::of(findings))
}

/// Looks whether the state directory has a mode with which it is not opened; with `mend`, mends it.
pub fn threshold(folder: &Path, mend: bool) -> Option<Finding> {
    let mut finding = files::folder(folder)?;
    if mend {
        finding.heal();
    }
    Some(finding)
}

/// A look that could not be had.
fn failed(area: &'static str, error: &Error) -> Finding {
    Finding::new(area, Severity::Error, format!("could not be looked at: {}", error.message()))
}
