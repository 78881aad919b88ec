//! Run it, within its time.
//!
//! Owns the stamp [`Executed`]. The idea: a tool is a future that is polled here and nowhere else; when its time is up,
//! its caller is gone or it panics, it is dropped, which aborts whatever it had under way.
//!
//! Must not: run anything that is not [`Approved`], or pass on what a tool says without the redactor.
//!
//! ```compile_fail
//! fn forge(reply: bartizan::pipeline::Reply) -> bartizan::pipeline::Executed {
//!     bartizan::pipeline::Executed { reply }
//! }
//! ```
//! ```compile_fail
//! async fn around(tool: &dyn bartizan::pipeline::Tool, context: &bartizan::pipeline::Context) {
//!     let nothing = bartizan::json::Map::new();
//!     let _ = tool.call(&nothing, context).await;
//! }
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::approve::KEY;
use super::onward::Onward;
use super::voice::Discreet;
use super::{
    Aim, Approved, Context, Halt, LineParts, Question, Reply, Tool, ToolSpec, asking, redact, telling,
};
use crate::approvals::Grant;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::limits::room::{self, LARGE};
use crate::protocol::types::{Content, ResourceContents};

/// What a tool answered; not fit to leave.
pub struct Executed {
    reply: Reply,
    onward: Option<Box<Onward>>,
}

impl Executed {
    /// The same, saying which arguments were read otherwise than they were written.
    pub(super) fn noting(mut self, coerced: &[String]) -> Self {
        if let (Reply::Tool(result), false) = (&mut self.reply, coerced.is_empty()) {
            let places = coerced.join(", ");
            result.content.push(Content::text(format!(
                "Note: {places} did not have the type that the schema asks for, and was read as it was meant."
            )));
            result.meta.get_or_insert_default().insert(COERCED.to_owned(), json!(coerced));
        }
        self
    }

    /// Whether it is worth a thread of its own.
    pub(super) fn is_large(&self) -> bool {
        let length = |text: Option<&String>| text.map_or(0, String::len);
        let contents = |one: &ResourceContents| length(one.text.as_ref()) + length(one.blob.as_ref());
        let size: usize = match &self.reply {
            Reply::Tool(result) => result
                .content
                .iter()
                .map(|one| match one {
                    Content::Text { text, .. } => text.len(),
                    Content::Image { data, .. } | Content::Audio { data, .. } => data.len(),
                    Content::Resource { resource, .. } => contents(resource),
                    Content::ResourceLink { .. } => 0,
                })
                .sum(),
            Reply::Resource(all) => all.iter().map(contents).sum(),
            Reply::Prompt(_) | Reply::Completion(_) => 0,
        };
        size >= LARGE || room::taken() >= LARGE
    }

    /// Leaves out what an earlier result had, and returns what the result needs to be gone on with, if it may be.
    pub(super) fn take_onward(&mut self) -> Option<Box<Onward>> {
        let mut onward = self.onward.take()?;
        if let Reply::Tool(result) = &mut self.reply {
            onward.skip(result);
        }
        Some(onward)
    }

    pub(super) fn into_reply(self) -> Reply {
        self.reply
    }
}

/// The `_meta` key that names arguments which were read otherwise than they were written.
const COERCED: &str = "bartizan/coerced";

/// What the stage hands on.
pub(super) enum Ran {
    Executed(Executed),
    Asked(Question),
}

pub(super) async fn execute(
    mut call: Approved,
    aim: Aim,
    parts: &LineParts,
    context: &Context,
) -> Result<Ran> {
    let grant = call.take_grant();
    call.charge(&parts.limiter, &context.principal.id);
    let tool = call.tool();
    let spec = tool.spec();
    let limit = limit(spec, parts, context);
    let inner = inside(context, &*tool, parts);

    let run = AssertUnwindSafe(async {
        match aim {
            Aim::Call => tool.call(&call, &inner).await,
            Aim::Complete => tool.complete(&call, &inner).await,
        }
    })
    .catch_unwind();
    let ended = tokio::select! {
        biased;
        ended = run => ended,
        () = context.cancel.cancelled() => {
            return Err(Error::new(Kind::Cancelled, "The call was cancelled."));
        }
        () = tokio::time::sleep(limit) => {
            return Err(Error::new(
                Kind::TimedOut,
                format!("The tool did not finish within {} and was stopped.", seconds(limit)),
            ));
        }
    };
    // From here on the grant is spent, whatever the tool said. Where it was stopped or panicked it stays `unknown`.
    match ended {
        Err(panic) => {
            let words = panic
                .downcast_ref::<&'static str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no words")
                .to_owned();
            let error = Error::new(Kind::Internal, "The tool panicked.").with_source(words);
            Err(telling::conceal(error, spec, call.arguments(), &parts.redactor))
        }
        Ok(Ok(reply)) => {
            settle(grant, Grant::used).await?;
            let onward = call.onward();
            Ok(Ran::Executed(Executed { reply, onward }))
        }
        Ok(Err(Halt::Error(error))) => {
            settle(grant, Grant::used).await?;
            Err(telling::conceal(error, spec, call.arguments(), &parts.redactor))
        }
        Ok(Err(Halt::Ask(asks))) => {
            if let Err(error) = asking::fit(&asks, &parts.redactor) {
                settle(grant, Grant::used).await?;
                return Err(error);
            }
            let id = grant.as_ref().map(|grant| grant.id().to_owned());
            settle(grant, Grant::carry).await?;
            let asks = redact::asks(asks, &parts.redactor);
            // The grant goes with the question; the answers so far are kept by whoever asks it.
            Ok(Ran::Asked(Question { asks, state: id.map(|id| json!({"grant": id})) }))
        }
    }
}

/// How long a call may take.
pub(super) fn limit(spec: &ToolSpec, parts: &LineParts, context: &Context) -> Duration {
    let (usual, longest) = if spec.task.is_some() && context.detach.is_some() {
        (parts.config.longest_task_seconds, parts.config.longest_task_seconds)
    } else {
        (parts.config.timeout_seconds, parts.config.longest_seconds)
    };
    spec.timeout.unwrap_or(Duration::from_secs(usual)).min(Duration::from_secs(longest))
}

/// The context as the tool sees it: what it says is redacted, what it calls is capped at its own effect, and it has
/// every answer but the one to our own question.
fn inside(context: &Context, tool: &dyn Tool, parts: &LineParts) -> Context {
    let effect = tool.spec().effect;
    let mut inner = context.clone();
    inner.within = Some(context.within.map_or(effect, |most| most.min(effect)));
    inner.voice = Arc::new(Discreet::new(Arc::clone(&context.voice), parts.redactor.clone()));
    // only a tool that says itself when it becomes a task is handed the means
    let late = tool.spec().task.is_some_and(|task| task.late) && context.within.is_none();
    inner.detach = inner.detach.filter(|_| late);
    inner.answers.state = None;
    inner.answers.responses.remove(KEY);
    inner
}

async fn settle(grant: Option<Grant>, act: fn(Grant) -> Result<()>) -> Result<()> {
    let Some(grant) = grant else { return Ok(()) };
    tokio::task::spawn_blocking(move || act(grant)).await.map_err(|cause| {
        Error::new(Kind::Internal, "The approval could not be closed; it stays unknown.").with_source(cause)
    })?
}

pub(super) fn seconds(limit: Duration) -> String {
    if limit < Duration::from_secs(1) {
        format!("{} milliseconds", limit.as_millis())
    } else if limit.as_secs() == 1 {
        String::from("1 second")
    } else {
        format!("{} seconds", limit.as_secs())
    }
}
