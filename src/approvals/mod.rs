//! Does a person agree, and can that be proved?
//!
//! Owns [`Approvals`] and its [`Config`]. The idea: a call that needs a person leaves a record in the state
//! directory, or in the store that instances share; an operator signs a decision about exactly that record with a key whose private half only a passphrase opens; the
//! server holds public halves, computes the binding again from the call at hand, and takes the grant by renaming the
//! record, which exactly one caller can do.
//!
//! A record is one file, and its name says where it stands:
//!
//! ```text
//! ID.BINDING.pending   asked for; ID.decision beside it once an operator has signed
//! ID.BINDING.taken     a call took it: it runs, or was cut off, and never runs again
//! ID.BINDING.carried   a call took it and asks its client something before it goes on
//! ID.BINDING.used      the call has ended
//! ID.BINDING.refused   the client's user said no
//! ID.BINDING.void      what it would have changed has changed since it was shown
//! ID.arguments         all the arguments, where they are too long for the record
//! ```
//!
//! Everything here blocks on files for a moment; the line calls it from a blocking thread.
//!
//! Must not: know tools, or show anything that was not redacted before.

mod config;
mod desk;
mod factor;
mod operator;
mod page;
mod record;
mod second;
mod sheet;
mod shelf;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use config::{Channel, Config, SecondFactor, Webhook};
pub use desk::{Enrolled, Listed};
pub use factor::Proven;
pub use operator::{Decision, Operator, Testimony};
pub use record::{Destination, Party, Record, Seen, Shown, Status, Whole, Wish, render, visible};
pub use second::{Begun, Kept, Opens};
pub use sheet::{Row, line, sheet};
pub use terms::Way;
pub(crate) use terms::nobody;

use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::state::{Folder, Shared, StateDir};
use operator::Signed;
use record::millis;
use shelf::{Shelf, Waiting};
use terms::Terms;

/// Approvals, in a state directory that several processes may share.
pub struct Approvals {
    config: Config,
    files: Folder,
    operators: PathBuf,
    factors: StateDir,
    /// Where instances tell each other what was used up of second factors.
    common: Option<second::Common>,
    instance: [u8; 32],
    clock: SharedClock,
    shelf: Shelf,
    herald: OnceLock<Herald>,
}

/// What hears of every approval that is asked for.
type Herald = Box<dyn Fn(&Record) + Send + Sync>;

/// What became of a wish.
#[derive(Debug)]
pub enum Answer {
    /// A person agreed, and this caller has the grant.
    Taken(Grant),
    /// Nobody has decided; this is the id to decide about.
    Pending(Box<Record>),
    /// A person refused.
    Refused(String),
    /// A person agreed to something that has changed since.
    Void(String),
}

/// A grant in the hands of the one call that may use it. Dropped without a word it stays `unknown`.
#[derive(Debug)]
pub struct Grant {
    files: Folder,
    id: String,
    binding: String,
    /// Who agreed: an operator's name, or `client`.
    by: String,
}

impl Grant {
    /// The id of the approval.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who agreed: an operator's name, or `client`.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// The call has ended, well or not.
    pub fn used(self) -> Result<()> {
        self.move_to("used")
    }

    /// The call asks something else; the same call may take the grant up again.
    pub fn carry(self) -> Result<()> {
        self.move_to("carried")
    }

    fn move_to(&self, state: &str) -> Result<()> {
        self.files
            .rename(&name(&self.id, &self.binding, "taken"), &name(&self.id, &self.binding, state))
            .map(|_| ())
    }
}

fn name(id: &str, binding: &str, state: &str) -> String {
    format!("{id}.{binding}.{state}")
}

/// A file name, taken apart.
pub(super) struct Named<'a> {
    pub(super) id: &'a str,
    pub(super) binding: &'a str,
    pub(super) state: &'a str,
}

pub(super) fn named(name: &str) -> Option<Named<'_>> {
    let mut parts = name.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(id), Some(binding), Some(state), None) => Some(Named { id, binding, state }),
        _ => None,
    }
}

fn gone() -> Error {
    Error::new(
        Kind::NeedsApproval,
        "This approval is not open any more (expired, used, or meant for another call); call again to ask anew.",
    )
}

fn void(id: &str) -> Error {
    Error::new(
        Kind::NeedsApproval,
        "What this call would change has changed since it was shown to the person who agreed, so the approval is void; \
         make the call again to ask anew.",
    )
    .with_detail(json!({"approval": id, "void": true}))
}

impl Answer {
    /// The error for an approval that the world has overtaken.
    pub fn voided(id: &str) -> Error {
        void(id)
    }
}

impl Approvals {
    /// Opens the approvals of a state directory, which is made if it is not there.
    pub fn open(config: &Config, state: &Path, clock: SharedClock) -> Result<Arc<Self>> {
        Self::open_in(config, state, None, clock)
    }

    /// The same, with the records in the store that instances share. What an operator made stays in the state directory:
    /// keys and second factors; of these, the store knows what was used up.
    pub fn open_in(
        config: &Config,
        state: &Path,
        shared: Option<&Arc<Shared>>,
        clock: SharedClock,
    ) -> Result<Arc<Self>> {
        let state = StateDir::open(state)?;
        let operators = match &config.operators {
            Some(path) => path.clone(),
            None => state.folder("operators")?.path().to_path_buf(),
        };
        Ok(Arc::new(Self {
            config: config.clone(),
            files: match shared {
                Some(shared) => shared.folder("approvals"),
                None => state.folder("approvals")?.into(),
            },
            operators,
            factors: state.folder("factors")?,
            common: shared.map(second::Common::new),
            instance: match shared {
                Some(shared) => shared.key("approvals"),
                None => state.key("instance.key")?,
            },
            clock,
            shelf: Shelf::default(),
            herald: OnceLock::new(),
        }))
    }

    /// The same for whoever only looks: nothing is made, and what it weighs is bound to nothing.
    pub fn look(config: &Config, state: &Path, clock: SharedClock) -> Arc<Self> {
        let within = |name: &str| StateDir::look(state.join(name));
        Arc::new(Self {
            config: config.clone(),
            files: within("approvals").into(),
            operators: config.operators.clone().unwrap_or_else(|| state.join("operators")),
            factors: within("factors"),
            common: None,
            instance: rand::random(),
            clock,
            shelf: Shelf::default(),
            herald: OnceLock::new(),
        })
    }

    fn now(&self) -> u64 {
        millis(self.clock.wall())
    }

    /// Whether what a call would change is to be read and shown.
    pub fn shows_state(&self) -> bool {
        self.config.show_state
    }

    /// A digest that nobody without this installation's key can try values against.
    pub fn keyed(&self, bytes: &[u8]) -> String {
        record::keyed(&self.instance, bytes)
    }

    /// What is shown of a wish, all of its arguments, and what it is bound to.
    fn weigh(&self, wish: &Wish<'_>) -> (Shown, String, String) {
        let (shown, whole) = Shown::of(wish);
        let binding = record::binding(&self.instance, &self.config.profile, wish, &shown);
        (shown, whole, binding)
    }

    /// Takes a grant that an operator gave for exactly this call, or says that one is awaited.
    pub fn settle(&self, wish: &Wish<'_>) -> Result<Answer> {
        let (shown, whole, binding) = self.weigh(wish);
        let terms = self.terms(wish.principal, wish.effect)?;
        let _lock = self.files.lock("approvals")?;
        let owner = record::owner(&self.instance, wish.principal);
        let waiting = self.tidy(&owner, &binding)?;
        let now = self.now();
        let mut open = None;
        for id in &waiting.same {
            let Some(record) = self.record(&Named { id, binding: &binding, state: "pending" })? else {
                continue;
            };
            if !self.is_open(&record) {
                continue;
            }
            let same = record.shown.is_still(&shown);
            match self.decision(&record, &binding, now, &terms)? {
                Said::Decided(Decision::Refuse, _) => return Ok(Answer::Refused(record.id)),
                Said::Decided(Decision::Approve, by) if same => {
                    if let Some(grant) = self.take(&record.id, &binding, "pending", by)? {
                        return Ok(Answer::Taken(grant));
                    }
                }
                // What the person saw is no more: nothing that was said about it holds.
                Said::Decided(Decision::Approve, _) => {
                    self.void(&record.id, &binding)?;
                    return Ok(Answer::Void(record.id));
                }
                Said::Nothing | Said::Unproved if same => open = Some(record),
                Said::Nothing | Said::Unproved => self.void(&record.id, &binding)?,
            }
        }
        if let Some(record) = open {
            return Ok(Answer::Pending(Box::new(record)));
        }
        self.admit(&waiting, record::places(&shown))?;
        let record = Record {
            id: fresh_id(),
            created: now,
            expires: now.saturating_add(millis(self.config.expires())),
            shown,
            fingerprint: wish.fingerprint.hex(),
            binding: binding.clone(),
            owner,
            people: terms.people,
            asker: terms.asker,
            policy: wish.policy.to_owned(),
        };
        let bytes = serde_json::to_vec_pretty(&record).map_err(|cause| {
            Error::new(Kind::Internal, "An approval could not be written down.").with_source(cause)
        })?;
        let beside = record.shown.whole.is_some().then(|| format!("{}.arguments", record.id));
        if let Some(beside) = &beside {
            self.files.write(beside, whole.as_bytes())?;
        }
        self.files.write(&name(&record.id, &binding, "pending"), &bytes).inspect_err(|_| {
            // If this fails too, the next call tidies it up.
            let _ = beside.as_deref().map(|beside| self.files.remove(beside));
        })?;
        self.learn(&record);
        if let Some(herald) = self.herald.get() {
            herald(&record);
        }
        Ok(Answer::Pending(Box::new(record)))
    }

    /// Whether an approval for exactly this call waits, decided or not.
    pub fn waits(&self, wish: &Wish<'_>) -> Result<bool> {
        let (_, _, binding) = self.weigh(wish);
        let names = self.files.names()?;
        Ok(names
            .iter()
            .filter_map(|file| named(file))
            .any(|one| one.binding == binding && one.state == "pending"))
    }

    /// Refuses what would take more places than are free, or than are the caller's.
    fn admit(&self, waiting: &Waiting, places: usize) -> Result<()> {
        let (all, each) = (self.config.most_pending, self.config.most_pending_each);
        let message = if places > 1 && places > all.min(each) {
            return Err(Error::new(
                Kind::BadArguments,
                "The arguments are too long for a call that has to wait for a person; send less at once.",
            ));
        } else if waiting.own.saturating_add(places) > each {
            "Too many of your calls wait for a person already; let some of them be decided or expire first."
        } else if waiting.all.saturating_add(places) > all {
            "Too many approvals are waiting already; decide or let expire some of them first."
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::RateLimited, message))
    }

    /// Takes a grant that the caller's own client gave; the line calls this only where configuration trusts it. What
    /// an operator has refused meanwhile stays refused, and what no client could show in full is not the client's to
    /// agree to.
    pub fn agreed_by_client(&self, id: &str, wish: &Wish<'_>) -> Result<Grant> {
        let terms = self.terms(wish.principal, wish.effect)?;
        if terms.factor {
            return Err(terms::beyond_clients());
        }
        let _lock = self.files.lock("approvals")?;
        let (shown, _, binding) = self.weigh(wish);
        if is_id(id)
            && let Some(record) = self.record(&Named { id, binding: &binding, state: "pending" })?
        {
            match self.decision(&record, &binding, self.now(), &terms)? {
                Said::Nothing | Said::Decided(Decision::Approve, _) => {}
                Said::Decided(Decision::Refuse, _) => {
                    return Err(Error::new(
                        Kind::Declined,
                        "An operator has refused this call; do not try it again.",
                    ));
                }
                Said::Unproved => {
                    return Err(Error::new(
                        Kind::NeedsApproval,
                        "Something is written down about this call that no operator's key proves, so nobody else may \
                         agree to it; an operator has to decide.",
                    )
                    .with_detail(json!({"approval": id, "expires": record.expires})));
                }
            }
            if record.shown.version != shown.version {
                self.void(id, &binding)?;
                return Err(void(id));
            }
            if shown.whole.is_some() {
                return Err(gone());
            }
        }
        self.open_take(id, wish, "pending", "client")
    }

    /// Takes up a grant again that the same call carried along.
    pub fn resume(&self, id: &str, wish: &Wish<'_>) -> Result<Grant> {
        self.open_take(id, wish, "carried", "carried")
    }

    /// The caller's own client said no.
    pub fn declined_by_client(&self, id: &str, wish: &Wish<'_>) -> Result<()> {
        let (_, _, binding) = self.weigh(wish);
        let moved =
            is_id(id) && self.files.rename(&name(id, &binding, "pending"), &name(id, &binding, "refused"))?;
        if moved { Ok(()) } else { Err(gone()) }
    }

    fn open_take(&self, id: &str, wish: &Wish<'_>, from: &str, by: &str) -> Result<Grant> {
        let (shown, _, binding) = self.weigh(wish);
        if !is_id(id) {
            return Err(gone());
        }
        let one = Named { id, binding: &binding, state: from };
        match self.record(&one)? {
            Some(record) if self.is_open(&record) && record.shown.is_still(&shown) => {}
            _ => return Err(gone()),
        }
        self.take(id, &binding, from, by.to_owned())?.ok_or_else(gone)
    }

    fn take(&self, id: &str, binding: &str, from: &str, by: String) -> Result<Option<Grant>> {
        let (from, to) = (name(id, binding, from), name(id, binding, "taken"));
        Ok(self.files.rename(&from, &to)?.then(|| Grant {
            files: self.files.clone(),
            id: id.to_owned(),
            binding: binding.to_owned(),
            by,
        }))
    }

    /// Nobody can decide about it or use it any more.
    fn void(&self, id: &str, binding: &str) -> Result<()> {
        self.files.rename(&name(id, binding, "pending"), &name(id, binding, "void")).map(|_| ())
    }

    fn record(&self, one: &Named<'_>) -> Result<Option<Record>> {
        let Some(bytes) = self.files.read(&name(one.id, one.binding, one.state))? else { return Ok(None) };
        Ok(serde_json::from_slice::<Record>(&bytes)
            .ok()
            .filter(|record| record.id == one.id && record.binding == one.binding))
    }

    /// What somebody who may decide said about exactly this record, where it holds now and keeps to the terms. Whether
    /// the record shows the call at hand is for the caller to see. A key that is there and cannot be read is an error:
    /// it may prove a refusal.
    fn decision(&self, record: &Record, binding: &str, now: u64, terms: &Terms) -> Result<Said> {
        let Some(bytes) = self.files.read(&format!("{}.decision", record.id))? else {
            return Ok(Said::Nothing);
        };
        let Ok(signed) = serde_json::from_slice::<Signed>(&bytes) else { return Ok(Said::Unproved) };
        let holds = signed.id == record.id
            && signed.expires > now
            && signed.expires <= record.expires
            && signed.at >= record.created
            && signed.at <= now.saturating_add(60_000)
            && self.proves(&signed, binding, &record.shown.digest().hex())?
            && (signed.decision == Decision::Refuse || self.keeps(&signed, terms));
        Ok(if holds { Said::Decided(signed.decision, signed.operator) } else { Said::Unproved })
    }
}

/// What lies beside a record.
enum Said {
    /// Nothing.
    Nothing,
    /// Something that no operator's key proves: tampered with, or its operator is no more.
    Unproved,
    /// A decision, and whose it is.
    Decided(Decision, String),
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Twelve characters of 5 bits each, in three groups.
fn fresh_id() -> String {
    let bits: u64 = rand::random();
    let mut id = String::with_capacity(14);
    for place in 0..12u32 {
        if place > 0 && place % 4 == 0 {
            id.push('-');
        }
        let index = usize::try_from(bits >> (place * 5) & 31).unwrap_or_default();
        id.push(char::from(ALPHABET[index]));
    }
    id
}

/// Whether `id` can be the id of an approval, and is safe in a file name.
fn is_id(id: &str) -> bool {
    id.len() == 14 && id.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte))
}
