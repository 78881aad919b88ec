//! What the policies say about one call.
//!
//! Owns [`Policy`] and [`Judgement`]. The idea: deny unless Cedar permits `call` without any policy erring; ask unless
//! it permits `callUnattended` as well. The answer is remembered when no policy that can apply reads arguments.
//!
//! Must not: know the line.

use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};

use super::arguments;
use super::cache::{Cache, Known};
use super::entities::{Cast, Head, Names, entities};
use super::fits::{self, Finding};
use super::load::{self, Loaded};
use super::published;
use super::reads::Reads;
use super::{Config, Deciding, Resource, Verdict};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::principal::Principal;

/// What the policies say about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The ids of the policies that decided; `scopes`, `arguments` or `error` where it was no policy.
    pub policies: Deciding,
    /// The caller is told that there is no such tool: it is denied for every argument.
    pub hidden: bool,
}

impl Judgement {
    fn deny(by: &str) -> Self {
        Self { verdict: Verdict::Deny, policies: Arc::from([Box::from(by)]), hidden: false }
    }
}

/// A set of policies, checked and ready.
pub struct Policy {
    pub(super) loaded: Loaded,
    authorizer: Authorizer,
    pub(super) names: Names,
    cache: Cache,
    profile: String,
}

impl Policy {
    /// Reads and checks the policies.
    pub fn load(config: &Config) -> Result<Self> {
        Self::ready(load::load(config)?)
    }

    /// Checks policies given as text; `name` stands for the file in messages.
    pub fn from_text(name: &str, text: &str) -> Result<Self> {
        Self::ready(load::check(&[load::Source { name: name.to_owned(), text: text.to_owned() }])?)
    }

    fn ready(loaded: Loaded) -> Result<Self> {
        let profile = String::from("production");
        Ok(Self {
            loaded,
            authorizer: Authorizer::new(),
            names: Names::new()?,
            cache: Cache::default(),
            profile,
        })
    }

    /// The same policies for another profile than production; they read it as `context.profile`.
    #[must_use]
    pub fn in_profile(self, profile: &str) -> Self {
        Self { profile: profile.to_owned(), cache: Cache::default(), ..self }
    }

    /// What policies are told beside the entities.
    pub(super) fn context(&self, arguments: Option<RestrictedExpression>) -> Option<Context> {
        let profile = RestrictedExpression::new_string(self.profile.clone());
        let pairs = [("profile", Some(profile)), ("arguments", arguments)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((String::from(name), value?)));
        Context::from_pairs(pairs).ok()
    }

    /// What of these policies does not fit these tools; fatal findings first.
    pub fn findings(&self, tools: &mut dyn Iterator<Item = Resource<'_>>) -> Vec<Finding> {
        let mut found = fits::check(&self.loaded, tools);
        found.sort_by_key(|finding| !finding.fatal);
        found
    }

    /// Refuses policies that cannot be meant for these tools; what may become right later is only logged.
    pub fn fit(&self, tools: &mut dyn Iterator<Item = Resource<'_>>) -> Result<()> {
        for finding in self.findings(tools) {
            if finding.fatal {
                return Err(Error::new(Kind::BadConfig, finding.to_string()));
            }
            tracing::warn!(finding = %finding, "a policy may not say what it should");
        }
        Ok(())
    }

    /// The schema of what these policies may name, in Cedar's JSON form.
    pub fn schema(&self, tools: &mut dyn Iterator<Item = Resource<'_>>) -> Value {
        published::cedar(&self.loaded.reads, tools)
    }

    /// The same in Cedar's own language.
    pub fn schema_text(&self, tools: &mut dyn Iterator<Item = Resource<'_>>) -> Result<String> {
        published::text(self.schema(tools))
    }

    /// How many policies there are.
    pub fn count(&self) -> usize {
        self.loaded.rules.len()
    }

    /// The profile that policies are told.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// A name for exactly these policies.
    pub fn version(&self) -> &str {
        &self.loaded.version
    }

    /// What they were read from: the name of each text, and its digest.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.loaded.files.iter().map(|(name, digest)| (name.as_str(), digest.as_str()))
    }

    /// Drops every verdict that was remembered, such as those about a tool that is gone.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// The verdict on a call, from the cache where that is sure to be the same.
    pub fn judge(
        &self,
        principal: &Principal,
        resource: &Resource<'_>,
        arguments: &Map<String, Value>,
    ) -> Arc<Judgement> {
        let known = self.known(principal, resource);
        match known.judgement {
            Some(judgement) => judgement,
            None => Arc::new(self.fresh(principal, resource, arguments, &known)),
        }
    }

    /// What the policies say and which of them, evaluated afresh.
    pub fn explain(
        &self,
        principal: &Principal,
        resource: &Resource<'_>,
        arguments: &Map<String, Value>,
    ) -> Judgement {
        self.fresh(principal, resource, arguments, &self.learn(principal, resource, false))
    }

    /// Whether a call could be allowed with some arguments. In doubt it could; the call itself is judged anyway.
    pub fn lists(&self, principal: &Principal, resource: &Resource<'_>) -> bool {
        self.known(principal, resource).listed
    }

    fn known(&self, principal: &Principal, resource: &Resource<'_>) -> Known {
        // Where no policy tells tools apart by name, one answer serves all tools of the same kind.
        let key =
            if self.loaded.by_name { *resource } else { Resource { name: "", target: None, ..*resource } };
        if let Some(known) = self.cache.get(principal, &key) {
            return known;
        }
        let known = self.learn(principal, resource, true);
        self.cache.put(principal, &key, known.clone());
        known
    }

    pub(super) fn learn(&self, principal: &Principal, resource: &Resource<'_>, decide: bool) -> Known {
        let cast = self.names.cast(principal, resource);
        let readers: Arc<[usize]> = if self.loaded.reads.paths.is_empty() {
            Arc::from([])
        } else {
            (0..self.loaded.rules.len())
                .filter(|index| {
                    let rule = &self.loaded.rules[*index];
                    let head = || self.names.head(&rule.policy, &cast);
                    !rule.reads.paths.is_empty() && head() == Head { principal: true, resource: true }
                })
                .collect()
        };
        let listed = covered(principal, resource)
            && entities(&cast, principal, resource).is_ok_and(|entities| {
                self.context(None).is_some_and(|context| {
                    self.ask(&self.loaded.listing, &self.names.call, &cast, context, &entities)
                        .is_some_and(|(yes, _)| yes)
                })
            });
        let mut known = Known { listed, readers, judgement: None };
        if decide && known.readers.is_empty() {
            known.judgement = Some(Arc::new(self.fresh(principal, resource, &Map::new(), &known)));
        }
        known
    }

    pub(super) fn fresh(
        &self,
        principal: &Principal,
        resource: &Resource<'_>,
        arguments: &Map<String, Value>,
        known: &Known,
    ) -> Judgement {
        if !covered(principal, resource) {
            return Judgement { hidden: true, ..Judgement::deny("scopes") };
        }
        let mut judgement = self.decide(principal, resource, arguments, known);
        if judgement.verdict == Verdict::Deny && !known.listed {
            judgement.hidden = !self.loaded.rules.iter().any(|rule| {
                let id: &str = rule.policy.id().as_ref();
                rule.said && judgement.policies.iter().any(|policy| &**policy == id)
            });
        }
        judgement
    }

    fn decide(
        &self,
        principal: &Principal,
        resource: &Resource<'_>,
        arguments: &Map<String, Value>,
        known: &Known,
    ) -> Judgement {
        // An absent argument denies only if a policy that can apply reads it; all reads are mapped for Cedar.
        let mut needed = Reads::default();
        for index in known.readers.iter() {
            if needed.join(&self.loaded.rules[*index].reads).is_err() {
                return Judgement::deny("error");
            }
        }
        let Ok(record) = arguments::record(&needed, arguments, resource.input.kept()) else {
            return Judgement::deny("arguments");
        };
        let Some(context) = self.context(Some(record)) else { return Judgement::deny("arguments") };
        let cast = self.names.cast(principal, resource);
        let Ok(entities) = entities(&cast, principal, resource) else { return Judgement::deny("error") };
        let Some((may, by)) = self.ask(&self.loaded.set, &self.names.call, &cast, context.clone(), &entities)
        else {
            return Judgement::deny("error");
        };
        if !may {
            return Judgement { verdict: Verdict::Deny, policies: by, hidden: false };
        }
        match self.ask(&self.loaded.set, &self.names.unattended, &cast, context, &entities) {
            None => Judgement::deny("error"),
            Some((true, by)) => Judgement { verdict: Verdict::Allow, policies: by, hidden: false },
            Some((false, _)) => Judgement { verdict: Verdict::Ask, policies: by, hidden: false },
        }
    }

    /// Cedar's answer and the policies behind it; none if any policy erred.
    pub(super) fn ask(
        &self,
        set: &PolicySet,
        action: &EntityUid,
        cast: &Cast,
        context: Context,
        entities: &Entities,
    ) -> Option<(bool, Deciding)> {
        let (principal, tool) = (cast.principal.clone(), cast.tool.clone());
        let request = Request::new(principal, action.clone(), tool, context, None).ok()?;
        let response = self.authorizer.is_authorized(&request, set, entities);
        if response.diagnostics().errors().next().is_some() {
            return None;
        }
        let mut by: Vec<Box<str>> =
            response.diagnostics().reason().map(|id| Box::from(AsRef::<str>::as_ref(id))).collect();
        by.sort();
        Some((response.decision() == Decision::Allow, by.into()))
    }
}

pub(super) fn covered(principal: &Principal, resource: &Resource<'_>) -> bool {
    resource.effect.scopes().iter().any(|scope| principal.scopes.contains(*scope))
        && resource.scopes.iter().all(|scope| principal.scopes.contains(scope))
}
