//! What a tool says on the way.
//!
//! Owns [`Discreet`]. The idea: the tool is handed a voice that redacts before it passes anything on, so there is no
//! other to speak with.
//!
//! Must not: decide who hears it.

use std::sync::Arc;

use super::Voice;
use super::redact;
use crate::json::Value;
use crate::protocol::types::LogLevel;
use crate::redaction::Redactor;

/// A voice that gives nothing away.
pub(super) struct Discreet {
    inner: Arc<dyn Voice>,
    redactor: Redactor,
}

impl Discreet {
    pub(super) fn new(inner: Arc<dyn Voice>, redactor: Redactor) -> Self {
        Self { inner, redactor }
    }
}

impl Voice for Discreet {
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let message = message.map(|message| redact::clean(message, &self.redactor));
        self.inner.progress(progress, total, message.as_deref());
    }

    fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value) {
        let mut data = data.clone();
        redact::value(&mut data, &[], &self.redactor);
        let logger = logger.map(|logger| redact::clean(logger, &self.redactor));
        self.inner.log(level, logger.as_deref(), &data);
    }

    fn pause(&self) {
        self.inner.pause();
    }
}
