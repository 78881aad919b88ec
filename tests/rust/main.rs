//! The one integration binary: a module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::format_push_string,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::default_trait_access,
    clippy::single_match_else,
    clippy::unnecessary_wraps,
    clippy::items_after_statements,
    clippy::format_collect,
    clippy::large_futures,
    clippy::type_complexity,
    clippy::semicolon_if_nothing_returned,
    clippy::doc_markdown,
    clippy::cast_possible_truncation,
    clippy::unnecessary_debug_formatting,
    unreachable_pub,
    reason = "tests fail by panicking, and read better when they are short"
)]

mod alerts;
mod approvals;
mod architecture;
mod audit;
mod audit_events;
mod audit_files;
mod audit_reports;
mod audit_shared;
mod authority;
mod batches;
mod client;
mod commands;
mod connectors;
mod conversations;
mod credentials;
mod documentation;
mod doors;
mod dpop;
mod encrypted;
mod equinix;
mod events;
mod evidence;
mod factors;
mod freeze;
mod gates;
mod hooks;
mod http;
mod http2;
mod importing;
mod issuer;
mod limits;
mod line;
mod lists;
mod loopback;
mod matrix;
mod mutual;
mod oauth;
mod oauth_http;
mod pacing;
mod page;
mod pins;
mod pipeline;
mod policy;
mod practice;
mod practice_connectors;
mod practice_document;
#[cfg(target_os = "linux")]
mod processes;
mod questions;
mod redaction;
mod redaction_quality;
mod reload;
mod replicas;
mod requirements;
mod revisions;
mod rotation;
mod schema;
mod scripted;
mod search;
mod secrets;
mod showcase;
mod stage;
#[cfg(feature = "redis")]
mod stateless;
mod stdio;
mod store;
mod streams;
mod support;
mod talk;
mod tasks;
mod telemetry;
mod tiers;
mod tls;
mod transport;
