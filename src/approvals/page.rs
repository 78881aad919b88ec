//! What the approval page needs of approvals.
//!
//! Owns who may decide there, and the token of its form. The idea: the page is one approval, shown to one approver, for a
//! while; the token says exactly that, and nothing else can be sent in its place.
//!
//! Must not: draw the page, or let anybody in.

use std::collections::HashSet;
use std::time::Duration;

use subtle::ConstantTimeEq;

use super::desk::Listed;
use super::{Approvals, Record, named, record};
use crate::error::Result;
use crate::json::{canonical, json};
use crate::principal::{APPROVER, Principal};

/// How long a form that was shown can be sent, in milliseconds.
const LASTS: u64 = 15 * 60 * 1000;

impl Approvals {
    /// Whether the configuration, or a role, lets this principal decide on the page.
    pub fn is_approver(&self, principal: &Principal) -> bool {
        self.config.has_page()
            && (principal.roles.contains(APPROVER)
                || self.config.approvers.iter().any(|known| **known == *principal.id))
    }

    /// Whether this principal may know of it: it is of the tenant that asked.
    pub fn may_see(&self, listed: &Listed, principal: &Principal) -> bool {
        self.party(principal).shares_tenant(&listed.record.asker)
    }

    /// Why this principal may not agree to it, if it may not: it is one of those who asked, or could be.
    pub fn why_not(&self, listed: &Listed, principal: &Principal) -> Option<&'static str> {
        self.bars(&self.terms_of(&listed.record), &self.party(principal))
    }

    /// Whose second factor a principal shows.
    pub fn factor_name(&self, principal: &Principal) -> String {
        self.person(principal)
    }

    /// The token of a form that shows this approval to this principal.
    pub fn form_token(&self, listed: &Listed, principal: &Principal) -> String {
        let until = self.now().saturating_add(LASTS);
        format!("{until}.{}", self.form_mac(listed, principal, until))
    }

    /// Whether that is the token of a form that showed exactly this approval to this principal, lately.
    pub fn is_form_token(&self, token: &str, listed: &Listed, principal: &Principal) -> bool {
        let Some((until, mac)) = token.split_once('.') else { return false };
        let Ok(until) = until.parse::<u64>() else { return false };
        let now = self.now();
        let expected = self.form_mac(listed, principal, until);
        until > now
            && until <= now.saturating_add(LASTS)
            && bool::from(expected.as_bytes().ct_eq(mac.as_bytes()))
    }

    fn form_mac(&self, listed: &Listed, principal: &Principal, until: u64) -> String {
        let record = &listed.record;
        let body = json!({
            "id": record.id, "binding": record.binding, "shown": record.shown.digest().hex(), "until": until,
            "status": listed.status, "principal": {
                "id": &*principal.id, "kind": principal.kind, "tenant": principal.tenant, "issuer": principal.issuer
            }
        });
        record::keyed(&self.instance, format!("bartizan approval form v1\n{}", canonical(&body)).as_bytes())
    }

    /// Those that have waited for so long and that nobody was told of, oldest first: another process asked for them, or
    /// was killed before it could tell.
    pub fn untold(&self, since: Duration) -> Result<Vec<Record>> {
        let names = self.files.names()?;
        let told: HashSet<&str> = names.iter().filter_map(|file| file.strip_suffix(".told")).collect();
        let before = self.now().saturating_sub(super::millis(since));
        let mut all = Vec::new();
        for one in names.iter().filter_map(|file| named(file)) {
            if one.state == "pending"
                && !told.contains(one.id)
                && let Some(record) = self.record(&one)?
                && record.created <= before
                && self.awaits(&record.id)
            {
                all.push(record);
            }
        }
        all.sort_by_key(|record| record.created);
        Ok(all)
    }

    /// Remembers that somebody was told, for as long as the approval is kept.
    pub fn told(&self, id: &str) -> Result<()> {
        self.files.write(&format!("{id}.told"), b"")
    }

    /// Has this heard of every approval that is asked for from now on; what hears must not block.
    pub fn heard_by(&self, herald: impl Fn(&Record) + Send + Sync + 'static) {
        // set once, when the server is put together
        let _ = self.herald.set(Box::new(herald));
    }
}
