//! What came in, remembered for tests.
//!
//! Owns [`Recorded`] and the bounded list of them. The idea: a test looks at the request that really crossed the
//! socket, not at what the client believes it sent.
//!
//! Must not: grow without bound.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::request::Parts;
use bytes::Bytes;
use serde::Serialize;

/// Bytes of a body that are kept.
const KEPT: usize = 64 << 10;

/// One request, as it came in.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Path, still encoded.
    pub path: String,
    /// Query string, still encoded; empty without one.
    pub query: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body, at most 64 KiB of it, as text (what is no UTF-8 is replaced).
    pub body: String,
    /// The operation it was understood as.
    pub operation: Option<String>,
    /// Status that was answered.
    pub status: u16,
}

impl Recorded {
    pub(super) fn new(parts: &Parts, body: &Bytes) -> Self {
        let headers = parts.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Self {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body[..body.len().min(KEPT)]).into_owned(),
            operation: None,
            status: 0,
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The latest requests.
pub(super) struct Recorder {
    most: usize,
    list: Mutex<VecDeque<Recorded>>,
}

impl Recorder {
    pub(super) fn new(most: usize) -> Self {
        Self { most, list: Mutex::default() }
    }

    pub(super) fn add(&self, recorded: Recorded) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        while list.len() >= self.most.max(1) {
            list.pop_front();
        }
        if self.most > 0 {
            list.push_back(recorded);
        }
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
