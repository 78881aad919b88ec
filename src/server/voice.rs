//! What a tool says on the way.
//!
//! Owns [`Speaker`]. The idea: a client hears progress only under the token it gave, and log messages only from the
//! level it asked for; words of progress are a log message where progress has no room for them; nothing follows the
//! answer.
//!
//! Must not: redact; the line does that before it is heard here.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::dispatch::Visit;
use crate::json::Value;
use crate::pipeline::Voice;
use crate::protocol::Revision;
use crate::protocol::message::{self, Id};
use crate::protocol::types::LogLevel;
use crate::transport::Outlet;

/// The voice of one request.
pub(super) struct Speaker {
    revision: Revision,
    outlet: Arc<dyn Outlet>,
    token: Option<Id>,
    level: Option<LogLevel>,
    // the last progress; none once the answer is made
    last: Mutex<Option<f64>>,
}

#[derive(Serialize)]
struct Progress<'a> {
    #[serde(rename = "progressToken")]
    token: &'a Id,
    #[serde(rename = "progress")]
    done: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Log<'a> {
    level: LogLevel,
    #[serde(skip_serializing_if = "Option::is_none")]
    logger: Option<&'a str>,
    data: &'a Value,
}

impl Speaker {
    /// The voice of a visit.
    pub(super) fn new(visit: &Visit) -> Self {
        let outlet = Arc::clone(&visit.outlet);
        Self::speaking(visit.revision, outlet, visit.progress.clone(), visit.level)
    }

    fn speaking(
        revision: Revision,
        outlet: Arc<dyn Outlet>,
        token: Option<Id>,
        level: Option<LogLevel>,
    ) -> Self {
        Self { revision, outlet, token, level, last: Mutex::new(Some(f64::NEG_INFINITY)) }
    }

    /// Nothing is said from here on.
    pub(super) fn close(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Ends a voice, however its call ends.
pub(super) struct Hushed(pub(super) Arc<Speaker>);

impl Drop for Hushed {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Voice for Speaker {
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let Some(token) = &self.token else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // it has to rise; what does not is not worth a message
        if !progress.is_finite() || last.is_none_or(|last| progress <= last) {
            return;
        }
        let total = total.filter(|total| total.is_finite());
        let words = message.filter(|_| self.revision.progress_words());
        let params = Progress { token, done: progress, total, message: words };
        if self.outlet.send(message::notification("notifications/progress", Some(params))) {
            *last = Some(progress);
        }
        drop(last);
        if let (Some(message), None) = (message, words) {
            self.log(LogLevel::Info, Some("progress"), &message.into());
        }
    }

    fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value) {
        if self.level.is_none_or(|least| level < least) {
            return;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some() {
            self.outlet
                .send(message::notification("notifications/message", Some(Log { level, logger, data })));
        }
    }

    fn pause(&self) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some() {
            self.outlet.pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Value>>);

    impl Outlet for Heard {
        fn send(&self, message: String) -> bool {
            self.0.lock().unwrap().push(serde_json::from_str(&message).unwrap());
            true
        }
    }

    // proves: last-words
    #[test]
    fn progress_rises_and_ends_with_the_answer() {
        let heard = Arc::new(Heard::default());
        let token = Some(Id::Text("t".into()));
        let speaker = Speaker::speaking(Revision::NEWEST, heard.clone(), token, Some(LogLevel::Warning));
        for progress in [0.0, 50.0, 50.0, f64::NAN, 20.0, 100.0] {
            speaker.progress(progress, Some(100.0), None);
        }
        speaker.log(LogLevel::Info, None, &json!("quiet"));
        speaker.log(LogLevel::Error, Some("l"), &json!("loud"));
        speaker.close();
        speaker.progress(200.0, None, None);
        speaker.log(LogLevel::Emergency, None, &json!("late"));
        let heard = heard.0.lock().unwrap();
        let progress: Vec<_> = heard.iter().filter_map(|one| one["params"]["progress"].as_f64()).collect();
        assert_eq!(progress, [0.0, 50.0, 100.0]);
        assert_eq!(heard.len(), 4);
        assert_eq!(heard[3]["params"], json!({"level": "error", "logger": "l", "data": "loud"}));
    }
}
