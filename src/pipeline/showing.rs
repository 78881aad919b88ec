//! What of a result is shown, and to whom.
//!
//! Owns the last step of the line. The idea: what a model reads is short; what a program reads is whole, up to the limit
//! of all results; and what is left out is kept for whoever called, if they may read it.
//!
//! Must not: show anything that has not been redacted.

use std::sync::Arc;

use tokio::time::Instant;

use super::execute::seconds;
use super::select::Paths;
use super::{
    Config, Context, Executed, Line, Reading, Redacted, Tool, ToolSpec, cut, execute, kept, onward, redact,
};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value};
use crate::limits::room::{self, LARGE};
use crate::principal::Principal;
use crate::redaction::Redactor;

impl Line {
    /// Redacts what came of a call that began then, and shapes it for whoever called: what is large on a thread of its
    /// own, within the time that the call has.
    pub(super) async fn show(
        &self,
        done: Executed,
        tool: Arc<dyn Tool>,
        (wanted, began): (Paths, Instant),
        context: &Context,
    ) -> Result<Redacted> {
        let caller = &context.principal;
        let may_keep = || self.kept.offered().is_some_and(|reader| self.visible(caller, reader));
        // a program reads what a tool or this process asks for, not a model
        let quiet = context.within.is_none() && context.transport != "process";
        let eyes = Eyes {
            tool,
            wanted,
            quiet,
            redactor: self.parts.redactor.clone(),
            config: self.parts.config.clone(),
            handles: Arc::clone(&self.handles),
            kept: Arc::clone(&self.kept),
            since: self.kept_since,
            caller: Arc::clone(caller),
        };
        if !done.is_large() {
            return Ok(eyes.show(done, &may_keep));
        }
        let limit = execute::limit(eyes.tool.spec(), &self.parts, context);
        let may_keep = may_keep();
        tokio::select! {
            biased;
            shown = room::work(LARGE, move || eyes.show(done, &|| may_keep)) => shown,
            () = context.cancel.cancelled() => Err(Error::new(Kind::Cancelled, "The call was cancelled.")),
            () = tokio::time::sleep_until(began + limit) => Err(Error::new(
                Kind::TimedOut,
                format!(
                    "The tool did what it was asked for, but its answer is so large that it could not be made ready \
                     within {}; ask for less of it.",
                    seconds(limit)
                ),
            )),
        }
    }
}

/// What it takes to show a result.
struct Eyes {
    tool: Arc<dyn Tool>,
    wanted: Paths,
    quiet: bool,
    redactor: Redactor,
    config: Config,
    handles: Arc<onward::Handles>,
    kept: Arc<kept::Kept>,
    since: u64,
    caller: Arc<Principal>,
}

impl Eyes {
    fn show(self, mut done: Executed, may_keep: &dyn Fn() -> bool) -> Redacted {
        let (spec, config) = (self.tool.spec(), &self.config);
        let way = self.handles.way(spec, &self.caller, done.take_onward());
        let reply = done.into_reply();
        // as it came: what hides is gone afterwards
        let labels = redact::labels(&reply);
        let keep = |whole: kept::Whole<'_>| {
            may_keep().then(|| self.kept.keep(&config.kept, (&self.caller, self.since), whole, labels))?
        };
        let shown = |reading: &Reading| reading.max_bytes.unwrap_or(config.shown_bytes);
        let limit = spec.reading.as_ref().filter(|_| self.quiet).map_or(config.result_limit, shown);
        let shaping = cut::Shaping {
            spec,
            redactor: &self.redactor,
            wanted: &self.wanted,
            quiet: self.quiet,
            limit: limit.min(config.result_limit),
            most: config.result_limit,
            way: way.as_ref(),
            keep: &keep,
        };
        redact::redact((reply, labels), &shaping)
    }
}

/// Which parts of its result a call asks for.
pub(super) fn wanted(spec: &ToolSpec, arguments: &Map<String, Value>) -> Result<Paths> {
    let argument = spec.reading.as_ref().and_then(|reading| reading.fields.as_ref());
    argument.and_then(|name| arguments.get(name)).map_or_else(|| Ok(Paths::default()), Paths::read)
}
