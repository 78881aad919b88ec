//! What a person sees of a command.
//!
//! Owns [`Screen`]: standard output for results, standard error for everything else, colour only on a terminal. The
//! idea: a closed pipe is success (the reader had enough), a result that could not be written is none, and `NO_COLOR` is
//! respected in one place.
//!
//! Must not: be used while standard output is the wire.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

use crate::clock::{SystemClock, rfc3339};
use crate::config::environment;
use crate::error::{Error, Kind, Result};
use crate::json::{Value, json};

/// Whether a line of the result could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    colour_out: bool,
    colour_err: bool,
    /// Whether remarks are lines of a log that is JSON.
    logged: bool,
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Note,
    Strong,
    /// Dark on light: what a camera reads.
    Picture,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let wanted = environment("NO_COLOR").is_none() && environment("TERM").as_deref() != Some("dumb");
        Self {
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            logged: false,
        }
    }

    /// The same beside a log that is JSON: whoever reads that gets nothing else.
    pub(crate) fn beside_json() -> Self {
        Self { colour_out: false, colour_err: false, logged: true }
    }

    /// Whether the user wants colour on a terminal.
    pub(crate) fn colour(self) -> bool {
        self.colour_err
    }

    /// A line of the result.
    pub(crate) fn line(self, text: &str) {
        // A reader that closed the pipe has seen what it wanted.
        if self.write(io::stdout().lock(), text).is_err_and(|cause| cause.kind() != io::ErrorKind::BrokenPipe)
        {
            LOST.store(true, Ordering::Relaxed);
        }
    }

    /// A line that cannot be had again; an error if nobody can have read it.
    pub(crate) fn hand(self, text: &str) -> Result<()> {
        self.write(io::stdout().lock(), text).map_err(unwritten)
    }

    /// Whether every line of the result was written.
    #[allow(clippy::unused_self, reason = "what was lost was lost on a screen")]
    pub(crate) fn written(self) -> Result<()> {
        if LOST.load(Ordering::Relaxed) { Err(unwritten(io::ErrorKind::WriteZero.into())) } else { Ok(()) }
    }

    /// A JSON document of the result, on one line.
    pub(crate) fn json(self, value: &Value) {
        self.line(&value.to_string());
    }

    /// A remark beside the result.
    pub(crate) fn note(self, text: &str) {
        let line = self.logged.then(|| {
            let time = rfc3339(SystemClock::shared().wall());
            json!({"timestamp": time, "level": "INFO", "fields": {"message": text}, "target": "bartizan"})
                .to_string()
        });
        // there is nowhere else to say it
        let _ = self.write(io::stderr().lock(), line.as_deref().unwrap_or(text));
    }

    /// Text in a tone, for [`Screen::line`].
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        paint(self.colour_out, tone, text)
    }

    /// An error: one sentence for people, or one JSON object for scripts.
    pub(crate) fn error(self, error: &Error, as_json: bool) {
        if as_json {
            let mut shown = json!({"error": {"kind": error.kind().name(), "message": error.message()}});
            if let Some(detail) = error.detail() {
                shown["error"]["detail"] = detail.clone();
            }
            if let Some(after) = error.retry_after() {
                shown["error"]["retryAfter"] = json!(after.as_secs_f64());
            }
            self.note(&shown.to_string());
        } else {
            let label = paint(self.colour_err, Tone::Bad, "error:");
            self.note(&format!("{label} {}", error.message()));
        }
    }

    #[allow(clippy::unused_self, reason = "the writers of a screen belong to it")]
    fn write(self, mut out: impl Write, text: &str) -> io::Result<()> {
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush())
    }
}

fn unwritten(cause: io::Error) -> Error {
    let said = "What was to be shown could not be written; is the disk full, or the pipe closed?";
    Error::new(Kind::Internal, said).with_source(cause)
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        Tone::Note => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
        Tone::Picture => {
            Style::new().fg_color(Some(AnsiColor::BrightWhite.into())).bg_color(Some(AnsiColor::Black.into()))
        }
        Tone::Plain => return text.to_owned(),
    };
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}
