//! What lies in the folder, without reading all of it again.
//!
//! Owns tidying up, and what is known of records that were read before. The idea: a record never changes, only its name
//! does, so each is read once and then known by its id; what is over is kept to be looked at, but only so much of it.
//!
//! Must not: decide about anything. Whoever takes a grant reads the record itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::desk::Listed;
use super::record::{self, Record, Status};
use super::{Approvals, Named, is_id, name, named};
use crate::error::Result;

/// How long what is over is kept to be looked at, and how long what was cut off, in milliseconds.
const KEPT: u64 = 24 * 3600 * 1000;
const KEPT_UNKNOWN: u64 = 30 * KEPT;
/// How many places what was used, and what came to nothing, may take.
const MOST_KEPT: usize = 1000;

/// What is known of a record.
pub(super) struct Facts {
    binding: String,
    owner: String,
    created: u64,
    expires: u64,
    /// When it ends by the clock that nobody can put back: as long after it was first read here as it then had left.
    ends: Duration,
    places: usize,
}

/// How far the clocks of processes that share a folder may be apart, in milliseconds.
const APART: u64 = 60_000;

/// The records that were read before, by id.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<String, Arc<Facts>>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Facts>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, record: &Record, now: u64, monotonic: Duration) -> Arc<Facts> {
        let mut known = self.lock();
        if let Some(facts) = known.get(&record.id)
            && facts.binding == record.binding
            && facts.expires == record.expires
        {
            return Arc::clone(facts);
        }
        let left = Duration::from_millis(record.expires.saturating_sub(now.max(record.created)));
        let facts = Arc::new(Facts {
            binding: record.binding.clone(),
            owner: record.owner.clone(),
            created: record.created,
            expires: record.expires,
            ends: monotonic.saturating_add(left),
            places: record::places(&record.shown),
        });
        known.insert(record.id.clone(), Arc::clone(&facts));
        facts
    }
}

/// What waits for a person.
#[derive(Default)]
pub(super) struct Waiting {
    /// The places it takes, and those that the caller's takes.
    pub(super) all: usize,
    pub(super) own: usize,
    /// The ids of what waits under the caller's binding, sorted.
    pub(super) same: Vec<String>,
}

/// What is over and may be looked at: until when it mattered, its places, its file.
type Over<'a> = Vec<(u64, usize, Named<'a>)>;

impl Approvals {
    /// What is known of a record, from now on.
    pub(super) fn learn(&self, record: &Record) -> Arc<Facts> {
        self.shelf.learn(record, self.now(), self.clock.monotonic())
    }

    /// Whether there is time left. A clock that is put forward ends it; one that is put back does not prolong it, and
    /// what then comes from the future has ended, too.
    pub(super) fn lasts(&self, facts: &Facts) -> bool {
        let now = self.now();
        facts.created <= now.saturating_add(APART)
            && facts.expires > now
            && facts.ends > self.clock.monotonic()
    }

    /// Whether there is time left for a record that was just read.
    pub(super) fn is_open(&self, record: &Record) -> bool {
        self.lasts(&self.learn(record))
    }

    /// Removes what is long over, too much, or belongs to nothing, and says what waits. Only under the lock.
    pub(super) fn tidy(&self, owner: &str, binding: &str) -> Result<Waiting> {
        let now = self.now();
        let names = self.files.names()?;
        let mut waiting = Waiting::default();
        let (mut used, mut undecided): (Over<'_>, Over<'_>) = Default::default();
        let mut ids = HashSet::new();
        for one in names.iter().filter_map(|file| named(file)) {
            ids.insert(one.id);
            let Some(facts) = self.facts_of(&one)? else { continue };
            let open = self.lasts(&facts);
            let kept = |long: u64| facts.expires.saturating_add(long) > now;
            match one.state {
                "pending" if open => {
                    waiting.all = waiting.all.saturating_add(facts.places);
                    if facts.owner == owner {
                        waiting.own = waiting.own.saturating_add(facts.places);
                    }
                    if one.binding == binding {
                        waiting.same.push(one.id.to_owned());
                    }
                }
                "used" if kept(KEPT) => used.push((facts.expires, facts.places, one)),
                "pending" if kept(KEPT) => undecided.push((facts.expires, facts.places, one)),
                "refused" | "void" if open => undecided.push((facts.expires, facts.places, one)),
                "carried" if open => {}
                "pending" | "used" | "refused" | "void" | "carried" => self.forget(&one)?,
                _ if kept(KEPT_UNKNOWN) => {}
                _ => self.forget(&one)?,
            }
        }
        for mut over in [used, undecided] {
            over.sort_by_key(|one| std::cmp::Reverse(one.0));
            let mut places = 0usize;
            for (_, its, one) in over {
                places = places.saturating_add(its);
                if places > MOST_KEPT {
                    self.forget(&one)?;
                }
            }
        }
        self.shelf.lock().retain(|id, _| ids.contains(id.as_str()));
        self.forget_orphans(&names, &ids)?;
        Ok(waiting)
    }

    fn forget(&self, one: &Named<'_>) -> Result<()> {
        self.files.remove(&name(one.id, one.binding, one.state))?;
        self.files.remove(&format!("{}.decision", one.id))?;
        self.files.remove(&format!("{}.told", one.id))?;
        self.files.remove(&format!("{}.arguments", one.id))
    }

    /// Removes what lies beside a record that is not there: whoever wrote it broke off, or could not go on.
    fn forget_orphans(&self, names: &[String], ids: &HashSet<&str>) -> Result<()> {
        let orphans: Vec<&String> =
            names.iter().filter(|file| beside(file).is_some_and(|id| !ids.contains(id))).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        // A record that was renamed while the names were read may have been missed; a second time it is not.
        let names = self.files.names()?;
        let ids: HashSet<&str> = names.iter().filter_map(|file| Some(named(file)?.id)).collect();
        for file in orphans {
            if beside(file).is_some_and(|id| !ids.contains(id)) {
                self.files.remove(file)?;
            }
        }
        Ok(())
    }

    fn facts_of(&self, one: &Named<'_>) -> Result<Option<Arc<Facts>>> {
        let known = self.shelf.lock().get(one.id).filter(|facts| facts.binding == one.binding).cloned();
        if known.is_some() {
            return Ok(known);
        }
        Ok(self.record(one)?.map(|record| self.learn(&record)))
    }

    /// Whether an approval still waits for a person. One that is not there does not; one that cannot be read just now
    /// does, until it expires. Reads no other approval, unless another process made it and this one never saw it.
    pub fn awaits(&self, id: &str) -> bool {
        self.undecided(id).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "an approval that a call waits for could not be read");
            true
        })
    }

    fn undecided(&self, id: &str) -> Result<bool> {
        if !is_id(id) {
            return Ok(false);
        }
        let known = self.shelf.lock().get(id).cloned();
        let facts = if let Some(facts) = known {
            facts
        } else {
            let names = self.files.names()?;
            let Some(one) = names.iter().filter_map(|file| named(file)).find(|one| one.id == id) else {
                return Ok(false);
            };
            let Some(facts) = self.facts_of(&one)? else { return Ok(false) };
            facts
        };
        if !self.lasts(&facts) {
            return Ok(false);
        }
        let one = Named { id, binding: &facts.binding, state: "pending" };
        if self.files.read(&format!("{id}.decision"))?.is_none() {
            return Ok(self.files.has(&name(id, &facts.binding, "pending")));
        }
        let Some(record) = self.record(&one)? else { return Ok(false) };
        let listed: Listed = self.listed(record, "pending")?;
        Ok(listed.status == Status::Pending)
    }
}

/// The id that a file beside a record is named after.
fn beside(file: &str) -> Option<&str> {
    let ends = [".arguments", ".decision", ".told"];
    let id = ends.iter().find_map(|end| file.strip_suffix(end))?;
    is_id(id).then_some(id)
}
