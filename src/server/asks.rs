//! Questions: how they are asked, and how answers come back.
//!
//! Owns the multi-round requests of the newer door and the requests to the client of the older. The idea: a question
//! is a return value of the line; here it becomes either a result with a sealed `requestState`, which holds what was
//! asked and answered so far and opens only for this caller and this call, or a request on the open stream, after
//! whose answer the line runs again from the top.
//!
//! Must not: ask what the client did not declare, or believe an answer that does not fit its question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dispatch::Visit;
use super::session::{Conversation, Waiting};
use super::{Server, faults};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, digest, json};
use crate::pipeline::{Answers, Question, answers};
use crate::policy::Effect;
use crate::principal::Principal;
use crate::protocol::types::{Ask, Asks, ClientCapabilities};
use crate::protocol::{Door, Revision, message, shape};

/// Answers in one request.
const MOST_ANSWERS: usize = 64;
/// Bytes of state that a client carries for us.
const MOST_STATE: usize = 256 << 10;

/// What a sealed state holds.
#[derive(Serialize, Deserialize)]
struct Kept {
    until: u64,
    asked: Asks,
    responses: BTreeMap<String, Value>,
    state: Option<Value>,
}

/// The call a question belongs to.
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) name: &'a str,
    pub(super) arguments: &'a Map<String, Value>,
}

impl Call<'_> {
    /// What a state is bound to: who, what, with which arguments.
    fn bound(&self, visit: &Visit) -> Vec<u8> {
        let arguments = digest(&Value::Object(self.arguments.clone())).hex();
        let Principal { id, kind, tenant, .. } = &*visit.principal;
        let call = (self.method, self.name, arguments);
        serde_json::to_vec(&("state", &**id, kind, tenant, visit.revision.name(), call)).unwrap_or_default()
    }
}

/// One sentence for every state that is not good: altered, expired, used up, somebody else's, another call's.
pub(super) const REFUSED_STATE: &str =
    "The `requestState` is not valid for this request; start again without it.";

fn refused() -> Error {
    faults::bad_params(REFUSED_STATE)
}

impl Server {
    /// The answers that came with a request, checked; the parameters lose them. Where the call may change something, a
    /// state is good once.
    pub(super) async fn incoming(
        &self,
        visit: &Visit,
        effect: Effect,
        (method, name): (&'static str, &str),
        params: &mut Map<String, Value>,
        arguments: &Map<String, Value>,
    ) -> Result<Answers> {
        if visit.revision.door() == Door::Handshake {
            return Ok(Answers::default());
        }
        let (given, state) = (params.remove("inputResponses"), params.remove("requestState"));
        if given.is_none() && state.is_none() {
            return Ok(Answers::default());
        }
        let given = match given {
            None => Map::new(),
            Some(Value::Object(given)) if given.len() <= MOST_ANSWERS => given,
            Some(_) => {
                return Err(faults::bad_params("`inputResponses` has to be an object, with few members."));
            }
        };
        let Some(state) = state else {
            // a tool checks each against its own question; here they only have to look like answers
            given.values().try_for_each(answers::check_form)?;
            return Ok(Answers { responses: given.into_iter().collect(), state: None });
        };
        let state = state.as_str().ok_or_else(refused)?;
        let bound = Call { method, name, arguments }.bound(visit);
        let kept = self.keys.open(state, &bound).ok_or_else(refused)?;
        let kept: Kept = serde_json::from_slice(&kept).map_err(|_| refused())?;
        if self.now() >= kept.until {
            return Err(refused());
        }
        let mut responses = kept.responses;
        for (key, answer) in given {
            // what was not asked is ignored
            if let Some(ask) = kept.asked.get(&key) {
                answers::check(ask, &answer)?;
                responses.insert(key, answer);
            }
        }
        if effect != Effect::Read && !self.spent.spend(state, kept.until, self.now()).await? {
            return Err(refused());
        }
        Ok(Answers { responses, state: kept.state })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }

    /// The answer `input_required`.
    pub(super) fn pause(
        &self,
        visit: &Visit,
        call: &Call<'_>,
        question: Question,
        earlier: BTreeMap<String, Value>,
    ) -> Result<String> {
        can_be_asked(visit, &question.asks)?;
        let life = self.config.state_ttl_seconds.saturating_mul(1000);
        let until = self.now().saturating_add(life);
        let kept = Kept { until, asked: question.asks, responses: earlier, state: question.state };
        let plain = serde_json::to_vec(&kept)
            .map_err(|error| Error::new(Kind::Internal, "State could not be written.").with_source(error))?;
        if plain.len() > MOST_STATE {
            return Err(faults::bad_params("The answers so far are too large to go on with; send less."));
        }
        let sealed = self.keys.seal(&plain, &call.bound(visit))?;
        let frame = self.frame(visit.revision);
        Ok(message::result(&visit.id, shape::input_required(frame, &kept.asked, &sealed)))
    }

    /// Asks the client on the stream of the running request, one question after the other.
    pub(super) async fn converse(&self, visit: &Visit, asks: &Asks) -> Result<BTreeMap<String, Value>> {
        can_be_asked(visit, asks)?;
        let talk = visit
            .session
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Internal, "There is no conversation to ask in."))?;
        let mut responses = BTreeMap::new();
        for (key, ask) in asks {
            let answer = self.put(visit, talk, ask).await?;
            answers::check(ask, &answer)?;
            responses.insert(key.clone(), answer);
        }
        Ok(responses)
    }

    async fn put(&self, visit: &Visit, talk: &Arc<Conversation>, ask: &Ask) -> Result<Value> {
        let (waiting, receiver) = talk.expect();
        let params = shape::ask_params(ask, visit.revision, || uuid::Uuid::new_v4().to_string());
        if !visit.outlet.send(message::request(waiting.id, ask.method(), params)) {
            return Err(faults::cancelled());
        }
        let withdraw = Withdraw { visit, waiting: Some(waiting) };
        let deadline = Duration::from_secs(self.config.ask_timeout_seconds);
        let answer = tokio::select! {
            biased;
            () = visit.cancel.cancelled() => return Err(faults::cancelled()),
            () = talk.ended.cancelled() => return Err(faults::cancelled()),
            answer = tokio::time::timeout(deadline, receiver) => answer,
        };
        match answer {
            Err(_) => Err(Error::new(Kind::TimedOut, "Nobody answered the question in time.")),
            Ok(Err(_)) => Err(faults::cancelled()),
            Ok(Ok(reply)) => {
                withdraw.answered();
                reply.map_err(|_| Error::new(Kind::Declined, "The client refused to pass the question on."))
            }
        }
    }
}

/// Takes a question back that nobody answered.
struct Withdraw<'a> {
    visit: &'a Visit,
    waiting: Option<Waiting>,
}

impl Withdraw<'_> {
    fn answered(mut self) {
        self.waiting.take();
    }
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let params = json!({"requestId": waiting.id, "reason": "The answer is no longer needed."});
            self.visit.outlet.send(message::notification("notifications/cancelled", Some(params)));
        }
    }
}

/// Whether the client declared everything that is asked of it.
fn can_be_asked(visit: &Visit, asks: &Asks) -> Result<()> {
    missing_capability(visit.revision, &visit.client.capabilities, asks)
}

/// The error for what is asked of a client that did not declare it.
pub(super) fn missing_capability(
    revision: Revision,
    declared: &ClientCapabilities,
    asks: &Asks,
) -> Result<()> {
    let mut needed = Map::new();
    for ask in asks.values().filter(|ask| !shape::can_answer(revision, declared, ask)) {
        if let Value::Object(one) = shape::needed(revision, ask) {
            for (name, modes) in one {
                match (needed.get_mut(&name), modes) {
                    (Some(Value::Object(known)), Value::Object(modes)) => known.extend(modes),
                    (_, modes) => {
                        needed.insert(name, modes);
                    }
                }
            }
        }
    }
    if needed.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = needed.keys().map(String::as_str).collect();
    let message = format!("This call has to ask its client, which did not declare: {}.", names.join(", "));
    Err(Error::new(Kind::MissingCapability, message).with_detail(json!({"requiredCapabilities": needed})))
}
