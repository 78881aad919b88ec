//! What a key grants, and to whom.
//!
//! Owns [`Grant`], [`About`], [`Ages`] and the rules for what a key may be issued for. The idea: a key belongs to one
//! person or one program, so that the audit can say who it was; nobody's and everybody's keys are not issued.
//!
//! Must not: know a key.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::usage::Used;
use crate::error::{Error, Kind, Result};
use crate::principal::{ADMIN, READ, WRITE};
use crate::secret::Secret;

/// What a key grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name; the principal is `key:NAME`.
    pub name: String,
    /// The person or program it was given to. A key of nobody opens nothing.
    pub owner: String,
    /// Scopes, such as `read`, `write`, `admin`.
    pub scopes: BTreeSet<String>,
    /// Roles that policies may name.
    pub roles: BTreeSet<String>,
    /// The tenant, where there are several.
    pub tenant: Option<String>,
    /// Whether this key's own client may answer approval questions.
    pub may_approve: bool,
    /// When the key ends, since the epoch; nothing means never.
    pub expires: Option<Duration>,
    /// Addresses it may be used from; nothing means any.
    pub from: Vec<IpNet>,
    /// The thumbprint of the client certificate that it has to come with.
    pub certificate: Option<String>,
}

impl Grant {
    /// For whom it names, all three scopes, from anywhere, no approval, no end.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            owner: name.clone(),
            name,
            scopes: [READ, WRITE, ADMIN].map(String::from).into(),
            roles: BTreeSet::new(),
            tenant: None,
            may_approve: false,
            expires: None,
            from: Vec::new(),
            certificate: None,
        }
    }

    /// Whether a key may be issued for this.
    pub fn check(&self) -> Result<()> {
        let bad = |said| Err(Error::new(Kind::BadConfig, said));
        if !is_name(&self.name) {
            return bad(String::from(
                "The name of a key is 1 to 64 letters, digits and any of . _ @ + -; choose another (--name).",
            ));
        }
        if !(1..=128).contains(&self.owner.trim().chars().count()) || self.owner.chars().any(char::is_control)
        {
            return bad(String::from(
                "A key needs an owner, so that the audit can say who it was: --owner, a person or a program.",
            ));
        }
        if is_shared(&self.owner) {
            return bad(String::from(
                "A key belongs to one person or one program; give each of them a key of its own (--owner).",
            ));
        }
        if !self.scopes.iter().any(|scope| [READ, WRITE, ADMIN].contains(&&**scope)) {
            return bad(String::from(
                "Without one of the scopes read, write and admin a key opens nothing; name one (--scopes read).",
            ));
        }
        for scope in &self.scopes {
            let near = |known: &&str| {
                *known != scope && strsim::damerau_levenshtein(known, &scope.to_lowercase()) < 2
            };
            if let Some(meant) = [READ, WRITE, ADMIN].iter().find(|known| near(known)) {
                return bad(format!("A scope here looks like `{meant}` and is not; write it in full."));
            }
        }
        if self.scopes.iter().chain(&self.roles).chain(&self.tenant).any(|word| !is_word(word)) {
            return bad(String::from(
                "Scopes, roles and tenants are words without spaces, quotes or commas; choose others.",
            ));
        }
        if self.certificate.as_ref().is_some_and(|print| !is_thumbprint(print)) {
            return bad(String::from(
                "The thumbprint of a certificate is its SHA-256 in base64url: 43 letters, digits, - and _.",
            ));
        }
        Ok(())
    }

    /// Whether it may be used from there.
    pub(super) fn is_from(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.is_empty() || self.from.iter().any(|net| net.contains(&address))
    }
}

/// Whether `name` can name a key.
pub fn is_name(name: &str) -> bool {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "._@+-".contains(letter);
    (1..=64).contains(&name.len()) && name.chars().all(good)
}

fn is_word(word: &str) -> bool {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || "\"'\\,".contains(letter);
    (1..=128).contains(&word.len()) && !word.contains(bad)
}

fn is_thumbprint(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Owners that are not one.
const SHARED: &[&str] = &[
    "all",
    "any",
    "anybody",
    "anyone",
    "everybody",
    "everyone",
    "group",
    "nobody",
    "none",
    "office",
    "public",
    "shared",
    "somebody",
    "someone",
    "staff",
    "team",
    "unknown",
    "us",
    "users",
    "we",
];

/// Whether an owner is several, or nobody in particular.
fn is_shared(owner: &str) -> bool {
    let owner = owner.trim().to_lowercase();
    owner.contains([',', ';', '&', '|']) || owner.contains(" and ") || SHARED.contains(&&*owner)
}

/// A new key: the only time it can be seen.
#[derive(Debug, Clone)]
pub struct Minted {
    /// Its public id.
    pub id: String,
    /// The key itself, as it goes behind `Authorization: Bearer`.
    pub key: Secret,
}

/// What may be told of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its public id.
    pub id: String,
    /// What it grants.
    pub grant: Grant,
    /// When it was minted, since the epoch.
    pub created: Duration,
    /// What it was used for, as far as that is written down.
    pub used: Used,
}

/// How old keys may become: the `[keys]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ages {
    /// Days from which on a key should be rotated.
    pub warn_days: u64,
    /// Days from which on a key counts as an error.
    pub error_days: u64,
    /// Days without a call after which a key counts as unused.
    pub unused_days: u64,
}

impl Default for Ages {
    fn default() -> Self {
        Self { warn_days: 75, error_days: 90, unused_days: 30 }
    }
}

/// What stands with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong with it.
    Good,
    /// It should be rotated soon.
    Old,
    /// It should have been rotated.
    TooOld,
    /// It opens nothing any more.
    Expired,
    /// It has no owner, so it opens nothing.
    Ownerless,
}

impl State {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Old => "old",
            Self::TooOld => "too_old",
            Self::Expired => "expired",
            Self::Ownerless => "ownerless",
        }
    }
}

const DAY: u64 = 86_400;

impl Ages {
    /// What stands with a key at a time since the epoch.
    pub fn state(&self, about: &About, now: Duration) -> State {
        let days = now.saturating_sub(about.created).as_secs() / DAY;
        match () {
            () if about.grant.owner.trim().is_empty() => State::Ownerless,
            () if about.grant.expires.is_some_and(|at| now >= at) => State::Expired,
            () if days >= self.error_days => State::TooOld,
            () if days >= self.warn_days => State::Old,
            () => State::Good,
        }
    }

    /// Whether a key has not been used for long, at a time since the epoch.
    pub fn is_unused(&self, about: &About, now: Duration) -> bool {
        let since = about.used.last.unwrap_or(about.created);
        now.saturating_sub(since).as_secs() / DAY >= self.unused_days
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::addresses::ranges;

    #[test]
    fn a_key_of_nobody_or_of_many_is_not_issued() {
        assert!(Grant::named("ci").check().is_ok());
        for owner in ["anna@example.com", "Anna Andersson", "nightly-backup"] {
            let grant = Grant { owner: owner.into(), ..Grant::named("x") };
            assert!(grant.check().is_ok(), "{owner}");
        }
        for owner in ["", "  ", "Everyone", "anna, bob", "anna and bob", "TEAM", "a;b", "x\ny"] {
            let grant = Grant { owner: owner.into(), ..Grant::named("x") };
            assert!(grant.check().is_err(), "{owner}");
        }
    }

    #[test]
    fn scopes_are_words_and_one_of_ours_is_among_them() {
        let of = |scopes: &[&str]| Grant {
            scopes: scopes.iter().map(|scope| String::from(*scope)).collect(),
            ..Grant::named("x")
        };
        assert!(of(&["read"]).check().is_ok() && of(&["write", "billing"]).check().is_ok());
        for wrong in [&[][..], &["billing"], &["read", "wirte"], &["Read"], &["read", "a b"]] {
            assert!(of(wrong).check().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_warns_before_it_is_too_old() {
        let ages = Ages::default();
        let mut about = About {
            id: "x".into(),
            grant: Grant::named("x"),
            created: Duration::from_secs(1000 * DAY),
            used: Used::default(),
        };
        let day = |days: u64| Duration::from_secs((1000 + days) * DAY);
        for (days, state) in
            [(0, State::Good), (74, State::Good), (75, State::Old), (89, State::Old), (90, State::TooOld)]
        {
            assert_eq!(ages.state(&about, day(days)), state, "{days}");
        }
        assert!(!ages.is_unused(&about, day(29)) && ages.is_unused(&about, day(30)));
        about.used.last = Some(day(20));
        assert!(!ages.is_unused(&about, day(49)) && ages.is_unused(&about, day(50)));
        about.grant.expires = Some(day(10));
        assert_eq!(ages.state(&about, day(10)), State::Expired);
    }

    #[test]
    fn addresses_are_compared_as_what_they_are() {
        let from = ranges(&["10.0.0.0/8".into(), "2001:db8::1".into()]).unwrap();
        let grant = Grant { from, ..Grant::named("x") };
        for (address, inside) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("11.0.0.1", false),
        ] {
            assert_eq!(grant.is_from(address.parse().unwrap()), inside, "{address}");
        }
        assert!(ranges(&["10.0.0.0/33".into()]).is_err());
    }
}
