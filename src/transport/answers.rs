//! The answers that are whole.
//!
//! Owns how an [`Answer`] and the transport's own refusals look on the wire, and which of them are compressed.
//!
//! Must not: decide what is answered.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use super::guard::Refused;
use super::sse::Reply;
use super::{Answer, TurnedAway, compress};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The same answer, smaller, where it has at least `from` bytes and the client can read it; `from` of 0 is never.
pub(super) fn shrink(mut response: Response<Reply>, from: usize, asked: &HeaderMap) -> Response<Reply> {
    let Reply::Whole(bytes) = response.body() else { return response };
    if from == 0 || bytes.len() < from {
        return response;
    }
    let small = if compress::accepts_gzip(asked) { compress::gzip(bytes) } else { None };
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(small) = small {
        *response.body_mut() = Reply::Whole(small.into());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// How a refusal of the transport's own looks.
pub(super) fn refused_answer(refusal: &Refused) -> Response<Reply> {
    if refusal.status == StatusCode::FORBIDDEN {
        return empty(StatusCode::FORBIDDEN);
    }
    let mut response = plain(refusal.status, refusal.what);
    let headers = response.headers_mut();
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    }
    let unread =
        [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE];
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if unread.contains(&refusal.status) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(super) fn answer(answer: Answer) -> Response<Reply> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = match answer.body {
        Some(body) => {
            let mut response = Response::new(Reply::Whole(body.into()));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        None => Response::new(Reply::Whole(Bytes::new())),
    };
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(Ok(session)) = answer.session.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(SESSION, session);
    }
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// A public document. It changes only with the configuration, and that seldom.
pub(super) fn document(text: &str) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Bytes::copy_from_slice(text.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// A public text.
pub(super) fn public(text: &str) -> Response<Reply> {
    let mut response = document(text);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The response, with the time to come back after.
pub(super) fn wait_for(mut response: Response<Reply>, wait: Duration) -> Response<Reply> {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// 429, and what the caller may have when: `RateLimit` and `RateLimit-Policy` as the HTTP working group's draft has them,
/// and the older three headers.
pub(super) fn turned_away(away: TurnedAway) -> Response<Reply> {
    let mut response = wait_for(plain(StatusCode::TOO_MANY_REQUESTS, away.why), away.after);
    let Some((name, most, window)) = away.quota else { return response };
    let wait = away.after.as_secs() + u64::from(away.after.subsec_nanos() > 0);
    let headers = response.headers_mut();
    for (header, value) in [
        ("ratelimit-policy", format!("\"{name}\";q={most};w={window}")),
        ("ratelimit", format!("\"{name}\";r=0;t={wait}")),
        ("x-ratelimit-limit", most.to_string()),
        ("x-ratelimit-remaining", String::from("0")),
        ("x-ratelimit-reset", wait.to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(header), value);
        }
    }
    response
}

/// What every answer carries: it is kept by nobody, taken for nothing but what it says it is, and shown in no frame; and
/// browsers that were here by `https` do not come by `http` again.
pub(super) fn dress(headers: &mut HeaderMap, only_https: bool) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // a page says what of its own it shows
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if only_https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// Headers that pages of allowed origins may send, besides those that begin with `mcp-`.
const SENT: &[&str] =
    &["accept", "authorization", "content-type", "dpop", "last-event-id", "traceparent", "tracestate"];

/// The answer to a browser that asks whether a page of an allowed origin may.
pub(super) fn preflight(asked: &HeaderMap) -> Response<Reply> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    let wanted = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = wanted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let granted: Vec<String> = names
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| SENT.contains(&&**name) || name.starts_with("mcp-"))
        .collect();
    if let Ok(granted) = HeaderValue::from_str(&granted.join(", "))
        && !granted.is_empty()
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, granted);
    }
    response
}
