//! Asking the authorization server about a token (RFC 7662).
//!
//! Owns [`Introspector`]. The idea: the answer is the claims of a token whose signature the issuer itself vouches for; it
//! is read by the same rules as a signed token. The token and the client's secret go to the configured address and
//! nowhere else.
//!
//! Must not: remember an answer, or believe one that is not about an active access token.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::config::Introspection;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::{
    Body, BoxFuture, Client, Config as Egress, Credentials, HeaderValue, Identity, Method, Request, Settings,
    Signing, Supply,
};
use crate::json::{Bounds, Map, Value, parse};
use crate::redaction::Redactor;
use crate::secret::Secret;

/// Longest answer that is read.
const LONGEST: u64 = 64 << 10;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one authorization server.
pub(super) struct Introspector {
    name: String,
    endpoint: Url,
    client: Client,
}

/// Client id and secret, as RFC 6749 (2.3.1) wants them: form-encoded before they are joined.
struct Asker {
    id: String,
    secret: Arc<dyn Supply>,
}

impl Credentials for Asker {
    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let supply = Arc::clone(&self.secret);
            let secret = tokio::task::spawn_blocking(move || supply.secret()).await.map_err(|cause| {
                Error::new(Kind::Internal, "Reading a credential was interrupted.").with_source(cause)
            })??;
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(&self.id), encode(secret.expose())));
            signing.redactor().learn(&secret, "client-secret");
            signing.redactor().learn(&Secret::new(pair.clone()), "basic-credential");
            signing.set(AUTHORIZATION, &format!("Basic {pair}"))
        })
    }

    fn identity<'a>(&'a self, _redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        let reference = format!("{} with {}", self.id, self.secret.reference());
        Box::pin(async move { Identity { reference, fingerprint: None } })
    }

    fn ready(&self) -> Result<()> {
        self.secret.secret().map(|_| ())
    }
}

impl Introspector {
    /// Nothing is sent yet.
    pub(super) fn new(
        name: &str,
        config: &Introspection,
        egress: &Egress,
        (redactor, clock): (Redactor, SharedClock),
    ) -> Result<Self> {
        let Ok(endpoint) = Url::parse(&config.endpoint) else {
            return Err(Error::new(
                Kind::BadConfig,
                format!("The introspection `endpoint` of the issuer {name} is not an address."),
            ));
        };
        let mut egress = egress.clone();
        (egress.retries, egress.per_minute) = (0, None);
        let place = format!("the introspection endpoint of {name}");
        let mut settings = Settings::new(place, endpoint.clone(), &egress);
        settings.timeout = Some(PATIENCE);
        settings.body_limit = Some(LONGEST);
        let asker = Asker { id: config.client_id.clone(), secret: Arc::new(config.client_secret.clone()) };
        asker.ready().map_err(|error| {
            let said = format!("The introspection `client_secret` of the issuer {name}: {}", error.message());
            Error::new(Kind::BadConfig, said).with_source(error)
        })?;
        let client = Client::new(settings, Arc::new(asker), redactor, clock)?;
        Ok(Self { name: name.to_owned(), endpoint, client })
    }

    /// The claims of an active token; none if it is not one.
    pub(super) async fn ask(&self, token: &str) -> Result<Option<Map<String, Value>>> {
        let form = Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let mut request = Request::new(Method::POST, self.endpoint.clone());
        request.headers.push((ACCEPT, HeaderValue::from_static("application/json")));
        request.body = Body::Bytes {
            content_type: String::from("application/x-www-form-urlencoded"),
            bytes: Bytes::from(form),
        };
        let response = self.client.send(request).await?;
        let broken = || {
            let said =
                format!("The introspection endpoint of {} did not answer as RFC 7662 says.", self.name);
            Error::new(Kind::UpstreamFailed, said)
        };
        if response.status != 200 {
            return Err(broken());
        }
        let bounds = Bounds { size: usize::try_from(LONGEST).unwrap_or(usize::MAX), depth: 12 };
        let Ok(Value::Object(claims)) = parse(&response.body, &bounds) else { return Err(broken()) };
        match claims.get("active") {
            Some(Value::Bool(true)) => Ok(Some(claims)),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err(broken()),
        }
    }
}
