//! Arguments exactly as typed.
//!
//! Owns the clap definitions and their help. The idea: what can be typed is one tree of types; what it means is
//! settled in the file of each command.
//!
//! Must not: read files or the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::alerts::Alerts;
use super::audit_args::Audit;
use super::credential::Credential;
use super::evidence::Evidence;
pub(crate) use super::import_args::Import;
use super::migrate::Migrate;
use super::policy_args::Policy;
use super::rotate::Rotate;

const AFTER: &str = "\
Try it without an account:
  bartizan demo                                  the whole story in ten seconds
  bartizan serve --connector equinix --practice  a server on standard input and output, against a stand-in upstream

Then for real (read-only until you say otherwise):
  EQUINIX_CLIENT_ID=... EQUINIX_CLIENT_SECRET=... bartizan serve --connector equinix

Any other API, from its OpenAPI document:
  bartizan import petstore.yaml                  writes ./petstore, and says what to look at

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 refused (policy, approval, quota, credentials),
4 an upstream failed, 5 out of time.";

/// The MCP server you can hand production credentials to.
#[derive(Debug, Parser)]
#[command(name = "bartizan", version, about, after_help = AFTER, max_term_width = 110, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve tools to an AI client, over standard input and output or over HTTP.
    Serve(Box<Serve>),
    /// Show the main job in ten seconds, on this machine, without an account.
    Demo(Demo),
    /// Serve an API document as a local, stateful stand-in upstream.
    Practice(Practice),
    /// Make a connector of an API document, and say what in it looks dangerous or cannot be used.
    Import(Import),
    /// Check configuration, policy, documents and secrets' references, without a network.
    Check(Box<Check>),
    /// Print the tools exactly as they would be served.
    Tools(Box<Tools>),
    /// Call one tool from the shell, along the same guarded line.
    Call(Box<Call>),
    /// See and decide the calls that wait for a person.
    Approvals(Approvals),
    /// Issue, list, rotate and revoke the API keys that HTTP clients call with.
    Key(Key),
    /// Check policies, see why a call is allowed, asked about or denied, and test that.
    Policy(Policy),
    /// Verify and read the audit log.
    Audit(Audit),
    /// Try the way to whoever is told of alerts, and play the log back to the detectors.
    Alerts(Alerts),
    /// Stop writes or everything, at once, in every process of the state directory.
    Freeze(Freeze),
    /// See which second credentials stand ready, and switch to one and back.
    Credential(Credential),
    /// Rehearse the rotation of every credential, without changing one.
    Rotate(Box<Rotate>),
    /// Put everything that tells what happened into one signed file, without a secret.
    Evidence(Evidence),
    /// Bring a configuration file up to date.
    Config(Migrate),
    /// Look at this installation as a careful person would: files, ages, settings, tracked credentials, what is due.
    Doctor(DoctorFlags),
    /// Print what a firewall has to let out, from the active configuration.
    Egress(Egress),
    /// Print what to do when a credential or a key is compromised.
    Runbook,
    /// Print the version; with --check, whether it is still supported.
    Version(Version),
    /// See, seal anew or remove the upstream tokens that are kept over a restart.
    Tokens(Tokens),
    /// End a freeze, with an operator key.
    Unfreeze(Unfreeze),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where tools come from and what guards them: the same for serve, tools, call and check.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Source {
    /// Configuration file (bartizan.toml); flags given here win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Built-in connector, or a folder with connector.toml; may be repeated.
    #[arg(long = "connector", value_name = "NAME")]
    pub(crate) connectors: Vec<String>,
    /// API document (OpenAPI 2.0, 3.0 or 3.1; YAML or JSON) whose operations become tools.
    #[arg(long, value_name = "FILE")]
    pub(crate) openapi: Option<PathBuf>,
    /// Where the document's requests go; a document never chooses that itself.
    #[arg(long, value_name = "URL", requires = "openapi")]
    pub(crate) base_url: Option<String>,
    /// OpenAPI overlay (1.0) to apply to the document before it is read; may be repeated, in this order.
    #[arg(long = "overlay", value_name = "FILE", requires = "openapi")]
    pub(crate) overlays: Vec<PathBuf>,
    /// Credential for the document's API: bearer:REF, basic:REF:REF, header:NAME:REF, query:NAME:REF,
    /// certificate:REF:REF or none; REF is `env:NAME`, `file:PATH` or `keyring:NAME`.
    #[arg(long, value_name = "HOW", requires = "openapi")]
    pub(crate) auth: Option<String>,
    /// Python file or module that holds a `server = Server(...)`; its tools join the same line. May be repeated.
    #[arg(long = "tools", value_name = "FILE_OR_MODULE")]
    pub(crate) python: Vec<String>,
    /// Policy: read-only (default), standard, admin, or a .cedar file.
    #[arg(long, value_name = "NAME_OR_FILE")]
    pub(crate) policy: Option<String>,
    /// Offer only what changes nothing, whatever the policy allows.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Offer only these toolsets (a connector's name, one of its parts as NAME.PART, `diagnostics`, what a Python tool
    /// says, or `all`).
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) toolsets: Vec<String>,
    /// Give clients three tools that find, describe and call all others: `auto` does where a list of all would be
    /// long ([offer] `search_above`).
    #[arg(long, value_name = "WHEN", value_parser = ["auto", "on", "off"])]
    pub(crate) search: Option<String>,
    /// Use a local stand-in upstream; no real credential is resolved and nothing leaves this machine.
    #[arg(long)]
    pub(crate) practice: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Serve over HTTP at this address instead of standard input and output; the endpoint is /mcp.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http: Option<String>,
    /// Let anybody on this machine call without a key (loopback addresses only).
    #[arg(long)]
    pub(crate) no_auth: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// One JSON event per line instead of prose.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Practice {
    /// A built-in connector's name, a connector's folder, or an API document.
    #[arg(value_name = "DOC")]
    pub(crate) document: String,
    /// OpenAPI overlay (1.0) to apply to the document first; may be repeated, in this order.
    #[arg(long = "overlay", value_name = "FILE")]
    pub(crate) overlays: Vec<PathBuf>,
    /// Address to listen on; loopback only.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Answer every request with a fault: 429, 429=SECONDS, 500, 500-html, 422-fields, slow=MILLIS, reset, broken-json,
    /// wrong-type, gzip-bomb, endless, redirect or echo.
    #[arg(long, value_name = "FAULT")]
    pub(crate) fault: Vec<String>,
    /// Print the address and the practice credential as one JSON line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Try each connector's `health` operation once, along the same guarded line. Needs the network unless --practice.
    #[arg(long)]
    pub(crate) health: bool,
    /// Approve the tools of all connectors and documents as they are: writes bartizan.lock beside the configuration
    /// file. While that is there, a server starts only with exactly these tools.
    #[arg(long)]
    pub(crate) pin: bool,
    /// Print findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Before policy, toolsets and filters.
    #[arg(long)]
    pub(crate) full: bool,
    /// The protocol's own JSON: {"tools": [...]}.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Call {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The tool's name.
    pub(crate) tool: String,
    /// Arguments as JSON, or `-` to read them from standard input.
    #[arg(default_value = "{}")]
    pub(crate) arguments: String,
    /// Print the whole result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StateFlags {
    /// Configuration file, for its state directory and audit path.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Approvals {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(subcommand)]
    pub(crate) action: ApprovalAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalAction {
    /// List the calls that wait.
    List,
    /// Show one call: what would be sent, for whom, until when.
    Show {
        /// The id that the refused call named.
        id: String,
    },
    /// Agree to exactly this call, once, by signing with an operator key.
    Approve {
        /// The id that the refused call named.
        id: String,
        #[command(flatten)]
        key: OperatorFlags,
    },
    /// Refuse the call.
    Refuse {
        /// The id that the refused call named.
        id: String,
        #[command(flatten)]
        key: OperatorFlags,
    },
    /// Second factors: codes that are asked for beside the passphrase, before anything is destroyed.
    Factor {
        #[command(subcommand)]
        action: FactorAction,
    },
    /// Make an operator key: the private half is encrypted with a passphrase, the server keeps the public half.
    Enrol {
        /// Who the operator is.
        name: String,
        #[command(flatten)]
        key: OperatorFlags,
    },
}

const KEYS: &str = "\
Each key has one owner, an end, and no more rights than it needs:
  bartizan key new --owner anna@example.com --scopes read --expires 90d
  bartizan key new --owner nightly-backup --scopes read,write --from 10.0.0.0/8
  bartizan key list
  bartizan key rotate ab12cd34 --overlap 1d      a new key; the old one opens the door for one more day
  bartizan key revoke ab12cd34                   refused within a second, and its open streams end";

#[derive(Debug, Args)]
#[command(after_help = KEYS)]
pub(crate) struct Key {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(subcommand)]
    pub(crate) action: KeyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Issue a key and print it, this once.
    New(NewKey),
    /// List the keys: owner, scopes, age, days left, last use, calls, refusals.
    List,
    /// Issue a key in the place of another, which goes on for a while.
    Rotate(RotateKey),
    /// Take a key back: servers that run refuse it within a second, and its open streams end.
    Revoke {
        /// Its id, or its name if only one key has it.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The one person or program that it is for.
    #[arg(long, value_name = "WHO")]
    pub(crate) owner: String,
    /// The name that policies and the audit know it by, as `key:NAME`; the owner unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What it may do at most: read, write (reads too), admin (all), and scopes that tools of your own ask for.
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "read")]
    pub(crate) scopes: Vec<String>,
    /// Roles that policies name.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// The tenant it belongs to.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// How long it lives: 90d, 2w, 12h; 366 days at most.
    #[arg(long, value_name = "TIME", default_value = "90d")]
    pub(crate) expires: String,
    /// Addresses it may be used from, such as `10.0.0.0/8,2001:db8::1`; from anywhere unless given.
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// The client certificate that it has to come with: its SHA-256 in base64url.
    #[arg(long, value_name = "THUMBPRINT")]
    pub(crate) certificate: Option<String>,
    #[command(flatten)]
    pub(crate) key: OperatorFlags,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKey {
    /// Its id, or its name if only one key has it.
    pub(crate) id: String,
    /// How long the old key still opens the door; 0s ends it at once.
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub(crate) overlap: String,
    /// How long the new key lives; as long as the old one did unless given.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    #[command(flatten)]
    pub(crate) key: OperatorFlags,
}

#[derive(Debug, Args)]
pub(crate) struct OperatorFlags {
    /// Name of the operator key; not needed where there is only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: Option<String>,
    /// Read the passphrase from a reference (`env:NAME`, `file:PATH`, `keyring:NAME`) instead of asking for it.
    #[arg(long, value_name = "REF")]
    pub(crate) passphrase: Option<String>,
    /// The code of the second factor, or a recovery code, instead of asking for it.
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FactorAction {
    /// Enrol a second factor: show a QR code for an authenticator, and take a first code of it.
    ///
    /// Example: bartizan approvals factor enrol alice
    Enrol {
        /// The operator whose factor it is; for an approver of the page, the name behind `key:`.
        name: String,
        /// Let the server check its codes on the approval page. They are then sealed with a key of the state
        /// directory, not with the passphrase.
        #[arg(long)]
        page: bool,
        /// Print the address in the QR code too, for an authenticator that cannot see it.
        #[arg(long)]
        show_uri: bool,
        #[command(flatten)]
        key: OperatorFlags,
    },
    /// List second factors: whose, since when, whether locked, recovery codes left.
    List,
    /// Take a second factor away. Needs one of its codes or recovery codes.
    Remove {
        /// Whose.
        name: String,
        #[command(flatten)]
        key: OperatorFlags,
    },
    /// Let a factor be tried again that five wrong codes have locked. Another operator has to agree.
    Unlock {
        /// Whose.
        name: String,
        #[command(flatten)]
        key: OperatorFlags,
    },
}

const FREEZE_EXAMPLES: &str = "\
Examples:
  bartizan freeze                                  everything stops, within a second
  bartizan freeze writes --reason 'odd orders'     reading goes on
  bartizan freeze status
  bartizan unfreeze                                asks for the operator's passphrase";

#[derive(Debug, Args)]
#[command(after_help = FREEZE_EXAMPLES)]
pub(crate) struct Freeze {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    /// What to stop, or `status` to see what is stopped.
    #[arg(default_value = "all", value_parser = ["all", "writes", "status"])]
    pub(crate) what: String,
    /// Why, for the audit and for other operators.
    #[arg(long, value_name = "WORDS")]
    pub(crate) reason: Option<String>,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  bartizan doctor                     what should be mended, the worst first
  bartizan doctor --fix               mend modes of files
  bartizan doctor --login             ask token endpoints what upstream credentials may do
  bartizan doctor --done logs         the monthly look at the audit is done
  bartizan doctor --json              for a monitor; exit code 2 where something has to be mended";

#[derive(Debug, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct DoctorFlags {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    /// Mend what can be mended without a decision: modes of files of this user.
    #[arg(long)]
    pub(crate) fix: bool,
    /// Log in upstream where that tells what a credential may do. Without it nothing is asked over the network.
    #[arg(long)]
    pub(crate) login: bool,
    /// Note that a duty was done today.
    #[arg(long, value_name = "NAME")]
    pub(crate) done: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Egress {
    #[command(flatten)]
    pub(crate) source: Source,
    /// How to print it.
    #[arg(long, default_value = "nftables", value_parser = ["nftables", "kubernetes", "json"])]
    pub(crate) format: String,
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Say whether this version is still supported, from what it knows itself; nothing is asked over the network.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tokens {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(subcommand)]
    pub(crate) action: TokensAction,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum TokensAction {
    /// How many there are.
    List,
    /// Seal all of them with the first of `[tokens] keys`, so that the key before can be taken away.
    RotateKey,
    /// Remove all of them; they are fetched again.
    Clear,
}

#[derive(Debug, Args)]
pub(crate) struct Unfreeze {
    #[command(flatten)]
    pub(crate) state: StateFlags,
    #[command(flatten)]
    pub(crate) key: OperatorFlags,
}

impl Command {
    /// Whether the command was asked for JSON, so that its errors are JSON too.
    pub(crate) fn is_json(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Runbook | Self::Completions { .. } => false,
            Self::Demo(typed) => typed.json,
            Self::Practice(typed) => typed.json,
            Self::Import(typed) => typed.json,
            Self::Check(typed) => typed.json,
            Self::Tools(typed) => typed.json,
            Self::Call(typed) => typed.json,
            Self::Approvals(typed) => typed.state.json,
            Self::Key(typed) => typed.state.json,
            Self::Policy(typed) => typed.is_json(),
            Self::Audit(typed) => typed.state.json,
            Self::Alerts(typed) => typed.state.json,
            Self::Freeze(typed) => typed.state.json,
            Self::Unfreeze(typed) => typed.state.json,
            Self::Tokens(typed) => typed.state.json,
            Self::Credential(typed) => typed.state.json,
            Self::Rotate(typed) => typed.json,
            Self::Evidence(typed) => typed.state.json,
            Self::Config(typed) => typed.is_json(),
            Self::Doctor(typed) => typed.state.json,
            Self::Egress(typed) => typed.format == "json",
            Self::Version(typed) => typed.json,
        }
    }
}
