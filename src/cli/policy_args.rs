//! What can be typed after `bartizan policy`.
//!
//! Owns the clap definitions of that one command and their help. The idea: as in `args.rs`, of which this is a part.
//!
//! Must not: read files or the environment.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{OperatorFlags, Source};

const POLICY_AFTER: &str = "\
A policy is Cedar (https://www.cedarpolicy.com). This one lets the role `ops` order small ports and asks a person:

  @id(\"small-ports\")
  permit (principal in Role::\"ops\", action == Action::\"call\", resource in Toolset::\"equinix\")
  when { context.arguments has size && context.arguments.size <= 10 };

  bartizan policy check ports.cedar --connector equinix --practice
  bartizan policy explain key:ci fabric_ports_list --policy standard --connector equinix --practice
  bartizan policy schema --connector equinix --practice > bartizan.cedarschema
  bartizan policy accept --config bartizan.toml     once a second factor is enrolled";

#[derive(Debug, Args)]
#[command(after_help = POLICY_AFTER)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) action: PolicyAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyAction {
    #[command(flatten)]
    Look(Look),
    /// Accept the policy that the configuration names, as an operator with a second factor.
    #[command(after_help = ACCEPT_AFTER)]
    Accept(Accept),
}

const ACCEPT_AFTER: &str = "\
Once an operator has a second factor, a server takes another policy only after this. It shows what is another than what was
accepted last, then asks for the passphrase and a code; a server that runs takes the policy then by itself.

  bartizan policy accept --config bartizan.toml
  bartizan policy accept --config bartizan.toml --policy standard     where the server is started with that flag

What counts: the set, the text of every policy file, the profile, who may be what ([principal], [oauth], [[http.certificate]]),
who may agree ([approvals]), and what [offer] takes away.";

#[derive(Debug, Args)]
pub(crate) struct Accept {
    #[command(flatten)]
    pub(crate) source: Box<Source>,
    #[command(flatten)]
    pub(crate) key: OperatorFlags,
    /// Print what was accepted, and what changed, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What only looks.
#[derive(Debug, Subcommand)]
pub(crate) enum Look {
    /// Check policies against the tools that are loaded: those of the configuration, or these files.
    Check {
        /// Policy files (.cedar) to check in place of the configuration's.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        source: Box<Source>,
        /// Print findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a call would get, which policies decide it, and what is missing for a milder answer.
    Explain {
        /// The caller: `key:NAME`, `local:USER`, `cert:NAME`, or as the audit names it.
        principal: String,
        /// The tool's name.
        tool: String,
        /// The arguments as JSON.
        #[arg(default_value = "{}")]
        arguments: String,
        #[command(flatten)]
        caller: CallerFlags,
        #[command(flatten)]
        source: Box<Source>,
        /// Print the whole answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a table of cases and show where the policies say something else.
    #[command(after_help = TEST_AFTER)]
    Test {
        /// The table: TOML, or JSON where the name ends in .json.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        source: Box<Source>,
        /// Print the outcome of each case as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the Cedar schema of what policies may name here, with the types of each tool's arguments.
    Schema {
        #[command(flatten)]
        source: Box<Source>,
        /// Cedar's JSON form.
        #[arg(long)]
        json: bool,
    },
}

const TEST_AFTER: &str = "\
A table (each case: principal, tool, expect; what else is not given is none, and scopes are read, write and admin):

  [[case]]
  name = \"ops may order small ports, after a person agreed\"
  principal = \"key:ci\"
  roles = [\"ops\"]
  tool = \"ports_create\"
  arguments = { size = 5 }
  expect = \"ask\"              # allow, ask or deny
  policies = [\"small-ports\"]  # optional: exactly these decide
  # scopes = [\"read\"]  tenant = \"acme\"  profile = \"staging\"";

/// What is known of a caller beside its name.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CallerFlags {
    /// The caller's roles.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// The caller's scopes; read, write and admin unless given.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) scopes: Option<Vec<String>>,
    /// The caller's tenant.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Another profile than the configuration's: development, staging or production.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
}

impl Policy {
    /// Whether the command was asked for JSON.
    pub(super) fn is_json(&self) -> bool {
        match &self.action {
            PolicyAction::Look(
                Look::Check { json, .. }
                | Look::Explain { json, .. }
                | Look::Test { json, .. }
                | Look::Schema { json, .. },
            ) => *json,
            PolicyAction::Accept(typed) => typed.json,
        }
    }
}
