//! What several instances share, with a real Redis server.

mod limits;
mod once;
mod server;
mod way;
