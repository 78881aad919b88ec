//! Failures, on request.
//!
//! Owns [`Fault`] and [`Rule`]. The idea: each way an upstream can misbehave has a short name, so that an option, a
//! test and a header can all ask for it.
//!
//! Must not: happen unasked.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::reply::{Refused, Reply, Voice};
use crate::error::{Error, Kind};
use crate::json::Value;

/// One way to misbehave. As text: `429`, `429=30`, `503`, `503-html`, `422-fields`, `slow=250`, `reset`, `broken-json`,
/// `wrong-type`, `gzip-bomb`, `endless`, `redirect`, `echo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After` in seconds.
    TooMany(u64),
    /// A status of the vendor's own, as JSON.
    Status(u16),
    /// A status with an HTML page.
    Html(u16),
    /// A status and a list of the fields that the request has, each of them wrong.
    Fields(u16),
    /// The right answer, late by so many milliseconds.
    Slow(u64),
    /// The connection breaks in the middle of the body.
    Reset,
    /// 200 with JSON that breaks off.
    BrokenJson,
    /// 200 with a picture.
    WrongType,
    /// 200 with a little that unpacks to a gibibyte of JSON, compressed though nobody asked for that.
    GzipBomb,
    /// 200 with JSON that does not end.
    Endless,
    /// 302 to a metadata address.
    Redirect,
    /// The right status, and the `Authorization` header that came in as the body.
    Echo,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (word, number) = match text.split_once('=') {
            Some((word, number)) => (word, number.parse::<u64>().ok()),
            None => (text, None),
        };
        let status = |word: &str| word.parse::<u16>().ok().filter(|status| (400..600).contains(status));
        let fault = match (word.trim(), number) {
            ("429", seconds) => Some(Self::TooMany(seconds.unwrap_or(1))),
            ("slow", millis) => Some(Self::Slow(millis.unwrap_or(1000).min(60_000))),
            ("reset", None) => Some(Self::Reset),
            ("broken-json", None) => Some(Self::BrokenJson),
            ("wrong-type", None) => Some(Self::WrongType),
            ("gzip-bomb", None) => Some(Self::GzipBomb),
            ("endless", None) => Some(Self::Endless),
            ("redirect", None) => Some(Self::Redirect),
            ("echo", None) => Some(Self::Echo),
            (word, None) => match (word.strip_suffix("-html"), word.strip_suffix("-fields")) {
                (Some(number), _) => status(number).map(Self::Html),
                (None, Some(number)) => status(number).map(Self::Fields),
                (None, None) => status(word).map(Self::Status),
            },
            _ => None,
        };
        fault.ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                "There is no such fault; choose 429, 429=SECONDS, a status of 400 to 599, STATUS-html, STATUS-fields, \
                 slow=MILLIS, reset, broken-json, wrong-type, gzip-bomb, endless, redirect or echo.",
            )
        })
    }
}

/// When a fault happens.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// How many requests it happens to; nothing means all of them.
    pub times: Option<u32>,
    /// Only to requests of this method.
    pub method: Option<String>,
    /// Only to requests whose path contains this. Without it, requests for tokens are spared.
    pub path: Option<String>,
}

impl Rule {
    /// A fault that happens to the next request.
    pub fn once(fault: Fault) -> Self {
        Self { fault, times: Some(1), method: None, path: None }
    }

    /// A fault that happens to every request.
    pub fn always(fault: Fault) -> Self {
        Self { times: None, ..Self::once(fault) }
    }

    /// Only where the path contains this.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// The faults still to come.
#[derive(Default)]
pub(super) struct Faults {
    rules: Mutex<VecDeque<Rule>>,
}

impl Faults {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self { rules: Mutex::new(rules.into()) }
    }

    pub(super) fn add(&self, rule: Rule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push_back(rule);
    }

    pub(super) fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The first fault that this request is due.
    pub(super) fn due(&self, method: &str, path: &str, token: bool) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let index = rules.iter().position(|rule| {
            let path_fits = rule.path.as_ref().map_or(!token, |part| path.contains(part.as_str()));
            path_fits && rule.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
        })?;
        let rule = rules.get_mut(index)?;
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(fault)
    }
}

impl Fault {
    /// The answer in place of the right one, when the right one is not wanted at all.
    pub(super) fn instead(
        &self,
        voice: Voice,
        count: u64,
        fields: impl Fn() -> Vec<String>,
    ) -> Option<Reply> {
        let status = |status: u16| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::TooMany(seconds) => {
                let refused = Refused::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many requests; come back later (practice).",
                );
                Some(voice.say(&refused, count).with_header("retry-after", &seconds.to_string()))
            }
            Self::Status(number) => Some(
                voice.say(&Refused::new(status(*number), "A fault, as was asked for (practice)."), count),
            ),
            Self::Html(number) => {
                let page = "<!DOCTYPE html><html><head><title>Error</title></head>\
                            <body><h1>Something went wrong (practice)</h1></body></html>";
                Some(Reply::bytes(status(*number), "text/html; charset=utf-8", page.into()))
            }
            Self::BrokenJson => Some(Reply::bytes(
                StatusCode::OK,
                "application/json",
                b"{\"data\": [{\"uuid\": \"practi".to_vec(),
            )),
            Self::Redirect => Some(
                Reply::empty(StatusCode::FOUND)
                    .with_header("location", "http://169.254.169.254/latest/meta-data/"),
            ),
            Self::Fields(number) => Some(voice.complain(
                status(*number),
                &fields(),
                "A fault, as was asked for (practice).",
                count,
            )),
            Self::WrongType => Some(Reply::bytes(StatusCode::OK, "image/png", b"\x89PNG\r\n\x1a\n".to_vec())),
            Self::GzipBomb => {
                let packed = Reply::bytes(StatusCode::OK, "application/json", bomb());
                Some(packed.with_header("content-encoding", "gzip"))
            }
            Self::Endless => Some(Reply::bytes(StatusCode::OK, "application/json", b"[".to_vec())),
            Self::Slow(_) | Self::Reset | Self::Echo => None,
        }
    }

    /// How long the answer waits.
    pub(super) fn delay(&self) -> Option<Duration> {
        match self {
            Self::Slow(millis) => Some(Duration::from_millis(*millis)),
            _ => None,
        }
    }
}

/// A mebibyte that unpacks to a gibibyte of spaces: each member of the stream is the same.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // nothing fails that is written into memory
    let _ = packer.write_all(&vec![b' '; 1 << 20]);
    let one = packer.finish().unwrap_or_default();
    one.repeat(1024)
}

/// An answer that begins as this one does, and does not end.
pub(super) fn endless(reply: Reply) -> Response<Body> {
    let begin = stream::iter([Ok::<_, std::io::Error>(reply.body.clone())]);
    let piece = Bytes::from(b"\"practice\", ".repeat(4096));
    let more = stream::repeat_with(move || Ok(piece.clone()));
    let mut response = reply.into_response();
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from_stream(begin.chain(more));
    response
}

/// The fields of a request: of its body where that has any, else of its query.
pub(super) fn fields(query: &str, body: &[u8]) -> Vec<String> {
    let names = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(object)) => object.keys().cloned().collect(),
        _ => Vec::new(),
    };
    if names.is_empty() {
        return url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).collect();
    }
    names
}

/// An answer whose connection breaks in the middle of the body.
pub(super) fn broken_off(reply: Reply) -> Response<Body> {
    let whole = reply.body.clone();
    let half = whole.slice(..whole.len() / 2);
    let mut response = reply.into_response();
    let promised = whole.len().max(2) + 1024;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(promised));
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        vec![Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
    *response.body_mut() = Body::from_stream(stream::iter(pieces));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name() {
        for (text, fault) in [
            ("429=30", Fault::TooMany(30)),
            ("503", Fault::Status(503)),
            ("502-html", Fault::Html(502)),
            ("slow=5", Fault::Slow(5)),
            ("reset", Fault::Reset),
            ("422-fields", Fault::Fields(422)),
            ("broken-json", Fault::BrokenJson),
            ("wrong-type", Fault::WrongType),
            ("gzip-bomb", Fault::GzipBomb),
            ("endless", Fault::Endless),
            ("redirect", Fault::Redirect),
            ("echo", Fault::Echo),
        ] {
            assert_eq!(text.parse::<Fault>().unwrap(), fault);
        }
        for wrong in ["", "200", "slowly", "reset=1"] {
            assert_eq!(wrong.parse::<Fault>().unwrap_err().kind(), Kind::BadConfig);
        }
    }

    #[test]
    fn a_rule_is_spent_and_spares_tokens() {
        let faults = Faults::new(vec![Rule::once(Fault::Reset)]);
        assert_eq!(faults.due("POST", "/oauth2/v1/token", true), None);
        assert_eq!(faults.due("GET", "/x", false), Some(Fault::Reset));
        assert_eq!(faults.due("GET", "/x", false), None);
        faults.add(Rule::always(Fault::Echo).at("/y"));
        assert_eq!(faults.due("GET", "/x", false), None);
        assert_eq!(faults.due("GET", "/a/y", false), Some(Fault::Echo));
        assert_eq!(faults.due("GET", "/a/y", false), Some(Fault::Echo));
    }
}
