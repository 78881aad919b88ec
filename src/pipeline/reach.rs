//! How far a token reaches, and how far it could.
//!
//! Owns [`Line::lacks`]. The idea: a scope that is missing can be asked for, so what a caller with a token is denied for
//! want of scopes alone is neither unknown nor forbidden: it is answered with all scopes that this call needs. What
//! policy would hide all the same stays hidden.
//!
//! Must not: let anything through; the line decides again when the call comes back.

use std::collections::BTreeSet;

use super::{Line, ToolSpec};
use crate::principal::{ADMIN, Principal, PrincipalKind, READ, WRITE};

impl Line {
    /// The scopes that this call needs, where its caller has a token and lacks some of them; nothing where it lacks none,
    /// or where they would not help.
    pub fn lacks(&self, principal: &Principal, spec: &ToolSpec) -> Option<Vec<String>> {
        if principal.kind != PrincipalKind::Token || !self.hides(principal, spec) {
            return None;
        }
        let own = spec.scopes.iter();
        spec.effect.scopes().iter().find_map(|scope| {
            let needed: BTreeSet<String> = own.clone().cloned().chain([String::from(*scope)]).collect();
            if needed.is_subset(&principal.scopes) {
                return None;
            }
            let mut raised = principal.clone();
            raised.scopes.extend(needed.iter().cloned());
            // a broader scope includes the narrower ones
            raised.scopes.extend(included(scope).iter().copied().map(String::from));
            (!self.hides(&raised, spec)).then(|| needed.into_iter().collect())
        })
    }
}

fn included(scope: &str) -> &'static [&'static str] {
    match scope {
        ADMIN => &[WRITE, READ],
        WRITE => &[READ],
        _ => &[],
    }
}
