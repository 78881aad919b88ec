//! The client's side of the HTTP endpoint.
//!
//! Owns [`HttpLink`]. The idea: a request is a POST; its answer is a body or the last event of a stream, and dropping
//! the exchange closes the stream, which is how the newest revision cancels.
//!
//! Must not: speak TLS; it is for loopback and tests.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::ears::Ears;
use super::error::{Error, Result};
use super::headers::Head;
use super::link::{Link, answers};
use super::sse::Events;
use crate::protocol::{Door, Revision};

/// Bytes of one message.
const LIMIT: usize = 64 << 20;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// A conversation over HTTP. What it is made of is shared with the tasks it starts.
pub(super) struct HttpLink(Arc<Inner>);

struct Inner {
    pool: Pool<HttpConnector, Full<Bytes>>,
    uri: Uri,
    key: Option<HeaderValue>,
    session: Mutex<Option<HeaderValue>>,
    /// The revision that the handshake agreed on.
    agreed: OnceLock<&'static str>,
    ears: Arc<Ears>,
    closed: CancellationToken,
}

impl HttpLink {
    pub(super) fn to(url: &str, options: &Options, ears: Arc<Ears>) -> Result<Arc<dyn Link>> {
        let uri: Uri = url.parse().map_err(|_| Error::Malformed("that is not a URL"))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(Error::Malformed("the URL must start with http://"));
        }
        let key = match &options.key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                    .map_err(|_| Error::Malformed("the key cannot be a header"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Arc::new(Self(Arc::new(Inner {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            uri,
            key,
            session: Mutex::default(),
            agreed: OnceLock::new(),
            ears,
            closed: CancellationToken::new(),
        }))))
    }
}

impl Inner {
    async fn send(&self, method: Method, body: Option<&Value>, head: &Head) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.uri.clone())
            .header(ACCEPT, "application/json, text/event-stream");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        if let Some(session) = &*self.session.lock().unwrap_or_else(PoisonError::into_inner) {
            request = request.header(SESSION, session.clone());
        }
        if let Some(revision) = head.revision.or_else(|| self.agreed.get().copied()) {
            request = request.header(REVISION, revision);
        }
        if head.revision.is_some() {
            request = request.header("mcp-method", &head.method);
        }
        if let Some(name) = &head.name {
            request = request.header("mcp-name", name);
        }
        for (name, value) in &head.parameters {
            request = request.header(format!("mcp-param-{name}"), value);
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request =
            request.body(Full::new(body)).map_err(|_| Error::Malformed("a header cannot be sent"))?;
        self.pool.request(request).await.map_err(|error| Error::Unreachable(error.into()))
    }

    async fn exchange(self: &Arc<Self>, id: u64, message: &Value, head: &Head) -> Result<Value> {
        let response = self.send(Method::POST, Some(message), head).await?;
        if let Some(session) = response.headers().get(SESSION) {
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        }
        if is_stream(&response) {
            return self.follow(response, Some(id)).await?.ok_or(Error::Gone);
        }
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), LIMIT)
            .collect()
            .await
            .map_err(|_| Error::Malformed("an answer that is too large, or breaks off"))?
            .to_bytes();
        match serde_json::from_slice::<Value>(&body) {
            Ok(answer) if answers(&answer, id) || answer.get("error").is_some() => Ok(answer),
            _ if !status.is_success() => Err(Error::Status(status.as_u16())),
            _ => Err(Error::Malformed("the body is no answer to the request")),
        }
    }

    /// Hears a stream to the answer of `id`, or to its end.
    async fn follow(
        self: &Arc<Self>,
        response: Response<Incoming>,
        id: Option<u64>,
    ) -> Result<Option<Value>> {
        let mut body = response.into_body();
        let mut events = Events::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Error::Unreachable(error.into()))?;
            let Some(bytes) = frame.data_ref() else { continue };
            for data in events.take(bytes) {
                let Ok(message) = serde_json::from_str::<Value>(&data) else { continue };
                if id.is_some_and(|id| answers(&message, id)) {
                    return Ok(Some(message));
                }
                self.hear(message).await;
            }
            if events.held() > LIMIT {
                return Err(Error::Malformed("an event that is too large"));
            }
        }
        Ok(None)
    }

    /// Questions are answered beside the stream, so that it goes on meanwhile.
    async fn hear(self: &Arc<Self>, message: Value) {
        if message.get("id").is_none() {
            self.ears.hear(message).await;
            return;
        }
        let link = self.clone();
        let closed = self.closed.clone();
        tokio::spawn(closed.run_until_cancelled_owned(async move {
            if let Some(response) = link.ears.hear(message).await {
                let _ = link.send(Method::POST, Some(&response), &Head::default()).await;
            }
        }));
    }

    /// The stream that a server of the older door may offer for what belongs to no request.
    async fn listen(self: Arc<Self>) {
        if let Ok(response) = self.send(Method::GET, None, &Head::default()).await
            && is_stream(&response)
        {
            let _ = self.follow(response, None).await;
        }
    }
}

fn is_stream(response: &Response<Incoming>) -> bool {
    let media = response.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    response.status() == StatusCode::OK && media.is_some_and(|media| media.starts_with("text/event-stream"))
}

impl Link for HttpLink {
    fn exchange(&self, id: u64, message: Value, head: Head) -> BoxFuture<'_, Result<Value>> {
        Box::pin(async move { self.0.exchange(id, &message, &head).await })
    }

    fn notify(&self, message: Value, head: Head) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let status = self.0.send(Method::POST, Some(&message), &head).await?.status();
            if status.is_success() { Ok(()) } else { Err(Error::Status(status.as_u16())) }
        })
    }

    fn cancel(&self, message: Value, door: Door) {
        // The newest revision cancels by closing the stream, which dropping the exchange has done.
        if door == Door::Handshake {
            let link = self.0.clone();
            tokio::spawn(self.0.closed.clone().run_until_cancelled_owned(async move {
                let _ = link.send(Method::POST, Some(&message), &Head::default()).await;
            }));
        }
    }

    fn opened(&self, revision: Revision) {
        if revision.revision_header() {
            let _ = self.0.agreed.set(revision.name());
        }
        tokio::spawn(self.0.closed.clone().run_until_cancelled_owned(self.0.clone().listen()));
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.closed.cancel();
            let open = self.0.session.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if open {
                let _ = self.0.send(Method::DELETE, None, &Head::default()).await;
                self.0.session.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
        })
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.0.closed.cancel();
    }
}
