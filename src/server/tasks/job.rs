//! One call that may become a task.
//!
//! Owns [`Job`], the walk, and [`Link`], by which the line or the tool says that it goes on without its request. The
//! idea: one future from the first step to the last; until it is detached its request polls it and is told what came,
//! then it runs by itself. Where the line says that a person has to agree, or asks, the job holds the call and walks
//! again once there is an answer: the line itself never waits.
//!
//! Must not: call anything but the line, or walk again after a walk that may have run the tool and did not ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{OnceCell, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Live, Tasks, wire};
use crate::error::{Error, Kind, Result};
use crate::freeze::{Extent, refusal};
use crate::json::{Map, Value, json};
use crate::pipeline::{
    Answers, BoxFuture, Context, Detach, Outcome, Proposed, Question, Reply, Tool, Voice, unknown,
};
use crate::policy::Effect;
use crate::principal::Principal;
use crate::protocol::message::{self, Id};
use crate::protocol::shape::{self, Frame};
use crate::protocol::types::{Asks, LogLevel};
use crate::protocol::{Method, Revision};
use crate::server::again::again;
use crate::server::asks::missing_capability;
use crate::server::dispatch::Visit;
use crate::server::faults;
use crate::server::session::lock;
use crate::server::voice::Speaker;
use crate::tasks::{Record, State};
use crate::transport::auth::{Lease, Right};

/// Letters of a message about progress that are kept.
const MESSAGE: usize = 500;

/// The way from a call to its task.
pub(in crate::server) struct Link {
    tasks: Arc<Tasks>,
    principal: Arc<Principal>,
    /// Whether its caller still has the rights it was made with.
    lease: Option<Lease>,
    revision: Revision,
    /// Fires when the task is taken back. Until then nobody can: the request is given up by dropping the job.
    pub(in crate::server) cancel: CancellationToken,
    live: OnceCell<Arc<Live>>,
    made: Mutex<Option<oneshot::Sender<Record>>>,
}

impl Link {
    pub(in crate::server) fn new(
        tasks: &Arc<Tasks>,
        visit: &Visit,
    ) -> (Arc<Self>, oneshot::Receiver<Record>) {
        let (sender, receiver) = oneshot::channel();
        let link = Self {
            tasks: Arc::clone(tasks),
            principal: Arc::clone(&visit.principal),
            lease: visit.right.as_ref().and_then(Right::lease),
            revision: visit.revision,
            cancel: CancellationToken::new(),
            live: OnceCell::new(),
            made: Mutex::new(Some(sender)),
        };
        (Arc::new(link), receiver)
    }

    /// The answer to the request whose call goes on as this task.
    pub(in crate::server) fn created(&self, id: &Id, record: &Record, frame: Frame<'_>) -> String {
        message::result(id, shape::task(frame, wire::shown(record, self.tasks.store.poll_ms())))
    }

    /// Refuses where the caller's key was taken back, has run out, or grants something else by now.
    fn holds(&self) -> Result<()> {
        // what has not become a task lasts as long as its request
        if self.live.get().is_none() || self.lease.as_ref().is_none_or(|lease| lease()) {
            return Ok(());
        }
        let message = "The key that this call was made with does not allow it any more; it was given up.";
        Err(Error::new(Kind::Forbidden, message))
    }

    async fn become_task(&self, ran: bool) -> Result<()> {
        let make = || self.tasks.create(&self.principal, self.revision, self.cancel.clone(), ran);
        let live = self.live.get_or_try_init(make).await?;
        if let Some(made) = lock(&self.made).take() {
            let _ = made.send(lock(&live.record).clone());
        }
        Ok(())
    }
}

impl Detach for Link {
    fn detach(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.become_task(true))
    }
}

/// What a call says: to its request while that lasts, then to whoever looks at the task.
pub(in crate::server) struct Telling {
    pub(in crate::server) speaker: Option<Arc<Speaker>>,
    pub(in crate::server) link: Arc<Link>,
}

impl Voice for Telling {
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        match self.link.live.get() {
            None => {
                if let Some(speaker) = &self.speaker {
                    speaker.progress(progress, total, message);
                }
            }
            Some(live) => {
                if let Some(message) = message {
                    let mut record = lock(&live.record);
                    if !record.state.is_over() {
                        record.message = Some(message.chars().take(MESSAGE).collect());
                        record.updated = self.link.tasks.store.now();
                    }
                }
            }
        }
    }

    fn log(&self, level: LogLevel, logger: Option<&str>, data: &Value) {
        if let (None, Some(speaker)) = (self.link.live.get(), &self.speaker) {
            speaker.log(level, logger, data);
        }
    }
}

/// How a job ended for its request.
pub(in crate::server) enum Inline {
    /// It never became a task, and this is what came of it.
    Done(Result<Reply>),
    /// It never became a task, and asks; with the answers it had.
    Asked(Question, BTreeMap<String, Value>),
    /// It was a task when it ended; whoever asks for that is told.
    Task,
}

/// A call, from its first walk to its last.
pub(in crate::server) struct Job {
    pub(in crate::server) link: Arc<Link>,
    pub(in crate::server) tool: Arc<dyn Tool>,
    pub(in crate::server) arguments: Map<String, Value>,
    pub(in crate::server) context: Context,
}

/// Closes a task whose job was dropped: its request went away while it was made.
struct Closing(Arc<Link>, OnceLock<()>);

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(live) = self.0.live.get().cloned() else { return };
        if self.1.get().is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let tasks = Arc::clone(&self.0.tasks);
            runtime.spawn(async move {
                let message = Some(String::from("The caller went away before the task had a name."));
                tasks.finish(&live, State::Cancelled, message).await;
            });
        }
    }
}

impl Job {
    /// Walks the line as often as answers make it.
    pub(in crate::server) async fn run(mut self) -> Inline {
        let closing = Closing(Arc::clone(&self.link), OnceLock::new());
        let answers = std::mem::take(&mut self.context.answers);
        let ended = self.walk(answers).await;
        let link = &self.link;
        let Some(live) = link.live.get() else { return ended };
        let (state, message) = match ended {
            Inline::Done(Ok(Reply::Tool(result))) => completed(&result, None),
            Inline::Done(Err(error)) if link.cancel.is_cancelled() && error.kind() == Kind::Cancelled => {
                self.taken_back(live)
            }
            Inline::Done(Err(error)) if link.revision.tool_result(error.kind()) => {
                completed(&faults::tool_result(&error), Some(error.message().to_owned()))
            }
            Inline::Done(Err(error)) => self.failed(&error),
            Inline::Done(Ok(_)) | Inline::Asked(..) | Inline::Task => {
                self.failed(&Error::new(Kind::Internal, "What was called did not answer as a tool does."))
            }
        };
        link.tasks.finish(live, state, message).await;
        let _ = closing.1.set(());
        Inline::Task
    }

    async fn walk(&self, mut answers: Answers) -> Inline {
        let link = &self.link;
        let mut approvals = 0;
        let mut ran = false;
        let mut tool = Arc::clone(&self.tool);
        for _ in 0..=link.tasks.rounds {
            loop {
                let (earlier, state) = (answers.responses.clone(), answers.state.clone());
                let context = Context {
                    answers: std::mem::take(&mut answers),
                    cancel: link.cancel.clone(),
                    detach: Some(Arc::clone(link) as Arc<dyn Detach>),
                    ..self.context.clone()
                };
                let (method, now) = (Method::ToolsCall.name(), link.tasks.catalog.now());
                let line = link.tasks.line_of(&now);
                // who waited goes on with what it may do by now, and with what is there by now
                let allowed = link.holds().and_then(|()| again(&now, (method, &tool.spec().name), &tool));
                tool = match allowed {
                    Ok(tool) => tool,
                    Err(error) => {
                        let error = line.unheard(method, Some(&tool.spec().name), &context, error).await;
                        return Inline::Done(Err(error));
                    }
                };
                let call = Proposed { tool: Arc::clone(&tool), arguments: self.arguments.clone(), method };
                let outcome = tokio::select! {
                    biased;
                    outcome = line.run(call, &context) => outcome,
                    () = link.cancel.cancelled() => Err(faults::cancelled()),
                };
                match outcome {
                    Ok(Outcome::Done(redacted)) => return Inline::Done(Ok(redacted.into_reply())),
                    Ok(Outcome::Paused(question)) if link.live.get().is_none() => {
                        return Inline::Asked(question, earlier);
                    }
                    Ok(Outcome::Paused(question)) => {
                        ran = true;
                        match self.ask(question.asks).await {
                            Err(error) => return Inline::Done(Err(error)),
                            Ok(fresh) => {
                                let mut responses = earlier;
                                responses.extend(fresh);
                                answers = Answers { responses, state: question.state };
                            }
                        }
                        break;
                    }
                    // the same call under the same approval: nothing has run
                    Err(error) if error.kind() == Kind::NeedsApproval && approvals < MOST_APPROVALS => {
                        let Some((id, expires)) = awaited(&error) else { return Inline::Done(Err(error)) };
                        if let Err(error) = self.wait(&id, expires, ran).await {
                            return Inline::Done(Err(error));
                        }
                        approvals += 1;
                        answers = Answers { responses: earlier, state };
                    }
                    Err(error) => return Inline::Done(Err(error)),
                }
            }
        }
        let message = "The call asked more often than a call may; it was given up.";
        Inline::Done(Err(Error::new(Kind::ToolFailed, message)))
    }

    /// Asks whoever looks at the task, and waits for all answers.
    async fn ask(&self, asks: Asks) -> Result<BTreeMap<String, Value>> {
        let link = &self.link;
        let live = self.live()?;
        missing_capability(link.revision, &self.context.client.capabilities, &asks)?;
        let mut requests = Map::new();
        {
            let mut open = lock(&live.open);
            for (own, ask) in asks {
                let mut key = own.clone();
                let mut count = 1;
                while !open.used.insert(key.clone()) {
                    count += 1;
                    key = format!("{own}#{count}");
                }
                requests.insert(key.clone(), shape::ask_request(&ask, link.revision));
                open.asked.insert(key, (own, ask));
            }
        }
        link.tasks
            .change(live, |record| {
                record.ran = true;
                record.message = Some(String::from("Waiting for an answer."));
                record.state = State::InputRequired { requests };
            })
            .await?;
        loop {
            if let Some(answered) = answered(live) {
                return Ok(answered);
            }
            tokio::select! {
                biased;
                () = link.cancel.cancelled() => return Err(faults::cancelled()),
                error = self.frozen() => return Err(error),
                () = live.heard.notified() => {}
            }
        }
    }

    /// Resolves when an operator freezes what this is: what waits does not wait for the end of that.
    async fn frozen(&self) -> Error {
        let tasks = &self.link.tasks;
        let line = Arc::clone(tasks.line_of(&tasks.catalog.now()));
        let changes = self.tool.spec().effect != Effect::Read;
        line.halt(changes).cancelled().await;
        refusal(if changes { Extent::Writes } else { Extent::All })
    }

    /// Waits until a person has decided; the call becomes a task for it.
    async fn wait(&self, approval: &str, expires: u64, ran: bool) -> Result<()> {
        let link = &self.link;
        link.become_task(ran).await?;
        let live = self.live()?;
        let message = format!(
            "Waiting for a person: an operator runs `bartizan approvals approve {approval}`, or an approver decides on \
             the approval page."
        );
        *lock(&live.awaited) = Some(approval.to_owned());
        link.tasks
            .change(live, |record| {
                record.ran = ran;
                record.message = Some(message);
            })
            .await?;
        while lock(&live.awaited).is_some() {
            tokio::select! {
                biased;
                () = link.cancel.cancelled() => return Err(faults::cancelled()),
                error = self.frozen() => return Err(error),
                () = live.heard.notified() => {}
            }
        }
        if link.tasks.store.now() >= expires {
            let message = "Nobody decided about this call in time; make it again to ask anew.";
            return Err(Error::new(Kind::NeedsApproval, message).with_detail(json!({"approval": approval})));
        }
        if link.tasks.catalog.now().tool(&self.tool.spec().name).is_none() {
            return Err(unknown(Method::ToolsCall.name()));
        }
        link.tasks
            .change(live, |record| {
                record.ran = true;
                record.message = None;
            })
            .await
    }

    fn live(&self) -> Result<&Arc<Live>> {
        self.link.live.get().ok_or_else(|| Error::new(Kind::Internal, "There is no task to speak of."))
    }

    fn taken_back(&self, live: &Live) -> (State, Option<String>) {
        if !self.link.tasks.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return (State::Cancelled, Some(String::from("The task was cancelled.")));
        }
        let ran = lock(&live.record).ran;
        let (message, outcome) = if ran {
            ("The server was stopped while this ran; whether it had an effect is unknown.", "unknown")
        } else {
            ("The server was stopped before this ran; make the call again if it is still wanted.", "not run")
        };
        self.failed(&Error::new(Kind::Internal, message).with_detail(json!({"outcome": outcome})))
    }

    fn failed(&self, error: &Error) -> (State, Option<String>) {
        let mut shown = json!({"code": self.link.revision.code(error.kind()), "message": error.message()});
        if let Some(data) = faults::data(error) {
            shown["data"] = data;
        }
        (State::Failed { error: shown }, Some(error.message().to_owned()))
    }
}

/// How often one call may wait for a person: a grant can be taken by the same call made twice, or fit no longer.
const MOST_APPROVALS: u32 = 16;

fn answered(live: &Live) -> Option<BTreeMap<String, Value>> {
    let mut open = lock(&live.open);
    open.asked.is_empty().then(|| std::mem::take(&mut open.answered))
}

/// The approval that an error names, and when it ends.
fn awaited(error: &Error) -> Option<(String, u64)> {
    let detail = error.detail()?;
    Some((detail.get("approval")?.as_str()?.to_owned(), detail.get("expires")?.as_u64()?))
}

fn completed(
    result: &crate::protocol::types::ToolResult,
    message: Option<String>,
) -> (State, Option<String>) {
    let Ok(result) = serde_json::to_value(result) else {
        let message = "The result could not be written down.";
        let error = json!({"code": Kind::Internal.code(), "message": message});
        return (State::Failed { error }, Some(String::from(message)));
    };
    (State::Completed { result }, message)
}
