//! Telling somebody outside.
//!
//! Owns [`Message`], [`Relay`] and [`Outbox`]. The idea: a message is made once and handed to a queue in memory that is
//! bounded; one worker for each destination sends it, tries again with growing pauses, and counts what it had to give
//! up. Nothing that is served waits for it.
//!
//! Must not: send what did not pass the redactor, or hold up whoever has something to tell.

mod anchor;
#[cfg(feature = "otlp")]
mod export;
mod otlp;
mod syslog;
mod webhook;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock::{SharedClock, rfc3339};
use crate::error::{Error, Kind, Result};
use crate::http::{Client, Credentials, Settings};
use crate::json::{Value, json};
use crate::redaction::Redactor;
use crate::telemetry::Destination;
use crate::vault::Keeper;

pub use anchor::Anchor;
#[cfg(feature = "otlp")]
pub use export::Exporter;

/// How many messages wait for one destination.
const MOST_WAITING: usize = 4096;
/// How many are sent together.
const MOST_AT_ONCE: usize = 128;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How often a message is tried: with the pauses between, for about half an hour.
const MOST_TRIES: u32 = 36;

/// How bad it is, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// For the record.
    Notice,
}

/// Something to tell.
#[derive(Debug, Clone)]
pub struct Message {
    id: Uuid,
    wall: Duration,
    /// `alert`, `checkpoint`, `line` or `test`.
    kind: &'static str,
    severity: Severity,
    body: Value,
}

impl Message {
    /// A message of now; everything in it passes the redactor.
    pub fn new(
        kind: &'static str,
        severity: Severity,
        mut body: Value,
        redactor: &Redactor,
        wall: Duration,
    ) -> Self {
        redactor.value(&mut body);
        Self { id: Uuid::new_v4(), wall, kind, severity, body }
    }

    /// An audit line as it is in the file, where it was redacted before it was written.
    pub fn of_line(kind: &'static str, line: Value, wall: Duration) -> Self {
        Self { id: Uuid::new_v4(), wall, kind, severity: Severity::Notice, body: line }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "time": rfc3339(self.wall),
            "source": "bartizan",
            "kind": self.kind,
            "severity": match self.severity { Severity::Warning => "warning", Severity::Notice => "notice" },
            "body": self.body,
        })
    }
}

enum Way {
    Webhook(webhook::Webhook),
    Syslog(syslog::Syslog),
    Otlp(otlp::Otlp),
}

/// The way to one destination.
pub struct Relay {
    name: &'static str,
    way: Way,
}

/// What relays are made with.
#[derive(Clone)]
pub struct Means {
    /// The rules for what leaves over HTTP.
    pub egress: crate::http::Config,
    /// What keeps secrets in.
    pub redactor: Redactor,
    /// The time.
    pub clock: SharedClock,
    /// Who reads secrets.
    pub secrets: Keeper,
}

impl Means {
    /// A client for that address.
    fn client(&self, name: &str, url: &str, credentials: Arc<dyn Credentials>) -> Result<(Client, url::Url)> {
        let parsed: url::Url = url.parse().map_err(|cause: url::ParseError| {
            Error::new(Kind::BadConfig, format!("The address of a {name} is none.")).with_source(cause)
        })?;
        let mut settings = Settings::new(name, parsed.clone(), &self.egress);
        settings.timeout = Some(Duration::from_secs(15));
        settings.body_limit = Some(64 << 10);
        Ok((Client::new(settings, credentials, self.redactor.clone(), self.clock.clone())?, parsed))
    }
}

impl Relay {
    /// The way to a destination; secrets are read now.
    pub fn open(destination: &Destination, means: &Means) -> Result<Self> {
        let way = match destination {
            Destination::Webhook { url, secret } => Way::Webhook(webhook::Webhook::open(url, secret, means)?),
            Destination::Syslog { address, ca_file } => {
                Way::Syslog(syslog::Syslog::open(address, ca_file.as_deref())?)
            }
            Destination::Otlp { url, headers } => Way::Otlp(otlp::Otlp::open(url, headers, means)?),
        };
        Ok(Self { name: destination.name(), way })
    }

    /// The kind of destination.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sends messages once; an error says that they may not have arrived.
    pub async fn send(&self, messages: &[Message]) -> Result<()> {
        match &self.way {
            Way::Webhook(webhook) => webhook.send(messages).await,
            Way::Syslog(syslog) => syslog.send(messages).await,
            Way::Otlp(otlp) => otlp.send(messages).await,
        }
    }
}

/// An answer that is no success.
fn refused(name: &str, status: u16) -> Error {
    Error::new(Kind::UpstreamRefused, format!("The {name} answered {status}; the message may be lost there."))
}

/// Messages that wait for one destination.
pub struct Outbox {
    name: &'static str,
    waiting: Mutex<Option<mpsc::Sender<Message>>>,
    lost: Arc<AtomicU64>,
    work: Mutex<Option<JoinHandle<()>>>,
}

impl Outbox {
    /// Begins to send what is put in. Called within a runtime.
    pub fn start(relay: Relay) -> Self {
        let (sender, waiting) = mpsc::channel(MOST_WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let name = relay.name;
        let work = tokio::spawn(serve(relay, waiting, Arc::clone(&lost)));
        Self { name, waiting: Mutex::new(Some(sender)), lost, work: Mutex::new(Some(work)) }
    }

    /// The kind of destination.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Leaves a message. One too many is counted as lost.
    pub fn put(&self, message: Message) {
        let sent = lock(&self.waiting).as_ref().is_some_and(|waiting| waiting.try_send(message).is_ok());
        if !sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost since the last time this was asked.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Takes nothing more, and gives what waits that long to be sent.
    pub async fn end(&self, within: Duration) {
        drop(lock(&self.waiting).take());
        let work = lock(&self.work).take();
        let Some(work) = work else { return };
        let stop = work.abort_handle();
        if tokio::time::timeout(within, work).await.is_err() {
            stop.abort();
            tracing::warn!(to = self.name, "messages to the outside were not sent in time");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(relay: Relay, mut waiting: mpsc::Receiver<Message>, lost: Arc<AtomicU64>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        let mut rest: VecDeque<Message> = batch.drain(..).collect();
        let mut pause = Duration::from_millis(200);
        for tries in 1.. {
            let Err(error) = relay.send(rest.make_contiguous()).await else { break };
            if tries == 1 || tries == MOST_TRIES {
                tracing::warn!(to = relay.name, tries, error = %error, "a message to the outside did not arrive");
            }
            if tries == MOST_TRIES {
                lost.fetch_add(u64::try_from(rest.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
