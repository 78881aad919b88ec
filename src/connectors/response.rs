//! An upstream's answer -> a tool's result.
//!
//! Owns what each status and media type becomes. The idea: words from outside are only ever in a result, which the line
//! redacts; an error holds a sentence of ours. A refusal (4xx) or failure (5xx) is a failed result that begins with our
//! sentence and carries kind and status as data: in `structuredContent`, and in its `_meta` under [`FAILURE`].
//!
//! Must not: follow a redirect, or retry (`http/` did what is safe).

use std::time::Duration;

use base64::Engine as _;

use super::openapi::{is_json, plain_text};
use crate::error::{Error, Kind, Result};
use crate::http::Response;
use crate::json::{MOST_VALUES, Map, Value, count, json};
use crate::limits::room::{self, LARGE};
use crate::pipeline::ANSWER;
use crate::protocol::types::{Content, ResourceContents, ToolResult};

/// Under this key of a failed result's `_meta`: `{"kind", "status", "retry_after_seconds"}`; no status where nothing was
/// sent.
pub const FAILURE: &str = "bartizan/failure";

/// How much of an upstream's own words a failure shows, and how much of a web page; counted once it is redacted.
const WORDS: usize = 4_000;
const PAGE: usize = 1_000;
/// How much of a web page is read.
const READ: usize = 16 << 10;

/// The result for an answer. `name` is what the operator calls the upstream.
pub(super) fn result(response: &Response, name: &str, expects_json: bool) -> Result<ToolResult> {
    match response.status {
        200..=299 if is_packed(response) => Err(Error::new(
            Kind::UpstreamFailed,
            format!("{name} answered in a compressed form that nobody asked for; it was not unpacked."),
        )
        .with_detail(json!({"status": response.status}))),
        200..=299 => success(response, name, expects_json),
        300..=399 => Err(Error::new(
            Kind::UpstreamFailed,
            format!(
                "{name} answered with a redirect ({}), which is not followed; check the base address.",
                response.status
            ),
        )
        .with_detail(json!({"status": response.status}))),
        // its words are not worth more memory than an answer is
        _ if has_too_many(response) => {
            Ok(failure(&Response { body: bytes::Bytes::new(), ..response.clone() }, name))
        }
        _ => Ok(failure(response, name)),
    }
}

/// The result for a request that was not sent because the upstream wants to be left in peace: what a model reads after
/// a 429 and what it reads until the pause is over say the same. Any other error stays one.
pub(super) fn unsent(error: Error, name: &str) -> Result<ToolResult> {
    if error.kind() != Kind::RateLimited {
        return Err(error);
    }
    let wait = error.retry_after();
    let text = format!("{name} has had too many requests; this one was not sent.{}", again(wait));
    let mut result = ToolResult::failure(text);
    let meta = meta(Kind::RateLimited, None, wait);
    result.structured_content = meta.get(FAILURE).cloned();
    result.meta = Some(meta);
    Ok(result)
}

/// [`result`], on a thread of its own where the answer is large.
pub(super) async fn read(response: &Response, name: &str, expects_json: bool) -> Result<ToolResult> {
    let size = response.body.len();
    if size < LARGE {
        return result(response, name, expects_json);
    }
    let (response, name) = (response.clone(), name.to_owned());
    Box::pin(room::work(size, move || result(&response, &name, expects_json))).await?
}

/// [`json_body`], on a thread of its own where the answer is large.
pub(super) async fn read_json(response: &Response, name: &str) -> Result<Value> {
    let size = response.body.len();
    if size < LARGE {
        return json_body(response, name);
    }
    let (response, name) = (response.clone(), name.to_owned());
    Box::pin(room::work(size, move || json_body(&response, &name))).await?
}

/// Whether the values of the body would be too much in memory.
fn has_too_many(response: &Response) -> bool {
    response.body.len() > MOST_VALUES && count(&response.body) > MOST_VALUES
}

/// The body of a successful answer as JSON.
fn json_body(response: &Response, name: &str) -> Result<Value> {
    if has_too_many(response) {
        let message = format!(
            "{name} answered {} with more than {MOST_VALUES} values, which is more than is read at once; ask for less of \
             it.",
            response.status
        );
        return Err(Error::new(Kind::UpstreamFailed, message).with_detail(json!({"status": response.status})));
    }
    if response.body.len() >= LARGE {
        room::take(count(&response.body).saturating_mul(size_of::<Value>()))?;
    }
    // serde_json stops at 128 levels; the client capped the size.
    serde_json::from_slice(&response.body).map_err(|cause| {
        Error::new(
            Kind::UpstreamFailed,
            format!(
                "{name} answered {} with a body that is not valid JSON; it may have been cut off. Try again.",
                response.status
            ),
        )
        .with_detail(json!({"status": response.status}))
        .with_source(cause)
    })
}

fn success(response: &Response, name: &str, expects_json: bool) -> Result<ToolResult> {
    let media = media_type(response);
    if response.body.is_empty() || response.status == 204 {
        let mut result =
            ToolResult::text(format!("Done: {name} answered {} without a body.", response.status));
        result.content.extend(telling(response));
        return Ok(result);
    }
    let first = response.body.iter().find(|byte| !byte.is_ascii_whitespace()).copied().unwrap_or(b' ');
    let unsaid = media.is_empty() || media == "application/octet-stream" || media == "text/plain";
    if is_json(&media) || (expects_json && unsaid && matches!(first, b'{' | b'[')) {
        let mut result = ToolResult::structured(json_body(response, name)?);
        result.content.extend(telling(response));
        return Ok(result);
    }
    if media.contains("html") {
        let words = words(response);
        if expects_json {
            let mut result = ToolResult::failure(format!(
                "{name} answered {} with a web page instead of data; check the base address and the credential.",
                response.status
            ));
            result.content.extend(words);
            result.meta = Some(meta(Kind::UpstreamFailed, Some(response.status), None));
            return Ok(result);
        }
        let words = words.unwrap_or_else(|| Content::text(""));
        return Ok(ToolResult { content: vec![words], ..ToolResult::default() });
    }
    if is_text(&media) {
        let words = Content::words(String::from_utf8_lossy(&response.body), usize::MAX);
        return Ok(ToolResult { content: vec![words], ..ToolResult::default() });
    }
    if expects_json {
        let mut result = ToolResult::failure(format!(
            "{name} answered {} with something that is no data and no text; check the base address.",
            response.status
        ));
        result.meta = Some(meta(Kind::UpstreamFailed, Some(response.status), None));
        return Ok(result);
    }
    let data = base64::engine::general_purpose::STANDARD.encode(&response.body);
    let content = match media.split('/').next() {
        Some("image") => Content::Image { data, mime_type: media, annotations: None, meta: None },
        Some("audio") => Content::Audio { data, mime_type: media, annotations: None, meta: None },
        _ => {
            let mime_type = if media.is_empty() { String::from("application/octet-stream") } else { media };
            let resource = ResourceContents {
                uri: format!("urn:uuid:{}", uuid::Uuid::new_v4()),
                mime_type: Some(mime_type),
                text: None,
                blob: Some(data),
                meta: None,
            };
            Content::Resource { resource, annotations: None }
        }
    };
    Ok(ToolResult { content: vec![content], ..ToolResult::default() })
}

/// Whether the body is compressed: we never say that we take that, and what is small may become large.
fn is_packed(response: &Response) -> bool {
    let said = response.headers.get("content-encoding").map(|value| value.to_str().unwrap_or("unreadable"));
    said.is_some_and(|said| !said.trim().is_empty() && !said.trim().eq_ignore_ascii_case("identity"))
}

/// Headers that a later call needs: what to send as If-Match, where the new thing is, where to ask how it goes.
fn telling(response: &Response) -> Option<Content> {
    let told = ["etag", "location", "operation-location", "last-modified"].iter().filter_map(|name| {
        let value = response.headers.get(*name)?.to_str().ok()?;
        (value.len() <= 1_000).then(|| format!("{name}: {value}"))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| Content::text(told.join("\n")))
}

/// A refusal or failure, in a sentence of ours and then in the upstream's words.
fn failure(response: &Response, name: &str) -> ToolResult {
    let status = response.status;
    let kind = match status {
        429 => Kind::RateLimited,
        400..500 => Kind::UpstreamRefused,
        _ => Kind::UpstreamFailed,
    };
    let what = match status {
        400 => "refused the request as malformed",
        401 => "does not accept the credential; the operator must check it",
        402 => "wants payment first",
        403 => "does not let this credential do that",
        404 => "has no such thing",
        405 => "does not offer that here",
        408 => "gave up waiting",
        409 => "refused, because it conflicts with the present state; read it again",
        410 => "no longer has it",
        412 => "refused, because the thing has changed meanwhile; read it again",
        413 => "refused the request as too large",
        415 => "does not take this kind of body",
        422 => "refused the content of the request",
        423 => "has it locked",
        429 => "has had too many requests",
        501 => "does not offer that",
        502..=504 => "is out of order at the moment",
        _ if kind == Kind::UpstreamRefused => "refused the request",
        _ => "failed",
    };
    let wait = again(response.retry_after);
    let mut result = ToolResult::failure(format!("{name} {what} (HTTP {status}).{wait}"));
    result.content.extend(words(response));
    let meta = meta(kind, Some(status), response.retry_after);
    let mut structured = meta.get(FAILURE).cloned().unwrap_or_default();
    if let Ok(answer @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice::<Value>(&response.body)
    {
        structured[ANSWER] = answer;
    }
    result.structured_content = Some(structured);
    result.meta = Some(meta);
    result
}

fn meta(kind: Kind, status: Option<u16>, retry_after: Option<Duration>) -> Map<String, Value> {
    let mut failure = json!({"kind": kind.name()});
    if let Some(status) = status {
        failure["status"] = json!(status);
    }
    if let Some(wait) = retry_after {
        failure["retry_after_seconds"] = json!(wait.as_secs_f64());
    }
    Map::from_iter([(String::from(FAILURE), failure)])
}

/// When to come back, as a sentence.
fn again(wait: Option<Duration>) -> String {
    let seconds = wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    seconds.map(|seconds| format!(" Try again in {seconds} seconds.")).unwrap_or_default()
}

/// What the upstream says, to be shortened once it is redacted; a web page loses its markup.
fn words(response: &Response) -> Option<Content> {
    let media = media_type(response);
    if is_json(&media)
        && let Ok(value) = serde_json::from_slice::<Value>(&response.body)
    {
        return Some(Content::words(value.to_string(), WORDS));
    }
    let text = String::from_utf8_lossy(&response.body);
    if media.contains("html") || text.trim_start().starts_with('<') {
        return plain_text(head(&text), READ).map(|text| Content::words(text, PAGE));
    }
    if text.contains('\u{fffd}') && !is_text(&media) {
        return None;
    }
    let text = text.trim();
    (!text.is_empty()).then(|| Content::words(text, WORDS))
}

/// As much of a web page as is read: it ends between words, so that no part of a credential is at its end.
fn head(page: &str) -> &str {
    if page.len() <= READ {
        return page;
    }
    let head = &page[..page.floor_char_boundary(READ)];
    head.rfind(|sign: char| sign.is_whitespace()).map_or("", |end| &head[..end])
}

fn is_text(media: &str) -> bool {
    media.starts_with("text/")
        || media.ends_with("+xml")
        || media.ends_with("/xml")
        || media.ends_with("yaml")
        || media.ends_with("javascript")
        || media.ends_with("x-ndjson")
        || media.ends_with("json-seq")
        || media.ends_with("x-www-form-urlencoded")
}

fn media_type(response: &Response) -> String {
    let value =
        response.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::{HeaderMap, HeaderValue};

    fn answer(status: u16, media: &'static str, body: &'static [u8]) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(media));
        Response {
            status,
            headers,
            body: bytes::Bytes::from_static(body),
            tries: 1,
            lost: false,
            retry_after: None,
        }
    }

    fn text(result: &ToolResult) -> String {
        let texts = result.content.iter().filter_map(|content| match content {
            Content::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn answers_become_what_they_are() {
        let json = result(&answer(200, "application/hal+json", br#"{"a":1}"#), "x", true).unwrap();
        assert_eq!(json.structured_content, Some(json!({"a": 1})));
        let plain = result(&answer(200, "text/plain", b"hello"), "x", false).unwrap();
        assert_eq!(text(&plain), "hello");
        let unsaid = result(&answer(200, "text/plain", b" [1]"), "x", true).unwrap();
        assert_eq!(unsaid.structured_content, Some(json!([1])));
        assert!(text(&result(&answer(204, "", b""), "x", true).unwrap()).contains("204"));
        let image = result(&answer(200, "image/png", b"\x89PNG"), "x", false).unwrap();
        assert!(matches!(&image.content[0], Content::Image { data, .. } if data == "iVBORw=="));
        let blob = result(&answer(200, "application/pdf", b"%PDF"), "x", false).unwrap();
        assert!(matches!(&blob.content[0], Content::Resource { resource, .. } if resource.blob.is_some()));
    }

    #[test]
    fn headers_that_a_later_call_needs_are_told() {
        let mut created = answer(201, "", b"");
        created.headers.insert("location", HeaderValue::from_static("/widgets/7"));
        created.headers.insert("etag", HeaderValue::from_static("\"v1\""));
        created.headers.insert("set-cookie", HeaderValue::from_static("secret=1"));
        let told = text(&result(&created, "acme", true).unwrap());
        assert_eq!(told, "Done: acme answered 201 without a body. | etag: \"v1\"\nlocation: /widgets/7");
    }

    #[test]
    fn failures_begin_with_our_words_and_say_their_kind() {
        let refused =
            result(&answer(404, "application/json", br#"{"message":"no widget"}"#), "acme", true).unwrap();
        assert!(refused.is_error && text(&refused).starts_with("acme has no such thing (HTTP 404). | {"));
        let meta = &refused.meta.as_ref().unwrap()[FAILURE];
        assert_eq!(meta, &json!({"kind": "UpstreamRefused", "status": 404}));
        let page =
            b"<html><style>x{}</style><body><h1>Oops</h1><script>evil()</script> at proxy</body></html>";
        let failed = result(&answer(502, "text/html", page), "acme", true).unwrap();
        assert_eq!(text(&failed), "acme is out of order at the moment (HTTP 502). | Oops at proxy");
        let mut busy = answer(429, "text/plain", b"");
        busy.retry_after = Some(Duration::from_millis(1500));
        assert!(text(&result(&busy, "acme", true).unwrap()).ends_with("Try again in 2 seconds."));
        let login = result(&answer(200, "text/html", b"<p>Sign in</p>"), "acme", true).unwrap();
        assert!(login.is_error && text(&login).contains("web page"));
    }

    #[test]
    fn broken_answers_are_errors_that_repeat_nothing() {
        let broken = result(&answer(200, "application/json", b"{\"hunter2\": "), "acme", true).unwrap_err();
        assert_eq!(broken.kind(), Kind::UpstreamFailed);
        assert!(broken.message().contains("not valid JSON") && !broken.message().contains("hunter2"));
        let moved = result(&answer(302, "", b""), "acme", true).unwrap_err();
        assert!(moved.message().contains("redirect (302)"));
    }
}
