//! What upstream credentials may do, and what the tools offered here need.
//!
//! Owns [`reaches`] and [`Reach`]. The idea: a tool says what it needs upstream (its document, or `permissions` in
//! `connector.toml`), a token often says what it may do; what is more than any tool needs is what a thief would have for
//! nothing. Where one of the two is not said, that is said.
//!
//! Must not: fetch a token unless it was asked to, or change what a call may do.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{self, Opened};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::connectors::Surroundings;
use crate::connectors::handles::Handles;
use crate::error::Result;
use crate::http::Granted;
use crate::json::Map;
use crate::policy::Policy;
use crate::principal::{Principal, PrincipalKind};
use crate::redaction::Redactor;
use crate::state::StateDir;
use crate::vault::Keeper;

/// What every login may bring along and no API is called with.
const LOGIN: &[&str] = &["openid", "profile", "email", "phone", "address", "offline_access", ".default"];

/// What a source's credential may do, beside what its tools need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Both are known.
    Known {
        /// What it may do and no tool offered here needs.
        excess: BTreeSet<String>,
        /// What a tool offered here needs and it may not do.
        lacking: BTreeMap<String, BTreeSet<String>>,
        /// How many of the tools offered here do not say what they need.
        undeclared: usize,
    },
    /// It would be known after a login.
    AfterLogin,
    /// Neither the credential nor its token endpoint says.
    Silent,
    /// It could not be read, or the login failed: why.
    Unread(String),
}

/// How far the credential of each source reaches. With `login` tokens are fetched for it.
pub async fn reaches(
    config: &Config,
    login: bool,
    (redactor, clock, state): (&Redactor, &SharedClock, &StateDir),
) -> Result<Vec<(String, Reach)>> {
    if config.practice {
        return Ok(Vec::new());
    }
    let secrets = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
    let secrets = secrets.in_profile(config.profile.name()).standing_by(state)?;
    let around = surroundings(config, redactor, clock, secrets);
    let around = Surroundings { logins: Some(super::store::logins(None, state)?), ..around };
    let policy = Policy::load(&config.policy)?.in_profile(config.profile.name());
    let mut found = Vec::new();
    for opened in sources::connectors(config, &around)? {
        if opened.access.ways().is_empty() {
            continue;
        }
        let reach = match opened.connector.client().granted(login).await {
            Ok(Granted::These(granted)) => compare(config, &policy, &opened, &granted),
            Ok(Granted::AfterLogin) => Reach::AfterLogin,
            Ok(Granted::Silent) => Reach::Silent,
            Err(error) => Reach::Unread(error.message().to_owned()),
        };
        found.push((opened.connector.name().to_owned(), reach));
    }
    Ok(found)
}

/// What connectors are made with that nobody calls.
pub(super) fn surroundings(
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
    secrets: Keeper,
) -> Surroundings {
    Surroundings {
        egress: config.egress.clone(),
        redactor: redactor.clone(),
        clock: clock.clone(),
        handles: Handles::new(rand::random()),
        secrets,
        logins: None,
    }
}

fn compare(config: &Config, policy: &Policy, opened: &Opened, granted: &BTreeSet<String>) -> Reach {
    let mut anybody = Principal::new("anybody", PrincipalKind::Local);
    anybody.scopes = ["read", "write", "admin"].map(String::from).into();
    let specs = || opened.connector.tools().iter().map(|tool| tool.spec());
    specs().for_each(|spec| anybody.scopes.extend(spec.scopes.iter().cloned()));
    let offered: Vec<_> = specs()
        .filter(|spec| {
            let resource = spec.resource();
            config.offer.passes(&resource) && !policy.judge(&anybody, &resource, &Map::new()).hidden
        })
        .collect();
    let has: BTreeSet<&str> = granted.iter().map(|name| short(name)).collect();
    let needed: BTreeSet<&str> =
        offered.iter().flat_map(|spec| spec.permissions.iter().flatten()).map(|name| short(name)).collect();
    let spare = |name: &&String| {
        let name = short(name);
        !needed.contains(name) && !LOGIN.contains(&name)
    };
    let mut lacking = BTreeMap::new();
    for spec in &offered {
        let missing = |set: &BTreeSet<String>| -> BTreeSet<String> {
            set.iter().filter(|name| !has.contains(short(name))).cloned().collect()
        };
        let fewest = spec.permissions.iter().map(missing).min_by_key(BTreeSet::len);
        if let Some(fewest) = fewest.filter(|fewest| !fewest.is_empty()) {
            lacking.insert(spec.name.clone(), fewest);
        }
    }
    Reach::Known {
        excess: granted.iter().filter(spare).cloned().collect(),
        lacking,
        undeclared: offered.iter().filter(|spec| spec.permissions.is_empty()).count(),
    }
}

/// A name without the API it belongs to: documents write `https://graph.example.com/User.Read`, tokens `User.Read`.
fn short(name: &str) -> &str {
    let whole = ["https://", "http://", "api://"].iter().any(|scheme| name.starts_with(scheme));
    name.rsplit('/').next().filter(|last| whole && !last.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_scope_is_the_same_with_and_without_its_api() {
        assert_eq!(short("https://graph.example.com/User.Read"), "User.Read");
        assert_eq!(short("api://4711/access_as_user"), "access_as_user");
        assert_eq!(short("ports:read/all"), "ports:read/all");
        assert_eq!(short("https://graph.example.com/"), "https://graph.example.com/");
    }
}
