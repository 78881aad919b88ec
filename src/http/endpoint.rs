//! How a token endpoint is asked.
//!
//! Owns [`TokenEndpoint`] and [`Style`]. The idea: the same few fields, in the three ways in which vendors want them.
//!
//! Must not: send anything.

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use url::Url;
use url::form_urlencoded::Serializer;

use super::credentials::basic;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};
use crate::redaction::{Held, Redactor};
use crate::secret::Secret;

/// How the token endpoint wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// RFC 6749: a form; client id and secret in `Authorization: Basic`.
    #[default]
    Basic,
    /// RFC 6749: a form that holds client id and secret.
    Form,
    /// A JSON object that holds client id and secret.
    Json,
}

/// What a token is asked for with.
pub(super) enum Asked<'a> {
    /// The client's secret.
    Client { secret: &'a str },
    /// A refresh token, and the client's secret if it has one.
    Refresh { token: &'a str, secret: Option<&'a str> },
}

/// What to ask for, and where.
#[derive(Debug, Clone)]
pub struct TokenEndpoint {
    /// Its address. The client secret goes here and nowhere else.
    pub url: Url,
    /// How it wants to be asked.
    pub style: Style,
    /// `scope`, if one is needed.
    pub scope: Option<String>,
    /// `audience`, if one is needed.
    pub audience: Option<String>,
}

impl TokenEndpoint {
    /// The headers and the body that ask for a token; what they hold is taught to the redactor.
    pub(super) fn question(
        &self,
        id: &str,
        asked: &Asked<'_>,
        redactor: &Redactor,
        held: &mut Vec<Held>,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (mut fields, secret) = match *asked {
            Asked::Client { secret } => (vec![("grant_type", "client_credentials")], Some(secret)),
            Asked::Refresh { token, secret } => {
                (vec![("grant_type", "refresh_token"), ("refresh_token", token)], secret)
            }
        };
        fields.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        fields.extend(self.audience.as_deref().map(|audience| ("audience", audience)));
        if let Some(secret) = secret.filter(|_| self.style == Style::Basic) {
            // RFC 6749, 2.3.1: both are form-encoded before they are joined
            let encode =
                |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = basic(&encode(id), &encode(secret));
            held.push(redactor.hold(&Secret::new(pair.clone()), "basic-credential"));
            let value = HeaderValue::from_str(&format!("Basic {pair}"));
            let mut value =
                value.map_err(|_| Error::new(Kind::Internal, "a credential could not be encoded"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        } else {
            // a client without a secret says who it is, and no more (RFC 6749, 3.2.1)
            fields.push(("client_id", id));
            fields.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let (media_type, body) = if self.style == Style::Json {
            let object: crate::json::Map<String, Value> =
                fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
            ("application/json", Value::Object(object).to_string())
        } else {
            let form = Serializer::new(String::new()).extend_pairs(fields).finish();
            ("application/x-www-form-urlencoded", form)
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        Ok((headers, Bytes::from(body)))
    }
}
