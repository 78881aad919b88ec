//! What a person reads before deciding.
//!
//! Owns [`sheet`]. The idea: the terminal, the approval page and the question to a client show the same rows in the same
//! words, made by us from the call; whatever came from outside is redacted and has what hides in it made visible.
//!
//! Must not: know how rows are drawn.

use super::record::{Record, visible};

/// A row of what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// What it says. Fit for a terminal; a page still has to escape it.
    pub text: String,
    /// Whether it has lines of its own.
    pub long: bool,
    /// Whether it says that something is not seen.
    pub warns: bool,
}

/// The rows of an approval. `whole` is all of the arguments, where they are known; else what the record holds.
pub fn sheet(record: &Record, whole: Option<&str>) -> Vec<Row> {
    let shown = &record.shown;
    let mut rows = Vec::with_capacity(10);
    let mut add = |name: &'static str, text: String, long: bool, warns: bool| {
        let text = if long { visible(&text) } else { line(&text) };
        rows.push(Row { name, text, long, warns });
    };
    add("asked by", shown.principal.clone(), false, false);
    add("tool", format!("{} ({}, from {})", shown.tool, shown.effect, shown.source), false, false);
    if let Some(request) = &shown.request {
        add("sends", request.clone(), false, false);
    } else if let Some(target) = &shown.target {
        add("sends", target.clone(), false, false);
    }
    if let Some(upstream) = &shown.upstream {
        add("as", upstream.clone(), false, false);
    }
    if !shown.unseen.is_empty() {
        let text = format!("{} (redacted: you would agree to it without seeing it)", shown.unseen.join(", "));
        add("unseen", text, false, true);
    }
    if let Some(state) = &shown.state {
        add("what would change, as it was when this was asked", state.clone(), true, false);
    }
    if let Some(rehearsed) = &shown.rehearsed {
        add("what the API says to a dry run", rehearsed.clone(), true, false);
    }
    let text = whole.unwrap_or(&shown.arguments).to_owned();
    add("arguments", text, true, false);
    rows
}

/// A text in one line: whoever could write a record cannot write to the terminal.
pub fn line(text: &str) -> String {
    visible(text).replace('\n', "<U+000A>")
}
