//! Why.
//!
//! Owns [`Explanation`]. The idea: the verdict is the one that a call would get; beside it each policy is asked alone,
//! so that a person sees which of them decided, which would have to hold for a milder answer, and what keeps it from
//! holding.
//!
//! Must not: be on the way of a call, or repeat an argument's value.

use cedar_policy::PolicySet;

use super::entities::{Names, entities};
use super::judge::covered;
use super::load::Rule;
use super::{Judgement, Policy, Resource, Verdict, arguments};
use crate::json::{Map, Value};
use crate::principal::Principal;

/// A policy and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// The file, or the preset.
    pub file: String,
    /// The line it begins at, where that is known.
    pub line: Option<usize>,
    /// It permits; else it forbids.
    pub permits: bool,
}

/// Whether a policy holds for a call, or what keeps it from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It is about other callers.
    OtherCaller,
    /// It is about other tools.
    OtherTool,
    /// It is about the other action.
    OtherAction,
    /// It reads an argument that cannot be given to it.
    Arguments,
    /// A `when` or `unless` of it does not.
    Condition,
    /// It fails to evaluate, which denies.
    Fails,
}

/// One policy, asked alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// Which.
    pub place: Place,
    /// Whether it holds.
    pub holds: Holds,
}

/// An argument that a policy needs and cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its dotted name.
    pub argument: String,
    /// As what it is read.
    pub wanted: &'static str,
    /// It is not there; else it is there and is something else.
    pub absent: bool,
    /// The policy that reads it.
    pub policy: String,
}

/// The verdict on a call, and why it is that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What a call would get.
    pub judgement: Judgement,
    /// The caller sees it in lists.
    pub listed: bool,
    /// The policies that decided.
    pub deciding: Vec<Place>,
    /// Scopes of which the caller needs one and has none.
    pub one_of: Vec<&'static str>,
    /// Scopes that the tool wants on top and the caller has not.
    pub all_of: Vec<String>,
    /// Arguments that policies need.
    pub troubles: Vec<Trouble>,
    /// What was asked of the policies: `call` where the answer is no, else `callUnattended`.
    pub action: &'static str,
    /// Every policy, asked that alone, in the order of the files.
    pub considered: Vec<Considered>,
}

impl Policy {
    /// What the policies say, which of them, and what keeps the others from saying something else.
    pub fn why(
        &self,
        principal: &Principal,
        resource: &Resource<'_>,
        arguments: &Map<String, Value>,
    ) -> Explanation {
        let known = self.learn(principal, resource, false);
        let judgement = self.fresh(principal, resource, arguments, &known);
        let (action, uid) = match judgement.verdict {
            Verdict::Deny => ("call", &self.names.call),
            Verdict::Ask | Verdict::Allow => ("callUnattended", &self.names.unattended),
        };
        let cast = self.names.cast(principal, resource);
        let entities = entities(&cast, principal, resource);
        let alone = |rule: &Rule| -> Holds {
            let head = self.names.head(&rule.policy, &cast);
            if !head.principal {
                return Holds::OtherCaller;
            }
            if !head.resource {
                return Holds::OtherTool;
            }
            if !Names::acts(&rule.policy, uid) {
                return Holds::OtherAction;
            }
            let Ok(record) = arguments::record(&rule.reads, arguments, resource.input.kept()) else {
                return Holds::Arguments;
            };
            let (Some(context), Ok(entities)) = (self.context(Some(record)), &entities) else {
                return Holds::Fails;
            };
            let Ok(set) = PolicySet::from_policies([rule.policy.clone()]) else { return Holds::Fails };
            match self.ask(&set, uid, &cast, context, entities) {
                None => Holds::Fails,
                Some((_, by)) if by.is_empty() => Holds::Condition,
                Some(_) => Holds::Yes,
            }
        };
        let place = |rule: &Rule| {
            let (file, line) = self.loaded.place(rule);
            let permits = rule.policy.effect() == cedar_policy::Effect::Permit;
            Place { id: rule.policy.id().to_string(), file: file.to_owned(), line, permits }
        };
        let rules = &self.loaded.rules;
        let decided = |rule: &&Rule| {
            let id: &str = rule.policy.id().as_ref();
            judgement.policies.iter().any(|policy| &**policy == id)
        };
        let deciding = rules.iter().filter(decided).map(place).collect();
        let considered =
            rules.iter().map(|rule| Considered { place: place(rule), holds: alone(rule) }).collect();
        let mut troubles = Vec::new();
        for index in known.readers.iter() {
            let rule = &rules[*index];
            for (path, kind, absent) in arguments::troubles(&rule.reads, arguments, resource.input.kept()) {
                troubles.push(Trouble {
                    argument: path.join("."),
                    wanted: kind.name(),
                    absent,
                    policy: rule.policy.id().to_string(),
                });
            }
        }
        let (mut one_of, mut all_of) = (Vec::new(), Vec::new());
        if !covered(principal, resource) {
            let any = resource.effect.scopes();
            if !any.iter().any(|scope| principal.scopes.contains(*scope)) {
                one_of = any.to_vec();
            }
            all_of =
                resource.scopes.iter().filter(|scope| !principal.scopes.contains(*scope)).cloned().collect();
        }
        Explanation {
            judgement,
            listed: known.listed,
            deciding,
            one_of,
            all_of,
            troubles,
            action,
            considered,
        }
    }
}
