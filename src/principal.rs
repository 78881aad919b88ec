//! Who is calling.
//!
//! Owns [`Principal`]. The idea: trust attaches to what was authenticated (a key, a certificate, this server's own
//! launch), never to what a client says of itself.
//!
//! Must not: authenticate; `transport/` asks and `identity/` answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// Stable name: `local:USER` on stdio, `key:NAME` for an API key, `anonymous` with `--no-auth`.
    pub id: Arc<str>,
    /// How it was authenticated.
    pub kind: PrincipalKind,
    /// Granted scopes, such as `read`, `write`, `admin`.
    pub scopes: BTreeSet<String>,
    /// Roles that policies may name.
    pub roles: BTreeSet<String>,
    /// The tenant, where there are several.
    pub tenant: Option<String>,
    /// Whether configuration trusts this principal's own client to answer approval questions.
    pub may_approve: bool,
}

/// How a principal was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// The user who started this process and holds its standard input.
    Local,
    /// The bearer of an API key.
    ApiKey,
    /// Nobody in particular (`--no-auth`, loopback only).
    Anonymous,
    /// This process itself: `bartizan.connect`, the demo, tests.
    Process,
}

impl Principal {
    /// A principal with the scopes `read`, `write` and `admin` and nothing else.
    pub fn new(id: impl Into<Arc<str>>, kind: PrincipalKind) -> Self {
        let scopes = ["read", "write", "admin"].into_iter().map(String::from).collect();
        Self { id: id.into(), kind, scopes, roles: BTreeSet::new(), tenant: None, may_approve: false }
    }

    /// Whether both are the same caller, whatever either may do.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.kind == other.kind && self.tenant == other.tenant
    }
}
