//! Tokens of upstreams, kept over a restart.
//!
//! Owns [`Tokens`] and `[tokens]`. The idea: nothing is kept unless the configuration says so and says where the key is;
//! then each token is a file that only that key opens, and only under this name, in this profile. What does not open,
//! for whatever reason, or is not its owner's alone, counts as not there, and the log says so. There is no tenant to bind
//! it to: credentials of upstreams are the installation's, whichever tenant's caller a request is for.
//!
//! Must not: let a token that cannot be read or written fail a call.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Keeper, Reference, file};
use crate::error::{Error, Kind, Result};
use crate::http::TokenStore;
use crate::secret::Secret;
use crate::state::{KeyRing, StateDir};

/// Longest file.
const LONGEST: u64 = 256 * 1024;
/// Where a passphrase is salted.
const SALT: &str = "salt";
/// How the name of a token's file ends.
const ENDING: &str = ".token";

/// The `[tokens]` table of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether tokens of upstreams survive a restart, sealed, in the state directory.
    pub persist: bool,
    /// Where the keys are, each of 32 bytes in hexadecimal or base64: the first seals, all open.
    pub keys: Vec<Reference>,
    /// A passphrase instead of keys.
    pub passphrase: Option<Reference>,
}

/// The sealed tokens of a state directory.
pub struct Tokens {
    folder: StateDir,
    ring: KeyRing,
    profile: String,
    heard: Option<Box<Heard>>,
}

/// Hears of a file, by name, that was not used, and why.
type Heard = dyn Fn(&str, &str) + Send + Sync;

impl Tokens {
    /// The tokens of a state directory, if the configuration keeps any. Blocks: the keys are read.
    pub fn open(config: &Config, state: &StateDir, profile: &str, keeper: &Keeper) -> Result<Option<Self>> {
        if !config.persist {
            return Ok(None);
        }
        let wrong = |what: &str| Error::new(Kind::BadConfig, format!("[tokens]: {what}."));
        let folder = state.folder("tokens")?;
        let about = |error: Error| wrong(error.message().trim_end_matches('.')).with_source(error);
        let ring = match (config.keys.as_slice(), &config.passphrase) {
            ([], Some(passphrase)) => {
                KeyRing::new(&[derived(&keeper.resolve(passphrase).map_err(about)?, &folder)?])?
            }
            (keys @ [_, ..], None) => {
                let keys: Result<Vec<Secret>> = keys.iter().map(|key| keeper.resolve(key)).collect();
                keys.and_then(|keys| KeyRing::read(&keys)).map_err(about)?
            }
            _ => return Err(wrong("with `persist` say where the key is: either `keys` or `passphrase`")),
        };
        Ok(Some(Self { folder, ring, profile: profile.to_owned(), heard: None }))
    }

    /// The same, with somebody who hears of each token that was kept and is not used.
    #[must_use]
    pub fn heard_by(mut self, heard: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        self.heard = Some(Box::new(heard));
        self
    }

    fn rejected(&self, name: &str, reason: &str) {
        tracing::warn!(file = name, reason, "a token that was kept is not used");
        if let Some(heard) = &self.heard {
            heard(name, reason);
        }
    }

    /// What a file is bound to: nothing else opens it.
    fn bound(&self, name: &str) -> Vec<u8> {
        format!("bartizan token v1\0{}\0{name}", self.profile).into_bytes()
    }

    /// The names of what is kept.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = self.folder.names()?.into_iter();
        Ok(names.filter_map(|name| name.strip_suffix(ENDING).map(str::to_owned)).collect())
    }

    /// Seals everything anew with the first key. How many were, and how many did not open and were removed.
    pub fn reseal(&self) -> Result<(usize, usize)> {
        let _turn = self.folder.lock("tokens")?;
        let (mut done, mut lost) = (0, 0);
        for name in self.names()? {
            if let Some(plain) = self.load(&name) {
                let sealed = self.ring.wrap(&plain, &self.bound(&name))?;
                self.folder.write(&format!("{name}{ENDING}"), &sealed)?;
                done += 1;
            } else {
                self.folder.remove(&format!("{name}{ENDING}"))?;
                lost += 1;
            }
        }
        Ok((done, lost))
    }

    /// Does in memory what [`Self::reseal`] would do with a fresh key. How many tokens would be sealed anew and open with
    /// that key alone, and how many do not open now.
    pub fn rehearse(&self) -> Result<(usize, usize)> {
        let fresh = KeyRing::ephemeral();
        let (mut done, mut lost) = (0, 0);
        for name in self.names()? {
            let Some(plain) = self.load(&name) else {
                lost += 1;
                continue;
            };
            let bound = self.bound(&name);
            let sealed = fresh.wrap(&plain, &bound)?;
            if fresh.unwrap(&sealed, &bound).map(Zeroizing::new).as_deref() != Some(&*plain) {
                return Err(Error::new(Kind::Internal, "A token that was sealed anew did not open again."));
            }
            done += 1;
        }
        Ok((done, lost))
    }

    /// Removes everything.
    pub fn clear(&self) -> Result<usize> {
        let names = self.names()?;
        for name in &names {
            self.folder.remove(&format!("{name}{ENDING}"))?;
        }
        Ok(names.len())
    }
}

impl TokenStore for Tokens {
    fn load(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let path = self.folder.file(&format!("{name}{ENDING}"));
        if !path.exists() {
            return None;
        }
        let sealed = match file::bytes(&path, &path.display().to_string(), LONGEST) {
            Ok(sealed) => sealed,
            Err(error) => {
                self.rejected(name, error.message());
                return None;
            }
        };
        let opened = self.ring.unwrap(&sealed, &self.bound(name));
        if opened.is_none() {
            self.rejected(name, "it does not open: changed, moved, or sealed with another key");
        }
        opened.map(Zeroizing::new)
    }

    fn save(&self, name: &str, plain: &[u8]) -> bool {
        let sealed = self.ring.wrap(plain, &self.bound(name));
        let kept = sealed.and_then(|sealed| self.folder.write(&format!("{name}{ENDING}"), &sealed));
        if let Err(error) = &kept {
            tracing::warn!(reason = error.message(), "a token could not be kept");
        }
        kept.is_ok()
    }

    fn remove(&self, name: &str) {
        if let Err(error) = self.folder.remove(&format!("{name}{ENDING}")) {
            tracing::warn!(reason = error.message(), "a token that was kept could not be removed");
        }
    }
}

/// A key out of a passphrase and this directory's salt.
fn derived(passphrase: &Secret, folder: &StateDir) -> Result<[u8; 32]> {
    let failed = || Error::new(Kind::BadConfig, "[tokens]: no key could be made of the passphrase.");
    if passphrase.expose().chars().count() < 12 {
        return Err(Error::new(Kind::BadConfig, "[tokens]: the passphrase has fewer than 12 characters."));
    }
    let salt = folder.key(SALT)?;
    let params = Params::new(19 * 1024, 3, 1, Some(32)).map_err(|_| failed())?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose().as_bytes(), &salt, &mut key)
        .map_err(|_| failed())?;
    Ok(key)
}
