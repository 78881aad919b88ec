//! A part of the audit, for somebody else.
//!
//! Owns [`export`]. The idea: what is handed over as JSON lines is a whole piece of the chain, byte for byte, up to the
//! checkpoint that signs it; with the public key beside it anybody can verify it with `bartizan audit verify --part`. As
//! CSV it is for reading, and proves nothing.
//!
//! Must not: leave out lines in between: a gap cannot be told from a deletion.

use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;

use super::query::each_raw;
use crate::error::{Error, Kind, Result};
use crate::json::Value;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The lines as they are.
    Lines,
    /// A table of the members that people look for.
    Csv,
}

/// What was handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Lines.
    pub lines: u64,
    /// Lines at the end that no checkpoint signs yet.
    pub unsigned: u64,
}

/// Columns of a table.
const COLUMNS: &[&str] = &[
    "time",
    "seq",
    "kind",
    "event",
    "id",
    "principal",
    "bearer",
    "delegate",
    "address",
    "client_claimed",
    "transport",
    "profile",
    "method",
    "tool",
    "effect",
    "step",
    "result",
    "verdict",
    "policy",
    "approval",
    "approver",
    "upstream_status",
    "upstream_request",
    "upstream_requests",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "trace",
    "arguments_digest",
    "arguments",
    "detail",
    "hash",
];

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    time: &'a str,
    #[serde(default)]
    kind: &'a str,
}

/// Hands over the lines from `since` until before `until`, and what follows up to the next checkpoint.
pub fn export(
    path: &Path,
    form: Form,
    (since, until): (Option<&str>, Option<&str>),
    out: &mut impl Write,
) -> Result<Exported> {
    let mut done = Exported::default();
    let mut failed = None;
    let mut begun = false;
    if form == Form::Csv {
        failed = writeln!(out, "{}", COLUMNS.join(",")).err();
    }
    each_raw(path, |line| {
        let said = serde_json::from_slice::<Said<'_>>(line).ok();
        let time = said.as_ref().map_or("", |said| said.time);
        begun |= since.is_none_or(|since| time >= since);
        if !begun {
            return true;
        }
        let over = until.is_some_and(|until| time >= until);
        if over && (form == Form::Csv || done.unsigned == 0) {
            return false;
        }
        let written = match form {
            Form::Lines => out.write_all(line).and_then(|()| out.write_all(b"\n")),
            Form::Csv => row(line, out),
        };
        failed = failed.take().or(written.err());
        done.lines += 1;
        let signed = said.is_some_and(|said| said.kind == "checkpoint");
        done.unsigned = if signed { 0 } else { done.unsigned + 1 };
        failed.is_none()
    })?;
    let failed = failed.or_else(|| out.flush().err());
    match failed {
        // a reader that closed the pipe has seen what it wanted
        Some(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Internal, "What was to be exported could not be written.")
                .with_source(cause))
        }
        _ => Ok(done),
    }
}

fn row(line: &[u8], out: &mut impl Write) -> io::Result<()> {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return Ok(()) };
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|name| match line.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => cell(text),
            Some(other) => cell(&other.to_string()),
        })
        .collect();
    writeln!(out, "{}", cells.join(","))
}

/// A cell that no table program takes for a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let plain = !formula && !text.contains(['"', ',', '\n', '\r']);
    if plain {
        return text.to_owned();
    }
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_is_one_cell_and_no_formula() {
        assert_eq!(cell("plain text"), "plain text");
        assert_eq!(cell("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(cell("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(cell("@x"), "\"'@x\"");
    }
}
