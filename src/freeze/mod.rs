//! The switch that stops writes, or everything.
//!
//! Owns [`Freeze`]. The idea: one small file in the state directory says it, so every process of that directory knows
//! it within a fraction of a second: each looks a few times a second, and calls look at an atomic number. Freezing
//! needs no key; ending it needs an operator's signature about exactly this freeze. The file has a copy beside it: one
//! that has gone ends nothing, also for processes that begin later, and one that cannot be read freezes everything.
//! Other instances hear of it through [`Freeze::hear`], and tell through [`Freeze::sheet`].
//!
//! Must not: let anything through that it cannot judge.

mod sheet;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use sheet::{Extent, Lift, Notice, Sheet};

use crate::approvals::{Approvals, Operator};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::state::{Stamp, StateDir};

/// The file.
const FILE: &str = "freeze.json";
/// Its copy: what the two say is put together, so removing one, or putting back an old one, ends nothing.
const KEPT: &str = "freeze.kept.json";
/// How often the file is looked at.
pub const EVERY: Duration = Duration::from_millis(200);

/// What is frozen, for all processes of a state directory.
pub struct Freeze {
    state: StateDir,
    approvals: Arc<Approvals>,
    clock: SharedClock,
    extent: AtomicU8,
    /// Milliseconds of the monotonic clock from which on the file is looked at again.
    next: AtomicU64,
    known: Mutex<Known>,
    halts: ArcSwap<Halts>,
    told: watch::Sender<Extent>,
    /// Whether other instances may have frozen something of which nothing was heard yet.
    deaf: AtomicBool,
}

#[derive(Default)]
struct Known {
    /// What the file and its copy looked like when they were read.
    marks: Option<[Mark; 2]>,
    /// The last word that counts here.
    sheet: Option<Sheet>,
    /// Whether that word is our own, because nothing could be read.
    lost: bool,
}

impl Known {
    /// What a new sheet is compared with.
    fn former(&self) -> Option<&Sheet> {
        self.sheet.as_ref().filter(|_| !self.lost)
    }
}

/// Where a file is on the disk, and since when: another one has another mark.
#[derive(PartialEq, Eq, Clone, Debug)]
enum Mark {
    Missing,
    There(Stamp),
    Unreadable,
}

/// Fire when the freeze begins; a fresh pair takes their place when it ends.
#[derive(Default)]
struct Halts {
    writes: CancellationToken,
    all: CancellationToken,
}

impl Freeze {
    /// The switch of a state directory. `approvals` knows whose signature ends a freeze.
    pub fn open(state: &Path, approvals: Arc<Approvals>, clock: SharedClock) -> Result<Arc<Self>> {
        let freeze = Self::over(StateDir::open(state)?, approvals, clock);
        freeze.mend()?;
        freeze.refresh();
        Ok(Arc::new(freeze))
    }

    /// The same for whoever only looks: what has gone is not put back.
    pub fn look(state: &Path, approvals: Arc<Approvals>, clock: SharedClock) -> Self {
        let freeze = Self::over(StateDir::look(state), approvals, clock);
        freeze.refresh();
        freeze
    }

    fn over(state: StateDir, approvals: Arc<Approvals>, clock: SharedClock) -> Self {
        Self {
            state,
            approvals,
            clock,
            extent: AtomicU8::new(0),
            next: AtomicU64::new(0),
            known: Mutex::default(),
            halts: ArcSwap::default(),
            told: watch::Sender::new(Extent::Nothing),
            deaf: AtomicBool::new(false),
        }
    }

    /// How much is frozen. Looks at the file a few times a second, and at a number otherwise.
    pub fn extent(&self) -> Extent {
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let later = now + u64::try_from(EVERY.as_millis()).unwrap_or_default();
        if now >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.refresh();
        }
        Extent::from_index(self.extent.load(Ordering::Acquire))
    }

    /// Refuses what is frozen; `changes` says whether it would be more than a read.
    pub fn check(&self, changes: bool) -> Result<()> {
        match self.extent() {
            Extent::All => Err(refusal(Extent::All)),
            Extent::Writes if changes => Err(refusal(Extent::Writes)),
            _ if changes && self.deaf.load(Ordering::Acquire) => Err(Error::new(
                Kind::RateLimited,
                "What other instances have frozen was not heard yet, because the store that they share cannot be \
                 asked; reading works.",
            )
            .with_retry_after(Duration::from_secs(1))),
            Extent::Nothing | Extent::Writes => Ok(()),
        }
    }

    /// Fires when what is going to run must not run any longer. Ask for it before [`Freeze::check`].
    pub fn halt(&self, changes: bool) -> CancellationToken {
        let halts = self.halts.load();
        if changes { halts.writes.clone() } else { halts.all.clone() }
    }

    /// Hears of every change of extent.
    pub fn watch(&self) -> watch::Receiver<Extent> {
        self.told.subscribe()
    }

    /// The last word, for those who show it or tell other instances.
    pub fn sheet(&self) -> Option<Sheet> {
        self.lock().sheet.clone()
    }

    /// What is no read waits until other instances were [heard](Self::heard).
    pub fn listens(&self) {
        self.deaf.store(true, Ordering::Release);
    }

    /// Other instances were heard.
    pub fn heard(&self) {
        self.deaf.store(false, Ordering::Release);
    }

    /// The last word here, where other instances have to be told it because theirs is another: what we say of ourselves
    /// because nothing could be read is none, and a freeze gives way to a wider one only.
    pub fn news(&self, theirs: Option<&Sheet>) -> Option<Sheet> {
        let known = self.lock();
        // what was learned was proved
        known.former().filter(|ours| Sheet::after(theirs, ours, true)).cloned()
    }

    /// Looks at the files now.
    pub fn refresh(&self) {
        let mut known = self.lock();
        let marks = self.marks();
        if known.marks.as_ref() == Some(&marks) {
            return;
        }
        let mut lost = None;
        for name in [KEPT, FILE] {
            // one that has gone ends nothing
            let sheet =
                self.state.read(name).and_then(|bytes| bytes.map(|bytes| Sheet::read(&bytes)).transpose());
            match sheet {
                Ok(None) => {}
                Ok(Some(sheet)) => self.learn(&mut known, sheet),
                Err(error) => lost = Some(error),
            }
        }
        if let Some(error) = lost {
            self.lose(&mut known, &error);
        }
        known.marks = Some(marks);
    }

    /// Puts back the one of the two files that has gone.
    fn mend(&self) -> Result<()> {
        let gone = |name: &str| self.mark(name) == Mark::Missing;
        if gone(FILE) == gone(KEPT) {
            return Ok(());
        }
        let _turn = self.state.lock("freeze")?;
        for (lost, left) in [(FILE, KEPT), (KEPT, FILE)] {
            let Some(bytes) = self.state.read(left)?.filter(|_| gone(lost)) else { continue };
            if lost == FILE {
                tracing::warn!("what says whether anything is frozen has gone; its copy was put back");
            }
            self.state.write(lost, &bytes)?;
        }
        Ok(())
    }

    /// Takes in what another instance says, and writes it down here if it is the last word. True if it was. Blocks for a
    /// moment.
    pub fn hear(&self, sheet: Sheet) -> Result<bool> {
        let _turn = self.state.lock("freeze")?;
        self.refresh();
        let mut known = self.lock();
        let proved = self.proves(&sheet);
        // where nothing could be read here, it may have been that everything is frozen
        let narrower = known.lost && sheet.lift.is_none() && sheet.extent() < Extent::All;
        if narrower || !Sheet::after(known.former(), &sheet, proved) {
            return Ok(false);
        }
        let bytes = sheet.bytes()?;
        self.state.write(FILE, &bytes)?;
        self.state.write(KEPT, &bytes)?;
        known.marks = Some(self.marks());
        self.learn(&mut known, sheet);
        Ok(true)
    }

    /// Freezes. What is frozen as far already stays as it is; a narrower freeze than the one that holds is refused.
    pub fn freeze(&self, extent: Extent, by: &str, reason: Option<String>) -> Result<Notice> {
        if extent == Extent::Nothing {
            return Err(Error::new(Kind::BadConfig, "Nothing would be frozen; say writes or all."));
        }
        let held = self.sheet().filter(|sheet| sheet.lift.is_none()).map(|sheet| sheet.notice);
        let after = self.sheet().and_then(|sheet| sheet.lift).map_or(0, |lift| lift.at.saturating_add(1));
        let notice = Notice::new(extent, self.wall().max(after), by, reason);
        if self.hear(Sheet::frozen(notice.clone()))? {
            return Ok(notice);
        }
        match held.or_else(|| self.sheet().map(|sheet| sheet.notice)) {
            Some(held) if held.extent == extent => Ok(held),
            _ => Err(Error::new(
                Kind::BadConfig,
                "Everything is frozen already; `bartizan unfreeze` first, then freeze less.",
            )),
        }
    }

    /// Ends the freeze that holds, with an operator's key. An error if nothing is frozen.
    pub fn lift(&self, operator: &Operator) -> Result<Notice> {
        self.refresh();
        let Some(sheet) = self.sheet().filter(|sheet| sheet.lift.is_none()) else {
            return Err(Error::new(Kind::BadConfig, "Nothing is frozen."));
        };
        let notice = sheet.notice;
        if self.hear(Sheet::lifted(notice.clone(), self.wall(), operator))? {
            return Ok(notice);
        }
        Err(Error::new(
            Kind::Forbidden,
            "This operator's key does not end the freeze: its public half is not among the operators of this \
             installation, or somebody has frozen more meanwhile.",
        ))
    }

    fn wall(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks(&self) -> [Mark; 2] {
        [self.mark(FILE), self.mark(KEPT)]
    }

    fn mark(&self, name: &str) -> Mark {
        match std::fs::metadata(self.state.file(name)) {
            Ok(facts) => Mark::There(Stamp::of(&facts)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Mark::Missing,
            Err(_) => Mark::Unreadable,
        }
    }

    fn proves(&self, sheet: &Sheet) -> bool {
        sheet.statement().is_some_and(|(proof, statement)| self.approvals.attests(proof, &statement))
    }

    /// A sheet from a file. A new process has nothing to compare it with, and believes a freeze; never a lift that
    /// nobody proves.
    fn learn(&self, known: &mut Known, sheet: Sheet) {
        let proved = self.proves(&sheet);
        if sheet.lift.is_some() && !proved {
            tracing::warn!("a freeze is said to have ended, but no operator's key proves it; it stays");
            if known.sheet.is_none() {
                known.sheet = Some(Sheet::frozen(sheet.notice));
            }
        } else if Sheet::after(known.former(), &sheet, proved) {
            (known.sheet, known.lost) = (Some(sheet), false);
        }
        self.apply(known.sheet.as_ref().map_or(Extent::Nothing, Sheet::extent));
    }

    /// What cannot be read freezes everything.
    fn lose(&self, known: &mut Known, error: &Error) {
        tracing::error!(
            reason = error.message(),
            "what is frozen cannot be read; everything counts as frozen"
        );
        let notice = Notice::new(Extent::All, self.wall(), "bartizan", None);
        if known.sheet.as_ref().is_none_or(|sheet| sheet.extent() < Extent::All) {
            (known.sheet, known.lost) = (Some(Sheet::frozen(notice)), true);
        }
        self.apply(Extent::All);
    }

    fn apply(&self, extent: Extent) {
        let before = Extent::from_index(self.extent.swap(extent as u8, Ordering::AcqRel));
        if extent < before {
            let fresh = Halts::default();
            if extent == Extent::Writes {
                fresh.writes.cancel();
            }
            self.halts.store(Arc::new(fresh));
        } else {
            let halts = self.halts.load();
            if extent >= Extent::Writes {
                halts.writes.cancel();
            }
            if extent == Extent::All {
                halts.all.cancel();
            }
        }
        if extent != before {
            self.told.send_replace(extent);
        }
    }
}

/// What whoever calls is told.
pub fn refusal(extent: Extent) -> Error {
    Error::new(
        Kind::Frozen,
        if extent == Extent::All {
            "An operator has frozen everything, so nothing runs; wait until an operator lifts the freeze."
        } else {
            "An operator has frozen whatever changes something; reading still works. Wait until an operator lifts the \
             freeze."
        },
    )
}
