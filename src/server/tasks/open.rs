//! The questions of a task.
//!
//! Owns [`Open`]: what is asked, and what was answered. The idea: an answer that was taken is never lost. Whoever gave it
//! may go away, and the disk may refuse to note it: the task is woken first, and the rest is done apart from the request.
//!
//! Must not: take an answer twice, or one that does not fit its question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Live, Tasks};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::pipeline::answers;
use crate::protocol::types::Ask;
use crate::server::session::lock;
use crate::tasks::{Record, State};

/// The questions of a task.
#[derive(Default)]
pub(super) struct Open {
    /// What is asked now: the tool's key and question, by the key that the client sees.
    pub(super) asked: BTreeMap<String, (String, Ask)>,
    /// Answers, by the tool's key.
    pub(super) answered: BTreeMap<String, Value>,
    /// Every key that a client has seen; none is used again.
    pub(super) used: BTreeSet<String>,
}

impl Open {
    /// What does not fit its question is refused, and then nothing is taken; what is not asked is ignored. False when
    /// there was nothing new.
    fn take(&mut self, given: Map<String, Value>) -> Result<bool> {
        for (key, answer) in &given {
            if let Some((_, ask)) = self.asked.get(key) {
                answers::check(ask, answer)?;
            }
        }
        let mut fresh = false;
        for (key, answer) in given {
            if let Some((own, _)) = self.asked.remove(&key) {
                self.answered.insert(own, answer);
                fresh = true;
            }
        }
        Ok(fresh)
    }

    /// Where a task stands whose answers were taken: by now it may ask something else.
    fn settle(&self, record: &mut Record) {
        let State::InputRequired { requests } = &mut record.state else { return };
        requests.retain(|key, _| self.asked.contains_key(key));
        if requests.is_empty() {
            record.state = State::Working;
            record.message = None;
        }
    }
}

impl Tasks {
    /// Takes answers.
    pub(super) async fn answered(
        self: &Arc<Self>,
        live: &Arc<Live>,
        given: Map<String, Value>,
    ) -> Result<()> {
        {
            let mut open = lock(&live.open);
            if !open.take(given)? {
                return Ok(());
            }
            if open.asked.is_empty() {
                live.heard.notify_one();
            }
        }
        let (tasks, live) = (Arc::clone(self), Arc::clone(live));
        let noted = tokio::spawn(async move {
            let noted = tasks.change(&live, |record| lock(&live.open).settle(record)).await;
            if noted.is_err() {
                lock(&live.open).settle(&mut lock(&live.record));
            }
            noted
        });
        noted.await.map_err(|cause| {
            Error::new(Kind::Internal, "An answer was taken and could not be written down.")
                .with_source(cause)
        })?
    }
}
