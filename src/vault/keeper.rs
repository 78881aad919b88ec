//! Whoever reads the secrets of one configuration.
//!
//! Owns [`Keeper`] and `[secrets]`. The idea: a reference alone can say where a secret is, but not what runs or what is
//! asked for it; that is declared in the configuration, and so all that one configuration reads goes through one keeper,
//! which also tells when it finds another secret than before, or none.
//!
//! Must not: hand a secret to whoever hears of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::Program;
use super::hashicorp::{self, Hashicorp};
use super::standby::{self, Standby, Standing};
use super::{Reference, Tokens, file, is_label, variable};
use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::http::{self, Credentials, Supply, TokenStore};
use crate::ownership::Exposed;
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;
use crate::state::StateDir;

/// `[secrets]`: what is behind `command:` and `vault:`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds after which a program is run again and the Vault is asked again. Files are looked at before each use.
    pub refresh_seconds: u64,
    /// Programs that print a secret, by the name that `command:NAME` uses.
    pub commands: BTreeMap<String, Program>,
    /// Days after which a credential is to be replaced soon.
    pub warn_days: u64,
    /// Days after which it is too old.
    pub error_days: u64,
    /// Why profiles of one state directory may use the same credential; without a reason they may not.
    pub shared_between_profiles: Option<String>,
    /// The Vault that `vault:` means.
    pub vault: Option<hashicorp::Config>,
    /// Second credentials, by the name that `bartizan credential switch NAME` takes.
    pub standby: BTreeMap<String, Standby>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            refresh_seconds: 300,
            commands: BTreeMap::new(),
            warn_days: 75,
            error_days: 90,
            shared_between_profiles: None,
            vault: None,
            standby: BTreeMap::new(),
        }
    }
}

/// The profile of an installation that names none.
const PRODUCTION: &str = "production";

/// What became of reading a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Where it is.
    pub reference: String,
    /// `loaded`, `replaced`, `failed`, or `exposed`: it was not read because others could read or change it.
    pub what: &'static str,
    /// Why it was not read, without a word of it.
    pub reason: Option<String>,
    /// Its keyed fingerprint, where it has one.
    pub fingerprint: Option<String>,
    /// Its keyed digest, where it is one that ages: a name or an id does not.
    pub mark: Option<String>,
}

/// What the value behind a reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A secret: it ages, and each profile has its own.
    Secret,
    /// A name or an id, which does neither.
    Name,
    /// Something that anybody may read, such as a certificate: its file only has to be one that nobody else can replace.
    Public,
}

/// One side of a pair, and what keeps the redactor from forgetting it.
struct Side {
    reference: Reference,
    /// What its file looked like when it was read.
    stamp: Option<u64>,
    held: Option<(Secret, Held)>,
}

type Witness = dyn Fn(&Told) -> Result<()> + Send + Sync;

/// Reads secrets. Cheap to clone; clones are the same keeper.
#[derive(Clone)]
pub struct Keeper {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    redactor: Option<Redactor>,
    clock: SharedClock,
    vault: Option<Hashicorp>,
    witness: Option<Arc<Witness>>,
    tokens: Option<Arc<Tokens>>,
    /// What the installation is for; one that nobody named is production.
    profile: &'static str,
    /// How each was found last: its fingerprint, or nothing where it could not be read.
    found: Mutex<BTreeMap<String, Option<String>>>,
    signers: Mutex<Vec<Weak<dyn Credentials>>>,
    standing: Option<Standing>,
    /// Both sides of every pair that [`Keeper::guarding`] has read.
    sides: Mutex<Vec<Side>>,
    /// What is read in place of what in a rehearsal.
    rehearsed: BTreeMap<String, Reference>,
}

impl Default for Keeper {
    /// One without `[secrets]`, whom nobody hears.
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                config: Config::default(),
                redactor: None,
                clock: SystemClock::shared(),
                vault: None,
                witness: None,
                tokens: None,
                profile: PRODUCTION,
                found: Mutex::default(),
                signers: Mutex::default(),
                standing: None,
                sides: Mutex::default(),
                rehearsed: BTreeMap::new(),
            }),
        }
    }
}

impl Keeper {
    /// The keeper of a configuration. Nothing is read.
    pub fn open(
        config: &Config,
        egress: &http::Config,
        redactor: &Redactor,
        clock: &SharedClock,
    ) -> Result<Self> {
        if config.warn_days > config.error_days {
            return Err(Error::new(Kind::BadConfig, "[secrets]: `warn_days` is not more than `error_days`."));
        }
        if config.refresh_seconds == 0 {
            return Err(Error::new(Kind::BadConfig, "[secrets]: `refresh_seconds` is at least 1."));
        }
        for (name, program) in &config.commands {
            if !is_label(name) {
                return Err(Error::new(
                    Kind::BadConfig,
                    "[secrets.commands]: a name is made of letters, digits, - and _.",
                ));
            }
            program.check(name)?;
        }
        standby::check(&config.standby)?;
        let refresh = Duration::from_secs(config.refresh_seconds);
        let vault = config.vault.as_ref();
        let vault =
            vault.map(|vault| Hashicorp::new(vault, egress, refresh, redactor.clone(), Arc::clone(clock)));
        let keeper = Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                redactor: Some(redactor.clone()),
                clock: Arc::clone(clock),
                vault: vault.transpose()?,
                witness: None,
                tokens: None,
                profile: PRODUCTION,
                found: Mutex::default(),
                signers: Mutex::default(),
                standing: None,
                sides: Mutex::default(),
                rehearsed: BTreeMap::new(),
            }),
        };
        let mut seconds = config.standby.values().flat_map(|one| one.replace.values());
        seconds.try_for_each(|second| keeper.check(second))?;
        Ok(keeper)
    }

    /// The same, with somebody who hears of each secret that is found for the first time, replaced or not found, and may
    /// refuse it.
    #[must_use]
    pub fn heard_by(mut self, witness: impl Fn(&Told) -> Result<()> + Send + Sync + 'static) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.witness = Some(Arc::new(witness));
        }
        self
    }

    /// The same, reading second credentials where the switch of this state directory says so.
    pub fn standing_by(mut self, state: &StateDir) -> Result<Self> {
        if self.inner.config.standby.is_empty() {
            return Ok(self);
        }
        let standing = Standing::open(&self.inner.config.standby, state)?;
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.standing = Some(standing);
        }
        Ok(self)
    }

    /// The same, knowing both sides of every pair by sight, whichever is in use: an upstream may repeat either. Reads them
    /// and blocks; one that cannot be read is a warning. `plain` are references to what is no secret.
    #[must_use]
    pub fn guarding(self, plain: &HashSet<Reference>) -> Self {
        let standing = self.inner.standing.iter();
        let secret = standing.flat_map(Standing::sides).filter(|(first, _)| !plain.contains(first));
        let sides = secret.flat_map(|(first, second)| [first, second]);
        let sides = sides.map(|reference| Side { reference: reference.clone(), stamp: None, held: None });
        *self.inner.sides.lock().unwrap_or_else(PoisonError::into_inner) = sides.collect();
        self.guard(true);
        self
    }

    /// Reads each side anew whose file has changed; with `all`, each.
    fn guard(&self, all: bool) {
        let Some(redactor) = &self.inner.redactor else { return };
        let mut sides = self.inner.sides.lock().unwrap_or_else(PoisonError::into_inner);
        for side in sides.iter_mut() {
            let stamp = side.reference.stamp();
            if !all && side.stamp == stamp {
                continue;
            }
            side.stamp = stamp;
            match self.read(&side.reference) {
                Ok(secret) if side.held.as_ref().is_some_and(|(old, _)| old.same(&secret)) => {}
                Ok(secret) => side.held = Some((secret.clone(), redactor.hold(&secret, "credential"))),
                Err(error) => tracing::warn!(
                    reference = %side.reference,
                    reason = error.message(),
                    "one of two credentials cannot be read, so it cannot be kept out of results"
                ),
            }
        }
    }

    /// The same for a rehearsal: reads each second reference in place of the first.
    #[must_use]
    pub fn rehearsing<'a>(mut self, pairs: impl IntoIterator<Item = (&'a Reference, &'a Reference)>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            let pairs = pairs.into_iter().map(|(first, second)| (first.to_string(), second.clone()));
            inner.rehearsed = pairs.collect();
        }
        self
    }

    /// What is read for a reference now: itself, or what stands in its place.
    pub fn now(&self, reference: &Reference) -> Reference {
        let inner = &*self.inner;
        let standing = || inner.standing.as_ref()?.instead(reference);
        let rehearsed = || inner.rehearsed.get(&reference.to_string()).cloned();
        let found = if inner.rehearsed.is_empty() { standing() } else { rehearsed().or_else(standing) };
        found.unwrap_or_else(|| reference.clone())
    }

    /// Whether there are second credentials.
    pub fn stands_by(&self) -> bool {
        self.inner.standing.is_some()
    }

    /// The names of the second credentials that are in use.
    pub fn standbys(&self) -> Vec<String> {
        self.inner.standing.as_ref().map(Standing::names).unwrap_or_default()
    }

    /// Looks whether somebody turned the switch; then whatever was read or fetched with the former credential is
    /// forgotten. True if so. May block.
    pub fn heed(&self) -> bool {
        let Some(standing) = &self.inner.standing else { return false };
        let turned = standing.look().unwrap_or_else(|error| {
            tracing::error!(
                reason = error.message(),
                "which credential is in use cannot be told; nothing is changed"
            );
            false
        });
        self.guard(turned);
        if turned {
            self.forget();
        }
        turned
    }

    /// The same, with a place where tokens are kept.
    #[must_use]
    pub fn keeping(mut self, tokens: Option<Tokens>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.tokens = tokens.map(Arc::new);
        }
        self
    }

    /// The same, for an installation of that profile.
    #[must_use]
    pub fn in_profile(mut self, profile: &'static str) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.profile = profile;
        }
        self
    }

    /// What the installation is for.
    pub fn profile(&self) -> &'static str {
        self.inner.profile
    }

    /// Where tokens are kept, if anywhere.
    pub fn tokens(&self) -> Option<Arc<dyn TokenStore>> {
        self.inner.tokens.clone().map(|tokens| tokens as Arc<dyn TokenStore>)
    }

    /// Whether a reference leads to something that is declared.
    pub fn check(&self, reference: &Reference) -> Result<()> {
        let missing = |what: String| Err(Error::new(Kind::BadConfig, what));
        match reference {
            Reference::Command(name) if !self.inner.config.commands.contains_key(name) => missing(format!(
                "{reference} needs a program under [secrets.commands.{name}] in the configuration"
            )),
            Reference::Vault(_) if self.inner.vault.is_none() => {
                missing(format!("{reference} needs [secrets.vault] in the configuration"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a secret. Blocks.
    pub fn resolve(&self, reference: &Reference) -> Result<Secret> {
        self.resolve_as(reference, Use::Secret)
    }

    /// Reads what is behind a reference, for what it is. Blocks.
    pub fn resolve_as(&self, reference: &Reference, what: Use) -> Result<Secret> {
        let reference = &self.now(reference);
        let found = match (reference, what) {
            (Reference::File(path), Use::Public) => file::public(path, &reference.to_string()),
            _ => self.read(reference),
        };
        self.tell(reference, &found, what == Use::Secret)?;
        found
    }

    fn read(&self, reference: &Reference) -> Result<Secret> {
        self.check(reference)?;
        let inner = &*self.inner;
        match (reference, &inner.vault) {
            (Reference::Command(name), _) => {
                let Some(program) = inner.config.commands.get(name) else { return reference.resolve() };
                let mut kept = BTreeMap::new();
                for name in &program.keep {
                    if let Some(value) = variable(name)? {
                        kept.insert(name.clone(), value.expose().to_owned());
                    }
                }
                program.run(name, &kept, &*inner.clock)
            }
            (Reference::Vault(spot), Some(vault)) => vault.secret(spot, &|own| self.resolve(own)),
            _ => reference.resolve(),
        }
    }

    fn tell(&self, reference: &Reference, found: &Result<Secret>, ages: bool) -> Result<()> {
        let (Some(witness), Some(redactor)) = (&self.inner.witness, &self.inner.redactor) else {
            return Ok(());
        };
        let reference = reference.to_string();
        let print = found.as_ref().ok().map(|secret| {
            // even a short one has to be told from another one; this never leaves the process
            redactor.keyed_digest(secret.expose().as_bytes()).map(|digest| digest.hex()).unwrap_or_default()
        });
        let before = {
            let mut all = self.inner.found.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(reference.clone(), print.clone())
        };
        let what = match (&before, &print) {
            (Some(old), new) if old == new => return Ok(()),
            (_, None) if found.as_ref().is_err_and(|error| Exposed::is_why(error)) => "exposed",
            (_, None) => "failed",
            (None | Some(None), Some(_)) => "loaded",
            (Some(Some(_)), Some(_)) => "replaced",
        };
        let fingerprint = found.as_ref().ok().and_then(|secret| redactor.fingerprint(secret.expose()));
        let mark = print.filter(|_| ages);
        let reason = found.as_ref().err().map(|error| error.message().to_owned());
        witness(&Told { reference: reference.clone(), what, reason, fingerprint, mark }).inspect_err(|_| {
            // what was refused is no news: it is judged again each time
            self.inner.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&reference);
        })
    }

    /// The secret behind a reference, for those who sign.
    pub fn supply(&self, reference: &Reference) -> Result<Arc<dyn Supply>> {
        self.supply_as(reference, Use::Secret)
    }

    /// The name or id behind a reference, which neither ages nor has to be another one in each profile.
    pub fn name(&self, reference: &Reference) -> Result<Arc<dyn Supply>> {
        self.supply_as(reference, Use::Name)
    }

    /// What is behind a reference, for what it is.
    pub fn supply_as(&self, reference: &Reference, what: Use) -> Result<Arc<dyn Supply>> {
        self.check(reference)?;
        Ok(Arc::new(Kept { keeper: self.clone(), reference: reference.clone(), what }))
    }

    /// Remembers who signs, for [`Keeper::forget`].
    pub fn signs(&self, credentials: &Arc<dyn Credentials>) {
        let mut signers = self.inner.signers.lock().unwrap_or_else(PoisonError::into_inner);
        signers.retain(|one| one.strong_count() > 0);
        signers.push(Arc::downgrade(credentials));
    }

    /// Forgets every secret and every token that can be had again.
    pub fn forget(&self) {
        let signers = self.inner.signers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        signers.iter().filter_map(Weak::upgrade).for_each(|one| one.forget());
        if let Some(vault) = &self.inner.vault {
            vault.forget();
        }
    }
}

/// A reference and who reads it.
struct Kept {
    keeper: Keeper,
    reference: Reference,
    what: Use,
}

impl Supply for Kept {
    fn secret(&self) -> Result<Secret> {
        self.keeper.resolve_as(&self.reference, self.what)
    }

    fn reference(&self) -> String {
        self.keeper.now(&self.reference).to_string()
    }

    fn stamp(&self) -> Option<u64> {
        let inner = &self.keeper.inner;
        let turns = inner.standing.as_ref().and_then(|standing| standing.turns(&self.reference));
        let own = match &self.keeper.now(&self.reference) {
            // nothing tells that these have changed: they are asked again after a while
            Reference::Command(_) | Reference::Vault(_) => {
                Some(inner.clock.monotonic().as_secs() / inner.config.refresh_seconds.max(1))
            }
            reference => reference.stamp(),
        };
        match turns {
            None | Some(0) => own,
            // after a turn it is another one, whatever its file says of itself
            Some(turns) => Some(own.unwrap_or_default() ^ turns.rotate_right(8)),
        }
    }
}
