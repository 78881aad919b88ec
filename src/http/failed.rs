//! A failure that many calls share.
//!
//! Owns [`Failed`]. The idea: one fetch of a token may be waited for by many calls, and an error cannot be copied; what
//! can be copied of it is kept here, and made an error again for each.
//!
//! Must not: say anything that the error did not say.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Kind};

/// What is said when a fetch ends without an answer of its own.
const INTERRUPTED: &str = "fetching a token was interrupted; try again";

/// A failure that many waiting calls can share.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) kind: Kind,
    pub(super) message: String,
    pub(super) source: Option<Arc<Error>>,
    pub(super) wait: Option<Duration>,
}

impl Failed {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, wait: None }
    }

    pub(super) fn of(error: Error) -> Self {
        let (kind, message) = (error.kind(), error.message().to_owned());
        Self { kind, message, source: Some(Arc::new(error)), wait: None }
    }

    /// The fetch ended without a word.
    pub(super) fn interrupted() -> Self {
        Self::new(Kind::Internal, INTERRUPTED)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.message == INTERRUPTED
    }

    /// The same, said again while nothing is asked.
    pub(super) fn until(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    pub(super) fn into_error(self) -> Error {
        let mut message = self.message;
        if let Some(wait) = self.wait {
            message = format!("{message}; it is not asked again for {} seconds", wait.as_secs() + 1);
        }
        let mut error = Error::new(self.kind, message);
        if let Some(source) = self.source {
            error = error.with_source(source);
        }
        match self.wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}
