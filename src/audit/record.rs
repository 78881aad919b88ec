//! What an audit line says.
//!
//! Owns [`Record`], [`Finish`] and [`Step`]. The idea: a call leaves two lines, an intent before it runs and an
//! outcome before it is answered; both carry the same id.
//!
//! Must not: write anything.

use super::events::Event;
use crate::json::{Map, Value};

/// How far a call got on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Known, nothing decided.
    Proposed,
    /// Within its quota.
    Admitted,
    /// Of the right shape.
    Validated,
    /// Allowed by policy.
    Permitted,
    /// Agreed to, where that was needed; from here on it may have had effects.
    Approved,
    /// Has run.
    Executed,
    /// Its result is fit to leave.
    Redacted,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Proposed,
        Self::Admitted,
        Self::Validated,
        Self::Permitted,
        Self::Approved,
        Self::Executed,
        Self::Redacted,
    ];

    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Admitted => "admitted",
            Self::Validated => "validated",
            Self::Permitted => "permitted",
            Self::Approved => "approved",
            Self::Executed => "executed",
            Self::Redacted => "redacted",
        }
    }

    pub(super) fn from_index(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::Redacted)
    }
}

/// What is known before a call runs. Everything here is redacted before it is written.
#[derive(Debug, Clone, Default)]
pub struct Record<'a> {
    /// The authenticated caller's id.
    pub principal: &'a str,
    /// What the caller came by: the id of a key, the client id of a token, the fingerprint of a certificate.
    pub bearer: Option<&'a str>,
    /// Who acts for the caller, where its credential says so (`act` or `azp` of a token).
    pub delegate: Option<&'a str>,
    /// The address that the caller speaks from, where it has one.
    pub address: Option<std::net::IpAddr>,
    /// `development`, `staging` or `production`.
    pub profile: &'a str,
    /// `stdio`, `http` or `memory`.
    pub transport: &'a str,
    /// The client's name and version by its own account; the line says that it is only claimed.
    pub client: &'a str,
    /// Its version, as claimed.
    pub client_version: &'a str,
    /// The protocol method.
    pub method: &'a str,
    /// The name of the tool, resource or prompt.
    pub tool: &'a str,
    /// `read`, `write` or `destroy`.
    pub effect: &'a str,
    /// The arguments as they came; the line holds their digest and a redacted, capped copy.
    pub arguments: Option<&'a Map<String, Value>>,
    /// The JSON-RPC id, as text.
    pub request: &'a str,
    /// The trace id, if the caller named one.
    pub trace: Option<String>,
    /// Whether the upstream is a practice one.
    pub practice: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Default)]
pub struct Finish<'a> {
    /// `ok`, `paused`, `tool_error`, or the name of an error kind.
    pub result: &'a str,
    /// The security event that the end of this call is, if it is one: denied, limited, egress refused.
    pub event: Option<Event>,
    /// `allow`, `ask` or `deny`.
    pub verdict: Option<&'a str>,
    /// The policies that decided.
    pub policy: Option<&'a str>,
    /// The approval that was asked for or consumed.
    pub approval: Option<&'a str>,
    /// Who agreed: an operator, or the client's own user.
    pub approver: Option<&'a str>,
    /// What the operator calls the upstream.
    pub upstream: Option<&'a str>,
    /// The upstream's HTTP status.
    pub upstream_status: Option<u16>,
    /// The id that the upstream gave the request.
    pub upstream_request: Option<&'a str>,
    /// How many requests left for upstreams.
    pub upstream_requests: u32,
    /// Bytes of the reply.
    pub bytes: Option<u64>,
    /// What the reply tried, as a list of labels between spaces: text in it that looks like orders to a model.
    pub untrusted: &'a str,
}
