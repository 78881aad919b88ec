//! A request and a response, as values.
//!
//! Owns [`Request`], [`Body`], [`Part`] and [`Response`]. The idea: what is sent is complete before anything is
//! opened, so that it can be signed, sent again and compared.
//!
//! Must not: send.

use std::fmt::Write as _;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use url::Url;

/// One request to an upstream, complete but for its credentials.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute address; its scheme, host and port must be the connector's.
    pub url: Url,
    /// Headers beyond those of the body and the credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Body,
    /// Whether sending it twice is as good as once (GET, HEAD, PUT, DELETE with an idempotent upstream): only then is
    /// it tried again after a failure that may have reached the upstream.
    pub idempotent: bool,
    /// Longest time for all tries together; capped by the client's own.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request without headers and body; idempotent if its method says so.
    pub fn new(method: Method, url: Url) -> Self {
        let idempotent = method.is_idempotent();
        Self { method, url, headers: Vec::new(), body: Body::Empty, idempotent, timeout: None }
    }

    /// The same request with a JSON body of that media type.
    #[must_use]
    pub fn json(mut self, content_type: &str, value: &crate::json::Value) -> Self {
        let bytes = Bytes::from(value.to_string());
        self.body = Body::Bytes { content_type: content_type.to_owned(), bytes };
        self
    }
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// Bytes of a media type.
    Bytes {
        /// `Content-Type`.
        content_type: String,
        /// The bytes.
        bytes: Bytes,
    },
    /// `multipart/form-data`.
    Multipart(Vec<Part>),
}

/// One part of a multipart body.
#[derive(Debug, Clone)]
pub struct Part {
    /// Field name.
    pub name: String,
    /// File name, for files.
    pub file_name: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// The bytes.
    pub bytes: Bytes,
}

impl Body {
    /// The body as bytes, with its media type; `boundary` separates the parts of a multipart body.
    pub(super) fn encode(self, boundary: impl FnOnce() -> String) -> (Option<String>, Bytes) {
        match self {
            Self::Empty => (None, Bytes::new()),
            Self::Bytes { content_type, bytes } => (Some(content_type), bytes),
            Self::Multipart(parts) => {
                let (boundary, mut out) = (boundary(), Vec::new());
                for part in parts {
                    out.extend_from_slice(part.head(&boundary).as_bytes());
                    out.extend_from_slice(&part.bytes);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
                (Some(format!("multipart/form-data; boundary={boundary}")), Bytes::from(out))
            }
        }
    }
}

impl Part {
    /// The lines before the bytes. Names are escaped as browsers do, so none can end its line.
    fn head(&self, boundary: &str) -> String {
        let mut head =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", quote(&self.name));
        if let Some(file_name) = &self.file_name {
            let _ = write!(head, "; filename=\"{}\"", quote(file_name));
        }
        if let Some(content_type) = &self.content_type {
            let clean: String = content_type.chars().filter(|letter| !letter.is_control()).collect();
            let _ = write!(head, "\r\ncontent-type: {clean}");
        }
        head.push_str("\r\n\r\n");
        head
    }
}

fn quote(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// What an upstream answered, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, at most as long as the client's cap.
    pub body: Bytes,
    /// How many times it was tried.
    pub tries: u32,
    /// Whether an earlier try may have been carried out, and its answer was lost.
    pub lost: bool,
    /// What `Retry-After` asks for, if it was sent and understood.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::{Body, Part};
    use bytes::Bytes;

    #[test]
    fn a_part_name_cannot_end_its_line() {
        let part = Part {
            name: String::from("a\"\r\nx: y"),
            file_name: Some(String::from("f\n")),
            content_type: Some(String::from("text/plain\r\nx: y")),
            bytes: Bytes::from_static(b"hello"),
        };
        let (content_type, bytes) = Body::Multipart(vec![part]).encode(|| "B".to_owned());
        assert_eq!(content_type.as_deref(), Some("multipart/form-data; boundary=B"));
        let expected = "--B\r\ncontent-disposition: form-data; name=\"a%22%0D%0Ax: y\"; filename=\"f%0A\"\r\n\
                        content-type: text/plainx: y\r\n\r\nhello\r\n--B--\r\n";
        assert_eq!(bytes, expected.as_bytes());
    }
}
