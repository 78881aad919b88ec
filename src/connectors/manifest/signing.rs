//! What signs a connector's requests, made of what configuration says.
//!
//! Owns [`Access::build`]. The idea: whatever can be known to be wrong is refused here, when the program starts, and not in
//! the middle of a call.
//!
//! Must not: read a secret.

use std::sync::Arc;

use url::Url;

use super::credentials::{Access, Way};
use crate::connectors::Surroundings;
use crate::error::{Error, Kind, Result};
use crate::http::certificate::ClientCertificate;
use crate::http::credentials::{Basic, FirstReady, Header, Open};
use crate::http::oauth::{ClientCredentials, RefreshToken, Style, TokenEndpoint};
use crate::http::query::Query;
use crate::http::signature::Signature;
use crate::http::{Credentials, HeaderName};
use crate::vault::Use;

/// The base address in use and the manifest's, where they differ.
type Moved<'a> = Option<(&'a Url, &'a Url)>;

impl Access {
    /// What signs the requests of the connector `name`, in the profile of this installation. `moved` is the base address in
    /// use and the manifest's, where they differ: a token endpoint at the manifest's own address then moves along; any
    /// other stays where it is.
    pub(in crate::connectors) fn build(
        &self,
        name: &str,
        moved: Moved<'_>,
        around: &Surroundings,
    ) -> Result<Arc<dyn Credentials>> {
        let access = self.in_profile(around.secrets.profile(), name)?;
        let made: Arc<dyn Credentials> = match access.ways().as_slice() {
            [] => Arc::new(Open),
            [way] => way.build(name, moved, around)?,
            ways => {
                let ways =
                    ways.iter().map(|way| way.build(name, moved, around)).collect::<Result<Vec<_>>>()?;
                let none = "None of the credentials that this connector can use is there";
                Arc::new(FirstReady::new(ways, none))
            }
        };
        around.secrets.signs(&made);
        Ok(made)
    }
}

impl Way {
    fn build(&self, name: &str, moved: Moved<'_>, around: &Surroundings) -> Result<Arc<dyn Credentials>> {
        let (egress, clock, secrets) = (&around.egress, &around.clock, &around.secrets);
        let endpoint = |token_url: &Url, style: Style, scope: &Option<String>, audience: &Option<String>| {
            let url = match moved {
                Some((base, own)) if own.origin() == token_url.origin() => at(base, token_url),
                _ => token_url.clone(),
            };
            TokenEndpoint { url, style, scope: scope.clone(), audience: audience.clone() }
        };
        Ok(match self {
            Self::None => Arc::new(Open),
            Self::Bearer { from } => Arc::new(Header::bearer(secrets.supply(from)?)),
            Self::Basic { user, password } => {
                Arc::new(Basic::new(secrets.name(user)?, secrets.supply(password)?))
            }
            Self::Header { name, from } => {
                let header = HeaderName::from_bytes(name.as_bytes()).map_err(|cause| {
                    Error::new(Kind::BadConfig, "A credential names something that is no header.")
                        .with_source(cause)
                })?;
                Arc::new(Header::named(header, secrets.supply(from)?))
            }
            Self::Query { name, from } => Arc::new(Query::new(name, secrets.supply(from)?)),
            Self::OAuth2 { token_url, client_id, client_secret, style, scope, audience } => {
                let endpoint = endpoint(token_url, *style, scope, audience);
                let (id, secret) = (secrets.name(client_id)?, secrets.supply(client_secret)?);
                let made = ClientCredentials::new(name, endpoint, id, secret, egress, Arc::clone(clock))?;
                Arc::new(made.counting_in(around.logins.clone()).kept_in(secrets.tokens()))
            }
            Self::Refresh {
                token_url,
                refresh_token,
                client_id,
                client_secret,
                style,
                scope,
                audience,
                rotates,
            } => {
                let endpoint = endpoint(token_url, *style, scope, audience);
                let own = client_secret.as_ref().map(|secret| secrets.supply(secret)).transpose()?;
                let (id, token) = (secrets.name(client_id)?, secrets.supply(refresh_token)?);
                let clock = Arc::clone(clock);
                let refresh = RefreshToken { token, secret: own, rotates: *rotates };
                let made = ClientCredentials::refreshing(name, endpoint, id, refresh, egress, clock)?;
                Arc::new(made.counting_in(around.logins.clone()).kept_in(secrets.tokens()))
            }
            Self::Hmac { key, key_id, .. } => {
                let id = key_id.as_ref().map(|id| secrets.name(id)).transpose()?;
                let recipe = self.recipe().unwrap_or_default();
                Arc::new(Signature::new(&recipe, secrets.supply(key)?, id, Arc::clone(clock))?)
            }
            Self::Certificate { certificate, key, and } => {
                let what = if certificate == key { Use::Secret } else { Use::Public };
                let also = and.as_ref().map(|and| and.build(name, moved, around)).transpose()?;
                let (chain, key) = (secrets.supply_as(certificate, what)?, secrets.supply(key)?);
                Arc::new(ClientCertificate::new(chain, key, also, Arc::clone(clock)))
            }
        })
    }
}

/// The same path at another scheme, host and port.
fn at(base: &Url, address: &Url) -> Url {
    let mut moved = base.clone();
    moved.set_path(address.path());
    moved.set_query(address.query());
    moved
}
