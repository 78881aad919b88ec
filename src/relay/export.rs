//! Our own client, as OpenTelemetry's exporters want one.
//!
//! Owns [`Exporter`]. The idea: what they send leaves by our client, under our egress rules; their threads wait, ours do
//! not.
//!
//! Must not: send more than it was given, headers of ours aside.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use super::Means;
use super::otlp::secret_headers;
use crate::error::Result;
use crate::http::credentials::Open;
use crate::http::{Body, Client, HeaderName, HeaderValue};
use crate::redaction::Held;
use crate::telemetry::Config;

/// Sends batches of spans and metrics.
#[derive(Clone)]
pub struct Exporter {
    client: Client,
    headers: Vec<(HeaderName, HeaderValue)>,
    runtime: Handle,
    _held: Arc<Vec<Held>>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Exporter(..)")
    }
}

impl Exporter {
    /// The way to an endpoint; secrets are read now. Within a runtime.
    pub fn open(config: &Config, endpoint: &str, means: &Means) -> Result<Self> {
        let (client, _) = means.client("OTLP receiver", endpoint, Arc::new(Open))?;
        let (headers, held) = secret_headers(&config.otlp_headers, means)?;
        Ok(Self { client, headers, runtime: Handle::current(), _held: Arc::new(held) })
    }

    async fn pass(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, bytes) = request.into_parts();
        let mut ours = crate::http::Request::new(parts.method, parts.uri.to_string().parse()?);
        ours.headers.clone_from(&self.headers);
        ours.idempotent = true;
        let content_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("application/x-protobuf").to_owned();
        ours.body = Body::Bytes { content_type, bytes };
        let answer = self.client.send(ours).await?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status.try_into()?;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

impl HttpClient for Exporter {
    fn send_bytes<'life, 'work>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'work>>
    where
        'life: 'work,
        Self: 'work,
    {
        let work = self.runtime.spawn(self.clone().pass(request));
        Box::pin(async move { work.await? })
    }
}
