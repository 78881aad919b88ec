//! What a person has to do again and again.
//!
//! Owns [`DUTIES`] and when each was done last. The idea: nobody can do these but a person; the program can only ask in
//! time.
//!
//! Must not: believe that something was done because time has passed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Finding, Patient, Severity};
use crate::clock::{SharedClock, rfc3339};
use crate::error::{Error, Kind, Result};
use crate::state::StateDir;

const FILE: &str = "duties.json";
const DAY: u64 = 24 * 3600;

/// Something that is due every so many days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Duty {
    /// Its name, for `--done`.
    pub name: &'static str,
    /// Every so many days.
    pub days: u64,
    /// What to do.
    pub what: &'static str,
}

/// Everything that comes again.
pub const DUTIES: &[Duty] = &[
    Duty { name: "logs", days: 30, what: "read what happened: bartizan audit report --since 30d" },
    Duty {
        name: "updates",
        days: 30,
        what: "update bartizan and the machine it runs on: bartizan version --check",
    },
    Duty {
        name: "permissions",
        days: 90,
        what: "go through keys, policies and what the upstream credentials may do: bartizan key list, bartizan doctor --login",
    },
    Duty {
        name: "rotation",
        days: 90,
        what: "try it (bartizan rotate --drill), replace the upstream credentials, and see that nothing fails",
    },
    Duty {
        name: "recovery",
        days: 180,
        what: "try the second credentials (bartizan credential list), and restore the state directory from its copy",
    },
    Duty { name: "review", days: 365, what: "review the whole set-up against SECURITY.md" },
];

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Since when anybody counts.
    since: u64,
    /// When each was done last.
    done: BTreeMap<String, u64>,
}

fn read(state: &StateDir, now: u64) -> Result<Record> {
    let Some(bytes) = state.read(FILE)? else { return Ok(Record { since: now, ..Record::default() }) };
    serde_json::from_slice(&bytes).map_err(|cause| {
        let path = state.file(FILE);
        Error::new(Kind::BadConfig, format!("{} is damaged; remove it to begin anew.", path.display()))
            .with_source(cause)
    })
}

fn write(state: &StateDir, record: &Record) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(record).map_err(|cause| {
        Error::new(Kind::Internal, "The calendar could not be written down.").with_source(cause)
    })?;
    state.write(FILE, &bytes)
}

/// Notes that a duty was done now.
pub fn done(state: &StateDir, clock: &SharedClock, name: &str) -> Result<&'static Duty> {
    let duty = DUTIES.iter().find(|duty| duty.name == name).ok_or_else(|| {
        let names: Vec<&str> = DUTIES.iter().map(|duty| duty.name).collect();
        Error::new(Kind::BadConfig, format!("There is no such duty; there are: {}.", names.join(", ")))
    })?;
    let now = clock.wall().as_secs();
    let mut record = read(state, now)?;
    record.done.insert(name.to_owned(), now);
    write(state, &record)?;
    Ok(duty)
}

pub(super) fn look(patient: &Patient<'_>) -> Result<Vec<Finding>> {
    let now = patient.clock.wall().as_secs();
    let record = read(patient.state, now)?;
    let begun = if record.done.is_empty() && record.since == now {
        write(patient.state, &record).err().map(|error| super::failed("calendar", &error))
    } else {
        None
    };
    let found = DUTIES.iter().map(|duty| {
        let last = record.done.get(duty.name).copied().unwrap_or(record.since);
        let due = last.saturating_add(duty.days * DAY);
        let when = rfc3339(std::time::Duration::from_secs(due));
        let day = when.get(..10).unwrap_or_default();
        if due <= now {
            let what = format!("{} was due on {day}: {}", duty.name, duty.what);
            Finding::new("calendar", Severity::Warning, what)
                .mend(format!("do it, then: bartizan doctor --done {}", duty.name))
        } else {
            Finding::new("calendar", Severity::Good, format!("{} is due on {day}", duty.name))
        }
    });
    Ok(found.chain(begun).collect())
}
