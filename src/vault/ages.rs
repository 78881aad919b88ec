//! How old credentials are, and where else they are used.
//!
//! Owns [`Ages`]. The idea: a credential is as old as the day on which this installation first saw it; it is remembered
//! by a keyed digest, so the file tells nobody what it was, and a profile that finds another profile's credential is
//! refused, because a leak in a rehearsal must not open production.
//!
//! Must not: hold a secret, or a digest that could be tried against guesses without this installation's key.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::state::StateDir;

/// The file.
const FILE: &str = "ages.json";
/// Days after which a credential that nobody used is forgotten.
const FORGOTTEN: u64 = 800;
const DAY: u64 = 24 * 3600;

/// A credential that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// When it was seen first, in seconds of the epoch.
    pub first: u64,
    /// When it was seen last, to the day.
    pub last: u64,
    /// Where it was read from last.
    pub reference: String,
    /// The profile that uses it.
    pub profile: String,
}

/// How a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// Young enough.
    Fine,
    /// To be replaced soon.
    Due,
    /// Too old.
    Overdue,
}

/// The ages of an installation's credentials, as one profile sees them.
pub struct Ages {
    state: StateDir,
    clock: SharedClock,
    profile: String,
    /// Days until a credential is due, and until it is overdue.
    days: (u64, u64),
    /// Why profiles may share a credential, if they may.
    shared: Option<String>,
    /// What was written down by this process already, and on which day.
    written: Mutex<BTreeMap<String, u64>>,
}

impl Ages {
    /// The ages in a state directory.
    pub fn new(
        state: StateDir,
        clock: SharedClock,
        profile: &str,
        days: (u64, u64),
        shared: Option<String>,
    ) -> Self {
        Self { state, clock, profile: profile.to_owned(), days, shared, written: Mutex::default() }
    }

    fn now(&self) -> u64 {
        self.clock.wall().as_secs()
    }

    /// How a credential of that age stands.
    fn stand(&self, first: u64) -> (u64, Stand) {
        let days = self.now().saturating_sub(first) / DAY;
        let stand = match days {
            days if days >= self.days.1 => Stand::Overdue,
            days if days >= self.days.0 => Stand::Due,
            _ => Stand::Fine,
        };
        (days, stand)
    }

    /// Notes that a credential is used. Refuses one of another profile. Blocks for a moment.
    pub fn note(&self, mark: &str, reference: &str) -> Result<(u64, Stand)> {
        let now = self.now();
        let _turn = self.state.lock("ages")?;
        let mut all = self.all()?;
        let seen = all.get(mark);
        if let Some(other) = seen.filter(|seen| seen.profile != self.profile)
            && self.shared.is_none()
            // a credential that another profile has long given up is free
            && now.saturating_sub(other.last) < self.days.1.max(1) * DAY
        {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "{reference} holds a credential that the profile {} uses too; give each profile its own, or say why \
                     not under [secrets] shared_between_profiles",
                    other.profile
                ),
            ));
        }
        let first = seen.map_or(now, |seen| seen.first.min(now));
        let day = now / DAY;
        let before = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.insert(mark.to_owned(), day)
        };
        let same = seen.is_some_and(|seen| seen.reference == reference && seen.profile == self.profile);
        if before != Some(day) || !same {
            all.retain(|_, seen| now.saturating_sub(seen.last) < FORGOTTEN * DAY);
            let fresh =
                Seen { first, last: now, reference: reference.to_owned(), profile: self.profile.clone() };
            all.insert(mark.to_owned(), fresh);
            let bytes = serde_json::to_vec_pretty(&all).map_err(|cause| {
                Error::new(Kind::Internal, "The ages of credentials could not be written down.")
                    .with_source(cause)
            })?;
            self.state.write(FILE, &bytes)?;
        }
        Ok(self.stand(first))
    }

    fn all(&self) -> Result<BTreeMap<String, Seen>> {
        let Some(bytes) = self.state.read(FILE)? else { return Ok(BTreeMap::new()) };
        serde_json::from_slice(&bytes).map_err(|cause| {
            Error::new(
                Kind::BadConfig,
                format!(
                    "{} is damaged, so nobody knows how old the credentials are; remove it to begin anew.",
                    self.state.file(FILE).display()
                ),
            )
            .with_source(cause)
        })
    }

    /// Every credential of this profile that was used in the last days, with its age.
    pub fn list(&self) -> Result<Vec<(Seen, u64, Stand)>> {
        let now = self.now();
        let all = self.all()?.into_values();
        let ours = all.filter(|seen| {
            seen.profile == self.profile
                && now.saturating_sub(seen.last) < Duration::from_hours(24 * 7).as_secs()
        });
        let mut listed: Vec<_> = ours
            .map(|seen| {
                let (days, stand) = self.stand(seen.first);
                (seen, days, stand)
            })
            .collect();
        listed
            .sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.reference.cmp(&other.0.reference)));
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    struct Place {
        _folder: tempfile::TempDir,
        state: StateDir,
        clock: std::sync::Arc<ManualClock>,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::open(folder.path().join("state")).unwrap();
            Self { _folder: folder, state, clock: ManualClock::at(Duration::from_secs(1_800_000_000)) }
        }

        fn ages(&self, profile: &str, shared: Option<&str>) -> Ages {
            let shared = shared.map(str::to_owned);
            Ages::new(self.state.clone(), self.clock.clone(), profile, (75, 90), shared)
        }

        fn passes(&self, days: u64) {
            self.clock.advance(Duration::from_hours(24 * days));
        }
    }

    #[test]
    fn a_credential_is_due_at_75_days_and_overdue_at_90_whoever_asks() {
        let place = Place::new();
        let note = |mark: &str| place.ages("production", None).note(mark, "env:A").unwrap();
        assert_eq!(note("one"), (0, Stand::Fine));
        place.passes(74);
        assert_eq!(note("one"), (74, Stand::Fine));
        place.passes(1);
        assert_eq!(note("one"), (75, Stand::Due));
        place.passes(15);
        assert_eq!(note("one"), (90, Stand::Overdue));
        assert_eq!(note("two"), (0, Stand::Fine), "replaced");
        let listed = place.ages("production", None).list().unwrap();
        assert_eq!(listed.iter().map(|one| one.1).collect::<Vec<_>>(), [90, 0]);
        place.passes(8);
        note("two");
        let listed = place.ages("production", None).list().unwrap();
        assert_eq!(listed.len(), 1, "what is not used any more is not listed");
    }

    #[test]
    fn profiles_do_not_share_a_credential_unless_somebody_said_why() {
        let place = Place::new();
        place.ages("development", None).note("one", "env:A").unwrap();
        let error = place.ages("production", None).note("one", "env:B").unwrap_err();
        assert!(error.message().contains("development") && error.message().contains("env:B"), "{error}");
        place.ages("production", None).note("two", "env:B").unwrap();
        place.ages("production", Some("one sandbox for all")).note("one", "env:B").unwrap();
        let other = Place::new();
        other.ages("development", None).note("one", "env:A").unwrap();
        other.passes(90);
        other.ages("production", None).note("one", "env:A").unwrap();
    }

    #[test]
    fn what_is_damaged_is_said_and_not_guessed() {
        let place = Place::new();
        place.state.write(FILE, b"{").unwrap();
        assert!(
            place.ages("production", None).note("one", "env:A").unwrap_err().message().contains("ages.json")
        );
    }
}
