//! What can be typed after `bartizan audit`.
//!
//! Owns the clap definitions of that command.
//!
//! Must not: read anything.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::StateFlags;

const AFTER: &str = "\
Examples:
  bartizan audit verify                                  was anything touched?
  bartizan audit tail -f                                 watch it
  bartizan audit query --since 24h --outcome denied      who was refused today
  bartizan audit report --since 7d                       the week in numbers
  bartizan audit export --since 2026-11-01 --out nov.jsonl
  bartizan audit verify --part --file nov.jsonl          whoever gets it, with nov.jsonl.pub";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    /// The log; the configuration's unless given.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: AuditAction,
}

/// A period.
#[derive(Debug, Args)]
pub(crate) struct Period {
    /// Only lines from this time on: 2026-11-22T08:00:00Z, 2026-11-22, or an age such as 90m, 24h, 7d.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only lines before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

/// What a line has to say.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    #[command(flatten)]
    pub(crate) period: Period,
    /// Only this principal's.
    #[arg(long)]
    pub(crate) principal: Option<String>,
    /// Only this tool's.
    #[arg(long)]
    pub(crate) tool: Option<String>,
    /// Only read, write or destroy.
    #[arg(long)]
    pub(crate) effect: Option<String>,
    /// Only this outcome: ok, `tool_error`, Forbidden, ..., or denied, limited, `egress refused`.
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Only this security event, such as `authentication failed`.
    #[arg(long)]
    pub(crate) event: Option<String>,
    /// Only this kind of line: intent, outcome, event, checkpoint or recovery.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only the lines of this call.
    #[arg(long)]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// The lines as they are: whoever gets them can verify them.
    Jsonl,
    /// A table for reading.
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Prove that no line was edited, deleted or reordered; name the first that was.
    Verify {
        /// The hash of a line known from elsewhere: proves that nothing was cut off after it.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
        /// What an anchor was sent, one message a line: proves that nothing before it was rewritten or cut off.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        /// It is a part, as `export` writes it, and may begin anywhere.
        #[arg(long)]
        part: bool,
    },
    /// Print the last lines.
    Tail {
        /// How many.
        #[arg(short = 'n', default_value_t = 20)]
        lines: usize,
        /// Go on with what comes, until Ctrl-C.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print the lines that match every filter.
    Query(Wanted),
    /// Print a period in numbers: by caller, tool, effect and outcome; denials, approvals, top refusals.
    Report(Period),
    /// Hand a period to somebody else; as JSON lines with a proof that they can check.
    Export {
        #[command(flatten)]
        period: Period,
        /// In which form.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: ExportForm,
        /// Into this file (0600, never over another one), and the public key into FILE.pub; else standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}
