//! Arguments of `bartizan import`, exactly as typed.
//!
//! Owns the clap definition and its help. The idea: a document is all that has to be given; what a document never decides
//! is a flag, or said in the folder afterwards.
//!
//! Must not: read files or the environment.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  bartizan import petstore.yaml                                     writes ./petstore: document and connector.toml
  bartizan import api.json --into connectors/shop --name shop --base-url https://api.shop.example/v2
  bartizan import api.json --overlay ours.yaml --force              again, with changes of our own

Then:
  bartizan check --connector ./petstore                             without a network
  bartizan check --connector ./petstore --practice --health         a call, against a stand-in
  bartizan serve --connector ./petstore

A document never decides where requests go or how they are signed: say `base` and [credentials] in connector.toml.";

/// Make a connector of an API document.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// The document: OpenAPI 2.0, 3.0 or 3.1, YAML or JSON. Files beneath its folder that it refers to are copied too.
    #[arg(value_name = "DOC")]
    pub(crate) document: PathBuf,
    /// The folder to write; one named after the connector, here, unless given.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,
    /// What to call the connector; made of the document's title unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where requests go; may also be said in connector.toml afterwards.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Let --base-url be plain HTTP beyond this machine.
    #[arg(long, requires = "base_url")]
    pub(crate) plain_http: bool,
    /// OpenAPI overlay (1.0) to apply first, and whenever the connector is loaded; may be repeated, in this order.
    #[arg(long = "overlay", value_name = "FILE")]
    pub(crate) overlays: Vec<PathBuf>,
    /// Replace the files of a folder that is there already; other files in it stay.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print everything that was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
