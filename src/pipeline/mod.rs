//! The line: six calls in a row.
//!
//! Owns [`Line`]. The idea: admit, validate, permit, approve, execute, redact; each stage hands on a stamp that only
//! its own file can make, so that none can be skipped and the order is what compiles.
//!
//! Must not: be gone round.

mod account;
mod admit;
pub mod answers;
mod approve;
mod asking;
pub mod call;
mod charged;
mod cut;
mod diff;
mod execute;
mod gate;
pub mod kept;
mod notes;
mod onward;
mod permit;
mod reach;
mod redact;
mod select;
mod showing;
mod sight;
mod telling;
pub mod tool;
mod unheard;
mod validate;
mod voice;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use crate::approvals::Destination;
pub use admit::Admitted;
pub use approve::Approved;
pub use call::{Answers, Client, Context, Detach, Halt, Outcome, Proposed, Question, Reply, Voice};
pub use charged::{is_charged, unknown};
pub use execute::Executed;
pub use onward::{Trail, offer};
pub use permit::{Guard, Guarded, Permitted};
pub use redact::{ANSWER, DEPARTURE, Redacted};
pub use select::{Pattern, choose};
pub use tool::{Family, Reading, Sight, Tasking, Tool, ToolSpec};
pub use validate::Validated;

use account::{began, event, record, status};
use charged::Charged;
use kept::Kept;
use notes::Notes;
use showing::wanted;

use crate::approvals::Approvals;
use crate::audit::{Audit, Entry, Event, Finish, Step};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::freeze::Freeze;
use crate::json::{Digest, Map};
use crate::limits::{Limiter, room};
use crate::policy::{Effect, Filter, Policy, Verdict};
use crate::principal::Principal;
use crate::redaction::Redactor;
use crate::state::KeyRing;
use crate::telemetry::facts::{Facts, stage};
use crate::telemetry::{Ended, Observer};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The `[calls]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds a call may take when its tool does not say.
    pub timeout_seconds: u64,
    /// Seconds no call may exceed, whatever its tool says.
    pub longest_seconds: u64,
    /// Seconds no call may exceed that runs as a task.
    pub longest_task_seconds: u64,
    /// How many calls may run at once.
    pub at_once: usize,
    /// How many calls may run as tasks at once; they take nothing from the others.
    pub tasks_at_once: usize,
    /// How many calls may wait for their turn.
    pub waiting: usize,
    /// How much of all these one caller may take, in percent.
    pub share_percent: u8,
    /// Bytes of a result; what is beyond is cut, and says so.
    pub result_limit: usize,
    /// Bytes of an upstream's answer that are shown at once, where its connector does not say: of a list whole items,
    /// of anything else all but its largest parts.
    pub shown_bytes: usize,
    /// Whole results of what was cut.
    pub kept: kept::Config,
    /// Whether arguments that are nearly right are read as they were meant: a number in quotes, JSON in a text, one
    /// value where a list belongs.
    pub coerce: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout_seconds: 30,
            longest_seconds: 300,
            longest_task_seconds: 3600,
            at_once: 512,
            tasks_at_once: 64,
            waiting: 2048,
            share_percent: 50,
            result_limit: 1 << 20,
            shown_bytes: 16_000,
            kept: kept::Config::default(),
            coerce: true,
        }
    }
}

/// What a line is made of.
pub struct LineParts {
    /// Where intents and outcomes go.
    pub audit: Arc<Audit>,
    /// Who may call how often.
    pub limiter: Arc<Limiter>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// What is switched on at all.
    pub filter: Filter,
    /// The user's own rules; they can only tighten.
    pub guards: Vec<Arc<dyn Guard>>,
    /// What keeps secrets in.
    pub redactor: Redactor,
    /// Where a person's agreement is kept; without it, whatever needs a person is refused.
    pub approvals: Option<Arc<Approvals>>,
    /// The time.
    pub clock: SharedClock,
    /// What the installation is for, as the audit says it.
    pub profile: &'static str,
    /// Times and sizes.
    pub config: Config,
}

/// What a reload can change of a line.
pub struct Rules {
    /// Who may call how often.
    pub limiter: Arc<Limiter>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// What is switched on at all.
    pub filter: Filter,
    /// What keeps secrets in.
    pub redactor: Redactor,
    /// Times and sizes.
    pub config: Config,
}

/// The line.
pub struct Line {
    parts: LineParts,
    freeze: Option<Arc<Freeze>>,
    observer: Option<Arc<Observer>>,
    gate: Arc<gate::Gate>,
    task_gate: Arc<gate::Gate>,
    handles: Arc<onward::Handles>,
    kept: Arc<Kept>,
    /// Which rules these are for `kept`.
    kept_since: u64,
}

/// What a call is for: its result, or suggestions for its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Call,
    Complete,
}

impl Line {
    /// Joins the parts.
    pub fn new(parts: LineParts) -> Self {
        let gate = Arc::new(gate::Gate::new(&parts.config));
        let handles = onward::Handles::new(KeyRing::ephemeral(), Arc::clone(&parts.clock));
        Self {
            gate,
            handles: Arc::new(handles),
            task_gate: Arc::new(gate::Gate::for_tasks(&parts.config)),
            kept: Kept::new(Arc::clone(&parts.clock)),
            kept_since: 0,
            parts,
            freeze: None,
            observer: None,
        }
    }

    /// The same line with a switch that stops it.
    #[must_use]
    pub fn frozen_by(mut self, freeze: Arc<Freeze>) -> Self {
        self.freeze = Some(freeze);
        self
    }

    /// The same line whose handles of next pages hold wherever these keys are; without, they end with the process.
    #[must_use]
    pub fn sealing_with(mut self, keys: KeyRing) -> Self {
        self.handles = Arc::new(onward::Handles::new(keys, Arc::clone(&self.parts.clock)));
        self
    }

    /// The same line under other rules: its audit, approvals, guards and, if nothing about it changed, its gate stay.
    #[must_use]
    pub fn renewed(&self, rules: Rules) -> Self {
        let (config, before) = (&rules.config, &self.parts.config);
        let alike = (config.at_once, config.waiting, config.share_percent, config.longest_seconds)
            == (before.at_once, before.waiting, before.share_percent, before.longest_seconds);
        let gate = if alike { Arc::clone(&self.gate) } else { Arc::new(gate::Gate::new(config)) };
        let alike = (config.tasks_at_once, config.waiting, config.share_percent, config.longest_task_seconds)
            == (before.tasks_at_once, before.waiting, before.share_percent, before.longest_task_seconds);
        let task_gate =
            if alike { Arc::clone(&self.task_gate) } else { Arc::new(gate::Gate::for_tasks(config)) };
        // who could call before may not be who can call now
        let before = (self.parts.policy.version(), &self.parts.filter);
        let alike = before == (rules.policy.version(), &rules.filter);
        let kept_since = if alike { self.kept_since } else { self.kept.rules_to_come() };
        let kept = Arc::clone(&self.kept);
        let parts = LineParts {
            audit: Arc::clone(&self.parts.audit),
            limiter: rules.limiter,
            policy: rules.policy,
            filter: rules.filter,
            guards: self.parts.guards.clone(),
            redactor: rules.redactor,
            approvals: self.parts.approvals.clone(),
            clock: Arc::clone(&self.parts.clock),
            profile: self.parts.profile,
            config: rules.config,
        };
        let (freeze, observer) = (self.freeze.clone(), self.observer.clone());
        Self {
            parts,
            gate,
            task_gate,
            freeze,
            observer,
            handles: Arc::clone(&self.handles),
            kept,
            kept_since,
        }
    }

    /// The same line with another place for whole results.
    #[must_use]
    pub fn keeping(mut self, kept: Arc<Kept>) -> Self {
        self.kept_since = kept.rules();
        self.kept = kept;
        self
    }

    /// Whole results of what was cut.
    pub fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// The same line, measured.
    #[must_use]
    pub fn observed_by(mut self, observer: Option<Arc<Observer>>) -> Self {
        self.observer = observer;
        self
    }

    /// Refuses while an operator has frozen it; `changes` says whether it would be more than a read.
    pub fn thawed(&self, changes: bool) -> Result<()> {
        self.freeze.as_ref().map_or(Ok(()), |freeze| freeze.check(changes))
    }

    /// Fires when what runs or waits has to end because an operator freezes it.
    pub fn halt(&self, changes: bool) -> CancellationToken {
        self.freeze.as_ref().map_or_else(CancellationToken::new, |freeze| freeze.halt(changes))
    }

    /// Whether everybody sees the same through this line as through another.
    pub fn shows_as(&self, other: &Self) -> bool {
        self.parts.filter == other.parts.filter && self.parts.policy.version() == other.parts.policy.version()
    }

    /// Calls a tool, reads a resource, gets a prompt.
    ///
    /// Hidden and unknown are answered alike here, so the server passes on whatever its catalog holds, and answers
    /// with [`unknown`] where it holds nothing.
    pub async fn run(&self, call: Proposed, context: &Context) -> Result<Outcome> {
        self.walk(call, Aim::Call, context).await
    }

    /// Asks a prompt or a template for completions, through the same stages.
    pub async fn complete(&self, call: Proposed, context: &Context) -> Result<Outcome> {
        self.walk(call, Aim::Complete, context).await
    }

    /// An intent before anything, an outcome before the answer; the entry closes itself when this future is dropped.
    async fn walk(&self, mut call: Proposed, aim: Aim, context: &Context) -> Result<Outcome> {
        let (tool, method) = (Arc::clone(&call.tool), call.method);
        let spec = tool.spec();
        self.kept.under(self.kept_since);
        // Neither a quota nor a schema may tell that something exists which policy hides: it costs what a name that
        // does not exist costs, and is answered in the same words.
        let hidden = !self.visible(&context.principal, spec) && self.hides(&context.principal, spec);
        // the audit, policies and quotas see the arguments that a handle stands for
        let resumed = self.handles.restore(spec, &context.principal, &mut call.arguments).map_err(Box::new);
        let entry = self.parts.audit.intent(record(&call, spec, context, self.parts.profile)).await?;
        let mut notes = Notes::default();
        let class = if hidden || aim == Aim::Complete { "read" } else { spec.effect.name() };
        let measured =
            self.observer.as_ref().map(|observer| Arc::new(observer.begin(&began(method, spec, context))));
        let facts = Facts::of(entry.id(), context.parent(), measured.clone());
        // asked for before the stages look whether anything is frozen, so that nothing slips between the two
        let halt = self.halt(changes(aim, spec));
        let stages = self.boxed((call, resumed), (aim, class, hidden), context, &entry, &mut notes);
        let stages = room::during(&context.principal.id, stages);
        let mut result = tokio::select! {
            biased;
            result = facts.during(stages) => result,
            () = halt.cancelled() => Err(stopped()),
        };
        let event = event(&result, entry.step(), &notes, &facts);
        if let Err(error) = result {
            let error = if hidden { unknown(method) } else { error };
            result = Err(redact::error(&error, &self.parts.redactor, &entry.id().to_string()));
        }
        let policy = notes.policies.as_ref().map(|policies| policies.join(" "));
        let (upstream, told) = (facts.upstream(), result.as_ref().err().and_then(status));
        let ended = match &result {
            Ok(Outcome::Paused(_)) => "paused",
            Ok(Outcome::Done(done)) if matches!(done.reply(), Reply::Tool(reply) if reply.is_error) => {
                "tool_error"
            }
            Ok(Outcome::Done(_)) => "ok",
            Err(error) => error.kind().name(),
        };
        let finish = Finish {
            result: ended,
            event,
            verdict: notes.verdict.map(Verdict::name),
            policy: policy.as_deref(),
            approval: notes.approval.as_deref(),
            approver: notes.approver.as_deref(),
            upstream: upstream.as_ref().map(|seen| &*seen.name),
            upstream_status: upstream.as_ref().map(|seen| seen.status).or(told),
            upstream_request: upstream.as_ref().and_then(|seen| seen.request.as_deref()),
            upstream_requests: facts.requests(),
            bytes: notes.bytes,
            untrusted: &notes.untrusted,
        };
        let refused = result.is_err() && entry.step() < Step::Approved;
        if let Some(measured) = measured {
            let departs = matches!(&result, Ok(Outcome::Done(done)) if done.departs());
            upstream.iter().filter(|_| departs).for_each(|seen| measured.departed(&seen.name));
            measured.end(&Ended { result: ended, event: event.map(Event::name), refused });
        }
        entry.finish(finish).await?;
        if hidden { result.map_err(|error| error.with_source(Charged)) } else { result }
    }

    /// The stages where they cost no stack: a call may be made within a call, and within that one a look at the state.
    fn boxed<'a>(
        &'a self,
        call: (Proposed, Result<Option<Box<onward::Resumed>>, Box<Error>>),
        how: (Aim, &'static str, bool),
        context: &'a Context,
        entry: &'a Entry,
        notes: &'a mut Notes,
    ) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(self.stages(call, how, context, entry, notes))
    }

    async fn stages(
        &self,
        (call, resumed): (Proposed, Result<Option<Box<onward::Resumed>>, Box<Error>>),
        (aim, class, hidden): (Aim, &'static str, bool),
        context: &Context,
        entry: &Entry,
        notes: &mut Notes,
    ) -> Result<Outcome> {
        let parts = &self.parts;
        let tool = Arc::clone(&call.tool);

        stage("admit");
        let changes = changes(aim, tool.spec());
        self.thawed(changes)?;
        let named = (!hidden).then_some(tool.spec().name.as_str());
        let call = admit::admit(call, (class, named), &parts.limiter, context).await?;
        entry.reached(Step::Admitted);
        stage("validate");
        notes.resumed = resumed.map_err(|error| *error)?;
        let call = validate::validate(call, aim, &parts.redactor, &parts.config, notes)?;
        entry.reached(Step::Validated);
        stage("permit");
        let call = permit::permit(call, parts, context, notes).await?;
        entry.reached(Step::Permitted);
        stage("approve");
        let task = tool.spec().task.filter(|_| aim == Aim::Call && context.within.is_none());
        let place = match (task, &context.detach) {
            (Some(task), Some(detach)) => {
                // before the grant is taken: a task that cannot be made must not cost one
                if !task.late {
                    detach.detach().await?;
                }
                self.task_gate.enter(context).await
            }
            _ => self.gate.enter(context).await,
        };
        let _place = place.inspect_err(|error| {
            if error.kind() == Kind::RateLimited {
                parts.limiter.tally().count("at-once");
            }
        })?;
        // what waited for its turn meanwhile; a grant is not taken for what will not run
        self.thawed(changes)?;
        let call = match approve::approve(call, aim, parts, context, notes).await? {
            approve::Decided::Approved(mut call) => {
                call.resume(notes.resumed.take().map(|resumed| resumed.place));
                call
            }
            approve::Decided::Asked(question) => return Ok(Outcome::Paused(question)),
        };
        entry.reached(Step::Approved);
        stage("execute");
        let wanted = wanted(tool.spec(), call.arguments())?;
        notes.approver = call.approver().map(String::from);
        let began = Instant::now();
        let done = match execute::execute(call, aim, parts, context).await? {
            execute::Ran::Executed(done) => done.noting(&notes.coerced),
            execute::Ran::Asked(question) => return Ok(Outcome::Paused(question)),
        };
        entry.reached(Step::Executed);
        stage("redact");
        let clean = self.show(done, tool, (wanted, began), context).await?;
        entry.reached(Step::Redacted);
        notes.bytes = u64::try_from(clean.bytes()).ok();
        notes.untrusted = clean.labels().names().collect::<Vec<_>>().join(" ");
        Ok(Outcome::Done(clean))
    }

    /// Whether this principal sees it in a list: switched on, and not denied for every argument; or, where
    /// that was said, denied for want of scopes that it may ask for.
    pub fn visible(&self, principal: &Principal, spec: &ToolSpec) -> bool {
        let resource = spec.resource();
        let listed = self.parts.filter.passes(&resource) && self.parts.policy.lists(principal, &resource);
        listed || (self.parts.filter.beyond_scopes && self.lacks(principal, spec).is_some())
    }

    /// Whether a call is answered as if there were no such tool, whatever the arguments.
    pub fn hides(&self, principal: &Principal, spec: &ToolSpec) -> bool {
        let resource = spec.resource();
        !self.parts.filter.passes(&resource)
            || self.parts.policy.judge(principal, &resource, &Map::new()).hidden
    }

    /// What keeps secrets in.
    pub fn redactor(&self) -> &Redactor {
        &self.parts.redactor
    }

    /// Who may do what, for those who explain it.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// What is switched on at all, and how it is shown.
    pub fn offer(&self) -> &Filter {
        &self.parts.filter
    }

    /// Where intents and outcomes go, and what is refused before it can be a call.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.parts.audit
    }

    /// Who may call how often.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.parts.limiter
    }

    /// Bytes that a result may have.
    pub fn result_limit(&self) -> u64 {
        u64::try_from(self.parts.config.result_limit).unwrap_or(u64::MAX)
    }

    /// Whether an approval still waits for a person; one that has ended in any way does not.
    pub async fn awaits(&self, approval: &str) -> bool {
        let Some(approvals) = self.parts.approvals.clone() else { return false };
        let id = approval.to_owned();
        tokio::task::spawn_blocking(move || approvals.awaits(&id)).await.unwrap_or(false)
    }

    /// The digest of a definition: what an approval is bound to, and what shows that a tool has changed.
    pub fn fingerprint(spec: &ToolSpec) -> Digest {
        spec.fingerprint()
    }
}

/// Whether it would be more than a read.
fn changes(aim: Aim, spec: &ToolSpec) -> bool {
    aim == Aim::Call && spec.effect != Effect::Read
}

fn stopped() -> Error {
    let message = "An operator froze this while it ran or waited, so it was stopped; what it had done by then stays done.";
    Error::new(Kind::Frozen, message)
}
