//! Logs on standard error.
//!
//! Owns [`Config`] and [`start`]. The idea: every line passes the redactor on its way out, whoever wrote it, so that a
//! library's careless message leaks no more than ours.
//!
//! Must not: write to standard output.

use std::io::{self, IsTerminal, Write};

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

/// Starts logging for this process. A process that logs already keeps what it has.
///
/// `colour` is whether the user wants colour at all; it is used on a terminal only.
pub fn start(config: &Config, redactor: Redactor, colour: bool) -> Result<()> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| {
        Error::new(
            Kind::BadConfig,
            "[log] level is not one of error, warn, info, debug, trace, off, nor a list of directives.",
        )
        .with_source(error)
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour && io::stderr().is_terminal())
        .with_writer(Clean { redactor });
    // The only way to fail is that somebody has started logging before us: an embedding Python program, a test.
    let _ = if config.json { lines.json().try_init() } else { lines.try_init() };
    Ok(())
}

/// Standard error behind a redactor.
struct Clean {
    redactor: Redactor,
}

/// One event's text, written when it is complete.
struct Line<'a> {
    redactor: &'a Redactor,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Clean {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { redactor: &self.redactor, text: Vec::new() }
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
        let text = String::from_utf8_lossy(&self.text);
        // A log that cannot be written must not stop the call that wrote it.
        let _ = io::stderr().lock().write_all(self.redactor.text(&text).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_line_is_redacted_before_it_is_written() {
        let redactor = Redactor::new(&crate::redaction::Config::default()).unwrap();
        redactor.learn(&Secret::new("correct-horse-battery"), "test");
        let clean = Clean { redactor };
        let mut line = clean.make_writer();
        line.write_all(b"it said correct-horse-battery").unwrap();
        let text = String::from_utf8(line.text.clone()).unwrap();
        assert!(!line.redactor.text(&text).contains("correct-horse"));
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        let redactor = Redactor::new(&crate::redaction::Config::default()).unwrap();
        let config = Config { level: String::from("a=b=c"), json: false };
        assert_eq!(start(&config, redactor, false).unwrap_err().kind(), Kind::BadConfig);
    }
}
