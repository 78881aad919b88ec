//! How a request of the client can end without a result.
//!
//! Owns [`Error`] and [`RpcError`]. The idea: what the server said stays apart from what happened to the message.
//!
//! Must not: become an [`crate::error::Error`] by itself: its words are the server's, not ours.

use std::fmt;

use serde_json::{Value, json};

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A JSON-RPC error.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The server's words.
    pub message: String,
    /// The server's data, if any.
    pub data: Option<Value>,
}

impl RpcError {
    /// An error of that code.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn from_value(error: &Value) -> Self {
        Self {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            data: error.get("data").cloned(),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }

    pub(super) fn is_header_mismatch(&self) -> bool {
        self.code == i64::from(crate::error::Kind::HeaderMismatch.code())
    }
}

/// Why there is no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with an error.
    Rpc(RpcError),
    /// The endpoint answered with this HTTP status and no message.
    Status(u16),
    /// The server could not be reached, or the connection broke.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// The server is gone, or the client was closed.
    Gone,
    /// The request was cancelled on this side.
    Cancelled,
    /// No answer came in time.
    TimedOut,
    /// The server said something that is not the protocol, or was asked to.
    Malformed(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpc(error) => write!(out, "{} (code {})", error.message, error.code),
            Self::Status(status) => write!(out, "the endpoint answered with HTTP status {status}"),
            Self::Unreachable(_) => out.write_str("the server cannot be reached"),
            Self::Gone => out.write_str("the server is gone"),
            Self::Cancelled => out.write_str("the request was cancelled"),
            Self::TimedOut => out.write_str("the server did not answer in time"),
            Self::Malformed(what) => write!(out, "unusable message: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(source) => Some(&**source),
            _ => None,
        }
    }
}
