//! What is answered, and how refusals are worded.
//!
//! Owns [`Reply`] and [`Voice`]. The idea: a refusal has a status and one sentence of ours; the vendor's own error
//! shape, read off the document, is put around it at the end.
//!
//! Must not: repeat a value that a client sent.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Response, StatusCode};
use bytes::Bytes;

use super::book::Book;
use super::words;
use crate::json::{Value, json};

/// An answer, complete.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self::bytes(status, "application/json", value.to_string().into_bytes())
    }

    pub(super) fn bytes(status: StatusCode, media_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }.with_header("content-type", media_type)
    }

    /// Adds a header, in place of one of that name.
    #[must_use]
    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            let name = HeaderName::from_static(name);
            self.headers.retain(|(known, _)| *known != name);
            self.headers.push((name, value));
        }
        self
    }

    /// Whether the body is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            *name == CONTENT_TYPE && value.to_str().is_ok_and(|value| value.contains("json"))
        })
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A request that is refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub status: StatusCode,
    pub message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// The shape of a vendor's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// A list of `{errorCode, errorMessage, correlationId}`.
    Equinix,
    /// `{error: {code, message}}`.
    Nested,
    /// RFC 9457.
    Problem,
}

impl Voice {
    /// The voice of a document: what most of its refusals look like.
    pub(super) fn of(book: &Book) -> Self {
        for (index, operation) in book.document.operations.iter().enumerate().take(50) {
            for (position, (status, _)) in operation.responses.iter().enumerate() {
                if status.starts_with('4')
                    && let Some(schema) = book.glance(index, position)
                    && let Some(voice) = Self::in_schema(super::recipe::View::new(&schema))
                {
                    return voice;
                }
            }
        }
        Self::Problem
    }

    fn in_schema(view: super::recipe::View<'_>) -> Option<Self> {
        let flat = view.plain();
        if let Some(items) = view.items()
            && items.plain().properties.contains_key("errorCode")
        {
            return Some(Self::Equinix);
        }
        if flat.properties.contains_key("errorCode") && flat.properties.contains_key("correlationId") {
            return Some(Self::Equinix);
        }
        if view.property("error").is_some_and(|error| error.plain().properties.contains_key("message")) {
            return Some(Self::Nested);
        }
        (flat.properties.contains_key("title") || flat.properties.contains_key("detail"))
            .then_some(Self::Problem)
    }

    /// A refusal in this voice that names what is wrong.
    pub(super) fn complain(self, status: StatusCode, fields: &[String], message: &str, count: u64) -> Reply {
        let reason = "is not accepted (practice)";
        let each = |make: fn(&str, &str) -> Value| -> Vec<Value> {
            fields.iter().map(|field| make(field, reason)).collect()
        };
        match self {
            Self::Equinix => {
                let info = each(|field, reason| json!({"property": format!("/{field}"), "reason": reason}));
                let error = json!([{
                    "errorCode": format!("EQ-3000{}", status.as_u16()),
                    "errorMessage": message,
                    "correlationId": words::uuid(count),
                    "additionalInfo": info,
                }]);
                Reply::json(status, &error)
            }
            Self::Nested => {
                let details = each(|field, reason| json!({"target": field, "message": reason}));
                Reply::json(
                    status,
                    &json!({"error": {"code": "BadArgument", "message": message, "details": details}}),
                )
            }
            Self::Problem => {
                let errors = each(|field, reason| json!({"pointer": format!("#/{field}"), "detail": reason}));
                let title = status.canonical_reason().unwrap_or("Refused");
                let problem = json!({
                    "type": "about:blank", "title": title, "status": status.as_u16(), "detail": message,
                    "errors": errors,
                });
                Reply::bytes(status, "application/problem+json", problem.to_string().into_bytes())
            }
        }
    }

    /// A refusal in this voice.
    pub(super) fn say(self, refused: &Refused, count: u64) -> Reply {
        let title = refused.status.canonical_reason().unwrap_or("Refused");
        let status = refused.status.as_u16();
        match self {
            Self::Equinix => {
                let error = json!([{
                    "errorCode": format!("EQ-3000{status:03}"),
                    "errorMessage": refused.message,
                    "correlationId": words::uuid(count),
                    "details": title,
                    "help": "",
                    "additionalInfo": [],
                }]);
                Reply::json(refused.status, &error)
            }
            Self::Nested => {
                let code: String = title.split(' ').collect();
                Reply::json(refused.status, &json!({"error": {"code": code, "message": refused.message}}))
            }
            Self::Problem => {
                let problem = json!({"type": "about:blank", "title": title, "status": status, "detail": refused.message});
                Reply::bytes(refused.status, "application/problem+json", problem.to_string().into_bytes())
            }
        }
    }
}
