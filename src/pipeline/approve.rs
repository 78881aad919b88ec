//! Does a person agree?
//!
//! Owns the stamp [`Approved`]. The idea: a person is asked last, and a question is a return value: to the client where
//! configuration trusts it, else to an operator by way of the state directory. A grant is taken, not remembered: taking
//! it is what makes the stamp.
//!
//! Must not: wait for anybody.
//!
//! ```compile_fail
//! fn forge(call: bartizan::pipeline::Proposed) -> bartizan::pipeline::Approved {
//!     let bartizan::pipeline::Proposed { tool, arguments, method } = call;
//!     bartizan::pipeline::Approved { tool, arguments, method, grant: None, tag: None }
//! }
//! ```

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::onward::{Onward, Place, Trail};
use super::{Aim, Context, LineParts, Notes, Permitted, Proposed, Question, Tool, sight};
use crate::approvals::{
    Answer, Approvals, Channel, Destination, Grant, Record, Seen, Way, Wish, nobody, sheet, visible,
};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};
use crate::limits::Limiter;
use crate::policy::{Effect, Verdict};
use crate::principal::Principal;
use crate::protocol::types::{Ask, Asks};
use crate::redaction::Redactor;

/// The key of the question whether a call may run.
pub(super) const KEY: &str = "bartizan.approval";

/// A call that may run.
pub struct Approved {
    tool: Arc<dyn Tool>,
    arguments: Map<String, Value>,
    method: &'static str,
    grant: Option<Grant>,
    tag: Option<String>,
    place: Option<Box<Place>>,
    trail: OnceLock<Box<Trail>>,
    quota: Option<(Arc<Limiter>, Arc<str>)>,
}

impl Approved {
    /// The validated arguments.
    pub fn arguments(&self) -> &Map<String, Value> {
        &self.arguments
    }

    /// The protocol method, such as `tools/call`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The entity tag of what a person was shown before agreeing: what has another one by now is not theirs to change.
    pub fn shown_tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The effect that the tool declares; what it calls in turn may not exceed it.
    pub fn effect(&self) -> Effect {
        self.tool.spec().effect
    }

    /// Where the call is to begin: what the tool itself said in a [`Trail`]; none for its beginning.
    pub fn begins_at(&self) -> Option<&Value> {
        self.place.as_ref().map(|place| &place.at).filter(|at| !at.is_null())
    }

    /// Says where the list in the result can be taken up again. The first word counts.
    pub fn goes_on(&self, trail: Trail) {
        let _ = self.trail.set(Box::new(trail));
    }

    /// Takes one more call of the caller's quota, for a further request that this call needs.
    pub async fn again(&self) -> Result<()> {
        if let Some((limiter, caller)) = &self.quota {
            limiter.take(caller, self.effect().name(), 1).await?;
        }
        Ok(())
    }

    pub(super) fn charge(&mut self, limiter: &Arc<Limiter>, caller: &Arc<str>) {
        self.quota = Some((Arc::clone(limiter), Arc::clone(caller)));
    }

    pub(super) fn resume(&mut self, place: Option<Place>) {
        self.place = place.map(Box::new);
    }

    /// What the result needs to be gone on with.
    pub(super) fn onward(self) -> Option<Box<Onward>> {
        self.tool.spec().page.as_ref()?;
        let Self { arguments, place, trail, .. } = self;
        let (place, trail) = (place.map(|place| *place), trail.into_inner().map(|trail| *trail));
        Some(Box::new(Onward { arguments, place, trail, skipped: 0 }))
    }

    pub(super) fn tool(&self) -> Arc<dyn Tool> {
        Arc::clone(&self.tool)
    }

    /// Who agreed, where a person had to.
    pub(super) fn approver(&self) -> Option<&str> {
        self.grant.as_ref().map(Grant::by)
    }

    pub(super) fn take_grant(&mut self) -> Option<Grant> {
        self.grant.take()
    }
}

/// What the stage hands on.
pub(super) enum Decided {
    Approved(Approved),
    Asked(Question),
}

pub(super) async fn approve(
    call: Permitted,
    aim: Aim,
    parts: &LineParts,
    context: &Context,
    notes: &mut Notes,
) -> Result<Decided> {
    let verdict = call.verdict();
    let call = call.into_call();
    if verdict == Verdict::Allow {
        return Ok(Decided::Approved(stamp(call, None, None)));
    }
    let approvals = match &parts.approvals {
        Some(approvals) if aim == Aim::Call => Arc::clone(approvals),
        _ => {
            return Err(Error::new(
                Kind::Forbidden,
                "This needs a person to agree, and nobody can be asked here; an operator can configure approvals.",
            ));
        }
    };
    let can_ask = context.principal.may_approve && context.client.capabilities.elicit_form;
    let way = way(&approvals, call.tool.spec().effect, can_ask).await?;
    // What it would change is read now, each time: just before the grant is taken too.
    let looked = sight::look(&call, &approvals, parts, context).await?;
    let tag = looked.as_ref().and_then(|looked| looked.tag.clone());
    let mut desk = Desk::new(&call, looked.map(|looked| looked.seen), parts, context).await;
    let state = context.answers.state.as_ref();
    let kept = |key: &str| state.and_then(|state| state.get(key)?.as_str().map(String::from));
    let asks_client = way.client;

    if let Some(id) = kept("grant") {
        notes.approval = Some(id.clone());
        let grant = desk.ask(approvals, move |approvals, wish| approvals.resume(&id, wish)).await?;
        return Ok(Decided::Approved(stamp(call, Some(grant), tag)));
    }
    if let (true, Some(id), Some(response)) =
        (asks_client, kept("approval"), context.answers.responses.get(KEY))
    {
        notes.approval = Some(id.clone());
        if response["action"] == "accept" && response["content"]["approve"] == true {
            let grant =
                desk.ask(approvals, move |approvals, wish| approvals.agreed_by_client(&id, wish)).await?;
            return Ok(Decided::Approved(stamp(call, Some(grant), tag)));
        }
        desk.ask(approvals, move |approvals, wish| approvals.declined_by_client(&id, wish)).await?;
        return Err(declined());
    }
    // Once, before anybody sees it: whoever comes back for a decision rehearses nothing.
    if approvals.shows_state()
        && call.tool.rehearsal(&call.arguments).is_some()
        && !desk.clone().ask(Arc::clone(&approvals), Approvals::waits).await?
    {
        desk.rehearsed = sight::rehearse(&call, parts, context).await;
    }
    match desk.ask(approvals, Approvals::settle).await? {
        Answer::Taken(grant) => {
            notes.approval = Some(grant.id().to_owned());
            Ok(Decided::Approved(stamp(call, Some(grant), tag)))
        }
        Answer::Refused(id) => {
            notes.approval = Some(id);
            Err(declined())
        }
        Answer::Void(id) => {
            let error = Answer::voided(&id);
            notes.approval = Some(id);
            Err(error)
        }
        Answer::Pending(record) => {
            notes.approval = Some(record.id.clone());
            // What had to be cut is not the client's to agree to: its user would not see all of it.
            let whole = record.shown.whole.is_none();
            match way.desk {
                _ if asks_client && whole => Ok(Decided::Asked(question(&record))),
                Some(channel) => Err(awaited(&record, channel)),
                None => Err(nobody()),
            }
        }
    }
}

async fn way(approvals: &Arc<Approvals>, effect: Effect, client: bool) -> Result<Way> {
    let approvals = Arc::clone(approvals);
    let asked = tokio::task::spawn_blocking(move || approvals.way(effect.name(), client));
    asked.await.map_err(|cause| {
        Error::new(Kind::Internal, "Who can be asked could not be found out.").with_source(cause)
    })?
}

pub(super) fn stamp(call: Proposed, grant: Option<Grant>, tag: Option<String>) -> Approved {
    let Proposed { tool, arguments, method } = call;
    Approved { tool, arguments, method, grant, tag, place: None, trail: OnceLock::new(), quota: None }
}

/// What the files are asked about, in a form that can go to a blocking thread.
#[derive(Clone)]
struct Desk {
    tool: Arc<dyn Tool>,
    principal: Arc<Principal>,
    arguments: Value,
    redacted: Value,
    policy: String,
    destination: Option<Destination>,
    seen: Option<Seen>,
    request: Option<String>,
    rehearsed: Option<String>,
}

impl Desk {
    async fn new(call: &Proposed, seen: Option<Seen>, parts: &LineParts, context: &Context) -> Self {
        let arguments = Value::Object(call.arguments.clone());
        let mut redacted = arguments.clone();
        reveal(&mut redacted, &parts.redactor);
        parts.redactor.value(&mut redacted);
        Self {
            tool: Arc::clone(&call.tool),
            principal: Arc::clone(&context.principal),
            arguments,
            redacted,
            policy: parts.policy.version().to_owned(),
            destination: call.tool.destination().await,
            seen,
            request: call
                .tool
                .request_line(&call.arguments)
                .map(|line| parts.redactor.text(&line).into_owned()),
            rehearsed: None,
        }
    }

    async fn ask<T: Send + 'static>(
        self,
        approvals: Arc<Approvals>,
        act: impl FnOnce(&Approvals, &Wish<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = move || {
            let spec = self.tool.spec();
            act(
                &approvals,
                &Wish {
                    principal: &self.principal,
                    tool: &spec.name,
                    source: &spec.source,
                    fingerprint: spec.fingerprint(),
                    effect: spec.effect.name(),
                    target: spec.target.as_deref(),
                    arguments: &self.arguments,
                    redacted: &self.redacted,
                    policy: &self.policy,
                    upstream: self.destination.as_ref(),
                    state: self.seen.as_ref(),
                    request: self.request.as_deref(),
                    rehearsed: self.rehearsed.as_deref(),
                },
            )
        };
        tokio::task::spawn_blocking(work).await.map_err(|cause| {
            Error::new(Kind::Internal, "The approvals could not be looked at.").with_source(cause)
        })?
    }
}

/// Makes visible what hides in texts, before the redactor would strip it: the person has to see what will be sent. A
/// text that turns out to be a secret once it is stripped is left to the redactor.
pub(super) fn reveal(value: &mut Value, redactor: &Redactor) {
    let seen = |text: &str| match redactor.clean(text) {
        Cow::Owned(stripped) if matches!(redactor.text(&stripped), Cow::Borrowed(_)) => Some(visible(text)),
        Cow::Owned(_) | Cow::Borrowed(_) => None,
    };
    match value {
        Value::String(text) => {
            if let Some(shown) = seen(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| reveal(item, redactor)),
        Value::Object(object) => {
            if object.keys().any(|key| seen(key).is_some()) {
                *object = std::mem::take(object)
                    .into_iter()
                    .map(|(key, value)| (seen(&key).unwrap_or(key), value))
                    .collect();
            }
            object.values_mut().for_each(|value| reveal(value, redactor));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn declined() -> Error {
    Error::new(Kind::Declined, "A person looked at this call and said no; do not try it again unchanged.")
}

fn awaited(record: &Record, channel: Channel) -> Error {
    let id = &record.id;
    let who = match channel {
        Channel::Operator => format!("an operator runs `bartizan approvals approve {id}`"),
        Channel::Webhook | Channel::Client => {
            format!("approvers were told about approval {id}, and one of them decides on the approval page")
        }
    };
    Error::new(
        Kind::NeedsApproval,
        format!("A person has to agree first: {who}, then make the same call again."),
    )
    .with_detail(json!({"approval": id, "expires": record.expires}))
}

fn question(record: &Record) -> Question {
    let mut message = String::from("May this run once?\n\n");
    for row in sheet(record, None) {
        let text = if row.long {
            format!("{}:\n{}\n", row.name, row.text)
        } else {
            format!("{}: {}\n", row.name, row.text)
        };
        message.push_str(&text);
    }
    let schema = json!({
        "type": "object",
        "properties": {"approve": {
            "type": "boolean", "title": "Let it run", "description": "Yes lets exactly this call run, once."
        }},
        "required": ["approve"]
    });
    Question {
        asks: Asks::from([(KEY.to_owned(), Ask::Form { message, schema })]),
        state: Some(json!({"approval": record.id})),
    }
}
