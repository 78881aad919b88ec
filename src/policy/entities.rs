//! Callers and tools, as Cedar knows them.
//!
//! Owns the entities of one call: the principal with its roles and its tenant as parents, the tool with its toolset and
//! its connector. The idea: made from what was authenticated and from what is loaded, and from nothing that a call says.
//!
//! Must not: see arguments.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    ActionConstraint, Entities, Entity, EntityId, EntityTypeName, EntityUid, PrincipalConstraint,
    ResourceConstraint, RestrictedExpression,
};

use super::Resource;
use super::filter::wholes;
use crate::error::{Error, Kind, Result};
use crate::principal::{Principal, PrincipalKind};

/// Names that would otherwise be parsed for each call.
pub(super) struct Names {
    principal: EntityTypeName,
    role: EntityTypeName,
    tenant: EntityTypeName,
    tool: EntityTypeName,
    toolset: EntityTypeName,
    connector: EntityTypeName,
    pub(super) call: EntityUid,
    pub(super) unattended: EntityUid,
}

impl Names {
    pub(super) fn new() -> Result<Self> {
        let name = |text: &str| {
            text.parse::<EntityTypeName>()
                .map_err(|cause| Error::new(Kind::Internal, "A Cedar name is not one.").with_source(cause))
        };
        let action = name("Action")?;
        let uid = |text| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(text));
        Ok(Self {
            principal: name("Principal")?,
            role: name("Role")?,
            tenant: name("Tenant")?,
            tool: name("Tool")?,
            toolset: name("Toolset")?,
            connector: name("Connector")?,
            call: uid("call"),
            unattended: uid("callUnattended"),
        })
    }
}

/// The Cedar entities of one call.
pub(super) struct Cast {
    pub(super) principal: EntityUid,
    /// Roles, and the tenant.
    groups: HashSet<EntityUid>,
    pub(super) tool: EntityUid,
    /// The toolset, what it is part of, and the connector.
    sets: HashSet<EntityUid>,
}

/// Which parts of a policy's head fit a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) principal: bool,
    pub(super) resource: bool,
}

impl Names {
    pub(super) fn cast(&self, principal: &Principal, resource: &Resource<'_>) -> Cast {
        let uid = |name: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
        };
        let roles = principal.roles.iter().map(|role| uid(&self.role, role));
        Cast {
            principal: uid(&self.principal, &principal.id),
            groups: roles.chain(principal.tenant.iter().map(|tenant| uid(&self.tenant, tenant))).collect(),
            tool: uid(&self.tool, resource.name),
            // a part is in the whole too, or a rule for the whole would lose what is parted
            sets: wholes(resource.toolset)
                .map(|name| uid(&self.toolset, name))
                .chain([uid(&self.connector, resource.source)])
                .collect(),
        }
    }

    /// Whether the head of a policy fits this principal and this tool.
    pub(super) fn head(&self, policy: &cedar_policy::Policy, cast: &Cast) -> Head {
        let caller = |uid: &EntityUid| *uid == cast.principal || cast.groups.contains(uid);
        let called = |uid: &EntityUid| *uid == cast.tool || cast.sets.contains(uid);
        Head {
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Any => true,
                PrincipalConstraint::Is(name) => name == self.principal,
                PrincipalConstraint::Eq(uid) => uid == cast.principal,
                PrincipalConstraint::In(uid) => caller(&uid),
                PrincipalConstraint::IsIn(name, uid) => name == self.principal && caller(&uid),
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Any => true,
                ResourceConstraint::Is(name) => name == self.tool,
                ResourceConstraint::Eq(uid) => uid == cast.tool,
                ResourceConstraint::In(uid) => called(&uid),
                ResourceConstraint::IsIn(name, uid) => name == self.tool && called(&uid),
            },
        }
    }

    /// Whether a policy's head fits that action.
    pub(super) fn acts(policy: &cedar_policy::Policy, action: &EntityUid) -> bool {
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == *action,
            ActionConstraint::In(uids) => uids.contains(action),
        }
    }
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

pub(super) fn entities(
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
    let sometimes = [
        ("owner", principal.owner.as_deref()),
        ("tenant", principal.tenant.as_deref()),
        ("issuer", principal.issuer.as_deref()),
        ("bearer", principal.bearer.as_deref()),
    ];
    for (name, value) in sometimes {
        if let Some(value) = value {
            caller.insert(name.to_owned(), text(value));
        }
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
        Entity::new(cast.principal.clone(), caller, cast.groups.clone())?,
        Entity::new(cast.tool.clone(), facts, cast.sets.clone())?,
    ];
    Ok(Entities::from_entities(entities, None)?)
}
