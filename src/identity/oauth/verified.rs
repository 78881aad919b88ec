//! Tokens that were checked.
//!
//! Owns [`Verified`] and [`Shelf`]. The idea: a signature is checked once; until the token ends, or its key or its issuer's
//! word does, its hash is enough. Beyond a bound, what ends first goes first.
//!
//! Must not: keep a token readable where its hash will do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::claims::Binding;
use crate::principal::Principal;
use crate::redaction::Passes;

/// Who vouches for a token now.
pub(super) enum Voucher {
    /// The key of this thumbprint, as long as its issuer publishes it.
    Key(String),
    /// The issuer itself, when it was asked last.
    Word {
        /// Monotonic milliseconds until which its answer counts.
        until: AtomicU64,
        /// Whether it is being asked again.
        asking: AtomicBool,
    },
}

/// A token that was checked.
pub(super) struct Verified {
    pub(super) principal: Arc<Principal>,
    /// When it ends, since the epoch.
    pub(super) ends: Duration,
    pub(super) binding: Binding,
    /// Which of the configured issuers it is from.
    pub(super) issuer: usize,
    pub(super) voucher: Voucher,
    /// Set when its issuer takes it back.
    pub(super) revoked: AtomicBool,
    /// Keeps the token out of arguments.
    pub(super) _passes: Passes,
}

impl Verified {
    /// Whether its issuer took it back.
    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Whether all that it wants is another word of its issuer.
    pub(super) fn has_lapsed(&self, now: Duration) -> bool {
        matches!(self.voucher, Voucher::Word { .. }) && !self.is_revoked() && self.ends > now
    }
}

/// A token's name here: its hash.
pub(super) type Name = [u8; 32];

pub(super) fn name(token: &str) -> Name {
    Sha256::digest(token).into()
}

/// Tokens by their hash.
pub(super) struct Shelf {
    all: RwLock<HashMap<Name, Arc<Verified>>>,
    most: usize,
}

impl Shelf {
    pub(super) fn new(most: usize) -> Self {
        Self { all: RwLock::default(), most }
    }

    pub(super) fn get(&self, name: &Name) -> Option<Arc<Verified>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn put(&self, name: Name, verified: Arc<Verified>, now: Duration) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.most {
            all.retain(|_, one| one.ends > now && !one.is_revoked());
        }
        while all.len() >= self.most {
            let first = all.iter().min_by_key(|(_, one)| one.ends).map(|(name, _)| *name);
            first.and_then(|name| all.remove(&name));
        }
        all.insert(name, verified);
    }

    pub(super) fn remove(&self, name: &Name) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
