//! Pages for people, beside the endpoint.
//!
//! Owns the [`Pages`] port, and how a page looks on the wire. The idea: a browser asks for a name and a password and
//! sends them as they are typed; the password is a credential of ours and goes on as one. A page runs no script, sits in
//! no frame, is kept nowhere, and is sent to nobody's other site.
//!
//! Must not: know what a page is about.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    WWW_AUTHENTICATE,
};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};

use super::BoxFuture;
use super::answers::plain;
use super::auth::Presented;
use super::body::Bodies;
use super::guard::Refused;
use super::sse::Reply;
use crate::principal::Principal;

/// Where pages are.
const PREFIX: &str = "/approvals/";
/// Bytes of a form.
const LONGEST: usize = 16 << 10;
const FORM: &str = "application/x-www-form-urlencoded";
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    dt{font-weight:600;margin-top:.8rem}dd{margin:0;overflow-wrap:anywhere}\
    pre{background:#f4f4f4;color:#111;padding:.8rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}\
    .warns{color:#a00}button{font-size:1rem;padding:.5rem 1.2rem;margin:.5rem 1rem 0 0}";

/// A request for a page by somebody who was let in.
pub struct Visit {
    /// Who.
    pub principal: Arc<Principal>,
    /// What comes behind `/approvals/`.
    pub name: String,
    /// The fields of a form that was sent; none for a look.
    pub form: Option<Vec<(String, String)>>,
}

/// What is answered.
pub struct Page {
    /// The status.
    pub status: u16,
    /// The title, as text.
    pub title: String,
    /// What is between the body's tags, as HTML.
    pub html: String,
    /// Where to look instead, after a form: a path of this server.
    pub go: Option<String>,
}

/// Answers requests for pages.
pub trait Pages: Send + Sync {
    /// Shows a page, or takes a form. A look changes nothing.
    fn visit(&self, visit: Visit) -> BoxFuture<'_, Page>;
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(one),
        }
    }
    out
}

/// Whether a page is meant.
pub(super) fn is_page(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|name| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// The headers of a request for a page, with what a browser's prompt took as the credential that it is.
pub(super) fn readable<'a>(path: &str, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
    let typed = || {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = text.split_once(' ')?;
        let decoded = STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (_, password) = decoded.split_once(':')?;
        HeaderValue::from_str(&format!("Bearer {}", password.trim())).ok()
    };
    let Some(mut bearer) = is_page(path).then(typed).flatten() else { return Cow::Borrowed(headers) };
    bearer.set_sensitive(true);
    let mut headers = headers.clone();
    headers.insert(AUTHORIZATION, bearer);
    Cow::Owned(headers)
}

/// Has a browser ask for a name and a password.
pub(super) fn prompted(path: &str, mut response: Response<Reply>) -> Response<Reply> {
    if is_page(path) {
        if response.status() == StatusCode::UNAUTHORIZED {
            let prompt = HeaderValue::from_static("Basic realm=\"bartizan approvals\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, prompt);
        }
        dress(response.headers_mut());
    }
    response
}

/// Answers a request for a page.
pub(super) async fn serve(
    pages: &dyn Pages,
    presented: &Presented<'_>,
    principal: Arc<Principal>,
    bodies: &Arc<Bodies>,
    body: Incoming,
) -> Result<Response<Reply>, Refused> {
    let form = if presented.method == Method::POST {
        may_send(presented.headers)?;
        let whole = bodies.read(body, &principal.id).await?;
        if whole.bytes.len() > LONGEST {
            return Err(Refused { status: StatusCode::PAYLOAD_TOO_LARGE, what: "form too large" });
        }
        Some(fields(&whole.bytes))
    } else {
        None
    };
    let name = presented.path.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    Ok(respond(&pages.visit(Visit { principal, name, form }).await))
}

/// A form comes from the page itself: a browser says where it comes from, and what it says is believed. It is short, and
/// says so before it is read.
fn may_send(headers: &HeaderMap) -> Result<(), Refused> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match length {
        None => {
            return Err(Refused { status: StatusCode::LENGTH_REQUIRED, what: "form without Content-Length" });
        }
        Some(length) if length > LONGEST => {
            return Err(Refused { status: StatusCode::PAYLOAD_TOO_LARGE, what: "form too large" });
        }
        Some(_) => {}
    }
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        let what = "Content-Type must be application/x-www-form-urlencoded";
        return Err(Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, what });
    }
    let site = headers.get(SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(Refused { status: StatusCode::FORBIDDEN, what: "form sent by another site" });
    }
    Ok(())
}

/// The fields of a form, in their order.
fn fields(body: &[u8]) -> Vec<(String, String)> {
    let plain = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).take(32);
    pairs
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (plain(&pair[..at]), plain(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

fn respond(page: &Page) -> Response<Reply> {
    if let Some(Ok(place)) = page.go.as_deref().map(HeaderValue::from_str) {
        let mut response = plain(StatusCode::SEE_OTHER, "");
        response.headers_mut().insert(LOCATION, place);
        dress(response.headers_mut());
        return response;
    }
    let text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head><body>{}</body></html>",
        escape(&page.title),
        page.html
    );
    let mut response = Response::new(Reply::Whole(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    dress(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// What goes with every page.
fn dress(headers: &mut HeaderMap) {
    let style = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(HeaderName::from_static("content-security-policy"), policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-robots-tag", "noindex, nofollow"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_by_an_id_and_nothing_else() {
        assert!(is_page("/approvals/abcd-1234-wxyz"));
        for other in
            ["/approvals/", "/approvals", "/approvals/../keys", "/approvals/a/b", "/approvals/%61", "/mcp"]
        {
            assert!(!is_page(other), "{other}");
        }
    }

    #[test]
    fn forms_are_read_and_text_is_escaped() {
        let read = fields(b"decision=approve&token=1.a%2Bb&code=12+34&&odd");
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(read, [("decision", "approve"), ("token", "1.a+b"), ("code", "12 34"), ("odd", "")]);
        assert_eq!(escape("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }

    #[test]
    fn a_typed_password_is_a_credential_on_pages_alone() {
        let mut headers = HeaderMap::new();
        let basic = format!("Basic {}", STANDARD.encode("carol:bz_key"));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&basic).unwrap());
        assert_eq!(readable("/approvals/a", &headers)[AUTHORIZATION], "Bearer bz_key");
        assert_eq!(readable("/mcp", &headers)[AUTHORIZATION], basic);
    }
}
