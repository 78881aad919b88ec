//! Copies of the audit, for others.
//!
//! Owns the [`Sink`] port and the queues before it. The idea: a sink is told what is in the file already, in its order,
//! from a queue of its own that is bounded; a sink that cannot keep up loses records, which are counted and said, and
//! holds up nobody.
//!
//! Must not: delay a line, or be taken for the audit; the file is.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::{Audit, Event};
use crate::error::Result;
use crate::json::json;

/// How many records wait for one sink.
const MOST_WAITING: usize = 4096;
/// How many records a sink is handed at once.
const MOST_AT_ONCE: usize = 256;

/// Takes copies of audit lines.
pub trait Sink: Send + Sync + 'static {
    /// What it is called in the log.
    fn name(&self) -> &str;

    /// Takes lines that were written, in order. While it does, more wait; what does not fit is dropped. A failure is
    /// logged, and those lines are not offered again.
    fn take(&self, lines: Vec<Arc<str>>) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;
}

struct Copy {
    lines: Sender<Arc<str>>,
    dropped: Arc<AtomicU64>,
    work: JoinHandle<()>,
}

/// Everybody who gets copies.
#[derive(Default)]
pub(super) struct Copies {
    any: AtomicBool,
    all: Mutex<Vec<Copy>>,
}

impl Copies {
    /// Hands on what was just written; called in the order of the file.
    pub(super) fn written(&self, bytes: &[u8]) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let all = self.all();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let line: Arc<str> = line.into();
            for copy in all.iter() {
                if copy.lines.try_send(Arc::clone(&line)).is_err() {
                    copy.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn add(&self, copy: Copy) {
        self.all().push(copy);
        self.any.store(true, Ordering::Release);
    }

    fn all(&self) -> MutexGuard<'_, Vec<Copy>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit {
    /// Hands a copy of each line that is written from here on to a sink; where none is written there are no copies.
    /// Called within a runtime.
    pub fn copy_to(self: &Arc<Self>, sink: Arc<dyn Sink>) {
        let Some(queue) = &self.queue else { return };
        let (lines, waiting) = mpsc::channel(MOST_WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let work = tokio::spawn(serve(sink, waiting, Arc::clone(&dropped), Arc::downgrade(self)));
        queue.copies.add(Copy { lines, dropped, work });
    }

    /// Ends copying: sinks have that long to take what waits for them.
    pub async fn end_copies(&self, within: Duration) {
        let Some(queue) = &self.queue else { return };
        let all = std::mem::take(&mut *queue.copies.all());
        let work: Vec<JoinHandle<()>> = all.into_iter().map(|copy| copy.work).collect();
        let ended = futures_util::future::join_all(work);
        if tokio::time::timeout(within, ended).await.is_err() {
            tracing::warn!("an audit sink did not take its last records in time; they are in the file");
        }
    }
}

/// One sink's life: until nothing more can come.
async fn serve(
    sink: Arc<dyn Sink>,
    mut waiting: Receiver<Arc<str>>,
    dropped: Arc<AtomicU64>,
    audit: Weak<Audit>,
) {
    let mut lines = Vec::new();
    while waiting.recv_many(&mut lines, MOST_AT_ONCE).await > 0 {
        if let Err(error) = sink.take(std::mem::take(&mut lines)).await {
            tracing::warn!(sink = sink.name(), error = %error, "an audit sink failed; the records are in the file");
        }
        // said once there is room again, so that it is not lost itself
        let caught_up = waiting.len() <= MOST_WAITING / 2;
        let lost = if caught_up { dropped.swap(0, Ordering::Relaxed) } else { 0 };
        if lost > 0 {
            tracing::warn!(
                sink = sink.name(),
                lost,
                "an audit sink is too slow; records were not copied to it"
            );
            if let Some(audit) = audit.upgrade() {
                audit.note(Event::SinkLagged, &json!({"sink": sink.name(), "dropped": lost}));
            }
        }
    }
}
