//! What several instances share, with a real Redis server.

mod factors;
mod instances;
mod limits;
mod once;
mod records;
pub mod server;
mod sessions;
mod tokens;
mod way;
mod wired;
