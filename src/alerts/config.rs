//! What the configuration says of alerts.
//!
//! Owns [`Config`]: thresholds, and who is told. The idea: the defaults are quiet on ordinary work; each number can be
//! set, and 0 switches its detector off.
//!
//! Must not: detect anything.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::telemetry::Destination;

/// So many within so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// How many; 0 switches the detector off.
    pub count: u32,
    /// Within how many seconds.
    pub seconds: u32,
}

impl Burst {
    const fn new(count: u32, seconds: u32) -> Self {
        Self { count, seconds }
    }
}

/// The `[alerts]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who is told. With nobody here, nothing is watched unless `watch` says so.
    pub to: Vec<Destination>,
    /// Watch although nobody outside is told: alerts are then in the log and in the audit only.
    pub watch: bool,
    /// How many seconds an incident has to be quiet before the same one is told again.
    pub quiet_seconds: u32,
    /// Credentials that were not accepted, of one address.
    pub failed_authentications: Burst,
    /// Denied calls of one caller.
    pub denials: Burst,
    /// Calls of one caller that changed something.
    pub writes: Burst,
    /// Answers 429 of one upstream.
    pub upstream_limits: Burst,
    /// Tools (a trailing `*` stands for any ending) and argument values: a call that changes one of them is told.
    pub critical: Vec<String>,
    /// After so many hours a caller is known: a tool or an address that is new for it is told. 0: never.
    pub learn_hours: u32,
    /// Working hours, such as `07:00-19:00`: what changes something outside of them is told.
    pub hours: Option<String>,
    /// What those hours are ahead of UTC, in minutes.
    pub utc_offset_minutes: i32,
    /// How many times its usual calls an hour a caller may make. 0: any.
    pub volume_factor: u32,
    /// Calls an hour that are never too many.
    pub volume_least: u32,
    /// Security events that are told at once.
    pub events: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let events = [
            "circuit opened",
            "file mode wrong",
            "second factor locked",
            "stored secret rejected",
            "shared store lost",
            "certificate failed",
            "frozen",
            "audit_file_shrank",
        ];
        Self {
            to: Vec::new(),
            watch: false,
            quiet_seconds: 900,
            failed_authentications: Burst::new(10, 60),
            denials: Burst::new(20, 300),
            writes: Burst::new(30, 60),
            upstream_limits: Burst::new(20, 300),
            critical: Vec::new(),
            learn_hours: 24,
            hours: None,
            utc_offset_minutes: 0,
            volume_factor: 5,
            volume_least: 200,
            events: events.map(String::from).to_vec(),
        }
    }
}

impl Config {
    /// Whether anything is watched.
    pub fn is_on(&self) -> bool {
        self.watch || !self.to.is_empty()
    }

    /// Working hours in minutes of a day, if there are any.
    pub(super) fn working(&self) -> Result<Option<(u32, u32)>> {
        let Some(hours) = &self.hours else { return Ok(None) };
        let minutes = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let read = hours.split_once('-').and_then(|(from, to)| minutes(from).zip(minutes(to)));
        read.filter(|(from, to)| from != to)
            .map(Some)
            .ok_or_else(|| Error::new(Kind::BadConfig, "[alerts] hours is not written as 07:00-19:00."))
    }
}
