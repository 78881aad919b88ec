//! Equinix Fabric, version 4 of its API.
//!
//! Owns the connector's data (`connector.toml`, `openapi.json`) and its flows. The idea: the document describes the
//! API as it is; a flow exists where the API's own shape is hard to use: searches, access points, JSON Patch, ids that
//! are secrets.
//!
//! Must not: send anything by itself.

mod connections;
mod lists;
mod money;
mod networks;
mod parts;
mod routers;
mod search;
mod secrets;
mod sides;
mod sort;
mod tokens;

use super::super::flow::Recipe;

/// `connector.toml`.
pub const MANIFEST: &str = include_str!("connector.toml");
/// `openapi.json`: our own slice of the API.
pub const DOCUMENT: &[u8] = include_bytes!("openapi.json");

/// Every flow, in listing order.
pub fn flows() -> Vec<Recipe> {
    let mut all = Vec::with_capacity(32);
    all.extend(search::recipes());
    all.extend(lists::recipes());
    all.extend(connections::recipes());
    all.extend(routers::recipes());
    all.extend(tokens::recipes());
    all.extend(networks::recipes());
    all.extend(money::recipes());
    all
}

/// The path below `/fabric/v4`.
fn path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["fabric", "v4"], rest].concat()
}
