//! Somebody should look.
//!
//! Owns [`Watcher`], which sees what the audit has written, and [`Alert`]. The idea: detectors (`detect.rs`) look at audit
//! lines after they are in the file, so that nothing waits for them; what they find is told to every destination, logged,
//! and left in the audit itself.
//!
//! Must not: look at calls, or tell anything that is not in the audit.

mod bounded;
mod config;
mod detect;

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

pub use config::{Burst, Config};
pub use detect::{Alert, Detectors};

use crate::audit::{Audit, Event, Filter, Sink};
use crate::error::Result;
use crate::json::{Value, json};
use crate::relay::{Means, Message, Outbox, Relay, Severity};

/// How many lines of the past callers are learnt from.
const PAST: usize = 20_000;

impl Alert {
    /// As it is told.
    pub fn json(&self) -> Value {
        json!({
            "detector": self.detector,
            "subject": self.subject,
            "what": self.what,
            "count": self.count,
            "window_seconds": self.seconds,
            "time": self.time,
            "message": self.sentence(),
        })
    }

    /// As a person reads it.
    pub fn sentence(&self) -> String {
        let Self { subject, what, count, seconds, .. } = self;
        match self.detector {
            "failed_authentications" => {
                format!("{count} credentials from {subject} were not accepted within {seconds} seconds.")
            }
            "denials" => format!("{count} calls of {subject} were denied within {seconds} seconds."),
            "write_burst" => format!("{subject} changed something {count} times within {seconds} seconds."),
            "upstream_limits" => format!("{subject} answered 429 {count} times within {seconds} seconds."),
            "critical" => format!("{subject} changed {what}, which is listed as critical."),
            "new_address" => format!("{subject} calls from {what} for the first time."),
            "new_tool" => format!("{subject} uses {what} for the first time."),
            "off_hours" => format!("{subject} changed something with {what} outside of working hours."),
            "volume" => format!("{subject} made {count} calls this hour, far more than usual."),
            _ if subject.is_empty() => format!("There was a security event: {what}."),
            _ => format!("There was a security event: {what} ({subject})."),
        }
    }
}

/// Watches an audit, and tells.
pub struct Watcher {
    detectors: Mutex<Detectors>,
    outboxes: Vec<Outbox>,
    means: Means,
    audit: OnceLock<Weak<Audit>>,
}

impl Watcher {
    /// A watcher for an audit whose file is there: callers are learnt from what is in it. Within a runtime.
    pub fn open(config: &Config, means: Means, past: &Path) -> Result<Arc<Self>> {
        let mut detectors = Detectors::new(config)?;
        // A file that cannot be read has nobody in it.
        for line in crate::audit::tail(past, PAST, &Filter::default()).unwrap_or_default() {
            detectors.see(&line.to_string());
        }
        let relays: Result<Vec<Relay>> = config.to.iter().map(|one| Relay::open(one, &means)).collect();
        let outboxes = relays?.into_iter().map(Outbox::start).collect();
        Ok(Arc::new(Self { detectors: Mutex::new(detectors), outboxes, means, audit: OnceLock::new() }))
    }

    /// Where alerts are left too.
    pub fn notes_in(&self, audit: &Arc<Audit>) {
        // set once, by whoever made it
        let _ = self.audit.set(Arc::downgrade(audit));
    }

    /// Gives what waits that long to be sent.
    pub async fn end(&self, within: Duration) {
        futures_util::future::join_all(self.outboxes.iter().map(|outbox| outbox.end(within))).await;
    }

    fn tell(&self, alert: &Alert) {
        tracing::warn!(detector = alert.detector, "{}", alert.sentence());
        let wall = self.means.clock.wall();
        let audit = self.audit.get().and_then(Weak::upgrade);
        if let Some(audit) = &audit {
            audit.note(Event::Alert, &alert.json());
        }
        for outbox in &self.outboxes {
            let body = alert.json();
            outbox.put(Message::new("alert", Severity::Warning, body, &self.means.redactor, wall));
            let lost = outbox.lost();
            if let Some(audit) = audit.as_ref().filter(|_| lost > 0) {
                audit.note(Event::SinkLagged, &json!({"sink": outbox.name(), "dropped": lost}));
            }
        }
    }
}

impl Sink for Watcher {
    fn name(&self) -> &'static str {
        "alerts"
    }

    fn take(&self, lines: Vec<Arc<str>>) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move {
            let mut found = Vec::new();
            {
                let mut detectors = self.detectors.lock().unwrap_or_else(PoisonError::into_inner);
                for line in &lines {
                    found.append(&mut detectors.see(line));
                }
            }
            for alert in &found {
                self.tell(alert);
            }
            Ok(())
        })
    }
}

/// Sends a test to each destination: its kind, and what became of it.
pub async fn test(config: &Config, means: &Means) -> Vec<(&'static str, Result<()>)> {
    let mut results = Vec::new();
    for destination in &config.to {
        let body = json!({"message": "This is a test of bartizan's alerts; nothing has happened."});
        let message = Message::new("test", Severity::Notice, body, &means.redactor, means.clock.wall());
        let done = match Relay::open(destination, means) {
            Ok(relay) => relay.send(&[message]).await,
            Err(error) => Err(error),
        };
        results.push((destination.name(), done));
    }
    results
}
