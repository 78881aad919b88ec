//! Logs to an OpenTelemetry receiver.
//!
//! Owns how messages look there: OTLP/HTTP in its JSON form (`POST URL/v1/logs`). The idea: a message is one log record
//! whose body is the message as text, so that whatever keeps it can give it back to `bartizan audit verify --anchor`.
//!
//! Must not: leave by another way than our own client.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use super::{Means, Message, Severity, refused};
use crate::error::{Error, Kind, Result};
use crate::http::credentials::Open;
use crate::http::{Client, HeaderName, HeaderValue, Method, Request};
use crate::json::{Value, json};
use crate::redaction::Held;
use crate::vault::Reference;

/// Names and values.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

pub(super) struct Otlp {
    client: Client,
    url: Url,
    headers: Headers,
    _held: Vec<Held>,
}

impl Otlp {
    pub(super) fn open(url: &str, headers: &BTreeMap<String, String>, means: &Means) -> Result<Self> {
        let whole = format!("{}/v1/logs", url.trim_end_matches('/'));
        let (client, url) = means.client("OTLP receiver", &whole, Arc::new(Open))?;
        let (headers, held) = secret_headers(headers, means)?;
        Ok(Self { client, url, headers, _held: held })
    }

    pub(super) async fn send(&self, messages: &[Message]) -> Result<()> {
        let records: Vec<Value> = messages.iter().map(record).collect();
        let body = json!({"resourceLogs": [{
            "resource": {"attributes": [attribute("service.name", "bartizan")]},
            "scopeLogs": [{"scope": {"name": "bartizan"}, "logRecords": records}],
        }]});
        let mut request = Request::new(Method::POST, self.url.clone()).json("application/json", &body);
        request.headers.clone_from(&self.headers);
        request.idempotent = true;
        let response = self.client.send(request).await?;
        if (200..300).contains(&response.status) {
            Ok(())
        } else {
            Err(refused("OTLP receiver", response.status))
        }
    }
}

/// Headers whose values are secrets, read now and known to the redactor.
pub(super) fn secret_headers(
    named: &BTreeMap<String, String>,
    means: &Means,
) -> Result<(Headers, Vec<Held>)> {
    let (mut headers, mut held) = (Vec::new(), Vec::new());
    for (name, reference) in named {
        let wrong =
            || Error::new(Kind::BadConfig, "A header of an OTLP receiver has a name or value that is none.");
        let secret = means.secrets.resolve(&Reference::parse(reference)?)?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        held.push(means.redactor.hold(&secret, "otlp-header"));
        headers.push((name, value));
    }
    Ok((headers, held))
}

fn record(message: &Message) -> Value {
    let (number, text) = match message.severity {
        Severity::Warning => (13, "WARN"),
        Severity::Notice => (10, "INFO2"),
    };
    json!({
        "timeUnixNano": message.wall.as_nanos().to_string(),
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": message.json().to_string()},
        "attributes": [attribute("event.name", &format!("bartizan.{}", message.kind))],
    })
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}
