//! Logs on standard error.
//!
//! Owns [`Config`] and [`start`]. The idea: every line passes the redactor on its way out, whoever wrote it, so that a
//! library's careless message leaks no more than ours.
//!
//! Must not: write to standard output.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Kind, Result};
use crate::redaction::Redactor;

/// The `[log]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `error`, `warn` (the default), `info`, `debug`, `trace` or `off`; or directives such as `warn,bartizan=debug`.
    pub level: String,
    /// One JSON object per line.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: String::from("warn"), json: false }
    }
}

impl Config {
    /// Refuses a level that is none.
    pub fn check(&self) -> Result<()> {
        self.filter().map(drop)
    }

    fn filter(&self) -> Result<EnvFilter> {
        EnvFilter::try_new(&self.level).map_err(|error| {
            Error::new(
                Kind::BadConfig,
                "[log] level is not one of error, warn, info, debug, trace, off, nor a list of directives.",
            )
            .with_source(error)
        })
    }
}

/// Starts logging for this process. A process that logs already keeps what it has.
///
/// `colour` is whether the user wants colour at all; it is used on a terminal only.
pub fn start(config: &Config, redactor: Redactor, colour: bool) -> Result<()> {
    let filter = config.filter()?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Clean { redactor, colour: colour && !config.json && io::stderr().is_terminal() });
    // The only way to fail is that somebody has started logging before us: an embedding Python program, a test.
    if config.json {
        let lines = lines.json().with_filter_reloading();
        let level = lines.reload_handle();
        if lines.try_init().is_ok() {
            let _ = CHANGE.set(Box::new(move |filter| level.reload(filter).is_ok()));
        }
    } else {
        let lines = lines.with_filter_reloading();
        let level = lines.reload_handle();
        if lines.try_init().is_ok() {
            let _ = CHANGE.set(Box::new(move |filter| level.reload(filter).is_ok()));
        }
    }
    Ok(())
}

type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// How the level of this process's logs is changed, if they are ours.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Changes the level of logs that [`start`] has started; false if somebody else logs.
pub fn change(config: &Config) -> Result<bool> {
    let filter = config.filter()?;
    Ok(CHANGE.get().is_some_and(|change| change(filter)))
}

/// Standard error behind a redactor.
struct Clean {
    redactor: Redactor,
    colour: bool,
}

/// One event's text, written when it is complete.
struct Line<'a> {
    clean: &'a Clean,
    text: Vec<u8>,
}

impl Clean {
    /// A complete event as it is shown: redacted, on one line (so that no message can look like two), and only then
    /// coloured, because the redactor takes escape sequences out.
    fn shown(&self, text: &[u8]) -> String {
        let text = String::from_utf8_lossy(text);
        let clean = self.redactor.logged(text.trim_end_matches('\n'));
        let mut line = clean.replace('\r', "\\r").replace('\n', "\\n");
        if self.colour {
            for (level, style) in
                [("ERROR", "31"), ("WARN", "33"), ("INFO", "32"), ("DEBUG", "34"), ("TRACE", "35")]
            {
                // The level is the second word, right-aligned to five characters.
                if let Some(at) = line.find(' ').filter(|at| line[*at..].trim_start().starts_with(level)) {
                    let start = line.len() - line[at..].trim_start().len();
                    line.replace_range(
                        start..start + level.len(),
                        &format!("\u{1b}[{style}m{level}\u{1b}[0m"),
                    );
                    break;
                }
            }
        }
        line.push('\n');
        line
    }
}

/// The line with the call it belongs to, so that it can be found in the audit and in traces.
fn with_ids(mut line: String, ids: Option<(uuid::Uuid, Option<super::TraceContext>)>) -> String {
    let Some((call, trace)) = ids else { return line };
    let trace = trace.map(|trace| trace.trace_id());
    let end = line.trim_end().len();
    let json = line[..end].starts_with('{') && line[..end].ends_with('}');
    let more = match (json, trace) {
        (true, Some(trace)) => format!(",\"call\":\"{call}\",\"trace_id\":\"{trace}\""),
        (true, None) => format!(",\"call\":\"{call}\""),
        (false, Some(trace)) => format!(" call={call} trace_id={trace}"),
        (false, None) => format!(" call={call}"),
    };
    line.insert_str(end - usize::from(json), &more);
    line
}

impl<'a> MakeWriter<'a> for Clean {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { clean: self, text: Vec::new() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            // A log that cannot be written must not stop the call that wrote it.
            let line = with_ids(self.clean.shown(&self.text), super::facts::ids());
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn clean(colour: bool) -> Clean {
        let redactor = Redactor::new(&crate::redaction::Config::default()).unwrap();
        redactor.learn(&Secret::new("correct-horse-battery"), "test");
        Clean { redactor, colour }
    }

    #[test]
    fn a_line_is_redacted_and_stays_one_line() {
        let text =
            b"2026-01-01T00:00:00Z  WARN x: it said correct-horse-battery\n2026 ERROR forged \x1b[2J\n";
        let line = clean(false).shown(text);
        assert_eq!(line, "2026-01-01T00:00:00Z  WARN x: it said [redacted:test]\\n2026 ERROR forged \n");
    }

    #[test]
    fn a_line_of_a_call_names_the_call_and_its_trace() {
        let trace =
            crate::telemetry::TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let id = uuid::Uuid::nil();
        let json = with_ids(String::from("{\"a\":1}\n"), Some((id, trace)));
        let json: crate::json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["a"], &json["trace_id"]), (&1.into(), &"4bf92f3577b34da6a3ce929d0e0e4736".into()));
        assert_eq!(with_ids(String::from("x\n"), Some((id, None))), format!("x call={id}\n"));
        assert_eq!(with_ids(String::from("x\n"), None), "x\n");
    }

    #[test]
    fn colour_is_put_on_after_cleaning() {
        let line = clean(true).shown(b"2026-01-01T00:00:00Z  WARN x: \x1b[31mred\x1b[0m\n");
        assert_eq!(line, "2026-01-01T00:00:00Z  \u{1b}[33mWARN\u{1b}[0m x: red\n");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let config = Config { level: String::from("a=b=c"), json: false };
        assert_eq!(start(&config, clean(false).redactor, false).unwrap_err().kind(), Kind::BadConfig);
    }
}
