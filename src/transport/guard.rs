//! What a request must be before anybody looks inside it.
//!
//! Owns the checks of Origin, Host, path, method, media types and declared length, and whether an address may be
//! listened on at all. The idea: each check is a pure function of the head of the request, and each refusal names
//! itself for the audit.
//!
//! Must not: authenticate, read a body, or repeat anything from the request.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, GetAll, HOST, HeaderMap, HeaderValue, ORIGIN,
};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;

use super::{Config, HeaderFacts, pages};
use crate::error::{Error, Kind, Result};

/// A refusal: the status, and the reason in a few words of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) what: &'static str,
}

const fn refused<T>(status: StatusCode, what: &'static str) -> Result<T, Refused> {
    Err(Refused { status, what })
}

/// What a request asks of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// POST: one message.
    Message,
    /// GET: a stream.
    Listen,
    /// GET, POST: a page for people.
    Page,
    /// DELETE: the end of a session.
    Close,
    /// OPTIONS from an allowed origin: a browser asks whether it may.
    Preflight,
    /// Is anybody there?
    Health,
    /// May more be sent here?
    Ready,
    /// How does one get in?
    Document,
}

/// The lists that requests are compared with.
pub(super) struct Guard {
    origins: Vec<String>,
    hosts: Vec<String>,
    local: SocketAddr,
    /// What addresses of this endpoint begin with.
    scheme: &'static str,
    body_limit: usize,
    /// The origin of pages, if there are any.
    page: Option<String>,
}

impl Guard {
    pub(super) fn new(config: &Config, local: SocketAddr) -> Self {
        let lower = |text: &String| text.trim_end_matches('/').to_ascii_lowercase();
        Self {
            origins: config.allowed_origins.iter().map(lower).collect(),
            hosts: config.allowed_hosts.iter().map(lower).collect(),
            local,
            scheme: if config.tls.is_some() { "https://" } else { "http://" },
            body_limit: config.body_limit,
            page: None,
        }
    }

    /// Lets requests for pages pass; their forms come from that origin.
    pub(super) fn with_pages(mut self, origin: Option<&str>) -> Self {
        self.page = origin.map(str::to_ascii_lowercase);
        self
    }

    /// Everything that can be said without a credential.
    pub(super) fn check(&self, head: &Parts) -> Result<Route, Refused> {
        let Parts { method, uri, headers, .. } = head;
        self.check_host(head.version, uri, headers)?;
        let page = self.page.as_deref().filter(|_| pages::is_page(uri.path()));
        let has_origin = match page {
            Some(page) => self.check_page_origin(page, headers)?,
            None => self.check_origin(headers)?,
        };
        if uri.query().is_some_and(holds_a_credential) {
            return refused(StatusCode::BAD_REQUEST, "credential in the query string");
        }
        let route = match (uri.path(), method) {
            ("/mcp", &Method::POST) => Route::Message,
            ("/mcp", &Method::GET) => Route::Listen,
            ("/mcp", &Method::DELETE) => Route::Close,
            ("/mcp", &Method::OPTIONS) if has_origin => Route::Preflight,
            ("/healthz", &(Method::GET | Method::HEAD)) => Route::Health,
            ("/readyz", &(Method::GET | Method::HEAD)) => Route::Ready,
            (_, &(Method::GET | Method::HEAD | Method::POST)) if page.is_some() => Route::Page,
            (_, _) if page.is_some() => return refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            (path, &(Method::GET | Method::HEAD)) if is_document(path) => Route::Document,
            (path, &Method::OPTIONS) if is_document(path) && has_origin => Route::Preflight,
            (path, _) if is_document(path) || matches!(path, "/mcp" | "/healthz" | "/readyz") => {
                return refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            }
            _ => return refused(StatusCode::NOT_FOUND, "no such path"),
        };
        match route {
            Route::Message => self.check_message(headers)?,
            Route::Listen if !accepts(headers.get_all(ACCEPT)).events => {
                return refused(StatusCode::NOT_ACCEPTABLE, "Accept must list text/event-stream");
            }
            Route::Listen
            | Route::Page
            | Route::Close
            | Route::Preflight
            | Route::Health
            | Route::Ready
            | Route::Document => {}
        }
        Ok(route)
    }

    fn check_host(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let mut hosts = headers.get_all(HOST).iter();
        // HTTP/2 says it in `:authority`, and need not say it twice
        if version == Version::HTTP_2
            && let (Some(authority), None) = (uri.authority(), headers.get(HOST))
        {
            let known = self.knows(authority.as_str());
            return if known { Ok(()) } else { refused(StatusCode::FORBIDDEN, "Host not allowed") };
        }
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return refused(StatusCode::BAD_REQUEST, "exactly one Host is needed");
        };
        let named = host.to_str().is_ok_and(|host| self.knows(host));
        let absolute = uri.authority().is_none_or(|authority| self.knows(authority.as_str()));
        if named && absolute { Ok(()) } else { refused(StatusCode::FORBIDDEN, "Host not allowed") }
    }

    fn knows(&self, authority: &str) -> bool {
        let Some((host, _)) = split_authority(authority) else { return false };
        // A name can be pointed at us by somebody else; an address cannot.
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.is_loopback() || address == self.local.ip())
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(authority) || known.eq_ignore_ascii_case(host))
    }

    /// Whether there is an Origin at all; one that is not allowed is refused, and so are two.
    fn check_origin(&self, headers: &HeaderMap) -> Result<bool, Refused> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(false) };
        if origins.next().is_some() {
            return refused(StatusCode::FORBIDDEN, "more than one Origin");
        }
        let allowed = origin.to_str().is_ok_and(|origin| {
            self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) || self.is_own(origin)
        });
        if allowed { Ok(true) } else { refused(StatusCode::FORBIDDEN, "Origin not allowed") }
    }

    /// What other origins may ask of the endpoint they may not ask of its pages.
    fn check_page_origin(&self, page: &str, headers: &HeaderMap) -> Result<bool, Refused> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(false) };
        let own =
            origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(page) || self.is_own(origin));
        if own && origins.next().is_none() {
            Ok(true)
        } else {
            refused(StatusCode::FORBIDDEN, "Origin not allowed")
        }
    }

    /// A page that this very endpoint could have served, on loopback.
    fn is_own(&self, origin: &str) -> bool {
        let Some((host, port)) = origin.strip_prefix(self.scheme).and_then(split_authority) else {
            return false;
        };
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let usual = if self.scheme == "https://" { 443 } else { 80 };
        loopback && port.unwrap_or(usual) == self.local.port()
    }

    fn check_message(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (Some(media), None) = (types.next(), types.next()) else {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
        };
        if !is_json(media) {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
        }
        if headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body must not be compressed");
        }
        let accepted = accepts(headers.get_all(ACCEPT));
        if !(accepted.json && accepted.events) {
            return refused(
                StatusCode::NOT_ACCEPTABLE,
                "Accept must list application/json and text/event-stream",
            );
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if length.is_some_and(|text| text.parse::<usize>().map_or(true, |length| length > self.body_limit)) {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "body too large");
        }
        Ok(())
    }
}

/// Where whoever finds a fault looks for whom to tell (RFC 9116).
pub(super) const SECURITY: &str = "/.well-known/security.txt";

/// Whether a path is one under which documents on getting in may be (RFC 9728).
fn is_document(path: &str) -> bool {
    path == SECURITY
        || path
            .strip_prefix("/.well-known/oauth-protected-resource")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Host and port; nothing if it is neither.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let end_of_name = authority.rfind(']').unwrap_or(0);
    match authority[end_of_name..].rfind(':') {
        Some(at) => {
            let (host, port) = authority.split_at(end_of_name + at);
            Some((host, Some(port[1..].parse().ok()?)))
        }
        None => Some((authority, None)),
    }
}

fn is_json(media: &HeaderValue) -> bool {
    media == "application/json"
        || media.to_str().is_ok_and(|text| {
            let mut parts = text.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
            named
                && parts.all(|part| {
                    !part.to_ascii_lowercase().starts_with("charset")
                        || part.to_ascii_lowercase().trim_start_matches("charset=").trim_matches('"')
                            == "utf-8"
                })
        })
}

#[derive(Default)]
struct Accepted {
    json: bool,
    events: bool,
}

fn accepts(values: GetAll<'_, HeaderValue>) -> Accepted {
    let mut accepted = Accepted::default();
    for value in values {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if parts.any(|part| matches!(part, "q=0" | "q=0." | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            let is = |name: &str| media.eq_ignore_ascii_case(name);
            accepted.json |= is("application/json") || is("application/*") || is("*/*");
            accepted.events |= is("text/event-stream") || is("text/*") || is("*/*");
        }
    }
    accepted
}

/// Names of query parameters that carry credentials.
const TELLING: &[&str] = &[
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "id_token",
    "key",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "token",
    "client_secret",
    "x-api-key",
];

fn holds_a_credential(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        TELLING.iter().any(|telling| telling.eq_ignore_ascii_case(&name)) || is_token(value)
    })
}

/// Whether a value is a key of ours or a signed token, whatever it is called.
fn is_token(value: &str) -> bool {
    let value = percent_decode_str(value).decode_utf8_lossy();
    value.starts_with("bz_")
        || (value.starts_with("ey") && value.bytes().filter(|byte| *byte == b'.').count() == 2)
}

/// The headers that give a body meaning.
pub(super) fn facts(headers: &HeaderMap) -> HeaderFacts {
    let mut facts = HeaderFacts::default();
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("mcp-") && name != "last-event-id" && name != "traceparent" {
            continue;
        }
        let Ok(value) = value.to_str() else {
            facts.malformed |= name != "traceparent";
            continue;
        };
        match name {
            "mcp-protocol-version" => facts.revision.push(value.to_owned()),
            "mcp-method" => facts.method.push(value.to_owned()),
            "mcp-name" => facts.name.push(value.to_owned()),
            "mcp-session-id" => facts.malformed |= facts.session.replace(value.to_owned()).is_some(),
            // one that is no text is nobody's trace, and no fault
            "traceparent" => facts.traceparent = Some(value.into()),
            "last-event-id" => facts.malformed |= facts.last_event_id.replace(value.to_owned()).is_some(),
            _ => {
                if let Some(name) = name.strip_prefix("mcp-param-") {
                    facts.params.push((name.to_owned(), value.to_owned()));
                }
            }
        }
    }
    facts
}

/// Refuses to serve beyond loopback without authentication, or in plain text unless that was asked for.
pub(super) fn may_listen(address: SocketAddr, open: bool, config: &Config) -> Result<()> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let said = if open {
        "Without authentication this server listens on loopback only; use 127.0.0.1, or leave out --no-auth."
    } else if config.tls.is_some() || config.insecure_plaintext {
        return Ok(());
    } else {
        "This address can be reached from other machines, and this endpoint speaks plain HTTP: keys would cross the \
         network readable. Name a certificate under `[http.tls]`, listen on 127.0.0.1 behind a TLS proxy, or set \
         `insecure_plaintext = true` under `[http]`."
    };
    Err(Error::new(Kind::BadConfig, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let config = Config {
            allowed_origins: vec!["https://app.example/".into()],
            allowed_hosts: vec!["mcp.example".into(), "other.example:8443".into()],
            ..Config::default()
        };
        Guard::new(&config, "127.0.0.1:8000".parse().unwrap())
    }

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    // proves: host-checked
    #[test]
    fn hosts_that_are_not_ours_are_refused() {
        let guard = guard();
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8000",
            "[::1]:8000",
            "mcp.example:99",
            "other.example:8443",
        ] {
            assert!(guard.knows(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8000",
            "other.example:1",
            "127.0.0.1.evil",
            "",
            "10.0.0.1",
        ] {
            assert!(!guard.knows(host), "{host}");
        }
    }

    #[test]
    fn origins_are_compared_whole() {
        let guard = guard();
        for origin in
            ["https://app.example", "http://localhost:8000", "http://[::1]:8000", "HTTPS://APP.example"]
        {
            assert_eq!(guard.check_origin(&head(&[("origin", origin)])), Ok(true), "{origin}");
        }
        for origin in [
            "null",
            "",
            "https://app.example:444",
            "https://app.example.evil",
            "http://app.example",
            "http://localhost:3000",
            "https://localhost:8000",
            "http://localhost",
        ] {
            assert!(guard.check_origin(&head(&[("origin", origin)])).is_err(), "{origin}");
        }
        assert!(
            guard
                .check_origin(&head(&[("origin", "https://app.example"), ("origin", "https://app.example")]))
                .is_err()
        );
        assert_eq!(guard.check_origin(&HeaderMap::new()), Ok(false));
    }

    // proves: http-shape
    #[test]
    fn media_types_are_understood() {
        for (accept, json, events) in [
            ("application/json, text/event-stream", true, true),
            ("*/*", true, true),
            ("Application/JSON;q=0.5,text/*", true, true),
            ("application/json", true, false),
            ("text/event-stream;q=0, application/json", true, false),
            ("", false, false),
        ] {
            let found = accepts(head(&[("accept", accept)]).get_all(ACCEPT));
            assert_eq!((found.json, found.events), (json, events), "{accept}");
        }
        for (media, good) in [
            ("application/json", true),
            ("application/json; charset=UTF-8", true),
            ("application/json;charset=latin1", false),
            ("application/jsonx", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(media)), good, "{media}");
        }
    }

    #[test]
    fn credentials_in_a_query_are_seen() {
        for query in ["access_token=x", "a=1&TOKEN=x", "a=1;api%5Fkey=x", "q=bz_a_b"] {
            assert!(holds_a_credential(query), "{query}");
        }
        assert!(!holds_a_credential("page=2&tokens=3"));
    }

    #[test]
    fn plain_text_beyond_loopback_needs_a_word() {
        let away = "0.0.0.0:80".parse().unwrap();
        let (plain, said) = (Config::default(), Config { insecure_plaintext: true, ..Config::default() });
        let tls: Config = toml::from_str("[tls]\ncertificate = 'a'\nkey = 'b'").unwrap();
        assert!(may_listen(away, true, &said).is_err() && may_listen(away, true, &tls).is_err());
        assert!(may_listen(away, false, &plain).is_err());
        assert!(may_listen(away, false, &said).is_ok() && may_listen(away, false, &tls).is_ok());
        assert!(may_listen("[::1]:80".parse().unwrap(), true, &plain).is_ok());
    }
}
