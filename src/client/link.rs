//! How a message travels.
//!
//! Owns the [`Link`] port. The idea: a link carries one request to one answer; what comes in between goes to
//! [`Ears`](super::ears::Ears).
//!
//! Must not: know methods.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::error::Result;
use super::headers::Head;
use crate::protocol::{Door, Revision};

/// Carries messages to a server and back.
pub(super) trait Link: Send + Sync {
    /// Sends a request; resolves to the response with the same id.
    fn exchange(&self, id: u64, message: Value, head: Head) -> BoxFuture<'_, Result<Value>>;

    /// Sends a notification or a response.
    fn notify(&self, message: Value, head: Head) -> BoxFuture<'_, Result<()>>;

    /// Says that a request was given up, without waiting.
    fn cancel(&self, message: Value, door: Door);

    /// The handshake is done.
    fn opened(&self, revision: Revision);

    /// Ends the conversation.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Whether this is the answer to that request.
pub(super) fn answers(message: &Value, id: u64) -> bool {
    message.get("method").is_none() && message.get("id").and_then(Value::as_u64) == Some(id)
}
