//! What of a result is shown, and to whom.
//!
//! Owns the last step of the line. The idea: what a model reads is short; what a program reads is whole, up to the limit
//! of all results; and what is left out is kept for whoever called, if they may read it.
//!
//! Must not: show anything that has not been redacted.

use super::select::Paths;
use super::{Context, Executed, Line, Reading, Redacted, ToolSpec, cut, kept, onward, redact};
use crate::error::Result;
use crate::json::{Map, Value};

impl Line {
    /// Redacts what came of a call, and shapes it for whoever called.
    pub(super) fn show(
        &self,
        mut done: Executed,
        spec: &ToolSpec,
        wanted: &Paths,
        context: &Context,
    ) -> Redacted {
        let parts = &self.parts;
        let config = &parts.config;
        let caller = &context.principal;
        let keep = |whole: kept::Whole<'_>| {
            let reader = self.kept.offered()?;
            self.visible(caller, reader).then(|| self.kept.keep(&config.kept, caller, whole))?
        };
        // a program reads what a tool or this process asks for, not a model
        let quiet = context.within.is_none() && context.transport != "process";
        let shown = |reading: &Reading| reading.max_bytes.unwrap_or(config.shown_bytes);
        let limit = spec.reading.as_ref().filter(|_| quiet).map_or(config.result_limit, shown);
        let way = self.handles.way(spec, caller, done.take_onward());
        let items = way.as_ref().and_then(onward::Way::items).map(String::from);
        let shaping = cut::Shaping {
            spec,
            redactor: &parts.redactor,
            wanted,
            quiet,
            limit: limit.min(config.result_limit),
            most: config.result_limit,
            items: items.as_deref(),
            keep: &keep,
        };
        redact::redact(done, &shaping, way)
    }
}

/// Which parts of its result a call asks for.
pub(super) fn wanted(spec: &ToolSpec, arguments: &Map<String, Value>) -> Result<Paths> {
    let argument = spec.reading.as_ref().and_then(|reading| reading.fields.as_ref());
    argument.and_then(|name| arguments.get(name)).map_or_else(|| Ok(Paths::default()), Paths::read)
}
