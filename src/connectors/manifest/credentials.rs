//! How a connector's requests are signed, as configuration says it.
//!
//! Owns [`Access`] and [`Way`]. The idea: every secret is a [`Reference`]; the client secret goes to the token endpoint
//! alone, whose host must be one of the connector's.
//!
//! Must not: read a secret.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::connectors::Surroundings;
use crate::error::{Error, Kind, Result};
use crate::http::credentials::{Basic, FirstReady, Header, Open};
use crate::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use crate::http::{Credentials, HeaderName};
use crate::vault::{Reference, SCHEMES};

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
}

impl Access {
    /// Reads the short form of the command line: `none`, `bearer:REF`, `basic:REF:REF`, `header:NAME:REF`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(
                Kind::BadConfig,
                "--auth must be none, bearer:REF, basic:USER-REF:PASSWORD-REF or header:NAME:REF, where REF is env:NAME, \
                 file:PATH, keyring:NAME or another reference.",
            )
        };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let way = match kind {
            "none" if rest.is_empty() => return Ok(Self::None),
            "bearer" => Way::Bearer { from: Reference::parse(rest)? },
            "basic" => {
                let middle = SCHEMES
                    .iter()
                    .filter_map(|scheme| rest.get(1..)?.find(&format!(":{scheme}")).map(|at| at + 1))
                    .min()
                    .ok_or_else(bad)?;
                let (user, password) = (&rest[..middle], &rest[middle + 1..]);
                Way::Basic { user: Reference::parse(user)?, password: Reference::parse(password)? }
            }
            "header" => {
                let (name, from) = rest.split_once(':').ok_or_else(bad)?;
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
                Way::Header { name: name.to_owned(), from: Reference::parse(from)? }
            }
            _ => return Err(bad()),
        };
        Ok(Self::One(way))
    }

    /// Every way, in order.
    pub fn ways(&self) -> &[Way] {
        match self {
            Self::None => &[],
            Self::One(way) => std::slice::from_ref(way),
            Self::First(ways) => ways,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self == &Self::None
    }

    /// Headers that signing sets; no argument may.
    pub(in crate::connectors) fn headers(&self) -> Vec<String> {
        let name = |way: &Way| match way {
            Way::Header { name, .. } => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        self.ways().iter().filter_map(name).collect()
    }

    pub(super) fn validate(&self, base: Option<&Url>, hosts: &[String], place: &str) -> Result<()> {
        let bad = |what: &str| Err(Error::new(Kind::BadConfig, format!("{place}, [credentials]: {what}.")));
        if matches!(self, Self::First(ways) if ways.is_empty()) {
            return bad("an empty list; leave it out if requests are not signed");
        }
        for way in self.ways() {
            match way {
                Way::Header { name, .. } if HeaderName::from_bytes(name.as_bytes()).is_err() => {
                    return bad("`name` must be the name of a header");
                }
                Way::OAuth2 { token_url, .. } => {
                    let host = token_url.host_str().unwrap_or_default();
                    let ours = hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
                        || base.and_then(Url::host_str).is_some_and(|known| known.eq_ignore_ascii_case(host))
                        || (base.is_none() && hosts.is_empty());
                    if !ours || !matches!(token_url.scheme(), "https" | "http") {
                        return bad(
                            "the host of `token_url` must be that of `base` or one of `hosts`, over https",
                        );
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What signs the requests of the connector `name`. `moved` is the base address in use and the manifest's, where
    /// they differ: a token endpoint at the manifest's own address then moves along; any other stays where it is.
    pub(in crate::connectors) fn build(
        &self,
        name: &str,
        moved: Option<(&Url, &Url)>,
        around: &Surroundings,
    ) -> Result<Arc<dyn Credentials>> {
        let (egress, clock, secrets) = (&around.egress, &around.clock, &around.secrets);
        let one = |way: &Way| -> Result<Arc<dyn Credentials>> {
            Ok(match way {
                Way::None => Arc::new(Open),
                Way::Bearer { from } => Arc::new(Header::bearer(secrets.supply(from)?)),
                Way::Basic { user, password } => {
                    Arc::new(Basic::new(secrets.name(user)?, secrets.supply(password)?))
                }
                Way::Header { name, from } => {
                    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|cause| {
                        Error::new(Kind::BadConfig, "A credential names something that is no header.")
                            .with_source(cause)
                    })?;
                    Arc::new(Header::named(header, secrets.supply(from)?))
                }
                Way::OAuth2 { token_url, client_id, client_secret, style, scope, audience } => {
                    let endpoint = TokenEndpoint {
                        url: match moved {
                            Some((base, own)) if own.origin() == token_url.origin() => at(base, token_url),
                            _ => token_url.clone(),
                        },
                        style: *style,
                        scope: scope.clone(),
                        audience: audience.clone(),
                    };
                    let (id, secret) = (secrets.name(client_id)?, secrets.supply(client_secret)?);
                    let made = ClientCredentials::new(name, endpoint, id, secret, egress, Arc::clone(clock))?;
                    Arc::new(made.counting_in(around.logins.clone()).kept_in(secrets.tokens()))
                }
            })
        };
        let made: Arc<dyn Credentials> = match self.ways() {
            [] => Arc::new(Open),
            [way] => one(way)?,
            ways => {
                let ways = ways.iter().map(one).collect::<Result<Vec<_>>>()?;
                let none = "None of the credentials that this connector can use is there";
                Arc::new(FirstReady::new(ways, none))
            }
        };
        secrets.signs(&made);
        Ok(made)
    }
}

/// The same path at another scheme, host and port.
fn at(base: &Url, address: &Url) -> Url {
    let mut moved = base.clone();
    moved.set_path(address.path());
    moved.set_query(address.query());
    moved
}

/// Whether a header usually carries a credential.
pub(super) fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "subscription-key"]
        .iter()
        .any(|word| name.contains(word))
}

/// What to add to an error about a value, if it is about a credential.
pub(super) fn hint(message: &str) -> &'static str {
    if message.contains("reference") || message.contains("untagged enum Access") {
        "; a credential has a `kind` (bearer, basic, header, oauth2, none) and references (env:NAME, file:PATH, keyring:NAME), never a secret itself"
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
            "x:y",
            "none:x",
        ] {
            let error = Access::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::BadConfig);
            assert!(!error.message().contains("hunter2"));
        }
    }
}
