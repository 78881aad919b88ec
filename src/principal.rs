//! Who is calling.
//!
//! Owns [`Principal`]. The idea: trust attaches to what was authenticated (a key, a token, a certificate, this server's
//! own launch), never to what a client says of itself.
//!
//! Must not: authenticate; `transport/` asks and `identity/` answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// Stable name: `local:USER` on stdio, `key:NAME` for an API key, `oauth:ISSUER:SUBJECT` for
    /// an access token, `cert:NAME` for a client certificate, `anonymous`
    /// with `--no-auth`. No two callers share one, whoever vouches for them: quotas and sessions know a caller by it.
    pub id: Arc<str>,
    /// How it was authenticated.
    pub kind: PrincipalKind,
    /// Granted scopes: [`READ`], [`WRITE`], [`ADMIN`], and whatever else a tool may ask for. They are a ceiling: no
    /// policy allows what they do not cover.
    pub scopes: BTreeSet<String>,
    /// Roles that policies may name.
    pub roles: BTreeSet<String>,
    /// The tenant, where there are several.
    pub tenant: Option<String>,
    /// Who vouches for it: the issuer of a token, the authority of a certificate; nothing where that is this server.
    pub issuer: Option<Arc<str>>,
    /// Which person answers for it, where that is known: an approval is another person's to give.
    pub owner: Option<Arc<str>>,
    /// What it came by, for the audit: the id of a key, the client id of a token, the fingerprint of a certificate.
    /// Never a secret.
    pub bearer: Option<Arc<str>>,
    /// Who acts for this principal, where its credential says so (`act` of a token).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Arc<str>>,
    /// Whether configuration trusts this principal's own client to answer approval questions.
    pub may_approve: bool,
}

/// How a principal was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// The user who started this process and holds its standard input.
    Local,
    /// The bearer of an API key.
    ApiKey,
    /// The bearer of an access token that somebody else issued.
    Token,
    /// The holder of a client certificate.
    Certificate,
    /// Nobody in particular (`--no-auth`, loopback only).
    Anonymous,
    /// This process itself: `bartizan.connect`, the demo, tests.
    Process,
}

/// The scope that covers reading.
pub const READ: &str = "read";
/// The scope that covers reading, writing and destroying.
pub const WRITE: &str = "write";
/// The scope that covers everything.
pub const ADMIN: &str = "admin";

/// The role that lets a principal decide about approvals.
pub const APPROVER: &str = "approver";

impl Principal {
    /// A principal with the scopes `read`, `write` and `admin` and nothing else.
    pub fn new(id: impl Into<Arc<str>>, kind: PrincipalKind) -> Self {
        Self {
            id: id.into(),
            kind,
            scopes: [READ, WRITE, ADMIN].map(String::from).into(),
            roles: BTreeSet::new(),
            tenant: None,
            issuer: None,
            owner: None,
            bearer: None,
            delegate: None,
            may_approve: false,
        }
    }

    /// Whether both are the same caller, whatever either may do.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
            && self.kind == other.kind
            && self.tenant == other.tenant
            && self.issuer == other.issuer
    }
}
