//! What a server says besides its answers.
//!
//! Owns [`Ears`]: progress, notifications, and (older door) requests to the client. The idea: every link hands every
//! message that is no answer to the same place.
//!
//! Must not: send anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::error::RpcError;
use super::{Answers, Notices, Options, Progress};
use crate::protocol::meta;

/// Hears for all requests of one client.
pub(super) struct Ears {
    answers: Option<Answers>,
    notices: Option<Notices>,
    progress: Mutex<HashMap<u64, Progress>>,
}

/// Hears progress until dropped.
pub(super) struct Hearing {
    ears: Arc<Ears>,
    token: u64,
}

impl Ears {
    pub(super) fn new(options: &Options) -> Arc<Self> {
        let (answers, notices) = (options.answers.clone(), options.notices.clone());
        Arc::new(Self { answers, notices, progress: Mutex::default() })
    }

    pub(super) fn hear_progress(self: &Arc<Self>, token: u64, progress: Progress) -> Hearing {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(token, progress);
        Hearing { ears: self.clone(), token }
    }

    /// Answers a question of the server.
    pub(super) async fn answer(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        match &self.answers {
            Some(answers) => answers(method.to_owned(), params).await,
            None => Err(RpcError::new(-32601, "This client answers no questions.")),
        }
    }

    /// Hears a message that is no answer; the response, if it was a request.
    pub(super) async fn hear(&self, message: Value) -> Option<Value> {
        let method = message.get("method").and_then(Value::as_str)?.to_owned();
        if let Some(id) = message.get("id") {
            if method == "ping" {
                return Some(json!({"jsonrpc": "2.0", "id": id, "result": {}}));
            }
            let params = message.get("params").cloned().unwrap_or(Value::Null);
            return Some(match self.answer(&method, params).await {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error.to_value()}),
            });
        }
        if method == "notifications/progress" {
            let params = message.get("params").cloned().unwrap_or(Value::Null);
            let token = params.get(meta::PROGRESS_TOKEN).and_then(Value::as_u64);
            let heard = token.and_then(|token| {
                self.progress.lock().unwrap_or_else(PoisonError::into_inner).get(&token).cloned()
            });
            if let Some(progress) = heard {
                progress(params);
            }
        } else if let Some(notices) = &self.notices {
            notices(message);
        }
        None
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.ears.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}
