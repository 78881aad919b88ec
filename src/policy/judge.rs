//! What the policies say about one call.
//!
//! Owns [`Policy`] and [`Judgement`]. The idea: deny unless Cedar permits `call` without any policy erring; ask unless
//! it permits `callUnattended` as well. The answer is remembered when no policy that can apply reads arguments.
//!
//! Must not: know the line.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet,
    PrincipalConstraint, Request, ResourceConstraint, RestrictedExpression,
};

use super::arguments;
use super::cache::{Cache, Known};
use super::load::{self, Loaded};
use super::reads::Reads;
use super::{Config, Deciding, Resource, Verdict};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::principal::{Principal, PrincipalKind};

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
    loaded: Loaded,
    authorizer: Authorizer,
    names: Names,
    cache: Cache,
    profile: String,
}

/// Names that would otherwise be parsed for each call.
struct Names {
    principal: EntityTypeName,
    role: EntityTypeName,
    tool: EntityTypeName,
    toolset: EntityTypeName,
    call: EntityUid,
    unattended: EntityUid,
}

impl Names {
    fn new() -> Result<Self> {
        let name = |text: &str| {
            text.parse::<EntityTypeName>()
                .map_err(|cause| Error::new(Kind::Internal, "A Cedar name is not one.").with_source(cause))
        };
        let action = name("Action")?;
        let uid = |text| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(text));
        Ok(Self {
            principal: name("Principal")?,
            role: name("Role")?,
            tool: name("Tool")?,
            toolset: name("Toolset")?,
            call: uid("call"),
            unattended: uid("callUnattended"),
        })
    }
}

/// The Cedar entities of one call.
struct Cast {
    principal: EntityUid,
    roles: HashSet<EntityUid>,
    tool: EntityUid,
    toolset: EntityUid,
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
    fn context(&self, arguments: Option<RestrictedExpression>) -> Option<Context> {
        let profile = RestrictedExpression::new_string(self.profile.clone());
        let pairs = [("profile", Some(profile)), ("arguments", arguments)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((String::from(name), value?)));
        Context::from_pairs(pairs).ok()
    }

    /// A name for exactly these policies.
    pub fn version(&self) -> &str {
        &self.loaded.version
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

    fn learn(&self, principal: &Principal, resource: &Resource<'_>, decide: bool) -> Known {
        let cast = self.cast(principal, resource);
        let readers: Arc<[usize]> = if self.loaded.reads.paths.is_empty() {
            Arc::from([])
        } else {
            (0..self.loaded.rules.len())
                .filter(|index| {
                    let rule = &self.loaded.rules[*index];
                    !rule.reads.paths.is_empty() && self.applies(&rule.policy, &cast)
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

    fn fresh(
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
        let Ok(record) = arguments::record(&needed, arguments, resource.input) else {
            return Judgement::deny("arguments");
        };
        let Some(context) = self.context(Some(record)) else { return Judgement::deny("arguments") };
        let cast = self.cast(principal, resource);
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
    fn ask(
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

    fn cast(&self, principal: &Principal, resource: &Resource<'_>) -> Cast {
        let uid = |name: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
        };
        Cast {
            principal: uid(&self.names.principal, &principal.id),
            roles: principal.roles.iter().map(|role| uid(&self.names.role, role)).collect(),
            tool: uid(&self.names.tool, resource.name),
            toolset: uid(&self.names.toolset, resource.toolset),
        }
    }

    /// Whether the head of a policy fits this principal and tool.
    fn applies(&self, policy: &cedar_policy::Policy, cast: &Cast) -> bool {
        let caller = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(name) => name == self.names.principal,
            PrincipalConstraint::Eq(uid) => uid == cast.principal,
            PrincipalConstraint::In(uid) => uid == cast.principal || cast.roles.contains(&uid),
            PrincipalConstraint::IsIn(name, uid) => {
                name == self.names.principal && (uid == cast.principal || cast.roles.contains(&uid))
            }
        };
        caller
            && match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Is(name) => name == self.names.tool,
                ResourceConstraint::Eq(uid) => uid == cast.tool,
                ResourceConstraint::In(uid) => uid == cast.tool || uid == cast.toolset,
                ResourceConstraint::IsIn(name, uid) => {
                    name == self.names.tool && (uid == cast.tool || uid == cast.toolset)
                }
            }
    }
}

fn covered(principal: &Principal, resource: &Resource<'_>) -> bool {
    resource.effect.scopes().iter().any(|scope| principal.scopes.contains(*scope))
        && resource.scopes.iter().all(|scope| principal.scopes.contains(scope))
}

const fn kind_name(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Local => "local",
        PrincipalKind::ApiKey => "api_key",
        PrincipalKind::Token => "token",
        PrincipalKind::Certificate => "certificate",
        PrincipalKind::Anonymous => "anonymous",
        PrincipalKind::Process => "process",
    }
}

fn entities(
    cast: &Cast,
    principal: &Principal,
    resource: &Resource<'_>,
) -> std::result::Result<Entities, Box<dyn std::error::Error + Send + Sync>> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let set = |items: &BTreeSet<String>| RestrictedExpression::new_set(items.iter().map(|item| text(item)));
    let mut caller = HashMap::from([
        (String::from("id"), text(&principal.id)),
        (String::from("kind"), text(kind_name(principal.kind))),
        (String::from("scopes"), set(&principal.scopes)),
        (String::from("roles"), set(&principal.roles)),
    ]);
    if let Some(tenant) = &principal.tenant {
        caller.insert(String::from("tenant"), text(tenant));
    }
    let mut facts = HashMap::from([
        (String::from("name"), text(resource.name)),
        (String::from("family"), text(resource.family)),
        (String::from("effect"), text(resource.effect.name())),
        (String::from("toolset"), text(resource.toolset)),
        (String::from("source"), text(resource.source)),
    ]);
    if let Some(target) = resource.target {
        facts.insert(String::from("target"), text(target));
    }
    let entities = [
        Entity::new(cast.principal.clone(), caller, cast.roles.clone())?,
        Entity::new(cast.tool.clone(), facts, HashSet::from([cast.toolset.clone()]))?,
    ];
    Ok(Entities::from_entities(entities, None)?)
}
