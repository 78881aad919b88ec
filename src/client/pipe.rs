//! The client's side of a pair of streams.
//!
//! Owns [`PipeLink`]. The idea: one task reads and hands out, one task writes; a request waits for its number.
//!
//! Must not: know methods.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::ears::Ears;
use super::error::{Error, Result};
use super::headers::Head;
use super::link::Link;
use crate::protocol::{Door, Revision};

/// Who waits for which answer; nobody may wait once the server is gone.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Value>>>>;

/// A conversation over two streams.
pub(super) struct PipeLink {
    waiting: Arc<Waiting>,
    out: mpsc::UnboundedSender<String>,
    closed: CancellationToken,
    child: Mutex<Option<Child>>,
}

impl PipeLink {
    pub(super) fn over<R, W>(reader: R, writer: W, ears: Arc<Ears>, child: Option<Child>) -> Arc<dyn Link>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (out, messages) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let closed = CancellationToken::new();
        tokio::spawn(closed.clone().run_until_cancelled_owned(write(writer, messages)));
        let answers = out.downgrade();
        let reading = {
            let waiting = waiting.clone();
            async move {
                read(reader, &waiting, ears, answers).await;
            }
        };
        let (at_the_end, stop) = (waiting.clone(), closed.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(reading).await;
            // Whoever still waits hears that nothing comes.
            at_the_end.lock().unwrap_or_else(PoisonError::into_inner).take();
        });
        Arc::new(Self { waiting, out, closed, child: Mutex::new(child) })
    }

    pub(super) fn spawn(mut command: Command, ears: Arc<Ears>) -> Result<Arc<dyn Link>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Error::Unreachable(error.into()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Gone);
        };
        Ok(Self::over(output, input, ears, Some(child)))
    }

    fn forget(&self, id: u64) {
        if let Some(waiting) = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            waiting.remove(&id);
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut messages: mpsc::UnboundedReceiver<String>) {
    while let Some(message) = messages.recv().await {
        if writer.write_all(message.as_bytes()).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn read<R: AsyncRead + Unpin>(
    reader: R,
    waiting: &Waiting,
    ears: Arc<Ears>,
    answers: mpsc::WeakUnboundedSender<String>,
) {
    let mut lines = BufReader::with_capacity(64 << 10, reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let message = serde_json::from_slice::<Value>(&line);
        line.clear();
        let Ok(message) = message else { continue };
        if message.get("method").is_some() {
            if message.get("id").is_some() {
                // A question takes as long as it takes; other answers come in meanwhile.
                let (ears, answers) = (ears.clone(), answers.clone());
                tokio::spawn(async move {
                    if let Some(response) = ears.hear(message).await
                        && let Some(answers) = answers.upgrade()
                    {
                        let _ = answers.send(format!("{response}\n"));
                    }
                });
            } else {
                ears.hear(message).await;
            }
        } else if let Some(id) = message.get("id").and_then(Value::as_u64) {
            let waiter = waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .and_then(|waiting| waiting.remove(&id));
            if let Some(waiter) = waiter {
                let _ = waiter.send(message);
            }
        }
    }
}

/// Stops waiting when dropped.
struct Waits<'a> {
    link: &'a PipeLink,
    id: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.link.forget(self.id);
    }
}

impl Link for PipeLink {
    fn exchange(&self, id: u64, message: Value, _head: Head) -> BoxFuture<'_, Result<Value>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(waiting) => drop(waiting.insert(id, answer)),
                None => return Err(Error::Gone),
            }
            let _waits = Waits { link: self, id };
            self.out.send(format!("{message}\n")).map_err(|_| Error::Gone)?;
            answered.await.map_err(|_| Error::Gone)
        })
    }

    fn notify(&self, message: Value, _head: Head) -> BoxFuture<'_, Result<()>> {
        let sent = self.out.send(format!("{message}\n")).map_err(|_| Error::Gone);
        Box::pin(async move { sent })
    }

    fn cancel(&self, message: Value, _door: Door) {
        let _ = self.out.send(format!("{message}\n"));
    }

    fn opened(&self, _revision: Revision) {}

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.closed.cancel();
            if let Some(mut child) = child {
                // Its input is closed now: a server ends by itself.
                if tokio::time::timeout(std::time::Duration::from_secs(5), child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
            }
        })
    }
}

impl Drop for PipeLink {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}
