//! How a connector's requests are signed, as configuration says it.
//!
//! Owns [`Access`] and [`Way`]. The idea: every secret is a [`Reference`]; the client secret goes to the token endpoint
//! alone, whose host must be one of the connector's; what one profile signs with, no other does.
//!
//! Must not: read a secret, or make anything (`signing.rs` does).

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::http::HeaderName;
use crate::http::oauth::Style;
use crate::http::recipe::{Algorithm, Encoding, KeyForm, Recipe, Stamp};
use crate::json::{canonical, json};
use crate::vault::{Reference, SCHEMES, Use};

/// One way of signing, several, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "there is one for each connector")]
pub enum Access {
    /// Requests are not signed.
    #[default]
    None,
    /// One way.
    One(Way),
    /// The first way whose secrets are there.
    First(Vec<Way>),
    /// Another one in each profile.
    Each(Box<Profiles>),
}

/// How requests are signed in each profile. In one that is left out, the connector does not start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profiles {
    /// The real thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production: Option<Access>,
    /// A rehearsal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging: Option<Access>,
    /// A developer's own machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub development: Option<Access>,
}

impl Profiles {
    fn all(&self) -> [(&'static str, Option<&Access>); 3] {
        [
            ("production", self.production.as_ref()),
            ("staging", self.staging.as_ref()),
            ("development", self.development.as_ref()),
        ]
    }
}

/// One way of signing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Way {
    /// Not at all.
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        from: Reference,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The user name.
        user: Reference,
        /// The password.
        password: Reference,
    },
    /// A header of another name.
    Header {
        /// The header.
        name: String,
        /// Its value.
        from: Reference,
    },
    /// OAuth 2 client credentials.
    OAuth2 {
        /// The token endpoint.
        token_url: Url,
        /// The client's id.
        client_id: Reference,
        /// The client's secret.
        client_secret: Reference,
        /// How the endpoint wants to be asked: `basic`, `form`, `json`.
        #[serde(default)]
        style: Style,
        /// What to ask for.
        #[serde(default)]
        scope: Option<String>,
        /// Whom the token is for.
        #[serde(default)]
        audience: Option<String>,
    },
    /// A key in the query of every address.
    Query {
        /// The parameter.
        name: String,
        /// Its value.
        from: Reference,
    },
    /// OAuth 2 with a refresh token, which somebody got by logging in.
    Refresh {
        /// The token endpoint.
        token_url: Url,
        /// The refresh token. The endpoint may hand out others, which are kept sealed (`[tokens] persist`).
        refresh_token: Reference,
        /// The client's id.
        client_id: Reference,
        /// The client's secret, if it has one.
        #[serde(default)]
        client_secret: Option<Reference>,
        /// How the endpoint wants to be asked: `basic`, `form`, `json`.
        #[serde(default)]
        style: Style,
        /// What to ask for.
        #[serde(default)]
        scope: Option<String>,
        /// Whom the token is for.
        #[serde(default)]
        audience: Option<String>,
        /// Whether the endpoint hands out another refresh token each time; if it surely does not, nothing has to be kept.
        #[serde(default = "yes")]
        rotates: bool,
    },
    /// A signature over each request, made with a shared key.
    Hmac {
        /// The key.
        key: Reference,
        /// Its name, where the recipe says `{key_id}`.
        #[serde(default)]
        key_id: Option<Reference>,
        /// How the key is written: `text`, `hex`, `base64`.
        #[serde(default)]
        key_encoding: KeyForm,
        /// The hash: `sha256`, `sha512`.
        #[serde(default)]
        algorithm: Algorithm,
        /// What is signed, with `{parts}` of the request.
        sign: String,
        /// How the signature is written: `hex`, `base64`, `base64url`.
        #[serde(default)]
        encoding: Encoding,
        /// How `{timestamp}` is written: `unix`, `unix-ms`, `rfc3339`, `compact`, `http-date`.
        #[serde(default)]
        time: Stamp,
        /// The headers that carry the signature and what belongs to it.
        headers: IndexMap<String, String>,
    },
    /// A client certificate (mutual TLS).
    Certificate {
        /// The certificate, with those that lead to its authority; PEM.
        certificate: Reference,
        /// Its private key; PEM.
        key: Reference,
        /// What else signs the requests.
        #[serde(default)]
        and: Option<Box<Way>>,
    },
}

const fn yes() -> bool {
    true
}

impl Way {
    /// Every reference, and what is behind it.
    pub fn references(&self) -> Vec<(&Reference, Use)> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer { from } | Self::Header { from, .. } | Self::Query { from, .. } => {
                vec![(from, Use::Secret)]
            }
            Self::Basic { user, password } => vec![(user, Use::Name), (password, Use::Secret)],
            Self::OAuth2 { client_id, client_secret, .. } => {
                vec![(client_id, Use::Name), (client_secret, Use::Secret)]
            }
            Self::Refresh { client_id, client_secret, refresh_token, .. } => {
                let mut all = vec![(client_id, Use::Name), (refresh_token, Use::Secret)];
                all.extend(client_secret.iter().map(|secret| (secret, Use::Secret)));
                all
            }
            Self::Hmac { key, key_id, .. } => {
                let mut all = vec![(key, Use::Secret)];
                all.extend(key_id.iter().map(|id| (id, Use::Name)));
                all
            }
            Self::Certificate { certificate, key, and } => {
                // one file may hold both
                let what = if certificate == key { Use::Secret } else { Use::Public };
                let mut all = vec![(certificate, what), (key, Use::Secret)];
                all.extend(and.iter().flat_map(|and| and.references()));
                all
            }
        }
    }

    /// Where tokens are fetched, if they are.
    pub fn token_url(&self) -> Option<&Url> {
        match self {
            Self::OAuth2 { token_url, .. } | Self::Refresh { token_url, .. } => Some(token_url),
            Self::Certificate { and: Some(and), .. } => and.token_url(),
            _ => None,
        }
    }

    /// Whether what a token endpoint hands out has to outlive the process.
    pub fn has_to_keep(&self) -> bool {
        match self {
            Self::Refresh { rotates, .. } => *rotates,
            Self::Certificate { and: Some(and), .. } => and.has_to_keep(),
            _ => false,
        }
    }

    /// The recipe of a signature.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        let Self::Hmac { key_encoding, algorithm, sign, encoding, time, headers, .. } = self else {
            return None;
        };
        Some(Recipe {
            algorithm: *algorithm,
            key_encoding: *key_encoding,
            sign: sign.clone(),
            encoding: *encoding,
            time: *time,
            headers: headers.clone(),
        })
    }

    /// The headers it sets.
    fn headers(&self) -> Vec<String> {
        match self {
            Self::Header { name, .. } => vec![name.to_ascii_lowercase()],
            Self::Hmac { headers, .. } => headers.keys().map(|name| name.to_ascii_lowercase()).collect(),
            Self::Certificate { and: Some(and), .. } => and.headers(),
            _ => Vec::new(),
        }
    }

    /// The parameter of the query that it sets.
    fn query(&self) -> Option<String> {
        match self {
            Self::Query { name, .. } => Some(name.clone()),
            Self::Certificate { and: Some(and), .. } => and.query(),
            _ => None,
        }
    }

    /// What is wrong with it: the end of a sentence.
    fn fault(&self, base: Option<&Url>, hosts: &[String]) -> Option<String> {
        let said = |what: &str| Some(what.to_owned());
        if let Some(token_url) = self.token_url() {
            let host = token_url.host_str().unwrap_or_default();
            let ours = hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
                || base.and_then(Url::host_str).is_some_and(|known| known.eq_ignore_ascii_case(host))
                || (base.is_none() && hosts.is_empty());
            if !ours || !matches!(token_url.scheme(), "https" | "http") {
                return said("the host of `token_url` must be that of `base` or one of `hosts`, over https");
            }
        }
        match self {
            Self::Header { name, .. } if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                said("`name` must be the name of a header")
            }
            Self::Query { name, .. } if !is_parameter(name) => {
                said("`name` must be the name of a query parameter: letters, digits and _ - . $ [ ]")
            }
            Self::Hmac { key_id, .. } => {
                let recipe = self.recipe()?;
                if let Err(what) = recipe.check() {
                    return Some(what);
                }
                (recipe.names_key() != key_id.is_some())
                    .then(|| String::from("`key_id` and {key_id} go together; one of them is missing"))
            }
            Self::Certificate { and, .. } => {
                if base.is_some_and(|base| base.scheme() != "https") {
                    return said("a client certificate needs a `base` that begins with https://");
                }
                match and.as_deref() {
                    Some(Self::Certificate { .. } | Self::None) => {
                        said("`and` is another kind of credential that goes with the certificate")
                    }
                    Some(and) => and.fault(base, hosts),
                    None => None,
                }
            }
            _ => None,
        }
    }
}

/// Whether a parameter of a query can be called that.
fn is_parameter(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$[]".contains(&byte))
}

impl Access {
    /// Reads the short form of the command line: `none`, `bearer:REF`, `basic:REF:REF`, `header:NAME:REF`,
    /// `query:NAME:REF`, `certificate:REF:REF`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(
                Kind::BadConfig,
                "--auth must be none, bearer:REF, basic:USER-REF:PASSWORD-REF, header:NAME:REF, query:NAME:REF or \
                 certificate:CERTIFICATE-REF:KEY-REF, where REF is env:NAME, file:PATH, keyring:NAME or another \
                 reference; everything else is written in a connector.toml.",
            )
        };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let two = || {
            let middle = SCHEMES
                .iter()
                .filter_map(|scheme| rest.get(1..)?.find(&format!(":{scheme}")).map(|at| at + 1))
                .min()
                .ok_or_else(bad)?;
            Ok::<_, Error>((Reference::parse(&rest[..middle])?, Reference::parse(&rest[middle + 1..])?))
        };
        let way = match kind {
            "none" if rest.is_empty() => return Ok(Self::None),
            "bearer" => Way::Bearer { from: Reference::parse(rest)? },
            "basic" => {
                let (user, password) = two()?;
                Way::Basic { user, password }
            }
            "certificate" => {
                let (certificate, key) = two()?;
                Way::Certificate { certificate, key, and: None }
            }
            "header" | "query" => {
                let (name, from) = rest.split_once(':').ok_or_else(bad)?;
                let (name, from) = (name.to_owned(), Reference::parse(from)?);
                if kind == "header" { Way::Header { name, from } } else { Way::Query { name, from } }
            }
            _ => return Err(bad()),
        };
        if way.fault(None, &[]).is_some() { Err(bad()) } else { Ok(Self::One(way)) }
    }

    /// How requests are signed in a profile.
    pub fn in_profile(&self, profile: &str, place: &str) -> Result<&Self> {
        let Self::Each(profiles) = self else { return Ok(self) };
        let found = profiles.all().into_iter().find(|(name, _)| *name == profile);
        found.and_then(|(_, access)| access).ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                format!(
                    "{place}: there are no credentials for the profile {profile}; add [credentials.{profile}] (with \
                     kind = \"none\" if requests are not signed there)."
                ),
            )
        })
    }

    /// Each as text, by its profile where there are several: the kind, where it goes, and references. Never a secret.
    pub(in crate::connectors) fn said(&self) -> Vec<(String, String)> {
        let whole = String::from("credentials");
        match self {
            Self::None => Vec::new(),
            Self::One(way) => vec![(whole, canonical(&json!(way)))],
            Self::First(ways) => vec![(whole, canonical(&json!(ways)))],
            Self::Each(profiles) => {
                let said = |(profile, access): (&str, Option<&Self>)| {
                    Some((format!("credentials.{profile}"), canonical(&json!(access?))))
                };
                profiles.all().into_iter().filter_map(said).collect()
            }
        }
    }

    /// Every way, in order; of every profile.
    pub fn ways(&self) -> Vec<&Way> {
        match self {
            Self::None => Vec::new(),
            Self::One(way) => vec![way],
            Self::First(ways) => ways.iter().collect(),
            Self::Each(profiles) => {
                profiles.all().into_iter().filter_map(|(_, access)| access).flat_map(Self::ways).collect()
            }
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self == &Self::None
    }

    /// Headers that signing sets; no argument may.
    pub(in crate::connectors) fn headers(&self) -> Vec<String> {
        self.ways().into_iter().flat_map(Way::headers).collect()
    }

    /// Parameters of the query that signing sets; no argument may.
    pub(in crate::connectors) fn queries(&self) -> Vec<String> {
        self.ways().into_iter().filter_map(Way::query).collect()
    }

    pub(super) fn validate(&self, base: Option<&Url>, hosts: &[String], place: &str) -> Result<()> {
        let bad = |what: &str| Err(Error::new(Kind::BadConfig, format!("{place}, [credentials]: {what}.")));
        match self {
            Self::First(ways) if ways.is_empty() => {
                bad("an empty list; leave it out if requests are not signed")
            }
            Self::Each(profiles) => {
                let mut before: Vec<(&str, &Reference)> = Vec::new();
                for (profile, access) in profiles.all() {
                    let Some(access) = access else { continue };
                    if matches!(access, Self::Each(_)) {
                        return bad("a profile within a profile");
                    }
                    access.validate(base, hosts, &format!("{place}, {profile}"))?;
                    let own: Vec<&Reference> = access
                        .ways()
                        .into_iter()
                        .flat_map(Way::references)
                        .filter(|(_, what)| *what == Use::Secret)
                        .map(|(reference, _)| reference)
                        .collect();
                    if let Some((other, reference)) =
                        before.iter().find(|(_, reference)| own.contains(reference))
                    {
                        return bad(&format!(
                            "{profile} and {other} share the credential {reference}; each profile has its own"
                        ));
                    }
                    before.extend(own.into_iter().map(|reference| (profile, reference)));
                }
                Ok(())
            }
            _ => {
                let fault = self.ways().into_iter().find_map(|way| way.fault(base, hosts));
                fault.map_or(Ok(()), |what| bad(&what))
            }
        }
    }
}

/// Whether a header usually carries a credential.
pub(super) fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "subscription-key"]
        .iter()
        .any(|word| name.contains(word))
}

/// What to add to an error about a value, if it is about a credential.
pub(super) fn hint(message: &str) -> &'static str {
    if message.contains("reference") || message.contains("untagged enum Access") {
        "; a credential has a `kind` (bearer, basic, header, query, oauth2, refresh, hmac, certificate, none) and references (env:NAME, file:PATH, keyring:NAME), never a secret itself"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_read() {
        for text in [
            "none",
            "bearer:env:A",
            "basic:env:U:env:P",
            "basic:file:/a:b:keyring:x",
            "header:X-Api-Key:env:K",
            "query:api_key:env:K",
            "certificate:file:/c.pem:file:/k.pem",
        ] {
            Access::parse(text).unwrap();
        }
        let Access::One(Way::Basic { user, password }) = Access::parse("basic:file:/a:b:keyring:x").unwrap()
        else {
            panic!("another way")
        };
        assert_eq!((user.to_string(), password.to_string()), ("file:/a:b".into(), "keyring:x".into()));
        for text in [
            "",
            "bearer",
            "bearer:hunter2hunter2",
            "basic:env:U",
            "header:X Y:env:K",
            "header:env:K",
            "query:a b:env:K",
            "query:a&b:env:K",
            "query::env:K",
            "query:api_key:hunter2hunter2",
            "certificate:file:/c.pem",
            "hmac:env:K",
            "x:y",
            "none:x",
        ] {
            let error = Access::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::BadConfig);
            assert!(!error.message().contains("hunter2"));
        }
    }
}
