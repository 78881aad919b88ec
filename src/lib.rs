//! bartizan: the MCP server you can hand production credentials to.
//!
//! The map, in layers; a row may use the rows below it (`tests/rust/architecture.rs` holds the exact table):
//!
//! ```text
//! cli                binding                                    edges
//!            evidence                                           what happened, in one file
//!            doctor                                             what an installation looks like
//!             app                                               composition root
//!            config
//!            server                                             two doors, one room
//! identity  transport  catalog  search  connectors  diagnostics  practice  client  alerts    what comes in; what can be called
//!        pipeline        vault     relay                        the line; where credentials come from; telling others
//!                        http                                   the way out
//!             approvals  tasks  freeze                          what outlives a request, durable; the switch
//! policy   limits   redaction   audit   telemetry               engines
//!      protocol       schema      state                         words and shapes; files that processes share
//!             json
//!   error   secret   clock   principal   ownership   threads    bedrock
//! ```

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod clock;
pub mod error;
mod ownership;
pub mod principal;
pub mod secret;
mod threads;

pub mod json;

pub mod protocol;
pub mod schema;

pub mod audit;
pub mod limits;
pub mod policy;
pub mod redaction;
pub mod state;
pub mod telemetry;

pub mod approvals;
pub mod freeze;
pub mod http;
pub mod tasks;

pub mod pipeline;
pub mod relay;
pub mod vault;

pub mod alerts;
pub mod catalog;
pub mod client;
pub mod connectors;
pub mod diagnostics;
pub mod identity;
pub mod practice;
pub mod search;
pub mod transport;

pub mod server;

pub mod config;

pub mod app;

pub mod doctor;

pub mod evidence;

#[cfg(feature = "python")]
mod binding;
pub mod cli;
