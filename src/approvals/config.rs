//! What may be set about asking a person.
//!
//! Owns the [`Config`] of the `[approvals]` table. The idea: every default is the strict one, and each relaxation is a
//! setting of its own that the audit names.
//!
//! Must not: resolve a reference, or open anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// The `[approvals]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long an approval may be decided and used, in seconds.
    pub expires_seconds: u64,
    /// Where the public keys of operators are; `operators` in the state directory if not given. Another user's
    /// directory, which the server can only read, is what makes approvals impossible to forge for the server's user.
    pub operators: Option<PathBuf>,
    /// The profile that approvals are bound to; unset is production.
    pub profile: String,
    /// How many approvals may wait at once. One with long arguments counts for several.
    pub most_pending: usize,
    /// How many of those one caller may have, so that nobody keeps all others from asking.
    pub most_pending_each: usize,
    /// Whether what a call would change is read and shown first, where the upstream has a read for it. The approval is
    /// then void as soon as that changes.
    pub show_state: bool,
    /// Principals whose own client may answer approval questions, such as `local:alice` or `key:alice`; everybody
    /// else's calls wait for an operator.
    pub trust_clients: Vec<String>,
    /// Who may be asked at all, and who first: `client` (of those in `trust_clients`), `operator` (the command line) and
    /// `webhook` (whoever it tells, on the approval page).
    pub channels: Vec<Channel>,
    /// For which calls a passphrase or a key is not enough: `destroy`, `always` or `off`.
    pub second_factor: SecondFactor,
    /// Whether the person who asked over HTTP may agree, too.
    pub self_approval: bool,
    /// Which callers belong to a person: the name of an operator, and the principals that are the same person, beside
    /// those of the same name (`key:alice` is alice).
    pub people: BTreeMap<String, Vec<String>>,
    /// Principals who may decide on the approval page, beside those with the role `approver`.
    pub approvers: Vec<String>,
    /// Whom to tell about calls that wait.
    pub webhook: Option<Webhook>,
}

/// A way to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The caller's own client, where the configuration trusts it.
    Client,
    /// An operator at the command line, with a key of their own.
    Operator,
    /// Whoever the webhook tells, on the approval page.
    Webhook,
}

/// When a second factor is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondFactor {
    /// For calls that destroy, for keys, and for an end of a freeze.
    #[default]
    Destroy,
    /// For every approval.
    Always,
    /// Never, but for accepting another policy.
    Off,
}

/// Where pending approvals are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Where to: an https address, or one on this machine that `[egress] allow_private` names.
    pub url: String,
    /// What signs each message: a reference, such as `env:NAME` or `file:PATH`; at least 24 characters.
    pub secret: String,
    /// What the signing key is called, so that a receiver can hold two while one replaces the other.
    pub key_id: String,
    /// How approvers reach this server, without a path: `https://mcp.example.com`.
    pub link: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expires_seconds: 900,
            operators: None,
            profile: String::from("production"),
            most_pending: 1000,
            most_pending_each: 200,
            show_state: true,
            trust_clients: Vec::new(),
            channels: vec![Channel::Client, Channel::Operator, Channel::Webhook],
            second_factor: SecondFactor::Destroy,
            self_approval: false,
            people: BTreeMap::new(),
            approvers: Vec::new(),
            webhook: None,
        }
    }
}

impl Config {
    /// How long an approval may be decided and used.
    pub fn expires(&self) -> Duration {
        Duration::from_secs(self.expires_seconds)
    }

    /// Whether there is an approval page.
    pub fn has_page(&self) -> bool {
        self.webhook.is_some() && self.channels.contains(&Channel::Webhook)
    }

    /// Whether what is set fits together.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &'static str| Err(Error::new(Kind::BadConfig, what));
        if self.channels.is_empty() {
            return bad(
                "`channels` under [approvals] is empty; name at least one of client, operator and webhook.",
            );
        }
        if let Some(webhook) = &self.webhook {
            if webhook.url.is_empty() || webhook.secret.is_empty() {
                return bad(
                    "[approvals.webhook] needs `url` and `secret`, such as secret = \"env:APPROVALS_SECRET\".",
                );
            }
            if webhook.origin().is_none() {
                return bad(
                    "`link` under [approvals.webhook] has to be how approvers reach this server, without a path: \
                     https://mcp.example.com.",
                );
            }
        }
        Ok(())
    }
}

impl Webhook {
    /// The origin of the approval page: scheme, host and port; none if `link` is no such thing.
    pub fn origin(&self) -> Option<&str> {
        let link = self.link.trim_end_matches('/');
        let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        (!rest.is_empty() && rest.bytes().all(plain)).then_some(link)
    }
}
