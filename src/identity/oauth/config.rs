//! What `[oauth]` may say.
//!
//! Owns [`Config`] and its parts, and what has to agree in them. The idea: whom we trust, whose tokens are for us and
//! what their words mean here is configuration and nothing else; no request, and no document that is fetched, adds to
//! it.
//!
//! Must not: fetch anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::jws;
use crate::error::{Error, Kind, Result};
use crate::principal::{ADMIN, READ, WRITE};
use crate::vault::Reference;

/// The `[oauth]` table: access tokens of authorization servers, beside API keys. Off while there are no issuers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients reach this server, as they write it: `https://mcp.example.com/mcp`. Tokens have to be for it
    /// (unless an issuer says `audiences`), and proofs of possession have to name it. Never taken from a request.
    pub public_url: Option<String>,
    /// The authorization servers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// Which words in a token grant which scopes here; the first of each list is the one that clients are told to ask
    /// for. `write` includes `read`, `admin` includes both. Other words of a token count as they are.
    pub scopes: BTreeMap<String, Vec<String>>,
    /// Put before a scope where clients are told to ask for it, and taken off where a token has it: Entra ID wants
    /// `api://APP-ID/`.
    pub scope_prefix: String,
    /// Seconds by which clocks may differ.
    pub leeway_seconds: u64,
    /// Whether tokens that are bound to a key by DPoP are accepted: `off`, `optional`, or `required`.
    pub dpop: Dpop,
    /// Whether each proof of possession has to repeat a value of ours that changes every five minutes.
    pub dpop_nonce: bool,
    /// Seconds between two fetches of an issuer's keys because of a key id nobody has seen.
    pub keys_refresh_seconds: u64,
    /// Seconds after which an issuer's keys are fetched again.
    pub keys_max_age_seconds: u64,
    /// Seconds for which keys serve on when they cannot be fetched again.
    pub keys_stale_seconds: u64,
    /// Seconds for which an introspected token is not asked for again.
    pub introspection_ttl_seconds: u64,
}

/// One authorization server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerConfig {
    /// Its identifier, exactly as tokens say it in `iss`.
    pub issuer: String,
    /// What it is called here: its callers are `oauth:NAME:SUBJECT`. Its host unless given.
    pub name: Option<String>,
    /// Whether clients are told of it; one that only signs older tokens need not be.
    pub advertise: bool,
    /// Where its keys are; found out from its metadata unless given.
    pub jwks_uri: Option<String>,
    /// Audiences of which a token needs one; `public_url` unless given.
    pub audiences: Vec<String>,
    /// Signatures that are accepted; asymmetric ones only.
    pub algorithms: Vec<String>,
    /// Claims that list scopes, as text with blanks or as an array.
    pub scopes_claims: Vec<String>,
    /// Claim that lists roles: a name, or a path with dots.
    pub roles_claim: String,
    /// Claim that names the tenant.
    pub tenant_claim: String,
    /// Tenants that are let in; all unless given.
    pub tenants: Vec<String>,
    /// Claim that names the caller.
    pub principal_claim: String,
    /// Claim that names the person behind a caller, as the owner of a key does; `email` where `email_verified` is true
    /// unless given.
    pub owner_claim: Option<String>,
    /// Whether its tokens can make approvers: else the role `approver` of a token counts for nothing.
    pub approvers: bool,
    /// Ask the authorization server about each token, in place of checking its signature.
    pub introspection: Option<Introspection>,
}

/// Where tokens are asked about (RFC 7662).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// The address. Tokens and the secret go there and nowhere else.
    pub endpoint: String,
    /// Who asks.
    pub client_id: String,
    /// Its secret: `env:NAME`, `file:PATH` or `keyring:NAME`.
    pub client_secret: Reference,
}

/// Whether tokens have to be bound to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dpop {
    /// Tokens that are bound to a key are refused.
    Off,
    /// Tokens that are bound to a key need a proof; others do not.
    #[default]
    Optional,
    /// Tokens that are not bound to a key are refused.
    Required,
}

impl Default for Config {
    fn default() -> Self {
        let names = |scope: &str| (scope.to_owned(), vec![format!("mcp:{scope}")]);
        Self {
            public_url: None,
            issuers: Vec::new(),
            scopes: [READ, WRITE, ADMIN].map(names).into(),
            scope_prefix: String::new(),
            leeway_seconds: 60,
            dpop: Dpop::default(),
            dpop_nonce: false,
            keys_refresh_seconds: 30,
            keys_max_age_seconds: 600,
            keys_stale_seconds: 86_400,
            introspection_ttl_seconds: 30,
        }
    }
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            name: None,
            advertise: true,
            jwks_uri: None,
            audiences: Vec::new(),
            algorithms: jws::ALGORITHMS.iter().map(|(name, _)| String::from(*name)).collect(),
            scopes_claims: vec![String::from("scope"), String::from("scp")],
            roles_claim: String::from("roles"),
            tenant_claim: String::from("tid"),
            tenants: Vec::new(),
            principal_claim: String::from("sub"),
            owner_claim: None,
            approvers: false,
            introspection: None,
        }
    }
}

fn wrong<T>(said: impl Into<String>) -> Result<T> {
    Err(Error::new(Kind::BadConfig, said.into()))
}

impl Config {
    /// Whether access tokens are accepted at all.
    pub fn is_on(&self) -> bool {
        !self.issuers.is_empty() || self.public_url.is_some()
    }

    /// What can be known to be wrong before anything is fetched.
    pub fn vet(&self) -> Result<()> {
        if self.is_on() { self.address().and_then(|_| self.check()) } else { Ok(()) }
    }

    /// The host, and port if it is a special one, that clients name.
    pub fn host(&self) -> Option<String> {
        let url = self.address().ok()?;
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    /// The address clients use, checked.
    pub(super) fn address(&self) -> Result<Url> {
        let Some(text) = &self.public_url else {
            return wrong(
                "[oauth] needs `public_url`, the address under which clients reach this server, such as \
                 \"https://mcp.example.com/mcp\".",
            );
        };
        let url = Url::parse(text).ok().filter(|url| {
            let plain = url.query().is_none() && url.fragment().is_none();
            plain && url.username().is_empty() && url.password().is_none() && url.host().is_some()
        });
        let Some(url) = url.filter(|url| url.scheme() == "https" || is_loopback(url)) else {
            return wrong(
                "`public_url` under [oauth] has to be an https address without query and fragment (http is for \
                 loopback only).",
            );
        };
        Ok(url)
    }

    /// What has to agree. One error at a time, in words that say what to write.
    pub(super) fn check(&self) -> Result<()> {
        if self.issuers.is_empty() {
            return wrong("[oauth] needs at least one entry in `issuers`: whose tokens are accepted?");
        }
        for scope in self.scopes.values().flatten().chain([&self.scope_prefix]) {
            if !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
                return wrong("A name in [oauth] `scopes` holds a character that no scope may hold.");
            }
        }
        for scope in [READ, WRITE, ADMIN] {
            if self.scopes.get(scope).is_none_or(Vec::is_empty) {
                return wrong(format!("[oauth] `scopes` has to say which words of a token grant `{scope}`."));
            }
        }
        if self.leeway_seconds > 300 {
            return wrong("`leeway_seconds` under [oauth] is at most 300.");
        }
        if self.issuers.iter().filter(|one| one.introspection.is_some()).count() > 1 {
            return wrong("Only one entry of [oauth] `issuers` can have `introspection`.");
        }
        let mut names: Vec<String> = Vec::new();
        for one in &self.issuers {
            let name = one.called()?;
            if self.issuers.iter().filter(|other| other.issuer == one.issuer).count() > 1 {
                return wrong(format!("The issuer `{name}` is in [oauth] `issuers` twice; keep one."));
            }
            if names.contains(&name) {
                return wrong(format!(
                    "Two issuers under [oauth] are called `{name}`; give each a `name` of its own, because callers are \
                     known as oauth:NAME:SUBJECT."
                ));
            }
            names.push(name);
            one.signatures()?;
        }
        if !self.issuers.iter().any(|one| one.advertise) {
            return wrong("At least one issuer under [oauth] has to have `advertise = true`.");
        }
        Ok(())
    }
}

impl IssuerConfig {
    /// The identifier as an address. It has to be https, or plain http as `[egress] allow_private` permits it.
    pub(super) fn address(&self) -> Result<Url> {
        let url = Url::parse(&self.issuer).ok().filter(|url| {
            matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none()
        });
        match url {
            Some(url) => Ok(url),
            None => wrong(
                "An `issuer` under [oauth] is not an https address without query and fragment; write it exactly as its \
                 tokens say it in `iss`.",
            ),
        }
    }

    /// What it is called here.
    pub(super) fn called(&self) -> Result<String> {
        let url = self.address()?;
        let name = self.name.clone().unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
            return wrong("The `name` of an issuer under [oauth] holds letters, digits, dots, - and _ only.");
        }
        Ok(name)
    }

    /// The signatures that are accepted.
    pub(super) fn signatures(&self) -> Result<Vec<Algorithm>> {
        let known: Option<Vec<Algorithm>> = self.algorithms.iter().map(|name| jws::algorithm(name)).collect();
        match known {
            Some(known) if !known.is_empty() => Ok(known),
            _ => wrong(format!(
                "`algorithms` of an issuer under [oauth] lists asymmetric signatures, of these: {}.",
                jws::names()
            )),
        }
    }
}

/// Whether an address leads to this machine by its looks.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    const GOOD: &str = "public_url = \"https://mcp.example.com/mcp\"\n\
                        issuers = [{ issuer = \"https://login.example.com/a\" }]\n";

    #[test]
    fn little_has_to_be_said() {
        let config = config(GOOD);
        config.check().unwrap();
        assert_eq!(config.issuers[0].called().unwrap(), "login.example.com");
        assert_eq!(config.scopes[WRITE], ["mcp:write"]);
        assert!(!Config::default().is_on());
    }

    #[test]
    fn what_would_weaken_it_is_refused() {
        for (text, word) in [
            ("public_url = \"https://a.example/mcp\"", "at least one"),
            (
                "public_url = \"https://a.example/mcp\"\n[[issuers]]\nissuer = \"https://i.example\"\nalgorithms = [\"HS256\"]",
                "asymmetric",
            ),
            (
                "public_url = \"https://a.example/mcp\"\n[[issuers]]\nissuer = \"https://i.example\"\nalgorithms = [\"none\"]",
                "asymmetric",
            ),
            ("[[issuers]]\nissuer = \"ftp://i.example\"", "https"),
            ("[[issuers]]\nissuer = \"https://i.example?x=1\"", "https"),
            (
                "[[issuers]]\nissuer = \"https://i.example/a\"\n[[issuers]]\nissuer = \"https://i.example/b\"",
                "called",
            ),
            ("leeway_seconds = 3000\n[[issuers]]\nissuer = \"https://i.example\"", "300"),
            ("scopes = { read = [\"r\"] }\n[[issuers]]\nissuer = \"https://i.example\"", "write"),
        ] {
            let error = config(text).check().unwrap_err();
            assert!(error.message().contains(word), "{text}: {error}");
        }
        for address in ["http://mcp.example.com/mcp", "https://mcp.example.com/mcp?x", "https://u@h/", "mcp"]
        {
            let config = Config { public_url: Some(address.into()), ..config(GOOD) };
            assert!(config.address().is_err(), "{address}");
        }
        assert!(
            Config { public_url: Some("http://127.0.0.1:1/mcp".into()), ..config(GOOD) }.address().is_ok()
        );
        assert!(toml::from_str::<Config>("issuer = \"x\"").is_err(), "unknown keys are refused");
    }
}
