//! Verdicts that were given before.
//!
//! Owns [`Cache`]. The idea: a verdict that cannot depend on arguments is a fact about one principal and one tool under
//! one version of the policies; asking Cedar again would cost more than everything else on the line. A cache belongs to
//! one [`super::Policy`], so a new version starts with an empty one. Entries are compared in full, never by hash alone.
//!
//! Must not: hold a verdict that depends on arguments.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, RwLock};

use super::{Effect, Judgement, Resource};
use crate::principal::{Principal, PrincipalKind};

/// What is remembered about one principal and one tool.
#[derive(Clone)]
pub(super) struct Known {
    /// Not denied for every argument.
    pub(super) listed: bool,
    /// The indices of the rules that apply and read arguments; with any, there is no judgement here.
    pub(super) readers: Arc<[usize]>,
    /// What holds whatever the arguments are.
    pub(super) judgement: Option<Arc<Judgement>>,
}

struct Slot {
    id: Arc<str>,
    kind: PrincipalKind,
    scopes: BTreeSet<String>,
    roles: BTreeSet<String>,
    tenant: Option<String>,
    owner: Option<Arc<str>>,
    issuer: Option<Arc<str>>,
    bearer: Option<Arc<str>>,
    name: Box<str>,
    family: &'static str,
    effect: Effect,
    toolset: Box<str>,
    source: Box<str>,
    target: Option<Box<str>>,
    needs: BTreeSet<String>,
    known: Known,
}

impl Slot {
    fn is(&self, principal: &Principal, resource: &Resource<'_>) -> bool {
        *self.name == *resource.name
            && *self.id == *principal.id
            && self.kind == principal.kind
            && self.scopes == principal.scopes
            && self.roles == principal.roles
            && self.tenant == principal.tenant
            && self.owner == principal.owner
            && self.issuer == principal.issuer
            && self.bearer == principal.bearer
            && self.family == resource.family
            && self.effect == resource.effect
            && *self.toolset == *resource.toolset
            && *self.source == *resource.source
            && self.target.as_deref() == resource.target
            && self.needs == *resource.scopes
    }
}

/// How many pairs of principal and tool are remembered.
const MOST: usize = 50_000;

#[derive(Default)]
pub(super) struct Cache {
    hasher: RandomState,
    slots: RwLock<HashMap<u64, Vec<Slot>>>,
}

impl Cache {
    fn key(&self, principal: &Principal, resource: &Resource<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        principal.id.hash(&mut hasher);
        resource.family.hash(&mut hasher);
        resource.name.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn get(&self, principal: &Principal, resource: &Resource<'_>) -> Option<Known> {
        let key = self.key(principal, resource);
        let slots = self.slots.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        slots.get(&key)?.iter().find(|slot| slot.is(principal, resource)).map(|slot| slot.known.clone())
    }

    pub(super) fn clear(&self) {
        self.slots.write().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    pub(super) fn put(&self, principal: &Principal, resource: &Resource<'_>, known: Known) {
        let key = self.key(principal, resource);
        let slot = Slot {
            id: Arc::clone(&principal.id),
            kind: principal.kind,
            scopes: principal.scopes.clone(),
            roles: principal.roles.clone(),
            tenant: principal.tenant.clone(),
            owner: principal.owner.clone(),
            issuer: principal.issuer.clone(),
            bearer: principal.bearer.clone(),
            name: resource.name.into(),
            family: resource.family,
            effect: resource.effect,
            toolset: resource.toolset.into(),
            source: resource.source.into(),
            target: resource.target.map(Box::from),
            needs: resource.scopes.clone(),
            known,
        };
        let mut slots = self.slots.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slots.len() >= MOST {
            slots.clear();
        }
        let bucket = slots.entry(key).or_default();
        // One key has one tool at a time; a handful of variants (roles that changed) is kept, no more.
        if bucket.len() >= 8 {
            bucket.clear();
        }
        if !bucket.iter().any(|slot| slot.is(principal, resource)) {
            bucket.push(slot);
        }
    }
}
