//! Second factors, as files that processes share.
//!
//! Owns enrolling, checking, listing, unlocking and removing them. The idea: every code is looked at under one lock, and
//! what it used up is written down before anybody hears that it was good.
//!
//! Where instances share a store, each has its own copy of the file, and what a code used up is written down in the store, too:
//! a code that one has accepted no other accepts, and wrong ones count together. Without the store no code is good.
//!
//! Must not: show a secret but once, to whoever enrols.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::factor::{self, Factor, Opener, Proven, Wear};
use super::{Approvals, operator};
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::secret::Secret;
use crate::state::{Folder, Held, Shared};

/// What opens a factor's secret from now on.
pub enum Opens<'a> {
    /// The operator's passphrase.
    Passphrase(&'a Secret),
    /// The key of the state directory, so that the server can check codes on the approval page.
    Page,
}

/// A factor that is being enrolled: it counts once one of its codes was shown.
pub struct Begun {
    name: String,
    secret: Zeroizing<[u8; 20]>,
}

impl Begun {
    /// The address that an authenticator reads (`otpauth://totp/…`). It holds the secret.
    pub fn address(&self) -> Result<Secret> {
        factor::address(&self.secret[..], &self.name)
    }
}

/// What may be told of a factor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Whose it is.
    pub name: String,
    /// When it was enrolled, in milliseconds since the epoch.
    pub enrolled: u64,
    /// Whether its codes can be checked only with its owner's passphrase.
    pub needs_passphrase: bool,
    /// Whether five wrong codes have locked it.
    pub locked: bool,
    /// How many wrong codes it bears before it locks.
    pub tries_left: u8,
    /// How many recovery codes are left.
    pub recovery_left: usize,
}

/// Where instances tell each other what was used up.
pub(super) struct Common {
    shared: Arc<Shared>,
    folder: Folder,
}

impl Common {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), folder: shared.lasting("factors") }
    }

    fn read(&self, name: &str) -> Result<Option<Wear>> {
        let bytes = self.folder.read(name)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn write(&self, factor: &Factor) -> Result<()> {
        let bytes = serde_json::to_vec(&factor.wear()).map_err(|cause| {
            Error::new(Kind::Internal, "What was used up of a second factor could not be written down.")
                .with_source(cause)
        })?;
        self.folder.write(&factor.name, &bytes)
    }

    /// Whether nobody has shown the code before that was just accepted, also where the store forgot what was shown.
    fn is_first(&self, factor: &Factor) -> Result<bool> {
        let (name, since) = factor.accepted();
        self.shared.first_now("totp", &Digest::of(name.as_bytes()), Some(since), SHOWN)
    }
}

/// How long a code could be shown: from one step before its own until one after it.
const SHOWN: Duration = Duration::from_secs(3 * factor::STEP);

fn file(name: &str) -> String {
    format!("{name}.factor")
}

impl Approvals {
    /// Whether anybody has a second factor.
    pub fn has_factors(&self) -> Result<bool> {
        Ok(self.factors.names()?.iter().any(|name| name.ends_with(".factor")))
    }

    /// Every second factor, by name.
    pub fn second_factors(&self) -> Result<Vec<Kept>> {
        let names = self.factors.names()?;
        let names = names.iter().filter_map(|file| file.strip_suffix(".factor"));
        names.filter_map(|name| self.factor(name).transpose()).map(|factor| factor.map(kept)).collect()
    }

    /// One second factor, if that person has one.
    pub fn second_factor(&self, name: &str) -> Result<Option<Kept>> {
        Ok(self.factor(name)?.map(kept))
    }

    fn factor(&self, name: &str) -> Result<Option<Factor>> {
        if !operator::is_name(name) {
            return Ok(None);
        }
        let factor = self.factors.read(&file(name))?.map(|bytes| Factor::read(&bytes, name)).transpose()?;
        let (Some(mut factor), Some(common)) = (factor.clone(), &self.common) else { return Ok(factor) };
        if let Some(wear) = common.read(name)? {
            factor.adopt(&wear);
        }
        Ok(Some(factor))
    }

    /// One at a time, on all instances.
    fn turn(&self) -> Result<Option<Held>> {
        self.common.as_ref().map(|common| common.folder.lock("factors")).transpose()
    }

    /// Writes down what was used up: for the others first.
    fn keep(&self, factor: &Factor) -> Result<()> {
        if let Some(common) = &self.common {
            common.write(factor)?;
        }
        self.factors.write(&file(&factor.name), &factor.bytes()?)
    }

    /// Begins an enrolment. Whoever has a factor already is refused.
    pub fn begin_factor(&self, name: &str) -> Result<Begun> {
        if !operator::is_name(name) {
            return Err(Error::new(
                Kind::BadConfig,
                "The name of a second factor is that of its operator or approver: 1 to 32 characters of a-z, 0-9, _ and -.",
            ));
        }
        if self.factor(name)?.is_some() {
            return Err(Error::new(
                Kind::BadConfig,
                "There is a second factor of this name already; remove it first: bartizan approvals factor remove NAME.",
            ));
        }
        Ok(Begun { name: name.to_owned(), secret: Zeroizing::new(rand::random()) })
    }

    /// Ends an enrolment with a first code; the recovery codes are shown this once.
    pub fn confirm_factor(&self, begun: &Begun, code: &str, opens: &Opens<'_>) -> Result<Vec<Secret>> {
        let now = self.clock.wall().as_secs();
        let Some(step) = factor::step_of(&begun.secret[..], &factor::plain(code), now)? else {
            return Err(Error::new(
                Kind::Unauthenticated,
                "That is not the code that the authenticator shows now, so nothing was enrolled; check the time of both \
                 machines and try again.",
            ));
        };
        let key;
        let opener = match opens {
            Opens::Passphrase(passphrase) => Opener::Passphrase(passphrase),
            Opens::Page => {
                key = self.page_key()?;
                Opener::State(&key)
            }
        };
        let (fresh, codes) = Factor::new(&begun.name, &begun.secret[..], opener, (step, self.now()))?;
        if self.factors.create(&file(&begun.name), &fresh.bytes()?)? {
            return Ok(codes);
        }
        Err(Error::new(Kind::BadConfig, "Somebody else enrolled a second factor of this name just now."))
    }

    /// Looks at a code. A code is good once, in whichever process it is shown; five wrong ones in a row lock.
    pub fn check_factor(&self, name: &str, passphrase: Option<&Secret>, code: &str) -> Result<Proven> {
        let none = || {
            Error::new(
                Kind::Forbidden,
                "There is no second factor of this name; enrol it with: bartizan approvals factor enrol NAME.",
            )
        };
        let (_lock, _turn) = (self.factors.lock("factors")?, self.turn()?);
        let mut factor = self.factor(name)?.ok_or_else(none)?;
        let key = self.page_key()?;
        let opener = match passphrase {
            Some(passphrase) if factor.needs_passphrase() => Opener::Passphrase(passphrase),
            _ => Opener::State(&key),
        };
        let mut said = factor.check(code, opener, self.clock.wall().as_secs())?;
        if let (Some(common), Ok(Proven::Totp)) = (&self.common, &said)
            && !common.is_first(&factor)?
        {
            said = Err(factor::used());
        }
        self.keep(&factor)?;
        said
    }

    /// Takes a factor away.
    pub fn remove_factor(&self, name: &str) -> Result<()> {
        let (_lock, _turn) = (self.factors.lock("factors")?, self.turn()?);
        if self.factor(name)?.is_none() {
            return Err(Error::new(Kind::BadConfig, "There is no second factor of this name."));
        }
        self.factors.remove(&file(name))
    }

    /// Lets a locked factor be tried again.
    pub fn unlock_factor(&self, name: &str) -> Result<()> {
        let (_lock, _turn) = (self.factors.lock("factors")?, self.turn()?);
        let Some(mut factor) = self.factor(name)? else {
            return Err(Error::new(Kind::BadConfig, "There is no second factor of this name."));
        };
        factor.unlock();
        self.keep(&factor)
    }

    fn page_key(&self) -> Result<[u8; 32]> {
        self.factors.key("page.key")
    }
}

fn kept(factor: Factor) -> Kept {
    Kept {
        enrolled: factor.enrolled,
        needs_passphrase: factor.needs_passphrase(),
        locked: factor.is_locked(),
        tries_left: factor.tries_left(),
        recovery_left: factor.recovery_left(),
        name: factor.name,
    }
}
